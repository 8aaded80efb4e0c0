"""What the tasks' own lines do not hold: the ablation, stress tests, other readings of the field,
and how far apart true and false pairs lie in the space."""

import math

import pandas as pd

from research.evaluation import verdicts
from research.evaluation.table import OURS
from research.evaluation.verdicts import OPPOSITE, TIE, WORDS
from research.reports.lines import Against, Line, Part
from research.reports.words import number, with_interval
from research.studies.ablation_table import BY_NAME, Metric

# what an ablation's variants say about the field; its base reads it by linear NILI
FIELD = {
    "decoder-mlp": ("An MLP decoder of NILI", "the linear one"),
    "mode-bilinear": ("Bilinear reading of the tokens", "linear NILI"),
    "mode-nearest": ("Reading the nearest token", "linear NILI"),
    "mode-bicubic": ("Bicubic reading of the tokens", "linear NILI"),
    "mode-mean": ("The chip's mean", "linear NILI"),
}
IN = {  # verdict -> a sentence's middle, from what is compared to the metrics
    verdicts.WINS: "is better than {} in",
    verdicts.LOSES: "is worse than {}, beyond the interval, in",
    verdicts.TIE: "does not differ from {} beyond the interval in",
    verdicts.NONE: "has no interval against {} in",
}
CONSTANTS = ("best constant", "chip centre", "a training position")  # guesses that look at nothing


# ------------------------------------------------------------------ ablation and stress


def ablation(found: dict) -> Part:
    """metrics/ablation.json as a table and sentences on the field's decoder and reading."""
    source = "metrics/ablation.json, `make ablate`"
    part = Part("Ablation: one switch of the training changed", source=source)
    variants = found.get("variants", {})
    if len(variants) < 2:
        part.sentences = ["No ablation was run on this data (`make ablate` runs it on the sample)."]
        return part
    part.table = pd.DataFrame(
        {
            "variant": name,
            "metric": metric.label,
            **{k: v[k] for k in ("mean", "difference", "low", "high")},
            "verdict": WORDS[verdict],
        }
        for name, values in variants.items()
        for metric, v, verdict in _judged(values)
    )
    part.sentences = [
        f"{found.get('dataset', 'this folder')} ({found.get('data', 'unknown')} data), "
        f"{found.get('steps', '?')} steps, {len(found.get('seeds', []))} seeds, "
        f"{found.get('photos', '?')} photos at {found.get('sites', '?')} validation sites; "
        "differences to the base, 95% intervals over seeds and sites."
    ]
    part.sentences += [_field(name, variants[name], found) for name in FIELD if name in variants]
    if not set(FIELD) & set(variants):
        part.sentences.append(
            "The ablation holds no variant of the field's decoder or reading, so "
            "it says nothing of MLP against linear or NILI against bilinear."
        )
    return part


def _judged(values: dict) -> list[tuple[Metric, dict, str]]:
    """(metric, its numbers, verdict) of a variant's metrics that have a difference to the base."""
    return [
        (BY_NAME[key], v, verdicts.of(v["low"], v["high"], BY_NAME[key].lower))
        for key, v in values.items()
        if key in BY_NAME and isinstance(v, dict) and v.get("difference") is not None
    ]


def _field(name: str, values: dict, found: dict) -> str:
    """Whether a decoder or reading beats the base, metric by metric; and why it may not be seen."""
    what, base = FIELD[name]
    said: dict[str, list[str]] = {}
    for metric, v, verdict in _judged(values):
        ends = (
            ""
            if v["low"] is None
            else f" [{metric.show(v['low'], True)}, {metric.show(v['high'], True)}]"
        )
        shown = f"{metric.label} {metric.show(v['difference'], True)}{ends}"
        said.setdefault(verdict, []).append(shown)
    text = f"{what} " + "; it ".join(
        f"{IN[k].format(base)} {', '.join(v)}" for k, v in said.items()
    )
    text += "."
    if set(said) <= {TIE, verdicts.NONE} and TIE in said:
        text += (
            f" A smaller gain could not be seen with {found.get('photos', '?')} photos at "
            f"{found.get('sites', '?')} sites and {found.get('steps', '?')} steps."
        )
    return text


def stress(found: dict) -> Part:
    """metrics/stress.json: what each mode reaches and loses, and modes against one another."""
    source = "metrics/stress.json, `make ablate`"
    part = Part("Stress tests: places that are wrong by a known amount", source=source)
    if not found:
        part.sentences = ["No stress test was run on this data."]
        return part
    rows = [
        {"trained": trained, "stress": name, **_level(v)}
        for trained, levels in found.get("trained", {}).items()
        for name, v in levels.items()
    ]
    part.table = pd.DataFrame(rows, columns="trained stress number value low high".split())
    for r in part.table[part.table["number"] == "mean"].itertuples():
        part.sentences.append(
            f"Trained as {r.trained}, places as they are: "
            f"{with_interval(r.value, r.low, r.high)} recall@10 within a site."
        )
    costs = part.table[part.table["number"] == "difference"]
    for trained, of in costs.groupby("trained", sort=False):
        sure = of[of["high"] < 0].itertuples()
        said = [f"{r.stress} ({with_interval(r.value, r.low, r.high)})" for r in sure]
        part.sentences.append(
            f"Trained as {trained}, of {len(of)} levels these cost recall beyond "
            f"the interval: {', '.join(said) or 'none'}."
        )
    part.sentences += [gap_in_words(gap) for gap in found.get("gaps", [])]
    return part


