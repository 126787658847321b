"""Paths from data stay in their folder."""

import pytest

from polymodal.errors import DataError
from polymodal.security.paths import resolve_inside


@pytest.mark.parametrize(
    "relative", ["../x", "/etc/passwd", "a/../../x", "link/x", "a/b/../../../x", ".."]
)
def test_a_path_that_leaves_is_refused(tmp_path, relative):
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leaves the corpus folder"):
        resolve_inside(root, relative)


@pytest.mark.parametrize("relative", ["a.wav", "a/b.wav", "a/../b.wav", "좋아요.wav", "own/x"])
def test_a_path_that_stays_is_joined(tmp_path, relative):
    (tmp_path / "real").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "real")
    assert resolve_inside(tmp_path, relative) == tmp_path / relative
