"""Jinja templates of a package: files in its folder `templates`, every value escaped."""

from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateNotFound
from markupsafe import Markup


@cache
def environment(package: str) -> Environment:
    """The templates of a package such as "research.reports". A name that is not given is an error.

    In a template, `file("style.css")` is that file as it is: a style sheet or a script.
    """

    def load(name: str) -> str:
        path = resources.files(package) / "templates" / name
        if not path.is_file():
            raise TemplateNotFound(name)
        return path.read_text("utf-8")

    found = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["file"] = lambda name: Markup(load(name))
    return found
