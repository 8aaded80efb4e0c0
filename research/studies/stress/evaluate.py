"""One trained model under all stresses: a process of one thread, started by research.studies.runs.

    python -m research.studies.stress.evaluate SPEC.json

Every chip is cut from its scene, encoded once, and read at all places that any level asks for, in
the mode that the model was trained in; unstressed pairs and noisy ones also in the other modes. A
field of directions is read in those of the photos, and as another mode with none known. The
result is one JSON file with the rank of every photo's own place, among the photos of its site and
among all: how many places were more similar, and how many as similar.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from affine import Affine

from gairlib import devices, preprocess
from gairlib.config import QUERY_MODES
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.embed import encode
from gairlib.errors import BadInput, Missing
from gairlib.model import GAIR
from gairlib.pairs import store
from gairlib.ranks import match_ranks
from gairlib.rs.base import Features
from research.evaluation.splits import sites_of
from research.studies import worker
from research.studies.stress import perturb
from research.studies.stress.levels import NONE, Level, make_levels, own_boxes
from research.tasks.query import chip_size_m, held_out

BATCH = 32  # chips
GALLERIES = ("site", "all")
OTHERS = (NONE, "noise")  # read in modes that the model was not trained in, too
UNKNOWN = ", compass unknown"  # behind the mode of a field of directions


def modes_of(model: GAIR) -> list[str]:
    """The mode that a model was trained in, then the others that it can be read in."""
    own = model.config.query_mode
    blind = [own + UNKNOWN] if model.config.reads_headings else []
    rest = [m for m in QUERY_MODES if m != own and (m != "nili" or model.field is not None)]
    return [own, *blind, *rest]


def answers(number: int, mode: str, level: Level) -> bool:
    """Whether a level is read in the mode of that number of `modes_of`."""
    right = level.stress == "compass" and not level.value  # what a wrong compass is compared with
    return not number or level.stress in OTHERS or (right and mode.endswith(UNKNOWN))


@devices.on_device
@torch.inference_mode()
def local(
    model: GAIR,
    scenes: Mapping[str, Scene],
    ids: Sequence[str],
    levels: Sequence[Level],
    usable: Mapping[str, np.ndarray],
    modes: Sequence[str],
    size_px: int,
    device: str = "auto",
) -> np.ndarray:
    """What the field says at every level's places: float32 [mode, level, n, D] of unit length.

    ids [n]: each photo's scene. Photos that a stress does not take are NaN there.
    """
    prep, config = preprocess.get(model.config.preprocessing), model.config
    out = np.full((len(modes), len(levels), len(ids), config.dim), np.nan, np.float32)
    directed = model.config.reads_headings
    asked: dict[str, dict[tuple, list]] = {}
    for number, level in enumerate(levels):
        xy = perturb.box_xy(level.targets, level.boxes)
        for i in np.flatnonzero(usable[level.stress]):
            box = tuple(np.round(level.boxes[i], 6))
            entry = (number, i, *xy[i], level.looks[i])
            asked.setdefault(ids[i], {}).setdefault(box, []).append(entry)
    for name, boxes in asked.items():
        keys = sorted(boxes, key=lambda box: len(boxes[box]))  # few empty slots in a batch
        pixel_m = pixel_size_m(scenes[name])
        with Reader(scenes[name]) as reader:
            for start in range(0, len(keys), BATCH):
                part = keys[start : start + BATCH]
                dn = np.stack([reader.chip(*box, size_px).values for box in part])
                chips = prep.rs(torch.from_numpy(dn.astype(np.float32)), config.rs_size)
                encoded = model.encode_rs(chips, side_m=np.array(part)[:, 2:] * pixel_m)
                for m, mode in enumerate(modes):
                    wanted = [[f for f in boxes[b] if answers(m, mode, levels[f[0]])] for b in part]
                    _read(model, encoded, wanted, mode, directed and not m, out[m])
    return out


def pixel_size_m(scene: Scene) -> np.ndarray:
    """Width and height in metres of the pixel in a scene's middle [2]."""
    middle = scene.transform @ Affine.translation(scene.width / 2, scene.height / 2)
    return np.array(chip_size_m(str(scene.crs), middle, 1))


