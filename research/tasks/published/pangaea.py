"""Tasks `pangaea-<set>`: segmentation sets of PANGAEA (Marsocci et al. 2024, arXiv 2412.04204).

A dataset folder holds `pangaea/<set>/` in the set's published layout; the modules `pangaea_<set>`
say what that is. Splits are the published ones, the metric is mIoU, the head UPerNet on four evenly
spaced layers of the frozen backbone (`research.tasks.segmentation`). PANGAEA resizes or crops images to
the encoder's input; here they are cut into chips of the model's size at their own resolution.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gairlib.data.dataset import Dataset
from gairlib.model import GAIR
from research.tasks.published import folders

if TYPE_CHECKING:
    from research.tasks.segmentation.data import SegmentationData

PREFIX = "pangaea-"


def available(dataset: Dataset) -> dict[str, str]:
    """Task name -> "" where the folder has the set, else the reason. Nothing is read."""
    there = folders.pangaea(dataset.folder)
    return {
        f"{PREFIX}{name}": "" if name in there else f"no folder pangaea/{name}"
        for name in folders.PANGAEA
    }


def load(task: str, dataset: Dataset, size: int) -> "SegmentationData":
    """The set of a task in chips of `size` px, its layout and labels checked."""
    name = task.removeprefix(PREFIX)
    reader = import_module(f"research.tasks.published.pangaea_{name}")
    return reader.load(folders.pangaea(dataset.folder)[name], size)


def run(task: str, dataset: Dataset, model: GAIR, *, pairs_folder, seeds: int, device: str):
    """What `research.tasks.registry.FAMILIES` asks of a family."""
    from research.tasks.segmentation import benchmark  # heads and training, for those who run them

    data = load(task, dataset, model.config.rs_size)
    return benchmark.run(data, model, seeds=seeds, device=device)
