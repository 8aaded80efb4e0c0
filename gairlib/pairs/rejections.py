"""Why photos are left out: one row a photo in a table, and counts by reason.

A reason names its row's values ("lon 200.1, lat 3.0: not a position; ..."). To be counted, it is
brought to its kind: what is in front of the last colon, in quotes or in closing brackets goes.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gairlib import files

SCHEMA = pa.schema([("row", pa.int64()), ("photo_id", pa.string()), ("reason", pa.string())])


def kind(reason: str) -> str:
    """The kind of a reason, the same for all rows with the same fault."""
    reason = re.sub(r"\s*\([^()]*\)\s*$", "", reason)
    reason = re.sub(r"'[^']*'", "'...'", reason)
    return reason.rsplit(": ", 1)[-1]


def count(reasons: pd.Series) -> Counter:
    """Kinds of reasons, counted; every distinct reason is looked at once."""
    found: Counter = Counter()
    for reason, n in reasons.value_counts().items():
        found[kind(reason)] += int(n)
    return found


def write(path: Path, row: np.ndarray, photo_id: np.ndarray, reason: np.ndarray) -> None:
    """A table of rejected photos; a photo without an id is told by its row in the photo table."""
    ids = [f"row {r}" if i is None or i != i else str(i) for r, i in zip(row, photo_id)]
    table = pa.table(
        [pa.array(row, pa.int64()), pa.array(ids, pa.string()), pa.array(reason, pa.string())],
        schema=SCHEMA,
    )
    with files.atomic_write(path) as part:
        pq.write_table(table, part)


def join(files: list[Path], target: Path) -> Counter:
    """All tables in one file, one after the other in bounded memory; returns the counts by kind."""
    total: Counter = Counter()
    with pq.ParquetWriter(target, SCHEMA) as writer:
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=100_000):
                writer.write_batch(batch)
                total += count(batch.column("reason").to_pandas())
    return total
