"""A section of the scoreboard's page, beside the tasks' own lines."""

from dataclasses import dataclass, field

import pandas as pd


@dataclass
class Part:
    """Sentences, a table (or none), and where both come from."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: str = ""  # file, stage, command, commit
