"""How a CSV file begins: its encoding, its separator, its names, or what it is if it is no table.

What tools put around a table is understood: UTF-16 and UTF-32 (Excel's "Unicode text"), the first
line `sep=;`, remarks before the header, line ends of old Macs, decimal commas, blanks after each
comma. A header that is not UTF-8 is read in Windows' Western encoding where it looks like one.
"""

import csv
import gzip
import io
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gairlib.data.boundary import reading
from gairlib.errors import BadInput

LINE = 64 << 20  # bytes; a longer line is no table's
SEPARATORS = ",\t;|"
# Columns that are read under one name, and how else they are called, in any case
SPELLINGS = {
    "lon": ("lon", "longitude", "lng", "long"),
    "lat": ("lat", "latitude"),
    **{name: (name,) for name in ("photo_id", "path", "heading", "captured_at", "is_spherical")},
    **{name: (name,) for name in ("scene_id", "processing_baseline", "layout", "cloud_cover")},
}
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
    numbers have decimal commas, if they have commas; german: positions have them, so that dots are
    no decimal points; padded: blanks follow every separator."""

    names: list[str | None]
    separator: str
    double: list[str]
    commas: bool = False
    padded: bool = False
    german: bool = False

    @property
    def columns(self) -> list[str]:
        """The names that there are."""
        return [name for name in self.names if name is not None]


class Recoded(io.RawIOBase):
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


def open_text(path: Path) -> io.BufferedIOBase | Recoded:
    """The bytes of a table as UTF-8, unpacked where its name ends in .gz."""
    file = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")
    try:
        start = file.read(1 << 16)
        file.seek(0)
        encoding = _encoding(start, path)
    except BaseException:
        file.close()
        raise
    return file if encoding is None else Recoded(file, encoding)


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


def header(file: io.BufferedIOBase | Recoded, path: Path) -> Head:
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
    often): two columns of a name stop a table only where that column is needed. A column in one of
    SPELLINGS gets its usual name, where it is one column alone."""
    found: dict[str, None] = {}
    seen: dict[str, int] = {}
    for name in names:
        new, k = name, seen.get(name, 0)
        while new in found:
            k += 1
            new = f"{name}.{k}"
        found[new], seen[name] = None, k
    counts = Counter(names)
    spelled = {name: name for name in found}
    for usual, spellings in SPELLINGS.items():
        others = [name for name in found if name.strip().lower() in spellings]
        if usual not in found and len(others) == 1:
            spelled[others[0]] = usual
    return list(spelled.values()), sorted(name for name, count in counts.items() if count > 1)


def head(path: Path) -> Head:
    """`header` of a file; its first row says whether positions, so all numbers, have decimal
    commas."""
    with reading(path, "not readable as a table"), open_text(path) as file:
        found = header(file, path)
        with suppress(UnicodeDecodeError, csv.Error):
            row = next(csv.reader([file.readline(LINE).decode()], delimiter=found.separator), [])
            places = [v for name, v in zip(found.names, row) if name in ("lon", "lat")]
            if places and all(re.match(DECIMAL_COMMA, value) for value in places):
                found = replace(found, commas=True, german=True)
    return found
