"""What is read, what is refused, and that a tree is written whole or not at all."""

import os
import subprocess
from pathlib import Path

import pytest

from polymodal.errors import ConfigError
from polymodal.upgrade import write
from polymodal.upgrade.tree import upgrade_tree
from polymodal.upgrade.write import write_tree

OLD = "trainer:\n  gpus: 2\n  max_epochs: 1\n"
NEW = "trainer:\n  accelerator: gpu\n  devices: 2\n  max_epochs: 1\n"
BROKEN = {
    "broken.yaml": (b"a: 1\nb: [1, 2\nc: 3\n", "is not valid YAML", 3),
    "tab.yml": (b"a:\n\tb: 1\n", "is not valid YAML", 2),
    "latin.yaml": ("a: 1\nb: B\xfcro\n".encode("latin-1"), "is not UTF-8", 2),
    "conflict.yaml": (b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", "merge", 2),
    "conflict.py": (b"<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> other\n", "merge", 1),
    "broken.py": (b"a = 1\ndef f(:\n", "is not valid Python", 2),
    "latin.py": ("# B\xfcro\n".encode("latin-1"), "is not UTF-8", 1),
}


@pytest.fixture
def tree(tmp_path) -> Path:
    (tmp_path / "a.yaml").write_text(OLD)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yml").write_text(OLD)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def committed(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_others_are_upgraded_and_nothing_is_written(tree, name):
    raw, message, line = BROKEN[name]
    (tree / name).write_bytes(raw)
    before = content(tree)
    result = upgrade_tree([tree])
    (fault,) = result.errors
    assert (fault.path, fault.line) == (tree / name, line)
    assert message in fault.message
    assert len(result.changed) == 2
    with pytest.raises(ConfigError, match=rf"nothing is written.*{name}:{line}"):
        write_tree(result, [tree])
    assert content(tree) == before
    write_tree(upgrade_tree([tree], [name]), [tree])
    assert (tree / "a.yaml").read_text() == NEW
    assert (tree / name).read_bytes() == raw


def test_a_failure_in_the_middle_puts_everything_back(tree, monkeypatch):
    before, real, new = content(tree), write._write, []

    def full_after_one(path, raw):
        if raw == NEW.encode():
            new.append(path)
            if len(new) > 1:
                raise OSError(28, "No space left on device", str(path))
        real(path, raw)

    monkeypatch.setattr(write, "_write", full_after_one)
    with pytest.raises(ConfigError, match="No space left on device; everything is as it was"):
        write_tree(upgrade_tree([tree]), [tree])
    assert len(new) == 2
    assert content(tree) == before


def test_a_file_that_cannot_be_written_stops_all(tree, monkeypatch):
    locked = tree / "sub" / "b.yml"
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, how: Path(p) != locked and real(p, how))
    before = content(tree)
    with pytest.raises(ConfigError, match=r"b\.yml cannot be written; nothing is written"):
        write_tree(upgrade_tree([tree]), [tree])
    assert content(tree) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_tree_is_refused(tree):
    (tree / "sub").chmod(0o555)
    try:
        with pytest.raises(ConfigError, match="cannot be written"):
            write_tree(upgrade_tree([tree]), [tree])
        assert (tree / "a.yaml").read_text() == OLD
    finally:
        (tree / "sub").chmod(0o755)


def test_a_file_that_changed_meanwhile_is_not_overwritten(tree):
    result = upgrade_tree([tree])
    (tree / "sub" / "b.yml").write_text("mine: 1\n")
    with pytest.raises(ConfigError, match="has changed meanwhile"):
        write_tree(result, [tree])
    assert (tree / "a.yaml").read_text() == OLD
    assert (tree / "sub" / "b.yml").read_text() == "mine: 1\n"


