"""Options of Lightning with which the record would say something else than what was run."""

import json

import pytest
from tests.preflight.conftest import MINE, TEXT, Planted, assert_found, mine, planted_faults

PLANTED = {
    "within epochs": Planted(
        mine(
            TEXT
            + """
callbacks:
  checkpoint:
    every_n_train_steps: 3
  none:
    _target_: pytorch_lightning.callbacks.ModelCheckpoint
    monitor: val/uar
    save_top_k: 0
trainer:
  val_check_interval: 0.4
  use_distributed_sampler: true
  limit_test_batches: 0
  model_registry: elsewhere
"""
        ),
        [
            ("misleading record", "callbacks.checkpoint.every_n_train_steps", MINE, "every_n_tr"),
            ("no best checkpoint", "callbacks.none.save_top_k", MINE, "save_top_k"),
            ("misleading record", "trainer.use_distributed_sampler", MINE, "use_distributed"),
            ("misleading record", "trainer.limit_test_batches", MINE, "limit_test"),
            ("misleading record", "trainer.model_registry", MINE, "model_registry"),
        ],
    ),
    "no monitor": Planted(
        mine(TEXT + "callbacks:\n  checkpoint:\n    monitor: null\ntrainer:\n  barebones: true\n"),
        [
            ("no best checkpoint", "callbacks.checkpoint.monitor", MINE, "monitor: null"),
            ("misleading record", "trainer.barebones", MINE, "barebones"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_planted_fault_is_found_where_it_is(checked, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)


def rules(polymodal, *words):
    report = json.loads(polymodal("check", "experiment=sample/text", *words, "--json")[1])
    return {(finding["rule"], finding["key"]) for finding in report["findings"]}


def test_validation_within_an_epoch_needs_checkpoints_there(polymodal):
    words = ["+trainer.val_check_interval=0.4", "corpus.num_speakers=6", "corpus.num_utterances=8"]
    option = "callbacks.checkpoint.save_on_train_epoch_end"
    assert ("misleading record", option) in rules(polymodal, *words)
    assert not rules(polymodal, *words, f"{option}=false")


def test_an_archive_of_epochs_beside_the_best_one_is_fine(polymodal):
    words = ["corpus.num_speakers=6", "corpus.num_utterances=8"]
    name = "callbacks.all"
    target = "pytorch_lightning.callbacks.ModelCheckpoint"
    archive = [f"+{name}._target_={target}", f"+{name}.filename=all", f"+{name}.save_top_k=-1"]
    assert not rules(polymodal, *words, *archive)
