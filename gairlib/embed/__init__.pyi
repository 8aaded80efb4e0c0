from gairlib.embed.dense import write_cog
from gairlib.embed.export import chips, photos, places, write
from gairlib.embed.field import dense_field
from gairlib.embed.finding import find
from gairlib.embed.item import write_item, write_model_item
from gairlib.embed.like import photos_like
from gairlib.embed.many import write_chips, write_photos, write_places
from gairlib.embed.nearest import Index

__all__ = [
    "write_cog",
    "chips",
    "photos",
    "places",
    "write",
    "write_chips",
    "write_photos",
    "write_places",
    "write_item",
    "write_model_item",
    "dense_field",
    "find",
    "photos_like",
    "Index",
]
