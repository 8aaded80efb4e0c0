from gairlib.pairs.pairing import pair
from gairlib.pairs.store import Pairs, load

__all__ = ["pair", "Pairs", "load"]
