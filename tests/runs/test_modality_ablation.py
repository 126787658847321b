"""Subsets: one model answers for each choice of its modalities, in one table."""

import polars as pl
import pytest
import torch

from polymodal.config.compose import compose
from polymodal.evaluation.score import score_table
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_trainer, predict_split
from polymodal.runs.modality_ablation import (
    modality_subsets,
    predict_subsets,
    subset_split,
    subsets_file,
)
from polymodal.schemas.predictions import PredictionTable

SMALL = ["corpus.num_speakers=3", "corpus.num_utterances=9", "data.max_utterances=4"]


@pytest.fixture
def experiment(workplace):
    options = ["experiment=sample/fusion", *SMALL, "tracker=none", "trainer.accelerator=cpu"]
    return Experiment.prepare(compose(options).resolved())


def test_subsets_come_in_one_order_and_none_is_left_out():
    found = modality_subsets(["text", "signals", "speech"])
    assert found == modality_subsets(["speech", "text", "signals"])
    assert [len(one) for one in found] == [1, 1, 1, 2, 2, 2]
    assert len({frozenset(one) for one in found}) == 6
    assert modality_subsets(["speech"]) == []
    assert subset_split("test", ["text", "speech"]) == "test@speech+text"


def test_each_subset_says_what_the_model_says_with_the_others_withheld(experiment, tmp_path):
    (fold,) = experiment.folds
    module, trainer = (
        experiment.build_module(fold),
        build_trainer(experiment, callbacks=[], logger=False),
    )
    calls = []
    for encoder in module.encoders.values():
        encoder.register_forward_hook(lambda *_: calls.append(1))
    loader = experiment.build_loader(fold, "test")
    predict_subsets(trainer, module, loader, "test", tmp_path)
    assert len(calls) <= len(loader) * 3  # each batch is encoded once
    table = PredictionTable.read(subsets_file(tmp_path, "test"))
    names = list(table.frame["split"].unique(maintain_order=True))
    assert names == [subset_split("test", subset) for subset in modality_subsets(module.encoders)]
    assert f"{names[0]}/uar" in score_table(table, experiment.scores)
    everything = set(module.encoders)
    for subset in modality_subsets(everything):
        module.withheld = frozenset(everything - set(subset))
        module.predictions = tmp_path / "withheld"
        predict_split(trainer, module, loader, "test")
        whole = PredictionTable.read(module.predictions / "test.parquet").frame
        part = table.frame.filter(pl.col("split") == subset_split("test", subset))
        same = whole.filter(pl.col("utterance_id").is_in(part["utterance_id"].to_list()))
        assert part.drop("split").equals(same.drop("split"))


def test_utterances_without_any_modality_of_a_subset_are_left_out_of_it(experiment, tmp_path):
    (fold,) = experiment.folds
    module, trainer = (
        experiment.build_module(fold),
        build_trainer(experiment, callbacks=[], logger=False),
    )
    predict_subsets(trainer, module, experiment.build_loader(fold, "train"), "train", tmp_path)
    rows = PredictionTable.read(subsets_file(tmp_path, "train")).frame
    corpus = experiment.train_rows(fold).frame
    silent = set(corpus.filter(pl.col("audio").is_null())["utterance_id"])
    assert silent
    for subset in modality_subsets(module.encoders):
        part = rows.filter(pl.col("split") == subset_split("train", subset))
        lacking = set(corpus["utterance_id"]) - set(part["utterance_id"])
        assert not lacking & silent or subset == ("speech",)
        if subset == ("speech",):
            assert lacking == silent


def test_withheld_encoders_are_not_computed(experiment):
    module = experiment.build_module(experiment.folds[0]).eval()
    module.encoders["speech"].register_forward_hook(lambda *_: pytest.fail("was computed"))
    module.withheld = frozenset(["speech"])
    batch = next(iter(experiment.build_loader(experiment.folds[0], "test")))
    with torch.no_grad():
        logits = module(batch)
        lacking = {name: one for name, one in batch.modalities.items() if name != "speech"}
        batch.modalities = lacking
        assert torch.equal(logits, module(batch))


def test_one_modality_has_no_subset_and_leaves_no_table(workplace, tmp_path):
    experiment = Experiment.prepare(
        compose(["experiment=sample/text", *SMALL, "tracker=none"]).resolved()
    )
    (fold,) = experiment.folds
    module, trainer = (
        experiment.build_module(fold),
        build_trainer(experiment, callbacks=[], logger=False),
    )
    predict_subsets(trainer, module, experiment.build_loader(fold, "test"), "test", tmp_path)
    assert not subsets_file(tmp_path, "test").exists()
