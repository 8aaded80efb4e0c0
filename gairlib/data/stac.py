"""Scenes from STAC: an ItemCollection or item file, a static catalogue, a STAC API.

    scenes, rejected = stac.from_file("items.json")
    scenes, rejected = stac.search(url, collections=["sentinel-2-l2a"], bbox=(w, s, e, n),
                                        datetime="2023-05/2023-09", max_cloud=20)

Nothing here contacts anything unless it is called. `rejected` lists what cannot be used as dicts of
kind, item and reason; one bad item is one row of it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from gairlib.data.boundary import parsed, reading
from gairlib.data.http import Bounded, Failed, Getter, Patience
from gairlib.data.scene import Scene, is_remote
from gairlib.data.stac_item import copy_names, from_item, refuse_private, short
from gairlib.errors import BadInput, Missing, extra

with extra("stac"):
    import pystac
    import requests

PAGES = 10_000  # of one search


def from_items(
    items: Iterable[dict | pystac.Item], base: str | Path | None = None, **options
) -> tuple[list[Scene], list[dict]]:
    """(scenes in the order of the items, rejected); base and options as in from_item."""
    found, rejected, seen = [], [], set()
    items = list(items)
    shared = _shared(items) if base is not None else ()
    for number, item in enumerate(items):
        id = (
            item.id
            if isinstance(item, pystac.Item)
            else (item.get("id") if isinstance(item, dict) else None)
        )
        id = id if isinstance(id, str) and id else None
        if id in seen:
            rejected.append(_row(id, "item id stands more than once; the first one kept"))
            continue
        try:
            with reading(f"STAC item {id!r}"):
                found.append(from_item(item, base, shared=shared, **options))
            seen.add(id)
        except (BadInput, Missing) as problem:
            rejected.append(_row(f"item {number + 1}" if id is None else id, problem))
    return found, rejected


def _shared(items: list) -> set[str]:
    """Names that copies of more than one item's assets may have: B02.tif is nobody's alone."""
    names: Counter = Counter()
    for item in items:
        with suppress(Exception):  # what is wrong with an item is said where it is read
            assets = item["assets"].items()
            names.update({n for key, a in assets for n in copy_names(a["href"], key)})
    return {name for name, count in names.items() if count > 1}


def from_file(path: str | Path, **options) -> tuple[list[Scene], list[dict]]:
    """The scenes of an ItemCollection, a single item or a static catalogue on disk.

    Relative hrefs count from the file (in a catalogue: from each item's own file). Catalogues and
    collections are followed down their child and item links, which lead to a server only where
    `remote` allows it, and out of `inside` never. options: inside, remote, as in from_item.
    BadInput or Missing if the file itself cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise Missing(f"{path}: there is no such file")
    with reading(path, "not readable as STAC JSON"):
        content = parsed(path.read_text(encoding="utf-8-sig"))
        kind = content.get("type")
        items = list(content.get("features") or []) if kind == "FeatureCollection" else []
    if kind == "FeatureCollection":
        return from_items(items, path, **options)
    if kind == "Feature":
        return from_items([content], path, **options)
    if kind not in ("Catalog", "Collection"):
        raise BadInput(
            f"{path}: type is {kind!r}; FeatureCollection, Feature, Catalog or Collection is right"
        )
    rejected: list[dict] = []
    try:
        catalogue = pystac.read_file(str(path), stac_io=_Links(**options))
        catalogue.set_root(catalogue)  # whatever it calls its root is not asked
    except Exception as problem:  # pystac's own errors and those of JSON schemas
        raise BadInput(f"{path}: not a valid STAC {kind} ({problem})") from problem
    found, bad = from_items(_walk(catalogue, rejected, set(), catalogue), **options)
    return found, rejected + bad


class _Links(pystac.stac_io.DefaultStacIO):
    """What the links of a catalogue lead to, as far as they may lead anywhere."""

    def __init__(self, remote: bool = True, inside: str | Path | None = None, **_):
        super().__init__()
        self.remote, self.inside = remote, inside

    def read_text_from_href(self, href: str) -> str:
        if not is_remote(href):
            home = None if self.inside is None else os.path.abspath(self.inside) + os.sep
            if home and not os.path.abspath(href).startswith(home):
                raise BadInput(f"it leaves the folder {Path(self.inside).name}/")
            return super().read_text_from_href(href)
        if not self.remote:
            raise BadInput("it lies on a server; allow remote scenes to read it from there")
        with requests.Session() as session:
            return json.dumps(Getter(session, href).json(href, {}, {}))


def _walk(
    catalogue: pystac.Catalog, rejected: list[dict], seen: set, root: pystac.Catalog
) -> Iterator[pystac.Item]:
    """The items below a catalogue; links that lead nowhere become rows of `rejected`."""
    for link in catalogue.get_links():
        if link.rel not in ("item", "child"):
            continue
        href = link.get_absolute_href()
        if href in seen:
            continue
        seen.add(href)
        try:
            if is_remote(owner := catalogue.get_self_href() or ""):
                refuse_private([href], owner)
            target = link.resolve_stac_object(root=root).target
        except Exception as problem:  # gone, cut short, not STAC: one row
            known = problem.__cause__
            why = known if isinstance(known, BadInput | Failed) else short(problem)
            reason = f"link of {catalogue.id} leads nowhere ({why})"
            rejected.append(_row(link.get_href(), reason))
            continue
        if isinstance(target, pystac.Item):
            yield target
        elif isinstance(target, pystac.Catalog):
            yield from _walk(target, rejected, seen, root)


def search(
    url: str,
    *,
    collections: list[str] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    datetime: str | None = None,
    max_cloud: float | None = None,
    limit: int | None = None,
    page_size: int = 100,
    retries: int = 5,
    timeout: float = 30.0,
    pause: float = 0.5,
    **client,
) -> tuple[list[Scene], list[dict]]:
    """The scenes that a STAC API finds.

    bbox: (west, south, east, north) in degrees. datetime: a time or interval, "2023-05/2023-09".
    max_cloud: percent; items of unknown cloud cover are kept. limit: items to look at, at most.
    Answers of 429 and 5xx, refused connections and timeouts are tried again `retries` times, after
    `pause`, 2 `pause`, 4 `pause` ... seconds or what Retry-After asks for. client: further options
    of pystac_client.Client.open (headers, parameters, modifier: such as the function that signs the
    Planetary Computer's addresses).

    BadInput where the API cannot be reached at all; where a later page fails for good, the items
    before it are kept and the failure is a row of `rejected`.
    """
    with extra("stac"):
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO

    query = {"eo:cloud_cover": {"lte": max_cloud}} if max_cloud is not None else None
    items, rejected, seen = [], [], set()
    try:
        answers = StacApiIO(timeout=timeout)
        for scheme in ("http://", "https://"):
            bounded = Bounded(url, timeout, max_retries=Patience.of(retries, pause))
            answers.session.mount(scheme, bounded)
        catalogue = Client.open(url, stac_io=answers, **client)
        asked = catalogue.search(
            collections=collections,
            bbox=bbox,
            datetime=datetime,
            max_items=limit,
            limit=min(page_size, limit or page_size),
            query=query if query and catalogue.conforms_to("QUERY") else None,
        )
        pages = asked.pages_as_dicts()
    except Exception as problem:  # of requests, urllib3, pystac-client, or of JSON
        raise BadInput(_unreachable(url, problem)) from problem
    number = 0
    while True:
        try:
            page = next(pages, None)
        except Exception as problem:
            if number == 0:
                raise BadInput(_unreachable(url, problem)) from problem
            rejected.append(
                _row(
                    url,
                    f"page {number + 1} of the search could not be read "
                    f"({short(problem)}); the {len(items)} items before it "
                    "are used",
                )
            )
            break
        if page is None:
            break
        number += 1
        found = page.get("features")
        found = found if isinstance(found, list) else []
        fresh = {hash(json.dumps(item)) for item in found} - seen
        seen |= fresh
        items += found
        if found and not fresh or number >= PAGES:
            rejected.append(_row(url, f"page {number} of the search brings nothing new; it ends"))
            break
    if max_cloud is not None:
        items = [i for i in items if not _cloud(i) > max_cloud]  # unknown, NaN, is not above
    found, bad = from_items(items, server=url)
    return found, rejected + bad


def _unreachable(url: str, problem: Exception) -> str:
    return (
        f"{url}: the STAC API cannot be searched ({short(problem)}); check the address and "
        "the network, or save the items to a file and read it with stac.from_file"
    )


def _cloud(item: dict) -> float:
    value = (item.get("properties") or {}).get("eo:cloud_cover")
    return float(value) if isinstance(value, int | float) else float("nan")


def _row(item, reason) -> dict:
    return {"kind": "scene", "item": str(item), "reason": str(reason)}
