"""Tutorials are clean, short, of the package alone, and listed where and as they can be had."""

import ast
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs/tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_is_clean_and_needs_the_package_alone(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert nb.cells[0].source.startswith("# ") and "untime" in nb.cells[0].source
    imported = set()
    for cell in code:
        assert not cell.outputs and cell.execution_count is None
        lines = cell.source.splitlines()
        assert len(lines) <= 15 and max(map(len, lines)) <= 100
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or node.names[0].name]
                imported |= {name.split(".")[0] for name in names}
    assert imported <= {"gairlib", "numpy", "rasterio", "PIL", "IPython", "pathlib"}
    for cell in nb.cells:
        for target in re.findall(r"\]\((\.\./[\w.-]+)\)", cell.source):
            assert (path.parent / target).is_file(), target


def test_the_list_has_a_button_where_the_site_knows_its_repository(tmp_path):
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs/site_hook.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    folder = tmp_path / "docs/tutorials"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        cell = nbformat.v4.new_markdown_cell(f"# Title {name}\nmore")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
    (folder / "b.html").touch()
    plain = hook.notebooks(tmp_path, "", "tutorials").splitlines()
    assert plain[0] == "- **Title a**: [notebook](a.ipynb)"
    assert "(b.html)" in plain[1] and "colab" not in "".join(plain)
    button = hook.notebooks(tmp_path, "https://github.com/own/er.git", "tutorials")
    assert "colab.research.google.com/github/own/er/blob/main/docs/tutorials/a.ipynb" in button
