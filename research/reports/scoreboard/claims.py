"""What a line of the scoreboard claims, in plain sentences that hold for whatever data it is.

A claim needs a paired 95% interval that excludes zero. Without one the sentence says that there is
none; where another method is better beyond its interval, that is a sentence of its own.
"""

import math

from research.reports.scoreboard.lines import LOSES, NONE, TIE, WINS, Against, Line
from research.reports.words import number, with_interval

QUESTIONS = {
    "good": "Is the representation good?",
    "alignment": "Is the alignment real?",
    "space": "Is it one space?",
}
MEANING = {
    "good": "Frozen features and a cheap probe: does pretraining tell more than the same encoder "
    "untrained, and than baselines that need no pretraining?",
    "alignment": "A photo and the chip read at its position: within one site or one chip, where "
    "climate and season are the same for all, only what stands there can tell.",
    "space": "One modality looks for another among everything that was held out: photos, "
    "localised chips and coordinates in the same space.",
}
MOST_LOSSES = 3  # named one by one for a line; further ones are counted


def subject(line: Line) -> str:
    """What the encoder does in this line, as the subject of a sentence; the task's name where the
    family is not known."""
    task, target = line.task, line.task.split("-", 1)[-1].replace("_", " ")
    if task.startswith(("coordbench-", "location-")):
        table, _, column = target.rpartition("-")
        probe = ", CoordBench's probe" if task.startswith("coordbench-") else ""
        return f"telling {column} from coordinates (table {table or target}{probe})"
    if task.startswith("rs-street-"):
        label = task.removeprefix("rs-street-").replace("_", " ")
        return f"telling a photo's {label} from the chip read at its position"
    if task.startswith("sv-"):
        return f"telling {target} from a photo"
    if task == "rs-landcover":
        return "telling the dominant land cover of a chip"
    if task == "rs-eurosat":
        return "telling the EuroSAT class of a chip"
    if task == "rs-built_up":
        return "telling the built-up share of a chip"
    if task.startswith("segmentation-"):
        return f"telling the {target.replace('landcover', 'land cover')} of each pixel of a chip"
    if task.startswith("pangaea-"):
        return f"segmenting the chips of PANGAEA's {task.removeprefix('pangaea-')}"
    if task.startswith("geobench-"):
        return f"telling the classes of GEO-Bench's {task.removeprefix('geobench-')}"
    if task.startswith("placepulse-"):
        return f"telling how people judged a street ({target}) from its photo (Place Pulse 2.0)"
    if task.startswith("retrieval-"):
        return _looking(line.split)
    if task == "retrieval":
        return {
            "within site": "finding a photo's place among those of its site",
            "all photos": "finding a photo's place among all held-out places",
            "within chip": "finding where in its chip a photo was taken",
        }.get(line.split.rsplit(", ", 1)[-1], "finding a photo's place")
    return f"`{task}`"


# what looks for what, as the splits of the retrieval tasks towards and from coordinates name it
SIDES = {"photo": "a photo", "RS": "a chip read at a photo's position", "location": "coordinates"}


def _looking(split: str) -> str:
    """The sentence's subject for "held-out sites, photo to location, world gallery"."""
    asked = next((p for p in split.split(", ") if " to " in p), "")
    query, _, gallery = asked.partition(" to ")
    if query not in SIDES or gallery not in SIDES:
        return f"looking for a place ({split})"
    known = {
        "location": "the coordinates",
        "photo": "the photo",
        "RS": "the chip and the position in it",
    }[gallery]
    among = "places all over the world" if "world gallery" in split else "all held-out places"
    verb = "belong" if gallery == "location" else "belongs"
    return f"finding {known} that {verb} to {SIDES[query]}, among {among}"


def status(line: Line) -> str:
    """ "supported", "partly", "no claim" or "refuted": what became of "pretraining helps here".

    "supported": beyond the interval better than untrained and than every other baseline; "partly":
    than untrained, and not than every other one.
    """
    if line.random is None or line.random.verdict == NONE:
        return "no claim"
    if line.random.verdict == LOSES:
        return "refuted"
    if line.random.verdict == TIE:
        return "no claim"
    return "supported" if all(a.verdict == WINS for a in line.others) else "partly"


def claim(line: Line) -> str:
    """The claim that the number supports, in a sentence or three."""
    what = subject(line)
    what = what[:1].upper() + what[1:]
    score = f"{line.metric} {with_interval(line.value, line.low, line.high)}{_unit(line)}"
    if line.random is None:
        return f"No claim: {what[:1].lower() + what[1:]} has no untrained encoder to compare with."
    parts = [f"{what}: {_against_random(line)} ({score})."]
    if line.best is not None:
        parts.append(_against_best(line))
    parts += _not_beaten(line)
    if line.held_out == "same places":
        parts.append(
            "Drawn at random: test rows have training rows next door, so this says "
            "nothing about new places."
        )
    elif line.held_out == "as published":
        parts.append(
            "The published split may share places between training and test, so this "
            "says nothing certain about new places."
        )
    elif line.held_out == "not held out":
        parts.append(
            "No pair was held out, so this describes the data and promises nothing for "
            "other places."
        )
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
    return {
        WINS: f"pretraining is better than {gap}",
        LOSES: f"pretraining is worse than {gap}",
        TIE: "no difference beyond the interval between pretrained and untrained, "
        f"{_signed(r)}{_unit(line)}",
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
    ahead = [a for a in line.others if a.verdict == LOSES]
    found = [
        f"On {line.task} ({line.split}, {line.metric}), {a.name} is better by {_gap(a, line)}."
        for a in ahead[:MOST_LOSSES]
    ]
    if len(ahead) > MOST_LOSSES:
        found.append(
            f"On {line.task} ({line.split}, {line.metric}), {len(ahead) - MOST_LOSSES} "
            "more baselines are better."
        )
    first = line.others[0] if line.others else None
    if first is not None and first.verdict == NONE and _behind(line, first):
        found.append(
            f"On {line.task} ({line.split}, {line.metric}), {first.name} is ahead by "
            f"{number(abs(line.value - first.value))}{_unit(line)}, without an interval."
        )
    return found


def _behind(line: Line, a: Against) -> bool:
    return line.value > a.value if line.lower else line.value < a.value


def _gap(a: Against, line: Line) -> str:
    """The size of a difference, whichever its direction, with the interval's ends in order."""
    low, high = sorted((abs(a.low), abs(a.high)))
    return with_interval(abs(a.difference), low, high) + _unit(line)


def _signed(a: Against) -> str:
    return with_interval(a.difference, a.low, a.high)


def _unit(line: Line) -> str:
    return f" {line.unit}" if line.unit else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
