"""Repeat a recorded run, as it was or with overrides, and report what has changed since."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import open_dict

from polymodal.config.compose import ComposedConfig
from polymodal.runs.evaluate import load_stored_run
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.environment import code_state, versions
from polymodal.tracking.index import read_record, require_trained


def load_run(name: str, overrides: Sequence[str]) -> tuple[Path, RunRecord, ComposedConfig]:
    """Return a run and the configuration that repeats it.

    Args:
        name: Run id or prefix of one, a path, or `last`.
        overrides: Changes to its configuration.

    Raises:
        UserError: There is no such run, it is a test, a vote or a study, or an override is invalid.
    """
    path, composed = load_stored_run(name, overrides)
    record = read_record(path)
    require_trained(record, "which cannot be repeated as a run")
    with open_dict(composed.config):
        composed.config["resume"] = None
        if overrides and not any(word.startswith("resume_state=") for word in overrides):
            composed.config["resume_state"] = False  # of the recorded run, not of its variation
    return path, record, replace(composed, overrides=(*_overridden(path), *overrides))


def _overridden(path: Path) -> list[str]:
    file = path / "overrides.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def environment_changes(record: RunRecord) -> list[str]:
    """Return how the code and the libraries differ from those of a run, a sentence each."""
    libraries = versions()
    return code_changes(record) + [
        f"{name} is {libraries.get(name, 'not installed')}, the run had {version}"
        for name, version in record.versions.items()
        if libraries.get(name) != version
    ]


def code_changes(record: RunRecord) -> list[str]:
    """Return how the code here differs from that of a run, a sentence or none."""
    code = code_state(Path.cwd())[0]
    if record.code.get("commit") != code.get("commit"):
        return [f"the code is at {_commit(code)}, the run's was at {_commit(record.code)}"]
    return ["uncommitted changes differ from those of the run"] if record.code != code else []


def score_changes(before: RunRecord, after: RunRecord) -> list[str]:
    """Return how the scores of a repeated run differ: first the corpus, then a line per score."""
    changes = []
    if before.data.get("fingerprint") != after.data.get("fingerprint"):
        changes.append("the corpus has changed")
    if before.data.get("revisions") != after.data.get("revisions"):
        changes.append("the files of a pretrained encoder have changed")
    names = sorted({*before.scores, *after.scores})
    return changes + [
        f"{name} was {before.scores.get(name)}, is {after.scores.get(name)}"
        for name in names
        if before.scores.get(name) != after.scores.get(name)
    ]


def _commit(code: dict[str, object]) -> str:
    return str(code.get("commit") or "no commit")[:12]
