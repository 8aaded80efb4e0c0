"""Runs of a study, each a process of one thread, and the files that keep what they gave.

A run's file is named by what its numbers depend on. So a study that was interrupted goes on, a new
run costs itself only, and one that fails is a row that says why, tried again the next time.
"""

import json
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from gairlib.errors import BadInput
from gairlib.files import atomic_write
from research.pipeline import notebook, stages

THREADS = dict.fromkeys(notebook.THREADS, "1")


@dataclass(frozen=True)
class Run:
    """One training: `values` are the sections data, model and pretrain; `key` names its file.

    keep: the weights stay, in the folder `weights(runs, key)`.
    """

    variant: str
    seed: int
    values: dict
    key: str
    keep: bool = False


def weights(folder: str | Path, key: str) -> Path:
    """Where a run with `keep` leaves its model (`GAIR.from_pretrained` reads it)."""
    return Path(folder) / f"{key}.model"


def command_of(module: str) -> Callable[[Path], list[str]]:
    """For `run_all`: how a process of that module is told a run's spec (`worker.serve`)."""
    return lambda spec: [sys.executable, "-m", module, str(spec)]


def run_all(
    runs: Sequence[Run],
    pairs: str | Path,
    folder: str | Path,
    *,
    processes: int = 2,
    command: Callable[[Path], list[str]],
    title: str = "ablation",
) -> list[dict]:
    """What every run gave, in the order of `runs`: its file's content, or {"failed": reason}.

    Each run is a fresh process of one thread. `folder` keeps the finished ones; whatever stops
    this function also ends the processes, which have kept a checkpoint to go on from. A run whose
    weights are to be kept and are not there is done again, with the same numbers. command: of the
    process that reads a run's spec (`worker.serve`); title: of the progress bar.
    """
    if processes < 1:
        raise BadInput(f"ablation.processes is {processes}, at least 1 is needed")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept, missing = {r.key for r in runs if r.keep}, {}
    for run in runs:  # two variants may be the same run
        there = result(folder, run.key) is not None
        if not there or (run.key in kept and not weights(folder, run.key).is_dir()):
            missing.setdefault(run.key, replace(run, keep=run.key in kept))
    waiting, running, failed = deque(missing.values()), {}, {}
    total = len({r.key for r in runs})
    bar = tqdm(
        total=total,
        initial=total - len(missing),
        desc=title,
        unit="run",
        smoothing=0,
        mininterval=10,
        miniters=0,
    )  # a report keeps every line
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                run = waiting.popleft()
                running[run.key] = _start(run, pairs, folder, command)
                bar.set_postfix_str(f"{run.variant}, seed {run.seed}", refresh=False)
            time.sleep(0.1)
            bar.update(0)
            for key in [k for k, p in running.items() if p.poll() is not None]:
                process = running.pop(key)
                if process.returncode or result(folder, key) is None:
                    failed[key] = _reason(process.returncode, folder / f"{key}.work/log.txt")
                    run = missing[key]
                    tqdm.write(f"{run.variant}, seed {run.seed} failed: {failed[key]}")
                bar.update()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=30)  # a step, and a checkpoint
            except subprocess.TimeoutExpired:
                process.kill()
        bar.close()
    return [{"failed": failed[r.key]} if r.key in failed else result(folder, r.key) for r in runs]


def result(folder: str | Path, key: str) -> dict | None:
    """What a finished run's file holds; None where there is none that can be read."""
    try:
        found = json.loads((Path(folder) / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: the run is done again
        return None
    return found if isinstance(found, dict) else None


def finished(runs: Sequence[Run], outcomes: Sequence[dict]) -> dict[tuple[str, int], dict]:
    """(variant, seed) -> what each run gave that did not fail."""
    return {(r.variant, r.seed): o for r, o in zip(runs, outcomes) if "failed" not in o}


def need(variant: str, runs: Sequence[Run], outcomes: Sequence[dict]) -> None:
    """BadInput, with the first failure's reason, where no run of a variant has finished."""
    own = [o for r, o in zip(runs, outcomes) if r.variant == variant]
    if all("failed" in o for o in own):
        why = own[0]["failed"] if own else "none ran"
        raise BadInput(f"no run of {variant!r} has finished, so there is nothing to compare: {why}")


def save(
    frames: Mapping[str, pd.DataFrame], numbers: dict, folder: str | Path, metrics: str | Path
) -> None:
    """The first frame as `folder`/<name>.parquet, the others as CSV, and the small JSON `metrics`.

    What differs from run to run (seconds, commit) is in none of them: the runner's logs/ have it.
    """
    folder, metrics = Path(folder), Path(metrics)
    folder.mkdir(parents=True, exist_ok=True)
    metrics.parent.mkdir(parents=True, exist_ok=True)
    (name, long), *others = frames.items()
    long.to_parquet(folder / f"{name}.parquet", index=False)
    for name, frame in others:
        frame.to_csv(folder / f"{name}.csv", index=False)
    with atomic_write(metrics) as part:
        part.write_text(json.dumps(numbers, indent=1) + "\n")


def rounded(row, names: Sequence[str]) -> dict[str, float | None]:
    """Those attributes of a table's row with five digits for JSON, None where there is none."""
    values = {name: float(getattr(row, name)) for name in names}
    return {k: None if np.isnan(v) else round(v, 5) for k, v in values.items()}


def _start(run: Run, pairs: str | Path, folder: Path, command) -> subprocess.Popen:
    work = folder / f"{run.key}.work"  # with the checkpoints of a run that was interrupted
    work.mkdir(exist_ok=True)
    spec = work / "spec.json"
    model = str(weights(folder, run.key)) if run.keep else ""
    spec.write_text(
        json.dumps(
            {
                "values": run.values,
                "pairs": str(pairs),
                "work": str(work),
                "model": model,
                "file": str(folder / f"{run.key}.json"),
            }
        )
    )
    with open(work / "log.txt", "w") as log:
        return subprocess.Popen(
            command(spec), stdout=log, stderr=subprocess.STDOUT, env=stages.environment() | THREADS
        )


def _reason(code: int, log: Path) -> str:
    """The last thing a failed process said."""
    said = [s.strip() for s in re.split(r"[\r\n]", log.read_text(errors="replace")) if s.strip()]
    if code < 0:
        return f"ended by signal {-code}"
    return said[-1][:300] if said else f"ended with code {code} and said nothing"
