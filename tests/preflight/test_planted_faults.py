"""Faults planted in the files of a project and on the command line: each is found, with its line.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import ROWS, Project

HEAD = "# @package _global_\n"
TEXT = HEAD + "defaults:\n  - override /encoder: [characters]\n  - override /model: unimodal\n"
WORDS = "words:\n  _target_: polymodal.encoders.text.TextEncoder\n"
TABLE = [
    "experiment=mine",
    "corpus=table",
    "corpus.root=data",
    "corpus.classes=[joy,anger]",
    "encoder=logmel",
    "model=unimodal",
    "encoder.speech.width=16",
]
HEADS = """
import torch
from polymodal.models.base import Model

class Narrow(Model):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8, unused: int = 1):
        super().__init__(feature_sizes, num_outputs)
        ((self.name, size),) = self.feature_sizes.items()
        self.first, self.second = torch.nn.Linear(size, width), torch.nn.Linear(width, num_outputs)
    def forward(self, modalities):
        return self.second(self.first(modalities[self.name].values.mean(dim=1)))

class Idle(Narrow):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8):
        super().__init__(feature_sizes, num_outputs, width=width)
        self.forgotten = torch.nn.Linear(2, 2)

class Infinite(Narrow):
    def forward(self, modalities):
        return super().forward(modalities) * float("nan")

class Crooked(Narrow):
    def forward(self, modalities):
        return self.first(self.first(modalities[self.name].values.mean(dim=1)))

class Raising(Narrow):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8):
        raise RuntimeError("there is no such width")

def slow(optimizer, total_steps: int, *, warmup_steps: int):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
"""
PACKAGE = {"mine/__init__.py": "", "mine/heads.py": HEADS}


def mine(text: str, *overrides: str, **options: object) -> Project:
    """A project with one experiment."""
    files = {"configs/experiment/mine.yaml": text, **options.pop("files", {})}  # ty: ignore
    return Project(files, ("experiment=mine", *overrides), **options)  # ty: ignore


PROJECTS = {
    "keys": mine(
        TEXT
        + """
optimiser:
  weight_decay: 0.1
sed: 3
stages: fit
test_subsets: maybe
trainer:
  max_epoch: 3
  gpus: 1
  checkpoint_callback: true
  resume_from_checkpoint: last.ckpt
  progress_bar_refresh_rate: 0
  terminate_on_nan: true
  gradient_clip_val: high
callbacks:
  early_stopping:
    patiense: 3
  checkpoint:
    period: 2
    every_n_val_epochs: 1
data:
  batchs: 8
  sampling: balancd
  max_utterances: many
  num_workers: two
optimizer:
  lr: "1e-3"
  weight_decay: 0,01
scheduler:
  warmup: [0.1]
model:
  num_outputs: 4
  pooling: 3
encoder:
  text:
    widht: 64
text:
  case: no
split:
  groups: speaker
  seed: 017
scores:
  kappa:
    _target_: torchmetrics.F1
  mcc:
    _traget_: torchmetrics.MatthewsCorrCoef
selection:
  scores: uar
alert:
  belwo: {val/loss: 1}
paths:
  runs: ${paths.rnus}
"""
    ),
    "yaml": mine(
        TEXT
        + """
corpus:
  _target_: polymodal.corpora.table.read_table
  root: .
  classes: [yes, no]
  label_map:
    on: joy
    1: anger
    off: anger
  where: {speaker: 12:30}
data:
  timeout_s: 2:00
  cache_mb: 0512
""",
    ),
    "targets": mine(
        TEXT
        + """
optimizer:
  _target_: torch.optim.AdamWW
loss:
  _target_: os.system
model:
  _target_: polymodal.models.unimodl.UnimodalClassifier
scheduler:
  _target_: mine.nothing.schedule
callbacks:
  early_stopping:
    _target_: pytorch_lightning.callbacks.EarlyStoping
task:
  classes: null
""",
        files=PACKAGE,
    ),
    "missing": mine(
        TEXT
        + """
