"""Breaks lines that an upgrade has made too long, as black does."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

WIDTH = 88
BRACKETED = m.Call() | m.FunctionDef() | m.ImportFrom() | m.List() | m.Dict()
ROUNDS = 4


def width_of(path: Path) -> int:
    """Returns the length of line that a project asks for.

    Args:
        path: A file of it.

    Returns:
        That of black or ruff in the nearest `pyproject.toml`; black's own where there is none.
    """
    for folder in path.resolve().parents:
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                tools = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                return WIDTH
            black, ruff = tools.get("black", {}), tools.get("ruff", {})
            width = black.get("line-length", ruff.get("line-length", WIDTH))
            return width if isinstance(width, int) else WIDTH
    return WIDTH


def break_long_lines(old: str, new: str, width: int) -> str:
    """Breaks the long lines that an older text did not have.

    Args:
        old: The text before.
        new: The text now; it parses.
        width: The longest that a line may be.

    Returns:
        The text, whose new lines are broken in their outermost brackets where that helps.
    """
    kept = set(old.splitlines())
    for _ in range(ROUNDS):
        lines = new.splitlines(keepends=True)
        long = {
            number
            for number, line in enumerate(lines, 1)
            if len(line.rstrip("\r\n")) > width and line.rstrip("\r\n") not in kept
        }
        if not long:
            break
        broken = _broken(new, lines, long, width)
        if broken == new:
            break
        new = broken
    return new


def _broken(text: str, lines: list[str], long: set[int], width: int) -> str:
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    places = wrapper.resolve(PositionProvider)
    outermost: dict[int, tuple[int, int, list[int], bool]] = {}
    for node in m.findall(wrapper.module, BRACKETED):
        if (found := _brackets(node, places)) is not None:
            line, start, end, cuts = found
            if len(cuts) == 1 and not lines[line - 1][:start].strip():
                continue  # it has a line of its own: what is in it has to be broken
            known = outermost.get(line)
            if line in long and (known is None or end - start > known[1] - known[0]):
                one_each = not isinstance(node, cst.Call | cst.FunctionDef) and len(cuts) > 1
                outermost[line] = (start, end, cuts, one_each)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    for line, (start, end, cuts, one_each) in outermost.items():
        room = 0 if one_each else width
        lines[line - 1] = _split(lines[line - 1], start, end, cuts, room, newline)
    return "".join(lines)


def _brackets(
    node: cst.CSTNode, places: Mapping[cst.CSTNode, CodeRange]
) -> tuple[int, int, int, list[int]] | None:
    """Returns line, first and last column between the brackets, and where its parts begin."""
    if isinstance(node, cst.Call):
        parts: list[cst.CSTNode] = list(node.args)
    elif isinstance(node, cst.List | cst.Dict):
        parts = list(node.elements)
    elif isinstance(node, cst.FunctionDef):
        params = node.params
        star = [params.star_arg] if isinstance(params.star_arg, cst.Param) else []
        last = [params.star_kwarg] if params.star_kwarg is not None else []
        if params.posonly_params or (params.kwonly_params and not star):
            return None
        parts = [*params.params, *star, *params.kwonly_params, *last]
    elif isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
        parts = list(node.names)
    else:
        return None
    if not parts:
        return None
    spots = [places[one] for one in parts]
    first, last_spot = spots[0].start, spots[-1].end
    default = getattr(parts[-1], "default", None)
    if default is not None:
        last_spot = places[default].end
    if first.line != last_spot.line:
        return None
    if isinstance(node, cst.ImportFrom) and node.lpar is not None:
        return None
    return first.line, first.column, last_spot.column, [one.start.column for one in spots]


def _split(line: str, start: int, end: int, cuts: list[int], width: int, newline: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    is_open = not line[:start].strip()
    inner = indent if is_open else indent + "    "
    head, body, tail = line[:start], line[start:end].rstrip().rstrip(",").rstrip(), line[end:]
    if not is_open and not head.rstrip().endswith(("(", "[", "{")):
        head, tail = f"{head.rstrip()} (", f"){tail}"
    is_generator = len(cuts) == 1 and " for " in body
    if not is_open and len(inner) + len(body) <= width:
        return f"{head.rstrip()}{newline}{inner}{body}{newline}{indent}{tail.lstrip(', ')}"
    ends = [*cuts[1:], start + len(body)]
    parts = [line[a:b].rstrip().rstrip(",") for a, b in zip(cuts, ends, strict=True)]
    comma = "" if is_generator else ","
    rows = [f"{inner}{one}," for one in parts[:-1]] + [f"{inner}{parts[-1]}{comma}"]
    if is_open:
        return f"{newline.join(rows)}{tail.lstrip(', ')}"
    return f"{head.rstrip()}{newline}{newline.join(rows)}{newline}{indent}{tail.lstrip(', ')}"
