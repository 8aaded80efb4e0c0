"""Tasks `pangaea-<set>`: segmentation sets of PANGAEA (Marsocci et al. 2024, arXiv 2412.04204).

A dataset folder holds `pangaea/<set>/` in the set's published layout; the modules `pangaea_<set>`
say what that is. Splits are the published ones, the metric is mIoU, the head UPerNet on four evenly
spaced layers of the frozen backbone (`research.tasks.segmentation`): narrow, or with PANGAEA's own
channels and schedule (`benchmark.upernet: pangaea`, for a GPU). PANGAEA resizes or crops images to
the encoder's input; here they are cut into chips of the model's size at their own resolution.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Self

from gairlib.data.dataset import Dataset
from research.tasks.published import folders
from research.tasks.segmentation.benchmark import SegmentationTask
from research.tasks.segmentation.data import SegmentationData
from research.tasks.task import DEFAULTS, Options


@dataclass(frozen=True)
class Pangaea(SegmentationTask):
    """A set of PANGAEA."""

    set: str
    held_out = "published split"

    @property
    def name(self) -> str:
        return f"pangaea-{self.set}"

    @property
    def question(self) -> str:
        return f"Do the chip's tokens tell the classes of PANGAEA's {self.set}?"

    @property
    def claim(self) -> str:
        return f"segmenting the chips of PANGAEA's {self.set}"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        return [cls(name) for name in folders.PANGAEA]

    def available(self, dataset: Dataset) -> str | None:
        """None where the folder has the set. Nothing is read."""
        there = folders.pangaea(dataset.folder)
        return None if self.set in there else f"no folder pangaea/{self.set}"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> SegmentationData:
        return self.tiles(dataset, options.model.config.rs_size)

    def tiles(self, dataset: Dataset, size: int) -> SegmentationData:
        """The set in chips of `size` px, its layout and labels checked."""
        reader = import_module(f"research.tasks.published.pangaea_{self.set}")
        return reader.load(folders.pangaea(dataset.folder)[self.set], size)
