"""Encoders that are taken from finished runs: the same numbers, fold by fold, and no leak."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.config.compose import compose
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import UserError
from polymodal.experiment.experiment import Experiment
from polymodal.schemas.batch import PaddedSequence
from polymodal.training.checkpoints import read_checkpoint

SMALL = ["corpus=sample", "corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3"]
SMALL += ["tracker=none", "trainer.max_epochs=1", "trainer.accelerator=cpu", "paths.store=store"]
TWO_FOLDS = ["split=k_folds", "split.num_folds=2"]
ENCODERS = {
    "speech": ["encoder=[logmel]", "encoder.speech.width=8", "encoder.speech.num_heads=2"],
    "text": ["encoder=[characters]", "encoder.text.width=8", "encoder.text.num_heads=2"],
    "physiology": ["encoder=[signals]", "encoder.physiology.width=8"],
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Runs that were trained once, for all tests."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(polymodal, kept):
    """Train a run with one encoder, or copy it from where it is kept, and return its folder."""

    def train(modality: str, *more: str) -> Path:
        store = kept / "-".join([modality, *more])
        if not store.is_dir():
            code, _, error = polymodal("run", *SMALL, "model=unimodal", *ENCODERS[modality], *more)
            assert code == 0, error
            shutil.copytree(Path("runs") / Path("runs/last").read_text(), store)
        name = record(store)["run_id"]
        shutil.copytree(store, Path("runs") / name, dirs_exist_ok=True)
        Path("runs/last").write_text(name)
        return Path("runs") / name

    return train


def taken(run: Path | str, modality: str = "text", *more: str) -> list[str]:
    words = [*SMALL, "model=unimodal", ENCODERS[modality][0]]
    name = run.name if isinstance(run, Path) else run
    return [*words, f"encoder.{modality}.from_run={name}", *more]


def prepared(*words: str) -> Experiment:
    return Experiment.prepare(compose(list(words)).resolved())


def extracted(*words: str) -> Experiment:
    experiment = prepared(*words)
    experiment.extract(lambda name, done, total: None)
    return experiment


def refused(*words: str) -> str:
    with pytest.raises(UserError) as error:
        prepared(*words)
    return str(error.value)


def rename_speakers(run: Path, corpus: str | None = None) -> None:
    """Make the corpus of a run another one: other speakers, another fingerprint, another name."""
    body = json.loads((run / "folds.json").read_text())
    for fold in body["folds"]:
        speakers = fold["assignment"]["speaker"]
        fold["assignment"]["speaker"] = {f"x{name}": one for name, one in speakers.items()}
    (run / "folds.json").write_text(json.dumps({**body, "fingerprint": "another"}))
    about = record(run)
    about["data"]["corpus"] = corpus or about["data"]["corpus"]
    (run / "run.json").write_text(json.dumps(about))


def restore_speakers(file: Path) -> None:
    body = json.loads(file.read_text())
    for fold in body["folds"]:
        speakers = fold["assignment"]["speaker"]
        fold["assignment"]["speaker"] = {
            name.removeprefix("x"): one for name, one in speakers.items()
        }
    file.write_text(json.dumps(body))


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.mark.parametrize("modality", [*ENCODERS])
def test_stored_embeddings_are_those_of_the_trained_encoder(trained, modality):
    """With the store and without it a fusion is given the same numbers."""
    run = trained(modality)
    experiment = extracted(*taken(run, modality, f"encoder.{modality}.normalise=none"))
    assert isinstance(experiment.prototypes[modality], FrozenEncoder)
    state = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    encoder = prepared(*SMALL, "model=unimodal", *ENCODERS[modality]).prototypes[modality].eval()
    name = f"encoders.{modality}."
    encoder.load_state_dict(
        {key.removeprefix(name): one for key, one in state.items() if key.startswith(name)}
    )
    fold, checked = experiment.folds[0], 0
    stored = experiment.stored_features(modality, fold)
    source = experiment._source(experiment.prototypes[modality], cache_mb=0)
    for row in range(0, len(experiment.manifest), 7):
        utterance = experiment.manifest.utterance(row)
        raw = source(utterance)
        if raw is None:
            assert utterance.utterance_id not in stored
            continue
        values = torch.from_numpy(encoder.transform()(raw))[None]
        with torch.inference_mode():
            alone = encoder(PaddedSequence(values, torch.ones(values.shape[:2], dtype=torch.bool)))
        given = np.array(stored[utterance.utterance_id])
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, alone.values[0].numpy(), rtol=1e-4, atol=2e-5)
        checked += 1
    assert checked > 3


def test_each_fold_takes_the_weights_of_its_own_fold(trained, polymodal):
    run = trained("text", *TWO_FOLDS)
    code, _, error = polymodal("run", *taken(run, "text", *TWO_FOLDS))
    assert code == 0, error
    fusion = Path("runs") / Path("runs/last").read_text()
    about = record(fusion)["encoders"]["text"]
    assert about["run"] == run.name
    assert about["mode"] == "frozen"
    files = [run / "folds" / str(fold) / "checkpoints" / "best.ckpt" for fold in (0, 1)]
    stated = [Path(f"{file}.sha256").read_text().split()[0] for file in files]
    assert about["digests"] == stated
    assert stated[0] != stated[1]

    experiment = extracted(*taken(run, "text", *TWO_FOLDS))
    first, second = (experiment.stored_features("text", fold) for fold in experiment.folds)
    shared = next(iter(first))
    assert not np.allclose(first[shared], second[shared]), "two folds, two encoders"
    described = json.loads((fusion / "embeddings.json").read_text())["text"]
    assert described["num_folds"] == 2
    assert {*described["probe"]} == {"train", "val", "test"}


def test_embeddings_are_computed_once_for_all_seeds(trained, polymodal, monkeypatch):
    from polymodal.encoders import embeddings

    run = trained("text")
    computed = []
    original = embeddings.extract_batch
    monkeypatch.setattr(
        embeddings,
        "extract_batch",
        lambda encoder, raws, **options: (
            computed.append(len(raws)) or original(encoder, raws, **options)
        ),
    )
    assert polymodal("run", *taken(run, "text"))[0] == 0
    assert sum(computed) > 0
    computed.clear()
    assert polymodal("run", *taken(run, "text", "seed=1"))[0] == 0
    assert not computed


def test_a_warm_start_begins_with_the_weights_of_the_run_and_trains_them(trained, polymodal):
    run = trained("text")
    words = taken(run, "text", "encoder.text.mode=trainable")
    experiment = prepared(*words)
    module = experiment.build_module(experiment.folds[0])
    before = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    for name, value in module.encoders["text"].state_dict().items():
        assert torch.equal(value, before[f"encoders.text.{name}"]), name
    code, _, error = polymodal("run", *words)
    assert code == 0, error
    warm = Path("runs") / Path("runs/last").read_text()
    after = read_checkpoint(warm / "checkpoints" / "best.ckpt")["state_dict"]
    key = "encoders.text.embeddings.0.weight"
    assert not torch.equal(before[key], after[key])
    assert record(warm)["encoders"]["text"]["mode"] == "trainable"
    # What was warm-started can itself be taken, and no longer needs the run before it.
    shutil.rmtree(run)
    again = extracted(*taken(warm, "text"))
    assert again.trained["text"].section["_target_"].endswith("TextEncoder")


def test_a_run_in_another_folder_serves_as_well(trained, polymodal, tmp_path):
    run = trained("text")
    before = extracted(*taken(run))
    moved = tmp_path / "elsewhere" / "speech model"
    moved.parent.mkdir()
    shutil.move(run, moved)
    words = taken(f"'{moved}'")
    assert compose(words).resolved()["encoder"]["text"]["from_run"] == str(moved)
    after = extracted(*words)
    fold = before.folds[0]
    for name, values in before.stored_features("text", fold).items():
        assert np.array_equal(values, after.stored_features("text", fold)[name])
    code, _, error = polymodal("run", *words)
    assert code == 0, error
    assert polymodal("test", "last")[0] == 0


def test_a_run_is_recorded_by_its_full_id(trained):
    run = trained("text")
    section = compose(taken("last")).resolved()["encoder"]["text"]
    assert section["from_run"] == run.name
    assert section["pooling"] == "none", "defaults are recorded, too"
    assert "width" not in section, "options of the encoder that stood there before are dropped"


def test_a_run_that_goes_on_means_the_run_that_it_began_with(trained, polymodal):
    first = trained("text")
    words = taken("last")
    assert polymodal("run", *words)[0] == 0
    assert Path("runs/last").read_text() != first.name
    section = compose([*words, "resume=last"]).resolved()["encoder"]["text"]
    assert section["from_run"] == first.name


def test_a_file_may_name_the_run_and_what_differs(trained, workplace):
    run = trained("text")
    folder = workplace / "configs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [/experiment/sample/text]\n"
        f"encoder: {{text: {{from_run: {run.name}, pooling: mean, width: 4}}}}\n"
    )
    section = compose(["experiment=mine"]).resolved()["encoder"]["text"]
    assert section["pooling"] == "mean"
    assert section["width"] == 4, "what the user has written is not dropped in silence"
    assert "dropout" not in section


class TestLeaks:
    def test_other_folds(self, trained):
        run = trained("text", *TWO_FOLDS)
        text = refused(*taken(run, "text", *TWO_FOLDS, "split.seed=3"))
        assert "validation or test rows of fold" in text
        assert "speakers" in text

    def test_weights_of_a_holdout_in_folds(self, trained):
        text = refused(*taken(trained("text"), "text", *TWO_FOLDS))
        assert "were training rows of these weights" in text

    def test_another_number_of_folds(self, trained):
        run = trained("text", *TWO_FOLDS)
        text = refused(*taken(run, "text", "split=k_folds", "split.num_folds=3"))
        assert "has 2 folds, this experiment has 3" in text

    def test_the_corpus_under_another_fingerprint(self, trained):
        """Ids and speakers tell that it is the same corpus, even where a row was added to it."""
        run = trained("text")
        body = json.loads((run / "folds.json").read_text())
        body["fingerprint"] = "of a corpus with other rows, too"
        (run / "folds.json").write_text(json.dumps(body))
        assert prepared(*taken(run)).remarks == []
        assert "training rows of these weights" in refused(*taken(run, "text", "split.seed=3"))

    def test_inner_folds_would_be_validated_on_training_rows(self, trained):
        run = trained("text", *TWO_FOLDS)
        file = Path("nested.json")
        folds = json.loads((run / "folds.json").read_text())
        for fold in folds["folds"]:
            speakers = [s for s, p in fold["assignment"]["speaker"].items() if p == "train"]
            inner = {s: "val" if n == 0 else "train" for n, s in enumerate(speakers)}
            fold["inner"] = [{"index": 0, "assignment": {"speaker": inner}}]
        file.write_text(json.dumps(folds))
        nested = ["split=file", f"split.file={file}", "split.inner=true", "~split.val"]
        words = [one for one in taken(run) if not one.startswith("split.")]
        text = refused(*words, *nested[:-1], "selection.out_of_fold=true")
        assert "or of its inner folds" in text

    def test_weights_of_another_corpus_are_allowed_and_named(self, trained, polymodal):
        run = trained("text", "corpus.seed=5", "corpus.root=other")
        words = taken(run)
        rename_speakers(run, corpus="elsewhere")
        experiment = prepared(*words)
        assert any("another corpus: elsewhere" in one for one in experiment.remarks)

    def test_what_the_weights_had_seen_before_they_were_trained_further(self, trained, polymodal):
        """A holds out other speakers than B, which goes on from A on another corpus."""
        first = trained("text")
        other = ["corpus.seed=5", "corpus.root=other", "encoder.text.mode=trainable"]
        rename_speakers(first)  # so that B takes A's corpus for another one
        code, _, error = polymodal("run", *taken(first, "text", *other))
        assert code == 0, error
        second = Path("runs") / Path("runs/last").read_text()
        restore_speakers(second / "encoders" / "text" / "origins" / first.name / "folds.json")
        rename_speakers(second)
        assert prepared(*taken(second)).trained["text"].seen[1].run_id == first.name
        text = refused(*taken(second, "text", "split.seed=3"))
        assert f"(in {first.name})" in text


class TestBadInput:
    def test_a_run_without_the_modality(self, trained):
        text = refused(*taken(trained("text"), "speech"))
        assert "has no modality 'speech'" in text

    def test_another_name_for_the_modality(self, trained):
        run = trained("text")
        words = [*SMALL, "model=unimodal", "encoder=[]", f"encoder.words.from_run={run.name}"]
        experiment = prepared(*words, "encoder.words.modality=text")
        assert [*experiment.prototypes] == ["words"]

    @pytest.mark.parametrize("damage", ["flipped", "gone"])
    def test_a_damaged_or_missing_checkpoint(self, trained, damage, polymodal):
        run = trained("text")
        path = run / "checkpoints" / "best.ckpt"
        if damage == "gone":
            shutil.rmtree(run / "checkpoints")
        else:
            body = bytearray(path.read_bytes())
            body[len(body) // 2] ^= 1
            path.write_bytes(body)
        code, _, error = polymodal("run", *taken(run))
        assert code == 2
        assert ("SHA-256" if damage == "flipped" else "no checkpoint") in error
        assert "Traceback" not in error

    def test_other_labels_are_allowed_and_said(self, trained):
        run = trained("text")
        words = [one for one in taken(run)]
        experiment = prepared(*words, "task=regression")
        assert any("other labels" in one for one in experiment.remarks)

    def test_an_encoder_of_which_nothing_was_trained(self, polymodal, trained):
        first = trained("text")
        assert polymodal("run", *taken(first))[0] == 0
        text = refused(*taken("last"))
        assert "has not trained its encoder text" in text
        assert first.name in text

    def test_an_unfinished_run(self, trained):
        run = trained("text")
        body = record(run) | {"status": "interrupted"}
        (run / "run.json").write_text(json.dumps(body))
        assert "is interrupted" in refused(*taken(run))

    def test_a_vote_has_no_encoder(self, trained):
        run = trained("text")
        body = record(run) | {"kind": "test", "parent": "the-run"}
        (run / "run.json").write_text(json.dumps(body))
        text = refused(*taken(run))
        assert "the-run" in text

    def test_a_layer_where_there_are_none(self, trained):
        assert "has no layers" in refused(*taken(trained("text"), "text", "encoder.text.layer=2"))

    def test_no_such_run_is_said_before_anything_starts(self, polymodal, workplace):
        code, _, error = polymodal("run", *taken("nowhere"))
        assert code == 2
        assert "there is no run 'nowhere'" in error
        assert not [*Path("runs").glob("2*")]

    def test_an_option_without_effect(self, trained):
        words = taken(trained("text"), "text", "encoder.text.mode=trainable")
        assert "no effect" in refused(*words, "encoder.text.pooling=mean")

    def test_weights_that_have_changed_since_the_fusion_was_trained(self, trained, polymodal):
        run = trained("text")
        assert polymodal("run", *taken(run))[0] == 0
        fusion = Path("runs/last").read_text()
        other = trained("text", "seed=3")
        shutil.rmtree(run)
        shutil.copytree(other, run)
        code, _, error = polymodal("test", fusion)
        assert code == 2
        assert "other weights" in error


def test_check_says_what_is_wrong_with_the_weights(trained, polymodal):
    run = trained("text")
    code, out, _ = polymodal("check", *taken(run))
    assert code == 0, out
    code, out, _ = polymodal("check", *taken(run, "text", "split.seed=3"))
    assert code == 2
    assert "training rows of these weights" in out


def test_a_sweep_takes_encoders_from_runs(trained, process):
    run = trained("text")
    done = process("run", "-m", *taken(run), "seed=0,1")
    assert done.returncode == 0, done.stderr
    origins = [record(path)["encoders"] for path in Path("runs").glob("2*") if path != run]
    assert [one["text"]["run"] for one in origins] == [run.name] * 2
