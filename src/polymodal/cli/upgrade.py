"""Rewrite YAML and Python of older releases for the installed ones.

  polymodal upgrade configs/ src/           show the changes and their reasons
  polymodal upgrade configs/ src/ --write   write all files or none
  polymodal upgrade . --skip 'vendored/*' --json

It covers renames, moves and removals of Lightning 1.0 to 2.x, torchmetrics 0.5 to 1.x, Hydra 1.0 to
1.3 and transformers. Comments, order and formatting stay. Undecidable cases are listed and left
unchanged. Every changed section is then bound to the installed signatures.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from polymodal.upgrade.proof import Proof
    from polymodal.upgrade.tree import Tree

COLOURS = {"+": "green", "-": "red", "@": "cyan"}
SHOWN_NOTES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal upgrade`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders")
    parser.add_argument("--write", action="store_true", help="write the files, all or none")
    parser.add_argument("--force", action="store_true", help="overwrite uncommitted changes")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="skip these paths"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """Upgrade the files and print the changes; return 0 even if cases are undecided."""
    from polymodal.preflight.rules.signatures import check_against_signature
    from polymodal.upgrade.proof import prove
    from polymodal.upgrade.report import to_json
    from polymodal.upgrade.tree import upgrade_tree
    from polymodal.upgrade.write import write_tree

    tree = upgrade_tree(arguments.paths, arguments.skip)
    proof = prove(tree, check_against_signature)
    if arguments.json:
        if arguments.write:
            write_tree(tree, arguments.paths, arguments.force)
        print(json.dumps(to_json(tree, proof, arguments.write), indent=1))
        return 0
    _print(tree, proof, with_diff=not arguments.write)
    if arguments.write:
        write_tree(tree, arguments.paths, arguments.force)
        if tree.changed:
            print(f"written: {_counted(len(tree.changed), 'file')}")
    elif tree.changed:
        print("nothing is written yet: add --write")
    return 0


def _print(tree: "Tree", proof: "Proof", with_diff: bool) -> None:
    from polymodal.cli._format import console
    from polymodal.upgrade.report import undecided

    page = console()
    if with_diff:
        _print_diffs(page, tree)
    _print_rules(page, tree)
    left = undecided(tree)
    if left:
        page.print(f"{len(left)} left to you:", style="yellow", markup=False)
    for path, change in left:
        page.print(f"  {path}:{change.line}: {change.before}", markup=False)
        page.print(f"    hint: {change.note} ({change.rule})", style="dim", markup=False)
    for fault in tree.errors:
        page.print(f"cannot be upgraded: {fault}", style="red", markup=False)
    for path in tree.too_large:
        page.print(f"not read: {path} is longer than any configuration", markup=False)
    _print_proof(page, proof)
    decided = len(tree.changes) - len(left)
    files = f" in {_counted(len(tree.changed), 'file')}" if tree.changed else ""
    message = f"{_counted(decided, 'change')}{files}, {len(left)} undecided"
    page.print(message, style="bold", markup=False)


def _print_diffs(page: "Console", tree: "Tree") -> None:
    from rich.text import Text

    from polymodal.upgrade.report import diff_lines

    for file in tree.changed:
        for line in diff_lines(file):
            is_name = line.startswith(("---", "+++"))
            page.print(Text(line, style="bold" if is_name else COLOURS.get(line[:1], "")))
    if tree.changed:
        page.print()


def _print_rules(page: "Console", tree: "Tree") -> None:
    from polymodal.upgrade.report import group_by_rule

    for group in group_by_rule(tree):
        count = len(group.changes)
        where = f"{count} in {group.files} files" if group.files > 1 else count
        page.print(f"{group.rule}: {where}", style="green", markup=False)
        if group.reason:
            page.print(f"  {group.reason}", style="dim", markup=False)
        for note in group.notes[:SHOWN_NOTES]:
            page.print(f"  note: {note}", markup=False)


def _print_proof(page: "Console", proof: "Proof") -> None:
    if not proof.count:
        return
    message = f"{proof.num_bound} of {proof.count} sections of the changed files bind"
    colour = "green" if proof.num_bound == proof.count else "yellow"
    page.print(f"proof: {message} to the installed signatures", style=colour, markup=False)
    for finding in proof.findings:
        first, *rest = finding.text().splitlines()
        page.print(f"  does not bind: {first}", markup=False)
        for line in rest:
            page.print(f"  {line}", style="dim", markup=False)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