def _read(
    model: GAIR, encoded: Features, asked: list[list], mode: str, directed: bool, out: np.ndarray
) -> None:
    """Reads chips at their lists of (level, photo, x, y, look) into out [level, n, D]; directed:
    whether in the directions `look`."""
    some = [b for b, found in enumerate(asked) if found]
    if not some:
        return
    xy = np.zeros((len(some), max(len(asked[b]) for b in some), 2))  # empty slots are dropped
    looks = np.zeros(xy.shape[:2])
    for k, b in enumerate(some):
        xy[k, : len(asked[b])] = [f[2:4] for f in asked[b]]
        looks[k, : len(asked[b])] = [f[4] for f in asked[b]]
    values = model.query_rs(
        encoded.of(some),
        torch.from_numpy(xy.clip(-1, 1)),
        mode=mode.removesuffix(UNKNOWN),
        normalize=True,
        heading=looks if directed else None,
    )
    for k, b in enumerate(some):
        out[[f[0] for f in asked[b]], [f[1] for f in asked[b]]] = (
            values[k, : len(asked[b])].float().cpu()
        )


def ranks(
    photos: np.ndarray,
    fields: np.ndarray,
    levels: Sequence[Level],
    usable: Mapping[str, np.ndarray],
    sites: np.ndarray,
    modes: Sequence[str],
) -> list[dict]:
    """A row a (mode, level, gallery): `better` and `tied`, counts of the photos that it takes."""
    found = []
    for m, mode in enumerate(modes):
        for number, level in enumerate(levels):
            take = usable[level.stress]
            if not take.any() or not answers(m, mode, level):
                continue
            for gallery in GALLERIES:
                groups = sites[take] if gallery == "site" else None
                got = match_ranks(photos[take], fields[m, number, take], groups)
                found.append(
                    {
                        "mode": mode,
                        "stress": level.stress,
                        "level": level.value,
                        "gallery": gallery,
                        "better": got.better.astype(int).tolist(),
                        "tied": got.tied.astype(int).tolist(),
                    }
                )
    return found


def run(values: dict, pairs_folder: str) -> dict:
    """values: `data` (as in params.yaml), `model` (folder), `levels`, `noise_seed`."""
    dataset = Dataset(values["data"]["folder"], layouts=values["data"].get("layouts"))
    pairs = store.load(pairs_folder)
    model = GAIR.from_pretrained(values["model"])
    rows, label = held_out(pairs.manifest)
    if len(rows) < 2:
        raise BadInput(f"{len(rows)} photos with a chip in {pairs_folder}: two are needed")
    scenes = {s.id: s for s in dataset.scenes()}
    if lacking := sorted(set(rows["scene_id"]) - set(scenes)):
        raise Missing(f"{dataset.folder}: scene {lacking[0]} of the pairs is not there; pair anew")
    boxes = own_boxes(pairs, rows, scenes)
    levels, usable = make_levels(rows, boxes, scenes, values["levels"], values["noise_seed"])
    if not model.config.reads_headings:
        levels = [level for level in levels if level.stress != "compass"]
    modes = modes_of(model)
    images = encode.read_photos(dataset, rows, model.config.sv_size)
    photos = encode.encode_photos(model, images)
    fields = local(
        model,
        scenes,
        rows["scene_id"].tolist(),
        levels,
        usable,
        modes,
        pairs.chips["chips"].shape[-1],
    )
    sites = sites_of(rows)
    return {
        "own": modes[0],
        "split": label,
        "dataset": dataset.name,
        "synthetic": bool(dataset.synthetic),
        "sites": sites.tolist(),
        "photos": rows["photo_id"].astype(str).tolist(),
        "usable": {k: v.tolist() for k, v in usable.items()},
        "ranks": ranks(photos, fields, levels, usable, sites, modes),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command of the module's header."""
    return worker.serve(
        "research.studies.stress.evaluate",
        lambda spec: run(spec["values"], spec["pairs"]),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
