"""The index page as HTML: cards, tables and pictures in one file, light and dark, wide and narrow.

Pictures are embedded; pages of the notebooks and the map are linked by relative addresses.
"""

import html
import math
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from research.maps.overlays import data_uri
from research.pipeline.page import QUALITY
from research.reports.report_style import STYLE
from research.reports.words import number, with_interval

FIGURE_WIDTH = 1000  # pixels
LIST = 200  # rows of a long table that are written out


def page(report) -> str:
    """report: research.reports.report.Report -> HTML text."""
    kind = "synthetic" if report.synthetic else "real"
    stages = [c for c in report.cards if c.group == "stage"]
    benchmarks = [c for c in report.cards if c.group == "benchmark"]
    body = [
        f"<h1>GAIR on <em>{text(report.dataset)}</em></h1>",
        '<p class="soft">Satellite chips, street-level photos and coordinates in one embedding '
        "space: every stage of the pipeline, with its numbers.</p>",
        _banner(report, kind),
        _pages(report),
        _results(report, kind),
        _cards("Benchmarks", benchmarks, kind),
        _cards("Stages", stages, kind),
        _gallery(report, kind),
        _data(report),
        '<p class="soft">Made by <a href="70-report.html">the report notebook</a>. This page and '
        "the pages that it links open without a network.</p>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>GAIR on {text(report.dataset)}: report</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def text(value) -> str:
    """Any value, escaped."""
    return html.escape(str(value), quote=True)


def badge(kind: str) -> str:
    """ "synthetic" or "real" as a coloured label."""
    return f'<span class="badge {kind}">{kind} data</span>'


def _banner(report, kind: str) -> str:
    said = (
        "<strong>These data are synthetic.</strong> Unless marked as real, a number on this page "
        "was measured in a simulated world; it says that the pipeline works, not how well GAIR "
        "does on the Earth."
        if report.synthetic
        else "<strong>These data are real.</strong>"
    )
    lines = [f"<p>{said} {text(report.description)}</p>"]
    if report.weights:
        source = text(report.weights.get("source", "unknown"))
        steps = report.weights.get("steps")
        steps = f", {steps:,} steps" if isinstance(steps, int) and steps else ""
        reason = text(report.weights.get("reason", ""))
        lines.append(f"<p><strong>Weights: {source}</strong>{steps}. {_code(reason)}</p>")
    if report.pairing:
        n, paired = report.pairing.get("photos_in", 0), report.pairing.get("paired", 0)
        chips = report.pairing.get("chips", 0)
        lines.append(
            f"<p>{paired:,} of {n:,} photos paired with {chips:,} chips; "
            f"{len(report.rejected):,} rows rejected in all.</p>"
        )
    return f'<div class="banner {kind}">{"".join(lines)}</div>'


def _pages(report) -> str:
    """Links to the pages that are no stage's notebook, and to the parts of this page."""
    tiles = "".join(
        f'<a class="page" href="{text(address)}"><strong>{text(title)}</strong>'
        f'<span class="soft">{text(what)}</span></a>'
        for title, what, address in report.pages
    )
    return f'<nav class="pages" aria-label="Pages">{tiles}</nav>' if tiles else ""


def _code(escaped: str) -> str:
    """`x` in backticks as code; the text is escaped already."""
    parts = escaped.split("`")
    if len(parts) % 2 == 0:
        return escaped
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


# ---------------------------------------------------------------------------- tables


def _results(report, kind: str) -> str:
    if not len(report.results):
        return "<h2>Results</h2><p>No benchmark has run on this data.</p>"
    table = report.results_table()
    heads = ["Task", "Measure", "GAIR", "", "Untrained", "Best baseline", "Chance", "Verdict"]
    rows = []
    for row, raw in zip(table.itertuples(index=False), report.results.to_dict("records")):
        said = {"wins": "better", "loses": "worse", "tie": "undecided"}.get(row.verdict, "")
        rows.append(
            f'<tr><td><a href="#{text(row.task)}">{text(row.task)}</a></td><td>{text(row.metric)}'
            f'</td><td>{interval(row.value)}</td><td class="strip">{strip(raw)}</td>'
            f"<td>{text(row.untrained)}</td><td>{text(row.baseline)}</td><td>{text(row.chance)}</td>"
            f'<td class="{text(row.verdict)}">{said}</td></tr>'
        )
    every = ""
    if len(report.rows):
        columns = "task split metric encoder probe value low high unit n cluster clusters".split()
        frame = report.rows[[c for c in columns if c in report.rows]]
        every = _more(f"Every encoder, split and measure ({len(frame)} rows)", frame)
    return (
        f"<h2>Results {badge(kind)}</h2>"
        '<p class="soft">Frozen encoders. Brackets: 95% bootstrap over sites, blocks or images. '
        "Verdict: against the same encoder untrained, paired. Dot and line: GAIR and its interval; "
        "&#9675; untrained, &#9661; chance, | best baseline.</p>"
        f'<div class="scroll"><table><tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr>'
        f"{''.join(rows)}</table></div>{every}"
    )


def strip(head: dict) -> str:
    """One row's numbers on a common axis, as inline SVG in the page's own colours."""
    keys = ("value", "low", "high", "baseline_value", "best_baseline_value", "chance")
    at = {k: head.get(k) for k in keys}
    at = {k: float(v) for k, v in at.items() if v is not None and math.isfinite(v)}
    if "value" not in at:
        return ""
    least, most = min([*at.values(), 0.0]), max(at.values())
    span = (most - least) or 1.0
    x = {k: 8 + 174 * (v - least) / span for k, v in at.items()}
    parts = ['<line x1="8" x2="182" y1="12" y2="12" stroke="var(--line)"/>']
    if "chance" in x:
        c = x["chance"]
        parts.append(f'<path d="M{c - 4:.1f} 5h8l-4 6z" fill="none" stroke="var(--soft)"/>')
    if "best_baseline_value" in x:
        c = x["best_baseline_value"]
        parts.append(f'<line x1="{c:.1f}" x2="{c:.1f}" y1="5" y2="19" stroke="var(--ink)"/>')
    if "baseline_value" in x:
        c = x["baseline_value"]
        parts.append(
            f'<circle cx="{c:.1f}" cy="12" r="4" fill="var(--card)" stroke="var(--soft)" '
            'stroke-width="1.5"/>'
        )
    if "low" in x and "high" in x:
        parts.append(
            f'<line x1="{x["low"]:.1f}" x2="{x["high"]:.1f}" y1="12" y2="12" stroke="var(--ours)" '
            'stroke-width="3"/>'
        )
    parts.append(f'<circle cx="{x["value"]:.1f}" cy="12" r="5" fill="var(--ours)"/>')
    said = f"GAIR {with_interval(at['value'], at.get('low'), at.get('high'))}"
    others = {
        "untrained": "baseline_value",
        "best baseline": "best_baseline_value",
        "chance": "chance",
    }
    said += "".join(f", {name} {number(at[k])}" for name, k in others.items() if k in at)
    return (
        f'<svg width="190" height="24" role="img" aria-label="{text(said)}">{"".join(parts)}</svg>'
    )


def frame_html(frame: pd.DataFrame) -> str:
    """A data frame as a table, floats to three digits, NaN as nothing, at most LIST rows."""

    def cell(value) -> str:
        if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
            return ""
        return f"{value:.3g}" if isinstance(value, float | np.floating) else text(value)

    head = "".join(f"<th>{text(c)}</th>" for c in frame.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell(v)}</td>' for v in row)}</tr>"
        for row in frame.head(LIST).itertuples(index=False)
    )
    more = f"<p class='soft'>and {len(frame) - LIST:,} more</p>" if len(frame) > LIST else ""
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>{more}'


