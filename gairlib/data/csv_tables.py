"""Reads a CSV file of any length as text, a block at a time, and names the rows it cannot read.

A file is cut into blocks of whole records, and each block goes through Arrow's parser. One bad
record must neither stop the run nor swallow its neighbours, as a stray quotation mark does when it
is read by the book: a block in which Arrow meets an error, text that is not UTF-8, or records over
several lines is read again line by line. That is some ten times slower and happens only there.

What tools put around a table is understood: UTF-16 and UTF-32 (Excel's "Unicode text"), the first
line `sep=;`, lines of comment before the header, line ends of old Macs, decimal commas, blanks after
each comma. A header that is not UTF-8 is read in Windows' Western encoding where it looks like one.

Empty fields, "nan" and "null" are gaps; "NA" is a value (Namibia's country code).
"""

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from gairlib.data.boundary import reading
from gairlib.errors import BadInput

BLOCK = 16 << 20  # bytes of CSV text that are parsed at a time
LINE = 64 << 20  # a longer line is no table's
EXACT = 1 << 53  # whole numbers below it keep all digits in float64
JOIN = 50  # lines that one quoted value may span
GAPS = ["", "nan", "NaN", "null", "NULL"]
REASON = "\0reason"  # column that carries the reasons through Arrow; no table has such a name
BLANK = re.compile(rb"\n(?:[ \t]*\r?\n)+|\A(?:[ \t]*\r?\n)+")


