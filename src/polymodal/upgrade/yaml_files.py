"""Rewrites a YAML file for the installed libraries, and leaves the rest as it was."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from polymodal.upgrade.changes import Change, Facts, Rewrite
from polymodal.upgrade.yaml_arguments import Step, argument_step, class_step
from polymodal.upgrade.yaml_hydra import gather_hydra, has_header, hydra_steps
from polymodal.upgrade.yaml_scores import gather_scores, score_steps
from polymodal.upgrade.yaml_sections import sections
from polymodal.upgrade.yaml_text import Document, Edit, changed

MOST_PASSES = 8


def gather_yaml(text: str, facts: Facts) -> None:
    """Gathers what other files have to know of a YAML file.

    Args:
        text: Its text.
        facts: Is added to.
    """
    document = Document(text)
    facts.fills_in |= "_target_: polymodal." in text
    gather_scores(document, facts)
    gather_hydra(document, facts)


def rewrite_yaml(text: str, path: Path, facts: Facts) -> Rewrite:
    r"""Rewrites a YAML file.

    Only what has changed is written anew; comments, order, quotes and blanks stay.

    Args:
        text: Its text.
        path: Where it lies: folders tell of Hydra's groups.
        facts: What the files of its tree know of one another.

    Returns:
        Its new text, and what was changed or left alone.

    Raises:
        ruamel.yaml.error.YAMLError: It is no YAML.

    Example:
        >>> old = "trainer:\n  gpus: 2  # both\n  max_epochs: 3\n"
        >>> print(rewrite_yaml(old, Path("a.yaml"), Facts()).text, end="")
        trainer:
          accelerator: gpu  # both
          devices: 2
          max_epochs: 3
    """
    origin = list(range(1, text.count("\n") + 2))  # line of the present text to line of the old
    done: list[Change] = []
    left: list[Change] = []
    had_header = has_header(text)
    for _ in range(MOST_PASSES):
        document = Document(text)
        edits, said, left = _one_pass(_steps(document, path, facts, had_header))
        done += [_moved(one, origin) for one in said]
        left = [_moved(one, origin) for one in left]
        if not edits:
            break
        text, lines = changed(text, edits)
        origin = [origin[line - 1] for line in lines]
    return Rewrite(text, tuple(sorted((*done, *left), key=lambda one: one.line)))


def _one_pass(steps: Iterable[Step]) -> tuple[list[Edit], list[Change], list[Change]]:
    """Takes what does not stand in one another's way; the others have their turn later."""
    edits: list[Edit] = []
    said: list[Change] = []
    left: list[Change] = []
    for step in steps:
        left += [one for one in step.changes if one.is_undecided]
        if step.edits and not any(_overlap(new, old) for new in step.edits for old in edits):
            edits += step.edits
            said += [one for one in step.changes if not one.is_undecided]
    return edits, said, left


def _steps(document: Document, path: Path, facts: Facts, had_header: bool) -> Iterator[Step]:
    for section in sections(document, path):
        steps = class_step(document, section), argument_step(document, section, facts)
        yield from (one for one in steps if one is not None)
    yield from hydra_steps(document, path, facts, had_header)
    yield from score_steps(document, facts)


def _overlap(one: Edit, other: Edit) -> bool:
    if one[0] == one[1] == other[0] == other[1]:
        return True  # two additions at one place: one after the other
    return one[0] < other[1] and other[0] < one[1]


def _moved(change: Change, origin: list[int]) -> Change:
    line = origin[min(change.line, len(origin)) - 1]
    return Change(change.rule, line, change.found, change.written, change.note)
