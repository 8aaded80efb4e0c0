"""Street-level photos of a box from the Mapillary API v4 into a dataset folder.

    from gairlib.data import fetch_mapillary
    fetch_mapillary("data/bern", (7.42, 46.93, 7.46, 46.96), limit=2000)

The token comes from the environment variable MAPILLARY_TOKEN (mapillary.com/dashboard/developers)
and goes into a request header only: never into an address, a message or a file. The API searches
boxes below 0.01 square degrees, so the box is cut along a fixed grid of TILE degrees; a tile whose
answer is cut short without a next page, or that the server calls too large, is quartered.

Killed or failed runs go on where they stopped: mapillary.jsonl holds the images of each tile that
is listed and tried, and pictures that are there are not fetched again. A tile or picture that the
server would not give after several tries is listed in rejected.csv, and the next run asks again.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from gairlib import files
from gairlib.data import photo_rows, photos
from gairlib.data.http import Failed, Getter
from gairlib.data.mapillary_images import FIELDS, THUMBS, TILE, name_of, row_of, tiles_of
from gairlib.errors import BadInput, Missing, extra

with extra("stac"):
    import requests

API = "https://graph.mapillary.com"
TOKEN = "MAPILLARY_TOKEN"
SMALLEST = TILE / 64  # degrees; a tile this small (some 80 m) is quartered no more
PAGE = 500  # images asked for at a time; the API's own limit is 2000
PAGES = 2000  # of one tile: a million images in 20 square kilometres, which nobody has taken


def fetch(
    folder: str | Path,
    bbox: Sequence[float],
    *,
    limit: int | None = None,
    size: int | str = 1024,
    start: str | None = None,
    end: str | None = None,
    base_url: str = API,
    session: requests.Session | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    workers: int = 4,
    progress: bool = True,
) -> dict[str, int]:
    """Fetch the photos in bbox (west, south, east, north; degrees) into folder.

    Writes street/<id>.jpg, street.parquet (sorted by id; rows of earlier runs are kept) and
    rejected.csv (photo_id, reason). limit: at most so many images, in the order of tiles from
    south-west and of ids. size: 1024 or 2048 px wide, or "original"; pictures that are there stay,
    whatever their size. start, end: capture dates, ISO 8601. workers: pictures fetched at a time.
    tries, timeout (seconds): of each request, see `http`.
    Returns counts: listed, fetched, there_before, rejected, photos (rows of the table).
    BadInput: no token or a refused one, a wrong setting; Missing: no network.
    """
    tiles = tiles_of(bbox)
    if size not in THUMBS:
        raise BadInput(f"size: {size!r}; 1024, 2048 or 'original' is needed")
    if limit is not None and limit < 1:
        raise BadInput(f"limit: {limit}; at least 1, or None for all images")
    folder = Path(folder)
    if (folder / "street.csv").exists():
        raise BadInput(
            f"{folder / 'street.csv'}: the folder has a photo table of its own, which a "
            "street.parquet would hide; fetch into another folder"
        )
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise BadInput(f"{TOKEN}: the environment variable with the Mapillary token is not set")
    period = {"start_captured_at": _utc(start, "start"), "end_captured_at": _utc(end, "end")}
    period = {name: value for name, value in period.items() if value}
    (folder / "street").mkdir(parents=True, exist_ok=True)
    with session or requests.Session() as session:
        getter = Getter(session, base_url, tries=tries, timeout=timeout)
        run = _Run(folder, getter, base_url.rstrip("/"), token, size, period)
        bar = tqdm(desc="Mapillary", total=limit, unit="photo", disable=not progress, mininterval=1)
        with ThreadPoolExecutor(workers) as pool, bar:
            for tile in tiles:
                if limit is not None and run.counts["listed"] >= limit:
                    break
                run.tile(tile, limit, pool, bar)
        return run.finish()


def _utc(date: str | None, name: str) -> str | None:
    if date is None:
        return None
    try:
        moment = datetime.fromisoformat(date)
    except ValueError as problem:
        raise BadInput(f"{name}: {date!r} is not a date such as 2023-05-01") from problem
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Refused(BadInput):
    """The token is not accepted: no request of this run will be answered."""


class _Run:
    """One call of `fetch`: what it has found so far, and the state file."""

    def __init__(self, folder, getter, base_url, token, size, period):
        self.folder, self.getter, self.url, self.size = folder, getter, base_url, size
        self.headers = {"Authorization": f"OAuth {token}"}
        self.asked = {"fields": ",".join((*FIELDS, THUMBS[size])), "limit": PAGE, **period}
        self.settings = [size, period.get("start_captured_at"), period.get("end_captured_at")]
        self.state = folder / "mapillary.jsonl"
        self.finished = _finished(self.state)
        self.rows: dict[str, dict] = {}
        self.rejected: dict[str, str] = {}
        self.counts = dict.fromkeys(("listed", "fetched", "there_before"), 0)

    def tile(self, tile, limit: int | None, pool: ThreadPoolExecutor, bar: tqdm) -> None:
        """List and fetch one tile, or take it from the state file; a failure is noted."""
        key = json.dumps([*tile, *self.settings])
        if key in self.finished:
            images, whole = self.finished[key], True
        else:
            try:
                listed = list(self._list(tile))
            except Failed as problem:
                self.rejected[_shown(tile)] = str(problem)
                return
            found = {
                name_of(image) or f"{_shown(tile)}, image {k}": image
                for k, image in enumerate(listed)
            }
            images = [row_of(found[name]) | {"photo_id": name} for name in sorted(found)]
            whole = True
            links = {name: image.get(THUMBS[self.size]) for name, image in found.items()}
        images = [image for image in images if image["photo_id"] not in self.rows]
        if limit is not None and len(images) > limit - self.counts["listed"]:
            images, whole = images[: limit - self.counts["listed"]], False
        self.counts["listed"] += len(images)
        links = {} if key in self.finished else links
        done = pool.map(lambda i: self._picture(i, links.get(i["photo_id"])), images)
        for image, (reason, count) in zip(images, done):
            bar.update()
            if reason:
                self.rejected[image["photo_id"]] = reason
            else:
                self.counts[count] += 1
                self.rows[image["photo_id"]] = image
        if whole and key not in self.finished:
            with open(self.state, "a", encoding="utf-8") as file:
                file.write(json.dumps({"tile": key, "photos": images}) + "\n")

    def _list(self, tile) -> Iterator[dict]:
        """Every image that the API has in a tile, page by page, quartered where that is cut."""
        west, south, east, north = tile
        box = ",".join(f"{v:.9g}" for v in tile)
        after, images, pages = {}, [], 1
        while True:
            try:
                page = self._ask("/images", {**self.asked, "bbox": box, **after})
            except Failed as problem:
                large = "reduce the amount of data" in str(problem.answer.get("error", ""))
                if not large or north - south <= SMALLEST:
                    raise
                yield from self._quarters(tile)
                return
            data = page.get("data")
            if not isinstance(data, list):
                raise Failed("the answer has no list of images", again=True)
            images += [image for image in data if isinstance(image, dict)]
            cursor = _next(page.get("paging"))
            if not cursor:
                break
            if after.get("after") == cursor:
                raise Failed("the answer names itself as the next page", again=False)
            after, pages = {"after": cursor}, pages + 1
            if pages > PAGES:
                raise Failed(f"more than {PAGES} pages of images", again=False)
        if len(images) >= PAGE and not after and north - south > SMALLEST:
            yield from self._quarters(tile)  # a full answer that names no next page
        else:
            yield from images

    def _quarters(self, tile) -> Iterator[dict]:
        west, south, east, north = tile
        x, y = (west + east) / 2, (south + north) / 2
        for part in (
            (west, south, x, y),
            (x, south, east, y),
            (west, y, x, north),
            (x, y, east, north),
        ):
            yield from self._list(part)

    def _ask(self, path: str, params: dict) -> dict:
        try:
            return self.getter.json(self.url + path, params, self.headers)
        except Failed as problem:
            error = problem.answer.get("error")
            kind = error if isinstance(error, dict) else {}
            if problem.status in (401, 403) or kind.get("code") == 190:
                raise _Refused(
                    f"{TOKEN}: Mapillary refuses this token (HTTP {problem.status}); get one at "
                    "mapillary.com/dashboard/developers"
                ) from None
            if not self.getter.reached:
                raise Missing(
                    f"no network: {self.url} cannot be reached ({problem}); what was fetched "
                    "before is kept, try again with a connection"
                ) from None
            raise

    def _picture(self, image: dict, link: str | None) -> tuple[str | None, str]:
        """(reason why there is none, or None; what to count it as)."""
        if image.get("reason"):
            return image["reason"], ""
        target = self.folder / image["path"]
        if target.is_file():
            return None, "there_before"
        try:
            self._download(image["photo_id"], link, target)
        except _Refused:
            raise
        except (Failed, BadInput) as problem:
            return str(problem).replace(f"{target}.part", image["path"]), ""
        return None, "fetched"

    def _download(self, name: str, link: str | None, target: Path) -> None:
        part = target.with_name(target.name + ".part")
        try:
            for fresh in (False, True):  # links expire: the second try asks for a new one
                if fresh or not link:
                    field = THUMBS[self.size]
                    link = self._ask(f"/{name}", {"fields": field}).get(field)
                if not isinstance(link, str):
                    raise Failed(f"Mapillary gives no {THUMBS[self.size]}", again=False)
                try:
                    self.getter.file(link, part)
                    photos.check(part)
                    break
                except (Failed, BadInput) as problem:
                    if fresh or isinstance(problem, Failed) and problem.again:
                        raise
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def finish(self) -> dict[str, int]:
        """Write street.parquet and rejected.csv; the counts."""
        table = self.folder / "street.parquet"
        frame = pd.DataFrame(sorted(self.rows.values(), key=lambda row: row["photo_id"]))
        frame = photo_rows.read(frame)[0] if len(frame) else photo_rows.none()
        if table.is_file():
            before = pd.read_parquet(table)
            before = before[~before["photo_id"].isin(frame["photo_id"])]
            frame = pd.concat([part for part in (before, frame) if len(part)] or [frame])
        frame = frame.sort_values("photo_id", ignore_index=True)
        with files.atomic_write(table) as part:
            frame.to_parquet(part, index=False)
        lost = pd.DataFrame(sorted(self.rejected.items()), columns=["photo_id", "reason"])
        with files.atomic_write(self.folder / "rejected.csv") as part:
            lost.to_csv(part, index=False)
        return {**self.counts, "rejected": len(lost), "photos": len(frame)}


def _next(paging) -> str | None:
    """What asks for the next page, None where there is none."""
    if not isinstance(paging, dict) or not paging.get("next"):
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) else None


def _shown(tile) -> str:
    return "tile " + ",".join(f"{v:g}" for v in tile)


def _finished(state: Path) -> dict[str, list[dict]]:
    """Rows by tile from the state file; a line that a kill cut short is passed over."""
    found = {}
    for line in state.read_text(encoding="utf-8").splitlines() if state.is_file() else ():
        try:
            entry = json.loads(line)
            found[entry["tile"]] = entry["photos"]
        except (ValueError, KeyError, TypeError):
            continue
    return found
