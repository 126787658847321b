"""What an upgrade has to say: by rule, what is left to a person, and what binds."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.upgrade.changes import Change
from polymodal.upgrade.proof import Proof
from polymodal.upgrade.rules import Rule, rules
from polymodal.upgrade.tree import Tree, Upgraded


@dataclass(frozen=True)
class OfRule:
    """What one rule changed.

    Args:
        rule: Its id.
        known: The rule itself; None for one that has no entry in the tables.
        places: Where, with the change.
    """

    rule: str
    known: Rule | None
    places: tuple[tuple[Path, Change], ...]

    @property
    def files(self) -> int:
        """In how many files."""
        return len({path for path, _ in self.places})

    @property
    def notes(self) -> list[str]:
        """What a person has to know, each once; not the reason, which is said anyway."""
        said = ("", "") if self.known is None else (self.known.reason, _since(self.known))
        notes = [change.note for _, change in self.places]
        for words in said:
            notes = [note.removeprefix(words).lstrip("; ") for note in notes]
        return list(dict.fromkeys(note for note in notes if note))

    @property
    def reason(self) -> str:
        """Why, and since when."""
        if self.known is None:
            return ""
        return f"{self.known.reason} ({self.known.library}: {_since(self.known)})"


def _since(rule: Rule) -> str:
    return f"gone since {rule.removed}" if rule.removed else f"old since {rule.deprecated}"


def by_rule(tree: Tree) -> list[OfRule]:
    """Groups what was changed by rule, the most frequent first.

    Args:
        tree: What an upgrade made.
    """
    known = {rule.id: rule for rule in rules()}
    decided = [one for one in tree.changes if not one[1].is_undecided]
    names = dict.fromkeys(change.rule for _, change in decided)
    grouped = [
        OfRule(name, known.get(name), tuple(one for one in decided if one[1].rule == name))
        for name in names
    ]
    return sorted(grouped, key=lambda one: (-len(one.places), one.rule))


def undecided(tree: Tree) -> list[tuple[Path, Change]]:
    """Returns what was left to a person.

    Args:
        tree: What an upgrade made.
    """
    return [one for one in tree.changes if one[1].is_undecided]


def diff_lines(one: Upgraded) -> Iterator[str]:
    """Goes through the lines of a file's unified diff.

    Args:
        one: The file.

    Yields:
        Lines without line breaks.
    """
    old, new = one.text.splitlines(), one.rewritten.text.splitlines()
    name = one.path.as_posix()
    yield from difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")


def to_json(tree: Tree, proof: Proof, written: bool) -> dict[str, Any]:
    """Returns everything as plain values.

    Args:
        tree: What an upgrade made.
        proof: What of it binds.
        written: Whether the files were written.
    """
    left = undecided(tree)
    return {
        "changes": len(tree.changes) - len(left),
        "undecided": len(left),
        "written": written,
        "files": [_file(one) for one in tree.files if one.rewritten.changes],
        "faults": [
            {"file": str(one.path), "line": one.line, "found": one.found, "remedy": one.remedy}
            for one in tree.faults
        ],
        "too_long": [str(one) for one in tree.too_long],
        "proof": {
            "sections": proof.count,
            "bind": proof.num_bound,
            "findings": [one.to_json() for one in proof.findings],
        },
    }


def _file(one: Upgraded) -> dict[str, Any]:
    changes = [
        {
            "rule": change.rule,
            "line": change.line,
            "found": change.found,
            "written": change.written,
            "note": change.note,
        }
        for change in one.rewritten.changes
    ]
    return {"file": str(one.path), "changes": changes, "diff": "\n".join(diff_lines(one))}
