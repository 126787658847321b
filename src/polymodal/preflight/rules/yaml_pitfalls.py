"""What YAML makes of a file: words that become booleans, times that become numbers."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from polymodal.config.provenance import LOADER, ConfigEntry, SourceLocation, read_entries
from polymodal.diagnostics import Diagnostic, Severity

CONFLICT = re.compile(r"^(<{7}|={7}|>{7}|\|{7})( |$)")
BOOLEANS = frozenset({"yes", "no", "on", "off"})
SEXAGESIMAL = re.compile(r"[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
OCTAL = re.compile(r"[-+]?0[0-7_]+")
QUOTED = "put it in quotation marks"


def reinterpreted_values(
    entries: Sequence[ConfigEntry], is_boolean: Callable[[str], bool]
) -> Iterator[Diagnostic]:
    """Find what YAML takes for something else than it looks like.

    Args:
        entries: What stands in the files.
        is_boolean: Whether a dotted key takes a boolean, so that `no` is as good as `false`.

    Yields:
        A finding for each value or key that changes its meaning.
    """
    for entry in entries:
        if not entry.plain or entry.text is None:
            continue
        if entry.tag == "bool" and entry.text.lower() in BOOLEANS:
            if entry.kind != "value" or not is_boolean(entry.key):
                yield _boolean(entry)
        elif entry.kind == "key" and entry.tag != "str":
            yield _finding(entry, f"the key `{entry.text}` is a {_kind(entry)} to YAML", QUOTED)
        elif entry.tag in ("int", "float") and SEXAGESIMAL.fullmatch(entry.text):
            value = _sexagesimal(entry.text)
            message = f"{entry.key}={entry.text} is {value:g} to YAML: a number in sixties"
            yield _finding(entry, message, f"{QUOTED}, or write the number")
        elif entry.tag == "int" and OCTAL.fullmatch(entry.text):
            message = (
                f"{entry.key}={entry.text} is {int(entry.text.replace('_', ''), 8)} to YAML: octal"
            )
            yield _finding(entry, message, f"leave out the zeros, or {QUOTED}")


def unreadable(files: Sequence[Path]) -> Iterator[Diagnostic]:
    """Find files that YAML cannot read: merge conflicts, tabs, duplicate keys, other encodings."""
    for file in files:
        try:
            entries = read_entries(file)
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            message = f"{file.name} is not UTF-8"
            hint = "save it as UTF-8"
            yield Diagnostic(
                "unreadable file", "", message, "", hint, origin=SourceLocation(file, line)
            )
        except yaml.YAMLError as error:
            yield _broken(file, error)
        except OSError as error:
            message = f"{file.name} cannot be read: {error.strerror}"
            yield Diagnostic("unreadable file", "", message, origin=SourceLocation(file))
        else:
            yield from _doubled(entries)


def without_keys(files: Iterable[Path]) -> Iterator[Diagnostic]:
    """Find files that are empty, or hold a list or a text in place of keys.

    Args:
        files: Files that YAML can read.
    """
    for file in files:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER)
        if isinstance(node, yaml.MappingNode):
            continue
        content = "holds a list" if isinstance(node, yaml.SequenceNode) else "holds a text"
        yield Diagnostic(
            "no keys",
            "",
            f"{file.name} {'is empty' if node is None else content}",
            "keys with values, such as seed: 1",
            "write the options that it is to change, or leave it out",
            origin=SourceLocation(file, 1 if node is None else node.start_mark.line + 1),
        )


def _broken(file: Path, error: yaml.YAMLError) -> Diagnostic:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if CONFLICT.match(line):
            message = f"{file.name} holds a conflict of a merge: {line.strip()[:40]}"
            hint = "keep one of the two sides, and remove the marks"
            return Diagnostic(
                "merge conflict", "", message, "", hint, origin=SourceLocation(file, number)
            )
    mark = getattr(error, "problem_mark", None)
    number = mark.line + 1 if mark else 0
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    text = lines[number - 1] if 0 < number <= len(lines) else ""
    hint = "indent with spaces" if "\t" in text else "fix the line, or the one above it"
    rule = "tab" if "\t" in text else "broken YAML"
    origin = SourceLocation(file, number or None)
    return Diagnostic(rule, "", f"{file.name} is not YAML: {problem}", "", hint, origin=origin)


def _doubled(entries: Sequence[ConfigEntry]) -> Iterator[Diagnostic]:
    """Keys that stand twice in one mapping of one file."""
    seen: dict[str, ConfigEntry] = {}
    for entry in entries:
        if entry.kind != "key":
            continue
        if entry.key in seen:
            message = (
                f"the key {entry.key} is set twice, first in line {seen[entry.key].origin.line}"
            )
            hint = "remove one of them"
            yield Diagnostic("key twice", entry.key, message, "", hint, origin=entry.origin)
        seen[entry.key] = entry


def _boolean(entry: ConfigEntry) -> Diagnostic:
    meaning = "true" if (entry.text or "").lower() in ("yes", "on") else "false"
    what = "the key" if entry.kind == "key" else f"{entry.key}="
    message = f"{what} `{entry.text}` is {meaning} to YAML"
    severity: Severity = "warning" if entry.kind == "value" else "error"
    return _finding(entry, message, f"write {meaning}, or {QUOTED} if it is a word", severity)


def _finding(
    entry: ConfigEntry, message: str, hint: str, severity: Severity = "error"
) -> Diagnostic:
    return Diagnostic("changed by YAML", entry.key, message, "", hint, severity, entry.origin)


def _kind(entry: ConfigEntry) -> str:
    return {"int": "number", "float": "number", "bool": "boolean", "null": "null"}.get(
        entry.tag, entry.tag
    )


def _sexagesimal(text: str) -> float:
    total = 0.0
    for digits in text.replace("_", "").split(":"):
        total = total * 60 + float(digits)
    return total
