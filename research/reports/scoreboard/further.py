"""What the tasks' own lines do not hold: the ablation, stress tests, other readings of the field,
and how far apart true and false pairs lie in the space."""

import math

import pandas as pd

from research.evaluation.table import OURS
from research.reports.scoreboard.lines import LOSES, NONE, TIE, WINS, Against, Line, Part
from research.reports.words import number, with_interval
from research.studies.ablation_table import BY_NAME
from research.studies.stress.curves import LINEAR, MLP

# what an ablation's variants say about the field; its base reads it by linear NILI
FIELD = {
    "decoder-mlp": ("An MLP decoder of NILI", "the linear one"),
    "mode-bilinear": ("Bilinear reading of the tokens", "linear NILI"),
    "mode-nearest": ("Reading the nearest token", "linear NILI"),
    "mode-bicubic": ("Bicubic reading of the tokens", "linear NILI"),
    "mode-mean": ("The chip's mean", "linear NILI"),
}
WHY_MLP = (
    "Why the MLP does not beat the linear decoder (likely, not tested): {steps} of few "
    "photos are a short training for it, and the linear decoder already reads the 3 x 3 "
    "tokens around a place."
)
CONSTANTS = ("best constant", "chip centre", "a training position")  # guesses that look at nothing


def _source(file: str, found: dict) -> str:
    """Where a measured file's numbers come from; `found`: its content."""
    commit = found.get("commit") or "unknown"
    return f"metrics/{file}, `make ablate`" + (f", commit {commit}" if found else "")


# ------------------------------------------------------------------ ablation and stress


def ablation(found: dict) -> Part:
    """metrics/ablation.json as a table and sentences on the field's decoder and reading."""
    part = Part(
        "Ablation: one switch of the training changed", source=_source("ablation.json", found)
    )
    variants = found.get("variants", {})
    if len(variants) < 2:
        part.sentences = ["No ablation was run on this data (`make ablate` runs it on the sample)."]
        return part
    rows = []
    for name, values in variants.items():
        for key, v in values.items():
            if isinstance(v, dict) and v.get("difference") is not None and key in BY_NAME:
                rows.append(
                    {
                        "variant": name,
                        "metric": BY_NAME[key].label,
                        "mean": v["mean"],
                        "difference": v["difference"],
                        "low": v["low"],
                        "high": v["high"],
                        "verdict": _direction(v, BY_NAME[key].lower),
                    }
                )
    part.table = pd.DataFrame(rows)
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


def _direction(v: dict, lower: bool) -> str:
    if v.get("low") is None or v.get("high") is None:
        return ""
    if v["low"] <= 0 <= v["high"]:
        return "tie"
    return "better" if (v["difference"] < 0) == lower else "worse"


def _field(name: str, values: dict, found: dict) -> str:
    """Whether a decoder or reading beats the base, metric by metric; and why it may not be seen."""
    what, base = FIELD[name]
    said: dict[str, list[str]] = {}
    for key, v in values.items():
        if isinstance(v, dict) and v.get("difference") is not None and key in BY_NAME:
            metric = BY_NAME[key]
            interval = (
                ""
                if v.get("low") is None
                else f" [{metric.show(v['low'], True)}, {metric.show(v['high'], True)}]"
            )
            said.setdefault(_direction(v, metric.lower), []).append(
                f"{metric.label} {metric.show(v['difference'], True)}{interval}"
            )
    words = {
        "better": f"is better than {base} in",
        "worse": f"is worse than {base}, beyond the interval, in",
        "tie": f"does not differ from {base} beyond the interval in",
        "": f"has no interval against {base} in",
    }
    text = f"{what} " + "; it ".join(f"{words[k]} {', '.join(v)}" for k, v in said.items()) + "."
    if "tie" in said and not {"better", "worse"} & set(said):
        text += (
            f" A smaller gain could not be seen with {found.get('photos', '?')} photos at "
            f"{found.get('sites', '?')} sites and {found.get('steps', '?')} steps."
        )
    if name == "decoder-mlp" and said and set(said) != {"better"}:
        text += " " + WHY_MLP.format(steps=f"{found.get('steps', '?')} steps")
    return text


