"""Reads a CSV file of any length as text, a block at a time, and names the rows it cannot read.

A file is cut into blocks of whole records, and each block goes through Arrow's parser. One bad
record must neither stop the run nor swallow its neighbours, as a stray quotation mark does when it
is read by the book: a block in which Arrow meets an error, text that is not UTF-8, or records over
several lines is read again line by line. That is some ten times slower and happens only there.

Empty fields, "nan" and "null" are gaps; "NA" is a value (Namibia's country code).
"""

import csv
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from gairlib.data.boundary import reading
from gairlib.data.csv_head import DECIMAL_COMMA, LINE, Head, Recoded, head, header, open_text
from gairlib.data.tables import EXACT

BLOCK = 16 << 20  # bytes of CSV text that are parsed at a time
JOIN = 50  # lines that one quoted value may span
GAPS = ["", "nan", "NaN", "null", "NULL"]
# Beside decimal commas: what has dots that may group thousands, what shows that they do, and what
# shows that they are decimal points
GROUPED = r"^\s*-?\d{1,3}(?:\.\d{3})+(?:,\d+)?\s*$"
GROUPING = r"^\s*-?[\d.]*\d,\d+\s*$|^\s*-?\d{1,3}(?:\.\d{3}){2,}\s*$"
POINTING = r"^\s*-?(?:\d*\.(?:\d{1,2}|\d{4,})|(?:0|\d{4,})\.\d*)(?:[eE][+-]?\d+)?\s*$"
BY_COMMAS = r"^\s*-?\d{1,3}(?:,\d{3})+(?:\.\d*)?\s*$"  # 1,234.5: commas group thousands
REASON = "\0reason"  # column that carries the reasons through Arrow; no table has such a name
BLANK = re.compile(rb"\n(?:[ \t]*\r?\n)+|\A(?:[ \t]*\r?\n)+")


def _blocks(path: Path) -> Iterator[bytes | str]:
    """The text behind the header in blocks of whole records; at last a reason, where the rest of
    the file cannot be read."""
    with reading(path, "not readable as a table"), open_text(path) as file:
        header(file, path)
        rest, problem = b"", None
        while problem is None:
            data, problem = _next(file)
            if not data:
                break
            block = rest + data
            end = _end_of_records(block)
            if end:
                yield block[:end]
            rest = block[end:]
            if len(rest) > LINE:
                rest, problem = b"", f"a line is longer than {LINE >> 20} MiB; this is no table"
        if rest:
            yield rest
        if problem:
            yield problem


def _next(file: io.BufferedIOBase | Recoded) -> tuple[bytes, str | None]:
    """Up to BLOCK bytes, and why there are no more where the file is damaged (a gzip file that
    breaks off)."""
    parts, size = [], 0
    try:
        read = getattr(file, "read1", file.read)  # of a gzip file: what came before the damage
        while size < BLOCK and (part := read(min(BLOCK, 1 << 18))):
            parts.append(part)
            size += len(part)
    except Exception as problem:  # whatever decompressors raise
        return b"".join(parts), f"the file cannot be read from here on ({str(problem)[:80]})"
    return b"".join(parts), None


def _end_of_records(block: bytes) -> int:
    """Where the last complete record ends: at a line's end with an even number of quotes before."""
    end = cut = block.rfind(b"\n") + 1
    odd = block.count(b'"', 0, end) % 2
    for _ in range(JOIN):
        if not odd or not cut:
            return cut
        before = block.rfind(b"\n", 0, cut - 1) + 1
        odd ^= block.count(b'"', before, cut) % 2
        cut = before
    return end  # a stray quote far above: `_by_line` will meet it


def dotted(path: Path, extra: list[str]) -> set[str]:
    """The columns of a table with decimal commas in which dots group thousands (1.234,5): by their
    own values, else by its positions. Where neither says it, a warning names the column."""
    about = head(path)
    if not about.commas:
        return set()
    extra = [name for name in extra if name not in ("lon", "lat")]  # up to 360: nothing to group
    found = {GROUPED: set(), GROUPING: set(), POINTING: set()}
    for table in text_tables(path, extra, None) if extra else ():
        for name in extra:
            for pattern, names in found.items():
                if pc.any(pc.match_substring_regex(table[name], pattern)).as_py():
                    names.add(name)
    grouping = (set(extra) if about.german else found[GROUPING]) - found[POINTING]
    if doubtful := sorted(found[GROUPED] - grouping - found[POINTING]):
        warnings.warn(
            f"{path.name}: in {', '.join(doubtful)} a dot with three digits behind it (1.234) is "
            "taken for a decimal point, as in the positions; if it groups thousands, export the "
            "numbers without it",
            stacklevel=2,
        )
    return grouping


