"""Training curves on the disk, which training does without where the disk does not take them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from gairlib import files
from gairlib.errors import extra
from gairlib.train.loggers import make


class Curves:
    """Training curves as DVCLive writes them (`dvc plots show`), rebuilt from the history.

    One file a metric below `folder`, with the steps at which it was logged. Where they cannot be
    written (a full disk) that is said once, and the next row writes all of them anew.
    """

    def __init__(self, folder: Path, history: list[dict], loggers: Sequence[Any] = ()):
        """history: the rows so far; whoever adds one to it hands it to `log` as well. loggers: see
        `gairlib.train.loggers`; their files are in the folder `loggers` beside."""
        with extra("train"):
            import dvclive

        self.make, self.folder, self.history = dvclive.Live, folder, history
        self.live, self.said = None, False
        beside = folder.with_name("loggers")
        if loggers:
            files.remove(beside)
        self.loggers = make(loggers, beside)
        self._attempt(self._all)

    def log(self, row: dict) -> None:
        """A row of the history: `step` and numbers by name."""
        self._attempt(self._all if self.live is None else partial(self._row, row))

    def close(self) -> None:
        if self.live is not None:
            self._attempt(self.live.end)
        for logger in self.loggers:
            self._attempt(partial(logger.finalize, "success"))

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as problem:
            if not self.said:
                tqdm.write(f"{self.folder}: no curves ({problem}); training goes on without them")
            self.live, self.said = None, True

    def _all(self) -> None:
        files.remove(self.folder)
        self.live = self.make(str(self.folder), save_dvc_exp=False, report=None, dvcyaml=None)
        for row in self.history:
            self._row(row)

    def _row(self, row: dict) -> None:
        self.live.step = row["step"]
        for key, value in row.items():
            if key != "step":
                self.live.log_metric(key, value)
        self.live.make_summary()
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=row["step"])
