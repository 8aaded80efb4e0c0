"""What the tasks' own lines do not hold: trained location encoders, the ablation, stress tests,
and how far apart true and false pairs lie in the space."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.ablation_table import BY_NAME
from gairlib.benchmark_table import OURS
from gairlib.errors import BadInput
from gairlib.location_baselines import NEAREST
from gairlib.location_benchmark import CHOSEN, PROBE
from gairlib.report_words import number, with_interval
from gairlib.scoreboard.lines import LOSES, NONE, TIE, WINS, Line

# what an ablation's variants say about the field; its base reads it by linear NILI
FIELD = {"decoder-mlp": ("An MLP decoder of NILI", "the linear one"),
         "mode-bilinear": ("Bilinear reading of the tokens", "linear NILI"),
         "mode-nearest": ("Reading the nearest token", "linear NILI"),
         "mode-bicubic": ("Bicubic reading of the tokens", "linear NILI"),
         "mode-mean": ("The chip's mean", "linear NILI")}


@dataclass
class Part:
    """A section of the page: sentences, a table (or none), where it comes from."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: str = ""  # file, stage, command


def read(path: str | Path) -> dict:
    """A metrics file, {} where there is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as problem:
        raise BadInput(f"{path}: not readable as JSON ({problem}); run its stage again") from None


# ------------------------------------------------------------------ trained location encoders


def registry(rows: pd.DataFrame, comparisons: pd.DataFrame) -> Part:
    """Location encoders trained end to end against distance-weighted 5-NN, a row a task and split.

    The encoder is "chosen encoder" (by inner folds) where the task has it. Without it, it is the
    best by test score, which flatters, and the sentence says so.
    """
    mean = rows[rows["seed"].astype(str) == "mean"]
    trained = mean[(mean["probe"] == PROBE) & mean["metric"].isin(["R2", "accuracy"])]
    found = []
    for (task, split, metric), part in trained.groupby(["task", "split", "metric"], sort=False):
        same = mean[(mean["task"] == task) & (mean["split"] == split) & (mean["metric"] == metric)]
        near = same[same["encoder"] == NEAREST]
        if not len(near):
            continue
        chosen = part[part["encoder"] == CHOSEN]
        row = chosen.iloc[0] if len(chosen) else part.loc[part["value"].idxmax()]
        c = comparisons[(comparisons["task"] == task) & (comparisons["split"] == split)
                        & (comparisons["metric"] == metric) & (comparisons["baseline"] == NEAREST)
                        & (comparisons["encoder"] == row["encoder"])]
        gap = c.iloc[0] if len(c) else {}
        single = part[part["encoder"] != CHOSEN]
        found.append({
            "task": task, "split": split, "metric": metric, "encoder": row["encoder"],
            "value": row["value"], "low": row["low"], "high": row["high"],
            "5-NN": near.iloc[0]["value"],
            "difference": gap.get("difference", row["value"] - near.iloc[0]["value"]),
            "difference low": gap.get("low", math.nan),
            "difference high": gap.get("high", math.nan), "verdict": gap.get("verdict", ""),
            "best by test score": single.loc[single["value"].idxmax(), "encoder"]
            if len(single) else "",
            "data": row["data"]})
    part = Part("Location encoders trained end to end", table=pd.DataFrame(found))
    if not found:
        part.sentences = ["No location encoder was trained end to end in this run "
                          "(`benchmark.location_encoders`; `make bench-all` trains all)."]
        return part
    for split, rows_of in part.table.groupby("split", sort=False):
        part.sentences.append(_beats(split, rows_of))
    if (part.table["encoder"] != CHOSEN).any():
        part.sentences.append("Where no encoder was chosen by inner folds, the one with the best "
                              "test score stands for the registry, which flatters it.")
    return part


def _beats(split: str, rows: pd.DataFrame) -> str:
    """"Under 10-degree blocks ... beats ... on k of n tasks. Not on: ..."."""
    ahead, sure = rows["difference"] > 0, rows["verdict"] == "wins"
    text = (f"{split}: the registry's encoder, trained end to end, beats distance-weighted 5-NN on "
            f"{int(ahead.sum())} of {len(rows)} tasks, on {int(sure.sum())} beyond the interval.")
    behind = [f"{r['task']} ({number(r['value'])} against {number(r['5-NN'])})"
              for r in rows[~ahead].to_dict("records")]
    return text + (f" It does not on {', '.join(behind)}." if behind else "")


# ------------------------------------------------------------------ ablation and stress


def ablation(found: dict) -> Part:
    """metrics/ablation.json as a table and sentences on the field's decoder and reading."""
    part = Part("Ablation: one switch of the training changed",
                source="metrics/ablation.json, `make ablate`")
    variants = found.get("variants", {})
    if len(variants) < 2:
        part.sentences = ["No ablation was run on this data (`make ablate` runs it on the sample)."]
        return part
    rows = []
    for name, values in variants.items():
        for key, v in values.items():
            if isinstance(v, dict) and v.get("difference") is not None and key in BY_NAME:
                rows.append({"variant": name, "metric": BY_NAME[key].label, "mean": v["mean"],
                             "difference": v["difference"], "low": v["low"], "high": v["high"],
                             "verdict": _direction(v, BY_NAME[key].lower)})
    part.table = pd.DataFrame(rows)
    part.sentences = [
        f"{found.get('dataset', 'this folder')} ({found.get('data', 'unknown')} data), "
        f"{found.get('steps', '?')} steps, {len(found.get('seeds', []))} seeds, "
        f"{found.get('photos', '?')} photos at {found.get('sites', '?')} validation sites; "
        "differences to the base, 95% intervals over seeds and sites."]
    part.sentences += [_field(name, variants[name], found) for name in FIELD if name in variants]
    if not set(FIELD) & set(variants):
        part.sentences.append("The ablation holds no variant of the field's decoder or reading, so "
                              "it says nothing of MLP against linear or NILI against bilinear.")
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
            interval = ("" if v.get("low") is None else
                        f" [{metric.show(v['low'], True)}, {metric.show(v['high'], True)}]")
            said.setdefault(_direction(v, metric.lower), []).append(
                f"{metric.label} {metric.show(v['difference'], True)}{interval}")
    words = {"better": f"is better than {base} in", "worse": f"is worse than {base} in",
             "tie": f"does not differ from {base} beyond the interval in",
             "": f"has no interval against {base} in"}
    text = f"{what} " + "; it ".join(f"{words[k]} {', '.join(v)}" for k, v in said.items()) + "."
    if "better" not in said:
        text += (f" A smaller gain could not be seen with {found.get('photos', '?')} photos at "
                 f"{found.get('sites', '?')} sites and {found.get('steps', '?')} steps.")
    return text


