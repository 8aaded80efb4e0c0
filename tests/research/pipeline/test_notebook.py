"""The notebook runner: parameters, the kernel that it takes, pages without a network, failures."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from builders.faults import ENDED
from PIL import Image

from gairlib.errors import BadInput, Missing
from research.maps.overlays import data_uri
from research.pipeline import notebook, parameters, templates
from research.pipeline import page as notebook_html
from research.pipeline.offline import external_loads

ROOT = Path(__file__).resolve().parents[3]


def write_notebook(path: Path, parameters: str, *code: str, title: str = "Does it run?") -> Path:
    v4 = nbformat.v4
    nb = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nb.cells = [v4.new_markdown_cell(f"# {title}\n\nText with a formula, x² + 1.")]
    nb.cells += [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    nb.cells += [v4.new_code_cell(c) for c in code]
    nbformat.write(nb, str(path))
    return path


def runner(folder: Path, *arguments, **environment):
    """The command line in another process, in `folder`, without an installed package's help."""
    env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | environment
    env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "research.pipeline.notebook", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


# ---------------------------------------------------------------------------- parameters


def test_parameters_are_read_as_written(tmp_path):
    cell = "folder = 'data'  # a comment\nlayouts = {\n    'a': 'b',\n}\nrate, n = 1.0, -3"
    found = parameters.parameters(write_notebook(tmp_path / "a.ipynb", cell))
    assert found == {"folder": "data", "layouts": {"a": "b"}, "rate": 1.0, "n": -3}


@pytest.mark.parametrize("cell", ["import os", "a = 1 + b", "a = b = 2"])
def test_parameters_cell_takes_literals_only(tmp_path, cell):
    with pytest.raises(BadInput, match="literals"):
        parameters.parameters(write_notebook(tmp_path / "a.ipynb", cell))


def params(folder: Path, **sections) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def test_sections_are_merged_and_keep_their_types(tmp_path):
    nb = write_notebook(tmp_path / "a.ipynb", "folder='x'\nlayouts={}\nlr=1.0\nfast=False\ntask=''")
    file = params(
        tmp_path, data={"folder": "data", "layouts": {"e*": "l1c"}}, fit={"lr": 3, "fast": True}
    )
    got = parameters.collect(nb, file, ["data", "fit"], ["task=007", "fast=false"])
    assert got == {
        "folder": "data",
        "layouts": {"e*": "l1c"},
        "lr": 3.0,
        "fast": False,
        "task": "007",
    }
    assert type(got["lr"]) is float


@pytest.mark.parametrize(
    "sections, single, words",
    [
        (["a", "b"], [], "'x' is in section 'a' and in 'b'"),
        (["absent"], [], "no section 'absent'"),
        (["c"], [], "no parameter 'y'"),
        (["d"], [], "write 1.0e-5"),
        ([], ["x=yes please"], "'x'"),
        ([], ["nothing"], "name=value"),
    ],
)
def test_wrong_parameters_end_before_a_kernel_starts(tmp_path, sections, single, words):
    nb = write_notebook(tmp_path / "a.ipynb", "x = 1.0")
    file = params(tmp_path, a={"x": 1}, b={"x": 2}, c={"y": 1}, d={"x": "1e-5"})
    with pytest.raises(BadInput, match=words):
        parameters.collect(nb, file, sections, single)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(Missing, match="absent.ipynb"):
        parameters.parameters(tmp_path / "absent.ipynb")
    with pytest.raises(Missing, match="absent.yaml"):
        parameters.merge_sections(tmp_path / "absent.yaml", ["a"])
    (tmp_path / "text.ipynb").write_text("not a notebook")
    with pytest.raises(BadInput, match="text.ipynb"):
        parameters.parameters(tmp_path / "text.ipynb")


