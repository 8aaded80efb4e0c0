"""STAC items: what an output holds and how it was made, and what a model takes and gives.

`write_item` puts an item with the fields of STAC's embedding extension beside a GeoParquet file or
a COG of ours, out of that file's own metadata. `write_model_item` puts one with the fields of the
machine learning model extension (MLM) beside the weights.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import rasterio

from gairlib import files
from gairlib.bands import BANDS
from gairlib.data.scene import crs_name, outline
from gairlib.embed import export, geoparquet
from gairlib.errors import BadInput, extra
from gairlib.model import GAIR, WEIGHTS, weights_hash

PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
PARQUET = "application/vnd.apache.parquet"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_item(path: str | Path, *, model: str | None = None, sources: Sequence[str] = ()) -> Path:
    """The STAC item of an embedding file, beside it as <stem>.json.

    model: where the weights or their MLM item lie, a path or address (default: their hash);
    sources: of the scenes' own items. Where no row says when it was taken the item's time is the
    day of the embedding.
    """
    path = Path(path)
    read = _of_table if path.suffix == ".parquet" else _of_raster
    ring, times, weights, properties, media = read(path)
    longitudes, latitudes = np.array(ring).T
    made = {k: v for k, v in properties.items() if v not in (None, {}, [])}
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [geoparquet.EXTENSION, PROCESSING],
        "id": path.stem,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [
            *(float(v.min()) for v in (longitudes, latitudes)),
            *(float(v.max()) for v in (longitudes, latitudes)),
        ],
        "properties": {**_span(times, made["processing:datetime"]), **made},
        "links": [
            {"rel": "emb:model", "href": model or f"urn:sha256:{weights}"},
            *({"rel": "emb:source-data", "href": href} for href in sources),
        ],
        "assets": {"embeddings": {"href": f"./{path.name}", "type": media, "roles": ["data"]}},
    }
    return _write(path.with_suffix(".json"), item)


def _of_table(path: Path) -> tuple:
    facts, metadata = export.about(path), pq.read_schema(path).metadata
    where = json.loads(metadata[b"geo"])
    box = where["columns"][where["primary_column"]].get("bbox")
    if box is None:
        raise BadInput(f"{path}: holds no row, so that an item would lie nowhere")
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    times = []
    if "captured_at" in pq.read_schema(path).names:
        times = pq.read_table(path, columns=["captured_at"])[0].drop_null().to_pylist()
    properties = {
        "processing:datetime": f"{facts['date']}T00:00:00Z",
        "emb:runtime_parameters": {
            "kind": facts["kind"],
            "dimensions": facts["dim"],
            "bands": list(BANDS) if facts["kind"] == "chips" else None,
            **{k: facts[k] for k in export.SCALE if k in facts},
        },
        "emb:preprocessing": _expression(facts["preprocessing"]),
        "emb:postprocessing": {"format": "python", "expression": "x / numpy.linalg.norm(x)"},
        "emb:fit_for_use": json.loads(metadata[b"emb"])["emb:fit_for_use"],
    }
    return ring, times, facts["weights_sha256"], properties, PARQUET


def _of_raster(path: Path) -> tuple:
    with rasterio.open(path) as file:
        tags, shape = file.tags(), (file.width, file.height)
        crs = crs_name(file.crs, str(path))
        ring = [[x, y] for x, y in outline(file.transform, crs, *shape).exterior.coords]
        dtype, scales, offsets = file.dtypes[0], file.scales, file.offsets
    if "model_sha256" not in tags:
        raise BadInput(f"{path}: no provenance of gairlib in it; write_cog makes such files")
    quantised = {
        "method": "linear",
        "original_dtype": "float32",
        "quantized_dtype": dtype,
        "scale": list(map(float, scales)),
        "offset": list(map(float, offsets)),
    }
    properties = {
        "processing:datetime": f"{tags['created']}T00:00:00Z",
        "emb:runtime_parameters": {
            "bands": list(BANDS),
            **{k: tags[k] for k in ("chip", "query_mode", "resolution_m", "projection_sha256")},
        },
        "emb:preprocessing": _expression(tags["preprocessing"]),
        "emb:quantization": quantised if dtype == "int8" else None,
        "emb:fit_for_use": ["segmentation", "regression", "similarity_search"],
    }
    times = [] if tags["acquired"] == "unknown" else [tags["acquired"]]
    return ring, times, tags["model_sha256"], properties, COG


def _expression(preprocessing: str) -> dict:
    return {"format": "python", "expression": f"gairlib.preprocess.get({preprocessing!r})"}


def _span(times: Sequence[str], made: str) -> dict:
    """STAC's time of an item: one, or the first and the last."""
    texts = pd.Series(times, dtype=object)
    known = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601").dropna()
    if not len(known):
        return {"datetime": made}
    first, last = (t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in (known.min(), known.max()))
    if first == last:
        return {"datetime": first}
    return {"datetime": None, "start_datetime": first, "end_datetime": last}


