"""One index page of all that the stages left behind: reports/index.html.

Whatever is absent is left out or listed as skipped, so the page can be built at any time. The page
is templates/report.html.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.data.dataset import Dataset
from research.pipeline.records import read
from research.reports import gallery as report_gallery
from research.reports import html
from research.reports.gather import FETCHED, Run, TaskRecord
from research.reports.gather import gather as gather_run
from research.reports.lines import Line, at_a_glance, by_data, lines
from research.reports.words import Amount, label, number, quantity
from research.tasks import inventory
from research.tasks.data import ONE_AREA

# stage -> (page, its figure, keys of its headline numbers; the first one there is shown large, with
# its interval where the metrics hold one)
STAGES = {
    "world": ("10-world", "sites", ("sites",)),
    "inspect": ("11-inspect", "scenes", ("scenes", "photos")),
    "pair": ("20-pair", "pairs", ("paired", "pairs", "photos_in")),
    "pretrain": ("30-pretrain", "curves", ("val_recall_at_1", "steps")),
    "embed": ("40-embed", "one_space", ("cosine_true_photo_place", "chips")),
    "explore": ("50-explore", "similarity", ("median_error_m", "photos")),
    "coordbench": ("65-coordbench", "splits", ("fall_from_random_rows_to_blocks", "tasks")),
    "scoreboard": ("68-scoreboard", "", ("lines", "tasks")),
}
OWN = "70-report"
BESIDE = ("about", "others", "upper_bounds")  # of a benchmark's metrics: in the table of all rows
# Pages beside the stages' own, linked where they are there: title, what, path in the run's folder,
# and the name of its copy: a reports folder that is sent to someone holds every page it links.
MAP, REAL_MAP = "map.html", "brandenburg.html"
MAPS = {"explore": MAP, FETCHED["brandenburg"][0]: REAL_MAP}  # on the card of
PAGES = (
    (
        "Scoreboard",
        "every number, what it claims, and where another method is better; sortable",
        "reports/scoreboard.html",
        "scoreboard.html",
    ),
    ("Map", "the field of one scene, its photos and similarities", "outputs/explore/map.html", MAP),
    ("Map, real", "field and land use of a real village", "outputs/brandenburg/map.html", REAL_MAP),
    ("Ablation", "each switch of training changed", "ablation/outputs/index.html", "ablation.html"),
    (
        "Stress tests",
        "places that are wrong by a known amount",
        "ablation/stress/index.html",
        "stress.html",
    ),
    ("Seeds", "the training with other seeds", "ablation/seeds/index.html", "seeds.html"),
)


@dataclass
class Card:
    """One stage of the page."""

    name: str
    title: str
    group: str  # "stage" or "benchmark"
    figure: Path | None = None
    headline: str = ""  # "Validation recall@1"
    value: Amount = Amount()
    note: str = ""  # what to compare with
    page: str = ""  # a name in the reports folder, as is `map`
    map: str = ""
    parameters: dict = field(default_factory=dict)
    numbers: dict = field(default_factory=dict)
    data: str = ""  # "synthetic" or "real" where it differs from the dataset's


@dataclass
class Report:
    """Everything on the page; tables as data frames."""

    dataset: str
    synthetic: bool
    description: str
    weights: dict
    cards: list[Card]
    lines: list[Line]  # the headline of each benchmark that ran
    rows: pd.DataFrame  # every encoder, split and metric
    inventory: pd.DataFrame
    skipped: list[tuple[str, str]]  # what, why
    rejected: pd.DataFrame  # kind, item, reason
    pairing: dict
    gallery: list[report_gallery.Picture]
    nothing: str = ""  # a sentence where nothing in the folder can be used
    limits: list[str] = field(default_factory=list)  # what the splits of this data cannot show
    pages: list[tuple[str, str, str]] = field(default_factory=list)  # title, what, name
    copies: dict[str, Path] = field(default_factory=dict)  # name in the reports folder -> original

    def results_table(self) -> pd.DataFrame:
        """The headlines, formatted."""
        rows = [
            (
                x.task,
                f"{x.metric} ({x.split.name})",
                str(x.amount),
                number(x.random.value) if x.random else "",
                f"{number(x.best.value)} ({x.best.name})" if x.best else "",
                number(x.blind.value) if x.blind else "",
                x.random.verdict if x.random else "",
            )
            for x in self.lines
        ]
        columns = "task metric value untrained baseline chance verdict".split()
        return pd.DataFrame(rows, columns=columns)

    def stages_table(self) -> pd.DataFrame:
        """One row a card: stage, headline, value."""
        rows = [(c.name, c.headline, str(c.value)) for c in self.cards]
        return pd.DataFrame(rows, columns=["stage", "measure", "value"])

    def skipped_table(self) -> pd.DataFrame:
        """Parts and tasks that did not run: part, why."""
        return pd.DataFrame(self.skipped, columns=["part", "why"])

    def rejections(self) -> pd.DataFrame:
        """Rejected rows by kind and reason, most frequent first."""
        groups = self.rejected.groupby(["kind", "reason"], sort=False)["item"]
        counts = groups.agg(rows="size", first="first").reset_index()
        return counts.sort_values("rows", ascending=False)

    def why_none_paired(self) -> str:
        """Where photos came and none was paired, the reason that most of them have; else ""."""
        photos = self.rejected[self.rejected["kind"] == "photo"]
        if self.pairing.get("paired") or not self.pairing.get("photos_in") or not len(photos):
            return ""
        return str(photos["reason"].mode()[0])


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
    run = gather_run(dataset, outputs=outputs, metrics=metrics, reports=reports, fetched=True)
    headlines = {x.task: x for x in lines(run) if x.headline}
    benchmarks = [t for t in run.benchmarks if t.name in headlines]
    there = [(title, what, _page(path, run), name) for title, what, path, name in PAGES]
    there = [page for page in there if page[2].is_file()]
    cards = [_stage(name, run) for name in STAGES if _has_run(name, run)]
    cards += [_benchmark(t, headlines.get(t.name), run) for t in run.benchmarks]
    for card in cards:
        card.map = next((p[3] for p in there if p[3] == MAPS.get(card.name)), "")
    return Report(
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        description=str(dataset.about.get("description", "")),
        weights=read(run.outputs / "pretrain/provenance.json"),
        cards=cards,
        lines=[headlines[t.name] for t in benchmarks],
        rows=_rows(run),
        inventory=inventory.count(dataset),
        skipped=_skipped(run),
        rejected=run.rejected(),
        pairing=read(run.outputs / "pair/report.json"),
        gallery=report_gallery.pictures(dataset, run.outputs / "pair"),
        nothing=inventory.nothing(dataset),
        limits=_limits(run),
        pages=[(title, what, name) for title, what, _, name in there],
        copies={name: path for _, _, path, name in there if path.parent != run.reports},
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


def page(report: Report) -> str:
    """Report -> HTML text."""
    kind = "" if report.nothing else "synthetic" if report.synthetic else "real"
    found = {"glance": at_a_glance(report.lines), "results": by_data(report.lines)}
    return html.render("report.html", report=report, **found, kind=kind, own=OWN)


def write(report: Report, reports: str | Path) -> Path:
    """Write the page and the copies that it links; BadInput if it would need a network.

    Where no field could be shown, map.html says so: DVC expects the file.
    """
    path = html.write(page(report), Path(reports) / "index.html")
    for name in {MAP, *report.copies}:
        path.with_name(name).unlink(missing_ok=True)  # it may be a link into DVC's cache
    for name, original in report.copies.items():
        shutil.copyfile(original, path.with_name(name))
    if MAP not in report.copies:
        html.write(html.render("no_map.html"), path.with_name(MAP))
    return path


# ---------------------------------------------------------------------------- cards


def _card(
    name: str, group: str, page: str, folder: Path, figure: str, run: Run, metrics: dict
) -> Card:
    record = run.records.get(page, {})
    figures = sorted((folder / "figures").glob("*.webp")) or sorted(folder.glob("*.webp"))
    return Card(
        name,
        record.get("title") or name,
        group,
        next((f for f in figures if f.stem == figure), figures[0] if figures else None),
        numbers=_flat({k: v for k, v in metrics.items() if k not in BESIDE}),
        page=record.get("html", ""),
        parameters=record.get("parameters", {}),
    )


def _has_run(stage: str, run: Run) -> bool:
    return bool(run.records.get(STAGES[stage][0]) or run.metrics.get(stage))


def _stage(name: str, run: Run) -> Card:
    page, figure, keys = STAGES[name]
    card = _card(name, "stage", page, run.outputs / name, figure, run, run.metrics.get(name, {}))
    numbers = card.numbers
    if _skips(name, run):
        card.headline, card.value = "skipped", Amount(str(numbers["skipped"]))
        return card
    key = next((k for k in keys if k in numbers), next(iter(numbers), None))
    if key is None:
        return card
    card.headline, card.value = label(key), quantity(key, numbers)
    notes = ["in brackets: 95% interval"] if card.value.ends else []
    if key == "median_error_m":
        notes.append(f"a random point: {numbers['median_guess_m']:.0f} m")
    if key == "cosine_true_photo_place":
        notes.append(f"a random pair: {number(numbers.get('cosine_random_photo_place'))}")
    counts = [m for m in run.metrics.get(name, {}).values() if isinstance(m, dict) and "wins" in m]
    if name == "scoreboard" and counts:
        keys = ("wins", "ties", "losses", "no_interval", "baseline_ahead")
        wins, ties, losses, none, ahead = (sum(m[k] for m in counts) for k in keys)
        card.headline = f"{numbers['lines']} lines against the untrained encoder"
        card.value = Amount(f"{wins} ahead, {ties} level, {losses} behind")
        notes = [f"{none} without an interval"] if none else []
        notes.append(f"another method ahead beyond its interval: {ahead}")
    card.note = "; ".join(notes)
    return card


def _benchmark(task: TaskRecord, line: Line | None, run: Run) -> Card:
    """A benchmark's own question, headline and kind of data on its card."""
    fetched = task.stage in FETCHED
    place, figure = (task.stage, "scene") if fetched else (f"benchmark/{task.name}", "scores")
    folder, metrics = run.outputs / place, run.metrics.get(place, {})
    card = _card(task.name, "benchmark", task.page, folder, figure, run, metrics)
    card.title, card.data = task.question or task.name, task.data
    if line is None:
        card.headline, card.value = "skipped", Amount(task.reason)
        return card
    card.headline, card.value = f"{line.metric} ({line.split.name})", line.amount
    notes = []
    if line.random:
        notes.append(f"the same encoder untrained {number(line.random.value)}{line.amount.unit}")
    if line.best:
        notes.append(f"best baseline {number(line.best.value)} ({line.best.name})")
    if line.blind:
        notes.append(f"{line.blind.name} {number(line.blind.value)}")
    card.note = "; ".join(notes)
    return card


