"""Training curves as DVCLive writes them (`dvc plots show`), rebuilt from the history."""

from pathlib import Path

from gairlib.errors import extra


class Curves:
    """One file a metric below `folder`, with the steps at which it was logged."""

    def __init__(self, folder: Path, history: list[dict]):
        with extra("train"):
            from dvclive import Live

        self.live = Live(str(folder), save_dvc_exp=False, report=None, dvcyaml=None)
        for row in history:
            self.log(row)

    def log(self, row: dict) -> None:
        """A row of the history: `step` and numbers by name."""
        self.live.step = row["step"]
        for key, value in row.items():
            if key != "step":
                self.live.log_metric(key, value)
        self.live.make_summary()

    def close(self) -> None:
        self.live.end()