def test_enter_leaves_the_notebooks_folder_only(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.enter() == tmp_path / "notebooks"  # not a project: no gairlib beside it
    (tmp_path / "gairlib").mkdir()
    assert notebook.enter() == tmp_path
    assert notebook.enter() == tmp_path


# ---------------------------------------------------------------------------- running


def test_a_run_from_elsewhere_with_a_wrong_python_first_on_the_path(tmp_path):
    """One run for everything that needs a kernel: it takes seconds to start one."""
    trap = tmp_path / "bin"
    trap.mkdir()
    for name in ("python", "python3"):
        (trap / name).write_text("#!/bin/sh\nexit 3\n")
        (trap / name).chmod(0o755)
    wrong = tmp_path / "jupyter/kernels/python3"  # a user's own python3 kernel, broken
    wrong.mkdir(parents=True)
    (wrong / "kernel.json").write_text(
        json.dumps({"argv": ["/nowhere", "{connection_file}"], "display_name": "x"})
    )
    here = tmp_path / "runs" / "mine"
    here.mkdir(parents=True)
    nb = write_notebook(
        tmp_path / "10-see.ipynb",
        "n = 1\nname = 'x'",
        "import sys, gairlib\nfrom pathlib import Path\n"
        "print('PYTHON', sys.executable, 'WHERE', Path.cwd(), 'N', n + 1, name)",
        "import time\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    time.sleep(0.01)",
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nfig",
        "import pandas as pd\npd.DataFrame({'recall': [0.5]})",
    )
    file = params(tmp_path, a={"n": 41})
    options = ["--params", file, "--section", "a", "-p", "name=true", "--html", "reports/10.html"]
    path = f"{trap}{os.pathsep}{os.environ['PATH']}"
    done = runner(here, nb, *options, PATH=path, JUPYTER_PATH=str(tmp_path / "jupyter"))
    assert done.returncode == 0, done.stderr
    assert f"PYTHON {sys.executable} WHERE {here} N 42 true" in done.stdout
    assert "3/3" in done.stdout  # the progress bar is seen, and is not an error
    page = (here / "reports/10.html").read_text()
    assert external_loads(page) == []
    assert "3/3" not in page.split("<main>")[1]  # its times differ from run to run
    assert "data:image/webp;base64" in page and "prefers-color-scheme: dark" in page
    assert 'href="index.html"' in page and "<title>Does it run?</title>" in page
    record = json.loads((here / "reports/10.json").read_text())
    assert record["parameters"] == {"n": 41, "name": "true"}
    assert record["title"] == "Does it run?" and "seconds" not in record
    assert json.loads((here / "logs/reports/10.json").read_text())["seconds"] > 0
    assert {p.name for p in (here / "reports").iterdir()} == {"10.html", "10.json"}


def test_a_users_mistake_gives_its_sentence_alone(tmp_path):
    nb = write_notebook(
        tmp_path / "a.ipynb",
        "n = 1",
        "from gairlib.errors import Missing\nraise Missing('folder x: put scenes there')",
    )
    done = runner(tmp_path, nb, "--html", "out/a.html")
    assert done.returncode == 1
    # The last line, and no traceback: a kernel that is interrupted may log a line of its own.
    assert done.stderr.endswith("folder x: put scenes there\n") and "Traceback" not in done.stderr
    assert (tmp_path / "out/a.failed.ipynb").exists() and "a.failed.ipynb" in done.stdout
    assert not (tmp_path / "out/a.html").exists()


def test_a_defect_keeps_its_traceback(tmp_path, capsys):
    nb = write_notebook(tmp_path / "a.ipynb", "n = 0", "1 / n")
    assert notebook.main([str(nb), "--html", str(tmp_path / "a.html")]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error and "1 / n" in error


def begun(folder: Path, *prefix: str) -> subprocess.Popen:
    """The runner in a process of its own, in a cell that lasts, as DVC starts it."""
    file = write_notebook(folder / "long.ipynb", "a = 1", "import time; print('here', flush=True)")
    nb = nbformat.read(file, 4)
    nb.cells += [nbformat.v4.new_code_cell("time.sleep(300)")]
    nbformat.write(nb, str(file))
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "research.pipeline.notebook", "long.ipynb"]
        + ["--html", "long.html"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": "long"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "here" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    return process


def at_work(folder: Path) -> list[str]:
    """Commands of the processes whose working folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


@linux
def test_folders_of_kernels_that_were_killed_go_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (f"{ENDED}-ab", f"{os.getpid()}-ab", "x-ab", "ab"):
        (tmp_path / f"gairlib-kernel-{name}" / "share").mkdir(parents=True)
    with notebook._kernel():
        left = {p.name.removeprefix("gairlib-kernel-") for p in tmp_path.iterdir()}
    assert f"{ENDED}-ab" not in left and {f"{os.getpid()}-ab", "x-ab", "ab"} < left
    assert len(left) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_kernel_and_is_told_in_a_sentence(tmp_path, number):
    process = begun(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "long.ipynb was interrupted before its end\n"
    assert not at_work(tmp_path)


@linux
def test_the_end_of_the_process_that_started_a_stage_ends_the_stage(tmp_path):
    """As DVC, which hands on no SIGTERM."""
    starter = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    process = begun(tmp_path, sys.executable, "-c", starter)
    process.kill()
    process.communicate(timeout=60)  # the pipes close when all have ended
    waited = time.monotonic() + 30
    while at_work(tmp_path) and time.monotonic() < waited:
        time.sleep(0.2)
    assert not at_work(tmp_path)


def test_a_page_that_needs_a_network_is_refused(tmp_path):
    data = {"text/html": "<img src='https://example.org/a.png' alt='a'>"}
    output = nbformat.v4.new_output("display_data", data)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    with pytest.raises(BadInput, match="example.org"):
        notebook_html.write(nb, tmp_path / "a.html")


def figure_page() -> str:
    """A page of two figures, below their headings; the first has a text of its own."""
    v4 = nbformat.v4
    picture = {"image/png": data_uri(np.zeros((4, 4, 3), np.uint8)).split(",")[1]}
    shown = [v4.new_output("display_data", picture)]
    nb = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# Is it <seen>?"),
            v4.new_code_cell("a", outputs=shown),
            v4.new_markdown_cell('## Where "they" are & how'),
            v4.new_code_cell("b", outputs=shown),
        ]
    )
    return notebook_html.convert(nb)


def test_a_figure_is_described_by_the_heading_above_it():
    import html

    page = figure_page()
    found = [html.unescape(a) for a in re.findall(r'<img[^>]*?alt="([^"]*)"', page)]
    assert found == ["Figure: Is it <seen>?", 'Figure: Where "they" are & how']
    assert "No description" not in page


def test_a_figure_stays_legible_on_a_phone():
    """It keeps 640 px below a viewport of 600, in an output area that scrolls."""
    style = notebook_html.read_file("notebook.css")
    narrow = style.split("@media (max-width: 600px)")[1]
    assert re.search(r"jp-RenderedImage img[^}]*min-width: 640px", narrow)
    assert re.search(r"\.jp-OutputArea-output \{[^}]*overflow-x: auto", style)


# ---------------------------------------------------------------------------- offline


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://x.org/a.js"></script>',
        '<link rel="stylesheet" href="//x.org/a.css">',
        "<style>@import 'https://x.org/a.css';</style>",
        '<style>a { background: url( "https://x.org/a.png" ) }</style>',
        '<p style="background:url(http://x.org/a.png)">',
        '<script type="module">await import("https://x.org/a.mjs")</script>',
        '<img srcset="a.png 1x, https://x.org/b.png 2x">',
        '<iframe srcdoc="&lt;script src=&quot;https://x.org/a.js&quot;&gt;&lt;/script&gt;"></iframe>',
        '<script>L.tileLayer("https://x.org/{z}/{x}/{y}.png")</script>',
    ],
)
def test_external_loads_finds(page):
    assert len(external_loads(page)) == 1


def test_external_loads_lets_links_and_data_pass():
    page = '<a href="https://x.org">x</a><img src="data:image/png;base64,AA"><img src="a/b.png">'
    assert external_loads(page + "<script>// see https://x.org\nlet a = 1</script>") == []


def test_pictures_become_webp_where_that_is_smaller_and_keep_their_size_and_colours():
    x = np.linspace(0, 255, 400).astype(np.uint8)
    smooth = np.stack(np.broadcast_arrays(x[:, None], x[None], np.uint8(90)), -1)
    noisy = np.clip(smooth + np.random.default_rng(0).normal(0, 6, smooth.shape), 0, 255)
    noise = np.random.default_rng(0).integers(0, 2, (24, 24, 1)) * np.full(3, 255)
    large, small = data_uri(noisy.astype(np.uint8)), data_uri(noise.astype(np.uint8))
    page = notebook_html.smaller(f'<img src="{large}"><img src="{small}">')
    assert small in page and large not in page and len(page) < len(small) + len(large) / 2
    kind, content = re.search(r'src="data:image/(\w+);base64,([^"]+)"', page).groups()
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert kind == "webp" and image.size == (400, 400)
        assert np.abs(np.asarray(image.convert("RGB"), float) - smooth).mean() < 6


def test_code_is_marked_up_where_the_style_has_a_rule():
    head = "<style>.highlight .o { color: red }</style>"
    body = '<pre><span class="n">a</span> <span class="o">=</span> <span class="n">b</span></pre>'
    assert notebook_html.plain_code(head, body) == '<pre>a <span class="o">=</span> b</pre>'


def test_a_framed_map_is_the_file_beside_the_page():
    template = templates.environment("research.maps").get_template("frame.html")
    frame = template.render(page="<p>a map</p>", height=9, beside="map.html")
    output = nbformat.v4.new_output("display_data", data={"text/html": frame})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    page = notebook_html.convert(nb)
    assert 'src="map.html"' in page and "srcdoc" not in page and "a map" not in page


def test_importing_the_runner_is_quick():
    """It runs before every stage: neither torch nor a plotting library may come with it."""
    heavy = "{'torch', 'matplotlib', 'papermill'}"
    code = f"import sys, research.pipeline.notebook; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_words_of_the_data_are_words_in_a_page():
    text = (
        "Dataset **<img src=x onerror=window.hit=1>** ![a](/etc/passwd) ![b](http://x.y/z.png) "
        "[l](javascript:alert(1))\n\n```mermaid\n<script>x</script>\n```\n\n"
        "<script>\nwindow.hit=2\n</script>\n"
    )
    data = {"text/markdown": text}
    output = nbformat.v4.new_output("display_data", data=data)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    page = notebook_html.convert(nb)
    body = page[page.index("<main") :]
    assert "<script" not in body and "<img" not in body and "javascript:" not in body
    assert "&lt;img src=x onerror=window.hit=1&gt;" in body
    assert not external_loads(page)
