"""Stages side by side: what may begin when, a real DVC project, failures and interrupts."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from gairlib.errors import BadInput
from research.pipeline import side_by_side, stages
from research.pipeline.side_by_side import affected, ready

GRAPH = {
    "inspect": [],
    "pair": ["inspect"],
    "pretrain": ["pair"],
    "one": ["pretrain"],
    "two": ["pretrain"],
    "three": ["pretrain"],
    "report": ["one", "two", "three"],
}


def test_what_follows_from_a_change_runs_and_nothing_else():
    assert affected(GRAPH, {"two"}) == {"two": [], "report": ["two"]}
    assert affected(GRAPH, set()) == {}
    assert affected(GRAPH, {"inspect"}) == GRAPH


def test_stages_begin_when_what_they_need_is_done():
    done = {"inspect", "pair", "pretrain"}
    assert ready(GRAPH, done, set(done), set(), 2) == ["one", "two"]
    assert ready(GRAPH, done, done | {"one", "two"}, {"one", "two"}, 2) == []
    assert ready(GRAPH, done | {"one"}, done | {"one", "two"}, {"two"}, 2) == ["three"]
    assert ready(GRAPH, set(), set(), set(), 5) == ["inspect"]


def test_the_stage_that_uses_all_cores_runs_alone():
    graph = {"world": [], "pair": [], "pretrain": ["pair"], "late": []}
    assert ready(graph, {"pair"}, {"pair", "world"}, {"world"}, 2) == []  # not put off by `late`
    assert ready(graph, {"pair", "world"}, {"pair", "world"}, set(), 2) == ["pretrain"]
    assert ready(graph, {"pair", "world"}, {"pair", "world", "pretrain"}, {"pretrain"}, 2) == []


STAGE = textwrap.dedent("""
    import sys, time
    name, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    began = time.time()
    print("hello from", name, flush=True)
    time.sleep(seconds)
    if code:
        sys.exit(code)
    open(name + ".txt", "w").write(f"{began} {time.time()}")
""")


def project(folder: Path, seconds: float = 3.0, failing: str = "") -> Path:
    """a, then b, c and d, then e, in a DVC project."""
    (folder / "stage.py").write_text(STAGE)
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"], "e": ["b", "c", "d"]}
    long = {n: seconds if n in "bcd" and n != failing else 0 for n in needs}
    made = {
        name: {
            "cmd": f"{sys.executable} stage.py {name} {long[name]} {int(name == failing)}",
            "deps": [f"{n}.txt" for n in before],
            "outs": [f"{name}.txt"],
        }
        for name, before in needs.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": made}, sort_keys=False))
    stages.run_dvc(folder, "init", "-q", "--no-scm")
    return folder


def times(folder: Path, name: str) -> tuple[float, float]:
    return tuple(map(float, (folder / f"{name}.txt").read_text().split()))


def test_independent_stages_overlap_and_dvc_has_the_last_word(tmp_path, capfd):
    project(tmp_path)
    assert side_by_side.stages(tmp_path)["e"] == ["b", "c", "d"]
    stages.repro(tmp_path, jobs=2)
    (b0, b1), (c0, c1), (d0, _) = (times(tmp_path, n) for n in "bcd")
    assert b0 < c1 and c0 < b1  # b and c overlap
    assert d0 > min(b1, c1)  # two at a time
    assert times(tmp_path, "a")[1] < b0 and times(tmp_path, "e")[0] > times(tmp_path, "d")[1]
    said = capfd.readouterr().out
    assert "[b] hello from b" in said and "[e] done: 5 of 5 stages" in said and "up to date" in said
    assert set(yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]) == set("abcde")

    before = times(tmp_path, "b")
    (tmp_path / "c.txt").unlink()  # one output is gone: c runs again (from DVC's cache of runs)
    stages.repro(tmp_path, jobs=2)
    assert times(tmp_path, "b") == before and (tmp_path / "c.txt").exists()
    with pytest.raises(BadInput, match="jobs is 0"):
        stages.repro(tmp_path, jobs=0)


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failure_is_an_error_and_spares_what_does_not_need_it(tmp_path, keep_going):
    project(tmp_path, 8.0, failing="b")
    with pytest.raises(subprocess.CalledProcessError):
        stages.repro(tmp_path, jobs=2, keep_going=keep_going)
    assert (tmp_path / "c.txt").exists()  # it ran beside b, and was waited for
    assert (tmp_path / "d.txt").exists() == keep_going
    assert not (tmp_path / "e.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_stages_and_the_next_call_goes_on(tmp_path, number):
    project(tmp_path, 60.0)
    code = (
        f"import sys; from research.pipeline import stages as pipeline\n"
        f"try: pipeline.repro({str(tmp_path)!r}, jobs=2)\n"
        f"except KeyboardInterrupt: sys.exit(130)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=stages.environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen = set()
    while not {"b", "c"} <= seen:
        line = process.stdout.readline()
        assert line, "ended early"
        seen |= {n for n in "bc" if f"hello from {n}" in line}
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=50)
    assert process.returncode == 130 and time.monotonic() - began < 45
    assert not (tmp_path / "b.txt").exists() and (tmp_path / "a.txt").exists()
    rest = json.loads((tmp_path / ".dvc/tmp/rwlock").read_text() or "{}")
    alive = [
        v
        for locks in rest.values()
        for v in (locks if isinstance(locks, list) else [locks])
        if isinstance(v, dict) and Path(f"/proc/{v.get('pid')}").exists()
    ]
    assert not alive


def test_a_closed_terminal_ends_the_stages_unless_nohup_was_asked_for():
    with side_by_side.ended_by_signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(5)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with side_by_side.ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_a_single_call_of_dvc_ends_it_too(tmp_path, number):
    (tmp_path / "stage.py").write_text(STAGE)
    stage = {"cmd": f"{sys.executable} stage.py alone 60 0", "outs": ["alone.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"alone": stage}}))
    stages.run_dvc(tmp_path, "init", "-q", "--no-scm")
    code = (
        "import sys; from pathlib import Path; from research.pipeline import stages\n"
        f"try: stages.run_dvc(Path({str(tmp_path)!r}), 'repro')\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=stages.environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while "hello from alone" not in (line := process.stdout.readline()):
        assert line, "ended early"
    process.send_signal(number)
    process.communicate(timeout=50)
    assert process.returncode == 130 and not (tmp_path / "alone.txt").exists()
    left = [p for p in Path("/proc").iterdir() if p.name.isdigit() and _works_in(p, tmp_path)]
    assert not left


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve() == folder.resolve()
    except OSError:
        return False


def test_a_signal_while_a_process_is_begun_counts_when_it_is_known():
    with side_by_side.ended_by_signals(), pytest.raises(KeyboardInterrupt):
        with side_by_side._held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            known = True
        pytest.fail("the signal was lost")
    assert known