def stress(found: dict) -> Part:
    """metrics/stress.json: what each mode reaches and loses, and modes against one another."""
    part = Part(
        "Stress tests: places that are wrong by a known amount",
        source=_source("stress.json", found),
    )
    if not found:
        part.sentences = ["No stress test was run on this data."]
        return part
    rows = []
    for trained, levels in found.get("trained", {}).items():
        for name, v in levels.items():
            keys = (
                ("difference", "difference_low", "difference_high")
                if ("difference" in v)
                else ("mean", "low", "high")
            )
            value, low, high = (math.nan if v.get(k) is None else v[k] for k in keys)
            rows.append(
                {
                    "trained": trained,
                    "stress": name,
                    "number": keys[0],
                    "value": value,
                    "low": low,
                    "high": high,
                }
            )
            if keys[0] == "mean":
                part.sentences.append(
                    f"Trained as {trained}, places as they are: "
                    f"{with_interval(value, low, high)} recall@10 within a site."
                )
    part.table = pd.DataFrame(rows)
    costs = part.table[part.table["number"] == "difference"] if rows else part.table
    for trained, of in costs.groupby("trained", sort=False) if len(costs) else ():
        sure = of[of["high"] < 0]
        said = (
            ", ".join(
                f"{r.stress} ({with_interval(r.value, r.low, r.high)})" for r in sure.itertuples()
            )
            or "none"
        )
        part.sentences.append(
            f"Trained as {trained}, of {len(of)} levels these cost recall beyond "
            f"the interval: {said}."
        )
    part.sentences += [_gap(gap) for gap in found.get("gaps", [])]
    if "gaps" not in found:
        part.sentences.append(
            "The file holds no paired differences between modes; `make ablate` adds them."
        )
    return part


def _gap(gap: dict) -> str:
    """One mode of training against another, unstressed; `gap`: an entry of stress.json's `gaps`."""
    value, low, high = (
        100 * gap[k] if gap[k] is not None else math.nan for k in ("difference", "low", "high")
    )
    word = (
        "is not told apart, without an interval, from"
        if math.isnan(low) or math.isnan(high)
        else "does not differ beyond the interval from"
        if low <= 0 <= high
        else "is better than"
        if value > 0
        else "is worse than"
    )
    ends = "" if math.isnan(low) or math.isnan(high) else f" [{low:+.1f}, {high:+.1f}]"
    text = (
        f"Places as they are: trained as {gap['first']} {word} trained as {gap['second']}, "
        f"recall@10 within a site {value:+.1f}{ends} percentage points."
    )
    if (gap["first"], gap["second"]) == (MLP, LINEAR) and not low > 0:
        text += " " + WHY_MLP.format(steps="a few hundred steps")
    return text


# ------------------------------------------------------------------ own readings, the space itself


def readings(found: list[Line]) -> Part:
    """Our model read in other ways, each against its own mode, and metres against half a guess."""
    part = Part("The field, read in other ways", source="comparison.csv of each benchmark stage")
    words = {WINS: "worse", LOSES: "better", TIE: "undecided", NONE: "no interval"}
    rows = [
        {
            "task": x.task,
            "split": x.split,
            "metric": x.metric,
            "reading": a.name,
            "value": a.value,
            "ours": x.value,
            "ours minus reading": a.difference,
            "low": a.low,
            "high": a.high,
            "reading is": words[a.verdict],
        }
        for x in found
        for a in x.own
    ]
    part.table = pd.DataFrame(rows)
    for name in dict.fromkeys(r["reading"] for r in rows):
        said = [r["reading is"] for r in rows if r["reading"] == name]
        counts = ", ".join(
            f"{word} in {said.count(word)}" for word in words.values() if word in said
        )
        part.sentences.append(
            f"{name}: against our own reading, of {len(said)} judged numbers, {counts}."
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
    word = {
        WINS: "better, beyond the interval",
        LOSES: "worse, beyond the interval",
        TIE: "no difference beyond the interval",
        NONE: "no interval",
    }[a.verdict]
    return (
        f"Localisation, {OURS} (the likeliest disc) against {a.name}: {number(x.value)} m "
        f"against {number(a.value)} m in the median, difference "
        f"{with_interval(a.difference, a.low, a.high)} m: {word}."
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
        part.sentences = ["The stage `embed` has not run on this data."]
    return part
