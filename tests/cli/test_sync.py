"""`polymodal sync`: trackers get what they lack, once."""

import json
from pathlib import Path

import pytest

from polymodal.config.compose import compose
from polymodal.runs.recorder import recording

MINE = """
import json
from pathlib import Path


class Server:
    remote = True

    def __init__(self, file: str = "server.jsonl"):
        self.file = Path(file)

    def start(self, start):
        self.ask()

    def ask(self):
        if Path("down").exists():
            raise ConnectionError("nobody listens")

    def log(self, scores, step):
        self.say(["log", step])

    def finish(self, status, scores):
        self.say([status])

    def say(self, words):
        self.ask()
        with self.file.open("a") as file:
            file.write(json.dumps(words) + "\\n")
"""


@pytest.fixture
def runs(workplace, monkeypatch):
    """Two runs of a project whose server was down: one of four lines, one of two."""
    (workplace / "my_server.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(workplace))
    (workplace / "configs" / "tracker").mkdir(parents=True)
    (workplace / "configs" / "tracker" / "server.yaml").write_text(
        "server:\n  _target_: my_server.Server\n  file: server.jsonl\n"
    )
    (workplace / "down").touch()
    composed = compose(["tracker=server", "experiment=sample/text"])
    for steps in (4, 2):
        with (
            pytest.warns(UserWarning, match="Server failed.*polymodal sync"),
            recording(composed, composed.resolved()) as session,
        ):
            [session.writer.log({"val/uar": 0.5}, step) for step in range(steps)]
    return workplace


def said(file: str = "server.jsonl") -> list:
    path = Path(file)
    return (
        [json.loads(line)[0:2] for line in path.read_text().splitlines()] if path.exists() else []
    )


def test_what_is_missing_is_delivered_once(polymodal, runs):
    code, _, error = polymodal("sync")
    assert code == 1
    assert "server · lacks 2 lines of it (ConnectionError: nobody listens)" in error
    assert said() == []
    Path("down").unlink()
    code, out, error = polymodal("sync", "last")
    assert (code, error) == (0, "")
    assert "server · got 2 lines, has 2 now" in out
    assert said() == [["log", 0], ["log", 1], ["finished"]]
    code, out, _ = polymodal("sync", "--all", "--json")
    told = json.loads(out)
    assert code == 0
    assert [one["delivered"] for one in told] == [4, 0]
    assert len(said()) == 3 + 5
    assert "has all 2 lines" in polymodal("sync")[1]
    assert len(said()) == 3 + 5


def test_another_tracker_and_its_options_can_be_named(polymodal, runs):
    words = ("--to", "tensorboard", "tracker.tensorboard.folder=events")
    pytest.importorskip("tensorboard")
    assert polymodal("sync", "--all", *words)[0] == 0
    assert len(list(Path("events").rglob("events.out.*"))) == 2
    assert polymodal("sync", "--all", *words)[0] == 0
    assert len(list(Path("events").rglob("events.out.*"))) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nosuchrun"], "there is no run 'nosuchrun'"),
        (["--all", "last"], "--all selects every run"),
        (["optimizer.lr=1"], "sync takes no option 'optimizer.lr=1'"),
        (["--to", "wandbb"], "group 'tracker' has no option 'wandbb'"),
        (["--to", "mlflow", "tracker.mlflow.url=x"], "no option 'tracker.mlflow.url'"),
        (
            ["tracker.server.file=1", "tracker.server._target_=os.system"],
            "os.system is not allowed",
        ),
    ],
)
def test_mistakes_are_named_and_nothing_is_sent(polymodal, runs, words, expected):
    Path("down").unlink()
    code, _, error = polymodal("sync", *words)
    assert (code, expected in error) == (2, True), error
    assert "Traceback" not in error
    assert said() == []


def test_a_run_that_was_killed_or_goes_on(polymodal, runs):
    Path("down").unlink()
    path = Path("runs") / Path("runs/last").read_text() / "run.json"
    record = json.loads(path.read_text())
    host = {**record["host"], "pid": 4_000_000, "process_started": "long ago"}
    path.write_text(json.dumps({**record, "status": "running", "host": host}))
    assert polymodal("sync")[0] == 0
    assert said()[-1] == ["killed"]
    path.write_text(json.dumps({**record, "status": "running"}))
    code, _, error = polymodal("sync")
    assert code == 1
    assert "in progress" in error