def text_tables(
    path: Path, only: list[str] | None = None, dots: set[str] | None = frozenset()
) -> Iterator[pa.Table]:
    """Text columns (those in `only`) and REASON; an empty table first, for a file without rows.
    dots: of `dotted`; None: numbers as they are written."""
    about = head(path)
    kept = about.columns if only is None else only
    yield pa.table({name: pa.array([], pa.string()) for name in [*kept, REASON]})
    for block in _blocks(path):
        if isinstance(block, str):
            empty = {name: pa.nulls(1, pa.string()) for name in kept}
            yield pa.table({**empty, REASON: pa.array([block])})
            continue
        table = _by_arrow(block, about, kept) or _by_line(block, about, kept)
        columns = {}
        for name, values in zip(table.column_names, table.columns):
            if about.padded and name != REASON:
                values = pc.utf8_trim_whitespace(values)
                gap = pc.is_in(values, pa.array(GAPS))
                values = pc.if_else(gap, pa.scalar(None, pa.string()), values)
            if dots and name in dots:  # 1.234,5 as 1234,5
                plain = pc.replace_substring(values, ".", "")
                values = pc.if_else(pc.match_substring_regex(values, GROUPED), plain, values)
            if about.commas and dots is not None and name != REASON:  # 7,66 as 7.66
                values = pc.replace_substring_regex(values, DECIMAL_COMMA, r"\1.\2")
            columns[name] = values
        yield pa.table(columns)


def _by_arrow(block: bytes, about: Head, kept: list[str]) -> pa.Table | None:
    """A block by Arrow's parser; None where that cannot be trusted to keep all good rows."""
    if block.count(b'"') % 2 or b"\0" in block:
        return None
    try:  # Arrow tells a handler of rows by a noise on stderr
        pa.scalar(block).cast(pa.string())
    except pa.ArrowInvalid:
        return None
    for text in (block, None):  # blank lines are taken out only where something is amiss
        text = BLANK.sub(lambda m: m[0][:1] if m.start() else b"", block) if text is None else text
        try:
            table, wrong = _parse(text, about, kept)
        except pa.ArrowInvalid:  # no good row at all, not UTF-8, a quote never closed, ...
            return None
        count = table.num_rows + len(wrong)
        if count == text.count(b"\n") + (not text.endswith(b"\n")) and all(
            shown.strip() for _, _, shown in wrong
        ):
            break
    else:  # records over several lines: meant, or two stray quotes?
        return None
    if any(shown.rstrip("\r\n").endswith(about.separator) for _, _, shown in wrong):
        return None  # more separators than the header has, perhaps with nothing between them
    if not wrong:
        return table.append_column(REASON, pa.nulls(count, pa.string()))
    good, reasons = np.ones(count, bool), np.full(count, None, object)
    for row, fields, shown in wrong:
        good[row], reasons[row] = False, _count_reason(fields, len(about.names), shown)
    order = pa.array(np.cumsum(good) - 1, mask=~good)  # a gap gives an empty row
    return table.take(order).append_column(REASON, pa.array(reasons, pa.string()))


def _parse(
    block: bytes, about: Head, kept: list[str]
) -> tuple[pa.Table, list[tuple[int, int, str]]]:
    """(good rows, (row, number of fields, text) of the others)."""
    wrong: list[tuple[int, int, str]] = []
    names = [f"\0{k}" if name is None else name for k, name in enumerate(about.names)]

    def skip(row: pa_csv.InvalidRow) -> str:
        wrong.append((row.number - 1, row.actual_columns, row.text))
        return "skip"

    table = pa_csv.read_csv(
        io.BytesIO(block),
        pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        pa_csv.ParseOptions(
            delimiter=about.separator, newlines_in_values=True, invalid_row_handler=skip
        ),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=GAPS,
            strings_can_be_null=True,
            include_columns=kept,
        ),
    )
    return table, wrong