# ---------------------------------------------------------------------------- reading


def _rows(run: Run) -> pd.DataFrame:
    """The means over seeds of the benchmarks' rows, the columns that the page shows."""
    columns = "task split metric encoder probe value low high unit n cluster clusters".split()
    rows = run.rows[run.rows["seed"].astype(str) == "mean"]
    return rows.loc[rows["task"].isin([t.name for t in run.benchmarks]), columns]


def _limits(run: Run) -> list[str]:
    """The notes on splits inside one area, once each, with the tasks that they hold for."""
    tasks: dict[str, list[str]] = {}
    for task in run.benchmarks:
        for note in task.notes:
            if note.startswith(ONE_AREA):
                tasks.setdefault(note, []).append(task.name)
    return [f"{', '.join(names)}: {note}" for note, names in tasks.items()]


def _skipped(run: Run) -> list[tuple[str, str]]:
    parts = inventory.count(run.dataset)
    absent = parts[parts["count"] == 0]
    why_not = "can run on this data; not in the list of tasks of this run"
    return [
        *zip(absent["part"], absent["note"]),
        *(
            (stage, str(run.metrics[stage]["skipped"]))
            for stage in (*STAGES, *FETCHED)
            if _skips(stage, run)
        ),
        *run.skipped,
        *run.absent(),
        *((name, why_not) for name in run.not_listed()),
    ]


def _skips(stage: str, run: Run) -> bool:
    """Whether a stage had nothing to do; the scoreboard's `skipped` is a number of tasks."""
    return isinstance(run.metrics.get(stage, {}).get("skipped"), str)


def _flat(numbers: dict, before: str = "") -> dict:
    """Leaves of nested metrics: {"a": {"b": 1}} -> {"a.b": 1}."""
    found = {}
    for key, value in numbers.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float | str):
            found[before + key] = value
    return found


def _page(address: str, run: Run) -> Path:
    """Where a page of PAGES lies: below the given folders, or beside the outputs folder."""
    first, _, rest = address.partition("/")
    known = {"reports": run.reports, "outputs": run.outputs}
    return known.get(first, run.outputs.parent / first) / rest
