"""The photo tower on photos in channels-last layout, as gairlib.sv takes them, and as they come.

The sample's tower (resnet10t of 32 to 256 channels) on 128 photos of 64 px, one thread: a step of
training (forward and backward) and a reading without gradients.
"""

import torch

from gairlib.sv import SVEncoder
from research.speed import measure

FULL = (128, 64, [32, 64, 128, 256])  # photos, pixels a side, channels
QUICK = (2, 32, [8, 8, 16, 16])


def run(quick: bool = False) -> dict:
    """Medians of seconds, side by side, and the greatest difference of the two readings."""
    photos, side, channels = QUICK if quick else FULL
    with measure.threads(1):
        return _measure(photos, side, channels, repeats=1 if quick else 9)


def _measure(photos: int, side: int, channels: list[int], repeats: int) -> dict:
    torch.manual_seed(0)
    encoder = SVEncoder(128, model="resnet10t", options={"channels": channels, "stem_type": ""})
    images = torch.randn(photos, 3, side, side)

    def plain():
        return encoder.activation(encoder.dense(encoder.tower(images)))

    def ours():
        return encoder(images)

    found = measure.side_by_side(
        {"plain": lambda: plain().sum().backward(), "ours": lambda: ours().sum().backward()},
        repeats,
    )
    numbers = {
        "train_plain_s": found["plain"],
        "train_s": found["ours"],
        "train_times_faster": found["plain"] / found["ours"],
    }
    encoder.eval()
    with torch.inference_mode():
        found = measure.side_by_side({"plain": plain, "ours": ours}, repeats)
        apart = float((plain() - ours()).abs().max())
    return {k: round(v, 3) for k, v in numbers.items()} | {
        "read_plain_s": round(found["plain"], 3),
        "read_s": round(found["ours"], 3),
        "read_times_faster": round(found["plain"] / found["ours"], 3),
        "largest_difference": apart,
        "photos": photos,
        "threads": 1,
    }
