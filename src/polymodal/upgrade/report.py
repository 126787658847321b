"""Report an upgrade: changes by rule, decisions left to a person, and sections that bind."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.upgrade.changes import Change
from polymodal.upgrade.proof import Proof
from polymodal.upgrade.rules import Rule, rules
from polymodal.upgrade.tree import FileResult, Tree


@dataclass(frozen=True)
class RuleSummary:
    """Changes by one rule; `definition` is None for a rule without an entry in the tables."""

    rule: str
    definition: Rule | None
    changes: tuple[tuple[Path, Change], ...]

    @property
    def files(self) -> int:
        """Number of files."""
        return len({path for path, _ in self.changes})

    @property
    def notes(self) -> list[str]:
        """What a person has to know, each once, without the reason."""
        rule, notes = self.definition, [change.note for _, change in self.changes]
        for prefix in (rule.reason, rule.since) if rule is not None else ("", ""):
            notes = [note.removeprefix(prefix).lstrip("; ") for note in notes]
        return list(dict.fromkeys(note for note in notes if note))

    @property
    def reason(self) -> str:
        """Why, and since when."""
        rule = self.definition
        return "" if rule is None else f"{rule.reason} ({rule.library}: {rule.since})"


def group_by_rule(tree: Tree) -> list[RuleSummary]:
    """Group changes by rule, the most frequent first."""
    definitions = {rule.id: rule for rule in rules()}
    groups: dict[str, list[tuple[Path, Change]]] = {}
    for path, change in tree.changes:
        if not change.is_undecided:
            groups.setdefault(change.rule, []).append((path, change))
    grouped = [RuleSummary(name, definitions.get(name), tuple(of)) for name, of in groups.items()]
    return sorted(grouped, key=lambda summary: (-len(summary.changes), summary.rule))


def undecided(tree: Tree) -> list[tuple[Path, Change]]:
    """Return the changes that are left to a person."""
    return [item for item in tree.changes if item[1].is_undecided]


def diff_lines(file: FileResult) -> Iterator[str]:
    """Yield the lines of a file's unified diff, without line breaks."""
    old, new = file.text.splitlines(), file.rewrite.text.splitlines()
    name = file.path.as_posix()
    yield from difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")


def to_json(tree: Tree, proof: Proof, written: bool) -> dict[str, Any]:
    """Return the report as plain values; `written` says whether files were written."""
    left = undecided(tree)
    return {
        "changes": len(tree.changes) - len(left),
        "undecided": len(left),
        "written": written,
        "files": [_file(file) for file in tree.files if file.rewrite.changes],
        "faults": [
            {
                "file": str(error.path),
                "line": error.line,
                "found": error.message,
                "remedy": error.hint,
            }
            for error in tree.errors
        ],
        "too_long": [str(path) for path in tree.too_large],
        "proof": {
            "sections": proof.count,
            "bind": proof.num_bound,
            "findings": [finding.to_json() for finding in proof.findings],
        },
    }


def _file(file: FileResult) -> dict[str, Any]:
    changes = [
        {
            "rule": change.rule,
            "line": change.line,
            "found": change.before,
            "written": change.after,
            "note": change.note,
        }
        for change in file.rewrite.changes
    ]
    return {"file": str(file.path), "changes": changes, "diff": "\n".join(diff_lines(file))}