def stress(found: dict) -> Part:
    """metrics/stress.json: its sentences, if it brings any, and its numbers as they are."""
    part = Part("Stress tests: places that are wrong by a known amount",
                source="metrics/stress.json, `make stress`")
    if not found:
        part.sentences = ["No stress test was run on this data."]
        return part
    rows = []
    for trained, levels in found.get("trained", {}).items():
        for name, v in levels.items():
            keys = ("difference", "difference_low", "difference_high") if (
                "difference" in v) else ("mean", "low", "high")
            value, low, high = (math.nan if v.get(k) is None else v[k] for k in keys)
            rows.append({"trained": trained, "stress": name, "number": keys[0], "value": value,
                         "low": low, "high": high})
            if keys[0] == "mean":
                part.sentences.append(f"Trained as {trained}, places as they are: "
                                      f"{with_interval(value, low, high)} recall@10 within a site.")
    part.table = pd.DataFrame(rows)
    costs = part.table[part.table["number"] == "difference"] if rows else part.table
    for trained, of in costs.groupby("trained", sort=False) if len(costs) else ():
        sure = of[of["high"] < 0]
        said = ", ".join(f"{r.stress} ({with_interval(r.value, r.low, r.high)})"
                         for r in sure.itertuples()) or "none"
        part.sentences.append(f"Trained as {trained}, of {len(of)} levels these cost recall beyond "
                              f"the interval: {said}.")
    return part


# ------------------------------------------------------------------ own readings, the space itself


def readings(found: list[Line]) -> Part:
    """Our model read in other ways, each against its own mode, and metres against half a guess."""
    part = Part("The field, read in other ways", source="comparison.csv of each benchmark stage")
    words = {WINS: "worse", LOSES: "better", TIE: "undecided", NONE: "no interval"}
    rows = [{"task": x.task, "split": x.split, "metric": x.metric, "reading": a.name,
             "value": a.value, "ours": x.value, "ours minus reading": a.difference, "low": a.low,
             "high": a.high, "reading is": words[a.verdict]} for x in found for a in x.own]
    part.table = pd.DataFrame(rows)
    for name in dict.fromkeys(r["reading"] for r in rows):
        said = [r["reading is"] for r in rows if r["reading"] == name]
        counts = ", ".join(f"{word} in {said.count(word)}" for word in words.values()
                           if word in said)
        part.sentences.append(f"{name}: against our own reading, of {len(said)} judged numbers, "
                              f"{counts}.")
    for x in found:
        if x.metric.startswith("localisation error") and x.blind:
            part.sentences.append(
                localisation(OURS, x.value, x.low, x.high, x.blind.name, x.blind.value))
            part.sentences += [localisation(a.name, a.value, math.nan, math.nan, x.blind.name,
                                            x.blind.value) for a in x.own]
    if not part.sentences:
        part.sentences = ["No task of this run reads the field in more than one way."]
    return part


def localisation(name: str, value: float, low: float, high: float, blind: str,
                 guess: float) -> str:
    """The figure to reach: a median error of at most half that of guessing blindly."""
    word = "at most half" if value <= guess / 2 else "more than half"
    return (f"Localisation, {name}: {with_interval(value, low, high)} m in the median, "
            f"{value / guess:.0%} of {blind}'s {number(guess)} m ({word}).")


def space(embed: dict) -> Part:
    """metrics/embed.json: cosines of true and of random pairs, and the gap between modalities."""
    part = Part("True and random pairs in the space", source="metrics/embed.json, stage `embed`")
    true, false = (embed.get(f"cosine_{k}_photo_place") for k in ("true", "random"))
    if true is not None and false is not None:
        part.sentences.append(
            f"Mean cosine of a photo and its own place {number(true)}, and a random place "
            f"{number(false)} ({embed.get('photos', 0):,} photos, training ones among them; no "
            "interval).")
    if (gap := embed.get("modality_gap_chip_photo")) is not None:
        part.sentences.append(
            f"The mean vectors of chips and photos lie {number(gap)} apart (0: one cloud; 2: "
            "opposite): the modalities share a space, and each keeps a region of its own to that "
            "extent.")
    if not part.sentences:
        part.sentences = ["The stage `embed` has not run on this data."]
    return part
