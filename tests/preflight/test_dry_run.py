"""Models that fail on a batch of dummies.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import PACKAGE, TEXT, Planted, Project, assert_found, planted_faults

PLANTED = {
    "idle": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": TEXT,
                "configs/model/mine.yaml": "_target_: mine.heads.Idle\nwidth: 4\n",
                **PACKAGE,
            },
            ["experiment=mine", "model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # clovaai/donut#231: parameters that nothing uses
            ("no gradient", "model", None, "model=mine"),
        ],
    ),
    "infinite": Planted(
        Project(
            {"configs/model/mine.yaml": "_target_: mine.heads.Infinite\nwidth: 4\n", **PACKAGE},
            ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # faults.md 15
            ("dry run", "model", None, "model=mine"),
        ],
    ),
    "crooked": Planted(
        Project(
            {
                "configs/model/mine.yaml": "# shapes\n_target_: mine.heads.Crooked\nwidth: 4\n",
                **PACKAGE,
            },
            ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # hydra-ecosystem/hydra#3203
            ("dry run", "model", None, "model=mine"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)


ENCODERS = '''
import numpy as np
import torch
from polymodal.encoders.base import Encoder
from polymodal.schemas.batch import PaddedSequence


class Skin(Encoder):
    """Its signal is a default in Python, and no key in YAML is called so."""
    source, feature_size = "signals", 4
    def __init__(self, *, channel: str = "eda", signal: float = 1.0):
        super().__init__()
        self.channel, self.gain = channel, signal
        self.layer = torch.nn.Linear(1, 4)
    def transform(self):
        return Selected(self.channel)
    def encode(self, sequence):
        values = self.layer(self.gain * sequence.values) * sequence.valid_mask[..., None]
        return PaddedSequence(values, sequence.valid_mask)

class Selected:
    def __init__(self, name):
        self.name = name
    def __call__(self, signals):
        values = signals.get(self.name)
        return None if values is None else np.asarray(values[0], np.float32)[:, None]

class Careless(Skin):
    """Centres a signal over the padding, too."""
    def encode(self, sequence):
        centred = sequence.values - sequence.values.mean(dim=1, keepdim=True)
        return super().encode(PaddedSequence(centred, sequence.valid_mask))

class TooWide(Skin):
    def encode(self, sequence):
        output = super().encode(sequence)
        return PaddedSequence(torch.cat([output.values] * 2, dim=-1), output.valid_mask)
'''
SIGNALS = (
    "# @package _global_\ndefaults:\n  - override /encoder: [physiology]\n"
    "  - override /model: unimodal\ncorpus:\n  num_speakers: 6\n  num_utterances: 8\n"
)


def check_encoder(checked, name, options=""):
    """Check an encoder of signals from outside the package, in place of `physiology`."""
    files = {
        "configs/experiment/mine.yaml": SIGNALS,
        "configs/encoder/mine.yaml": f"signals:\n  _target_: mine.encoders.{name}\n{options}",
        "mine/__init__.py": "",
        "mine/encoders.py": ENCODERS,
    }
    project = Project(files, ["experiment=mine", "encoder=mine"], whole=True)
    return checked(f"{name}-{len(options)}", project)[1]


@pytest.mark.parametrize("options", ["", "  signal: 2\n", "  channel: temp\n  signal: 0.5\n"])
def test_signals_are_those_of_the_corpus_however_an_option_is_called(checked, options):
    report = check_encoder(checked, "Skin", options)
    assert not report.findings
    assert report.estimates["trainable"]


def test_an_encoder_that_reads_padding_is_named(checked):
    (finding,) = check_encoder(checked, "Careless").findings
    assert (finding.rule, finding.key) == ("reads padding", "encoder.signals")


def test_a_model_that_reads_padding_is_named(checked):
    files = {
        "configs/experiment/mine.yaml": TEXT,
        "configs/model/mine.yaml": "_target_: mine.heads.Narrow\nwidth: 4\n",
        **PACKAGE,
    }
    options = ["model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"]
    report = checked("narrow", Project(files, ["experiment=mine", *options], whole=True))[1]
    assert ("reads padding", "model") in {(each.rule, each.key) for each in report.findings}


def test_an_encoder_of_another_width_than_it_says_is_named(checked, shape_checks_off):
    (finding,) = check_encoder(checked, "TooWide").findings
    assert finding.key == "encoder.signals"
    assert "mine.encoders.TooWide" in finding.message
    assert "8)" in finding.message


def test_a_model_of_another_width_than_the_task_is_named(checked, shape_checks_off):
    head = "class Wide(Narrow):\n    def forward(self, modalities):\n"
    head += "        return super().forward(modalities).repeat(1, 2)\n"
    files = {
        "configs/experiment/mine.yaml": TEXT,
        "configs/model/mine.yaml": "_target_: mine.heads.Wide\nwidth: 4\n",
        **PACKAGE,
    }
    files["mine/heads.py"] += head
    options = ["model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"]
    report = checked("wide", Project(files, ["experiment=mine", *options], whole=True))[1]
    (finding,) = report.errors
    assert finding.key == "model"
    assert "mine.heads.Wide" in finding.message


@pytest.mark.parametrize("name", ["hubert", "whisper", "roberta"])
def test_pretrained_encoders_do_not_read_padding(checked, small_models, name):
    key = "text" if name == "roberta" else "speech"
    options = [f"encoder={name}", f"encoder.{key}.name={small_models / name}", "model=unimodal"]
    options += ["encoder.speech.max_length_s=8"] if name == "whisper" else []
    options += ["corpus.num_speakers=6", "corpus.num_utterances=8"]
    report = checked(f"pretrained-{name}", Project({}, options, whole=True))[1]
    assert "trainable" in report.estimates
    assert not [each for each in report.findings if each.rule == "reads padding"]
