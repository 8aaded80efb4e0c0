"""Points in footprints: the same pairs as shapely, at borders, +-180, poles, in bad input."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from gairlib.data.scene import outline
from gairlib.errors import BadInput
from gairlib.pairs.join import Footprints
from research.speed import join as bench_join


def strtree(polygons, lon, lat):
    """The oracle where no longitude has to be turned: shapely, sorted by (point, footprint)."""
    point, footprint = shapely.STRtree(polygons).query(shapely.points(lon, lat), "intersects")
    order = np.lexsort((footprint, point))
    return point[order], footprint[order]


def by_turns(polygons, lon, lat):
    """The oracle modulo 360: each polygon against each point at each turn."""
    hit = np.zeros((len(lon), len(polygons)), bool)
    for i, polygon in enumerate(polygons):
        for turn in range(-3, 4):
            hit[:, i] |= shapely.intersects_xy(polygon, np.asarray(lon) + 360.0 * turn, lat)
    return np.nonzero(hit)


def assert_same(got, want):
    assert got[0].dtype == np.int64 and got[1].dtype == np.int32
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


def star(random, x, y, size):
    """A polygon of 3 to 8 corners around (x, y), often slim, often concave."""
    angle = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 9)))
    radius = size * random.uniform(0.1, 1, len(angle))
    return Polygon(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]))


def scattered(seed, count=150, points=4000, spread=3.0):
    """Overlapping footprints of 100 m to 30 degrees, and points among them, on borders too."""
    random = np.random.default_rng(seed)
    size = 10.0 ** random.uniform(-3, np.log10(10 * spread), count)
    polygons = [star(random, *random.uniform(-spread, spread, 2), s) for s in size]
    corner = shapely.get_coordinates(polygons)
    along = shapely.get_coordinates(
        [shapely.line_interpolate_point(p.exterior, random.random()) for p in polygons]
    )
    xy = np.concatenate([random.uniform(-spread, spread, (points, 2)), corner, along])
    return polygons, *xy[random.permutation(len(xy))].T


@pytest.mark.parametrize("seed,spread", [(0, 0.05), (1, 3.0), (2, 3.0), (3, 6.0)])
def test_equals_shapely_on_overlapping_footprints_of_all_sizes(seed, spread):
    polygons, lon, lat = scattered(seed, spread=spread)
    want = strtree(polygons, lon, lat)
    assert len(want[0]) > 1000
    assert_same(Footprints(polygons).query(lon, lat), want)


def test_borders_to_the_last_bit():
    """Squares beside each other; points on their borders and one float beside."""
    polygons, lon, lat = [], [], []
    for level in (5, 7, 9, 12, 16):
        side = 360 / 2**level
        west, south = -180 + side * 2 ** (level - 2), -90 + side * 2 ** (level - 3)
        for dx, dy in ((0, 0), (1, 0), (0, 1)):
            polygons.append(
                box(
                    west + dx * side,
                    south + dy * side,
                    west + (dx + 1) * side,
                    south + (dy + 1) * side,
                )
            )
        x, y = np.meshgrid(west + side * np.arange(3) / 2, south + side * np.arange(3) / 2)
        for to_x in (-np.inf, 0, np.inf):
            for to_y in (-np.inf, 0, np.inf):
                lon.append(np.nextafter(x, to_x).ravel() if to_x else x.ravel())
                lat.append(np.nextafter(y, to_y).ravel() if to_y else y.ravel())
    lon, lat = np.concatenate(lon), np.concatenate(lat)
    assert_same(Footprints(polygons).query(lon, lat), strtree(polygons, lon, lat))


def test_holes_parts_seams_and_crossing_rings():
    ring = Polygon(box(0, 0, 10, 10).exterior.coords, [box(2, 2, 8, 8).exterior.coords])
    halves = MultiPolygon([box(20, 0, 25, 10), box(25, 0, 30, 10)])  # share a seam
    bow = Polygon([(40, 0), (50, 10), (50, 0), (40, 10)])  # crosses itself
    islands = MultiPolygon([box(0, 20, 1, 21), ring, box(40, 20, 41, 21)])
    polygons = [ring, halves, bow, Polygon(), islands]
    random = np.random.default_rng(5)
    lon, lat = random.uniform(-1, 51, 20_000), random.uniform(-1, 22, 20_000)
    lon[:8], lat[:8] = (5, 2, 8, 25, 25, 45, 45, 0), (5, 5, 2, 5, 0, 5, 2, 0)
    got = Footprints(polygons).query(lon, lat)
    assert_same(got, strtree(polygons, lon, lat))
    first = [got[1][got[0] == i].tolist() for i in range(8)]
    assert first == [[], [0, 4], [0, 4], [1], [1], [2], [], [0, 4]]


def test_rings_that_cross_themselves_count_by_the_even_odd_rule():
    random = np.random.default_rng(10)
    polygons = [Polygon(random.uniform(0, 5, (random.integers(4, 12), 2))) for _ in range(40)]
    assert sum(not p.is_valid for p in polygons) > 30
    lon, lat = random.uniform(0, 5, (2, 10_000))
    assert_same(Footprints(polygons).query(lon, lat), strtree(polygons, lon, lat))


def test_antimeridian_by_a_ring_beyond_180_and_by_a_cut():
    beyond, below = box(179, -10, 181, 10), box(-181.5, -10, -179.5, 10)
    cut = MultiPolygon([box(179, -10, 180, 10), box(-180, -10, -179, 10)])
    footprints = Footprints([beyond, below, cut, box(-180, -90, 180, 90), box(170, 0, 180, 5)])
    lon, lat = [179.2, 180.0, -180.0, -179.2, 178.9, -178.9, 540.0, 179.2 - 720], np.zeros(8)
    got = footprints.query(lon, lat)
    want = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 2, 3], [1, 3, 4], [3]]
    want += [want[1], want[0]]
    assert [got[1][got[0] == i].tolist() for i in range(8)] == want
    assert_same(footprints.query(np.array(lon) + 360, lat), got)


def test_180_and_what_is_beside_minus_180_stay_apart():
    lon, lat = [180.0, -179.99, 179.99, -180.0], [0.001] * 4
    got = Footprints([box(-179.995, 0, -179.9, 1), box(179.9, 0, 179.995, 1)]).query(lon, lat)
    assert_same(got, ([1, 2], [0, 1]))


@pytest.mark.parametrize("crs,east", [("EPSG:32601", 300_000.0), ("EPSG:32760", 740_000.0)])
def test_outlines_of_utm_scenes_at_the_antimeridian(crs, east):
    polygon = outline(Affine(10, 0, east, 0, -10, 7_000_000), crs, 10_980, 10_980)
    assert polygon.bounds[0] < -180 or polygon.bounds[2] > 180
    random = np.random.default_rng(6)
    lon = random.uniform(177, 183, 20_000) - 360.0 * random.integers(0, 2, 20_000)
    lat = random.uniform(*polygon.bounds[1::2], 20_000)
    point, footprint = Footprints([polygon]).query(lon, lat)
    want, _ = by_turns([polygon], lon, lat)
    np.testing.assert_array_equal(point, want)
    on_both_sides = np.sign((lon[point] + 180) % 360 - 180)
    assert set(on_both_sides) == {-1.0, 1.0} and not footprint.any()


def test_poles_and_far_longitudes():
    caps = [box(-180, 80, 180, 90), box(0, -90, 10, -80), box(-180, -90, 180, 90)]
    lon, lat = [0, 179, -180, 5, 5, 20, 1e17], [90, 90, 90, -90, -80, -90, 0]
    point, footprint = Footprints(caps).query(lon, lat)
    assert [footprint[point == i].tolist() for i in range(7)] == [
        [0, 2],
        [0, 2],
        [0, 2],
        [1, 2],
        [1, 2],
        [2],
        [2],
    ]


def test_many_points_at_a_pole():
    random = np.random.default_rng(11)
    lon, lat = random.uniform(-180, 180, 2000), np.minimum(random.uniform(80, 92, 2000), 90)
    polygons = [box(-180, 85, 180, 90), box(-60, 70, 70, 90), box(-180, -90, 180, 89.999)]
    for sign in (1, -1):
        turned = [shapely.affinity.scale(p, 1, sign, origin=(0, 0)) for p in polygons]
        assert_same(Footprints(turned).query(lon, sign * lat), strtree(turned, lon, sign * lat))


def test_empty_inputs_give_empty_answers():
    for polygons, lon in (([], []), ([], [1.0, 2.0]), ([box(0, 0, 1, 1)], []), ([Polygon()], [1])):
        point, footprint = Footprints(polygons).query(lon, lon)
        assert_same((point, footprint), ([], []))


@pytest.mark.parametrize(
    "lon,lat,says",
    [
        ([0, np.nan], [0, 0], "row 1 is .lon nan"),
        ([0, 0, 0], [0, 0, np.nan], "row 2 is .lon 0, lat nan"),
        ([np.inf], [0], "row 0"),
        ([45.0], [120.0], "swapped"),
        ([1.0, 2.0], [1.0], "one length"),
        ([[1.0]], [[1.0]], "one length"),
    ],
)
def test_points_that_cannot_be_used_are_named(lon, lat, says):
    with pytest.raises(BadInput, match=says):
        Footprints([box(0, 0, 1, 1)]).query(lon, lat)


def test_a_bad_point_is_named_by_its_row_in_the_table():
    lat = np.zeros(100)
    lat[57] = np.nan
    with pytest.raises(BadInput, match="row 57"):
        Footprints([box(0, 0, 1, 1)]).query(np.zeros(100), lat)


@pytest.mark.parametrize(
    "polygon,says",
    [
        (None, "footprint 1: NoneType"),
        (shapely.Point(0, 0), "footprint 1: Point"),
        (box(0, 0, 1, 91), "footprint 1: a corner"),
        (Polygon([(0, 0), (1, 0), (1, np.inf)]), "footprint 1: a corner"),
        (box(-200, 0, 200, 1), "footprint 1: 400 degrees wide"),
    ],
)
def test_footprints_that_cannot_be_used_are_named(polygon, says):
    with pytest.raises(BadInput, match=says):
        Footprints([box(0, 0, 1, 1), polygon])


@pytest.mark.parametrize(
    "polygon",
    [
        outline(Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632", 10_980, 10_980),
        Polygon([(8, 43), (8.1, 43), (12, 46), (11.9, 46)]),  # its box is nearly empty
    ],
)
def test_only_points_in_a_box_are_tested_one_by_one(monkeypatch, polygon):
    """What makes it fast."""
    tested = []
    exact = shapely.intersects_xy

    def counted(polygons, x, y):
        tested.append(len(x))
        return exact(polygons, x, y)

    random = np.random.default_rng(8)
    lon, lat = random.uniform(6, 14, 200_000), random.uniform(42, 47, 200_000)
    monkeypatch.setattr(shapely, "intersects_xy", counted)
    point, _ = Footprints([polygon]).query(lon, lat)
    monkeypatch.undo()
    np.testing.assert_array_equal(point, np.flatnonzero(exact(polygon, lon, lat)))
    west, south, east, north = polygon.bounds
    box_of_it = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    assert sum(tested) == box_of_it.sum() < len(lon)


def test_survives_pickling_and_threads():
    polygons, lon, lat = scattered(9)
    footprints = pickle.loads(pickle.dumps(Footprints(polygons)))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: footprints.query(lon, lat), range(8)))
    want = strtree(polygons, lon, lat)
    for answer in answers:
        assert_same(answer, want)


@st.composite
def worlds(draw):
    """Boxes and triangles with corners on a raster of 1/4 degree around +-180, or anywhere."""
    middle = draw(st.sampled_from([0.0, 180.0, -180.0]))
    steps = st.integers(-12, 12).map(lambda k: k / 4)
    corner = st.tuples(steps.map(lambda x: x + middle), steps)
    corners = st.lists(corner, min_size=3, max_size=5, unique=True)
    free = st.tuples(st.floats(middle - 3, middle + 3), st.floats(-3, 3))
    polygons = draw(st.lists(corners.map(Polygon), max_size=6))
    points = draw(st.lists(st.one_of(corner, free), max_size=30))
    return [p for p in polygons if p.is_valid], np.array(points, float).reshape(-1, 2)


@given(worlds(), st.integers(-2, 2))
@settings(max_examples=100, deadline=None)
def test_any_world_at_any_turn(world, turn):
    polygons, points = world
    got = Footprints(polygons).query(points[:, 0] + 360.0 * turn, points[:, 1])
    # quarter degrees turn exactly; free points may be rounded by the turn, so they are as given
    lon = points[:, 0] + 360.0 * turn - 360.0 * turn
    assert_same(got, by_turns(polygons, lon, points[:, 1]))


def test_bench_finds_the_same_pairs():
    ours, theirs = bench_join.ours(*bench_join.QUICK), bench_join.strtree(*bench_join.QUICK)
    assert ours["matches"] == theirs["matches"] > 5000
    assert ours["checksum"] == theirs["checksum"]


def test_bench_world_is_as_described():
    lon, lat = bench_join.points(5000)
    assert np.abs(lon).max() <= 180 and np.abs(lat).max() < 80
    tiles = bench_join.footprints(100)
    assert len(tiles) == 100 and all(len(t.exterior.coords) == 65 for t in tiles)
    south = np.array([t.bounds[3] - t.bounds[1] for t in tiles]) * 111.2
    assert (south > 105).all() and (south < 125).all()  # 109.8 km, a little more where it is turned
