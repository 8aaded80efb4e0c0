"""Test rows are for what judges: no module that learns or chooses can get at them.

Two ways lead to a row's split: the pairs (`store.load`, which gives all rows only where it is not
asked for `LEARNING`) and the word "test" in a table's column. Who takes either is listed here, with
its reason; a module that is not listed and does so fails.
"""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# every row of the pairs, test rows with them
ALL_PAIRS = {
    "research/tasks/query.py": "`ask`: what retrieval and localisation judge",
    "research/tasks/street.py": "a probe of held-out sites",
    "research/studies/stress/evaluate.py": "judges finished models; nothing is chosen by it",
    "research/studies/find_calibration.py": "judges a finished model; nothing is chosen by it",
    "research/reports/gallery.py": "shows pictures",
    "research/speed/batch_reading.py": "times made-up pairs",
    "notebooks/40-embed-chips-photos-places.ipynb": "embeds whatever there is",
    "notebooks/50-explore-the-continuous-field.ipynb": "shows one scene",
    "notebooks/55-find-a-photo-by-hand.ipynb": "shows one scene",
}
# the word "test" as a split
BY_NAME = {
    "gairlib/pairs/division.py": "makes the splits",
    "gairlib/pairs/placement.py": "makes the splits",
    "research/figures/embeddings.py": "shows held-out photos",
    "research/figures/pairing.py": "a colour for each split",
    "research/maps/explore.py": "shows a held-out scene",
    "research/reports/pages.py": "shows the numbers of shifted places",
    "research/sample/sites.py": "makes the splits",
    "research/sample/learnability.py": "what the sample's photos tell, before any training",
    "research/studies/seeds_run.py": "judges finished models; nothing is chosen by it",
    "research/studies/seeds_table.py": "says of a number whether its places are shifted ones",
    "notebooks/60-benchmark-one-task.ipynb": "runs a benchmark",
}
JUDGES, JUDGES_PACKAGE = "research/tasks/", "research.tasks"  # benchmarks
# who runs whole benchmarks (a task takes its `Options`)
RUNS_BENCHMARKS = {
    "notebooks/60-benchmark-one-task.ipynb": "the stage of each task",
    "notebooks/67-probe-a-real-scene.ipynb": "a real scene, on which nothing is chosen",
    "research/pipeline/bench_all.py": "trains what the benchmarks of segmentation read",
    "research/studies/block_sizes.py": "loads tables of places",
    "research/studies/seeds_run.py": "judges finished models; nothing is chosen by it",
}
# what hands out test rows, and who may import it
FROM = ("research.tasks.query", "research.tasks.result")
JUDGING_STUDIES = {"research/studies/stress/evaluate.py", "research/studies/find_calibration.py"}
GIVERS = {"held_out", "ask", "ask_shifted", "TEST", "SHIFTED", "HELD_OUT"}


def sources():
    """(path, tree) of every module and of every notebook's code."""
    for path in sorted([*ROOT.glob("gairlib/**/*.py"), *ROOT.glob("research/**/*.py")]):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        yield path.relative_to(ROOT).as_posix(), ast.parse("\n".join(code))


def loads(tree):
    """The calls `store.load(...)` in a module, by whatever name the store goes there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if node.func.attr == "load" and isinstance(owner, ast.Name):
                if owner.id in ("store", "pairs_store"):
                    yield node


def names_learning(call):
    splits = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "splits")]
    return any(isinstance(s, ast.Attribute) and s.attr == "LEARNING" for s in splits)


def test_only_what_judges_or_shows_loads_all_pairs():
    found, learn = set(), set()
    for path, tree in sources():
        for call in loads(tree):
            (learn if names_learning(call) else found).add(path)
    assert found == set(ALL_PAIRS)
    assert learn >= {
        "gairlib/train/__main__.py",
        "notebooks/30-pretrain-three-encoders.ipynb",
        "research/studies/ablation_run.py",
        "research/tasks/query.py",
    }


def test_only_benchmarks_and_what_makes_the_splits_know_the_name_of_the_test_split():
    found = set()
    for path, tree in sources():
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        if {"test", "shifted"} & {w for w in words if isinstance(w, str)} and not path.startswith(
            JUDGES
        ):
            found.add(path)
    assert found == set(BY_NAME)


def test_what_hands_out_test_rows_is_imported_by_benchmarks_alone():
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in FROM:
                taken = GIVERS & {alias.name for alias in node.names}
                if path not in JUDGING_STUDIES:
                    assert not taken or path.startswith((JUDGES, "notebooks/60")), path


def test_benchmarks_are_run_by_those_who_judge_alone():
    found = set()
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(JUDGES_PACKAGE):
                if "Options" in {alias.name for alias in node.names}:
                    found.add(path)
    assert {path for path in found if not path.startswith(JUDGES)} == set(RUNS_BENCHMARKS)


@pytest.mark.parametrize(
    "line, flagged",
    [
        ("store.load(folder)", True),
        ("pairs_store.load(folder, splits=None)", True),
        ("store.load(folder, ('train', 'test'))", True),
        ("store.load(folder, store.LEARNING)", False),
        ("store.load(folder, splits=pairs_store.LEARNING)", False),
    ],
)
def test_the_scan_sees_what_it_is_to_see(line, flagged):
    (call,) = loads(ast.parse(line))
    assert names_learning(call) != flagged
