"""Training curves for other programs than DVC: Fabric's loggers, and others of their interface.

`pretrain: {loggers: [csv, tensorboard]}`, or `Engine(loggers=(my_logger,))` with any object that
has `log_metrics(numbers, step)` and `finalize(status)`, as the loggers of Lightning do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gairlib.errors import BadInput

# name -> (module of the class, its name, what pip installs)
LOGGERS = {
    "csv": ("lightning_fabric.loggers", "CSVLogger", "lightning-fabric"),
    "tensorboard": ("lightning_fabric.loggers", "TensorBoardLogger", "tensorboard"),
    "wandb": ("pytorch_lightning.loggers", "WandbLogger", "pytorch-lightning wandb"),
    "mlflow": ("pytorch_lightning.loggers", "MLFlowLogger", "pytorch-lightning mlflow"),
}


def check(loggers: Sequence[Any]) -> None:
    """BadInput for a name that is none of LOGGERS, and for what logs nothing."""
    known = ", ".join(LOGGERS)
    if isinstance(loggers, str):
        raise BadInput(f"pretrain.loggers is {loggers!r}; a list of {known} is needed")
    for logger in loggers:
        named = isinstance(logger, str)
        if logger not in LOGGERS if named else not hasattr(logger, "log_metrics"):
            raise BadInput(f"pretrain.loggers: {logger!r} is none of {known}, and no logger")


def make(loggers: Sequence[Any], folder: Path) -> list[Any]:
    """The loggers, those that are named with their files below `folder`. ImportError says what is
    not installed."""
    return [_made(one, folder) if isinstance(one, str) else one for one in loggers]


def _made(name: str, folder: Path) -> Any:
    module, kind, packages = LOGGERS[name]
    try:
        made = getattr(__import__(module, fromlist=[kind]), kind)
        if name == "mlflow":
            return made(tracking_uri=f"file:{folder.absolute() / name}")
        if name == "wandb":
            return made(save_dir=folder)
        return made(folder, name="", version=name)
    except ModuleNotFoundError as problem:
        raise ImportError(
            f"pretrain.loggers: {name} is not installed: pip install {packages} brings it"
        ) from problem
