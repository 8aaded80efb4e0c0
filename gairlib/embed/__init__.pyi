from gairlib.embed.dense import write_cog
from gairlib.embed.export import chips, photos, places, write
from gairlib.embed.field import dense_field
from gairlib.embed.nearest import Index

__all__ = ["write_cog", "chips", "photos", "places", "write", "dense_field", "Index"]
