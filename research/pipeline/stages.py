"""The pipeline, several stages at a time, on the sample or on other data (`make repro [DATA=...]`).

    python -m research.pipeline [FOLDER] [--name NAME] [--jobs 2]

Without a folder it is `dvc repro` for the sample, with `jobs` stages side by side. For a folder, a
run lives in `runs/<name>/`, a DVC project of its own (without git) inside this one. It holds a
copy of `dvc.yaml` and a `params.yaml` that differs from the sample's in three places: `root`, the
data folder, and the list of tasks that this data can run. What it starts from, and what it takes
where there are too few pairs to train on: research.pipeline.weights. Nothing outside `runs/` is
touched, so `git status` stays clean and the sample's pipeline up to date.
"""

import argparse
import contextlib
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import yaml

from gairlib.data.boundary import settings
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from research.pipeline import command, side_by_side, weights
from research.tasks import registry

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_ONLY = ("sites", "assets", "world", "brandenburg")
DATA = "${data.folder}"  # the dataset folder, as a dependency in dvc.yaml
JOBS = 2  # stages at a time
INTERRUPTED = "interrupted; what was finished is kept, and the same command goes on from there"


def run_name(folder: Path) -> str:
    """A folder's name as a run's name: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "data"


def sample_folder(root: Path = ROOT) -> Path:
    """The sample with all its sites, as the root's pipeline reads it."""
    return root / yaml.safe_load((root / "params.yaml").read_text())["data"]["folder"]


def is_sample(folder: Path, root: Path = ROOT) -> bool:
    """Whether it is `sample_folder`, however it is named."""
    return folder.expanduser().resolve() == sample_folder(root).resolve()


