from gairlib.train.engine import Engine
from gairlib.train.loop import pretrain
from gairlib.train.options import PretrainOptions

__all__ = ["Engine", "pretrain", "PretrainOptions"]
