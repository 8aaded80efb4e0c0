"""STAC items beside outputs and weights, valid by the schemas of the extensions that they name."""

import json
import re
from pathlib import Path

import pytest
import rasterio

from gairlib.embed import export, item
from gairlib.embed.dense import sample, write_cog
from gairlib.embed.pca import fit
from gairlib.errors import BadInput
from gairlib.model import model_hash

jsonschema = pytest.importorskip("jsonschema")
pystac = pytest.importorskip("pystac")
SCHEMAS = Path(__file__).resolve().parents[2] / "builders/schemas"
CHIP = dict(chip_px=32, chip_m=320.0)


def errors(about: dict, name: str) -> list:
    """By a schema; what it takes from other extensions' schemas is let through."""
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    text = (SCHEMAS / f"{name}.json").read_text()
    stand_ins = {}
    for address, pointer in re.findall(r'"\$ref":"(https://[^"#]+)#?([^"]*)"', text):
        here = stand_ins.setdefault(address, {})
        for step in pointer.strip("/").split("/") if pointer else ():
            here = here.setdefault(step, {})
    registry = Registry().with_resources(
        (address, Resource(schema, DRAFT7)) for address, schema in stand_ins.items()
    )
    schema = json.loads(text)
    return [
        e.message for e in jsonschema.Draft7Validator(schema, registry=registry).iter_errors(about)
    ]


def valid(path: Path, name: str) -> dict:
    about = json.loads(path.read_text())
    pystac.Item.from_dict(about)
    assert errors(about, name) == []
    return about


def test_an_item_beside_each_table(embedded, tmp_path):
    model, dataset, folder = embedded
    for kind in ("chips", "photos", "places"):
        path = tmp_path / f"{kind}.parquet"
        path.write_bytes((folder / f"{kind}.parquet").read_bytes())
        source = "https://example.org/scenes/bern.json"
        about = valid(item.write_item(path, sources=[source]), "emb")
        run = about["properties"]["emb:runtime_parameters"]
        assert run["kind"] == kind and run["dimensions"] == 16
        assert run.get("chip_px") == (32 if kind == "chips" else None)
        links = {link["rel"]: link["href"] for link in about["links"]}
        assert links["emb:model"] == f"urn:sha256:{model_hash(model)}"
        assert links["emb:source-data"] == source
        west, south, east, north = about["bbox"]
        assert west <= min(dataset.street()["lon"]) + 1 and south < north and west < east
    about["properties"]["emb:dimensions"] = 16  # a field of collections
    assert errors(about, "emb")
    empty = tmp_path / "none.parquet"
    frame = export.no_chips()
    made = dict(checkpoint=folder / "model", dataset=dataset, preprocessing="gairlib")
    export.write(frame, empty, **made)
    with pytest.raises(BadInput, match="no row"):
        item.write_item(empty)


def test_an_item_beside_a_cog_says_how_numbers_are_stored(embedded, tmp_path):
    model, dataset, _ = embedded
    scene = dataset.scene("bern")
    axes = fit(sample(model, scene, chips=4, **CHIP), 3)
    path = tmp_path / "field.tif"
    write_cog(model, scene, path, projection=axes, dtype="int8", progress=False, **CHIP)
    about = valid(item.write_item(path, model="model/mlm.json"), "emb")
    stored = about["properties"]["emb:quantization"]
    with rasterio.open(path) as file:
        assert stored["scale"] == list(file.scales) and stored["offset"] == list(file.offsets)
    assert about["properties"]["emb:runtime_parameters"]["query_mode"] == model.config.query_mode
    west, south, east, north = about["bbox"]
    assert west < dataset.street().query("site == 'bern'")["lon"].median() < east
    rasterio.open(
        tmp_path / "other.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8",
        crs="EPSG:32632", transform=scene.transform,
    ).close()  # fmt: skip
    with pytest.raises(BadInput, match="no provenance"):
        item.write_item(tmp_path / "other.tif")


def test_an_item_beside_the_weights(embedded, tmp_path):
    model, _, _ = embedded
    model.save_pretrained(tmp_path)
    about = valid(item.write_model_item(tmp_path), "mlm")
    assert about["id"].endswith(model_hash(model))
    (chips,) = about["properties"]["mlm:input"]
    assert chips["input"]["shape"] == [-1, 10, 32, 32] and len(chips["bands"]) == 10
    assert about["properties"]["mlm:output"][0]["result"]["shape"][-1] == 16
    del about["properties"]["mlm:architecture"]
    assert errors(about, "mlm")
