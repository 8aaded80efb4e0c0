"""Pages that quote results: what stands between their marks is written from metrics/, not typed.

    python -m research.reports.pages [--moved REVISION PAGE]

A region of README.md, MODEL_CARD.md or docs/results.md begins with a line `<!-- metrics: NAME -->`
and ends with `<!-- end -->`; NAME is one of `REGIONS`. `make repro` (of the sample) and `make
scoreboard` write the regions; with the metrics that are committed they write what is there.
`--moved` also writes the region `moved` of a page of the log: every judged number of REVISION's
metrics beside today's.
"""

import re
from functools import partial
from pathlib import Path

from research.evaluation import verdicts
from research.evaluation.table import OURS, RANDOM_SHARED, SHARED, UNKNOWN
from research.pipeline import command
from research.reports.lines import Line
from research.reports.quoted import Metrics, blind, bound, other, ours, rival, show, table
from research.reports.revisions import moved
from research.reports.scoreboard.further import gap_in_words
from research.reports.words import number
from research.studies import block_sizes

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "MODEL_CARD.md", "docs/results.md")
REGION = re.compile(r"(<!-- metrics: ([\w ]+) -->\n).*?(<!-- end -->)", flags=re.S)
HEADLINES = {  # README's rows, real data first: one of each kind, and where the method loses
    ("rs-landuse", "balanced_accuracy"): "Land use of polygons in a real scene, balanced accuracy",
    ("location-cities-country", "accuracy"): "Country of cities from coordinates, accuracy",
    ("location-cities-elevation", "r2"): "Elevation of cities from coordinates, R2",
    ("retrieval", "localisation_error_m"): "How far off is a photo placed in its chip? Median",
    ("retrieval", "localisation_error_m_shifted"): "... at the shifted sites",
    ("retrieval", "recall_at_1_site"): "Is its place found first among those of its site? Recall@1",
    ("retrieval", "recall_at_10_site"): "... among the first ten? Recall@10",
    ("retrieval", "recall_at_10_all"): "... among the first ten of all held-out photos' places?",
    ("heading", "heading_error_deg"): "In which direction does it look? Median error",
    ("sv-green_view", "r2"): "Green-view index from the photo, R2",
    ("sv-weather", "accuracy"): "Weather from the photo, accuracy",
    ("rs-landcover", "accuracy"): "Dominant land cover of a chip, accuracy",
    ("segmentation-landcover", "miou"): "Land cover of every pixel, linear head, mIoU",
    ("segmentation-landcover", "miou_bands"): "... with the pixel's bands beside the tokens",
}
SUBJECTS = {  # what a task encodes -> heading of its table
    "pair": "A photo and the chip around it",
    "photo": "Photos",
    "chip": "Chips",
    "place": "Coordinates",
}
SHOWN = 6  # judged numbers of a task in the tables, beside those of the shifted places
COMPASS = ("localisation_error_m", "recall_at_10_site", "recall_at_10_all")
READINGS = ("recall_at_1_site", "recall_at_10_site", "localisation_error_m")


# ---------------------------------------------------------------------------------------- regions


def headlines(metrics: Metrics) -> str:
    """README's table."""
    heads = (
        "question (`task`)",
        "data",
        "pretrained [95%]",
        "untrained",
        "best guess that looks at nothing",
        "best other method",
        "upper bound, trained on the labels",
    )
    rows = [
        (
            f"{words} (`{x.task}`)",
            x.data,
            ours(x),
            other(x, x.random, named=False),
            other(x, blind(x)),
            other(x, rival(x)),
            bound(x),
        )
        for row, words in HEADLINES.items()
        if (x := metrics.lines.get(row))
    ]
    return table(heads, rows)


def places(metrics: Metrics) -> str:
    """How many places the numbers stand on."""
    found = []
    for key in ("recall_at_1_site", "recall_at_1_site_shifted"):
        if x := metrics.lines.get(("retrieval", key)):
            found.append(f"{x.clusters} {x.split.name.split(',')[0]} with {x.n:,} photos")
    pair = metrics.files["pair"]
    return (
        f"{pair['photos_train']:,} photos train, {pair['photos_val']:,} of validation sites decide "
        f"what is chosen, and the numbers are of {' and '.join(found)} (synthetic)."
    )