def write_model_item(folder: str | Path) -> Path:
    """The MLM item of a model in a folder of `save_pretrained`, beside its weights as mlm.json:
    chips in, their field out. Needs the extra `stac`."""
    with extra("stac"):
        import pystac
        from pystac.extensions import mlm
    folder = Path(folder)
    model = GAIR.from_pretrained(folder)
    config, weights = model.config, weights_hash(folder)
    world = [[-180.0, -90.0], [180.0, -90.0], [180.0, 90.0], [-180.0, 90.0], [-180.0, -90.0]]
    item = pystac.Item(
        id=f"gairlib-{weights}",
        geometry={"type": "Polygon", "coordinates": [world]},
        bbox=[-180.0, -90.0, 180.0, 90.0],
        datetime=datetime.now(UTC).replace(microsecond=0),
        properties={"bands": [{"name": band} for band in BANDS]},
    )
    array = mlm.InputStructure.create
    size, batch = config.rs_size, ["batch", "channel", "height", "width"]
    field = mlm.ResultStructure.create(
        [-1, -1, config.dim], ["batch", "position", "embedding"], "float32"
    )
    tasks = [mlm.TaskType.SIMILARITY_SEARCH, mlm.TaskType.REGRESSION]
    how = mlm.ProcessingExpression.create(**_expression(config.preprocessing))
    described = mlm.MLMExtension.ext(item, add_if_missing=True)
    described.apply(
        name="gairlib",
        architecture="GAIR",
        tasks=tasks,
        framework="PyTorch",
        framework_version=_release(),
        total_parameters=sum(p.numel() for p in model.parameters()),
        pretrained=True,
        input=[
            mlm.ModelInput.create(
                "chips",
                list(BANDS),
                array([-1, len(BANDS), size, size], batch, "float32"),
                description="Sentinel-2 L2A, harmonised digital numbers",
                pre_processing_function=how,
            )
        ],
        output=[mlm.ModelOutput.create("field", tasks, field)],
        hyperparameters=mlm.Hyperparameters.create(**_plain(config.to_dict())),
    )
    asset = pystac.Asset(
        href=f"./{WEIGHTS}",
        media_type="application/octet-stream; framework=pytorch; format=safetensors",
        roles=["mlm:model", "mlm:weights"],
        extra_fields={"mlm:artifact_type": "safetensors.torch.save_file"},
    )
    item.add_asset("model", asset)
    return _write(folder / "mlm.json", item.to_dict(include_self_link=False))


def _release() -> str:
    import torch

    return torch.__version__.split("+")[0]


def _plain(config: Mapping) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def _write(path: Path, item: dict) -> Path:
    with files.atomic_write(path) as part:
        part.write_text(json.dumps(item, indent=1) + "\n", encoding="utf-8")
    return path
