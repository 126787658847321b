"""Ranks agree on the files of a run."""

import pytest

from polymodal.errors import RunError
from polymodal.training import distributed


def test_a_rank_waits_for_files_and_names_the_one_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "WAIT_S", 0.0)
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.touch()
    distributed.wait_for_files([there])
    with pytest.raises(RunError, match="missing"):
        distributed.wait_for_files([there, missing])
