"""rs-landuse on a generated scene: polygons, pixels, chips and spectra against plain reckoning."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from builders.small_models import SMALL

from gairlib import GAIR, assets
from gairlib.bands import BANDS
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing, Skipped
from research.figures import landuse as drawn
from research.tasks import landuse, probing
from research.tasks.data import ONE_AREA
from research.tasks.task import Options

LEFT, TOP = 330_000.0, 5_822_000.0
WIDE, HIGH = 150, 90  # pixels: no multiple of a chip's 32
CRS = "EPSG:32633"

pytestmark = pytest.mark.filterwarnings("ignore:.*processing baseline")


def square(column, row, side):
    """A square of so many pixels, its corner on a pixel's."""
    x, y = LEFT + 10 * column, TOP - 10 * row
    return shapely.box(x, y - 10 * side, x + 10 * side, y)


def write(folder, rows, crs=CRS):
    folder.mkdir(parents=True, exist_ok=True)
    frame = gpd.GeoDataFrame(rows, columns=["fclass", "geometry"], crs=CRS).to_crs(crs)
    frame.to_file(folder / "landuse.gpkg")
    return folder


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    """25 fields and 25 lakes of 8 x 8 pixels, dark and bright, in a scene of noise; a lake mapped
    twice, a field of six pixels, one outside of the scene, and three marshes."""
    folder, rng = tmp_path_factory.mktemp("land") / "land", np.random.default_rng(5)
    values, rows = rng.integers(900, 1100, (10, HIGH, WIDE)), []
    for k in range(50):
        column, row, kind = 14 * (k % 10) + 5, 17 * (k // 10) + 3, k % 2
        values[:, row : row + 8, column : column + 8] = rng.integers(200, 600) + 2000 * kind
        rows.append((("water", "farm")[kind], square(column, row, 8)))
    rows += [("water", square(5, 3, 8)), ("farm", square(0, 0, 2)), ("farm", square(500, 3, 8))]
    rows += [("wetland", square(14 * k, 0, 8)) for k in range(3)]
    write(folder, rows, "EPSG:4326")
    (folder / "scenes").mkdir()
    with rasterio.open(
        folder / "scenes/real.tif",
        "w",
        driver="GTiff",
        width=WIDE,
        height=HIGH,
        count=10,
        dtype="uint16",
        crs=CRS,
        nodata=0,
        transform=Affine(10, 0, LEFT, 0, -10, TOP),
    ) as file:
        file.write(values.astype("uint16"))
        file.descriptions = BANDS
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    GAIR(SMALL).save_pretrained(folder)
    return Options(folder, seeds=2, bootstrap=50)


def test_pixels_of_a_polygon_are_those_whose_centres_lie_in_it(land):
    scene = Dataset(land).scenes()[0]
    x, y = (np.arange(WIDE) + 0.5) * 10 + LEFT, TOP - (np.arange(HIGH) + 0.5) * 10
    for shape in (
        shapely.Point(LEFT + 333, TOP - 412).buffer(97),
        shapely.Point(LEFT, TOP).buffer(155).difference(shapely.Point(LEFT, TOP).buffer(80)),
        shapely.Point(LEFT + 1500, TOP - 900).buffer(60),
        shapely.Polygon(),
        square(-50, -50, 3),
    ):
        naive = [
            (c, r)
            for r in range(HIGH)
            for c in range(WIDE)
            if shape.contains(shapely.Point(x[c], y[r]))
        ]
        assert landuse.pixels_in(scene, shape).tolist() == [list(p) for p in naive]


def test_what_is_small_or_mapped_twice_or_of_a_rare_class_is_left_out_and_said(land):
    found = landuse.polygons(Dataset(land))
    assert found.labels.tolist() == ["water", "farm"] * 25
    assert {len(p) for p in found.pixels} == {64}
    assert sorted(map(tuple, found.pixels[0])) == [
        (c, r) for c in range(5, 13) for r in range(3, 11)
    ]
    small, twice, offset, rare = found.notes
    assert offset.endswith("0, guessed from pixels")
    assert small.startswith("2 polygons") and twice.startswith("1 polygon")
    assert "2 of 3 classes" in rare and "50 of 53" in rare


def test_places_are_the_scenes_pixels_and_spectra_their_means(land, options):
    dataset = Dataset(land)
    data, found = landuse.LandUse().load(dataset, options), landuse.polygons(dataset)
    values, at = scenes.read(found.scene).astype(float), data.inputs
    assert at.chips.shape[1:] == (10, 32, 32) and np.abs(at.xy).max() < 1
    column, row = ((at.xy.T + 1) * 16).astype(int)
    here = at.chips[at.chip, :, row, column]
    points = np.concatenate(found.pixels)  # of 64 pixels all are read
    assert np.array_equal(here, values[:, points[:, 1], points[:, 0]].T)
    table = landuse.spectra(data)
    for i, inside in enumerate(found.pixels):
        own = values[:, inside[:, 1], inside[:, 0]]
        np.testing.assert_allclose(table[i], np.hstack([own.mean(1), own.std(1)]), atol=1e-6)
        middle = found.scene.to_lonlat(*(inside.mean(0) + 0.5))
        np.testing.assert_allclose(data.lonlat[i], middle)


def test_of_many_pixels_some_are_read_evenly():
    rows = np.arange(1000)[:, None]
    assert len(landuse.some(rows, 64)) == 64
    assert landuse.some(rows, 3)[:, 0].tolist() == [0, 500, 999]
    assert landuse.some(rows[:5], 64)[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_blocks_are_held_out_and_rivals_stand_in_the_same_table(land, options):
    task = landuse.LandUse()
    data = task.load(Dataset(land), options)
    assert any(note.startswith(ONE_AREA) for note in data.notes)
    for train, test in data.schemes[-1].folds(0):
        assert not {*data.clusters[train]} & {*data.clusters[test]}
    result = task.run(Dataset(land), options)
    assert (result.status, result.data, result.held_out) == ("ran", "real", "block")
    assert [key for key, *_ in result.mainline] == [
        "balanced_accuracy",
        "accuracy",
        "balanced_accuracy_random_folds",
    ]
    split = result.mainline[0][1]
    known = {
        name: result.row(split, name, landuse.BALANCED)["value"]
        for name in ("gair", "random init", landuse.SPECTRA, "majority")
    }
    assert known[landuse.SPECTRA] == 1.0 and known["majority"] <= 0.5 < known["gair"]
    assert result.metrics()["others"]["accuracy"][landuse.SPECTRA]["value"] == 1.0


def test_painted_polygons_have_the_colours_of_their_classes(land):
    found = landuse.polygons(Dataset(land))
    palette = drawn.colours(found.labels)
    picture = drawn.painted(found.pixels, found.labels, palette, (4, 2, 30, 20))
    assert picture[1, 1].tolist() == [*bytes.fromhex(palette["water"][1:]), 255]
    assert picture[1, 15].tolist() == [*bytes.fromhex(palette["farm"][1:]), 255]
    inside = {tuple(p) for p in np.concatenate(found.pixels)}
    naive = [[(c + 4, r + 2) in inside for c in range(30)] for r in range(20)]
    assert ((picture[..., 3] > 0) == naive).all()
    assert "<i" in drawn.key({"<b>": "#112233"}, "x") and "<b>" not in drawn.key({"<b>": "#1"}, "x")


def test_guesses_are_of_probes_that_never_saw_the_block(land, options):
    dataset = Dataset(land)
    data = landuse.LandUse().load(dataset, options)
    seen = []

    class Spy:
        def predict(self, train, test, scheme, seed):
            seen.append((train, test))
            return data.labels[test]

    rows, guess, _ = probing.guesses(data, Spy(), data.schemes[-1], 0)
    assert (guess == data.labels[rows]).all() and len(rows) == len(data.labels)
    assert all(not {*data.clusters[a]} & {*data.clusters[b]} for a, b in seen)


@pytest.mark.parametrize("rows", [[("farm", square(5, 3, 8))], []])
def test_too_few_polygons_are_skipped(land, options, tmp_path, rows):
    folder = write(tmp_path / "few", rows)
    (folder / "scenes").symlink_to(land / "scenes")
    result = landuse.LandUse().run(Dataset(folder), options)
    assert result.status == "skipped" and "polygons" in result.reason


def test_a_file_without_classes_is_named(land, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    gpd.GeoDataFrame({"use": ["a"]}, geometry=[square(0, 0, 9)], crs=CRS).to_file(
        folder / "landuse.gpkg"
    )
    (folder / "scenes").symlink_to(land / "scenes")
    with pytest.raises(BadInput, match=r"landuse\.gpkg.*fclass"):
        landuse.polygons(Dataset(folder))
    assert "landuse.gpkg" in landuse.LandUse().available(Dataset(land / "scenes"))


def test_an_asset_that_cannot_be_fetched_is_skipped_and_a_folder_is_itself(tmp_path, monkeypatch):
    def absent(name, fetch):
        assert (name, fetch) == ("brandenburg", True)
        raise Missing("asset brandenburg: no network")

    monkeypatch.setattr(assets, "find", absent)
    with pytest.raises(Skipped, match="not run.*brandenburg"):
        landuse.folder_of("asset:brandenburg")
    assert landuse.folder_of(str(tmp_path)) == tmp_path
