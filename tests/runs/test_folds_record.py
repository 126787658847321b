"""Folds in the record: written, used again, compared on resuming; and what they leak."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "tracker=none",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
]


def last():
    folder = Path("runs") / Path("runs/last").read_text()
    return folder, json.loads((folder / "run.json").read_text())


def of_test(run):
    return set(pl.read_parquet(run / "predictions/test.parquet")["utterance_id"])


def test_the_same_folds_are_used_again_from_the_file(polymodal):
    assert polymodal("run", *SMALL, "split.val=0.3", "split.seed=5")[0] == 0
    first, _ = last()
    code, _, error = polymodal("run", *SMALL, "split=file", f"split.file={first}")
    assert code == 0, error
    second, _ = last()
    assert of_test(second) == of_test(first)
    before = json.loads((first / "folds.json").read_text())
    assert json.loads((second / "folds.json").read_text()) == before
    other = polymodal("run", *SMALL, "split.val=0.3", "split.seed=6")
    assert other[0] == 0
    assert of_test(last()[0]) != of_test(first)


def test_a_stored_run_is_tested_on_the_folds_it_was_trained_with(polymodal):
    assert polymodal("run", *SMALL, "split.val=0.3")[0] == 0
    run, _ = last()
    body = json.loads((run / "folds.json").read_text())
    parts = body["folds"][0]["assignment"]["speaker"]
    swapped = {"test": "val", "val": "test", "train": "train"}
    body["folds"][0]["assignment"]["speaker"] = {k: swapped[v] for k, v in parts.items()}
    (run / "folds.json").write_text(json.dumps(body))
    assert polymodal("test", str(run))[0] == 0
    validated = set(pl.read_parquet(run / "predictions/val.parquet")["utterance_id"])
    assert of_test(last()[0]) == validated


def test_a_run_does_not_go_on_with_other_folds(polymodal):
    assert polymodal("run", *SMALL, "split.val=0.3")[0] == 0
    run, _ = last()
    text = (run / "folds.json").read_text()
    (run / "folds.json").write_text(text.replace('"val"', '"train"'))
    code, _, error = polymodal("run", *SMALL, "split.val=0.3", "resume=last")
    assert code in (1, 2)
    assert "started with other folds" in error


def test_what_the_parts_share_is_in_the_record(polymodal):
    assert polymodal("run", *SMALL, "split.val=0.3")[0] == 0
    leaks = last()[1]["data"]["leaks"]
    assert leaks["speaker"] == {"folds": 0, "values": 0, "test_share": 0}
    assert leaks["transcript"]["folds"] in (0, 1)
    code, _, error = polymodal("run", *SMALL, "split=random")
    assert code == 0, error
    assert last()[1]["data"]["leaks"]["speaker"]["test_share"] == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
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
def test_promises_that_do_not_hold_are_refused(polymodal, overrides, words):
    extra = ["split.num_folds=2", "split.num_inner=2"] if "split=nested" in overrides else []
    code, _, error = polymodal("run", *SMALL, *overrides, *extra)
    assert code == 2
    assert "Traceback" not in error
    for word in words:
        assert word in error
    assert not Path("runs").exists()


NESTED = [
    *SMALL,
    "split=nested",
    "split.num_folds=2",
    "split.num_inner=2",
    "split.val=0.34",
    "selection.grid={optimizer.lr:[0.01,0.00001]}",
    "trainer.max_epochs=2",
]


def test_options_are_chosen_by_the_inner_folds(polymodal):
    code, _, error = polymodal("run", *NESTED)
    assert code == 0, error
    run, record = last()
    for fold in ("0", "1"):
        tried = json.loads((run / "folds" / fold / "selection.json").read_text())["tried"]
        best = max(tried, key=lambda one: one["scores"]["val/uar"])
        assert [one["options"]["optimizer.lr"] for one in tried] == [0.01, 0.00001]
        assert record["notes"]["selected"][fold] == best["options"]
        assert not list((run / "folds" / fold / "inner").iterdir())
    assert len(of_test(run)) == 48


def test_a_nested_run_is_applied_with_the_options_that_were_chosen(polymodal):
    grid = [one for one in NESTED if not one.startswith("selection")]
    grid.append("selection.grid={model.hidden_sizes:[[8],[16]]}")
    assert polymodal("run", *grid)[0] == 0
    run, record = last()
    code, _, error = polymodal("test", str(run))
    assert code == 0, error
    assert last()[1]["scores"]["test/uar"] == pytest.approx(record["scores"]["test/uar"], abs=1e-6)
    options = [one for one in SMALL if not one.startswith("split")]
    code, _, error = polymodal("run", *options, "split=file", f"split.file={run}")
    assert code == 0, error  # the outer folds alone
    assert of_test(last()[0]) == of_test(run)


def test_applied_to_a_part_of_its_corpus_a_run_is_tested_on_its_own_test_rows(polymodal):
    large = [*SMALL, "corpus.num_speakers=12", "split.val=0.2"]
    assert polymodal("run", *large)[0] == 0
    run, _ = last()
    learnt = json.loads((run / "folds.json").read_text())["folds"][0]["assignment"]["speaker"]
    code, _, error = polymodal("test", str(run), "corpus.num_speakers=10")
    assert code == 0, error
    assert "not the corpus that the run was trained with: 80 of 80 rows" in error
    speakers = {name[:3] for name in of_test(last()[0])}
    assert all(learnt[speaker] == "test" for speaker in speakers)


def test_labels_of_the_test_part_have_no_say(polymodal, monkeypatch):
    from polymodal.corpora import sample

    assert polymodal("run", *NESTED)[0] == 0
    run, _ = last()
    held = json.loads((run / "folds.json").read_text())["folds"][0]["assignment"]["speaker"]
    real = sample.read_sample

    def turned(root, **options):
        manifest = real(root, **options)
        out = pl.col("speaker").is_in([one for one, part in held.items() if part == "test"])
        label = pl.when(out).then(pl.lit("anger")).otherwise("label").alias("label")
        return manifest.take(manifest.frame.with_columns(label))

    turned.__module__, turned.__qualname__ = real.__module__, real.__qualname__
    turned.__wrapped__ = real
    monkeypatch.setattr(sample, "read_sample", turned)
    file = f"split.file={run}"
    options = [one for one in NESTED if not one.startswith("split")]
    code, _, error = polymodal("run", *options, "split=file", file, "split.inner=true")
    assert code == 0, error
    before = json.loads((run / "run.json").read_text())["data"]["classes"]
    assert last()[1]["data"]["classes"] != before  # the labels were really turned
    first = (run / "folds/0/selection.json").read_text()
    assert (last()[0] / "folds/0/selection.json").read_text() == first


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
        "tracker=none",
    )
    assert code == 0, error
    assert of_test(last()[0]) == {"6", "7"}


def test_inner_folds_say_of_every_training_row_what_a_vote_is_fitted_on(polymodal):
    few = ["split=nested", "split.num_folds=2", "split.num_inner=2", "split.val=0"]
    code, _, error = polymodal(
        "run", *SMALL, *few, "callbacks=last", "selection.out_of_fold=true", "stages=[fit,train]"
    )
    assert code == 0, error
    run, record = last()
    assert "selected" not in record["notes"], "there was nothing to choose"
    for fold in ("0", "1"):
        told, learnt = (
            pl.read_parquet(run / "folds" / fold / "predictions" / f"{part}.parquet")
            for part in ("val", "train")
        )
        assert set(told["utterance_id"]) == set(learnt["utterance_id"]), "each training row"
        assert told["utterance_id"].is_unique().all()
        assert set(told["fold"]) == {int(fold)}
        joined = told.sort("utterance_id")["logit_sadness"], learnt.sort("utterance_id")
        assert not np.allclose(joined[0], joined[1]["logit_sadness"]), "of models that had not seen"


def test_less_of_the_training_rows_of_each_class_and_the_scores_on_them(polymodal):
    counts = {}
    for share in (1.0, 0.5):
        options = ["split.val=0.3", "stages=[fit,train,test]", f"data.train_fraction={share}"]
        assert polymodal("run", *SMALL, *options)[0] == 0
        run, record = last()
        assert "train/uar" in record["scores"]
        counts[share] = pl.read_parquet(run / "predictions/train.parquet")
    whole, half = counts[1.0], counts[0.5]
    assert set(half["utterance_id"]) < set(whole["utterance_id"])
    assert set(half["label"]) == set(whole["label"])
    assert len(whole) / 2 <= len(half) < len(whole) / 2 + 4, "rounded up in each class"
    code, _, error = polymodal("run", *SMALL, "data.train_fraction=0")
    assert code == 2
    assert "data.train_fraction=0" in error