def test_mode_and_mark_of_a_file_stay(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + OLD.encode())
    file.chmod(0o640)
    write_tree(upgrade_tree([tmp_path]), [tmp_path])
    assert file.read_bytes() == b"\xef\xbb\xbf" + NEW.encode()
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("what", ["changed", "other", "untracked"])
def test_work_that_is_in_no_commit_is_not_written_over(tree, what):
    (tree / "other.txt").write_text("a")
    if what == "untracked":
        (tree / ".gitignore").write_text("")
        git(tree, "init", "-q")
        git(tree, "add", "other.txt", "a.yaml", ".gitignore")
        git(tree, "commit", "-qm", "some")
    else:
        committed(tree)
        changed = tree / ("a.yaml" if what == "changed" else "other.txt")
        changed.write_text(changed.read_text() + "# mine\n")
    before = content(tree)
    result = upgrade_tree([tree])
    with pytest.raises(ConfigError, match="in no commit") as refused:
        write_tree(result, [tree])
    name = {"changed": "a.yaml", "other": "other.txt", "untracked": "b.yml"}[what]
    assert name in str(refused.value)
    assert content(tree) == before
    write_tree(result, [tree], force=True)
    assert (tree / "sub" / "b.yml").read_text() == NEW


@pytest.mark.parametrize("what", ["ignored", "nested"])
def test_nor_is_what_the_repository_says_nothing_of(tree, what):
    if what == "ignored":
        (tree / ".gitignore").write_text("b.yml\n")
        committed(tree)
    else:
        committed(tree / "sub")
        git(tree, "init", "-q")
        git(tree, "add", "a.yaml")
        git(tree, "commit", "-qm", "some")
        file = tree / "sub" / "b.yml"
        file.write_text(file.read_text() + "# mine\n")
    result = upgrade_tree([tree])
    with pytest.raises(ConfigError, match=r"in no commit: .*b\.yml"):
        write_tree(result, [tree])


def test_a_link_that_is_named_stays_a_link(tree):
    link = tree.parent / "link.yaml"
    link.symlink_to(tree / "a.yaml")
    write_tree(upgrade_tree([link, tree / "a.yaml"]), [link], force=True)
    assert link.is_symlink()
    assert (tree / "a.yaml").read_text() == NEW


def test_a_clean_tree_and_files_of_no_interest_do_not_stand_in_the_way(tree):
    committed(tree)
    (tree / "notes.txt").write_text("of no interest")
    write_tree(upgrade_tree([tree]), [tree])
    assert (tree / "a.yaml").read_text() == NEW


def test_a_repository_that_git_cannot_read_is_refused(tree, monkeypatch):
    (tree / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(ConfigError, match="git cannot tell"):
        write_tree(upgrade_tree([tree]), [tree])
    write_tree(upgrade_tree([tree]), [tree], force=True)
    assert (tree / "a.yaml").read_text() == NEW


def test_folders_of_tools_and_links_are_left_out(tree, tmp_path_factory):
    for folder in (".git", ".venv", "node_modules", "outputs", "mine", "__pycache__"):
        (tree / folder).mkdir()
        (tree / folder / "c.yaml").write_text(OLD)
    (tree / "mine" / "pyvenv.cfg").write_text("")
    outside = tmp_path_factory.mktemp("outside") / "c.yaml"
    outside.write_text(OLD)
    (tree / "link.yaml").symlink_to(outside)
    (tree / "folder").symlink_to(outside.parent)
    (tree / "long.yaml").write_bytes(b"a: 1\n" * 60_000)
    result = upgrade_tree([tree])
    assert [file.path for file in result.files] == [tree / "a.yaml", tree / "sub" / "b.yml"]
    assert result.too_large == (tree / "long.yaml",)
    assert outside.read_text() == OLD


def test_a_pattern_leaves_files_and_folders_out(tree):
    assert [file.path.name for file in upgrade_tree([tree], ["sub"]).files] == ["a.yaml"]
    assert [file.path.name for file in upgrade_tree([tree], ["sub/*"]).files] == ["a.yaml"]
    assert [file.path.name for file in upgrade_tree([tree], ["a.*"]).files] == ["b.yml"]


def test_a_path_given_twice_is_upgraded_once_and_one_that_is_not_there_is_refused(tree):
    assert len(upgrade_tree([tree, tree / "a.yaml"]).files) == 2
    with pytest.raises(ConfigError, match="no such file or folder"):
        upgrade_tree([tree / "nowhere"])
