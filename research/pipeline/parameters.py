"""A notebook's parameters cell, and what the pipeline hands to it instead.

papermill only logs an unknown parameter and hands `false` to `-p` over as the true string 'false'.
Here the sections of params.yaml are merged and checked against the notebook's parameters cell,
names and types, before a kernel starts.

A notebook that is opened and run by hand writes below scratch/: its parameters name the paths that
it writes with that folder in front, and `collect` takes it away. So a run by hand never replaces
what the pipeline made.
"""

import ast
from pathlib import Path

import yaml

from gairlib.data.boundary import reading, settings
from gairlib.errors import BadInput, Missing

SCRATCH = "scratch/"  # where a notebook writes that is run by hand


def read(path: str | Path):
    """A notebook's cells; Missing or BadInput names the file that is none."""
    import nbformat  # two seconds of imports that a kernel, which calls `enter()`, must not pay

    try:
        return nbformat.read(str(path), as_version=4)
    except FileNotFoundError as problem:
        raise Missing(f"{path}: there is no such notebook") from problem
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as problem:
        raise BadInput(f"{path}: not a Jupyter notebook") from problem


def parameters(path: str | Path) -> dict:
    """The literals of the cell tagged `parameters`: name -> default, in the cell's order."""
    nb = read(path)
    tagged = [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise BadInput(f"{path}: one cell must carry the tag 'parameters', not {len(tagged)}")
    found = {}
    for line in ast.parse(tagged[0].source).body:
        try:
            (target,) = line.targets
            value = ast.literal_eval(line.value)
            if isinstance(target, ast.Tuple):  # a, b = 1, 2
                found |= {t.id: v for t, v in zip(target.elts, value, strict=True)}
            else:
                found[target.id] = value
        except (AttributeError, TypeError, ValueError) as problem:
            raise BadInput(
                f"{path}: the parameters cell may only set names to literals, "
                f"not {ast.unparse(line)!r}"
            ) from problem
    return found


def merge_sections(path: str | Path, sections: list[str]) -> dict:
    """The keys of the named sections of a YAML file, in one dict; "a.b" is section b inside a."""
    everything = settings(path)
    merged, origin = {}, {}
    for name in sections:
        section = everything
        for part in name.split("."):
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise BadInput(f"{path}: there is no section {name!r}; it has {[*everything]}")
        for key, value in section.items():
            if key in merged:
                raise BadInput(
                    f"{path}: {key!r} is in section {origin[key]!r} and in {name!r}; "
                    "a notebook's parameters need names of their own"
                )
            merged[key], origin[key] = value, name
    return merged


def fit(name: str, value, default, where: str):
    """`value` as the type of the notebook's default; BadInput where it is of another kind."""
    if default is None or value is None:
        return value
    if isinstance(default, bool) or isinstance(value, bool):
        good = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, float):
        good = isinstance(value, int | float)
        value = float(value) if good else value
    elif isinstance(default, list | tuple):
        good = isinstance(value, list | tuple)
    else:
        good = isinstance(value, type(default))
    if not good:
        hint = " (YAML reads 1e-5 as text: write 1.0e-5)" if isinstance(default, float) else ""
        raise BadInput(
            f"{where}: parameter {name!r} is {value!r}, but the notebook's default {default!r} "
            f"is of type {type(default).__name__}{hint}"
        )
    return value


def collect(
    notebook: str | Path, params: str | Path | None, sections: list[str], single: list[str]
) -> dict:
    """What is handed to the notebook: the sections' keys, then each `-p name=value` over them.

    Paths whose default lies below scratch/ are handed over without it.
    A single value is text where the notebook's default is text, and read as YAML elsewhere.
    """
    defaults = parameters(notebook)
    given = merge_sections(params, sections) if params else {}
    origin = dict.fromkeys(given, str(params))
    for item in single:
        name, equals, text = item.partition("=")
        if not equals:
            raise BadInput(f"-p {item}: write -p name=value")
        with reading(f"-p {item}", "not readable as YAML"):
            given[name] = text if isinstance(defaults.get(name), str) else yaml.safe_load(text)
        origin[name] = f"-p {item}"
    for name in given:
        if name not in defaults:
            raise BadInput(
                f"{origin[name]}: {Path(notebook).name} has no parameter {name!r}; "
                f"it has {', '.join(defaults)}"
            )
    return pipeline_paths(defaults) | {
        k: fit(k, v, defaults[k], origin[k]) for k, v in given.items()
    }


def pipeline_paths(defaults: dict) -> dict[str, str]:
    """The parameters that name paths below scratch/, as the pipeline's own paths."""
    paths = {k: v for k, v in defaults.items() if isinstance(v, str) and v.startswith(SCRATCH)}
    return {k: v.removeprefix(SCRATCH) for k, v in paths.items()}