model:
  _target_: mine.heads.Narrow
scheduler:
  _target_: mine.heads.slow
trainer:
  default_root_dir: ${oc.env:POLYMODAL_NOT_SET}
""",
        "corpus=table",
        files=PACKAGE,
    ),
    "package": Project(
        {"configs/experiment/mine.yaml": "trainer:\n  max_epochs: 3\n"}, ["experiment=mine"]
    ),
    "elsewhere": Project(
        {
            "configs/model/mine.yaml": "# @package head\n# a head\n_target_: mine.heads.Narrow\n",
            **PACKAGE,
        },
        ["model=mine", "encoder=characters"],
    ),
    "late header": mine("# Aim: to see what happens\n" + HEAD + "trainer:\n  max_epochs: 3\n"),
    "two lists": mine(TEXT, "encoder=[logmel,compare]"),
    "two files": Project(
        {
            "configs/encoder/first.yaml": WORDS,
            "configs/encoder/second.yaml": "# other\n" + WORDS,
            "configs/model/unimodal.yaml": "dropout: 0.9\n",
        },
        ["encoder=[first,second]", "model=unimodal"],
    ),
    "self": Project(
        {
            "configs/experiment/base.yaml": HEAD + "trainer:\n  max_epochs: 20\n",
            "configs/experiment/mine.yaml": HEAD
            + "defaults:\n  - _self_\n  - base\ntrainer:\n  max_epochs: 3\n",
        },
        ["experiment=mine"],
    ),
    "default": mine(HEAD + "defaults:\n  - override /model: unimodl\n"),
    "group": mine(HEAD + "defaults:\n  - override /modle: unimodal\n"),
    "broken": Project(
        {
            "configs/experiment/mine.yaml": HEAD + "trainer:\n\tmax_epochs: 3\n",
            "configs/experiment/conflict.yaml": HEAD
            + "trainer:\n<<<<<<< HEAD\n  max_epochs: 3\n=======\n  max_epochs: 4\n>>>>>>> other\n",
            "configs/experiment/twice.yaml": HEAD + "seed: 1\nstages: [fit]\nseed: 2\n",
            "configs/experiment/open.yaml": HEAD + "stages: [fit\nseed: 1\n",
            "configs/experiment/latin.yaml": HEAD.encode()
            + "# Gef\xfchl\nseed: 1\n".encode("latin-1"),
        },
        ["experiment=mine"],
    ),
    "overrides": Project(
        overrides=[
            "model=unimodl",
            "trainer.max_epoch=3",
            "+model.widht=3",
            "seed=one",
            "optimizer.lr=fast",
        ]
    ),
    "monitors": mine(
        TEXT
        + """
callbacks:
  early_stopping:
    monitor: val/uarr
    patience: 40
  checkpoint:
    monitor: val_MulticlassF1Score
  other:
    _target_: pytorch_lightning.callbacks.EarlyStopping
    monitor: val/loss
    mode: max
trainer:
  check_val_every_n_epoch: 50
  limit_val_batches: 0
  min_epochs: 90
alert:
  above: {val/uaar: 0.5}
"""
    ),
    "heads": mine(
        HEAD + "model:\n  num_heads: 5\nencoder:\n  text:\n    width: 30\n    num_heads: 4\n"
    ),
    "lora": mine(
        HEAD
        + """
defaults:
  - override /encoder: [hubert, klue_roberta]
encoder:
  speech:
    freeze: all
    lora: {r: 8}
  text:
    freeze: all
    layer_decay: 0.9
task:
  monitor: f1
trainer:
  accelerator: cpu
  strategy: fsdp
  precision: 17-mixed
"""
    ),
    "devices": mine(TEXT + "trainer:\n  accelerator: cpu\n  strategy: dpp\n"),
    "old strategy": mine(TEXT + "trainer:\n  strategy: dp\n"),
    "no device": mine(TEXT + "trainer:\n  accelerator: gpuu\n"),
    "training": mine(
        TEXT
        + """
