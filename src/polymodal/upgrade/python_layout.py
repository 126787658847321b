"""Breaks lines that an upgrade has made too long, as black does."""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

WIDTH = 88
BRACKETED = m.Call() | m.FunctionDef() | m.ImportFrom() | m.List() | m.Dict()
ROUNDS = 8
BETWEEN = ", \t\r\n"


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
        lines = new.splitlines()
        long = {
            number for number, line in enumerate(lines, 1) if len(line) > width and line not in kept
        }
        broken = _broken(new, long, width) if long else new
        if broken == new:
            break
        new = broken
    return new


@dataclass(frozen=True)
class _Bracket:
    """What stands in a pair of brackets.

    Args:
        start: Where its first part begins, as an offset.
        end: Where its last part ends.
        parts: Text of each part.
        lines: First and last line, with those of the brackets.
        is_literal: Whether it makes a list or mapping, or imports names.
        is_open: Whether each part has a line of its own.
    """

    start: int
    end: int
    parts: tuple[str, ...]
    lines: tuple[int, int]
    is_literal: bool
    is_open: bool


def _broken(text: str, long: set[int], width: int) -> str:
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    places = wrapper.resolve(PositionProvider)
    starts = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    outermost: dict[int, _Bracket] = {}
    for node in m.findall(wrapper.module, BRACKETED):
        found = _bracket(node, places, text, starts)
        if found is None or found.is_open:
            continue
        for line in long & {*range(found.lines[0], found.lines[1] + 1)}:
            known = outermost.get(line)
            if known is None or found.start < known.start:
                outermost[line] = found
    newline = "\r\n" if "\r\n" in text else "\n"
    done = len(text)
    for one in sorted(set(outermost.values()), key=lambda one: -one.start):
        if one.end <= done:
            text = _split(text, one, width, newline)
            done = one.start
    return text


def _parts(node: cst.CSTNode) -> list[cst.CSTNode]:
    """Returns what stands in the brackets of a node."""
    if isinstance(node, cst.Call):
        return list(node.args)
    if isinstance(node, cst.List | cst.Dict):
        return list(node.elements)
    if isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
        return list(node.names)
    if isinstance(node, cst.FunctionDef):
        params = node.params
        star = [params.star_arg] if isinstance(params.star_arg, cst.Param) else []
        if not params.posonly_params and (star or not params.kwonly_params):
            last = [params.star_kwarg] if params.star_kwarg is not None else []
            return [*params.params, *star, *params.kwonly_params, *last]
    return []


def _bracket(
    node: cst.CSTNode,
    places: Mapping[cst.CSTNode, CodeRange],
    text: str,
    starts: Sequence[int],
) -> _Bracket | None:
    """Reads the brackets of a node; None where there are none, or comments in them."""
    parts = _parts(node)
    if not parts or any(m.findall(one, m.Comment()) for one in parts):
        return None
    spots = [places[one] for one in parts]
    default = getattr(parts[-1], "default", None)
    last = places[default if default is not None else parts[-1]].end
    offsets = [starts[one.start.line - 1] + one.start.column for one in spots]
    end = starts[last.line - 1] + last.column
    pieces = [text[a:b].rstrip(BETWEEN) for a, b in itertools.pairwise([*offsets, end])]
    if any("\n" in one for one in pieces):
        return None
    first = text.count("\n", 0, len(text[: offsets[0]].rstrip())) + 1
    closing = text.count("\n", 0, end + len(text[end:]) - len(text[end:].lstrip(BETWEEN))) + 1
    lines = {one.start.line for one in spots}
    return _Bracket(
        offsets[0],
        end,
        tuple(pieces),
        (first, closing if not isinstance(node, cst.ImportFrom) or node.lpar else last.line),
        is_literal=not isinstance(node, cst.Call | cst.FunctionDef) and len(parts) > 1,
        is_open=len(lines) == len(parts) and first not in lines,
    )


def _split(text: str, bracket: _Bracket, width: int, newline: str) -> str:
    """Writes what is in brackets on a line of its own, or each part on one."""
    head = text[: bracket.start].rstrip()
    line = head[head.rfind("\n") + 1 :]
    indent = line[: len(line) - len(line.lstrip())]
    tail = text[bracket.end :]
    if head.endswith(("(", "[", "{")):
        tail = tail.lstrip(BETWEEN)
    else:
        head, tail = f"{head} (", f"){tail}"
    body = ", ".join(bracket.parts)
    if bracket.is_literal or len(indent) + 4 + len(body) > width:
        comma = "" if len(bracket.parts) == 1 and " for " in body else ","
        body = f",{newline}{indent}    ".join(bracket.parts) + comma
    return f"{head}{newline}{indent}    {body}{newline}{indent}{tail}"