def _more(title: str, frame: pd.DataFrame) -> str:
    return f"<details><summary>{text(title)}</summary>{frame_html(frame)}</details>"


def interval(value: str) -> str:
    """ "0.5 [0.4, 0.6] m": the interval smaller."""
    main, bracket, rest = text(value).partition(" [")
    if not bracket:
        return main
    ends, _, unit = rest.partition("]")
    return f"{main}{unit} <small>[{ends}]</small>"


def _data(report) -> str:
    parts = ["<h2>The data</h2>", frame_html(report.inventory)]
    skipped = pd.DataFrame(report.skipped, columns=["part", "why"])
    parts.append(f"<h2>Skipped ({len(skipped)})</h2>")
    if len(skipped):
        body = frame_html(skipped)
        long = len(skipped) > 12
        parts.append(f"<details><summary>Show</summary>{body}</details>" if long else body)
    else:
        parts.append("<p>Nothing: every part is there, and every task that can run has run.</p>")
    parts.append(f"<h2>Rejected rows ({len(report.rejected):,})</h2>")
    if len(report.rejected):
        groups = report.rejected.groupby(["kind", "reason"], sort=False)["item"]
        counts = groups.agg(rows="size", first="first").reset_index()
        counts = counts.sort_values("rows", ascending=False)
        parts.append(frame_html(counts[["kind", "reason", "rows", "first"]]))
        parts.append(_more("Every rejected row (at most 1,000)", report.rejected.head(1000)))
    else:
        parts.append("<p>None.</p>")
    return "".join(parts)


