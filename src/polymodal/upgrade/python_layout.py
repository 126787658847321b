"""Break lines that an upgrade has made too long, as black does."""

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
    """Return the line length of black or ruff in the nearest `pyproject.toml`; 88 by default."""
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
    """Break the long lines that an older text did not have, in their outermost brackets."""
    old_lines = set(old.splitlines())
    for _ in range(ROUNDS):
        lines = new.splitlines()
        pairs = enumerate(lines, 1)
        long = {n for n, line in pairs if len(line) > width and line not in old_lines}
        broken = _broken(new, long, width) if long else new
        if broken == new:
            break
        new = broken
    return new


@dataclass(frozen=True)
class _Bracket:
    """The items in a pair of brackets."""

    start: int  # offset of the first item
    end: int  # offset behind the last item
    items: tuple[str, ...]  # text of each item
    lines: tuple[int, int]  # first and last line, with those of the brackets
    is_literal: bool  # whether it is a list, a mapping or an import
    is_open: bool  # whether each item has a line of its own


def _broken(text: str, long: set[int], width: int) -> str:
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    starts = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    outermost: dict[int, _Bracket] = {}
    for node in m.findall(wrapper.module, BRACKETED):
        bracket = _bracket(node, positions, text, starts)
        if bracket is None or bracket.is_open:
            continue
        for line in long & {*range(bracket.lines[0], bracket.lines[1] + 1)}:
            outer = outermost.get(line)
            if outer is None or bracket.start < outer.start:
                outermost[line] = bracket
    newline = "\r\n" if "\r\n" in text else "\n"
    done = len(text)
    for bracket in sorted(set(outermost.values()), key=lambda item: -item.start):
        if bracket.end <= done:
            text = _split(text, bracket, width, newline)
            done = bracket.start
    return text


def _items(node: cst.CSTNode) -> list[cst.CSTNode]:
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
    node: cst.CSTNode, positions: Mapping[cst.CSTNode, CodeRange], text: str, starts: Sequence[int]
) -> _Bracket | None:
    """Return the brackets of a node; None if there are none, or comments in them."""
    nodes = _items(node)
    if not nodes or any(m.findall(item, m.Comment()) for item in nodes):
        return None
    spots = [positions[item] for item in nodes]
    default = getattr(nodes[-1], "default", None)
    last = positions[default if default is not None else nodes[-1]].end
    offsets = [starts[item.start.line - 1] + item.start.column for item in spots]
    end = starts[last.line - 1] + last.column
    pieces = [text[a:b].rstrip(BETWEEN) for a, b in itertools.pairwise([*offsets, end])]
    if any("\n" in piece for piece in pieces):
        return None
    first = text.count("\n", 0, len(text[: offsets[0]].rstrip())) + 1
    closing = text.count("\n", 0, end + len(text[end:]) - len(text[end:].lstrip(BETWEEN))) + 1
    lines = {item.start.line for item in spots}
    return _Bracket(
        offsets[0],
        end,
        tuple(pieces),
        (first, closing if not isinstance(node, cst.ImportFrom) or node.lpar else last.line),
        is_literal=not isinstance(node, cst.Call | cst.FunctionDef) and len(nodes) > 1,
        is_open=len(lines) == len(nodes) and first not in lines,
    )


def _split(text: str, bracket: _Bracket, width: int, newline: str) -> str:
    """Put the content of brackets on a line of its own, or each item on one."""
    head = text[: bracket.start].rstrip()
    line = head[head.rfind("\n") + 1 :]
    indent = line[: len(line) - len(line.lstrip())]
    tail = text[bracket.end :]
    if head.endswith(("(", "[", "{")):
        tail = tail.lstrip(BETWEEN)
    else:
        head, tail = f"{head} (", f"){tail}"
    body = ", ".join(bracket.items)
    if bracket.is_literal or len(indent) + 4 + len(body) > width:
        comma = "" if len(bracket.items) == 1 and " for " in body else ","
        body = f",{newline}{indent}    ".join(bracket.items) + comma
    return f"{head}{newline}{indent}    {body}{newline}{indent}{tail}"
