"""From params.yaml to what pretraining needs: options, the model with its first weights, batches.

A handful of pairs cannot train a model. With fewer than `min_pairs` training pairs weights are
taken as they are, those in `init` or else what `fallback` says (gairlib.train.fallback), and the
provenance written beside the weights says so in a sentence that the report repeats.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from gairlib import origins
from gairlib.assets import PREFIX
from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.files import atomic_write, sha256
from gairlib.model import GAIR
from gairlib.origins import Origin
from gairlib.pairs.store import Pairs
from gairlib.train import fallback, towers
from gairlib.train.batches import PairBatches
from gairlib.train.engine import Engine
from gairlib.train.loop import SPEED
from gairlib.train.options import PretrainOptions
from gairlib.train.towers import Tower, Tuning
from gairlib.weights import whole
from gairlib.weights.towers import TOWERS, Start, initialise

# keys: what a run starts from
INITIAL_WEIGHTS = ("init", "towers", "min_pairs", "fallback", "accept_licence")
MOVED = {"init_towers": 'towers: {rs: {start: "..."}, sv: {start: "..."}, ...}'}  # and what for
_OPTIONS = tuple(f.name for f in fields(PretrainOptions))
_ENGINE = tuple(f.name for f in fields(Engine))
KNOWN = (*INITIAL_WEIGHTS, *_OPTIONS, *_ENGINE)
SETTINGS = (*KNOWN, *MOVED)  # every key of the section `pretrain`, those that are refused too


@dataclass(frozen=True)
class Plan:
    """`train`: whether there is anything to train; `init`: weights to start from, "" for none;
    `towers`: where each tower's weights are from, see gairlib.weights.towers; `tuning`: those that
    are not trained like everything else, see gairlib.train.towers; `origins`: whose weights they
    are, see gairlib.origins; `aligned`: whether the towers share a space, `untrained`: those that
    have no weights at all, see gairlib.train.fallback."""

    train: bool
    init: str
    pairs: int
    sentence: str
    towers: dict = field(default_factory=dict)
    tuning: dict[str, Tuning] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()
    aligned: bool = True
    untrained: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where the weights are from, in a few words."""
        if self.train:
            return "trained here"
        if len(self.untrained) == len(TOWERS):
            return "none at hand"
        return "taken as they are" if self.aligned else "others' towers, taken as they are"


def make_plan(
    pairs: Pairs,
    *,
    init: str,
    min_pairs: int,
    asked: Mapping[str, Tower] | None = None,
    falls_back: bool = False,
) -> Plan:
    """Decides before any time is spent; Missing or BadInput where nothing can be done. falls_back:
    whether there are other weights than those in `init` for a run that cannot train."""
    named = [name for name, tower in (asked or {}).items() if tower.start]
    if init and named:
        raise BadInput(
            f"pretrain.init ({init}) and pretrain.towers ({', '.join(named)}) both "
            'name weights to start from: name one (init: "" for runs on your own data)'
        )
    for name, tower in (asked or {}).items():
        if not (init or tower.start) and (tower.rate != 1 or tower.anchor):
            raise BadInput(
                f"pretrain.towers.{name}: rate and anchor are for what was loaded, and it starts "
                "from nothing: name weights in its `start`, or drop them"
            )
    rows = pairs.manifest
    n = rows.loc[rows["split"] == "train", "photo_id"].nunique() if len(rows) else 0
    if init:
        whole.find(init)
    paired = f"{n:,} photo{'' if n == 1 else 's'} with a chip in the training split"
    if n >= min_pairs:
        start = (
            f"starting from {whole.words(init).rstrip(',')}"
            if init
            else "starting tower by tower"
            if named
            else "from scratch"
        )
        return Plan(True, init, n, f"{paired}: training {start}.")
    if init:
        return Plan(
            False,
            init,
            n,
            f"{paired}, fewer than "
            f"the {min_pairs:,} that training needs: {whole.words(init)} are taken as "
            "they are, nothing is trained here.",
        )
    if falls_back:
        few = (
            f"{paired}, fewer than the {min_pairs:,} that training needs: nothing is trained here."
        )
        return Plan(False, "", n, few)
    raise BadInput(
        f"{paired} and no weights to start from: "
        f"pretrain.min_pairs asks for {min_pairs}; pair more photos, lower it, or name "
        "a folder of weights in pretrain.init"
    )


