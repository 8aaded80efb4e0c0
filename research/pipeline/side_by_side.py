"""`dvc repro` with several stages at a time; DVC itself runs one after the other.

A benchmark is mostly one thread that starts up, reads and fits small probes: on two cores two of
them side by side take little longer than one. So stages whose dependencies are done are each given
to a `dvc repro --single-item` of their own, `jobs` at a time, in the order of dvc.yaml. DVC decides
as ever whether a stage must run, locks what it reads and writes, and keeps dvc.lock; a plain `dvc
repro` at the end finds nothing left to do, or does it. ALONE names the stages that use all cores.

What stages print is shown line by line behind the stage's name, progress bars every ten seconds; a
stage that runs alone writes to the terminal itself.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gairlib.errors import BadInput

ALONE = ("pretrain",)
SHOW_EVERY = 10.0  # seconds between two states of a stage's progress bar
PATIENCE = 60.0  # seconds in which an interrupted stage keeps what it has
Graph = Mapping[str, Sequence[str]]  # stage -> stages that it needs, in the order of dvc.yaml


def stages(where: str | Path) -> dict[str, list[str]]:
    """Stages of the dvc.yaml in a folder, each with the stages of it that come before."""
    from dvc.repo import Repo  # seconds of imports that only this needs

    where = Path(where).resolve()
    with Repo(str(where)) as repo:
        graph = repo.index.graph
        own = [s for s in repo.index.stages if Path(s.path) == where / "dvc.yaml"]
        return {s.name: [d.name for d in graph.successors(s) if d in own] for s in own}


def changed(where: str | Path, command: Sequence[str], env: dict) -> set[str]:
    """Stages that DVC finds changed: those that will run, whatever follows from them."""
    done = subprocess.run(
        [*command, "status", "--json"],
        cwd=where,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return set(json.loads(done.stdout or "{}"))


def affected(graph: Graph, first: set[str]) -> dict[str, list[str]]:
    """The part of a graph that is in `first` or comes after it."""

    def reached(name: str) -> bool:
        return name in first or any(map(reached, graph[name]))

    found = [name for name in graph if reached(name)]
    return {name: [d for d in graph[name] if d in found] for name in found}


def ready(graph: Graph, done: set[str], begun: set[str], running: set[str], jobs: int) -> list[str]:
    """Stages to begin now. One of ALONE waits until nothing runs, and nothing is begun beside it;
    nor before it, so that it is not put off for ever."""
    if running & set(ALONE):
        return []
    free = [n for n in graph if n not in begun and all(d in done for d in graph[n])]
    if alone := [n for n in free if n in ALONE]:
        return alone[:1] if not running else []
    return free[: max(0, jobs - len(running))]


class Stage:
    """A stage that runs: its process, and a thread that shows what it prints."""

    def __init__(self, name: str, command: list[str], where: Path, env: dict, show: bool):
        self.name = name
        # A session of its own, so that an interrupt reaches DVC's child as it would in a terminal
        self.process = subprocess.Popen(
            command,
            cwd=where,
            env=env,
            stdout=subprocess.PIPE if show else None,
            stderr=subprocess.STDOUT if show else None,
            start_new_session=True,
        )
        self.thread = threading.Thread(target=self._show, daemon=True) if show else None
        if self.thread:
            self.thread.start()

    def _show(self) -> None:
        """Whole lines at once; of a line that is written again and again (\\r), now and then."""
        last, rest = time.monotonic(), ""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            rest += chunk.decode(errors="replace")
            *ended, rest = re.split(r"(?<=[\r\n])", rest)
            for line in ended:
                text = line.strip()
                bar = not line.endswith("\n")
                if text and (not bar or time.monotonic() - last > SHOW_EVERY):
                    print(f"[{self.name}] {text}", flush=True)
                    last = time.monotonic() if bar else last
        if rest.strip():
            print(f"[{self.name}] {rest.strip()}", flush=True)

    def ended(self) -> bool:
        if self.process.poll() is None:
            return False
        if self.thread:
            self.thread.join()
        return True


def repro(
    where: str | Path, command: Sequence[str], env: dict, *, jobs: int, keep_going: bool = False
) -> None:
    """Brings the pipeline of a folder up to date; CalledProcessError where a stage failed.

    command: what calls DVC. keep_going: after a failure, stages that do not need the failed one
    are still run (those that run already are always waited for). An interrupt is handed on to the
    stages, which keep what they have.
    """
    if jobs < 1:
        raise BadInput(f"jobs is {jobs}: at least one stage at a time")
    where, command = Path(where), list(command)
    last = {"": ["repro", *(["--keep-going"] if keep_going else [])]}
    with ended_by_signals():
        if jobs > 1 and (first := changed(where, command, env)):
            todo = affected(stages(where), first)
            single = {n: ["--wait-for-lock", "repro", "--single-item", n] for n in todo}
            _run(todo, single, where, command, env, jobs, keep_going)
        _run({"": []}, last, where, command, env, 1, keep_going)


def _run(
    graph: Graph,
    calls: Mapping[str, list[str]],
    where: Path,
    command: list[str],
    env: dict,
    jobs: int,
    keep_going: bool,
) -> None:
    """The calls of DVC that stand for the stages of a graph, `jobs` at a time; a single one at a
    time writes to the terminal itself."""
    done, begun, running, failed = set(), set(), {}, None
    try:
        while True:
            if failed is None or keep_going:
                for name in ready(graph, done, begun, set(running), jobs):
                    show = jobs > 1 and name not in ALONE
                    with _held():  # a process that was begun is known before a signal counts
                        running[name] = Stage(name, [*command, *calls[name]], where, env, show)
                    begun.add(name)
            if not running:
                break
            for name in [n for n, stage in running.items() if stage.ended()]:
                code = running.pop(name).process.returncode
                if code:
                    failed = failed or subprocess.CalledProcessError(code, [*command, *calls[name]])
                    continue
                done.add(name)
                if jobs > 1:
                    print(f"[{name}] done: {len(done)} of {len(graph)} stages", flush=True)
            time.sleep(0.1)
    except BaseException:
        _interrupt(running.values())
        raise
    if failed:
        raise failed


def _interrupt(running) -> None:
    """Asks the stages to end, as Ctrl-C in a terminal would, and waits for them; a second signal
    ends them at once."""
    for number, patience in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, PATIENCE)):
        with contextlib.suppress(KeyboardInterrupt):
            for stage in running:
                if stage.process.poll() is None:
                    os.killpg(stage.process.pid, number)
            for stage in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    stage.process.wait(timeout=patience)


def call(command: Sequence[str], where: str | Path, env: dict) -> None:
    """One command in a folder, which writes to the terminal itself; CalledProcessError where it
    fails. An interrupt or a signal that ends this process ends it first."""
    with ended_by_signals():
        _run({"": []}, {"": []}, Path(where), list(command), env, 1, False)


class _Signals:
    """Whether a signal counts at once, and whether one has come while it did not."""

    held = False
    came = False


def _ask(number, frame) -> None:
    if _Signals.held:
        _Signals.came = True
    else:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _held():
    """Signals of `ended_by_signals` count at the end of the block only."""
    _Signals.held = True
    try:
        yield
    finally:
        _Signals.held = False
    if _Signals.came:
        _Signals.came = False
        raise KeyboardInterrupt


@contextlib.contextmanager
def ended_by_signals():
    """Ctrl-C, a closed terminal and `kill` end the stages too, not this process alone; what `nohup`
    has made this process deaf to stays so."""
    main = threading.current_thread() is threading.main_thread()
    before = {
        n: signal.signal(n, _ask)
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if main and signal.getsignal(n) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
