"""Every notebook in notebooks/ is as the pipeline and a reader need it."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from research.pipeline import parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELLS, LINES = 15, 15

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="no notebooks/ in this checkout")


@pytest.fixture(params=NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def nb(request):
    return nbformat.read(request.param, as_version=4)


def code(nb):
    return [c for c in nb.cells if c.cell_type == "code"]


def test_names_say_number_verb_object():
    assert not [p.name for p in NOTEBOOKS if not re.fullmatch(r"\d\d-[a-z0-9-]+\.ipynb", p.name)]
    numbers = [p.name[:2] for p in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)


def test_is_valid_and_clean(nb):
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert nb.metadata.kernelspec.name == "python3" and "widgets" not in nb.metadata
    for cell in code(nb):
        assert not cell.outputs and cell.execution_count is None


def test_one_title_then_parameters_then_imports(nb):
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert len(re.findall(r"^# ", prose, re.M)) == 1
    assert nb.cells[0].source.startswith("# ") and "untime" in nb.cells[0].source
    assert "parameters" in nb.cells[1].metadata.get("tags", [])
    assert sum("parameters" in c.metadata.get("tags", []) for c in nb.cells) == 1
    first = code(nb)[1].source.splitlines()
    assert first[:2] == ["from research.pipeline import notebook", ""]


def test_ends_with_conclusions(nb):
    heads = [c.source for c in nb.cells if c.cell_type == "markdown" and c.source.startswith("##")]
    assert heads[-1].startswith("## Conclusions")


def test_cells_are_short_and_compile(nb):
    assert len(code(nb)) <= CELLS
    for cell in code(nb):
        ast.parse(cell.source)
        # a table of parameters is as long as it is
        long = "parameters" not in cell.metadata.get("tags", []) and len(cell.source.splitlines())
        assert long <= LINES, cell.source


def test_parameters_are_used(nb):
    """A knob that nothing reads is no knob. Reading `globals()` reads them all."""
    path = next(p for p in NOTEBOOKS if nbformat.read(p, as_version=4) == nb)
    rest = "\n".join(c.source for c in code(nb)[1:])
    if "globals()" not in rest:
        names = {n.id for n in ast.walk(ast.parse(rest)) if isinstance(n, ast.Name)}
        assert set(parameters.parameters(path)) <= names


def test_formulas_are_written_without_mathjax(nb):
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\$\$|\$[^$\n`]*\\[a-zA-Z]+[^$\n]*\$", cell.source)


# ---------------------------------------------------------------------------- the pipeline's side


def commands() -> list[list[str]]:
    """Words of each command of both pipelines that runs a notebook, variables put in."""
    found, params = [], yaml.safe_load(read_params())
    for file in ("dvc.yaml", "ablation/dvc.yaml"):
        pipeline = yaml.safe_load((ROOT / file).read_text())
        words = {k: str(v) for given in pipeline.get("vars", []) for k, v in dict(given).items()}
        words["root"] = str(params["root"])
        found += _commands(pipeline["stages"].values(), words)
    return found


def _commands(stages, words: dict) -> list[list[str]]:
    found = []
    for stage in stages:
        text = stage.get("cmd", "")
        for _ in range(3):
            text = re.sub(r"\$\{(\w+)\}", lambda m: words.get(m.group(1), m.group(0)), text)
        if "research.pipeline.notebook" in text:
            found.append(text.split())
    return found


def read_params() -> str:
    return (ROOT / "params.yaml").read_text()


def options(words: list[str], name: str) -> list[str]:
    return [b for a, b in zip(words, words[1:]) if a == name]


def test_every_passed_parameter_exists_with_its_type():
    found = commands()
    assert found
    for words in found:
        path = ROOT / next(w for w in words if w.endswith(".ipynb"))
        sections, single = options(words, "--section"), options(words, "-p")
        (params,) = options(words, "--params")
        parameters.collect(path, ROOT / params, sections, single)


@pytest.mark.parametrize("words", commands(), ids=lambda w: options(w, "--html")[0])
def test_by_hand_a_notebook_does_what_the_pipeline_does_elsewhere(words):
    """Its defaults are the values of params.yaml, and it writes below scratch/ only."""
    path = ROOT / next(w for w in words if w.endswith(".ipynb"))
    (params,) = options(words, "--params")
    defaults = parameters.parameters(path)
    given = parameters.merge_sections(ROOT / params, options(words, "--section"))
    assert {name: defaults[name] for name in given} == given
    written = {"out", "work", "checkpoints", "metrics", "runs", "html"} & set(defaults)
    assert {"out"} <= written
    assert all(defaults[name].startswith(parameters.SCRATCH) for name in written)
    taken = parameters.collect(path, ROOT / params, options(words, "--section"), [])
    assert not [v for v in taken.values() if str(v).startswith(parameters.SCRATCH)]


def test_floats_in_params_load_as_floats():
    if not (ROOT / "params.yaml").exists():
        pytest.skip("no params.yaml in this checkout")

    def leaves(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from leaves(item)
        elif isinstance(value, list):
            for item in value:
                yield from leaves(item)
        else:
            yield value

    texts = [v for v in leaves(yaml.safe_load(read_params())) if isinstance(v, str)]
    assert not [t for t in texts if re.fullmatch(r"[-+]?\d[\d_]*\.?\d*[eE][-+]?\d+", t)]


def test_the_float_check_would_catch_one():
    assert yaml.safe_load("1e-5") == "1e-5" and yaml.safe_load("1.0e-5") == 1e-5
    assert json.loads("1e-5") == 1e-5
