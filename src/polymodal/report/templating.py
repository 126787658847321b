"""Render the templates of the pages."""

from functools import cache
from typing import TYPE_CHECKING

from polymodal.report.format import strip_control_chars

if TYPE_CHECKING:  # imported where a page is made: the command line reads this package, too
    from jinja2 import Environment


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("polymodal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else strip_control_chars(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(name: str, **values: object) -> str:
    """Return a template of `report/templates` with its values; every text is escaped."""
    return _environment().get_template(name).render(values)


def component(name: str, block: object) -> str:
    """Return what a macro of `components.html.j2` makes of a block, as safe HTML."""
    module = _environment().get_template("components.html.j2").module
    return str(getattr(module, name)(block))