trainer:
  fast_dev_run: true
  limit_train_batches: 0
  enable_checkpointing: false
  strategy: ddp
split:
  val: 0
callbacks:
  checkpoint:
    filename: epoch{epoch}
data:
  timeout_s: 60
  channels: first
selection:
  score: uar
test_subsets: true
evaluate_on: val
"""
    ),
    "no checkpoint": mine(TEXT + "callbacks:\n  checkpoint: null\n  last: null\n"),
    "stages": mine(TEXT + "stages: [test]\n"),
    "sweep": mine(
        TEXT + "selection:\n  grid:\n    optimizer.lrr: [0.1]\n    data.batch_s: [8]\n",
    ),
    "sweep values": mine(
        TEXT + "selection:\n  grid: {model.dropout: [0.1, much]}\n", "split=nested"
    ),
    "sweep lists": mine(TEXT + "selection:\n  grid:\n    optimizer.lr: 0.1\n", "split=nested"),
    "nested": mine(TEXT + "seed: 1\n", "split=nested", "balance=ogm"),
    "loss": mine(TEXT, "loss=mse", "scores=regression"),
    "refused": mine(
        TEXT
        + """
optimizer:
  lr: -0.1
scheduler:
  warmup: 2.0
model:
  pooling: maximum
encoder:
  text:
    unit: words
