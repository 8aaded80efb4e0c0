"""JSON files that stages leave behind, and how long a stage took in words."""

import json
from pathlib import Path

from gairlib.errors import BadInput


def read(path: str | Path) -> dict:
    """The JSON object of a metrics file or a runner's record; {} where there is no such file.

    Raises BadInput, with the file's name, for one that is no JSON.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as problem:
        raise BadInput(f"{path}: not readable as JSON ({problem}); run its stage again") from None
    return found if isinstance(found, dict) else {}


def duration(seconds: float) -> str:
    """ "41 s", "3 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
