"""The scoreboard as one HTML file: sortable and filterable tables, without a network.

A line of the board is a <tbody> of two rows: its numbers, and the claim with its source; sorting
moves whole bodies. Every sortable cell carries `data-sort`, a number where the column is numeric.
Column heads are buttons, so the keyboard reaches them; `aria-sort` says the order. Below 760 px a
line becomes a card, and the heads a row of buttons above.
"""

import math
from pathlib import Path

from gairlib.errors import BadInput
from research.pipeline.offline import external_loads
from research.reports.html import badge, frame_html, interval, strip, text
from research.reports.report_style import STYLE
from research.reports.scoreboard import claims
from research.reports.scoreboard.board import Board, Source
from research.reports.scoreboard.lines import Against, Line
from research.reports.words import number, with_interval

COLUMNS = (  # head, whether it sorts by number
    ("Task", False),
    ("Measure", False),
    ("GAIR [95%]", True),
    ("Untrained", True),
    ("To untrained", True),
    ("Best baseline", True),
    ("To best", True),
    ("Claim", True),
)
STATUS = {  # in the order in which they sort
    "supported": "supported",
    "partly": "over untrained, not all",
    "no claim": "no claim",
    "refuted": "refuted",
}

BOARD_STYLE = """
main { max-width: 1280px; }
.filters { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: end; margin: 18px 0 4px;
  position: sticky; top: 0; background: var(--bg); padding: 10px 0; z-index: 2; }
.filters label { font-size: 13px; color: var(--soft); display: grid; gap: 2px; }
select, input { font: inherit; font-size: 15px; padding: 5px 8px; border-radius: 8px;
  border: 1px solid var(--line); background: var(--card); color: var(--ink); max-width: 100%; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: left; white-space: nowrap; }
th button::after { content: " \\2195"; opacity: .45; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
button:focus-visible, select:focus-visible, input:focus-visible, a:focus-visible,
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.board tr.numbers td { border-bottom: 0; padding-bottom: 2px; }
.board tr.said td { padding-top: 0; max-width: 0; border-bottom: 1px solid var(--line); }
.board tbody[hidden] { display: none; }
.board td small { display: block; }
.board .strip svg { display: block; }
.said p { margin: 2px 0; max-width: 110ch; } .said .lost { color: #c2410c; }
.source { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.source code { font-size: 12px; }
.status { font-weight: 600; }
.status.supported { color: var(--real); } .status.refuted { color: #c2410c; }
.status.partly { color: var(--synthetic); } .status.no { color: var(--soft); }
ul { padding-left: 20px; max-width: 110ch; } li { margin: 3px 0; }
.empty { color: var(--soft); }
@media (prefers-color-scheme: dark) { .said .lost, .status.refuted, .loses { color: #fb923c; } }
@media (max-width: 760px) {
  .filters { position: static; } .filters label { flex: 1 1 40%; }
  .board table, .board thead, .board tbody, .board tr, .board td { display: block; width: auto; }
  .board thead tr { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 10px; }
  .board th { display: block; padding: 0; border: 0; }
  .board tbody { border-top: 1px solid var(--line); padding: 10px 12px; }
  .board td { border: 0; padding: 2px 0; }
  .board tr.said td { max-width: none; padding-top: 6px; }
  .board td[data-label] { display: grid; grid-template-columns: 112px 1fr; gap: 8px; }
  .board td[data-label]::before { content: attr(data-label); color: var(--soft); font-size: 13px; }
  .board td.task { display: block; font-weight: 600; } .board td.task::before { content: none; }
}
"""