def _by_line(block: bytes, about: Head, kept: list[str]) -> pa.Table:
    """A block line by line; a quoted value may run over lines if that makes a whole record."""
    lines = block.splitlines()
    count = len(about.names)
    values: list[list[str | None]] = []
    reasons: list[str | None] = []
    empty: list[str | None] = [None] * count
    i = 0
    while i < len(lines):
        used, reason = 1, None
        try:
            fields, used = _record(lines, i, count, about.separator)
            while len(fields) > count and not fields[-1].strip():
                fields.pop()  # the commas that spreadsheets leave at the end
            if len(fields) != count:
                shown = lines[i].decode("utf-8")
                fields, reason = empty, _count_reason(len(fields), count, shown)
            elif any("\0" in value for value in fields):
                fields, reason = empty, "the line holds zero bytes; it is no text"
        except UnicodeDecodeError:
            fields, reason = empty, "the line is not UTF-8 text"
        except csv.Error as problem:
            fields, reason = empty, f"the line cannot be parsed ({problem})"
        if lines[i].strip():
            values.append(fields)
            reasons.append(reason)
        i += used
    at = [about.names.index(name) for name in kept]
    table = {
        name: pa.array([None if row[k] in GAPS else row[k] for row in values], pa.string())
        for name, k in zip(kept, at)
    }
    return pa.table({**table, REASON: pa.array(reasons, pa.string())})


def _record(lines: list[bytes], i: int, count: int, separator: str) -> tuple[list[str], int]:
    """(fields, lines used) of the record at line i; csv.Error where no reading of it is whole."""
    if b'"' not in lines[i]:
        return lines[i].decode("utf-8").split(separator), 1
    rows = (line.decode("utf-8") + "\n" for line in lines[i : i + JOIN])
    reader = csv.reader(rows, delimiter=separator, strict=True)
    fields = next(reader)
    if len(fields) != count and reader.line_num > 1:
        raise csv.Error("quotation marks do not match")
    return fields, reader.line_num


def _count_reason(fields: int, needed: int, text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"{fields} field{'s' * (fields != 1)} where the header has {needed}: {shown!r}"


def kinds(path: Path, extra: list[str], dots: set[str]) -> dict[str, pa.DataType]:
    """The kind of each extra column over the whole file: the first that fits every value. dots: of
    `dotted`."""
    order = [pa.int64(), pa.float64(), pa.bool_(), pa.string()]
    level = dict.fromkeys(extra, 0)
    gaps, long = set(), set()
    # A kind that failed once is never tried again; text ends a column's search.
    for table in text_tables(path, extra, dots) if extra else ():
        for name in extra:
            if table[name].null_count:
                gaps.add(name)
            while level[name] < 3 and not _fits(table[name], order[level[name]]):
                level[name] += 1
            if level[name] == 0 and _longest(table[name]) >= EXACT:
                long.add(name)
        if all(value == 3 for value in level.values()):
            break
    found = {}
    for name, value in level.items():
        kind = order[value]
        if name in gaps and value in (0, 2):  # pandas has no gap in int64 and bool
            kind = pa.float64() if value == 0 and name not in long else pa.string()
        found[name] = kind
    return found


def _longest(values: pa.ChunkedArray) -> int:
    ends = pc.min_max(pc.cast(values, pa.int64())).as_py()
    return max(abs(ends["min"] or 0), abs(ends["max"] or 0))


def as_kind(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Text as another kind; numbers also with commas between thousands. ArrowInvalid where some is
    not of that kind."""
    try:
        return pc.cast(values, kind)
    except pa.ArrowInvalid:
        if not pa.types.is_floating(kind):
            raise
        grouped = pc.fill_null(pc.match_substring_regex(values, BY_COMMAS), False)
        if not pc.any(grouped).as_py():
            raise
        return pc.cast(pc.if_else(grouped, pc.replace_substring(values, ",", ""), values), kind)


def _fits(values: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        as_kind(values, kind)
    except pa.ArrowInvalid:
        return False
    return True
