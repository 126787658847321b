"""What an addition costs: a project outside the package adds a class and a YAML, no edit."""

import json
from pathlib import Path

import pytest

from polymodal.tracking.run_folder import FoldDir

CODE = """
import numpy as np
import polars as pl
import torch
from pathlib import Path
from pytorch_lightning.callbacks import ModelCheckpoint

from polymodal.schemas.manifest import Manifest
from polymodal.schemas.batch import PaddedSequence
from polymodal.encoders.base import Encoder
from polymodal.models.base import Model


def read_words(root, *, classes, num_speakers=6):
    rows = [
        {"utterance_id": f"{s}-{n}", "speaker": f"s{s}", "label": classes[n % 2],
         "text": ["aaa bbb", "ccc ddd"][n % 2]}
        for s in range(num_speakers) for n in range(6)
    ]
    return Manifest(pl.DataFrame(rows), Path(root))


def count_letters(text):
    return np.array([[text.count(letter) for letter in "abcd"]], dtype=np.float32)


class LetterEncoder(Encoder):
    source, frame_rate_hz, sampling_rate_hz, feature_size = "text", None, 16000, 4

    def transform(self):
        return count_letters

    def encode(self, sequence):
        return PaddedSequence(sequence.values, sequence.valid_mask)


class Linear(Model):
    def __init__(self, feature_sizes, num_outputs, *, bias=True):
        super().__init__(feature_sizes, num_outputs)
        self.linear = torch.nn.Linear(sum(feature_sizes.values()), num_outputs, bias=bias)

    def forward(self, modalities):
        parts = [modalities[name].values.mean(dim=1) for name in self.feature_sizes]
        return self.linear(torch.cat(parts, dim=1))


class BestKeeper(ModelCheckpoint):
    def __init__(self, **options):
        super().__init__(filename="kept-{epoch}", **options)


class ErrorRate:
    higher_is_better = False

    def __call__(self, logits, targets):
        return float((logits.argmax(1) != targets).mean())


class Worst:
    higher_is_better = True

    def __init__(self, bins=1):
        pass

    def __call__(self, logits, targets):
        return float(min((logits.argmax(1) == targets)[targets == c].mean() for c in set(targets)))
"""

YAML = {
    "corpus/words.yaml": "_target_: mine.read_words\nroot: .\nclasses: [good, bad]\n",
    "encoder/letters.yaml": "letters:\n  _target_: mine.LetterEncoder\n",
    "model/linear.yaml": "_target_: mine.Linear\nbias: true\n",
    "scores/worst.yaml": "defaults: [classification]\nworst:\n  _target_: mine.Worst\n"
    "error_rate:\n  _target_: mine.ErrorRate\n",
    "callbacks/keeper.yaml": "keeper:\n  _target_: mine.BestKeeper\n"
    "  monitor: val/error_rate\n  mode: auto\n",
    "optimizer/adam.yaml": "_target_: torch.optim.Adam\nlr: 0.1\n",
    "experiment/mine/first.yaml": "# @package _global_\n"
    "defaults:\n"
    "  - override /corpus: words\n"
    "  - override /encoder: [letters]\n"
    "  - override /model: linear\n"
    "  - override /scores: worst\n"
    "  - override /optimizer: adam\n"
    "trainer:\n  max_epochs: 12\n  accelerator: cpu\n",
}


@pytest.fixture
def project(workplace):
    (workplace / "mine").mkdir()
    (workplace / "mine" / "__init__.py").write_text(CODE)
    for name, text in YAML.items():
        path = workplace / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return workplace


def test_a_project_adds_corpus_encoder_model_score_optimiser_and_experiment(project, process):
    done = process("run", "experiment=mine/first", "tracker=none")
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/run.json"))
    assert record["scores"]["test/uar"] == 1.0
    assert record["scores"]["test/worst"] == 1.0
    assert record["higher_is_better"]["worst"] is True
    assert record["higher_is_better"]["error_rate"] is False
    assert record["experiment"] == "mine/first"


def test_a_callback_that_keeps_checkpoints_is_known_by_what_it_is(project, process):
    """Its class has any name, takes `dirpath` through its base, and names its file as it likes."""
    options = ["experiment=mine/first", "callbacks=keeper", "tracker=none"]
    assert process("check", *options).returncode == 0
    done = process("run", *options)
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in Path("runs").glob("*/run.json"))
    (kept,) = (run / "checkpoints").glob("*.ckpt")
    assert kept.name.startswith("kept-epoch=")
    assert FoldDir(run).best_or_last_checkpoint == kept
    assert not list(Path().glob("*.ckpt")) + list(Path().glob("checkpoints"))


def test_what_is_not_of_the_project_is_still_refused(project, process):
    done = process("run", "experiment=mine/first", "model._target_=os.makedirs")
    assert done.returncode == 2
    assert "os.makedirs is not allowed" in done.stderr
    assert not Path("runs").exists()


def test_an_additional_modality_joins_the_fusion(project, process):
    options = ["corpus.num_speakers=6", "corpus.num_utterances=8", "debug=fast"]
    done = process("run", "encoder=[characters,signals,letters]", *options)
    assert done.returncode == 0, done.stderr