SCRIPT = """
"use strict";
function key(body, column, numeric) {
  const cell = body.querySelector("tr.numbers").children[column];
  const value = cell.getAttribute("data-sort");
  if (!numeric) return value.toLowerCase();
  return value === "" ? NaN : Number(value);
}
function sort(table, th) {
  const heads = [...th.parentNode.children], column = heads.indexOf(th);
  const numeric = th.dataset.type === "number";
  const was = th.getAttribute("aria-sort");
  const sign = (was === null ? numeric : was === "ascending") ? -1 : 1;
  heads.forEach(h => h.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies].map((body, i) => [key(body, column, numeric), i, body]);
  rows.sort(([a, i], [b, j]) => {
    if (numeric) {
      const x = Number.isNaN(a), y = Number.isNaN(b);
      return x || y ? x - y || i - j : sign * (a - b) || i - j;   // no number: always last
    }
    return sign * (a < b ? -1 : a > b ? 1 : 0) || i - j;
  });
  rows.forEach(r => table.append(r[2]));
}
function filter() {
  const wanted = [...document.querySelectorAll(".filters select")].filter(s => s.value);
  const words = document.querySelector("#find").value.toLowerCase();
  let shown = 0;
  document.querySelectorAll(".board tbody").forEach(body => {
    const fits = wanted.every(s => body.dataset[s.name] === s.value)
      && body.textContent.toLowerCase().includes(words);
    body.hidden = !fits;
    shown += fits;
  });
  document.querySelectorAll(".board").forEach(board => {
    board.querySelector(".empty").hidden = !!board.querySelector("tbody:not([hidden])");
  });
  document.querySelector("#shown").textContent = shown + " shown";
}
document.querySelectorAll(".board th").forEach(th =>
  th.firstElementChild.addEventListener("click", () => sort(th.closest("table"), th)));
document.querySelectorAll(".filters select, .filters input").forEach(e =>
  e.addEventListener("input", filter));
filter();
"""


