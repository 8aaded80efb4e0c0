"""Runs one stage: a parameterised notebook, executed by papermill and kept as an HTML page.

    python -m research.pipeline.notebook notebooks/20-pair-photos-and-chips.ipynb \\
        --params params.yaml --section data --section pair --html reports/20-pair.html

papermill's own command line does not create folders, follows whatever `python3` kernel the user has
registered, and does not check parameters. Here they are checked (`research.pipeline.parameters`),
the kernel is this very interpreter with gairlib importable, and a user's mistake (BadInput,
Missing) ends in its one sentence, without a traceback. A notebook that finds nothing to do raises
`Skipped`: its page, numbers and folder say why, and the run goes on. Beside the page, NAME.json
keeps notebook, title and parameters. What differs from run to run (seconds, time of finish, commit)
goes to logs/, which nothing depends on.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gairlib.data.boundary import TOLERANT
from gairlib.errors import BadInput, Missing
from research.pipeline import commit, pixels
from research.pipeline.parameters import collect, parameters, read

ROOT = Path(__file__).resolve().parents[2]
DPI = 140  # of figures in notebooks
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FOLDERS = "gairlib-kernel-"  # of kernels, with the process's number, in the temporary folder
SENTENCES = ("BadInput", "Missing")  # errors whose sentence is for the user
ERROR_MARKS = {"papermill-error-cell-tag"}  # of the cells that papermill puts around an error
# In a kernel tqdm.auto draws widgets, of which neither a terminal nor a page would show anything.
BARS = "__import__('sys').modules['tqdm.auto'] = __import__('tqdm.std', fromlist=['tqdm'])"


def enter() -> Path:
    """Go to the project's root when the notebook was opened from notebooks/; returns the folder.

    JupyterLab starts a kernel in the notebook's own folder, the pipeline in the run's; every path
    in a notebook is relative to the latter. In a kernel, figures made without pyplot are then
    shown as pictures too.
    """
    here = Path.cwd()
    if here.name == "notebooks" and (here.parent / "gairlib").is_dir():
        os.chdir(here.parent)
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"}, bbox_inches=None, dpi=DPI)
    return Path.cwd()


def table(frame):
    """A data frame without its index, every cell whole and as it is: what stands in it of the data
    is text, never HTML."""
    import pandas as pd
    from IPython.display import HTML

    with pd.option_context("display.max_colwidth", None):
        return HTML(
            frame.to_html(
                index=False, escape=True, border=0, na_rep="", float_format="{:.1f}".format
            )
        )


# ---------------------------------------------------------------------------- running


@contextmanager
def _kernel():
    """Make `python3` mean this interpreter, with gairlib importable, whatever is installed."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{FOLDERS}{os.getpid()}-") as folder:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # ipykernel logs on stderr, over the sentence of a failure: of its local sockets, and of
        # the interrupt that ends it. A defect in a notebook reaches us as papermill's exception.
        spec = {
            "argv": [*launch, "--log-level=CRITICAL", f"--IPKernelApp.exec_lines={BARS}"],
            "display_name": "Python 3",
            "language": "python",
        }
        home = Path(folder) / "share/kernels/python3"
        home.mkdir(parents=True)
        (home / "kernel.json").write_text(json.dumps(spec))

        def before(name: str, first: str) -> str:
            return os.pathsep.join(x for x in (first, os.environ.get(name)) if x)

        new = {
            "JUPYTER_PATH": before("JUPYTER_PATH", str(Path(folder) / "share")),
            "PYTHONPATH": before("PYTHONPATH", str(ROOT)),
            # Stages that run side by side must not share a history file or need a home directory.
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(Path(folder) / "runtime"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's warning about frozen modules
            # figures belong into the page, whatever a shell or an IDE has set for its own windows
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            TOLERANT: "1",  # one table that cannot be read stops no stage; the page says why
        }
        old = {k: os.environ.get(k) for k in new}
        os.environ.update(new)
        try:
            yield
        finally:
            for key, value in old.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})