SEPARATORS = ",\t;|"
DECIMAL_COMMA = r"^\s*(-?\d+),(\d+(?:[eE][+-]?\d+)?)\s*$"
# What lies under the name of a table and is none, by its first bytes
FOREIGN = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet (.xlsx, .ods); save its sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls); save its sheet as CSV UTF-8"),
    (b"PAR1\x15", "a Parquet file; name it .parquet"),
    (b"ARROW1\0", "an Arrow (Feather) file; save it as Parquet or CSV"),
    (b"SQLite format 3", "a SQLite or GeoPackage database; export it to GeoParquet or CSV"),
    (b"\x1f\x8b", "compressed by gzip; name it .csv.gz"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"%PDF-", "a PDF document"),
    (b"\x89HDF", "an HDF5 file; save it as Parquet or CSV"),
    (b"version https://git-lfs", "a Git LFS pointer; `git lfs pull` fetches the file"),
    (b"<", "an XML or HTML page"),
    (b"{", "JSON; export it to GeoParquet or CSV"),
    (b"[{", "JSON; export it to Parquet or CSV"),
    (b"[\n", "JSON; export it to Parquet or CSV"),
)
BOM = b"\xef\xbb\xbf"
MARKS = (  # the longer ones first
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
KNOWN = {"lon", "lat", "photo_id", "scene_id", "uuid", "path", "value"}  # no comment holds them


@dataclass(frozen=True)
class Head:
    """The first line of a table: its names (None: a nameless column at the end), its separator,
    and the names that stand more than once (the later ones are called "x.1" and so on). commas:
    numbers have decimal commas; padded: blanks follow every separator."""

    names: list[str | None]
    separator: str
    double: list[str]
    commas: bool = False
    padded: bool = False

    @property
    def columns(self) -> list[str]:
        """The names that there are."""
        return [name for name in self.names if name is not None]


class _Recoded(io.RawIOBase):
    """Text in another encoding, or with other line ends, as UTF-8 with line feeds. What cannot be
    decoded becomes a byte that is no UTF-8, so that its line alone is refused."""

    def __init__(self, file: io.BufferedIOBase, encoding: str):
        self.text = io.TextIOWrapper(file, encoding, errors="replace")

    def read(self, size: int = -1) -> bytes:
        return self._bytes(self.text.read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._bytes(self.text.readline(size))

    def close(self) -> None:
        self.text.close()
        super().close()

    @staticmethod
    def _bytes(text: str) -> bytes:
        return text.encode("utf-8", "replace").replace("\ufffd".encode(), b"\xff")


def open_text(path: Path) -> io.BufferedIOBase | _Recoded:
    """The bytes of a table as UTF-8, unpacked where its name ends in .gz."""
    file = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")
    try:
        start = file.read(1 << 16)
        file.seek(0)
        encoding = _encoding(start, path)
    except BaseException:
        file.close()
        raise
    return file if encoding is None else _Recoded(file, encoding)


def _encoding(start: bytes, path: Path) -> str | None:
    """What the bytes must be decoded from, by their start; None: UTF-8 with usual line ends.
    BadInput where they are those of another kind of file, or of an encoding that is not known."""
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return encoding
    start = start.removeprefix(BOM)
    for magic, what in FOREIGN:
        if start.lstrip().startswith(magic):
            raise BadInput(f"{path}: not readable as a table: it is {what}")
    line = start[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # without a mark
        zeros = line[offset::2]
        if (
            len(zeros) > 4
            and zeros.count(0) > 0.7 * len(zeros)
            and not line[1 - offset :: 2].count(0)
        ):
            return encoding
    end = re.search(rb"[\r\n]", start)
    line = start[: end.start()] if end else start
    if re.search(rb"[\x00-\x08\x0e-\x1f]", line):
        raise BadInput(f"{path}: not readable as a table: its first line is no text")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.reason == "unexpected end of data" and not end:
            return None
        # In Western languages letters with accents stand alone or in pairs among plain ones
        if re.search(rb"[\x80-\xff]{3}|[\x81-\x9f\xd7\xf7]|[a-z]\x80|\x80[a-z]", line):
            raise BadInput(
                f"{path}: not readable as a table (its header is not UTF-8); save it as CSV UTF-8"
            ) from problem
        return "cp1252"
    return "utf-8" if b"\r" in start and b"\n" not in start else None


def header(file: io.BufferedIOBase | _Recoded, path: Path) -> Head:
    """The names in the first line that is neither blank nor a comment (#); leaves the file behind
    that line.

    A column without a name is called "Unnamed: 0" and so on, as pandas does; at the end of the line
    (the commas that spreadsheets leave there) it is none. Fields are separated by what makes the
    most of them (a comma, tab, semicolon, bar) unless a line `sep=` says it.
    """
    separators, line = SEPARATORS, file.readline(LINE)
    while line and (not line.strip() or _said(line) or _comment(line)):
        separators = _said(line) or separators
        line = file.readline(LINE)
    try:
        text = line.decode("utf-8-sig")
        text = text.lstrip("# ") if text.startswith("#") else text
        readings = {s: next(csv.reader([text], delimiter=s), []) for s in separators}
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BadInput(f"{path}: not readable as a table ({problem})") from problem
    separator = max(readings, key=lambda s: len(readings[s]))
    given = readings[separator]
    padded = len(given) > 1 and all(name[:1] == " " for name in given[1:])
    names = [name.strip() for name in given]
    if not re.search("[A-Za-z]", text):
        raise BadInput(f"{path}: not readable as a table (no header line)")
    last = max(k for k, name in enumerate(names) if name)
    full = [name or f"Unnamed: {k}" for k, name in enumerate(names[: last + 1])]
    full, double = told_apart(full)
    full = [*full, *[None] * (len(names) - last - 1)]
    return Head(full, separator, double, separator == ";", padded)


def _said(line: bytes) -> str:
    """The separator that Excel's first line names ("sep=;"); "" in any other line."""
    found = re.fullmatch(rb'(?:\xef\xbb\xbf)?"?sep=([,;|\t])"?\s*', line, re.IGNORECASE)
    return found[1].decode() if found else ""


def _comment(line: bytes) -> bool:
    """Whether a line of # is a remark and no header that begins with this sign."""
    fields = re.split(r"[,;|\t]", line.decode("utf-8", "replace").strip().lstrip("# "))
    return line.startswith(b"#") and not KNOWN & {field.strip('" ') for field in fields}


def told_apart(names: list[str]) -> tuple[list[str], list[str]]:
    """(each name once, the later ones of a name with ".1" and so on; the names that stood more
    often): two columns of a name stop a table only where that column is needed."""
    found: dict[str, None] = {}
    seen: dict[str, int] = {}
    for name in names:
        new, k = name, seen.get(name, 0)
        while new in found:
            k += 1
            new = f"{name}.{k}"
        found[new], seen[name] = None, k
    counts = Counter(names)
    return list(found), sorted(name for name, count in counts.items() if count > 1)


def head(path: Path) -> Head:
    """`header` of a file; by its first row whether positions, so all numbers, have decimal commas."""
    with reading(path, "not readable as a table"), open_text(path) as file:
        found = header(file, path)
        with suppress(UnicodeDecodeError, csv.Error):
            row = next(csv.reader([file.readline(LINE).decode()], delimiter=found.separator), [])
            places = [v for name, v in zip(found.names, row) if name in ("lon", "lat")]
            if places and all(re.match(DECIMAL_COMMA, value) for value in places):
                found = replace(found, commas=True)
    return found


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


def _next(file: io.BufferedIOBase | _Recoded) -> tuple[bytes, str | None]:
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


def text_tables(path: Path, only: list[str] | None = None) -> Iterator[pa.Table]:
    """Text columns (those in `only`) and REASON; an empty table first, for a file without rows."""
    about = head(path)
    kept = about.columns if only is None else only
    yield pa.table({name: pa.array([], pa.string()) for name in [*kept, REASON]})
    for block in _blocks(path):
        if isinstance(block, str):
            empty = {name: pa.nulls(1, pa.string()) for name in kept}
            yield pa.table({**empty, REASON: pa.array([block])})
            continue
        table = _by_arrow(block, about, kept) or _by_line(block, about, kept)
        for k, name in enumerate(kept if about.padded or about.commas else ()):
            values = table[name]
            if about.padded:
                values = pc.utf8_trim_whitespace(values)
                gap = pc.is_in(values, pa.array(GAPS))
                values = pc.if_else(gap, pa.scalar(None, pa.string()), values)
            if about.commas:  # 7,66 as 7.66
                values = pc.replace_substring_regex(values, DECIMAL_COMMA, r"\1.\2")
            table = table.set_column(k, name, values)
        yield table


def _by_arrow(block: bytes, about: Head, kept: list[str]) -> pa.Table | None:
    """A block by Arrow's parser; None where that cannot be trusted to keep all good rows."""
    if block.count(b'"') % 2 or b"\0" in block:
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
    failure: csv.Error | None = None
    for used in range(1, min(JOIN, len(lines) - i) + 1):
        text = b"\n".join(lines[i : i + used])
        if used > 1 and text.count(b'"') % 2:
            continue
        try:
            source = io.StringIO(text.decode("utf-8"), newline="")
            fields = next(csv.reader(source, delimiter=separator, strict=True))
        except csv.Error as problem:
            failure = failure or problem
            continue
        if len(fields) == count or used == 1:
            return fields, used
    raise failure or csv.Error("quotation marks do not match")


def _count_reason(fields: int, needed: int, text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"{fields} field{'s' * (fields != 1)} where the header has {needed}: {shown!r}"


def kinds(path: Path, extra: list[str]) -> dict[str, pa.DataType]:
    """The kind of each extra column over the whole file: the first that fits every value."""
    order = [pa.int64(), pa.float64(), pa.bool_(), pa.string()]
    level = dict.fromkeys(extra, 0)
    gaps, long = set(), set()
    # A kind that failed once is never tried again; text ends a column's search.
    for table in text_tables(path, extra) if extra else ():
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


def _fits(values: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        pc.cast(values, kind)
    except pa.ArrowInvalid:
        return False
    return True