def _level(v: dict) -> dict:
    """A level's difference to the unstressed one, or the mean of that one itself."""
    of = "difference" if "difference" in v else "mean"
    keys = (of, *(f"{of}_{end}" if of == "difference" else end for end in ("low", "high")))
    numbers = (math.nan if v.get(k) is None else v[k] for k in keys)
    return {"number": of, **dict(zip(("value", "low", "high"), numbers))}


def gap_in_words(gap: dict) -> str:
    """One mode of training against another, unstressed; `gap`: an entry of stress.json's `gaps`."""
    verdict = verdicts.of(gap["low"], gap["high"])
    ends = (
        "" if verdict == verdicts.NONE else f" [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
    )
    return (
        f"Places as they are: trained as {gap['first']}, the model "
        f"{IN[verdict].format('trained as ' + gap['second'])} recall@10 within a site: "
        f"{100 * gap['difference']:+.1f}{ends} percentage points."
    )


# ------------------------------------------------------------------ bounds, own readings, the space


def upper_bounds(found: list[Line]) -> Part:
    """Networks that were trained end to end on the labels, beside the frozen encoder."""
    part = Part(
        "Supervised upper bounds: trained end to end on the labels, no rivals of frozen features",
        source="rows of each benchmark stage; of segmentation metrics/upper_bounds/, "
        "`make bench-all`",
    )
    part.table = pd.DataFrame(
        {
            "task": x.task,
            "split": x.split.name,
            "metric": x.metric,
            "trained": a.name,
            "value": a.value,
            "frozen gair": x.value,
            "gair minus bound": a.difference,
            "low": a.low,
            "high": a.high,
        }
        for x in found
        for a in x.upper
    )
    for x in (x for x in found if x.headline and x.upper):
        said = ", ".join(f"{a.name} {number(a.value)}" for a in x.upper)
        part.sentences.append(
            f"{x.task} ({x.split.name}, {x.metric}): {said}; frozen {OURS} {x.amount}."
        )
    if not part.sentences:
        part.sentences = ["No network was trained end to end on the labels in this run."]
    return part


def readings(found: list[Line]) -> Part:
    """Our model read in other ways, each against its own mode, and metres against half a guess."""
    part = Part("The field, read in other ways", source="comparison.csv of each benchmark stage")
    part.table = pd.DataFrame(
        {
            "task": x.task,
            "split": x.split.name,
            "metric": x.metric,
            "reading": a.name,
            "value": a.value,
            "ours": x.value,
            "ours minus reading": a.difference,
            "low": a.low,
            "high": a.high,
            "reading is": WORDS[OPPOSITE[a.verdict]],
        }
        for x in found
        for a in x.own
    )
    for name, of in part.table.groupby("reading", sort=False) if len(part.table) else ():
        count = of["reading is"].value_counts()
        said = ", ".join(f"{word} in {count[word]}" for word in WORDS.values() if word in count)
        part.sentences.append(
            f"{name}: against our own reading, of {len(of)} judged numbers, {said}."
        )
    for x in found:
        if x.metric.startswith("localisation error") and x.blind:
            part.sentences.append(localisation(OURS, x.value, x.low, x.high, x.blind, x.unit))
            part.sentences += [
                localisation(a.name, a.value, math.nan, math.nan, x.blind, x.unit) for a in x.own
            ]
            part.sentences += [
                constant(x, a) for name in CONSTANTS for a in x.others if a.name == name
            ]
    if not part.sentences:
        part.sentences = ["No task of this run reads the field in more than one way."]
    return part


def localisation(
    name: str, value: float, low: float, high: float, blind: Against, unit: str
) -> str:
    """The figure to reach: a median error of at most half that of guessing blindly."""
    word = "at most half" if value <= blind.value / 2 else "more than half"
    return (
        f"Localisation, {name}: {with_interval(value, low, high)} {unit} in the median, "
        f"{value / blind.value:.0%} of {blind.name}'s {number(blind.value)} {unit} ({word})."
    )


def constant(x: Line, a: Against) -> str:
    """Whether the judged guess, the likeliest disc, beats one that looks at nothing."""
    return (
        f"Localisation, {OURS} (the likeliest disc) against {a.name}: {number(x.value)} m "
        f"against {number(a.value)} m in the median, difference {a.amount} m: {WORDS[a.verdict]}."
    )


def space(embed: dict) -> Part:
    """metrics/embed.json: cosines of true and of random pairs, and the gap between modalities."""
    part = Part("True and random pairs in the space", source="metrics/embed.json, stage `embed`")
    true, false = (embed.get(f"cosine_{k}_photo_place") for k in ("true", "random"))
    if true is not None and false is not None:
        part.sentences.append(
            f"Mean cosine of a photo and its own place {number(true)}, and a random place "
            f"{number(false)} ({embed.get('photos', 0):,} photos, training ones among them; no "
            "interval)."
        )
    if (gap := embed.get("modality_gap_chip_photo")) is not None:
        part.sentences.append(
            f"The mean vectors of chips and photos lie {number(gap)} apart (0: one cloud; 2: "
            "opposite): the modalities share a space, and each keeps a region of its own to that "
            "extent."
        )
    if not part.sentences:
        part.sentences = ["No photo and no chip of this run stands in the space."]
    return part
