"""No command changes a finished run; training it for longer makes a run of its own."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from polymodal.schemas.run_record import RunRecord

SMALL = [
    *("experiment=sample/text", "corpus.num_speakers=6", "corpus.num_utterances=8"),
    *("split.val=0.3", "tracker=none", "scheduler=constant", "callbacks.early_stopping=null"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, polymodal_in) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    code, _, error = polymodal_in(folder, "run", *SMALL, "trainer.max_epochs=2")
    assert code == 0, error
    return folder / "runs"


@pytest.fixture
def run(finished, workplace) -> Path:
    """A finished run in the working directory, copied there."""
    shutil.copytree(finished, workplace / "runs")
    return Path("runs") / (workplace / "runs" / "last").read_text()


def last() -> Path:
    return Path("runs") / Path("runs/last").read_text()


def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def logged(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.endswith(("time", "_s"))} for line in lines]


def test_no_command_changes_a_finished_run(polymodal, run):
    before = digests(run)
    name = run.name
    for words in (
        ["run", f"resume={name}"],
        ["run", *SMALL, "trainer.max_epochs=2", f"resume={name}"],
        ["test", name, "--split", "val"],
        ["predict", name, "--out", "table.csv"],
        ["show", name],
        ["push", name, "published"],
        ["embed", name],
        ["run", "--from", name, "trainer.max_epochs=3", "resume_state=true"],
        ["report", name],
    ):
        code, _, error = polymodal(*words)
        assert code == 0, error
        after = digests(run)
        assert {path: after.get(path) for path in before} == before, words
    # The page is written beside the record, and changes nothing of it.
    added = {path.relative_to(run).parts[0] for path in {*after} - {*before}}
    assert "report.html" in added
    assert not added & {path.relative_to(run).parts[0] for path in before}
    code, _, error = polymodal("run", f"resume={name}", "stages=[fit,test,train]")
    assert code == 2
    assert "train cannot be added" in error
    assert {path: digests(run)[path] for path in before} == before


def test_epochs_that_are_added_equal_those_of_one_training(polymodal, run):
    code, _, error = polymodal(
        "run", "--from", run.name, "trainer.max_epochs=4", "resume_state=true"
    )
    assert code == 0, error
    longer = last()
    assert "warning: the schedule" not in error
    assert polymodal("run", *SMALL, "trainer.max_epochs=4")[0] == 0
    at_once = last()
    assert [line for line in logged(at_once) if line["epoch"] >= 2] == [
        line for line in logged(longer) if line["epoch"] >= 2
    ]
    assert min(line["epoch"] for line in logged(longer)) == 2
    records = [RunRecord.read(folder / "run.json") for folder in (longer, at_once)]
    assert records[0].scores == records[1].scores
    assert records[0].notes["from"] == run.name
    assert polymodal("run", "--again", longer.name)[0] == 0
    assert logged(last()) == logged(longer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_epochs=2"], "adds none"),
        (["trainer.max_epochs=3", "optimizer.lr=0.5"], "optimizer.lr: 0.001 became 0.5"),
        (["trainer.max_epochs=3", "split.seed=7"], "split.seed"),
    ],
)
def test_what_would_not_be_a_longer_training_is_refused(polymodal, run, words, message):
    code, _, error = polymodal("run", "--from", run.name, *words, "resume_state=true")
    assert code == 2
    assert message in error
    assert len(list(Path("runs").glob("*/run.json"))) == 1


def test_a_schedule_of_the_number_of_epochs_is_named(polymodal):
    assert polymodal("run", *SMALL, "scheduler=warmup_cosine", "trainer.max_epochs=1")[0] == 0
    code, _, error = polymodal("run", "--from", "last", "trainer.max_epochs=2", "resume_state=true")
    assert code == 0, error
    assert "the schedule depends on trainer.max_epochs" in error
    assert polymodal("run", "--from", "last", "trainer.max_epochs=1")[0] == 0
    assert min(line["epoch"] for line in logged(last())) == 0


def test_a_state_without_a_run_is_refused(polymodal):
    for command in ("run", "check"):
        code, out, error = polymodal(command, *SMALL, "resume_state=true")
        assert code == 2
        assert "run --from RUN" in out + error
