"""What the tests of shipped experiments and studies share."""

from pathlib import Path

import pytest
from benchmarks.kemdy_tree import write_kemdy19, write_kemdy20


@pytest.fixture(scope="session")
def small_kemdy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic trees of both corpora."""
    folder = tmp_path_factory.mktemp("kemdy")
    write_kemdy19(folder / "kemdy19", sessions=5, utterances=4)
    write_kemdy20(folder / "kemdy20", sessions=5, utterances=4)
    return folder
