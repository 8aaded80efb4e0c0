"""Every benchmark that a folder can run: `python -m research.pipeline.bench_all [--data FOLDER]`.

`make repro` runs a default set of tasks within its quarter of an hour. Here a run of its own,
`runs/<folder>-all/`, lists all tasks of `tasks.available`, trains every location encoder of the
registry end to end (as quickly as the default run does; `benchmark.trained: full` in the run's
params.local.yaml takes some hours), fine-tunes our photo and chip towers beside the ones that are
trained from nothing, and takes blocks of 2, 10 and 20 degrees; the stage coordbench runs
CoordBench's protocol on the folder's tables, blocks of 2 to 40 degrees. The weights are those that
`make repro` has made: the sample's, taken as they are on the sample; a folder of one's own is
treated as `make repro DATA=` treats it. First (`research.tasks.rivals`), networks are trained on
the labels of segmentation, photos and chips, and towers are taught by their own images alone and
probed beside ours; what they reach on the sample is kept under version control in
metrics/upper_bounds/ and metrics/rivals/, where `make repro` reads it. Finished networks and stages
are kept, so an interrupted call goes on. `--only rivals` ends there.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from gairlib.data.dataset import Dataset
from gairlib.location.registry import names
from research.evaluation.table import UPPER_BOUNDS
from research.pipeline import command, stages, weights
from research.pipeline.records import duration, read
from research.tasks import answers, registry, rivals
from research.tasks.segmentation import upper_bounds
from research.tasks.task import Options

BLOCK_DEGREES = [2.0, 10.0, 20.0]
PROTOCOL_DEGREES = [2.0, 10.0, 20.0, 40.0]  # of CoordBench (research.studies.block_sizes)
DESIGNS = ["rff", "rff-xyz", "spherical-harmonics"]  # GeoCLIP's and GAIR's, ours, SatCLIP's
NEVER = 2**31  # pairs below which the weights of `pretrain.init` are taken as they are


def everything(params: dict, dataset: Dataset) -> None:
    """Turn a run's parameters into those of all benchmarks, in place."""
    found = registry.available(dataset)
    params["tasks"] = [name for name, why in found.items() if not why]
    params["benchmark"] |= {
        "location_encoders": names(),
        "block_degrees": BLOCK_DEGREES,
        "upper_bounds": list(UPPER_BOUNDS),
    }
    params["coordbench"] |= {"block_degrees": PROTOCOL_DEGREES, "designs": DESIGNS}


def sample(params: dict, dataset: Dataset) -> None:
    """`everything`, and the sample's own weights instead of another training."""
    everything(params, dataset)
    params["pretrain"] |= {"min_pairs": NEVER, "init": weights.SAMPLE}


def prepare(
    folder: str | Path | None = None, name: str | None = None, root: Path = stages.ROOT
) -> Path:
    """Writes the run for a folder (None: the sample) and returns it."""
    folder = Path(folder or stages.sample_folder(root))
    is_sample = stages.is_sample(folder, root)
    name = name or ("sample" if is_sample else stages.run_name(folder)) + "-all"
    return stages.prepare(folder, name, root, change=sample if is_sample else everything)


def train_rivals(run: Path, params: dict, root: Path = stages.ROOT) -> list[str]:
    """Train the upper bounds, and teach and probe the self-supervised towers, that the run's tasks
    lack; names of those tasks. The sample's files are the root's, and the run gets a copy."""
    stages.run_dvc(run, "--wait-for-lock", "repro", "pretrain")
    dataset = Dataset(run / params["data"]["folder"], layouts=params["data"]["layouts"])
    options = Options(
        run / "outputs/pretrain/model",
        run / "outputs/pair",
        upper_bounds=params["benchmark"]["upper_bounds"],
    )
    is_sample = stages.is_sample(dataset.folder, root)
    home = root if is_sample else run
    folders = [home / folder for folder in (answers.FOLDER, upper_bounds.FOLDER)]
    views = rivals.Views.of(params["pretrain"], options.pairs)
    made = rivals.make(dataset, params["tasks"], options, views, *folders)
    if is_sample:
        for folder in (answers.FOLDER, upper_bounds.FOLDER):
            if (root / folder).is_dir():
                shutil.copytree(root / folder, run / folder, dirs_exist_ok=True)
    return made


def stage_seconds(run: Path) -> dict[str, float]:
    """Page -> what its stage took when it ran, from the runner's records."""
    found = {path.stem: read(path).get("seconds") for path in (run / "logs/reports").glob("*.json")}
    return {name: float(s) for name, s in sorted(found.items()) if s is not None}


@command.one_sentence
def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = command.parser("research.pipeline.bench_all", __doc__)
    parser.add_argument("--data", help="dataset folder (default: the sample)")
    parser.add_argument("--name", help="name below runs/ (default: the folder's name and -all)")
    parser.add_argument("--only", choices=["rivals"], help="upper bounds and rivals, no stages")
    options = parser.parse_args(argv)
    started, code = time.monotonic(), 0
    try:
        run = prepare(options.data, options.name)
        params = yaml.safe_load((run / "params.yaml").read_text())
        print(f"{len(params['tasks'])} tasks in {run}", flush=True)
        if weights.asks_for_the_samples(params):
            stages.run_dvc(stages.ROOT, "--wait-for-lock", "repro", "pretrain")
        made = train_rivals(run, params)
        print(
            f"Upper bounds and rivals made for {', '.join(made) or 'no further task'}", flush=True
        )
        if options.only:
            return 0
        prepare(options.data, options.name)  # stages depend on what was made just now
        stages.repro(run, keep_going=True)
    except subprocess.CalledProcessError as error:
        code = error.returncode  # DVC and the stage have said why; the rest has run
    except KeyboardInterrupt:
        print(stages.INTERRUPTED, file=sys.stderr)
        return 130
    seconds = stage_seconds(run)
    for name, s in seconds.items():
        print(f"{s:9.1f} s  {name}")
    print(
        f"This call took {duration(time.monotonic() - started)}; the {len(seconds)} stages, when "
        f"they ran, {duration(sum(seconds.values()))}."
    )
    print(f"Scoreboard: {run / 'reports/scoreboard.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
