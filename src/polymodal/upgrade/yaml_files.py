"""Rewrite a YAML file for the installed libraries."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from polymodal.upgrade.changes import Change, ProjectFacts, Rewrite
from polymodal.upgrade.yaml_arguments import Step, argument_step, class_step
from polymodal.upgrade.yaml_hydra import gather_headers, has_header, hydra_steps
from polymodal.upgrade.yaml_scores import gather_scores, score_steps
from polymodal.upgrade.yaml_sections import sections
from polymodal.upgrade.yaml_text import Document, TextEdit, apply_edits

MAX_PASSES = 8


def gather_yaml(text: str, facts: ProjectFacts) -> None:
    """Add what other files need to know of a YAML file to the facts of its project."""
    document = Document(text)
    facts.fills_in |= "_target_: polymodal." in text
    gather_scores(document, facts)
    gather_headers(document, facts)


def rewrite_yaml(text: str, path: Path, facts: ProjectFacts) -> Rewrite:
    r"""Rewrite a YAML file; comments, order, quotes and blanks stay.

    The folders of its path tell the groups of Hydra.

    Raises:
        ruamel.yaml.error.YAMLError: The text is not valid YAML.

    Example:
        >>> old = "trainer:\n  gpus: 2  # both\n  max_epochs: 3\n"
        >>> print(rewrite_yaml(old, Path("a.yaml"), ProjectFacts()).text, end="")
        trainer:
          accelerator: gpu  # both
          devices: 2
          max_epochs: 3
    """
    origin = list(range(1, text.count("\n") + 2))  # by line of the current text
    done: list[Change] = []
    left: list[Change] = []
    had_header = has_header(text)
    for _ in range(MAX_PASSES):
        document = Document(text)
        edits, decided, left = _one_pass(_steps(document, path, facts, had_header))
        done += _moved(decided, origin)
        left = _moved(left, origin)
        if not edits:
            break
        text, lines = apply_edits(text, edits)
        origin = [origin[line - 1] for line in lines]
    return Rewrite(text, tuple(sorted((*done, *left), key=lambda change: change.line)))


def _one_pass(steps: Iterable[Step]) -> tuple[list[TextEdit], list[Change], list[Change]]:
    """Return edits that do not overlap, and their changes; the others follow in a later pass."""
    edits: list[TextEdit] = []
    decided: list[Change] = []
    left: list[Change] = []
    for step in steps:
        left += [change for change in step.changes if change.is_undecided]
        if step.edits and not any(_overlap(new, old) for new in step.edits for old in edits):
            edits += step.edits
            decided += [change for change in step.changes if not change.is_undecided]
    return edits, decided, left


def _steps(document: Document, path: Path, facts: ProjectFacts, had_header: bool) -> Iterator[Step]:
    for section in sections(document, path):
        steps = class_step(document, section), argument_step(document, section, facts)
        yield from (step for step in steps if step is not None)
    yield from hydra_steps(document, path, facts, had_header)
    yield from score_steps(document, facts)


def _overlap(first: TextEdit, second: TextEdit) -> bool:
    if first[0] == first[1] == second[0] == second[1]:
        return True  # two additions at one place: one after the other
    return first[0] < second[1] and second[0] < first[1]


def _moved(changes: Iterable[Change], origin: list[int]) -> list[Change]:
    last = len(origin)
    return [replace(change, line=origin[min(change.line, last) - 1]) for change in changes]
