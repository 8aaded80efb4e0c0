"""Gathers what the stages left behind and writes one index page: reports/index.html.

Reads the runner's records (reports/*.json), the metrics, the figures and tables under outputs/ and
the dataset folder. Whatever is absent is left out or listed as skipped, so the page can be built at
any time. `research.reports.html` turns the result into a page.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.pipeline.offline import external_loads
from research.pipeline.records import read
from research.reports import gallery as report_gallery
from research.reports import html
from research.reports.words import label, number, quantity, with_interval
from research.tasks import inventory, registry

# stage -> (number of its notebook, its figure, keys of its headline numbers; the first one there is
# shown large, with its interval where the metrics hold one)
STAGES = {
    "world": (10, "sites", ("sites",)),
    "inspect": (11, "scenes", ("scenes", "photos")),
    "pair": (20, "pairs", ("paired", "pairs", "photos_in")),
    "pretrain": (30, "curves", ("val_recall_at_1", "steps")),
    "embed": (40, "one_space", ("cosine_true_photo_place", "chips")),
    "explore": (50, "similarity", ("median_error_m", "photos")),
    "coordbench": (65, "splits", ("fall_from_random_rows_to_blocks", "tasks")),
    "scoreboard": (68, "", ("lines", "tasks")),
}
BENCHMARK = (60, "scores", ())
# Pages beside the stages' own, linked where they are there: title, what, path in the run's folder,
# and the name of its copy: a reports folder that is sent to someone holds every page it links.
MAP = "map.html"
PAGES = (
    (
        "Scoreboard",
        "every number, what it claims, and where another method is better; sortable",
        "reports/scoreboard.html",
        "scoreboard.html",
    ),
    ("Map", "the field of one scene, its photos and similarities", "outputs/explore/map.html", MAP),
    (
        "Ablation",
        "each switch of the training changed",
        "ablation/outputs/index.html",
        "ablation.html",
    ),
    (
        "Stress tests",
        "places that are wrong by a known amount",
        "ablation/stress/index.html",
        "stress.html",
    ),
)
OWN = "70-report"


@dataclass
class Card:
    """One stage of the page."""

    name: str
    title: str
    group: str  # "stage" or "benchmark"
    figure: Path | None = None
    headline: str = ""  # "Validation recall@1"
    value: str = ""  # "14.2% [12.1, 16.0]"
    note: str = ""  # what to compare with
    page: str = ""  # a name in the reports folder, as is `map`
    map: str = ""
    parameters: dict = field(default_factory=dict)
    numbers: dict = field(default_factory=dict)
    status: str = "ran"
    data: str = ""  # "synthetic" or "real" where it differs from the dataset's


@dataclass
class Report:
    """Everything on the page; tables as data frames."""

    dataset: str
    synthetic: bool
    description: str
    weights: dict
    cards: list[Card]
    results: pd.DataFrame  # one row a task: the headlines
    rows: pd.DataFrame  # every encoder, split and metric
    inventory: pd.DataFrame
    skipped: list[tuple[str, str]]  # what, why
    rejected: pd.DataFrame  # kind, item, reason
    pairing: dict
    gallery: list[report_gallery.Picture]
    pages: list[tuple[str, str, str]] = field(default_factory=list)  # title, what, name
    copies: dict[str, Path] = field(default_factory=dict)  # name in the reports folder -> original

    def results_table(self) -> pd.DataFrame:
        """The headlines, formatted."""
        columns = "task metric value untrained baseline chance verdict".split()
        found = []
        for h in self.results.to_dict("records"):
            unit = f" {h['unit']}" if h.get("unit") else ""
            best = h.get("best_baseline") or ""
            best_value = number(h.get("best_baseline_value"))
            found.append(
                [
                    h["task"],
                    f"{h['metric']} ({h['split']})",
                    with_interval(h["value"], h.get("low"), h.get("high")) + unit,
                    number(h.get("baseline_value")),
                    f"{best_value} ({best})" if best else "",
                    number(h.get("chance")),
                    h.get("verdict") or "",
                ]
            )
        return pd.DataFrame(found, columns=columns)

    def stages_table(self) -> pd.DataFrame:
        """One row a card: stage, headline, value."""
        rows = [(c.name, c.headline, c.value) for c in self.cards]
        return pd.DataFrame(rows, columns=["stage", "measure", "value"])

    def skipped_table(self) -> pd.DataFrame:
        """Parts and tasks that did not run: part, why."""
        return pd.DataFrame(self.skipped, columns=["part", "why"])


# ---------------------------------------------------------------------------- reading


def provenance(checkpoint: str | Path) -> str:
    """Where a model folder's weights come from, in a few words."""
    about = read(Path(checkpoint).parent / "provenance.json")
    return str(about.get("source") or "unknown")


