"""What a benchmark is: one class in one file, which says all that others need to know of it.

A new benchmark is a subclass of `Task` in a file of its own, named in `research.tasks.registry`;
for a probe on labelled rows it is a `research.tasks.probing.ProbeTask`, which needs `available` and
`load` only. Its question, claim and subject stand in the report and on the scoreboard, its kind
chooses the figures; nothing is ever read out of its name or out of a label's wording:

    task.question                  "Does the photo tell its weather?"         report, scoreboard
    task.claim                     "telling weather from a photo"             scoreboard
    result.kind                    "probe", "segmentation", "retrieval", ...  figures
    result.splits[name].held_out   "site", "block", "row", ...                scoreboard

The same fields stand in the saved record of a result (`Result.save`: result.json).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from gairlib import assets, devices
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing, Skipped
from gairlib.model import GAIR
from gairlib.weights.timm_models import DOWNLOAD
from research.evaluation import geographic_bias
from research.evaluation.fit import Fit
from research.evaluation.location_training import Settings
from research.evaluation.table import OURS, UPPER_BOUNDS, Table
from research.tasks import standing, trained
from research.tasks.result import REGIONS, Result, Split

# others' weights that `benchmark.weights` may name -> the encoder's name in results
PUBLISHED = {
    "gair": "GAIR, published",
    "geoclip": "GeoCLIP",
    "satclip": "SatCLIP",
    "croma": "CROMA",
    "galileo": "Galileo",
    "imagenet": "ImageNet",
}
# subject of a task -> the towers that it asks, and kinds that compare towers with each other
ASKED = {"photo": ["sv"], "chip": ["rs"], "place": ["location"], "pair": ["rs", "sv"]}
TOGETHER = ("retrieval", "geolocalisation", "localisation", "heading")
UPERNETS = ("narrow", "pangaea")  # keys of research.tasks.segmentation.train.UPERNETS
UNDEFINED = "no score of these labels is a number; a constant or values without scale may be why"
UNUSED = "benchmark.weights: not used by this task"


@dataclass(frozen=True)
class Options:
    """What every task is run with (params.yaml, section `benchmark`).

    checkpoint: folder of the trained model; pairs: folder that pairing wrote (read by retrieval and
    rs-street-* only). seeds: probe seeds, and random initialisations. bootstrap: draws.
    block_degrees: the blocked splits of location tasks, sizes that divide 180. location_encoders:
    names of the registry, trained end to end on location tasks, or "all"; settings: how; on
    trained_seeds assignments of folds. upper_bounds: which networks are trained end to end on the
    labels of photos and chips (`research.evaluation.table.UPPER_BOUNDS`). upernet: the head of
    segmentation, "narrow" or "pangaea" (its channels and schedule, for a GPU). weights: others'
    published weights, project -> file or "asset:NAME" (`gairlib.assets`; one that is not there is
    left out, and a note says so); for imagenet also "timm:NAME", which downloads. baselines:
    whether the model is compared with more than the same model untrained and who guesses blindly; a
    study of several trainings needs no more.

    Raises BadInput for fewer than one seed or draw, unknown encoders, projects or block sizes,
    Missing for a weights file that is not there.
    """

    checkpoint: str | Path = "outputs/pretrain/model"
    pairs: str | Path = "outputs/pair"
    seeds: int = 3
    bootstrap: int = 1000
    device: str = "auto"
    block_degrees: Sequence[float] = (10.0,)
    location_encoders: Sequence[str] | str = ()
    trained_seeds: int = 1
    settings: Settings = trained.QUICK
    upper_bounds: Sequence[str] = ()
    upernet: str = UPERNETS[0]
    weights: Mapping[str, str] = field(default_factory=dict)
    baselines: bool = True

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.bootstrap < 1:
            raise BadInput(
                f"seeds={self.seeds}, bootstrap={self.bootstrap}: both must be 1 or more"
            )
        if not all(d > 0 and abs(180 / d - round(180 / d)) < 1e-6 for d in self.block_degrees):
            raise BadInput(
                f"benchmark.block_degrees={list(self.block_degrees)}: sizes that divide 180"
            )
        for key, path in self.weights.items():
            if key not in PUBLISHED:
                raise BadInput(
                    f"benchmark.weights: {key!r} is unknown; there are {', '.join(PUBLISHED)}"
                )
            by_name = (assets.PREFIX, DOWNLOAD) if key == "imagenet" else (assets.PREFIX,)
            if str(path).startswith(by_name):
                continue
            if not path or not Path(path).is_file():
                raise Missing(
                    f"benchmark.weights.{key}: there is no file {path!r}; name a weights "
                    "file, or leave the key out"
                )
        object.__setattr__(self, "device", str(devices.find(self.device)))
        self._found  # noqa: B018  an asset of no such name is an error here
        trained.names(self.location_encoders)
        if unknown := sorted(set(self.upper_bounds) - set(UPPER_BOUNDS)):
            raise BadInput(
                f"benchmark.upper_bounds: {unknown[0]!r} is unknown; there are "
                + ", ".join(UPPER_BOUNDS)
            )
        if self.upernet not in UPERNETS:
            raise BadInput(
                f"benchmark.upernet: {self.upernet!r} is unknown; there are {', '.join(UPERNETS)}"
            )

    @cached_property
    def files(self) -> dict[str, str]:
        """`weights`, with the files of those assets that are there."""
        return {k: v for k, v in self._found.items() if isinstance(v, str)}

    @cached_property
    def lacking(self) -> list[str]:
        """Assets of `weights` that are not there, each with the reason."""
        left = {k: v for k, v in self._found.items() if isinstance(v, Missing)}
        return [f"{PUBLISHED[key]}, left out: {why}" for key, why in left.items()]

    @cached_property
    def _found(self) -> dict[str, str | Missing]:
        return {key: _file(path) for key, path in self.weights.items()}

    @cached_property
    def model(self) -> GAIR:
        """The model of `checkpoint`; Missing where there is none."""
        return GAIR.from_pretrained(self.checkpoint)


def _file(path: str) -> str | Missing:
    """The file that `weights` means, or why it is not there."""
    if not path.startswith(assets.PREFIX):
        return path
    try:
        return str(assets.find(path.removeprefix(assets.PREFIX)).path)
    except Missing as why:
        return why


DEFAULTS = Options()


@dataclass
class Measured:
    """What a task's `measure` gives. judged: (key in the metrics file, split, metric), the headline
    first. example: what the figures show. regions: errors by region (`geographic_bias`). kind:
    where it is another than the task's. fits: how the trainings behind the rows ended, by name."""

    table: Table
    judged: list[tuple[str, str, str]]
    splits: Sequence[Split]
    notes: list[str]
    example: dict[str, Any]
    regions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REGIONS))
    kind: str = ""
    fits: dict[str, Fit] = field(default_factory=dict)


