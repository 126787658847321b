"""Names that have moved are followed through imports and aliases; a user's own names are not."""

import pytest
from tests.upgrade.python_rewriting import notes, upgrade, upgraded

from polymodal.upgrade import names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "from pytorch_lightning.metrics import F1, Accuracy\n",
            "from torchmetrics import F1Score, Accuracy\n",
        ),
        ("from pytorch_lightning import metrics\n", "import torchmetrics as metrics\n"),
        (
            "from pytorch_lightning import Trainer, metrics\n",
            "from pytorch_lightning import Trainer\nimport torchmetrics as metrics\n",
        ),
        (
            "from pytorch_lightning.callbacks import (\n    GPUStatsMonitor,  # a\n    A,\n)\n",
            "from pytorch_lightning.callbacks import (\n    DeviceStatsMonitor,  # a\n    A,\n)\n",
        ),
        (
            "from pytorch_lightning.callbacks import XLAStatsMonitor as Stats\n\nStats()\n",
            "from pytorch_lightning.callbacks import DeviceStatsMonitor as Stats\n\nStats()\n",
        ),
        (
            "from pytorch_lightning.callbacks.base import Callback\n",
            "from pytorch_lightning.callbacks import Callback\n",
        ),
        (
            "from pytorch_lightning.utilities.distributed import rank_zero_only\n",
            "from pytorch_lightning.utilities.rank_zero import rank_zero_only\n",
        ),
        (
            "from pytorch_lightning.utilities.cli import LightningCLI\n",
            "from pytorch_lightning.cli import LightningCLI\n",
        ),
        (
            "from pytorch_lightning.loggers.base import LightningLoggerBase\n\n\n"
            "class Mine(LightningLoggerBase):\n    pass\n",
            "from pytorch_lightning.loggers import Logger\n\n\nclass Mine(Logger):\n    pass\n",
        ),
        (
            "from pytorch_lightning.plugins import DDPPlugin\n\nx = DDPPlugin()\n",
            "from pytorch_lightning.strategies import DDPStrategy\n\nx = DDPStrategy()\n",
        ),
        (
            "from pytorch_lightning.utilities.seed import isolate_rng, seed_everything\n",
            "from pytorch_lightning.utilities.seed import isolate_rng\n"
            "from pytorch_lightning import seed_everything\n",
        ),
        (
            "import pytorch_lightning.profiler as prof\n\nprof.SimpleProfiler()\n",
            "import pytorch_lightning.profilers as prof\n\nprof.SimpleProfiler()\n",
        ),
        (
            "import pytorch_lightning as pl\n\np = pl.profiler.AdvancedProfiler()\n",
            "import pytorch_lightning as pl\n\np = pl.profilers.AdvancedProfiler()\n",
        ),
        (
            "import pytorch_lightning as pl\n\nx = pl.metrics.functional.psnr(a, b)\n",
            "import pytorch_lightning as pl\nimport torchmetrics\n\n"
            "x = torchmetrics.functional.peak_signal_noise_ratio(a, b)\n",
        ),
        (
            "import torchmetrics as tm\n\nx = tm.AverageMeter()\ny = tm.functional.wer(a, b)\n",
            "import torchmetrics as tm\n\nx = tm.MeanMetric()\n"
            "y = tm.functional.word_error_rate(a, b)\n",
        ),
        (
            "from hydra.experimental import compose, initialize_config_dir\n",
            "from hydra import compose, initialize_config_dir\n",
        ),
        (
            'from omegaconf import OmegaConf\n\nOmegaConf.register_resolver("x", int)\n',
            'from omegaconf import OmegaConf\n\nOmegaConf.legacy_register_resolver("x", int)\n',
        ),
        (
            "from transformers.modeling_bert import BertModel\n",
            "from transformers.models.bert.modeling_bert import BertModel\n",
        ),
        (
            "from pytorch_lightning.utilities.types import EPOCH_OUTPUT, STEP_OUTPUT\n\n\n"
            "def mean(outputs: EPOCH_OUTPUT) -> STEP_OUTPUT:\n    return outputs\n",
            "from pytorch_lightning.utilities.types import STEP_OUTPUT\n\n\n"
            "def mean(outputs: list) -> STEP_OUTPUT:\n    return outputs\n",
        ),
        (
            "from pytorch_lightning.callbacks.progress import ProgressBar\n\n\n"
            "class Bar(ProgressBar):\n    def init_train_tqdm(self):\n        pass\n",
            "from pytorch_lightning.callbacks import TQDMProgressBar\n\n\n"
            "class Bar(TQDMProgressBar):\n    def init_train_tqdm(self):\n        pass\n",
        ),
    ],
)
def test_imports_and_references_follow(before, after):
    assert upgraded(before).text == after