def settings(section: Mapping[str, Any]) -> tuple[PretrainOptions, Engine]:
    """Section `pretrain` of params.yaml, taken apart; an unknown key is an error."""
    for key in MOVED:
        if key in section:
            raise BadInput(f"pretrain: {key} is no key any more; write {MOVED[key]} instead")
    if unknown := sorted(set(section) - set(SETTINGS)):
        raise BadInput(
            f"pretrain: unknown key {', '.join(unknown)}; known are {', '.join(sorted(KNOWN))}"
        )
    return (
        PretrainOptions(**{k: v for k, v in section.items() if k in _OPTIONS}),
        Engine(**{k: v for k, v in section.items() if k in _ENGINE}),
    )


def build_model(
    pairs: Pairs, model: Mapping[str, Any], section: Mapping[str, Any], *, required: bool = False
) -> tuple[GAIR, Plan]:
    """The model as training begins, and the plan.

    model: `preset` and `changes` of gairlib.GAIRConfig; section: `init` (weights of a whole model,
    see gairlib.weights.whole, that decide the config as well), `towers` (see gairlib.train.towers),
    `min_pairs`, `seed`, and for a run that cannot train `fallback` and `accept_licence` (see
    gairlib.train.fallback); without the key `fallback` that is BadInput. required: a hub that does
    not answer is an error, so that all ranks begin alike.
    """
    asked = towers.read(section.get("towers"))
    plan = make_plan(
        pairs,
        init=section.get("init", ""),
        min_pairs=section.get("min_pairs", 1),
        asked=asked,
        falls_back="fallback" in section,
    )
    scale = {k: pairs.chips.attrs.get(k) for k in ("chip_px", "chip_m")}
    if plan.init:
        built = whole.load(plan.init)
        if plan.train:
            built.config = built.config.replace(**scale)
        plan = replace(plan, origins=built.origins)
        names = built.state_dict()
        loaded = {t: [k for k in names if k.startswith(f"{t}.")] for t in asked}
        return built, _tuned(plan, asked, loaded) if plan.train else plan
    if not plan.train:
        found = fallback.take(model, section, asked)
        kept = {k: getattr(found, k) for k in ("init", "towers", "aligned", "untrained")}
        sentence = f"{plan.sentence} {found.sentence}"
        plan = replace(plan, sentence=sentence, origins=found.model.origins or (), **kept)
        return found.model, plan
    config = GAIRConfig.preset(model.get("preset", "small"), **(model.get("changes", {}) | scale))
    sources = {name: tower.start for name, tower in asked.items()}
    built, start = _started(config, sources, section.get("seed", 0), required)
    if start is None:
        return built, plan
    built.leaves_to = tuple(
        sources[name].removeprefix(PREFIX)
        for name in start.loaded
        if asked[name].rate == 0 and sources[name].startswith(PREFIX)
    )
    sentence = " ".join([plan.sentence, *start.sentences])
    plan = replace(plan, sentence=sentence, towers=start.provenance, origins=built.origins)
    return built, _tuned(plan, asked, start.loaded)


def _started(
    config: GAIRConfig, sources: Mapping[str, str], seed: int, required: bool
) -> tuple[GAIR, Start | None]:
    """The model with what `sources` name in it, and what was loaded; None where they name nothing.
    Where there are no weights for a photo tower with a net beside it, the net stands alone: the
    other one is there for its weights."""
    torch.manual_seed(seed)
    built = GAIR(config)
    built.origins = ()
    if not any(sources.values()):
        return built, None
    start = initialise(built, sources, required=required)
    if not (config.sv_side and sources["sv"]) or "sv" in start.loaded:
        return built, start
    alone = {"sv_model": config.sv_side, "sv_options": config.sv_side_options, "sv_side": ""}
    built, again = _started(config.replace(**alone), sources | {"sv": ""}, seed, required)
    again = again or Start([], {}, {})
    why = start.provenance["sv"]["reason"]
    said = f"The SV encoder is {config.sv_side} from scratch, without {config.sv_model}: {why}."
    towers = again.provenance | {"sv": start.provenance["sv"]}
    return built, Start([*again.sentences[:1], said, *again.sentences[2:]], towers, again.loaded)


