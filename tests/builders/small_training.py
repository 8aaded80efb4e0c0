"""A training run of seconds on the tiny dataset: its model, its options, its pairs."""

from gairlib import GAIR, GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.pairs.pairing import pair
from gairlib.train import loop, prepare
from gairlib.train.engine import Engine
from gairlib.train.options import PretrainOptions

CONFIG = GAIRConfig.preset(
    "small",
    dim=32,
    rs_size=32,
    rs_patch=8,
    rs_depth=1,
    rs_heads=2,
    sv_size=32,
    sv_options={"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
)
OPTIONS = PretrainOptions(
    steps=12,
    chips_per_batch=4,
    photos_per_chip=3,
    checkpoint_every=3,
    validate_every=6,
    log_every=2,
    seed=3,
)


def pair_up(tiny, folder=None):
    """(dataset, pairs) of the tiny dataset, in chips of 32 px; stored where a folder is named."""
    dataset = Dataset(tiny)
    pairs = pair(
        dataset.street(),
        dataset.scenes(),
        folder=folder,
        chip_px=32,
        chip_m=320.0,
        max_photos=3,
        repeats_train=2,
        seed=0,
        progress=False,
    )
    return dataset, pairs


def train(model: GAIR, dataset, pairs, out, options=OPTIONS, towers=None):
    """Pretrain on the CPU into `out`, with the checkpoints in out/checkpoints; its summary."""
    data = prepare.batches(pairs, dataset, model.config, options)
    return loop.pretrain(
        model,
        data["train"],
        data.get("val"),
        out,
        options,
        checkpoints=out / "checkpoints",
        engine=Engine("cpu"),
        towers=towers,
        progress=False,
    )
