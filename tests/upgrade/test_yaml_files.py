"""YAML is changed where it has to be, and every other character stays."""

from pathlib import Path

import pytest
import yaml

from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.names import current
from polymodal.upgrade.rules import rules
from polymodal.upgrade.yaml_files import gather_yaml, rewrite_yaml


def rewritten(text: str, path: str = "configs/a.yaml", facts: ProjectFacts | None = None) -> str:
    project = facts or ProjectFacts()
    gather_yaml(text, project)
    new = rewrite_yaml(text, Path(path), project).text
    assert rewrite_yaml(new, Path(path), project).text == new
    return new


def test_comments_order_quotes_and_blanks_stay():
    old = """\
# what runs it
trainer:
    _target_:   'pytorch_lightning.Trainer'   # the class

    max_epochs: 3
    # how many GPUs
    gpus: 2   # both
    accelerator: "ddp"     # how
    limit_val_batches:   1.0

    callbacks: []
# the end
"""
    assert rewritten(old) == """\
# what runs it
trainer:
    _target_:   'pytorch_lightning.Trainer'   # the class

    max_epochs: 3
    # how many GPUs
    accelerator: gpu   # both
    devices: 2
    strategy: "ddp"     # how
    limit_val_batches:   1.0

    callbacks: []
# the end
"""  # fmt: skip


@pytest.mark.parametrize("break_", ["\n", "\r\n"])
@pytest.mark.parametrize("is_ended", [False, True])
def test_line_breaks_stay(break_, is_ended):
    end = break_ if is_ended else ""
    old = break_.join(["trainer:", "  gpus: 1", "  weights_summary: full"]) + end
    new = ["trainer:", "  accelerator: gpu", "  devices: 1", "  callbacks:"]
    new += ["    - _target_: pytorch_lightning.callbacks.ModelSummary", "      max_depth: -1"]
    assert rewritten(old) == break_.join(new) + end


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "a: 1\n---\nb: [1,2 , 3]\n",
        "gpus: 2\n",  # nobody's trainer
        "model: {gpus: 2}\n",
        "trainer:\n  name: mine\n  gpu: 3\n",
        "trainer:\n  gpus: 3\n  name: another framework's\n  rounds: 3\n",
        "_target_: torch.optim.Adam\nlr: 1e-3\n",
        "a: &x {b: 1}\nc: *x\nd: !tag e\n",
    ],
)
def test_a_file_with_nothing_old_stays_byte_for_byte(text):
    result = rewrite_yaml(text, Path("configs/a.yaml"), ProjectFacts())
    assert result.text == text
    assert result.changes == ()


def test_a_value_that_others_name_by_its_anchor_is_not_taken_away():
    old = "trainer:\n  tpu_cores: &none null\n  gpus: 1\n  max_time: *none\n"
    result = rewrite_yaml(old, Path("a.yaml"), ProjectFacts())
    assert yaml.safe_load(result.text)["trainer"]["max_time"] is None
    assert [change.rule for change in result.changes if change.is_undecided] == [
        "trainer-tpu-cores"
    ]


def test_an_alias_is_read_and_replaced_where_it_stands():
    old = "n: &n 2\ntrainer:\n  gpus: *n  # as above\n  max_epochs: 1\n"
    new = "n: &n 2\ntrainer:\n  accelerator: gpu  # as above\n  devices: 2\n  max_epochs: 1\n"
    assert rewritten(old) == new


def test_a_callback_moves_into_the_list_with_its_comments():
    old = """\
trainer:
  checkpoint_callback:  # the only one
    # keeps the best
    _target_: pytorch_lightning.callbacks.ModelCheckpoint
    # every second epoch
    period: 2
  max_epochs: 3
"""
    new = """\
trainer:
  max_epochs: 3
  callbacks:
    # keeps the best
    - _target_: pytorch_lightning.callbacks.ModelCheckpoint
      # every second epoch
      every_n_epochs: 2
"""
    assert rewritten(old) == new


def test_entries_around_a_callback_may_all_go():
    old = """\
trainer:
  resume_from_checkpoint: null
  # what is shown
  weights_summary: full
  tpu_cores: null
"""
    new = """\
trainer:
  callbacks:
    - _target_: pytorch_lightning.callbacks.ModelSummary
      max_depth: -1
  # what is shown
"""
    assert rewritten(old) == new
    assert rewritten("trainer:\n  tpu_cores: null\na: 1\n") == "trainer:\n  {}\na: 1\n"
    summary = "{_target_: pytorch_lightning.callbacks.ModelSummary, max_depth: -1}"
    in_line = rewritten("trainer: {tpu_cores: null, weights_summary: full}\n")
    assert in_line == f"trainer: {{callbacks: [{summary}]}}\n"


