"""The published training beside others of its kind (metrics/seeds.json, `make ablate`): how much a
number varies with the seed, and what is not claimed because it does not hold in every training."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from research.evaluation import verdicts
from research.reports.words import number

SAME = 1e-3  # of a value: the published model is the one that `make ablate` has judged
L = TypeVar("L")  # `research.reports.lines.Line`, which imports this module


@dataclass(frozen=True)
class Trainings:
    """One number in trainings of the same settings, the published one first. values, verdicts
    (against the same model untrained): a training each; sd, least, most: of the values; asked: how
    many trainings there are, of which some may have failed."""

    values: tuple[float, ...]
    verdicts: tuple[str, ...]
    sd: float
    least: float
    most: float
    asked: int

    @property
    def hold(self) -> int:
        """How many trainings give the published one's verdict."""
        return self.verdicts.count(self.verdicts[0])

    @property
    def contradicted(self) -> bool:
        """Whether the published training's verdict, if it is one, lacks in another training."""
        sure = self.verdicts[0] in (verdicts.WINS, verdicts.LOSES)
        return sure and self.hold < self.asked

    def sentence(self, unit: str = "") -> str:
        """ "In 3 trainings: 0.151 to 0.168 (standard deviation 0.0085)."."""
        ends = f"{number(self.least)} to {number(self.most)}{unit}"
        said = f"In {len(self.values)} trainings of the same settings: {ends}"
        if not math.isnan(self.sd):
            said += f" (standard deviation {number(self.sd)}{unit})"
        return said + "."


def of(found: dict, task: str, split: str, metric: str, value: float) -> Trainings | None:
    """From metrics/seeds.json; None where it lacks this number, or has another model's."""
    for line in found.get("tasks", {}).get(task, {}).values():
        if (line["split"], line["metric"]) != (split, metric):
            continue
        if line["seeds"][0] != found["seeds"][0] or not _same(line["values"][0], value):
            return None
        sd = math.nan if line["sd"] is None else line["sd"]
        ends = line["least"], line["most"]
        values, said = tuple(line["values"]), tuple(line["verdicts"])
        return Trainings(values, said, sd, *ends, asked=len(found["seeds"]))
    return None


def with_trainings(line: L, found: dict) -> L:
    """The line with its trainings. A verdict against the untrained model that one of them lacks is
    undecided: TIE."""
    trainings = of(found, line.task, line.split.name, line.metric, line.value)
    if trainings is None:
        return line
    random = line.random
    if random is not None and random.verdict == trainings.verdicts[0] and trainings.contradicted:
        random = replace(random, verdict=verdicts.TIE)
    others = (
        [random if a.name == random.name else a for a in line.others] if random else line.others
    )
    return replace(line, trainings=trainings, random=random, others=others)


def _same(first: float | None, second: float) -> bool:
    return first is not None and math.isclose(first, second, rel_tol=SAME, abs_tol=SAME / 10)