def gather(
    dataset: Dataset,
    *,
    outputs: str | Path = "outputs",
    metrics: str | Path = "metrics",
    reports: str | Path = "reports",
) -> Report:
    """Read everything that there is. No stage needs to have run."""
    outputs, metrics, reports = Path(outputs), Path(metrics), Path(reports)
    records = {r.get("html", ""): r for r in map(read, sorted(reports.glob("*.json")))}
    results = {
        p.parent.name: read(p) for p in sorted((outputs / "benchmark").glob("*/result.json"))
    }
    cards = []
    for name, (nr, figure, keys) in STAGES.items():
        record = records.get(f"{nr}-{name}.html", {})
        numbers = _flat(read(metrics / f"{name}.json"))
        if record or numbers:
            cards.append(_card(name, "stage", record, numbers, outputs / name, figure, keys))
    for name, result in results.items():
        record = records.get(f"{BENCHMARK[0]}-{name}.html", {})
        numbers = _flat(read(metrics / "benchmark" / f"{name}.json"))
        folder = outputs / "benchmark" / name
        card = _card(name, "benchmark", record, numbers, folder, BENCHMARK[1], ())
        cards.append(_judged(card, result))
    there = [
        (title, what, _page(path, outputs, reports), name) for title, what, path, name in PAGES
    ]
    there = [page for page in there if page[2].is_file()]
    for card in cards:
        card.map = MAP if card.name == "explore" and MAP in (p[3] for p in there) else ""
    headlines = [{"task": n, **r["headline"]} for n, r in results.items() if r.get("headline")]
    return Report(
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        description=str(dataset.about.get("description", "")),
        weights=read(outputs / "pretrain/provenance.json"),
        cards=cards,
        results=pd.DataFrame(headlines),
        rows=_rows(outputs / "benchmark"),
        inventory=inventory.count(dataset),
        skipped=_skipped(dataset, results),
        rejected=_rejected(dataset, outputs),
        pairing=read(outputs / "pair/report.json"),
        gallery=report_gallery.pictures(dataset, outputs / "pair"),
        pages=[(title, what, name) for title, what, _, name in there],
        copies={name: path for _, _, path, name in there if path.parent != reports},
    )


def build(
    dataset: Dataset,
    *,
    outputs: str | Path = "outputs",
    metrics: str | Path = "metrics",
    reports: str | Path = "reports",
) -> Path:
    """Gather and write reports/index.html with the copies that it links; returns its path."""
    return write(gather(dataset, outputs=outputs, metrics=metrics, reports=reports), reports)