def training(metrics: Metrics) -> str:
    """What the pretraining was, and what it reached on validation sites."""
    m = metrics.files["pretrain"]

    def recall(k: int) -> str:
        ends = (m[f"val_recall_at_{k}{end}"] for end in ("", "_low", "_high"))
        value, low, high = (f"{v:.1%}" for v in ends)
        return f"recall@{k} {value} [{low}, {high}]"

    others = "; ".join(
        f"{part} from {source}" for part, source in m.get("started_from", {}).items()
    )
    started = f" Started from others' weights, whose licences hold: {others}." if others else ""
    return (
        f"{m['steps']:,} steps on {m['train_photos']:,} photos in {m['train_chips']:,} chips "
        f"(synthetic, `dvc repro pretrain`). Among all {m['val_photos']:,} photos of "
        f"{m['val_sites']} validation sites: {recall(1)}, {recall(10)}.{started}"
    )


def counts(metrics: Metrics) -> str:
    """How many of all judged numbers say what."""
    found = []
    for what, lines in (
        ("tasks by the number that each is judged by first", _headlines(metrics)),
        ("judged numbers in all", list(metrics.lines.values())),
    ):
        said = [x.random.verdict if x.random else verdicts.NONE for x in lines]
        words = ", ".join(
            f"{said.count(verdict)} {word}"
            for verdict, word in verdicts.WORDS.items()
            if verdict in said
        )
        ahead = sum(any(a.verdict == verdicts.LOSES for a in x.others) for x in lines)
        found.append(
            f"- {len(lines)} {what}, against the same encoder untrained: {words}; another method "
            f"is ahead beyond its interval in {ahead}."
        )
    return "\n".join(found)


def _headlines(metrics: Metrics) -> list[Line]:
    return [x for x in metrics.lines.values() if x.headline]


def tables(metrics: Metrics) -> str:
    """Every task: the first SHOWN of its judged numbers and those of shifted places."""
    heads = (
        "`task` and measure",
        "data",
        "places",
        "pretrained [95%]",
        "in the shared space (untrained)",
        "untrained",
        "difference [95%]",
        "best guess that looks at nothing",
        "best other method",
        "upper bound",
    )
    found = []
    for subject, heading in SUBJECTS.items():
        rows, seen = [], {}
        for x in (x for x in metrics.lines.values() if x.modality == subject):
            seen[x.task] = seen.get(x.task, 0) + 1
            if seen[x.task] <= SHOWN or x.split.name.startswith("shifted"):
                rows.append(_row(x))
        if rows:
            found += [f"### {heading}", table(heads, rows)]
    return "\n\n".join(found)


def _row(x: Line) -> tuple[str, ...]:
    shared = next((a for a in x.own if a.name == SHARED), None)
    raw = next((a for a in x.others if a.name == RANDOM_SHARED), None)
    r = x.random
    gap = f"{r.amount}: {verdicts.WORDS[r.verdict]}" if r else ""
    return (
        f"`{x.task}` {x.metric}, {x.split.name}",
        x.data,
        f"{x.clusters} {x.cluster}s",
        ours(x),
        f"{show(x, shared.value)} ({show(x, raw.value)})" if shared and raw else "",
        other(x, r, named=False),
        gap,
        other(x, blind(x)),
        other(x, rival(x)),
        bound(x),
    )


def readings(metrics: Metrics) -> str:
    """Localisation against guesses, and the chip read in other ways."""
    found = [metrics.lines["retrieval", key] for key in READINGS]
    error = found[-1]
    point = next(a for a in error.others if a.name == "random point")
    best = blind(error)
    said = (
        f"A photo is placed in its chip with a median error of "
        f"{show(error, error.value, error.low, error.high)} (synthetic): "
        f"{error.value / point.value:.2f} of what a random point is off, and "
        f"{error.value / best.value:.2f} of the best guess that looks at nothing ({best.name})."
    )
    names = [OURS, *dict.fromkeys(a.name for x in found for a in (*x.own, *x.others))]
    rows = []
    for name in names:
        values = [
            next((show(x, a.value) for a in (*x.own, *x.others) if a.name == name), "")
            if name != OURS
            else show(x, x.value, x.low, x.high)
            for x in found
        ]
        rows.append((name, *values))
    heads = ("who, or how the field is read", *(f"{x.metric}, {x.split.name}" for x in found))
    return said + "\n\n" + table(heads, rows)


