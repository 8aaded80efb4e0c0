"""What a line of the scoreboard claims, in plain sentences that hold for whatever data it is.

A claim needs a paired 95% interval that excludes zero. Without one the sentence says that there is
none; where another method is better beyond its interval, that is a sentence of its own.
"""

import math

from research.evaluation.verdicts import LOSES, NONE, TIE, WINS, WORDS
from research.reports.lines import Against, Line
from research.reports.words import number, with_interval

QUESTIONS = {  # Line.question -> (heading, what is asked)
    "good": (
        "Is the representation good?",
        "Frozen features and a cheap probe: does pretraining tell more than the same encoder "
        "untrained, and than baselines that need no pretraining?",
    ),
    "alignment": (
        "Is the alignment real?",
        "A photo and the chip read at its position: within one site or one chip, where climate and "
        "season are the same for all, only what stands there can tell.",
    ),
    "space": (
        "Is it one space?",
        "One modality looks for another among everything that was held out: photos, localised "
        "chips and coordinates in the same space.",
    ),
}
CAUTION = {  # Line.held_out -> what a reader has to know
    "same places": "Drawn at random: test rows have training rows next door, so this says nothing "
    "about new places.",
    "as published": "The published split may share places between training and test, so this says "
    "nothing certain about new places.",
    "not held out": "No pair was held out, so this describes the data and promises nothing for "
    "other places.",
}
MOST_LOSSES = 3  # named one by one for a line; further ones are counted


def claim(line: Line) -> str:
    """The claim that the number supports, in a sentence or three."""
    what = line.split.claim or line.record.claim or f"`{line.task}`"
    if line.random is None:
        return f"No claim: {what} has no untrained encoder to compare with."
    parts = [
        f"{what[:1].upper()}{what[1:]}: {_against_random(line)} ({line.metric} {line.amount})."
    ]
    if line.best is not None:
        parts.append(_against_best(line))
    parts += _not_beaten(line)
    if line.trainings is not None:
        parts.append(line.trainings.sentence(_unit(line)))
    if line.held_out in CAUTION:
        parts.append(CAUTION[line.held_out])
    return " ".join(parts)


def _against_random(line: Line) -> str:
    r = line.random
    if r.verdict == NONE:
        if math.isnan(r.difference):
            return (
                f"no claim, as no paired interval was computed; untrained "
                f"{number(r.value)}{_unit(line)}"
            )
        return (
            f"no claim, as {line.clusters} {_plural(line.cluster, line.clusters)} are too few "
            f"for an interval; untrained {number(r.value)}{_unit(line)}"
        )
    gap = f"the same encoder untrained, by {_gap(r, line)}"
    if line.trainings is not None and line.trainings.contradicted:
        t = line.trainings
        word = WORDS[t.verdicts[0]]
        return (
            f"undecided, as pretraining is {word} than {gap}, in the published training, but "
            f"beyond the interval in {t.hold} of {t.asked} trainings only"
        )
    return {
        WINS: f"pretraining is better than {gap}",
        LOSES: f"pretraining is worse than {gap}",
        TIE: "no difference beyond the interval between pretrained and untrained, "
        f"{r.amount}{_unit(line)}",
    }[r.verdict]


def _against_best(line: Line) -> str:
    b = line.best
    value = f"{b.name}, {number(b.value)}{_unit(line)}"
    return {
        WINS: f"It beats the best of the other baselines ({value}).",
        TIE: f"The best of the other baselines does as well within the interval ({value}).",
        LOSES: f"The best of the other baselines is better ({value}).",
        NONE: f"Best of the other baselines, without an interval: {value}.",
    }[b.verdict]


def _not_beaten(line: Line) -> list[str]:
    """Where pretraining is better than untrained: baselines beside the best that are not beaten,
    by name (those that are better have sentences of their own: `losses`)."""
    if line.random is None or line.random.verdict != WINS:
        return []
    said = []
    for verdict, words in ((TIE, "Level within the interval"), (NONE, "Without an interval")):
        names = [
            f"{a.name} ({number(a.value)}{_unit(line)})"
            for a in line.others
            if a.verdict == verdict and a != line.best
        ]
        if names:
            said.append(f"{words}: {', '.join(names)}.")
    return said


def losses(line: Line) -> list[str]:
    """ "On X, Y is better by ...": every baseline that is ahead beyond its interval, best first; of
    those without an interval, the best where it is ahead."""
    where = f"On {line.task} ({line.split.name}, {line.metric}),"
    ahead = [a for a in line.others if a.verdict == LOSES]
    found = [f"{where} {a.name} is better by {_gap(a, line)}." for a in ahead[:MOST_LOSSES]]
    if len(ahead) > MOST_LOSSES:
        found.append(f"{where} {len(ahead) - MOST_LOSSES} more baselines are better.")
    first = line.others[0] if line.others else None
    if first is not None and first.verdict == NONE and _behind(line, first):
        away = f"{number(abs(line.value - first.value))}{_unit(line)}"
        found.append(f"{where} {first.name} is ahead by {away}, without an interval.")
    return found


def _behind(line: Line, a: Against) -> bool:
    return line.value > a.value if line.lower else line.value < a.value


def _gap(a: Against, line: Line) -> str:
    """The size of a difference, whichever its direction, with the interval's ends in order."""
    low, high = sorted((abs(a.low), abs(a.high)))
    return with_interval(abs(a.difference), low, high) + _unit(line)


def _unit(line: Line) -> str:
    return line.amount.unit


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