def write(report: Report, reports: str | Path) -> Path:
    """Write the page and the copies that it links; BadInput if it would need a network."""
    path = Path(reports) / "index.html"
    page = html.page(report)
    if loads := external_loads(page):
        raise BadInput(f"{path}: the page would need a network for {loads[0]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    for name, original in report.copies.items():
        copy = path.with_name(name)
        copy.unlink(missing_ok=True)  # it may be a link into DVC's cache
        shutil.copyfile(original, copy)
    return path


def conclusions(report: Report) -> str:
    """What the report holds, in Markdown, for whatever data it is."""
    kind = "synthetic" if report.synthetic else "real"
    lines = [
        f"`{report.dataset}` ({kind} data), weights {report.weights.get('source', 'unknown')}: "
        f"{len(report.results)} benchmarks ran, {len(report.skipped)} parts were skipped, "
        f"{len(report.rejected)} rows were rejected."
    ]
    if len(report.results):
        verdicts = report.results["verdict"].fillna("").value_counts()
        lines.append(
            "Against the same encoder untrained, beyond the 95% interval: "
            f"{verdicts.get('wins', 0)} better, {verdicts.get('loses', 0)} worse, "
            f"{verdicts.get('tie', 0)} undecided."
        )
    return "\n\n".join(lines)


def _card(name, group, record, numbers, folder: Path, figure: str, keys) -> Card:
    figures = sorted((folder / "figures").glob("*.png")) or sorted(folder.glob("*.png"))
    chosen = next((f for f in figures if f.stem == figure), figures[0] if figures else None)
    card = Card(
        name,
        record.get("title") or name,
        group,
        chosen,
        numbers=numbers,
        page=record.get("html", ""),
        parameters=record.get("parameters", {}),
    )
    key = next((k for k in keys if k in numbers), next(iter(numbers), None))
    notes = []
    if key is not None:
        card.headline, card.value = label(key), quantity(key, numbers)
        if f"{key.removesuffix('_m')}_low_m" in numbers or f"{key}_low" in numbers:
            notes.append("in brackets: 95% interval")
    if key == "median_error_m":
        notes.append(f"a random point: {numbers['median_guess_m']:.0f} m")
    if key == "cosine_true_photo_place":
        notes.append(f"a random pair: {number(numbers.get('cosine_random_photo_place'))}")
    if name == "scoreboard" and any(k.endswith(".wins") for k in numbers):
        of = {
            k: sum(v for n, v in numbers.items() if n.endswith(f".{k}"))
            for k in ("wins", "ties", "losses", "no_interval", "baseline_ahead")
        }
        card.headline = f"{numbers['lines']} lines against the untrained encoder"
        card.value = f"{of['wins']} ahead, {of['ties']} level, {of['losses']} behind"
        notes = [f"{of['no_interval']} without an interval"] if of["no_interval"] else []
        notes.append(f"another method ahead beyond its interval: {of['baseline_ahead']}")
    card.note = "; ".join(notes)
    return card


def _judged(card: Card, result: dict) -> Card:
    """Put a benchmark's own question, headline and kind of data on its card."""
    card.status, card.data = result.get("status", "ran"), result.get("data", "")
    card.title = question(card.name)
    h = result.get("headline") or {}
    if card.status != "ran" or not h:
        card.headline, card.value = "skipped", result.get("reason", "")
        return card
    unit = f" {h['unit']}" if h.get("unit") else ""
    card.headline = f"{h['metric']} ({h['split']})"
    card.value = with_interval(h["value"], h.get("low"), h.get("high")) + unit
    notes = [f"the same encoder untrained {number(h.get('baseline_value'))}{unit}"]
    if h.get("best_baseline") and h["best_baseline"] != h.get("baseline"):
        best = number(h.get("best_baseline_value"))
        notes.append(f"best baseline {best} ({h['best_baseline']})")
    if known := number(h.get("chance")):
        notes.append(f"{h.get('chance_name', 'chance')} {known}")
    card.note = "; ".join(notes)
    return card


def question(task: str) -> str:
    """What a benchmark asks, in plain words."""
    known = {
        "retrieval": "Do a photo and the RS field find each other?",
        "retrieval-sv-location": "Do a photo and its coordinates find each other?",
        "retrieval-rs-location": "Do the RS field and its coordinates find each other?",
        "rs-landcover": "Does the chip tell its dominant land cover?",
        "rs-built_up": "Does the chip tell how much of it is built up?",
        "segmentation-landcover": "Do the chip's tokens tell the land cover of every pixel?",
        "rs-eurosat": "Does the chip tell its EuroSAT class?",
    }
    families = {
        "rs-street-": "Does the chip, read at a photo's position, tell the photo's {}?",
        "sv-": "Does the photo tell its {}?",
        "location-": "Do coordinates alone tell {}?",
    }
    for start, sentence in families.items():
        if task.startswith(start):
            return sentence.format(task.removeprefix(start).replace("_", " ").replace("-", ": "))
    return known.get(task, task)


def _rows(folder: Path) -> pd.DataFrame:
    found = [pd.read_parquet(p) for p in sorted(folder.glob("*/rows.parquet"))]
    found = [f[f["seed"] == "mean"] for f in found if len(f)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _skipped(dataset: Dataset, results: dict) -> list[tuple[str, str]]:
    parts = inventory.count(dataset)
    absent = parts[parts["note"].str.startswith("absent")]
    found = [(row.part, row.note) for row in absent.itertuples()]
    found += [
        (name, str(r.get("reason"))) for name, r in results.items() if r.get("status") == "skipped"
    ]
    told = {name for name, _ in found}
    for name, why in registry.available(dataset).items():
        if why and name not in told:
            found.append((name, why))
        elif not why and name not in results:
            found.append((name, "can run on this data; not in the list of tasks of this run"))
    return found


def _rejected(dataset: Dataset, outputs: Path) -> pd.DataFrame:
    """Rows of the folder that were left out; of photos pairing has the last word, if it has run."""
    columns = ["kind", "item", "reason"]
    found = pd.DataFrame(dataset.rejected, columns=columns)
    path = outputs / "pair/rejected.parquet"
    if not path.is_file():
        return found
    photos = pd.read_parquet(path).rename(columns={"photo_id": "item"}).assign(kind="photo")
    return pd.concat([found[found["kind"] != "photo"], photos[columns]], ignore_index=True)


def _flat(numbers: dict, before: str = "") -> dict:
    """Leaves of nested metrics: {"a": {"b": 1}} -> {"a.b": 1}."""
    found = {}
    for key, value in numbers.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float | str):
            found[before + key] = value
    return found


def _page(address: str, outputs: Path, reports: Path) -> Path:
    """Where a page of PAGES lies: below the given folders, or beside the outputs folder."""
    first, _, rest = address.partition("/")
    return {"reports": reports, "outputs": outputs}.get(first, outputs.parent / first) / rest
