"""The Mapillary source against a server on this machine that answers as the API does."""

import io
import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from gairlib.data import http, mapillary, mapillary_images, photo_tables
from gairlib.errors import BadInput, Missing

SECRET = "MLY|123|secret"
BOX = (7.41, 46.91, 7.49, 46.94)  # two tiles: the grid has an edge at 7.45


def jpeg(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG")
    return file.getvalue()


def image(name, lon, lat, **more) -> dict:
    return {
        "id": name,
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "computed_geometry": {"type": "Point", "coordinates": [lon + 1e-5, lat]},
        "compass_angle": 350.0,
        "computed_compass_angle": 361.5,
        "captured_at": 1717924792000,
        "is_pano": False,
        "camera_type": "perspective",
        "sequence": "s1",
        "creator": {"username": "jo", "id": "9"},
        **more,
    }


class Api:
    """The stand-in: images by id, and for each path a list of misdeeds before the true answer."""

    def __init__(self):
        self.images = {f"10{k}": image(f"10{k}", 7.415 + 0.01 * k, 46.92) for k in range(7)}
        self.files = {name: jpeg(int(name)) for name in self.images}
        self.page, self.cap, self.asked = 3, 10**6, []
        self.misdeeds: dict[str, list] = {}  # "/images" or "/file/<id>" -> status, headers, body
        self.lock = threading.Lock()

    def answer(self, path, query, headers):
        """(status, headers, body) of one request."""
        url = f"{path}?{json.dumps(query)}"
        with self.lock:
            self.asked.append((path, query))
            queue = self.misdeeds.get(path, [])
            misdeed = queue.pop(0) if queue else None
        if callable(misdeed):
            misdeed = misdeed()
        if misdeed is not None:
            return misdeed
        if path.startswith("/file/"):
            assert "Authorization" not in headers
            return 200, {}, self.files[path.split("/")[-1]]
        assert "secret" not in url
        if headers.get("Authorization") != f"OAuth {SECRET}":
            return 401, {}, {"error": {"type": "OAuthException", "code": 190}}
        if path != "/images":
            return 200, {}, self.with_link(self.images[path[1:]])
        west, south, east, north = (float(v) for v in query["bbox"].split(","))
        assert (east - west) * (north - south) < 0.01
        inside = [
            i
            for i in self.images.values()
            if west <= i["geometry"]["coordinates"][0] <= east
            and south <= i["geometry"]["coordinates"][1] <= north
        ]
        inside = inside[: self.cap]
        first = int(query.get("after", 0))
        body = {"data": [self.with_link(i) for i in inside[first : first + self.page]]}
        if first + self.page < len(inside):
            cursor = str(first + self.page)
            body["paging"] = {"cursors": {"after": cursor}, "next": f"x?access_token={SECRET}"}
        return 200, {}, body

    def with_link(self, entry):
        return {**entry, "thumb_1024_url": f"{self.url}/file/{entry['id']}?sig=1"}


@pytest.fixture
def api(monkeypatch):
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            status, headers, body = state.answer(parts.path, query, self.headers)
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                for name, value in ({"Content-Length": len(body)} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the client gave up waiting

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("MAPILLARY_TOKEN", SECRET)
    yield state
    server.shutdown()
    server.server_close()


def fetch(api, folder, **more):
    waits = more.pop("waits", [])
    settings = {"bbox": BOX, "tries": 3, "timeout": 5.0, "progress": False} | more
    with patch.object(http.Patience, "wait", waits.append):
        return mapillary.fetch(folder, base_url=api.url, **settings)


def rejected(folder) -> dict[str, str]:
    table = pd.read_csv(folder / "rejected.csv", dtype=str)
    return dict(zip(table["photo_id"], table["reason"]))


def contents(folder) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_all_images_of_a_box_come_with_their_metadata(api, tmp_path):
    counts = fetch(api, tmp_path)
    assert counts == {"listed": 7, "fetched": 7, "there_before": 0, "rejected": 0, "photos": 7}
    table = pd.read_parquet(tmp_path / "street.parquet")
    assert list(table["photo_id"]) == sorted(api.images)
    row = table.iloc[0]
    assert row["lon"] == 7.415 + 1e-5 and row["lat"] == 46.92  # the computed position
    assert row["heading"] == 350.0 and row["captured_at"] == "2024-06-09T09:19:52Z"
    assert row["photo_source"] == "Mapillary" and row["licence"] == "CC BY-SA 4.0"
    assert row["creator"] == "jo" and row["sequence"] == "s1" and not row["is_spherical"]
    for name in api.images:
        assert (tmp_path / f"street/{name}.jpg").read_bytes() == api.files[name]
    assert len([1 for path, _ in api.asked if path == "/images"]) == 3  # 4 and 3 images by threes
    assert not list(tmp_path.rglob("*.part")) and rejected(tmp_path) == {}
    assert not any(b"secret" in content for content in contents(tmp_path).values())
    ((photos, reasons),) = photo_tables.chunks(tmp_path / "street.parquet")
    assert len(photos) == 7 and reasons.isna().all()


def test_a_second_run_fetches_nothing_and_changes_nothing(api, tmp_path):
    fetch(api, tmp_path)
    before, asked = contents(tmp_path), len(api.asked)
    assert fetch(api, tmp_path)["there_before"] == 7
    assert contents(tmp_path) == before and len(api.asked) == asked


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(api, tmp_path):
    fetch(api, tmp_path / "whole")

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waits = type("Kill", (list,), {"append": lambda self, seconds: killed()})()
        api.misdeeds["/file/105"] = [(503, {}, b"")]
        fetch(api, tmp_path / "part", waits=waits)
    assert not (tmp_path / "part/street.parquet").exists()
    with open(tmp_path / "part/mapillary.jsonl", "a") as file:
        file.write('{"tile": "cut sho')
    before = len(api.asked)
    counts = fetch(api, tmp_path / "part")
    assert counts["photos"] == 7 and counts["there_before"] >= 4
    listings = [q["bbox"] for p, q in api.asked[before:] if p == "/images"]
    assert listings and all(box.startswith("7.45,") for box in listings)  # the first was finished
    for name in ("street.parquet", "rejected.csv"):
        same = [(tmp_path / run / name).read_bytes() for run in ("whole", "part")]
        assert same[0] == same[1]


def test_rate_limits_are_obeyed_and_server_errors_tried_again(api, tmp_path):
    busy = {"error": {"message": "slow down"}}
    api.misdeeds["/images"] = [
        (429, {"Retry-After": "7"}, busy),
        (500, {}, b"oops"),
        (200, {}, {"data": []}),
    ]
    api.misdeeds["/file/106"] = [(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")]
    waits = []
    counts = fetch(api, tmp_path, waits=waits)
    assert waits == [7.0, 2.0, 1.0] and counts["photos"] == 3 and counts["rejected"] == 0


def test_what_fails_for_good_is_listed_and_asked_for_again_by_the_next_run(api, tmp_path):
    good = api.files["101"]
    api.misdeeds["/images"] = [(500, {}, b"")] * 3  # the first tile: all three tries
    api.misdeeds["/file/104"] = [(503, {}, b"")] * 3
    api.misdeeds["/file/105"] = [(404, {}, b"")] * 2
    api.files["106"] = api.files["106"][:-200]  # served as whole: a truncated JPEG
    counts = fetch(api, tmp_path)
    why = rejected(tmp_path)
    assert why["tile 7.41,46.91,7.45,46.94"] == "HTTP 500" and why["104"] == "HTTP 503"
    assert why["105"] == "HTTP 404" and "street/106.jpg" in why["106"]
    assert "cut short" in why["106"] and counts["photos"] == 0 and counts["rejected"] == 4
    assert list((tmp_path / "street").iterdir()) == []
    api.files["106"] = good
    counts = fetch(api, tmp_path)
    assert counts["photos"] == counts["fetched"] == 7 and rejected(tmp_path) == {}


def test_timeouts_and_broken_transfers_are_tried_again(api, tmp_path):
    def late():
        time.sleep(0.4)
        return None

    api.misdeeds["/images"] = [late]
    api.misdeeds["/file/100"] = [(200, {"Content-Length": 10**6}, b"half")]
    waits = []
    counts = fetch(api, tmp_path, timeout=0.2, waits=waits)
    assert counts["photos"] == 7 and sorted(waits) == [1.0, 1.0]
    api.misdeeds["/images"] = [late] * 3
    fetch(api, tmp_path / "b", timeout=0.2, bbox=(7.41, 46.91, 7.44, 46.94), tries=2)
    assert "0.2 seconds" in rejected(tmp_path / "b").popitem()[1]


def test_an_expired_link_is_asked_for_anew(api, tmp_path):
    api.misdeeds["/file/102"] = [(403, {}, b"")]
    assert fetch(api, tmp_path)["photos"] == 7
    assert ("/102", {"fields": "thumb_1024_url"}) in api.asked


@pytest.mark.parametrize(
    "status, body",
    [(401, {}), (403, {}), (400, {"error": {"type": "OAuthException", "code": 190}})],
)
def test_a_refused_token_is_one_error_without_the_token(api, tmp_path, status, body):
    api.misdeeds["/images"] = [(status, {}, body)]
    with pytest.raises(BadInput, match=f"MAPILLARY_TOKEN.*HTTP {status}") as caught:
        fetch(api, tmp_path)
    assert "secret" not in str(caught.value) and len(api.asked) == 1


def test_a_wrong_or_missing_token(api, tmp_path, monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", "wrong")
    with pytest.raises(BadInput, match="HTTP 401") as caught:
        fetch(api, tmp_path)
    assert "wrong" not in str(caught.value)
    monkeypatch.delenv("MAPILLARY_TOKEN")
    with pytest.raises(BadInput, match="MAPILLARY_TOKEN.*not set"):
        fetch(api, tmp_path)


def test_without_a_network_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", SECRET)
    waits = []
    monkeypatch.setattr(http.Patience, "wait", waits.append)
    with pytest.raises(Missing, match="http://127.0.0.1:9"):
        mapillary.fetch(tmp_path, BOX, base_url="http://127.0.0.1:9", progress=False)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_crowded_tiles_are_quartered(api, tmp_path, monkeypatch):
    monkeypatch.setattr(mapillary, "PAGE", 3)
    api.cap = 3  # never more than three of a box, and no word of more
    assert fetch(api, tmp_path / "a")["photos"] == 7
    api.cap = 10**6
    large = {"error": {"message": "Please reduce the amount of data you're asking for", "code": 1}}
    api.misdeeds["/images"] = [(400, {}, large)]
    assert fetch(api, tmp_path / "b")["photos"] == 7


def test_limit_dates_and_images_without_a_place(api, tmp_path):
    api.images["100"] |= {"geometry": None, "computed_geometry": None}
    api.images["101"] |= {"computed_geometry": None, "computed_compass_angle": None, "is_pano": 1}
    api.answer, true = (
        lambda p, q, h: (
            true(p, q, h)
            if p != "/images"
            else (200, {}, {"data": [api.with_link(api.images[n]) for n in ("101", "100", "102")]})
        ),
        api.answer,
    )
    counts = fetch(api, tmp_path, limit=2, start="2023-05-01", end="2024-01-01T12:00:00+02:00")
    table = pd.read_parquet(tmp_path / "street.parquet")
    assert counts["listed"] == 2 and list(table["photo_id"]) == ["101"]
    assert table["lon"][0] == api.images["101"]["geometry"]["coordinates"][0]
    assert table["heading"][0] == 350 and table["is_spherical"][0]
    assert rejected(tmp_path) == {"100": "Mapillary gives no position"}
    assert not (tmp_path / "mapillary.jsonl").exists()  # the tile was not finished


def test_dates_reach_the_api_in_utc(api, tmp_path):
    fetch(api, tmp_path, start="2023-05-01", end="2024-01-01T12:00:00+02:00")
    query = api.asked[0][1]
    assert query["start_captured_at"] == "2023-05-01T00:00:00Z"
    assert query["end_captured_at"] == "2024-01-01T10:00:00Z"
    assert set(query["fields"].split(",")) >= {"id", "computed_geometry", "thumb_1024_url"}


@pytest.mark.parametrize(
    "more, match",
    [
        ({"size": 500}, "size: 500"),
        ({"limit": 0}, "limit: 0"),
        ({"start": "May"}, "start: 'May'"),
        ({"bbox": (1, 2, 3, 2)}, "bbox"),
        ({"bbox": (1, math.nan, 3, 4)}, "bbox"),
        ({"bbox": (1, 2, 1, 4)}, "bbox"),
        ({"bbox": (1, -91, 2, 4)}, "bbox"),
    ],
)
def test_wrong_settings_are_refused_before_any_request(api, tmp_path, more, match):
    with pytest.raises(BadInput, match=match):
        fetch(api, tmp_path, **more)
    assert api.asked == []


def test_a_table_of_ones_own_is_not_hidden(api, tmp_path):
    (tmp_path / "street.csv").write_text("photo_id,path,lon,lat\n")
    with pytest.raises(BadInput, match="street.csv"):
        fetch(api, tmp_path)


def test_images_without_an_id_are_rejected_one_by_one_and_are_no_photos(api, tmp_path):
    api.images = {"100": api.images["100"]}
    api.answer, true = (
        lambda p, q, h: (
            (200, {}, {"data": [{"id": None}, api.with_link(api.images["100"]), {}]})
            if p == "/images"
            else true(p, q, h)
        ),
        api.answer,
    )
    for _ in range(2):
        counts = fetch(api, tmp_path, bbox=(7.41, 46.91, 7.42, 46.93))
        assert counts["listed"] == 3 and counts["rejected"] == 2 and counts["photos"] == 1
        assert set(rejected(tmp_path).values()) == {"Mapillary gives no id"}
    assert list(pd.read_parquet(tmp_path / "street.parquet")["photo_id"]) == ["100"]


@pytest.mark.parametrize("given", [None, "None", "", True, 1.5e15, "null"])
def test_what_is_no_id_makes_no_photo(given):
    assert "id" in mapillary_images.row_of(image(given, 1, 2))["reason"]


def test_fields_of_an_image_may_come_as_text():
    def row(**more):
        return mapillary_images.row_of(image("1", 1, 2, **more))

    for given, wanted in (
        ("false", False),
        ("0", False),
        ("True", True),
        ("t", True),
        (None, False),
    ):
        assert row(is_pano=given)["is_spherical"] is wanted
    moment = "2021-05-05T13:46:57Z"
    for given in ("1620222417000", "2021-05-05T15:46:57+02:00", "2021_05_05_13_46_57_000", moment):
        assert row(captured_at=given)["captured_at"] == moment
    for given in ("soon", "0", 0, 1620222417, [1]):
        assert row(captured_at=given)["captured_at"] is None
    for given, wanted in (("12.5", 12.5), (360, 0.0), (361.5, 350.0), (-1, 350.0), (True, 350.0)):
        assert row(computed_compass_angle=given)["heading"] == wanted
    assert math.isnan(row(computed_compass_angle=655.35, compass_angle="north")["heading"])


def test_an_id_that_is_a_path_is_refused():
    assert "no image id" in mapillary_images.row_of(image("../x", 1, 2))["reason"]


@pytest.mark.parametrize(
    "box",
    [
        (7.41, 46.91, 7.62, 47.0),
        (179.93, -0.06, -179.93, 0.06),
        (-0.02, -0.02, 0.02, 0.02),
        (0.05, 0.1, 0.1, 0.15),
    ],
)
def test_tiles_cover_the_box_once(box):
    tiles = mapillary_images.tiles_of(box)
    width = (box[2] - box[0]) % 360
    area = sum((e - w) * (n - s) for w, s, e, n in tiles)
    assert area == pytest.approx(width * (box[3] - box[1]), rel=1e-9)
    assert all(0 < (e - w) * (n - s) < 0.01 for w, s, e, n in tiles)
    rng = np.random.default_rng(0)
    for _ in range(200):
        lon = (box[0] + rng.random() * width + 180) % 360 - 180
        lat = rng.uniform(box[1], box[3])
        assert sum(w < lon < e and s < lat < n for w, s, e, n in tiles) == 1


def test_a_session_of_the_caller_is_used(api, tmp_path):
    session = requests.Session()
    session.headers["User-Agent"] = "mine"
    seen, true = [], api.answer
    api.answer = lambda p, q, h: (seen.append(h["User-Agent"]), true(p, q, h))[1]
    fetch(api, tmp_path, session=session)
    assert set(seen) == {"mine"}


@pytest.mark.parametrize("size", [2048, "original"])
def test_the_size_that_was_asked_for_is_fetched(api, tmp_path, size):
    field = f"thumb_{size}_url"
    api.with_link = lambda entry: {**entry, field: f"{api.url}/file/{entry['id']}"}
    assert fetch(api, tmp_path / "a", size=size)["photos"] == 7
    assert field in api.asked[0][1]["fields"] and "thumb_1024_url" not in api.asked[0][1]["fields"]
    api.with_link = dict  # an image without that picture
    fetch(api, tmp_path / "b", size=size)
    assert set(rejected(tmp_path / "b").values()) == {f"Mapillary gives no {field}"}


def test_a_computed_position_of_0_0_is_none():
    zero = {"type": "Point", "coordinates": [0, 0]}
    image = {"id": "1", "geometry": {"type": "Point", "coordinates": [8.5, 47.3]}}
    row = mapillary_images.row_of({**image, "computed_geometry": zero})
    assert (row["lon"], row["lat"]) == (8.5, 47.3) and not row["position_computed"]
    assert "no position" in mapillary_images.row_of({**image, "geometry": zero})["reason"]


@pytest.mark.parametrize(
    "paging", [[1], "x", {"next": "x", "cursors": [1]}, {"next": "x", "cursors": {"after": {}}}]
)
def test_paging_of_another_form_is_the_last_page(api, tmp_path, paging):
    found = [api.with_link(api.images["100"])]
    api.misdeeds["/images"] = [(200, {}, {"data": found, "paging": paging})]
    assert fetch(api, tmp_path, bbox=(7.41, 46.91, 7.42, 46.93))["photos"] == 1


def test_pages_without_an_end_come_to_one(api, tmp_path, monkeypatch):
    monkeypatch.setattr(mapillary, "PAGES", 5)
    pages = ({"next": "x", "cursors": {"after": f"c{k}"}} for k in range(99))
    api.misdeeds["/images"] = [
        lambda: (200, {}, {"data": [image("9", 7.415, 46.92)], "paging": next(pages)})
    ] * 99
    counts = fetch(api, tmp_path, bbox=(7.41, 46.91, 7.42, 46.93))
    assert counts["photos"] == 0 and len(api.asked) == 5
    assert rejected(tmp_path) == {"tile 7.41,46.91,7.42,46.93": "more than 5 pages of images"}
