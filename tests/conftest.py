"""What every test shares: run-time checks of shapes and types, the root, real data where it is.

Set POLYMODAL_SHAPE_CHECKS=0 to run without the checks, as a user does.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Every module of polymodal imported from here on checks its annotations, jaxtyping's shapes
# included, at each call.
if os.environ.get("POLYMODAL_SHAPE_CHECKS", "1") != "0":
    # An int is fine where a float is asked for, as Python's typing says.
    numbers_as_typed = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    jaxtyping.install_import_hook("polymodal", numbers_as_typed)


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real corpora: POLYMODAL_TEST_DATA, or shared/data beside the repository."""
    named = os.environ.get("POLYMODAL_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; POLYMODAL_TEST_DATA may name another folder")
    return folder


@pytest.fixture
def shape_checks_off() -> Iterator[None]:
    """No run-time checks in this test: it passes a wrong type on purpose, as a YAML file can."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