class Task(ABC):
    """One benchmark. Tasks that come by column or by set are instances of one class.

    name: of the DVC stage and of the files ("sv-weather").
    question: one sentence, for the report's card and the scoreboard.
    claim: what the encoder does here, as the subject of a sentence ("telling weather from a
        photo"); a split of a retrieval task has a claim of its own (`Split.claim`).
    subject: what is encoded: "photo", "chip", "place" (coordinates) or "pair".
    held_out: what the test rows do not share with training: "site", "block", "city", "published
        split", "row" or None. What a result held out is `Split.held_out`: data may name no sites.
    kind: "probe", "segmentation", "retrieval" (photo and chip), "geolocalisation" (coordinates),
        "localisation" (a photo's place in its chip), "heading" (its direction there).
    """

    name: str
    question: str
    claim: str
    subject: ClassVar[str]
    held_out: ClassVar[str | None]
    kind: ClassVar[str]

    @classmethod
    def instances(cls, dataset: Dataset) -> Iterable[Self]:
        """The tasks of this class that this folder might run: one, or one a column or set."""
        return [cls()]

    @classmethod
    def named(cls, name: str) -> Self | None:
        """A task of this class that the folder does not list, such as a column that is not there;
        None where the name is of another form."""
        return None

    @classmethod
    def worth_running(cls, tasks: list[Self], dataset: Dataset) -> list[Self]:
        """Those of `tasks`, which all can run, that run by default."""
        return tasks

    @abstractmethod
    def available(self, dataset: Dataset) -> str | None:
        """None where the folder can run this task, else the reason why not."""

    @abstractmethod
    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Any:
        """Examples, labels and splits; for retrieval the pairs that ask."""

    def why_not(self, dataset: Dataset, options: Options = DEFAULTS) -> str:
        """Why the folder, or the weights, cannot run this task; "" where they can."""
        together = self.kind in TOGETHER
        return self.available(dataset) or standing.why_not(
            options.checkpoint, *ASKED[self.subject], together=together
        )

    def load_or_reason(self, dataset: Dataset, options: Options = DEFAULTS) -> tuple[Any, str]:
        """What `load` gives and "", or None and why this task cannot run."""
        if why := self.why_not(dataset, options):
            return None, why
        try:
            return self.load(dataset, options), ""
        except (Skipped, BadInput) as why:
            return None, str(why)

    @abstractmethod
    def measure(self, dataset: Dataset, options: Options) -> Measured:
        """Every number of the task. May raise Skipped."""

    def run(self, dataset: Dataset, options: Options = DEFAULTS) -> Result:
        """Frozen encoders, trained heads or a search, and baselines, with intervals. A task that
        the folder or the weights cannot run gives a result with status "skipped" and the reason."""
        about = {k: getattr(self, k) for k in ("question", "claim", "subject", "kind")}
        about |= {"task": self.name, "dataset": dataset.name, "synthetic": dataset.synthetic}
        if why := self.why_not(dataset, options):
            return Result(**about, status="skipped", reason=why)
        try:
            found = self.measure(dataset, options)
        except (Skipped, BadInput) as why:  # of its data: the other tasks run nevertheless
            return Result(**about, status="skipped", reason=str(why))
        table, draws = found.table, options.bootstrap
        rows = table.rows(draws)
        known = rows[(rows.encoder == OURS) & (rows.seed == "mean") & np.isfinite(rows["value"])]
        known = set(zip(known["split"], known["metric"]))
        found.judged = [row for row in found.judged if row[1:] in known]
        if not found.judged:
            return Result(**about, status="skipped", reason=UNDEFINED)
        headline = found.judged[0][1]
        gaps = trained.against_neighbours(table, draws)
        notes = [*found.notes, *trained.sentences(gaps, found.judged)]
        own = [k for k, path in options.weights.items() if not path.startswith(assets.PREFIX)]
        named = {PUBLISHED[key] for key in own}
        if named and not _shown(table) & named:
            notes.append(UNUSED)
        notes += options.lacking
        notes += geographic_bias.sentences(found.regions, headline)
        about |= {"synthetic": table.synthetic, "kind": found.kind or self.kind}
        return Result(
            **about,
            splits={split.name: split for split in found.splits},
            rows=rows,
            comparison=table.comparison(draws),
            mainline=found.judged,
            notes=notes,
            example=found.example,
            regions=found.regions,
            neighbours=gaps,
            fits=found.fits,
        )


def _shown(table: Table) -> set[str]:
    return {encoder for _, _, encoder in table.entries}