# ---------------------------------------------------------------------------- cards and pictures


def _cards(title: str, cards, kind: str) -> str:
    if not cards:
        return ""
    return f'<h2>{title}</h2><div class="cards">{"".join(_card(c, kind) for c in cards)}</div>'


def _card(card, kind: str) -> str:
    image = ""
    if card.figure is not None:
        with Image.open(card.figure) as figure:  # many panels: the first ones, legibly
            css = "tall" if figure.height > 0.8 * figure.width else "wide"
        image = f'<img class="{css}" src="{picture(card.figure)}" '
        image += f'alt="Figure of {text(card.name)}">'
        if card.page:
            image = f'<a href="{text(card.page)}">{image}</a>'
    links = []
    if card.page:
        links.append(f'<a href="{text(card.page)}">Notebook</a>')
    if card.map:
        links.append(f'<a href="{text(card.map)}">Map</a>')
    value = ""
    if card.value:
        value = f'<div><div class="soft">{text(card.headline)}</div>'
        value += f'<div class="value">{interval(card.value)}</div></div>'
    if card.note:
        value += f'<div class="soft">{text(card.note)}</div>'
    return (
        f'<section class="card" id="{text(card.name)}"><div><span class="name">{text(card.name)}'
        f"</span> {badge(card.data or kind)}</div><h3>{text(card.title)}</h3>{image}{value}"
        f"{_pairs('Numbers', card.numbers)}{_pairs('Parameters', card.parameters)}"
        f'<div class="links">{"".join(links)}</div></section>'
    )


def _pairs(title: str, values: dict) -> str:
    if not values:
        return ""
    rows = "".join(
        f"<dt>{text(k)}</dt><dd>{text(f'{v:.4g}' if isinstance(v, float) else v)}</dd>"
        for k, v in values.items()
    )
    return f"<details><summary>{title}</summary><dl>{rows}</dl></details>"


def _gallery(report, kind: str) -> str:
    titles = {
        "pair": ("Pairs", "A chip with the photo's position, and the photo."),
        "scene": ("More scenes", "True colour, 0 to 0.3 reflectance."),
        "photo": ("More photos", ""),
    }
    parts = []
    for group, (title, note) in titles.items():
        found = [p for p in report.gallery if p.kind == group]
        if not found:
            continue
        tiles = "".join(
            f'<figure><div class="two">{"".join(_img(i, p.caption) for i in p.images)}</div>'
            f"<figcaption>{text(p.caption)}<br>{text(p.detail)}</figcaption></figure>"
            for p in found
        )
        parts.append(f"<h2>{title} {badge(kind)}</h2><p class='soft'>{note}</p>")
        parts.append(f'<div class="gallery {group}">{tiles}</div>')
    return "".join(parts)


def _img(address: str, caption: str) -> str:
    return f'<img src="{address}" alt="{text(caption)}" loading="lazy">'


def picture(path: Path) -> str:
    """A figure file as a data URI, at most FIGURE_WIDTH wide; PNG, or WebP where that is smaller
    by far (figures full of photos)."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((FIGURE_WIDTH, 4 * FIGURE_WIDTH))
        pixels = np.asarray(image)
    png, webp = data_uri(pixels), data_uri(pixels, "webp", QUALITY)
    return webp if 2 * len(webp) < len(png) else png