def _tuned(plan: Plan, asked: Mapping[str, Tower], loaded: Mapping[str, list[str]]) -> Plan:
    """The plan with how the loaded tensors are trained, in its sentence and records too."""
    tuning = towers.tunings(asked, loaded)
    sentence = " ".join([plan.sentence, *towers.sentences(tuning)])
    records = plan.towers | {
        name: plan.towers.get(name, {}) | {"rate": t.rate, "anchor": t.anchor}
        for name, t in tuning.items()
    }
    return replace(plan, sentence=sentence, towers=records, tuning=tuning)


def initial_weights(plan: Plan) -> str:
    """What weights a run starts from, by content: a checkpoint of other ones is not resumed."""
    files = {tower: record.get("sha256") for tower, record in plan.towers.items()}
    if plan.init:
        files["init"] = sha256(whole.find(plan.init))
    return json.dumps(files, sort_keys=True)


def told(plan: Plan) -> dict[str, Any]:
    """What `loop.pretrain` is told of a plan: its arguments initial_weights and towers."""
    return {"initial_weights": initial_weights(plan), "towers": plan.tuning}


def batches(
    pairs: Pairs,
    dataset: Dataset,
    config: GAIRConfig,
    options: PretrainOptions,
    share: tuple[int, int] = (0, 1),
) -> dict[str, PairBatches]:
    """Batches of `train` (this rank's share) and, where the data has that split, `val` (all)."""
    found = [s for s in ("train", "val") if (pairs.manifest["split"] == s).any()]
    return {
        split: PairBatches(
            pairs,
            dataset,
            split=split,
            photo_size=config.sv_size,
            chips_per_batch=options.chips_per_batch,
            photos_per_chip=options.photos_per_chip,
            seed=options.seed,
            share=share if split == "train" else (0, 1),
        )
        for split in found
    }


def keep_initial_weights(model: GAIR, out: str | Path) -> dict:
    """Writes the weights that were loaded as this run's model; no training."""
    out = Path(out)
    shutil.rmtree(out / "live", ignore_errors=True)
    model.save_pretrained(out / "model")
    return {"steps": 0}


def write_records(summary: dict, plan: Plan, *, out: str | Path, metrics: str | Path) -> dict:
    """Metrics (what repeats; returned) and provenance (where the weights are from). Speed, which
    differs from run to run, goes to logs/ beside the folder of metrics, out of DVC's sight."""
    out, metrics = Path(out), Path(metrics)
    speed = {k: summary[k] for k in (*SPEED, "resumed_from_step") if k in summary}
    kept = {k: v for k, v in summary.items() if k not in speed}
    if plan.origins:
        kept["started_from"] = {o.part: f"{o.source} ({o.licence})" for o in plan.origins}
    provenance = {
        "source": plan.source,
        "init": plan.init,
        "towers": plan.towers,
        "steps": summary["steps"],
        "reason": plan.sentence,
        "licence": origins.licence(plan.origins, out),
        "origins": [asdict(origin) for origin in plan.origins],
    }
    if not plan.aligned:
        provenance |= {"aligned": False, "untrained": list(plan.untrained)}
    metrics.parent.mkdir(parents=True, exist_ok=True)
    for path, content in ((metrics, kept), (out / "provenance.json", provenance)):
        with atomic_write(path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n")
    log = metrics.parent.parent / "logs" / f"{metrics.stem}-speed.json"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps(speed, indent=1) + "\n")
    return kept