"""
    ),
    "modalities": mine(HEAD + "defaults:\n  - override /model: unimodal\n"),
    "constructor": mine(
        TEXT + "model:\n  _target_: mine.heads.Raising\n  pooling: null\n", files=PACKAGE
    ),
    "labels": Project(
        {
            "configs/experiment/mine.yaml": HEAD
            + "task:\n  classes: [joy, angry]\ndata:\n  batch_s: 0.5\n"
        },
        [*TABLE, "corpus.classes=null"],
        whole=True,
        rows=ROWS,
    ),
    "classes": Project(
        {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
        [*TABLE, "corpus.classes=[joy,anger,fear]"],
        whole=True,
        rows=ROWS,
    ),
    "fold": Project(
        {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
        [*TABLE, "split=leave_one_out"],
        whole=True,
        rows=[(name, speaker, "anger" if speaker == "s4" else "joy") for name, speaker, _ in ROWS],
    ),
    "speakers": Project(
        {"configs/experiment/mine.yaml": HEAD + "split:\n  speaker_dependent: false\n"},
        [*TABLE, "split=random"],
        whole=True,
        rows=ROWS,
    ),
    "column": Project(
        {"configs/experiment/mine.yaml": HEAD + "split:\n  groups: [sentence]\n"},
        TABLE,
        whole=True,
        rows=ROWS,
    ),
    "files": Project(
        {
            "configs/experiment/mine.yaml": HEAD + "corpus:\n  max_refused: 0\n",
            "data/a.wav": b"",
            "data/b.wav": b"no audio at all" * 9,
        },
        TABLE,
        whole=True,
        rows=ROWS,
    ),
    "root": Project(
        {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
        [*TABLE, "corpus.root=nowhere"],
        whole=True,
    ),
    "reading": Project(
        {"configs/experiment/mine.yaml": HEAD + "corpus:\n  columns: {text: words}\n"},
        TABLE,
        whole=True,
        rows=ROWS,
    ),
    "rates": Project(
        {
            "configs/experiment/mine.yaml": HEAD
            + "defaults:\n  - override /scheduler: mine\n"
            + "encoder:\n  speech:\n    sampling_rate_hz: 48000\n",
            "configs/scheduler/mine.yaml": "_target_: mine.heads.slow\nwarmup_steps: 4000\n",
            **PACKAGE,
        },
        [*TABLE, "split.val=0.25", "split.test=0.25"],
        whole=True,
        rows=ROWS,
    ),
    "idle": Project(
        {
            "configs/experiment/mine.yaml": TEXT,
            "configs/model/mine.yaml": "_target_: mine.heads.Idle\nwidth: 4\n",
            **PACKAGE,
        },
        ["experiment=mine", "model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"],
        whole=True,
    ),
    "infinite": Project(
        {"configs/model/mine.yaml": "_target_: mine.heads.Infinite\nwidth: 4\n", **PACKAGE},
        ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
        whole=True,
    ),
    "crooked": Project(
        {
            "configs/model/mine.yaml": "# shapes\n_target_: mine.heads.Crooked\nwidth: 4\n",
            **PACKAGE,
        },
        ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
        whole=True,
    ),
    "effects": Project(
        {
            "configs/experiment/mine.yaml": TEXT + "encoder:\n  text:\n    dropout: 0.2\n",
            "configs/model/mine.yaml": "_target_: mine.heads.Narrow\nwidth: 4\nunused: 3\n",
            **PACKAGE,
        },
        ["experiment=mine", "model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"],
        whole=True,
        effects=True,
    ),
}
MINE = "configs/experiment/mine.yaml"

# Project, rule, key, and where: the file and a piece of the line, or the override.
FAULTS = [
    # hydra-ecosystem/hydra#3203: keys that nothing takes are found late, or never.
    ("keys", "unread key", "optimiser", MINE, "optimiser:"),
    ("keys", "unread key", "sed", MINE, "sed: 3"),
    ("keys", "wrong type", "stages", MINE, "stages: fit"),
    ("keys", "wrong type", "test_subsets", MINE, "test_subsets: maybe"),
    ("keys", "unknown option", "trainer.max_epoch", MINE, "max_epoch: 3"),
    # lcn-kul/madress-2023#1, lavis-nlp/jerex#19
    ("keys", "removed option", "trainer.gpus", MINE, "gpus: 1"),
    # ray-project/ray_lightning#169
    ("keys", "removed option", "trainer.checkpoint_callback", MINE, "checkpoint_callback"),
    # clovaai/donut#231
    ("keys", "removed option", "trainer.resume_from_checkpoint", MINE, "resume_from"),
    ("keys", "removed option", "trainer.progress_bar_refresh_rate", MINE, "progress_bar"),
    ("keys", "removed option", "trainer.terminate_on_nan", MINE, "terminate_on_nan"),
    ("keys", "wrong type", "trainer.gradient_clip_val", MINE, "gradient_clip_val"),
    ("keys", "unknown option", "callbacks.early_stopping.patiense", MINE, "patiense"),
    ("keys", "removed option", "callbacks.checkpoint.period", MINE, "period: 2"),
    ("keys", "removed option", "callbacks.checkpoint.every_n_val_epochs", MINE, "every_n_val"),
    # NVIDIA-NeMo/Speech#9824, autogluon/autogluon#2978: options that nothing reads.
    ("keys", "unread key", "data.batchs", MINE, "batchs: 8"),
    ("keys", "wrong type", "data.sampling", MINE, "sampling: balancd"),
    ("keys", "wrong type", "data.max_utterances", MINE, "max_utterances: many"),
    ("keys", "wrong type", "data.num_workers", MINE, "num_workers: two"),
    # hiyouga/LlamaFactory#4014, h2oai/h2o-llmstudio#699, Noble-Lab/casanovo#64
    ("keys", "wrong type", "optimizer.lr", MINE, 'lr: "1e-3"'),
    ("keys", "wrong type", "optimizer.weight_decay", MINE, "weight_decay: 0,01"),
    ("keys", "wrong type", "scheduler.warmup", MINE, "warmup: [0.1]"),
    ("keys", "unknown option", "model.num_outputs", MINE, "num_outputs: 4"),
    ("keys", "wrong type", "model.pooling", MINE, "pooling: 3"),
    ("keys", "unknown option", "encoder.text.widht", MINE, "widht: 64"),
    # huggingface/huggingface_hub#797
    ("keys", "changed by YAML", "text.case", MINE, "case: no"),
    ("keys", "wrong type", "text.case", MINE, "case: no"),
    # ancestor.md 1: a list where a flag belongs, and the other way round.
    ("keys", "wrong type", "split.groups", MINE, "groups: speaker"),
    ("keys", "changed by YAML", "split.seed", MINE, "seed: 017"),
    ("keys", "target", "scores.kappa._target_", MINE, "torchmetrics.F1"),
    ("keys", "no target", "scores.mcc._traget_", MINE, "_traget_"),
    ("keys", "unread key", "selection.scores", MINE, "scores: uar"),
    ("keys", "unread key", "alert.belwo", MINE, "belwo"),
    ("keys", "broken interpolation", "paths.runs", MINE, "paths.rnus"),
    # faults.md 29: labels read as booleans; rbgirshick/yacs#48
    ("yaml", "changed by YAML", "corpus.classes[0]", MINE, "classes: [yes, no]"),
    ("yaml", "wrong type", "corpus.classes", MINE, "classes: [yes, no]"),
    ("yaml", "changed by YAML", "corpus.label_map.on", MINE, "on: joy"),
    ("yaml", "changed by YAML", "corpus.label_map.off", MINE, "off: anger"),
    ("yaml", "changed by YAML", "corpus.label_map.1", MINE, "1: anger"),
    ("yaml", "changed by YAML", "corpus.where.speaker", MINE, "12:30"),
    ("yaml", "changed by YAML", "data.timeout_s", MINE, "timeout_s: 2:00"),
    ("yaml", "changed by YAML", "data.cache_mb", MINE, "cache_mb: 0512"),
    ("targets", "target", "optimizer._target_", MINE, "AdamWW"),
    # faults.md 55
    ("targets", "target", "loss._target_", MINE, "os.system"),
    ("targets", "target", "model._target_", MINE, "unimodl.Unimodal"),
    ("targets", "target", "scheduler._target_", MINE, "mine.nothing"),
    ("targets", "target", "callbacks.early_stopping._target_", MINE, "EarlyStoping"),
    ("targets", "wrong type", "task.classes", MINE, "classes: null"),
    # hydra-ecosystem/hydra#2783: a missing argument
    ("missing", "missing option", "scheduler.warmup_steps", MINE, "heads.slow"),
    (
        "missing",
        "unknown option",
        "model.pooling",
        "polymodal/configs/model/unimodal.yaml",
        "pooling",
    ),
    (
        "missing",
        "missing value",
        "corpus.classes",
        "polymodal/configs/corpus/table.yaml",
        "classes",
    ),
    ("missing", "broken interpolation", "trainer.default_root_dir", MINE, "NOT_SET"),
    # hydra-ecosystem/hydra#3031, #2628
    ("package", "wrong package", "experiment", MINE, "trainer:"),
    ("elsewhere", "wrong package", "head", "configs/model/mine.yaml", "@package"),
    # hydra-ecosystem/hydra#586: the header is the first comment of a file
    ("late header", "wrong package", "experiment", MINE, "@package"),
    # ancestor.md: Hydra's packages mixing up options of configs that begin with _target_
    (
        "two lists",
        "key of two files",
        "encoder.speech",
        "polymodal/configs/encoder/compare.yaml",
        "_target_",
    ),
    ("two files", "key of two files", "encoder.words", "configs/encoder/second.yaml", "_target_"),
    ("two files", "hidden file", "model", "configs/model/unimodal.yaml", None),
    # hydra-ecosystem/hydra#1755, ashleve/lightning-hydra-template#245
    ("self", "no effect", "trainer.max_epochs", MINE, "max_epochs: 3"),
    ("default", "composition", "defaults", MINE, "unimodl"),
    ("group", "composition", "defaults", MINE, "modle"),
    ("broken", "tab", "", MINE, "\tmax_epochs"),
    ("broken", "merge conflict", "", "configs/experiment/conflict.yaml", "<<<<<<<"),
    ("broken", "key twice", "seed", "configs/experiment/twice.yaml", "seed: 2"),
    ("broken", "broken YAML", "", "configs/experiment/open.yaml", "seed: 1"),
    ("broken", "unreadable file", "", "configs/experiment/latin.yaml", "Gef"),
    # Lightning-AI/pytorch-lightning#17533: what the command line says
    ("overrides", "unusable override", "model", None, "model=unimodl"),
    ("overrides", "unusable override", "trainer.max_epoch", None, "trainer.max_epoch=3"),
    ("overrides", "unknown option", "model.widht", None, "+model.widht=3"),
    ("overrides", "wrong type", "seed", None, "seed=one"),
    ("overrides", "wrong type", "optimizer.lr", None, "optimizer.lr=fast"),
    # Lightning-AI/pytorch-lightning#524, #18259; NASA-IMPACT/Prithvi-EO-2.0#20
    ("monitors", "unknown monitor", "callbacks.early_stopping.monitor", MINE, "val/uarr"),
    # ancestor.md: val_F1Score became val_MulticlassF1Score
    ("monitors", "unknown monitor", "callbacks.checkpoint.monitor", MINE, "val_Multiclass"),
    # mila-iqia/cookiecutter-pyml#119
    ("monitors", "wrong mode", "callbacks.other.mode", MINE, "mode: max"),
    ("monitors", "no effect", "callbacks.early_stopping.patience", MINE, "patience: 40"),
    ("monitors", "never validated", "trainer.check_val_every_n_epoch", MINE, "check_val"),
    ("monitors", "never validated", "trainer.limit_val_batches", MINE, "limit_val_batches"),
    ("monitors", "no effect", "trainer.min_epochs", MINE, "min_epochs"),
    ("monitors", "unknown score", "alert.above.val/uaar", MINE, "val/uaar"),
    # amanteur/SCNet-PyTorch#2
    ("lora", "unknown monitor", "callbacks.checkpoint.monitor", MINE, "monitor: f1"),
    # facebookresearch/detr#499, thuiar/TFR-Net#6
    ("heads", "refused option", "model.num_heads", MINE, "num_heads: 5"),
    ("heads", "refused option", "encoder.text.num_heads", MINE, "num_heads: 4"),
    ("lora", "frozen and lora", "encoder.speech.freeze", MINE, "freeze: all"),
    ("lora", "no effect", "encoder.text.layer_decay", MINE, "layer_decay"),
    ("lora", "strategy", "trainer.strategy", MINE, "strategy: fsdp"),
    ("lora", "wrong type", "trainer.precision", MINE, "17-mixed"),
    ("devices", "refused option", "trainer.strategy", MINE, "strategy: dpp"),
    ("old strategy", "refused option", "trainer.strategy", MINE, "strategy: dp"),
    ("no device", "refused option", "trainer.accelerator", MINE, "gpuu"),
    ("training", "no effect", "trainer.strategy", MINE, "strategy: ddp"),
    ("training", "no checkpoint", "trainer.fast_dev_run", MINE, "fast_dev_run"),
    ("training", "no training", "trainer.limit_train_batches", MINE, "limit_train"),
    ("training", "no checkpoint", "trainer.enable_checkpointing", MINE, "enable_check"),
    ("training", "no effect", "data.timeout_s", MINE, "timeout_s"),
    ("training", "no effect", "data.channels", MINE, "channels"),
    ("training", "no effect", "selection.score", MINE, "score: uar"),
    ("training", "no effect", "test_subsets", MINE, "test_subsets"),
    ("training", "no effect", "evaluate_on", MINE, "evaluate_on: val"),
    ("no checkpoint", "no checkpoint", "callbacks", MINE, "callbacks:"),
    ("stages", "nothing trained", "stages", MINE, "stages:"),
    # ashleve/lightning-hydra-template#535: the sweep is found wrong when it runs
    ("sweep", "sweep space", "selection.grid.optimizer.lrr", MINE, "optimizer.lrr"),
    ("sweep", "sweep space", "selection.grid.data.batch_s", MINE, "data.batch_s"),
    ("sweep values", "sweep space", "selection.grid.model.dropout", MINE, "model.dropout"),
    ("sweep lists", "sweep space", "selection.grid", MINE, "grid:"),
    ("loss", "refused option", "loss", None, "loss=mse"),
    (
        "loss",
        "refused option",
        "scores.ccc",
        "polymodal/configs/scores/regression.yaml",
        "ccc:",
    ),
    ("refused", "refused option", "optimizer.lr", MINE, "lr: -0.1"),
    ("refused", "refused option", "scheduler.warmup", MINE, "warmup: 2.0"),
    ("refused", "refused option", "model.pooling", MINE, "pooling: maximum"),
    ("refused", "refused option", "encoder.text.unit", MINE, "unit: words"),
    ("modalities", "refused option", "model", "polymodal/configs/model/unimodal.yaml", "_target_"),
    ("nested", "refused option", "balance", None, "balance=ogm"),
    ("constructor", "unknown option", "model.pooling", MINE, "pooling: null"),
    ("labels", "unknown label", "task.classes", MINE, "classes: [joy, angry]"),
    ("labels", "budget", "data.batch_s", MINE, "batch_s: 0.5"),
    # faults.md 33: a class that nobody has
    ("classes", "empty class", "task.classes", None, "corpus.classes=[joy,anger,fear]"),
    ("fold", "empty class", "split", None, "split=leave_one_out"),
    # faults.md 31; speechbrain/speechbrain#1415, katerynaCh/multimodal-emotion-recognition#10
    ("speakers", "data", "split.speaker_dependent", MINE, "speaker_dependent: false"),
    ("column", "data", "split.groups", MINE, "groups: [sentence]"),
    # faults.md 19
    ("files", "data", "corpus.max_refused", MINE, "max_refused: 0"),
    ("root", "data", "corpus.root", None, "corpus.root=nowhere"),
    ("reading", "data", "corpus.columns.text", MINE, "columns: {text: words}"),
    # faults.md 23
    ("rates", "sampling rate", "encoder.speech.sampling_rate_hz", MINE, "48000"),
    (
        "rates",
        "long schedule",
        "scheduler.warmup_steps",
        "configs/scheduler/mine.yaml",
        "warmup_steps",
    ),
    # clovaai/donut#231: parameters that nothing uses
    ("idle", "no gradient", "model", None, "model=mine"),
    # faults.md 15
    ("infinite", "dry run", "model", None, "model=mine"),
    # hydra-ecosystem/hydra#3203
    ("crooked", "dry run", "model", None, "model=mine"),
    # NVIDIA-NeMo/Speech#9824: an option without effect
    ("effects", "no effect", "model.unused", "configs/model/mine.yaml", "unused: 3"),
]


@pytest.mark.parametrize(
    ("name", "rule", "key", "file", "words"),
    FAULTS,
    ids=[f"{name}-{key or rule}-{rule}" for name, rule, key, _, _ in FAULTS],
)
def test_it_is_found_with_its_line(checked, shape_checks_off, name, rule, key, file, words):
    _, report = checked(name, PROJECTS[name])
    found = [one for one in report.findings if (one.rule, one.key) == (rule, key)]
    assert found, [(one.rule, one.key, one.message) for one in report.findings]
    origin = found[0].origin
    assert origin is not None
    if file is None:
        assert origin.override == words
        return
    assert origin.file is not None
    assert origin.file.as_posix().endswith(file)
    if words is not None:
        text = origin.file.read_text(encoding="utf-8", errors="replace")
        lines = [n for n, line in enumerate(text.splitlines(), start=1) if words in line]
        assert origin.line in lines


def test_there_are_enough_of_them():
    assert len(FAULTS) >= 60
    assert len({(name, rule, key) for name, rule, key, _, _ in FAULTS}) == len(FAULTS)
    assert {name for name, *_ in FAULTS} == set(PROJECTS)
