"""Which weights made something: one hash, of a model's folder or of the model in memory."""

import hashlib
from pathlib import Path

from safetensors.torch import save

from gairlib.files import sha256
from gairlib.model import GAIR


def weights_hash(checkpoint: str | Path) -> str:
    """First 16 hex digits of the SHA-256 of a model folder's weights."""
    return sha256(Path(checkpoint) / "model.safetensors")[:16]


def model_hash(model: GAIR) -> str:
    """The same for a model in memory: what `weights_hash` gives once it is saved."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return hashlib.sha256(save(state)).hexdigest()[:16]