def prepare(
    folder: str | Path,
    name: str | None = None,
    root: Path = ROOT,
    change: Callable[[dict, Dataset], None] | None = None,
) -> Path:
    """Writes `runs/<name>/` for a dataset folder and returns it.

    change(params, dataset) alters the generated parameters; params.local.yaml comes after it. The
    sample itself is taken only with a `change`: without one it is what the root's pipeline runs.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        what = "a file, no dataset folder" if folder.exists() else "no such dataset folder"
        raise Missing(
            f"{folder}: {what}; DATA= takes a folder that holds scenes/, "
            "street.csv, tables/ or benchmark folders (README, 'Your own data')"
        )
    params = yaml.safe_load((root / "params.yaml").read_text())
    stored = folder.resolve() == (root / "data").resolve()  # sites of the sample, without the rest
    if change is None and (stored or is_sample(folder, root)):
        raise BadInput(f"{folder} is the sample itself: run `make repro` without DATA")
    dataset = Dataset(folder, layouts=params["data"]["layouts"], tolerant=True)
    run = root / "runs" / (name or run_name(folder))
    run.mkdir(parents=True, exist_ok=True)
    owner = run / ".folder"
    if owner.exists() and owner.read_text() != str(folder.resolve()):
        raise BadInput(
            f"runs/{run.name} already belongs to {owner.read_text()}: choose another "
            "name with NAME="
        )
    owner.write_text(str(folder.resolve()))

    params["root"] = os.path.relpath(root, run)
    params["data"]["folder"] = os.path.relpath(folder.resolve(), run.resolve())
    params["tasks"] = [task.name for task in registry.default_for(dataset)]
    for section in SAMPLE_ONLY:
        params.pop(section, None)
    if change is not None:
        change(params, dataset)
    default = params["pretrain"]["towers"]
    _merge(params, run / "params.local.yaml")
    if params["pretrain"]["init"] and params["pretrain"]["towers"] == default:
        params["pretrain"]["towers"] = {}  # a whole model is named, and no tower but the default's
    weights.name_the_samples(params)
    (run / "params.yaml").write_text(
        f"# Written by research.pipeline.stages for {folder.name}; "
        "put changes into params.local.yaml.\n" + yaml.safe_dump(params, sort_keys=False)
    )

    pipeline = yaml.safe_load((root / "dvc.yaml").read_text())
    made = [pipeline["stages"].pop(stage) for stage in SAMPLE_ONLY]
    given = chain(*((*stage["outs"], *stage.get("metrics", ())) for stage in made))
    absent = {path if isinstance(path, str) else next(iter(path)) for path in given}
    pipeline["stages"]["pretrain"]["deps"] += weights.dependencies(params, run)
    if not params["tasks"]:  # DVC refuses an empty matrix
        pipeline["stages"].pop("benchmark")
        absent |= {"outputs/benchmark", "metrics/benchmark"}
    data, lost = readable_parts(folder)
    for path, why in lost:
        print(f"{folder}: {path} is {why} and is left out", flush=True)
    for stage in pipeline["stages"].values():
        stage["deps"] = [
            dep
            for given in stage["deps"]
            if given not in absent
            for dep in (data if given == DATA else _code_files(given, root))
        ]
    (run / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False, width=1000))
    if not (run / ".dvc").exists():
        run_dvc(run, "init", "-q", "--no-scm")
        for key in ("core.analytics", "core.check_update"):
            run_dvc(run, "config", key, "false")
    return run


def readable_parts(folder: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """What stages depend on of a dataset folder, and what DVC could not read: (path, what it is).

    The folder itself, as long as all in it can be read; else its parts, so that a dangling link (an
    editor's lock file, a photo that was moved) stops nothing. DVC would stop at the first.
    """
    lost: list[tuple[str, str]] = []

    def parts(path: Path, inside: str) -> list[str]:
        """Dependencies for a file or folder, [] where it is lost."""
        if why := _unreadable(path):
            lost.append((inside, why))
            return []
        name = f"{DATA}/" + inside.replace("${", "\\${") if inside else DATA
        if not path.is_dir() or path.is_symlink():
            return [name]
        before, found = len(lost), []
        for entry in sorted(path.iterdir()):
            found += parts(entry, f"{inside}/{entry.name}".lstrip("/"))
        return [name] if len(lost) == before else found

    return parts(folder, ""), lost


def _unreadable(path: Path) -> str:
    """What keeps DVC from reading a path, "" where nothing does."""
    if not path.exists():
        return "a link that leads nowhere"
    if not path.is_file() and not path.is_dir():
        return "neither a file nor a folder"
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        return "not readable (permissions)"
    return ""


def _code_files(dep: str, root: Path) -> list[str]:
    """A dependency; for a folder of code its files one by one, since the root's .dvcignore, which
    leaves out what Python compiles into it, does not count in a run."""
    folder = root / dep.removeprefix("${root}/")
    if not dep.startswith("${root}/") or not folder.is_dir():
        return [dep]
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return [f"${{root}}/{p.relative_to(root).as_posix()}" for p in files]


def _merge(params: dict, local: Path) -> None:
    """Section by section, the user's own changes over the generated parameters."""
    if not local.exists():
        return
    for section, changes in settings(local).items():
        if section not in params:
            raise BadInput(f"{local}: params.yaml has no section '{section}'")
        of = params[section]
        if isinstance(of, dict):
            if not isinstance(changes, dict | None):
                raise BadInput(
                    f"{local}: section '{section}' has keys ({', '.join(of)}), not {changes!r}"
                )
            of.update(changes or {})
        else:
            params[section] = changes


@contextlib.contextmanager
def waiting(what: str, name: str = "", root: Path = ROOT) -> Iterator[None]:
    """Holds the lock of a run (`what`; `name`: its file below runs/.locks/), and says that it waits
    where another process has it. Where a file system has no locks, it goes on without."""
    path = root / "runs/.locks" / re.sub(r"[^A-Za-z0-9._-]+", "-", name or what)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: another `make repro` is at work on it; waiting for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def environment() -> dict[str, str]:
    """This process's environment, in which stages find this python and this gairlib."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    return env


def run_dvc(where: Path, *arguments: str) -> None:
    """Runs DVC in a folder; raises CalledProcessError when it fails (it has said why). What ends
    this process, a signal too, ends DVC and its stage first."""
    side_by_side.call([sys.executable, "-m", "dvc", *arguments], where, environment())


def repro(where: Path, *, jobs: int = JOBS, keep_going: bool = False) -> None:
    """`dvc repro` in a folder, `jobs` stages at a time; CalledProcessError when one fails."""
    side_by_side.repro(
        where, [sys.executable, "-m", "dvc"], environment(), jobs=jobs, keep_going=keep_going
    )


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.pipeline", __doc__)
    parser.add_argument("folder", nargs="?", help="dataset folder (default: the sample)")
    parser.add_argument("--name", help="name below runs/ (default: the folder's name)")
    parser.add_argument("--jobs", type=int, default=JOBS, help="stages at a time")
    options = parser.parse_args(argv)
    try:
        with side_by_side.ended_by_signals():
            return _main(options)
    except subprocess.CalledProcessError as error:
        return error.returncode  # DVC and the stage have said why
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def _main(options: argparse.Namespace) -> int:
    if not (ROOT / ".git").exists():
        raise Missing(
            f"{ROOT} is no git checkout (unpacked from an archive?), which DVC needs: get the "
            "code with `git clone`"
        )
    folder, name = options.folder, options.name
    locks = contextlib.ExitStack()
    with locks, contextlib.ExitStack() as shared:  # `shared`: what all runs change, the sample's
        if folder:
            locks.enter_context(waiting(name or run_name(Path(folder).expanduser())))
        shared.enter_context(waiting("the sample", ".sample"))
        run = prepare(folder, name) if folder else ROOT
        if weights.asks_for_the_samples(yaml.safe_load((run / "params.yaml").read_text())):
            run_dvc(ROOT, "--wait-for-lock", "repro", "pretrain")  # nothing to do where it has run
        if folder:
            shared.close()
        repro(run, jobs=options.jobs)
    print(f"Report: {run / 'reports/index.html'}")
    return 0