def test_where_code_gives_the_callbacks_none_are_written_into_the_section():
    facts = ProjectFacts(callbacks_in_code=True)
    old = "trainer:\n  max_epochs: 1\n  progress_bar_refresh_rate: 7\n"
    old += "  early_stop_callback:\n    _target_: my.Stop\n"
    result = rewrite_yaml(old, Path("a.yaml"), facts)
    assert "callbacks:" not in result.text
    assert "progress_bar_refresh_rate" not in result.text  # of no consequence, and said
    assert "_target_: my.Stop" in result.text  # of consequence, and left
    assert all(change.note for change in result.changes)


def test_scores_of_a_collection_in_yaml_are_followed():
    old = """\
scores:
  _target_: torchmetrics.MetricCollection
  prefix: val/
  metrics:
    - {_target_: torchmetrics.F1, num_classes: 5}
    - _target_: torchmetrics.MeanSquaredError
stop:
  monitor: 'val/F1'
  other: val/F1
optimized_metric: val/F1
checkpoint:
  filename: "{epoch}-{val/F1:.2f}"
"""
    content = yaml.safe_load(rewritten(old))
    assert content["stop"] == {"monitor": "val/MulticlassF1Score", "other": "val/F1"}
    assert content["optimized_metric"] == "val/MulticlassF1Score"
    assert content["checkpoint"]["filename"] == "{epoch}-{val/MulticlassF1Score:.2f}"
    assert content["scores"]["metrics"][0]["_target_"] == "torchmetrics.F1Score"


def test_the_longer_of_two_names_is_followed():
    facts = ProjectFacts(renamed_scores={"F1": "A", "val_F1": "B"})
    result = rewrite_yaml("filename: '{val_F1:.1f}-{F1}'\n", Path("a.yaml"), facts)
    assert result.text == "filename: '{B:.1f}-{A}'\n"


@pytest.mark.parametrize(
    "rule", [r for r in rules("name") if r.new and r.new != r.old], ids=lambda rule: rule.old[0]
)
def test_a_class_that_moved_is_named_anew(rule):
    for old in rule.old:
        name = old.removesuffix("*") + "Thing" if old.endswith(".*") else old
        text = f'_target_: "{name}"  # of old\n'
        expected = current(name)
        assert expected is not None
        assert expected.name != name
        assert rewritten(text) == f'_target_: "{expected.name}"  # of old\n'


def test_a_class_that_is_gone_is_left_and_said():
    result = rewrite_yaml(
        "_target_: pytorch_lightning.loggers.NeptuneLogger\n", Path("a.yaml"), ProjectFacts()
    )
    (change,) = result.changes
    assert change.is_undecided
    assert "choose another logger" in change.note


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hydra:\n  job:\n    name: a\n", "hydra:\n  job:\n    name: a\n    chdir: true\n"),
        (
            "hydra:\n  run: {dir: a}\nb: 1\n",
            "hydra:\n  run: {dir: a}\n  job:\n    chdir: true\nb: 1\n",
        ),
        ("hydra:\n  job: {chdir: false}\n", "hydra:\n  job: {chdir: false}\n"),
        ("a: 1\n", "a: 1\n"),
    ],
)
def test_the_working_directory_is_kept_where_runs_counted_on_it(old, new):
    assert rewritten(old, facts=ProjectFacts(chdir=True)) == new
    assert rewritten(old) == old


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "float", "low": 0.1, "high": 1}, "interval(0.1, 1)"),
        ({"type": "int", "low": 1, "high": 9}, "range(1, 9)"),
        ({"type": "int", "low": 1, "high": 9, "step": 2}, "range(1, 9, step=2)"),
        ({"type": "int", "low": 1, "high": 64, "log": True}, "tag(log, int(interval(1, 64)))"),
        ({"type": "categorical", "choices": ["a", "b c", None]}, "choice(a, 'b c', null)"),
        ({"type": "float", "low": 0.1, "high": 1, "step": 0.1}, None),
        ({"type": "float", "low": "${a}", "high": 1}, None),
    ],
)
def test_a_search_space_is_said_in_hydras_words(old, new):
    text = yaml.safe_dump({"sweeper": {"search_space": {"model.x": old}}})
    sweeper = yaml.safe_load(rewritten(text))["sweeper"]
    assert sweeper == ({"params": {"model.x": new}} if new else {"search_space": {"model.x": old}})


def test_words_for_a_search_space_are_what_hydra_reads():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = ["tag(log, interval(0.0001, 0.1))", "choice(32, 64, 'b c')", "range(1, 9, step=2)"]
    overrides.append("tag(log, int(interval(1, 64)))")
    parsed = OverridesParser.create().parse_overrides(
        [f"model.x={override}" for override in overrides]
    )
    assert all(override.is_sweep_override() for override in parsed)
