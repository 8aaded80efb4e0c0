"""Rasters are opened by the drivers that are meant: no file of a data set leads elsewhere."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from builders.listening import listening
from builders.small_files import ramp, write_scene
from builders.small_scenes import write_band, write_bands

from gairlib.bands import BANDS
from gairlib.data import raster, scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.published import pictures


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with listening(tmp_path_factory.mktemp("server") / "log") as found:
        yield found


def vrt(source: str, like: Path, relative: int = 0, count: int = 10) -> str:
    """A text that GDAL takes for a raster whose pixels are those of another."""
    with rasterio.open(like) as one:
        place = ", ".join(map(repr, one.transform.to_gdal()))
        head = f'<VRTDataset rasterXSize="{one.width}" rasterYSize="{one.height}">'
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{k}"><Description>{BANDS[k - 1]}</Description>'
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        f"<SourceBand>{k}</SourceBand></SimpleSource></VRTRasterBand>"
        for k in range(1, count + 1)
    )
    where = f"<SRS>EPSG:32654</SRS><GeoTransform>{place}</GeoTransform>"
    return f"{head}{where}{bands}</VRTDataset>"


WMS = """<GDAL_WMS><Service name="TMS">
<ServerUrl>{url}/${{z}}/${{x}}/${{y}}.tif</ServerUrl></Service>
<DataWindow><UpperLeftX>500000</UpperLeftX><UpperLeftY>4600000</UpperLeftY>
<LowerRightX>502560</LowerRightX><LowerRightY>4597440</LowerRightY>
<SizeX>256</SizeX><SizeY>256</SizeY></DataWindow>
<Projection>EPSG:32633</Projection><BandsCount>10</BandsCount><DataType>UInt16</DataType>
</GDAL_WMS>"""


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "p/B{}.jp2", "p/B{}.tif"])
@pytest.mark.parametrize("kind", ["server", "absolute", "relative", "zip", "wms"])
def test_a_text_that_names_other_pixels_is_refused_by_name(tmp_path, server, name, kind):
    secret = write_scene(tmp_path / "secret/s.tif", ramp(10, 48, 48), baseline="04.00")
    source = {
        "server": f"/vsicurl/{server.url}/x.tif",
        "absolute": str(secret),
        "relative": "../../secret/s.tif",
        "zip": f"/vsizip/{tmp_path}/z.zip/s.tif",
        "wms": "",
    }[kind]
    text = WMS.format(url=server.url) if kind == "wms" else vrt(source, secret, kind == "relative")
    numbers = [b.removeprefix("B") for b in BANDS] if "{}" in name else [""]
    for number in numbers:
        path = tmp_path / "data/scenes" / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    data = Dataset(tmp_path / "data")
    assert data.scenes() == [] and server.asked() == []
    assert "describes other rasters" in data.rejected[0]["reason"]
    with pytest.raises(BadInput, match=f"{path.name}.*describes other rasters"):
        pictures.raster(path)


@pytest.mark.parametrize("suffix", [".ovr", ".OVR", ".msk", ".aux.xml", ".msk.ovr"])
def test_what_lies_beside_a_raster_leads_nowhere_either(tmp_path, server, suffix):
    path = write_scene(tmp_path / "data/scenes/a.tif", ramp(10, 600, 600), baseline="04.00")
    far = f"/vsicurl/{server.url}/o.tif"
    text = f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{far}</MDI></Metadata>'
    text = f"<PAMDataset>{text}</PAMDataset>" if "aux" in suffix else vrt(far, path)
    Path(f"{path}{suffix}").write_text(text)
    data = Dataset(tmp_path / "data")
    assert data.scenes() == [] and server.asked() == []
    assert f"a.tif{suffix} beside it names other files" in data.rejected[0]["reason"]


def test_overviews_named_in_a_files_own_tags_are_refused(tmp_path, server):
    path = write_scene(tmp_path / "a.tif", ramp(10, 600, 600))
    with rasterio.open(path, "r+") as source:
        source.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{server.url}/o.tif")
    with pytest.raises(BadInput, match="a.tif.*name another file as its overviews"):
        scenes.open_scene(path)
    assert server.asked() == []


def test_sound_files_beside_a_raster_are_used(tmp_path):
    path = write_scene(tmp_path / "a.tif", ramp(10, 600, 600), baseline="04.00")
    plain = scenes.open_scene(path)
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open(path, "r+") as source:
        source.build_overviews([2, 4])
    with rasterio.open(path) as source:
        source.stats(indexes=1) if hasattr(source, "stats") else None
    Path(f"{path}.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert Path(f"{path}.ovr").is_file()
    with raster.open_raster(path) as source:
        assert source.overviews(1) == [2, 4]
    assert scenes.open_scene(path).transform == plain.transform


def test_jpeg_2000_and_cogs_are_read(tmp_path):
    values = write_bands(tmp_path / "p", name="{band}.jp2", driver="JP2OpenJPEG")
    assert scenes.open_scene(tmp_path / "p").width == 96
    path = write_band(tmp_path / "named.tif", values["B02"], 10, driver="JP2OpenJPEG")
    with raster.open_raster(path) as source:
        assert source.driver == "JP2OpenJPEG"
    cog = tmp_path / "cog.tif"
    with rasterio.open(path) as source:
        rasterio.shutil.copy(source, cog, driver="COG")
    with raster.open_raster(cog) as source:
        np.testing.assert_array_equal(source.read(1), values["B02"])


@pytest.mark.parametrize("side, tile", [(20_000, 16_384), (100_000, 512), (200, 16_384)])
def test_a_file_of_nothing_but_gaps_is_refused_at_once(tmp_path, side, tile):
    path = tmp_path / "a.tif"
    options = {"tiled": True, "blockxsize": tile, "blockysize": tile, "interleave": "pixel"}
    options |= {"sparse_ok": True, "bigtiff": "yes", "dtype": "uint16", "crs": "EPSG:32654"}
    place = rasterio.transform.from_origin(388_000, 3_950_000, 10, 10)
    rasterio.open(
        path, "w", "GTiff", width=side, height=side, count=10, transform=place, **options
    ).close()
    assert os.path.getsize(path) < 2_000_000
    with pytest.raises(BadInput, match="a.tif.*little but gaps"):
        scenes.open_scene(path)