def compass(metrics: Metrics) -> str:
    """What a photo without a compass loses, if the field reads directions."""
    found = []
    for key in COMPASS:
        x = metrics.lines["retrieval", key]
        if blind := next((a for a in x.own if a.name == UNKNOWN), None):
            where = x.split.name.split(",")[-1].strip()
            gap = f"difference {blind.amount}: {verdicts.WORDS[blind.verdict]}"
            values = f"{show(x, blind.value)} instead of {show(x, x.value, x.low, x.high)}"
            found.append(f"{x.metric} {where} {values} ({gap})")
    if not found:
        return "The field of these weights reads no direction, so a compass makes no difference."
    return (
        "The field is read in the direction that a photo's compass says (synthetic). With none "
        f"known, the same weights reach {'; '.join(found)}."
    )


def interpolation(metrics: Metrics) -> str:
    """Implicit reading against plain interpolation (stress tests)."""
    stress = metrics.files["stress"]
    gaps = [g for g in stress["gaps"] if "NILI" in g["first"]]
    about = f"{stress['photos']:,} photos, {len(stress['seeds'])} trainings each"
    said = [f"- {gap_in_words(g)}" for g in gaps]
    return "\n".join([f"Synthetic, {about}, `make ablate`:", "", *said])


def nili(metrics: Metrics) -> str:
    """Its published form against plain interpolation, in a sentence."""
    gaps = {(g["first"], g["second"]): g for g in metrics.files["stress"]["gaps"]}
    return (
        "Does the implicit reading gain over interpolating the chip's tokens (synthetic, "
        f"`make ablate`)? {gap_in_words(gaps['linear NILI', 'bilinear'])}"
    )


def behind(metrics: Metrics) -> str:
    """Tasks that are not better than untrained, and every method that is ahead of a headline."""
    found = []
    for verdict in (verdicts.LOSES, verdicts.TIE, verdicts.NONE):
        of = [x for x in _headlines(metrics) if x.random and x.random.verdict == verdict]
        if of:
            said = ", ".join(f"`{x.task}` ({x.data}) {x.random.amount}" for x in of)
            found.append(f"- Against untrained, {verdicts.WORDS[verdict]}: {said}.")
    for x in _headlines(metrics):
        if ahead := [
            f"{a.name} {show(x, a.value)}" for a in x.others if a.verdict == verdicts.LOSES
        ]:
            found.append(
                f"- `{x.task}` ({x.metric}, {x.split.name}, {x.data}), {OURS} "
                f"{show(x, x.value)}; ahead of it beyond the interval: {', '.join(ahead)}."
            )
    return "\n".join(found)


def real_tables(metrics: Metrics) -> str:
    """Frozen encoders of places on tables of the whole Earth, from metrics/block_sizes.json."""
    rows = block_sizes.load(metrics.folder / "block_sizes.json")
    split = "10"
    mean = block_sizes.means(rows)[split].sort_values(ascending=False)
    said = ", ".join(f"{name} {number(float(value))}" for name, value in mean.items())
    return (
        f"Mean R2 over {rows['task'].nunique()} columns of real tables, {split}° blocks "
        f"(`python -m research.studies.block_sizes FOLDER`; {OURS} is the sample's model): {said}."
    )


REGIONS = {
    "headlines": headlines,
    "places": places,
    "training": training,
    "counts": counts,
    "tables": tables,
    "readings": readings,
    "compass": compass,
    "interpolation": interpolation,
    "nili": nili,
    "behind": behind,
    "real tables": real_tables,
}


def written(page: str, metrics: Metrics, regions: dict = REGIONS) -> str:
    """A page's text with its regions filled in."""
    return REGION.sub(lambda m: f"{m[1]}\n{regions[m[2]](metrics)}\n\n{m[3]}", page)


def main(argv: list[str] | None = None) -> None:
    parser = command.parser("research.reports.pages", __doc__)
    parser.add_argument("--moved", nargs=2, metavar=("REVISION", "PAGE"))
    given = parser.parse_args(argv)
    metrics = Metrics.read(ROOT / "metrics")
    regions, pages = dict(REGIONS), [ROOT / page for page in PAGES]
    if given.moved:
        regions["moved"] = partial(moved, revision=given.moved[0])
        pages.append(Path(given.moved[1]))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(written(text, metrics, regions), encoding="utf-8")


if __name__ == "__main__":
    main()
