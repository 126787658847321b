"""Folds in the record: written, used again, compared on resuming; and what they leak."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from tests.conftest import newest_run

from polymodal.corpora.sample import CLASSES, read_sample

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "encoder.text.width=8",
    "debug=fast",
    "trainer.accelerator=cpu",
]
TRAINED = [*SMALL, "split.val=0.3", "split.seed=5", "stages=[fit,train,test]"]
NESTED = [
    *SMALL,
    "split=nested",
    "split.num_folds=2",
    "split.num_inner=2",
    "split.val=0.34",
    "selection.grid={model.hidden_sizes:[[8],[16]]}",
]


def last():
    """Return folder and record of what the last command made, of any kind."""
    folder = newest_run()
    return folder, read_record(folder)


def read_record(run):
    return json.loads((run / "run.json").read_text())


def read_assignment(run):
    return json.loads((run / "folds.json").read_text())["folds"][0]["assignment"]["speaker"]


def ids(run, split="test"):
    return set(pl.read_parquet(run / f"predictions/{split}.parquet")["utterance_id"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, polymodal_in):
    """A run for the tests that only read it, or work on a copy."""
    return train_in(tmp_path_factory.mktemp("trained"), polymodal_in, TRAINED)


@pytest.fixture(scope="module")
def nested(tmp_path_factory, polymodal_in):
    """A run that chose the size of its head for each of two folds."""
    return train_in(tmp_path_factory.mktemp("nested"), polymodal_in, NESTED)


def train_in(folder, polymodal_in, options):
    code, _, error = polymodal_in(folder, "run", *options)
    assert code == 0, error
    return folder / "runs" / (folder / "runs" / "last").read_text()


@pytest.fixture
def copied(trained, workplace):
    """A copy of the trained run that a test may change, as the last run of its folder."""
    run = workplace / "runs" / trained.name
    shutil.copytree(trained, run)
    (run.parent / "last").write_text(run.name)
    return run


def test_the_same_folds_are_used_again_from_the_file(polymodal, trained):
    code, _, error = polymodal("run", *SMALL, "split=file", f"split.file={trained}")
    assert code == 0, error
    second, _ = last()
    assert ids(second) == ids(trained)
    before = json.loads((trained / "folds.json").read_text())
    assert json.loads((second / "folds.json").read_text()) == before


def test_another_seed_of_the_split_makes_other_folds(polymodal, trained):
    assert polymodal("run", *SMALL, "split.val=0.3", "split.seed=6")[0] == 0
    assert ids(last()[0]) != ids(trained)


def test_a_stored_run_is_tested_on_the_folds_it_was_trained_with(polymodal, copied):
    body = json.loads((copied / "folds.json").read_text())
    splits = body["folds"][0]["assignment"]["speaker"]
    swapped = {"test": "val", "val": "test", "train": "train"}
    body["folds"][0]["assignment"]["speaker"] = {k: swapped[v] for k, v in splits.items()}
    (copied / "folds.json").write_text(json.dumps(body))
    assert polymodal("test", str(copied))[0] == 0
    tested = last()[0]
    validated = {speaker for speaker, split in splits.items() if split == "val"}
    assert tested != copied
    assert {name[:3] for name in ids(tested)} == validated


def test_a_run_does_not_go_on_with_other_folds(polymodal, copied):
    text = (copied / "folds.json").read_text()
    (copied / "folds.json").write_text(text.replace('"val"', '"train"'))
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    code, _, error = polymodal("run", *TRAINED, "resume=last")
    assert code in (1, 2)
    assert "started with other folds" in error


def test_what_the_splits_share_is_in_the_record(polymodal, trained):
    leaks = read_record(trained)["data"]["leaks"]
    assert leaks["speaker"]["test_share"] == 0
    assert leaks["transcript"]["folds"] in (0, 1)
    code, _, error = polymodal("run", *SMALL, "split=random")
    assert code == 0, error
    assert last()[1]["data"]["leaks"]["speaker"]["test_share"] == 1


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["split.disjoint=[label]", "split.val=0.3"], ["labels are in several splits"]),
        (["split.disjoint=[lable]", "split.val=0.3"], ["'label'"]),
        (["split=file", "split.file=nowhere"], ["nowhere", "holds no folds"]),
        (["split=nested"], ["inner folds", "set selection.out_of_fold=true"]),
        (["selection.grid={optimizer.lr:[0.1]}", "split.val=0.3"], ["split=nested"]),
        (
            ["split=nested", "selection.grid={optimizer.ir:[0.1]}"],
            ["'optimizer.ir'", "did you mean 'optimizer.lr'?"],
        ),
        (
            ["split=nested", "selection.grid={encoder.text.width:[8]}"],
            ["no option of what is trained", "optimizer.lr"],
        ),
        (["split=nested", "selection.grid={optimizer.lr:0.1}"], ["with a list of the values"]),
        (["split=nested", "selection.grid={optimizer.lr:[]}"], ["with a list of the values"]),
        (["split=nested", "selection.grid=[1]"], ["selection.grid=[1]"]),
        (["split=nested", "selection.grid={optimizer.lr.x.y:[1]}"], ["'optimizer.lr.x.y'"]),
        (["split=nested", "selection.grid={optimizer.lr:[abc]}"], ["optimizer.lr='abc'"]),
        (["split=nested", "selection.grid={optimizer._target_:[os.makedirs]}"], ["_target_"]),
        (
            ["split=nested", "selection.grid={model.dropout:[{_target_:os.makedirs,name:m}]}"],
            ["not allowed"],
        ),
        (
            ["split=nested", "selection.grid={optimizer.lr:[0.1]}", "selection.score=uarr"],
            ["selection.score=uarr", "'uar'"],
        ),
        (
            ["split=nested", "selection.grid={model.pooling:[mean,attentin]}"],
            ["attentin"],
        ),
    ],
)
def test_invalid_splits_and_grids_are_rejected_before_a_run_starts(polymodal, overrides, messages):
    extra = ["split.num_folds=2", "split.num_inner=2"] if "split=nested" in overrides else []
    code, _, error = polymodal("run", *SMALL, *overrides, *extra)
    assert code == 2
    assert "Traceback" not in error
    for message in messages:
        assert message in error
    assert not Path("runs").exists()


def test_options_are_chosen_by_the_inner_folds(polymodal):
    """With a learning rate of 1e-9, every score is that of the initial weights."""
    grid = [option for option in NESTED if not option.startswith("selection.grid")]
    rates = "selection.grid={optimizer.lr:[0.000000001,0.05]}"
    longer = ["trainer.max_epochs=8", "trainer.limit_train_batches=null"]
    code, _, error = polymodal("run", *grid, rates, *longer)
    assert code == 0, error
    run, record = last()
    for fold in ("0", "1"):
        tried = json.loads((run / "folds" / fold / "selection.json").read_text())["tried"]
        best = max(tried, key=lambda trial: trial["scores"]["val/uar"])
        assert [trial["options"]["optimizer.lr"] for trial in tried] == [1e-9, 0.05]
        assert best is tried[1], "the second is better, so it is not simply the first that is taken"
        assert record["notes"]["selected"][fold] == best["options"]
        assert not list((run / "folds" / fold / "inner").iterdir())
    assert len(ids(run)) == 48


def test_a_nested_run_is_not_trained_for_longer(polymodal, nested):
    words = ["trainer.max_epochs=9", "resume_state=true"]
    code, _, error = polymodal("run", "--from", str(nested), *words)
    assert code == 2
    assert "were chosen by inner folds, which have no state" in error


def test_a_nested_run_is_applied_with_the_options_that_were_chosen(polymodal, nested):
    scores = read_record(nested)["scores"]
    code, _, error = polymodal("test", str(nested))
    assert code == 0, error
    assert last()[1]["scores"]["test/uar"] == pytest.approx(scores["test/uar"], abs=1e-6)


def test_the_outer_folds_of_a_nested_run_are_used_without_the_inner_ones(polymodal, nested):
    code, _, error = polymodal("run", *SMALL, "split=file", f"split.file={nested}")
    assert code == 0, error
    run, record = last()
    assert ids(run) == ids(nested)
    assert "selected" not in record["notes"]


def test_applied_to_fewer_speakers_a_run_is_tested_on_its_own_test_rows(polymodal, trained):
    assignment = read_assignment(trained)
    code, _, error = polymodal("test", str(trained), "corpus.num_speakers=5")
    assert code == 0, error
    assert "not the corpus that the run was trained with: 40 of 40 rows" in error
    speakers = {name[:3] for name in ids(last()[0])}
    assert speakers
    assert all(assignment[speaker] == "test" for speaker in speakers)


def test_labels_of_test_rows_do_not_change_the_selection(polymodal, nested, tmp_path, cache):
    manifest = read_sample(str(cache / "sample"), num_speakers=6, num_utterances=8)
    held_out = [name for name, split in read_assignment(nested).items() if split == "test"]
    is_test = pl.col("speaker").is_in(held_out)
    label = pl.when(is_test).then(pl.lit("anger")).otherwise("label").alias("label")
    manifest.take(manifest.frame.with_columns(label)).write(tmp_path / "turned.parquet")
    corpus = ["corpus=manifest", "corpus.file=turned.parquet", f"corpus.classes={[*CLASSES]}"]
    excluded = ("split", "corpus.")
    options = [option for option in NESTED if not option.startswith(excluded)]
    folds = ["split=file", f"split.file={nested}", "split.inner=true"]
    code, _, error = polymodal("run", *options, *corpus, *folds)
    assert code == 0, error
    run, record = last()
    assert record["data"]["classes"] != read_record(nested)["data"]["classes"]
    first = (nested / "folds/0/selection.json").read_text()
    assert (run / "folds/0/selection.json").read_text() == first
    other = (nested / "folds/1/selection.json").read_text()
    assert (run / "folds/1/selection.json").read_text() != other, "there they are training rows"


@pytest.mark.parametrize("encoder", ["logmel", "egemaps"])
def test_audio_that_the_split_does_not_use_is_never_opened(polymodal, workplace, encoder):
    if encoder == "egemaps":
        pytest.importorskip("opensmile")
    root = workplace / "corpus"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["audio,speaker,label"]
    for number in range(12):
        soundfile.write(root / f"{number}.wav", rng.normal(0, 0.1, 8000), 16000)
        lines.append(f"{number}.wav,s{number // 2},{'ab'[number % 2]}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    assert polymodal("corpus", "table", str(root), "--out", "m.parquet")[0] == 0
    Path("folds.csv").write_text("speaker,split\ns0,train\ns1,train\ns2,val\ns3,test\n")
    for number in range(8, 12):  # speakers s4 and s5, whom the folds do not mention
        (root / f"{number}.wav").unlink()
    code, _, error = polymodal(
        "run",
        "corpus=manifest",
        "corpus.file=m.parquet",
        "corpus.classes=[a,b]",
        f"encoder={encoder}",
        "model=unimodal",
        "split=file",
        "split.file=folds.csv",
        "split.unknown=leave_out",
        "data.extract_workers=0",
        "debug=fast",
    )
    assert code == 0, error
    assert ids(last()[0]) == {"6", "7"}


def test_out_of_fold_predictions_cover_every_training_row(polymodal):
    few = ["split=nested", "split.num_folds=2", "split.num_inner=2", "split.val=0"]
    code, _, error = polymodal(
        "run", *SMALL, *few, "callbacks=last", "selection.out_of_fold=true", "stages=[fit,train]"
    )
    assert code == 0, error
    run, record = last()
    assert "selected" not in record["notes"], "there was nothing to choose"
    for fold in ("0", "1"):
        out_of_fold, in_sample = (
            pl.read_parquet(run / "folds" / fold / "predictions" / f"{split}.parquet")
            for split in ("val", "train")
        )
        assert set(out_of_fold["utterance_id"]) == set(in_sample["utterance_id"])
        assert out_of_fold["utterance_id"].is_unique().all()
        assert set(out_of_fold["fold"]) == {int(fold)}
        logits = [table.sort("utterance_id")["logit_sadness"] for table in (out_of_fold, in_sample)]
        assert not np.allclose(*logits), "of models that had not seen the rows"


def test_training_scores_are_recorded(trained):
    assert "train/uar" in read_record(trained)["scores"]


def test_a_fraction_of_the_training_rows_is_drawn_from_each_class(polymodal, trained):
    code, _, error = polymodal("run", *TRAINED, "data.train_fraction=0.5")
    assert code == 0, error
    path = "predictions/train.parquet"
    every, half = (pl.read_parquet(run / path) for run in (trained, last()[0]))
    assert set(half["utterance_id"]) < set(every["utterance_id"])
    assert set(half["label"]) == set(every["label"])
    assert len(every) / 2 <= len(half) < len(every) / 2 + 4, "rounded up in each class"


def test_no_training_rows_are_rejected(polymodal):
    code, _, error = polymodal("run", *SMALL, "data.train_fraction=0")
    assert code == 2
    assert "data.train_fraction=0" in error


def test_rows_that_all_folds_predicted_have_no_fold(polymodal, nested):
    assert polymodal("predict", str(nested))[0] == 0
    table = pl.read_parquet(last()[0] / "predictions/predict.parquet")
    assert table["fold"].null_count() == len(table) == table["utterance_id"].n_unique()
