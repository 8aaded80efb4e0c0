"""One run of an ablation: trains, then asks the validation photos for their places.

    python -m research.studies.ablation_run SPEC.json

Started by `research.studies.runs`, with one thread. The result is one JSON file with a column for
each question and a row for each photo, so that runs can be compared photo by photo. Four questions:

    place               photo -> RS field where it stands, among all validation photos
    site                the same among the photos of its own site
    coordinates         photo -> its coordinates
    field_coordinates   RS field -> the coordinates there: is it one space?

and `error_m`, the distance between where the photo stands and the most similar cell of its chip.
A field of directions is read as each photo's compass says; columns `unknown_...` are of the same
field with none known.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gairlib import devices, ranks
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.pairs import store
from gairlib.pairs.store import Pairs
from gairlib.train import loop, prepare
from research.evaluation import localisation
from research.studies import worker
from research.tasks.directions import reads
from research.tasks.query import Query, gather, one_a_photo
from research.tasks.reading import Reading, read
from research.tasks.retrieval import GUESSES

SPLIT = "val"  # the test sites are for the benchmarks alone
KS = (1, 10)


def validation_query(pairs: Pairs, dataset: Dataset, photo_px: int) -> Query:
    """The photos of the validation sites with their chips; BadInput where there are none."""
    rows = one_a_photo(pairs.manifest, SPLIT)
    if len(rows) < 2:
        raise BadInput(
            f"{len(rows)} photos in the split {SPLIT!r}: an ablation needs validation "
            "photos to judge by"
        )
    return gather(pairs, dataset, rows, "validation sites", photo_px)


def answers(query: Query, reading: Reading, places) -> pd.DataFrame:
    """Ranks of the true match and whether it is among the first k: a row a photo.

    reading: of photos and field; places [n, D]: embeddings of the coordinates where the photos
    stand. Ties count as broken at random.
    """
    found = {"photo_id": query.rows["photo_id"].astype(str).to_numpy(), "site": query.sites}
    every = np.ones(len(query.rows), bool)
    asked = {
        "place": reading.ranks(every),
        "site": reading.ranks(every, query.sites),
        "coordinates": ranks.match_ranks(reading.photos, places),
        "field_coordinates": ranks.match_ranks(reading.local, places),
    }
    for name, matches in asked.items():
        found |= {f"{name}_hit{k}": matches.recall_at(k) for k in KS}
        found[f"{name}_rank"] = matches.rank()
    return pd.DataFrame(found)


@devices.on_device
def evaluate(model: GAIR, query: Query, device: str = "auto") -> pd.DataFrame:
    """`answers` of a model, with `error_m` unless it reads a chip's mean, the same everywhere."""
    lonlat = query.rows[["lon", "lat"]].to_numpy(np.float64)
    with torch.inference_mode():
        places = model.encode_location(torch.from_numpy(lonlat).to(device), normalize=True)
    places = places.float().cpu().numpy()

    def judged(compass: bool) -> pd.DataFrame:
        reading = read(model, query, compass=compass, device=device)
        found = answers(query, reading, places)
        if model.config.query_mode != "mean":
            best = localisation.best_cell(reading.maps, reading.grid)
            found["error_m"] = localisation.errors_m(best, query.xy, query.size_m)
        return found

    found = judged(True)
    if reads(model):
        blind = judged(False).drop(columns=["photo_id", "site"])
        blind = blind[[c for c in blind if not c.startswith("coordinates")]]  # read no field
        found = found.join(blind.add_prefix("unknown_"))
    return found


def chance_error(query: Query) -> float:
    """Median distance in metres of a random point of the chip from where the photo stands."""
    n, rng = len(query.rows), np.random.default_rng(0)
    return float(
        np.median(
            [
                localisation.errors_m(rng.uniform(-1, 1, (n, 2)), query.xy, query.size_m)
                for _ in range(GUESSES)
            ]
        )
    )


def run(values: dict, pairs_folder: str, work: str | Path, keep: str | Path = "") -> dict:
    """Trains what `values` (sections data, model, pretrain) describe; returns the file's content.

    work: folder for checkpoints, from which an interrupted run goes on. keep: folder for the
    trained model, "" for none.
    """
    work = Path(work)
    dataset = Dataset(values["data"]["folder"], layouts=values["data"].get("layouts"))
    pairs = store.load(pairs_folder, store.LEARNING)
    options, engine = prepare.settings(values["pretrain"])
    section = {k: v for k, v in values["pretrain"].items() if k != "fallback"}  # it is to train
    model, plan = prepare.build_model(pairs, values["model"], section)[:2]
    if not plan.train:
        raise BadInput(f"nothing to train: {plan.sentence}")
    query = validation_query(pairs, dataset, model.config.sv_size)  # before an hour is spent
    data = prepare.batches(pairs, dataset, model.config, options)["train"]
    summary = loop.pretrain(
        model,
        data,
        None,
        work / "out",
        options,
        engine=engine,
        checkpoints=work / "checkpoints",
        progress=False,
        **prepare.told(plan),
    )
    if keep:
        model.save_pretrained(work / "kept")
        shutil.rmtree(keep, ignore_errors=True)
        (work / "kept").rename(keep)  # whole or not there
    found = evaluate(model, query, summary["device"])
    per_chip = data.rows.groupby("chip").size().clip(upper=options.photos_per_chip)
    return {
        "steps": options.steps,
        "seed": options.seed,
        "values": values,
        "photos_per_step": round(float(per_chip.mean()) * options.chips_per_batch, 1),
        "seconds": summary["seconds"],
        "resumed_from_step": summary["resumed_from_step"],
        "device": summary["device"],
        "split": SPLIT,
        "synthetic": bool(dataset.synthetic),
        "dataset": dataset.name,
        "chance_error_m": round(chance_error(query), 2),
        "photos": found.to_dict("list"),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command of the module's header."""
    return worker.serve(
        "research.studies.ablation_run",
        lambda spec: run(spec["values"], spec["pairs"], spec["work"], spec.get("model", "")),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
