"""A model of ours on a hub: its files, and a model card whose head the hub can index.

Who publishes names the licence, since nobody else can. Where the weights started from others' that
forbid commercial use, another kind of licence is refused; what is known of the others stands in the
card and in origins.json.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from gairlib import hub, scale
from gairlib.errors import BadInput, Missing

NAME = "README.md"  # where a hub looks for it
TAGS = ["gair", "geospatial", "remote-sensing", "sentinel-2", "street-view", "geolocation"]
BODY = """
# {repository}

A GAIR model ([arXiv 2503.16683](https://arxiv.org/abs/2503.16683)): satellite chips, street-level
photos and coordinates in one space of {dim} values, with a continuous field over the chip.

```python
from gairlib import GAIR

model = GAIR.from_pretrained("{repository}")
```

- Chips: {bands} Sentinel-2 bands; trained on those of {scale}; preprocessing `{preprocessing}`
- Photos: {photos} px a side, tower `{sv}`; places: `{location}`
- Weights: `{hash}` (`gairlib.model.model_hash`)

## Whose weights it started from

{origins}
"""


def push(
    model: Any,
    repository: str,
    licence: str,
    weights: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """What GAIR.push_to_hub says; weights: its hash."""
    from huggingface_hub import HfApi

    if not hub.BARE.fullmatch(repository):
        raise BadInput(f"{repository!r} is no id of a hub; owner/name is needed")
    written = text(model, repository, licence, weights)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory(prefix="gairlib-") as folder:
        model.save_pretrained(folder, whole=True)
        (Path(folder) / NAME).write_text(written, encoding="utf-8")
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            found = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                commit_message=message or "Weights, config and card of a GAIR",
            )
        except Exception as error:  # whatever the network, the hub or its client raises
            why = str(error).strip().splitlines()[0]
            raise Missing(
                f"{repository}: the Hugging Face hub did not take it ({type(error).__name__}: "
                f"{why}); it needs a network, and a token that may write there"
            ) from error
    return found.oid


def text(model: Any, repository: str, licence: str, weights: str) -> str:
    """The card of a GAIR; licence: the hub's word for it ("mit", "cc-by-nc-4.0", "other", ...)."""
    from huggingface_hub import ModelCardData

    origins, c = model.origins, model.config
    bound = [o for o in origins or () if o.licence.upper().startswith("CC BY-NC")]
    if bound and not licence.lower().startswith("cc-by-nc"):
        raise BadInput(
            f"licence {licence!r}: {bound[0].part} started from {bound[0].source}, which is "
            f"{bound[0].licence}; what came of it is cc-by-nc-4.0, too"
        )
    ids = [re.match(r"hub:([^/]+/[^/@]+)", o.source) for o in origins or ()]
    head = ModelCardData(
        license=licence,
        library_name="gairlib",
        pipeline_tag="feature-extraction",
        tags=TAGS,
        base_model=sorted({found[1] for found in ids if found}) or None,
    )
    lines = [f"- {o.part}: {o.source}; {o.licence}. {o.citation}".rstrip() for o in origins or ()]
    unknown = "Nothing is known of it." if origins is None else "From nothing."
    body = BODY.format(
        repository=repository,
        dim=c.dim,
        bands=c.rs_bands,
        scale=scale.trained(c),
        preprocessing=c.preprocessing,
        photos=c.sv_size,
        sv=c.sv_model,
        location=c.location,
        hash=weights,
        origins="\n".join(lines) or unknown,
    )
    return f"---\n{head.to_yaml()}\n---\n{body}"
