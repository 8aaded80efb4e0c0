"""The published training beside trainings with other seeds, as a part of the scoreboard."""

import pandas as pd

from research.evaluation.verdicts import NONE, WORDS
from research.reports.lines import Line, Part
from research.reports.words import number


def section(found: dict, lines: list[Line]) -> Part:
    """metrics/seeds.json: spread over pretraining seeds beside intervals over places."""
    source = "metrics/seeds.json, `make ablate`"
    part = Part("The same training with other seeds", source=source)
    own = [x for x in lines if x.trainings is not None]
    if not own:
        part.sentences = [
            "The published model was judged beside no other training of its settings, so every "
            "claim here is of one training (`make ablate` makes more on the sample)."
        ]
        return part
    part.table = pd.DataFrame(
        {
            "task": x.task,
            "split": x.split.name,
            "metric": x.metric,
            "values": ", ".join(map(number, x.trainings.values)),
            "standard deviation over seeds": x.trainings.sd,
            "range over seeds": x.trainings.most - x.trainings.least,
            "width of the interval over places": x.high - x.low,
            "trainings with this verdict": f"{x.trainings.hold} of {x.trainings.asked}",
            "verdict": WORDS[x.random.verdict if x.random else NONE],
        }
        for x in own
    )
    listed, steps = ", ".join(map(str, found["seeds"])), found.get("steps", "?")
    wider = (part.table["range over seeds"] > part.table["width of the interval over places"]).sum()
    part.sentences = [
        f"{len(own)} judged numbers in trainings of {steps} steps with seeds {listed}; the range "
        f"over these few trainings is wider than the interval over places in {wider}.",
        "Against the same model untrained a verdict stands only where every training gives it, "
        "each beyond its own interval.",
    ]
    part.sentences += [
        f"Undecided, as it holds in {x.trainings.hold} of {x.trainings.asked} trainings: {x.task} "
        f"({x.split.name}, {x.metric})."
        for x in own
        if x.trainings.contradicted
    ]
    if lacking := len(lines) - len(own):
        part.sentences.append(f"{lacking} of {len(lines)} lines are of one training.")
    return part