def test_both_branches_of_a_try_are_followed():
    before = (
        "try:\n    from torchmetrics import F1Score\nexcept ImportError:\n"
        "    from torchmetrics import F1 as F1Score\n"
    )
    assert upgraded(before).text == before.replace("F1 as F1Score", "F1Score")


@pytest.mark.parametrize(
    "text",
    [
        "class Trainer:\n    def __init__(self, gpus=1):\n        pass\n\n\nTrainer(gpus=2)\n",
        "from mine import Trainer, F1\n\nTrainer(gpus=2)\nF1(num_classes=3)\n",
        "from pytorch_lightning.callbacks import ProgressBar\n\n\nclass B(ProgressBar): ...\n",
        "import pytorch_lightning as pl\n\npl.Trainer(max_epochs=3)\n",
        "def metrics(pl):\n    return pl.metrics.F1()\n",
        "import torch  # no newline at the end",
    ],
)
def test_what_is_new_or_the_users_own_stays(text):
    done = upgraded(text)
    assert done.text == text
    assert not done.changes


def test_what_is_gone_is_said_where_it_is_imported():
    text = "import os\nfrom pytorch_lightning import Trainer, LightningLite\n\nLightningLite()\n"
    done = upgraded(text)
    assert done.text == text
    (change,) = done.changes
    assert change.line == 2
    assert "lightning_fabric.Fabric" in change.note


def test_argparse_of_the_trainer_is_left_to_a_person():
    text = (
        "from pytorch_lightning import Trainer\n\nTrainer.add_argparse_args(parser)\n"
        "Trainer.from_argparse_args(args)\n"
    )
    done = upgraded(text)
    assert done.text == text
    assert [change.line for change in done.changes] == [3, 4]
    assert "LightningCLI" in done.changes[0].note


def test_the_package_that_is_installed_is_the_one_that_is_written(monkeypatch):
    monkeypatch.setattr(names, "importable", lambda name: name == "pytorch_lightning")
    mixed = (
        "import lightning as L\nimport lightning.pytorch as pl\n"
        "from lightning.pytorch.callbacks import Timer\n\n"
        "L.Trainer()\nL.pytorch.callbacks.Callback()\npl.LightningModule()\n"
    )
    assert upgraded(mixed).text == (
        "import pytorch_lightning as L\nimport pytorch_lightning as pl\n"
        "from pytorch_lightning.callbacks import Timer\n\n"
        "L.Trainer()\nL.callbacks.Callback()\npl.LightningModule()\n"
    )


def test_a_tree_of_one_package_that_is_installed_keeps_it(monkeypatch):
    monkeypatch.setattr(names, "importable", lambda name: True)
    unified = "from lightning.pytorch import Trainer\n"
    separate = "from pytorch_lightning import LightningModule\n"
    assert upgraded(unified).text == unified
    first, second = upgrade(unified, separate)
    assert first.text == "from pytorch_lightning import Trainer\n"
    assert second.text == separate
    moved = "from lightning.pytorch.utilities.distributed import rank_zero_only\n"
    assert (
        upgraded(moved).text == "from lightning.pytorch.utilities.rank_zero import rank_zero_only\n"
    )


def test_a_star_of_a_known_library_is_rewritten_and_named():
    done = upgraded("from pytorch_lightning.metrics import *\n")
    assert done.text == "from torchmetrics import *\n"
    assert "not followed" in done.changes[0].note
    assert notes(done) == {}
