"""What is wrong with a command is said in one message; nothing is started or left behind."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

HEAD = "audio,speaker,label\n"


def corpus(folder: Path, *rows: str) -> list[str]:
    """Writes a small table with its audio; returns the overrides that read it."""
    folder.mkdir()
    for name in "abcd":
        soundfile.write(folder / f"{name}.wav", np.zeros(1600) + 0.1, 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "noise.wav").write_bytes(b"no audio at all" * 9)
    (folder / "manifest.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return ["corpus=table", f"corpus.root={folder}", "corpus.classes=[joy,anger]", "encoder=logmel"]


GOOD = ("a.wav,s1,joy", "b.wav,s2,anger", "c.wav,s3,joy", "d.wav,s4,anger")


@pytest.mark.parametrize(
    ("rows", "overrides", "words"),
    [
        (GOOD, ["corpus.root=nowhere"], ["no folder nowhere", "corpus.root="]),
        (GOOD, ["corpus.file=none.csv"], ["no file", "none.csv", "corpus.file="]),
        (GOOD, ["model=unimodl"], ["group 'model' has no option 'unimodl'", "'unimodal'"]),
        (GOOD, ["trainer.max_epoch=3"], ["trainer.max_epoch", "'trainer.max_epochs'"]),
        (GOOD, ["+model.widht=3"], ["model.widht is unknown", "did you mean 'model.width'"]),
        (GOOD, ["trainer.max_epochs=many"], ["trainer.max_epochs='many'", "int"]),
        (GOOD, ["seed=one"], ["seed='one'", "int"]),
        (GOOD, ["stages=[fitt]"], ["stages", "fit or train or test or predict"]),
        (GOOD, ["trainer.strategy=dp"], ["dp", "trainer.strategy=ddp"]),
        (GOOD, ["trainer.precision=17-mixed"], ["trainer", "17-mixed"]),
        (GOOD, ["callbacks.early_stopping.monitor=val/uarr"], ["val/uarr", "'val/uar'"]),
        (GOOD, ["split=leave_one_out", "split.val=0"], ["validation rows", "callbacks=last"]),
        (GOOD, ["split.groups=[sentence]"], ["no column 'sentence'"]),
        (GOOD, ["split.groups=[dialogue]"], ["'dialogue' is empty in 4 of 4"]),
        (GOOD, ["corpus.where={speaker: s9}"], ["no utterance is left", "corpus.where"]),
        (GOOD, ["encoder=characters"], ["no utterance of the corpus has text"]),
        (GOOD, ["encoder=[logmel,characters]"], ["has text, which encoder.text"]),
        (GOOD, ["encoder=[logmel,characters]", "model=unimodal"], ["expected: exactly one"]),
        (GOOD, ["task.classes=[joy]"], ["two different classes"]),
        (GOOD, ["task.classes=[joy,angry]"], ["label 'anger'", "'angry'"]),
        (GOOD, ["resume=last"], ["no last run"]),
        ((), [], ["no utterance is left"]),
        ((*GOOD, "empty.wav,s1,joy"), [], ["row 5: unreadable audio", "corpus.max_refused=1"]),
        ((*GOOD, "noise.wav,s1,joy"), [], ["row 5: unreadable audio", "noise.wav"]),
        ((*GOOD, "gone.wav,s1,joy"), [], ["row 5: missing audio", "gone.wav"]),
        ((*GOOD, "a.wav,s1,joy"), [], ["row 5: duplicate row", "'a'"]),
        ((*GOOD, "../a.wav,s1,joy"), [], ["row 5:"]),
        ((*GOOD[:3], "d.wav,s4,angr"), [], ["row 4: unknown label", "'anger'"]),
        ((*GOOD[:3], "d.wav,,anger"), [], ["row 4: no speaker"]),
    ],
)
def test_it_is_named_and_nothing_is_left(polymodal, workplace, rows, overrides, words):
    code, out, error = polymodal("run", *corpus(workplace / "corpus", *rows), *overrides)
    assert code == 2
    assert out == ""
    for word in words:
        assert word in error
    assert "Traceback" not in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["rnu"], "did you mean 'run'"),
        (["test", "nothing"], "no run 'nothing'"),
        (["predict", "last"], "no last run"),
        (["vote", "a", "b"], "no run 'a'"),
        (["show", "last"], "no last run"),
        (["corpus", "emodbb", "."], "did you mean 'emodb'"),
        (["corpus", "emodb", "nowhere"], "no folder nowhere"),
    ],
)
def test_other_commands_too(polymodal, arguments, word):
    code, _, error = polymodal(*arguments)
    assert code == 2
    assert word in error
    assert "Traceback" not in error


def test_all_faults_are_listed_at_once(polymodal):
    wrong = ["trainer.max_epochs=many", "optimizer.lr=fast", "+encoder.speech.widht=3", "seed=x"]
    code, _, error = polymodal("run", *wrong)
    assert code == 2
    for word in ("trainer.max_epochs", "optimizer.lr", "encoder.speech.widht", "seed"):
        assert word in error


def test_a_run_that_dies_keeps_its_folder_with_the_traceback(polymodal, workplace):
    overrides = corpus(workplace / "corpus", *GOOD)
    wav = workplace / "corpus" / "c.wav"
    wav.write_bytes(wav.read_bytes()[:2000])  # its header still promises all samples
    options = ["split.test=0.25", "split.val=0.25", "tracker=none", "trainer.max_epochs=1"]
    for name in "abd":
        soundfile.write(workplace / "corpus" / f"{name}.wav", np.full(1600, np.nan), 16000, "FLOAT")
    code, _, error = polymodal("run", *overrides, "model=unimodal", *options)
    assert code == 1
    assert "non-finite sample" in error
    (run,) = (path for path in Path("runs").iterdir() if path.is_dir())
    assert str(run) in error
    assert '"status": "failed"' in (run / "run.json").read_text()
    assert "Traceback" in (run / "log.txt").read_text()


def test_rows_that_are_allowed_to_be_refused_are_counted(polymodal, workplace):
    overrides = corpus(workplace / "corpus", *GOOD, "empty.wav,s1,joy")
    options = ["split.test=0.25", "split.val=0.25", "tracker=none", "model=unimodal", "debug=fast"]
    code, _, error = polymodal("run", *overrides, *options, "corpus.max_refused=1")
    assert code == 0, error
    (record,) = Path("runs").glob("*/run.json")
    assert '"unreadable audio": 1' in record.read_text()
