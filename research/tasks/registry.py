"""All benchmarks, and which of them a dataset folder can run.

    task = registry.get("sv-weather", dataset)
    result = task.run(dataset, Options(checkpoint, pairs))
    result.save("outputs/benchmark/sv-weather", "metrics/benchmark/sv-weather.json")

A new benchmark is one file with one class (`research.tasks.task`), named in TASKS. Their names:
rs-landcover, rs-built_up, rs-eurosat, rs-eurosat-ms, sv-<column> and rs-street-<column> of
street.csv, location-<table>-<column>, retrieval, retrieval-sv-location, retrieval-rs-location,
localisation, heading, segmentation-landcover, pangaea-<set>, geobench-<set>,
placepulse-<attribute>, locbench-<set>, area-<column of areas.csv>.
"""

import re

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.areas import Area
from research.tasks.eurosat import EuroSAT, EuroSATMultispectral
from research.tasks.geolocalisation import ChipLocation, PhotoLocation
from research.tasks.heading import Heading
from research.tasks.location import Location
from research.tasks.placing import Localisation
from research.tasks.published.geobench import GeoBench
from research.tasks.published.locbench import LocBench
from research.tasks.published.pangaea import Pangaea
from research.tasks.published.place_pulse import PlacePulse
from research.tasks.result import Result
from research.tasks.retrieval import Retrieval
from research.tasks.segmentation.landcover import LandCoverSegmentation
from research.tasks.street import Street, StreetFromAbove
from research.tasks.task import DEFAULTS, Options, Task
from research.tasks.tiles import BuiltUp, LandCover

TASKS: tuple[type[Task], ...] = (
    LandCover,
    BuiltUp,
    EuroSAT,
    EuroSATMultispectral,
    Street,
    StreetFromAbove,
    Area,
    Location,
    PhotoLocation,
    ChipLocation,
    Retrieval,
    Localisation,
    Heading,
    LandCoverSegmentation,
    Pangaea,
    GeoBench,
    PlacePulse,
    LocBench,
)
NAME = re.compile(r"[\w.-]+")  # names become those of DVC stages and of files
NAME_BYTES = 200  # file systems take 255, of which the pages' own names need some


def tasks(dataset: Dataset) -> list[Task]:
    """Every task that the folder might run, whether or not it can."""
    return [task for kind in TASKS for task in kind.instances(dataset)]


def available(dataset: Dataset) -> dict[str, str | None]:
    """Task name -> None where this folder can run it, else the reason why not. Of two columns that
    would make one name (c of the table a-b, b-c of a) the first is the task; the other is listed.
    """
    found: dict[str, str | None] = {}
    for task in tasks(dataset):
        if task.name in found:
            found[f"{task.name} (again)"] = "another column has this name already: rename one"
        else:
            found[task.name] = _why_not(task, dataset)
    return found


def default_for(dataset: Dataset) -> list[Task]:
    """The tasks worth running by default: of those that run, each class chooses its own."""
    chosen = []
    for kind in TASKS:
        able = [task for task in kind.instances(dataset) if not _why_not(task, dataset)]
        chosen += kind.worth_running(able, dataset)
    named = {task.name: task for task in reversed(chosen)}  # a-b of c may be a of b-c: the first
    return [task for task in chosen if named[task.name] is task]


def get(name: str, dataset: Dataset) -> Task:
    """The task of that name; BadInput for a name of no known form."""
    if not NAME.fullmatch(name):
        raise BadInput(f"task {name!r}: letters, digits, dash, dot and underscore only")
    for task in tasks(dataset):
        if task.name == name:
            return task
    for kind in TASKS:
        if task := kind.named(name):
            return task
    raise BadInput(
        f"unknown task {name!r}: tasks are retrieval, retrieval-sv-location, "
        "retrieval-rs-location, localisation, heading, "
        "rs-landcover, rs-built_up, rs-eurosat, rs-eurosat-ms, "
        "segmentation-landcover, "
        "rs-street-<column> and "
        "sv-<column of street.csv>, location-<table>-<column>, pangaea-<set>, geobench-<set>, "
        "placepulse-<attribute>, locbench-<set>, area-<column of areas.csv>"
    )


def run(name: str, dataset: Dataset, options: Options = DEFAULTS) -> Result:
    """Run one task by name: `get(name, dataset).run(dataset, options)`."""
    return get(name, dataset).run(dataset, options)


def _why_not(task: Task, dataset: Dataset) -> str | None:
    if not NAME.fullmatch(task.name):
        return (
            "a name may hold letters, digits, dots, dashes and underscores only: rename the column"
        )
    if (length := len(task.name.encode())) > NAME_BYTES:
        return f"its name has {length} bytes, {NAME_BYTES} at most: shorten the column's"
    return task.available(dataset)
