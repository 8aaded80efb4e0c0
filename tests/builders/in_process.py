"""A run's stages one after the other in this process: what DVC does with them, without its minutes.

Each stage is called with the command that DVC would run, its notebook's cells in an IPython shell
of this process instead of a kernel of its own. What DVC asks for is asked for here too: that every
dependency is there before a stage, every output after it, and that its exit code is 0.
"""

import base64
import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import nbformat
from dvc.repo import Repo
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.engines import Engine, papermill_engines
from traitlets.config import Config

from research.pipeline import notebook, side_by_side


class InProcess(Engine):
    """papermill's engine over one IPython shell, emptied before each notebook."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **_):
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type != "code":
                continue
            nb_man.cell_start(cell, index)
            with capture_output() as said:
                done = shell.run_cell(cell.source, store_history=False, silent=False)
            cell.outputs = _outputs(said)
            if error := done.error_before_exec or done.error_in_exec:
                cell.outputs.append(
                    nbformat.v4.new_output(
                        "error",
                        ename=type(error).__name__,
                        evalue=str(error),
                        traceback=shell.InteractiveTB.stb2text(
                            shell.InteractiveTB.structured_traceback(
                                type(error), error, error.__traceback__
                            )
                        ).splitlines(),
                    )
                )
                nb_man.cell_exception(cell, index, exception=error)
                break
            nb_man.cell_complete(cell, index)


def _outputs(said) -> list:
    """What a cell has printed and shown, as a kernel's messages would be kept."""
    found = []
    for name in ("stdout", "stderr"):
        if text := getattr(said, name):
            found.append(nbformat.v4.new_output("stream", name=name, text=text))
    for rich in said.outputs:
        data = {k: _text(v) for k, v in rich.data.items()}
        found.append(
            nbformat.v4.new_output("display_data", data=data, metadata=rich.metadata or {})
        )
    return found


def _text(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Notebooks run in this process; papermill's own engine comes back at the end."""
    before = papermill_engines._engines.get(None)
    papermill_engines.register(None, InProcess)
    try:
        yield
    finally:
        papermill_engines.register(None, before)


def repro(run: Path) -> dict[str, Path]:
    """Runs every stage of a run's dvc.yaml in order; the pages by stage."""
    with Repo(str(run)) as repo:
        stages = {s.name: s for s in repo.index.stages}
    order, pages = side_by_side.stages(run), {}
    with engine(), contextlib.chdir(run):
        while order:
            name = next(n for n, before in order.items() if not set(before) & set(order))
            del order[name]
            stage = stages[name]
            missing = [str(d) for d in stage.deps if not Path(d.fs_path).exists()]
            assert not missing, f"{name} needs {missing}"
            python, _, module, *arguments = shlex.split(stage.cmd)
            assert (python, module) == ("python", "research.pipeline.notebook")
            code = notebook.main(arguments)
            assert code == 0, f"{name} ended with {code}"
            gone = [str(o) for o in stage.outs if not Path(o.fs_path).exists()]
            assert not gone, f"{name} left no {gone}"
            pages[name] = Path(arguments[arguments.index("--html") + 1]).resolve()
    return pages