def write(board: Board, path: str | Path) -> Path:
    """Write the page; BadInput if it would need a network."""
    path, found = Path(path), page(board)
    if loads := external_loads(found):
        raise BadInput(f"{path}: the page would need a network for {loads[0]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found, encoding="utf-8")
    return path


def page(board: Board) -> str:
    """Board -> HTML text."""
    kind = "synthetic" if board.synthetic else "real"
    body = [
        '<p class="soft"><a href="index.html">All results</a></p>',
        f"<h1>Scoreboard of GAIR on <em>{text(board.dataset)}</em> {badge(kind)}</h1>",
        _introduction(board),
        _filters(board),
    ]
    for question, head in claims.QUESTIONS.items():
        body.append(
            f'<h2 id="{question}">{head}</h2><p class="soft">{claims.MEANING[question]}</p>'
        )
        body.append(_table([x for x in board.lines if x.question == question], board))
        body += [_part(part) for part in board.parts.get(question, [])]
    if left := board.skipped + board.absent:
        body.append(
            f'<h2 id="skipped">Skipped, or not in this folder ({len(left)})</h2>'
            + _list([f"{name}: {why}" for name, why in left])
        )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Scoreboard: {text(board.dataset)}</title><style>{STYLE}{BOARD_STYLE}</style>"
        f"</head><body><main>{''.join(body)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _introduction(board: Board) -> str:
    said = board.conclusions().split("\n")[0].replace("`", "")
    lost = board.losses
    found = (
        f'<h2 id="losses">Where the method loses ({len(lost)})</h2>{_list(lost)}'
        if lost
        else '<h2 id="losses">Where the method loses</h2><p>No baseline is ahead in any line.</p>'
    )
    return (
        f"<p>{text(said)}</p>"
        '<p class="soft">Frozen encoders unless a baseline says otherwise. Brackets: 95% bootstrap '
        "over sites, blocks or images, never over rows. Differences: GAIR minus the other, paired "
        "on the same draws. <em>Supported</em>: better than untrained and than every other "
        "baseline, each beyond the interval. Strip: dot and line GAIR, &#9675; untrained, &#9661; "
        f"chance, | best baseline.</p>{found}"
    )


def _list(sentences: list[str]) -> str:
    items = [f"<li>{text(s)}</li>" for s in sentences]
    if len(items) <= 12:
        return f"<ul>{''.join(items)}</ul>"
    return (
        f"<ul>{''.join(items[:8])}</ul><details><summary>and {len(items) - 8} more</summary>"
        f"<ul>{''.join(items[8:])}</ul></details>"
    )


def _filters(board: Board) -> str:
    choices = {
        "modality": ("Modality", sorted({x.modality for x in board.lines})),
        "held": ("Test rows are", sorted({x.held_out for x in board.lines})),
        "data": ("Data", sorted({x.data for x in board.lines})),
        "status": ("Claim", [s for s in STATUS if s in {claims.status(x) for x in board.lines}]),
    }
    found = []
    for name, (label, values) in choices.items():
        options = "".join(
            f'<option value="{text(v)}">{text(STATUS.get(v, v))}</option>' for v in values
        )
        found.append(
            f'<label>{label}<select name="{name}"><option value="">all</option>'
            f"{options}</select></label>"
        )
    return (
        f'<div class="filters" role="search">{"".join(found)}<label>Text<input id="find" '
        'type="search" placeholder="task, split, baseline"></label>'
        '<span class="soft" id="shown" aria-live="polite"></span></div>'
    )


def _table(lines: list[Line], board: Board) -> str:
    if not lines:
        return '<p class="empty">No task of this kind has run.</p>'
    heads = "".join(
        f'<th scope="col" data-type="{"number" if numeric else "text"}">'
        f'<button type="button" title="Sort">{head}</button></th>'
        for head, numeric in COLUMNS
    )
    bodies = "".join(_body(x, board.sources[x.stage]) for x in lines)
    return (
        f'<div class="scroll board"><table><thead><tr>{heads}</tr></thead>{bodies}</table>'
        '<p class="empty" hidden>&nbsp; Nothing fits the filters.</p></div>'
    )


def _body(line: Line, source: Source) -> str:
    status = claims.status(line)
    name = text(line.task)
    if source.page:
        name = f'<a href="{text(source.page)}">{name}</a>'
    head = {"value": line.value, "low": line.low, "high": line.high}
    for key, other in (
        ("baseline_value", line.random),
        ("best_baseline_value", line.best),
        ("chance", line.blind),
    ):
        if other is not None:
            head[key] = other.value
    unit = f" {line.unit}" if line.unit else ""
    value = interval(with_interval(line.value, line.low, line.high)) + text(unit)
    best = (
        f"{number(line.best.value)}{unit} <small>{text(line.best.name)}</small>"
        if (line.best)
        else ""
    )
    cells = [
        _cell("Task", f"{name} {badge(line.data)}", line.task, "task"),
        _cell(
            "Measure",
            f"<span>{text(line.metric)}<small>{text(line.split)}</small></span>",
            f"{line.metric} {line.split}",
        ),
        _cell(
            "GAIR [95%]", f"<span><strong>{value}</strong>{strip(head)}</span>", line.value, "strip"
        ),
        _cell("Untrained", _plain(line.random, unit), line.random and line.random.value),
        _cell("To untrained", _difference(line.random), line.random and line.random.difference),
        _cell("Best baseline", f"<span>{best}</span>", line.best and line.best.value),
        _cell("To best", _difference(line.best), line.best and line.best.difference),
        _cell(
            "Claim",
            f'<span class="status {status.split()[0]}">{STATUS[status]}</span>',
            list(STATUS).index(status),
        ),
    ]
    lost = "".join(f'<p class="lost">{text(s)}</p>' for s in claims.losses(line))
    return (
        f'<tbody data-modality="{text(line.modality)}" data-held="{line.held_out}" '
        f'data-data="{text(line.data)}" data-status="{status}"><tr class="numbers">'
        f'{"".join(cells)}</tr><tr class="said"><td colspan="{len(COLUMNS)}">'
        f"<p>{text(claims.claim(line))}</p>{lost}{_source(line, source)}</td></tr></tbody>"
    )


def _source(line: Line, source: Source) -> str:
    return (
        f'<p class="source">{line.n:,} examples, {line.clusters:,} {text(line.cluster)}s '
        f"&middot; stage <code>{text(source.stage)}</code> &middot; <code>{text(source.command)}</code></p>"
    )


def _cell(label: str, inner: str, sort, css: str = "") -> str:
    """A cell; `sort` as text or as a plain number, "" where there is none."""
    missing = sort is None or (isinstance(sort, float) and not math.isfinite(sort))
    key = "" if missing else repr(sort) if isinstance(sort, float | int) else str(sort)
    return f'<td class="{css}" data-label="{label}" data-sort="{text(key)}">{inner}</td>'


def _plain(other: Against | None, unit: str) -> str:
    return f"{number(other.value)}{text(unit)}" if other else ""


def _difference(other: Against | None) -> str:
    if other is None or math.isnan(other.difference):
        return '<span class="soft">no interval</span>' if other else ""
    said = {"wins": "better", "loses": "worse", "tie": "undecided", "": "no interval"}[
        other.verdict
    ]
    found = interval(with_interval(other.difference, other.low, other.high))
    return f'<span><span class="{text(other.verdict)}">{said}</span> {found}</span>'


def _part(part) -> str:
    table = ""
    if len(part.table):
        table = (
            f"<details><summary>Table ({len(part.table)} rows)</summary>"
            f"{frame_html(part.table)}</details>"
        )
    source = f'<p class="source">{text(part.source)}</p>' if part.source else ""
    return f"<h3>{text(part.title)}</h3>{_list(part.sentences)}{table}{source}"
