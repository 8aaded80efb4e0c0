"""Two pairings into one folder, one task twice, a worker of a Dask cluster killed in the middle, in
processes of their own, at random moments. `make test-faults TIMES=50`."""

import os
import random
import shutil
import signal
import threading
import time

import pytest
from builders.together import after, content, cut_part, pair_tiny, processes

from gairlib.pairs import pairing

TIMES = int(os.environ.get("GAIRLIB_TIMES", "50"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def right(tiny, tmp_path_factory):
    """What a pairing alone gives, and its seconds, imports apart."""
    folder = tmp_path_factory.mktemp("calm") / "out"
    for _ in range(2):
        begun = time.monotonic()
        assert pair_tiny(tiny, folder) == "done"
    return content(folder), time.monotonic() - begun


def test_two_pairings_into_one_folder(tiny, tmp_path, right):
    whole, seconds = right
    moments, both = random.Random(0), 0
    with processes(2) as pool:
        for number in range(TIMES):
            out = tmp_path / f"{number}/out"
            late = moments.uniform(0, 0.8 * seconds) if number else 0
            said = [pool.apply_async(after, (wait, pair_tiny, tiny, out)) for wait in (0, late)]
            said = [answer.get(300) for answer in said]
            refused = [sentence for sentence in said if sentence != "done"]
            assert len(refused) < 2
            assert all(str(out) in s and "is working on it" in s for s in refused), refused
            assert content(out) == whole and list(out.parent.iterdir()) == [out]
            both += not refused
            shutil.rmtree(out.parent)
    print(f"{TIMES} times two pairings: {both} times one after the other, else one was refused")
    assert both < TIMES


def test_one_task_twice(tiny, tmp_path, monkeypatch):
    """As a scheduler does that takes a worker for lost."""
    tasks, cut = [], pairing.cut
    monkeypatch.setattr(pairing, "cut", lambda *given: tasks.append(given) or cut(*given))
    assert pair_tiny(tiny, tmp_path / "out") == "done"
    moments = random.Random(0)
    with processes(2) as pool:
        for number in range(TIMES):
            _, *given = tasks[number % len(tasks)]
            alone = tmp_path / "alone" / str(number % len(tasks))
            counted = pool.apply(cut_part, ((alone, *given),))
            part = tmp_path / f"{number}/part"
            late = moments.choice([0, moments.uniform(0, 0.05)])
            made = [pool.apply_async(after, (wait, cut_part, (part, *given))) for wait in (0, late)]
            assert [m.get(300) for m in made] == [counted, counted]
            assert content(part) == content(alone) and list(part.parent.iterdir()) == [part]
    print(f"{TIMES} times one task twice")


def test_a_killed_worker_of_a_cluster(tiny, tmp_path, right):
    distributed = pytest.importorskip("distributed")
    whole, seconds = right
    moments, refused, times = random.Random(0), 0, -(-TIMES * 2 // 5)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:

        def kill(out, late):
            while not out.with_name("out.work").is_dir():
                time.sleep(0.01)
            time.sleep(late)
            os.kill(moments.choice(list(cluster.workers.values())).process.pid, signal.SIGKILL)

        for number in range(times):
            out = tmp_path / f"{number}/out"
            late = moments.uniform(0, seconds)
            with distributed.Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=120)  # the nanny starts killed ones anew
            killer = threading.Thread(target=kill, args=(out, late), daemon=True)
            killer.start()
            said = pair_tiny(tiny, out, cluster.scheduler_address)
            killer.join(60)
            assert not killer.is_alive()
            if said != "done":
                refused += 1
                assert pair_tiny(tiny, out) == "done", said
            assert content(out) == whole and list(out.parent.iterdir()) == [out]
    print(f"{times} killed workers: {times - refused} pairings went on, {refused} were refused")
