"""What a benchmark is: one class in one file, which says everything that others need to know of it.

A new benchmark is a subclass of `Task` (of `ProbeTask` for a probe on labelled rows, see
`research.tasks.probing`) in a file of its own, named in `research.tasks.registry`. Its question,
claim and subject stand in the report and on the scoreboard, its kind chooses the figures; nothing
is ever read out of its name or out of a label's wording:

    task.question                    "Does the photo tell its weather?"            report, scoreboard
    task.claim                       "telling weather from a photo"                scoreboard
    result.kind                      "probe", "segmentation", "retrieval"          figures
    result.splits[name].held_out     "site", "block", "row", ...                   scoreboard, figures

The same fields stand in the saved record of a result (`Result.save`: result.json).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from gairlib.data.dataset import Dataset
from research.tasks.result import Result


class Task(ABC):
    """One benchmark. Tasks that come by column or by set are instances of one class.

    name: of the DVC stage and of the files ("sv-weather").
    question: one sentence, for the report's card and the scoreboard.
    claim: what the encoder does here, as the subject of a sentence ("telling weather from a
        photo"); a split of a retrieval task has a claim of its own (`Split.claim`).
    subject: what is encoded: "photo", "chip", "place" (coordinates) or "pair".
    held_out: what the test rows do not share with training: "site", "block", "city", "published
        split" or None. What a result held out is `Split.held_out`, as data may name no sites.
    kind: "probe", "segmentation" or "retrieval".
    """

    name: str
    question: str
    claim: str
    subject: ClassVar[str]
    held_out: ClassVar[str | None]
    kind: str

    @abstractmethod
    def available(self, dataset: Dataset) -> str | None:
        """None where the folder can run this task, else the reason why not."""

    @abstractmethod
    def load(self, dataset: Dataset, options):
        """Examples, labels and splits."""

    @abstractmethod
    def run(self, dataset: Dataset, options) -> Result:
        """Frozen encoders, trained heads or a search, baselines: every number of the task."""
