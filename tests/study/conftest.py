"""What the tests of studies share."""

from pathlib import Path

import pytest


@pytest.fixture
def study(polymodal):
    """Writes a study and runs it: its text to exit code, output and error."""
    folder = Path("configs/study")
    folder.mkdir(parents=True)

    def run(text, *overrides):
        (folder / "small.yaml").write_text(text)
        return polymodal("study", "study=small", "tracker=none", *overrides)

    return run
