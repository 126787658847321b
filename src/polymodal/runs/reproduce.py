"""A recorded run once more, as it was or varied, and what has changed around it since."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import open_dict

from polymodal.config.compose import ComposedConfig
from polymodal.errors import RunError
from polymodal.runs.evaluate import load_stored_run
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.environment import code_state, versions
from polymodal.tracking.index import read_record


def load_run(name: str, overrides: Sequence[str]) -> tuple[Path, RunRecord, ComposedConfig]:
    """Return a run and the configuration that begins it anew.

    Args:
        name: Run id, its beginning, a path, or `last`.
        overrides: Changes to its configuration.

    Raises:
        UserError: There is no such run, it is a test, a vote or a study, or an override cannot be
            used.
    """
    path, composed = load_stored_run(name, overrides)
    record = read_record(path)
    if record.kind != "run":
        raise RunError(
            f"{record.run_id} is a {record.kind}, which cannot be repeated as a run",
            expected="a run that was trained",
            hint="give the command again that made it: `polymodal show` prints it",
        )
    with open_dict(composed.config):
        composed.config["resume"] = None
    return path, record, replace(composed, overrides=(*_overridden(path), *overrides))


def _overridden(path: Path) -> list[str]:
    """What was overridden when a run was composed."""
    file = path / "overrides.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def environment_changes(record: RunRecord) -> list[str]:
    """Return what of the code and of the libraries is no longer as a run had it.

    Returns:
        A sentence each; none where all is the same.
    """
    code, libraries = code_state(Path.cwd())[0], versions()
    told = []
    if record.code.get("commit") != code.get("commit"):
        told.append(f"the code is at {_commit(code)}, the run's was at {_commit(record.code)}")
    elif record.code != code:
        told.append("files were changed since, or are no longer changed as they were")
    told += [
        f"{name} is {libraries.get(name, 'not installed')}, the run had {version}"
        for name, version in record.versions.items()
        if libraries.get(name) != version
    ]
    return told


def score_changes(before: RunRecord, after: RunRecord) -> list[str]:
    """Return in which scores a repeated run differs from the first one.

    Returns:
        A line a score, with `data` first where the corpus is another; none where all are equal.
    """
    told = []
    if before.data.get("fingerprint") != after.data.get("fingerprint"):
        told.append("the corpus is not the same")
    names = sorted({*before.scores, *after.scores})
    return told + [
        f"{name} was {before.scores.get(name)}, is {after.scores.get(name)}"
        for name in names
        if before.scores.get(name) != after.scores.get(name)
    ]


def _commit(code: dict[str, object]) -> str:
    return str(code.get("commit") or "no commit")[:12]