def _sweep() -> None:
    """Remove the kernels' folders of processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        number = path.name.removeprefix(FOLDERS).split("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, ValueError, OverflowError):  # somebody else's, or no folder of ours
            pass


def run(notebook: str | Path, values: dict, html: str | Path, index: str = "index.html") -> Path:
    """Execute `notebook` with `values` in the current directory and write `html` and its .json.

    Raises papermill's PapermillExecutionError; the executed notebook is then beside the page, as
    NAME.failed.ipynb. Progress bars and prints of the notebook appear on stdout as they come.
    """
    # The probes' products are small: several BLAS threads make them four times as slow. Kernels
    # inherit it; torch has threads of its own (`--threads`).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import papermill

    from research.pipeline import page as notebook_html

    notebook, html = Path(notebook), Path(html)
    html.parent.mkdir(parents=True, exist_ok=True)
    failed = html.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    effective = parameters(notebook) | values
    started, code = time.monotonic(), commit.current()
    # papermill does not see `a, b = 1, 2` and would warn of unknown names; ours are checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with _kernel():
            nb = papermill.execute_notebook(
                notebook,
                failed,
                parameters=values,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=180,
                stdout_file=sys.stdout,
                stderr_file=sys.stdout,  # bars go to stderr; ours is for the sentence of an error
            )
    except papermill.PapermillExecutionError as problem:
        if problem.ename != "Skipped":
            raise
        nb = _skipped(read(failed), problem.evalue)
        _record_skipped(effective, problem.evalue)
    notebook_html.write(nb, html, back=None if html.name == index else index)
    failed.unlink(missing_ok=True)
    record = {
        "notebook": notebook.name,
        "title": notebook_html.title(nb),
        "html": html.name,
        "parameters": effective,
    }
    if html.with_suffix(".json") == Path(pixels.RECORD):  # what stages depend on instead of 80 MB
        record["pixels"] = pixels.digest(Path(effective["out"]) / pixels.STORE)
    _write_json(html.with_suffix(".json"), record)
    varying = {
        "seconds": round(time.monotonic() - started, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code,
    }
    _write_json(log_of(html), varying)
    return html


def _skipped(nb, reason: str):
    """What a notebook shows that has raised `Skipped`: as far as it came, and why it ended."""
    import nbformat

    code = [i for i, c in enumerate(nb.cells) if c.cell_type == "code"]
    last = next(i for i in code if any(o.output_type == "error" for o in nb.cells[i].outputs))
    said = nbformat.v4.new_output("display_data", {"text/markdown": f"**Skipped**: {reason}"})
    ended = nb.cells[: last + 1]
    nb.cells = [c for c in ended if not ERROR_MARKS & set(c.metadata.get("tags", []))]
    nb.cells[-1].outputs = [o for o in nb.cells[-1].outputs if o.output_type != "error"] + [said]
    return nb


def _record_skipped(values: dict, reason: str) -> None:
    """The folder `out` and the file `metrics` of a stage that had nothing to do."""
    folder = Path(values["out"])
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run, when there was something to do
    _write_json(folder / "skipped.json", {"skipped": reason})
    _write_json(Path(values["metrics"]), {"ran": 0, "skipped": reason})


def log_of(html: str | Path) -> Path:
    """reports/NAME.html -> logs/reports/NAME.json: what differs from run to run."""
    html = Path(html)
    return html.parent.parent / "logs" / html.parent.name / f"{html.stem}.json"


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def end_with_parent() -> None:
    """Ends this process, as SIGTERM does, when its parent is gone: DVC that is ended by a signal
    hands none on to the stage that it runs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent != 1:  # 1: it was gone before
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m research.pipeline.notebook", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebook")
    parser.add_argument("--html", required=True, help="page to write")
    parser.add_argument("--params", help="YAML file with the sections")
    parser.add_argument("--section", action="append", default=[], help="section of it; repeatable")
    parser.add_argument(
        "--threads",
        type=int,
        help="of arithmetic (default: one a core): stages "
        "that run side by side get in each other's way with more than their share",
    )
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", dest="single")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the kernel is asked to end, as by Ctrl-C
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    if "DVC_STAGE" in os.environ:
        end_with_parent()
    try:
        return _main(options)
    except KeyboardInterrupt:
        print(f"{options.notebook} was interrupted before its end", file=sys.stderr)
        return 130


def _main(options: argparse.Namespace) -> int:
    from papermill.exceptions import PapermillExecutionError

    if options.threads:
        os.environ |= dict.fromkeys(THREADS, str(options.threads))
    try:
        if options.section and not options.params:
            raise BadInput("--section needs --params, the file that has the section")
        values = collect(options.notebook, options.params, options.section, options.single)
        if "pairs" in parameters(options.notebook) and Path(pixels.RECORD).exists():
            pixels.ensure()
        page = run(options.notebook, values, options.html)
    except (BadInput, Missing) as problem:
        print(problem, file=sys.stderr)
        return 1
    except PapermillExecutionError as problem:
        failed = Path(options.html).with_suffix(".failed.ipynb")
        print(f"\n{options.notebook} stopped; as far as it came: {failed}", flush=True)
        sentence = problem.evalue if problem.ename in SENTENCES else str(problem)
        print(sentence, file=sys.stderr)
        return 1
    print(f"{page}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
