"""A recorded run: its name, its trackers and its warnings, without training anything."""

import json
import warnings
from pathlib import Path

import pytest

from polymodal.config.compose import compose, load_config
from polymodal.errors import ConfigError
from polymodal.runs.recorder import recording, stage_time
from polymodal.runs.trackers import build_trackers
from polymodal.tracking.run_folder import JOB

MINE = """
import json
from pathlib import Path


class Notebook:
    def __init__(self, file: str, breaks_at: int = -1):
        self.file, self.breaks_at = Path(file), breaks_at

    def start(self, start):
        self.say(["start", start.name, start.project, start.group, list(start.tags)])

    def log(self, scores, step):
        if step == self.breaks_at:
            raise ConnectionError("the server is down")
        self.say(["log", dict(scores), step])

    def finish(self, status, scores):
        self.say(["finish", status, dict(scores)])

    def say(self, words):
        with self.file.open("a") as file:
            file.write(json.dumps(words) + "\\n")


class NoTracker:
    pass
"""


@pytest.fixture
def project(workplace, monkeypatch):
    """A project with trackers of its own, beside ours."""
    (workplace / "my_trackers.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(workplace))
    folder = workplace / "configs" / "tracker"
    folder.mkdir(parents=True)
    text = "{}:\n  _target_: my_trackers.Notebook\n  file: {}.jsonl\n  breaks_at: -1\n"
    for name in ("notebook", "other"):
        (folder / f"{name}.yaml").write_text(text.format(name, name))
    return workplace


def recorded(*overrides: str, notes=None, steps: int = 3) -> dict:
    """Records a run that logs some lines; its record."""
    composed = compose([*overrides])
    with recording(composed, composed.resolved(), notes=notes) as session:
        with stage_time(session, "fit"):
            for step in range(steps):
                session.writer.log({"val/uar": step / 10}, step, fold=0)
        session.scores["test/uar"] = 0.5
    return json.loads((session.path / "run.json").read_text())


def said(file: str) -> list:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_several_trackers_of_ones_own_are_told_the_same(project):
    record = recorded("tracker=[notebook,other]", "experiment=sample/text", "optimizer.lr=1e-4")
    assert record["name"] == "lr=1e-4"
    start, *lines, end = said("notebook.jsonl")
    tags = ["run", "unimodal", "sample", "text"]
    assert start == ["start", "lr=1e-4", "unimodal-sample", "sample/text", tags]
    assert lines == [["log", {"fold0/val/uar": step / 10}, step] for step in range(3)]
    assert end == ["finish", "finished", {"test/uar": 0.5}]
    assert said("other.jsonl") == [start, *lines, end]
    assert record["notes"]["project"] == "unimodal-sample"
    assert record["notes"]["stage_peak_memory_mb"]["fit"] > 0
    assert "trackers_lack" not in record["notes"]


def test_the_record_says_what_a_tracker_lacks_and_the_log_what_was_warned_of(project):
    with pytest.warns(UserWarning, match="Notebook failed") as caught:
        record = recorded("tracker=[notebook,other]", "tracker.notebook.breaks_at=1")
    assert len([one for one in caught if "failed" in str(one.message)]) == 1
    assert record["notes"]["trackers_lack"] == {"notebook": 2}
    assert record["notes"]["warnings"] == 1
    folder = Path("runs") / record["run_id"]
    (line,) = (folder / "log.txt").read_text().splitlines()
    assert "the server is down" in line
    assert f"polymodal sync {record['run_id']}" in line
    assert len(said("other.jsonl")) == 5


def test_warnings_are_logged_without_secrets(project, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "c4nary-TOKEN-77")
    composed = compose(["tracker=none"])
    with (
        pytest.warns(UserWarning, match="401"),
        recording(composed, composed.resolved()) as session,
    ):
        warnings.warn("401 for c4nary-TOKEN-77", stacklevel=1)
    log = (session.path / "log.txt").read_text()
    assert log.startswith("warning: UserWarning: 401 for ***")
    with recording(composed, composed.resolved()) as other:
        pass
    assert "warnings" not in json.loads((other.path / "run.json").read_text())["notes"]
    assert not (other.path / "log.txt").exists()


def test_names_never_repeat_and_cells_are_named_by_their_member(project):
    first, second = (recorded("tracker=none", "seed=3")["name"] for _ in range(2))
    assert (first, second) == ("seed=3", "seed=3 (2)")
    cell = recorded("tracker=none", notes={JOB: "k", "member": "fusion", "share": 0.5})
    assert cell["name"] == "fusion seed=0 share=0.5"
    again = load_config(Path("runs") / cell["run_id"] / "config.yaml", "x")
    assert (again.choices["corpus"], again.choices["model"]) == ("sample", "fusion/cross_attention")


def test_a_single_tracker_works_and_a_wrong_one_is_rejected(project):
    one = {"_target_": "my_trackers.Notebook", "file": "x"}
    assert list(build_trackers(one)) == ["Notebook"]
    assert build_trackers(None) == {}
    assert build_trackers(compose(["tracker=none"]).resolved()["tracker"]) == {}
    with pytest.raises(ConfigError, match="NoTracker is not a tracker"):
        build_trackers({"mine": {"_target_": "my_trackers.NoTracker"}})
