"""A project in the style of 2021: upgraded, it trains, and says at the ends of epochs what it said.

What the old Trainer did is written down here as a plain loop, which runs the old text: its hooks
are given the outputs of all steps, as they were before Lightning 2.0.
"""

import sys
import types
from argparse import Namespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from tests.upgrade.python_rewriting import block, upgrade, upgraded
from torch.utils.data import DataLoader, TensorDataset

MODEL = block(
    '''
    """Recogniser of emotions from features of utterances."""
    import torch
    import torch.nn.functional as F
    import pytorch_lightning as pl
    from pytorch_lightning.metrics import F1
    from torchmetrics import MetricCollection


    class Recogniser(pl.LightningModule):

        def __init__(self, hparams):
            super().__init__()
            self.hparams = hparams
            self.layer = torch.nn.Linear(hparams.width, hparams.classes)
            self.scores = MetricCollection([F1(num_classes=3, average='macro')], prefix='val_')
            self.ends = 0

        def forward(self, x):
            return self.layer(x)

        def shared_step(self, batch):
            x, y = batch
            logits = self(x)
            return F.cross_entropy(logits, y), logits, y

        def training_step(self, batch, batch_idx):
            loss, logits, y = self.shared_step(batch)
            if y.sum() < 0:
                return None
            return {'loss': loss, 'correct': (logits.argmax(1) == y).sum()}

        def training_epoch_end(self, outputs):
            mean = torch.stack([o['loss'] for o in outputs]).mean()
            self.log('train_mean', mean)
            self.log('train_correct', torch.stack([o['correct'] for o in outputs]).sum().float())

        def validation_step(self, batch, batch_idx):
            loss, logits, y = self.shared_step(batch)
            self.scores(logits, y)
            return {'loss': loss, 'n': len(y)}

        def validation_epoch_end(self, outputs):
            n = sum(o['n'] for o in outputs)
            if n == 0:
                return
            self.log('val_loss', sum(o['loss'] * o['n'] for o in outputs) / n)
            self.log_dict(self.scores.compute())
            self.scores.reset()

        def test_step(self, batch, batch_idx, dataloader_idx):
            return self.shared_step(batch)[0]

        def test_step_end(self, out):
            return out * 2

        def test_epoch_end(self, outputs):
            for i, losses in enumerate(outputs):
                self.log(f'test_loss_{i}', torch.stack(losses).max())

        def on_epoch_end(self):
            self.ends += 1

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx=0,
                           optimizer_closure=None, on_tpu=False, using_native_amp=False,
                           using_lbfgs=False):
            optimizer.step(closure=optimizer_closure)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)
    '''
)
PROGRAM = block(
    """
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from model import Recogniser


    def run(hparams, train, val, tests, folder):
        model = Recogniser(hparams)
        best = ModelCheckpoint(dirpath=folder, monitor='val_F1', mode='max',
                               filename='{val_F1:.2f}')
        trainer = pl.Trainer(gpus=0, max_epochs=1, limit_train_batches=2, num_sanity_val_steps=1,
                             callbacks=[best], progress_bar_refresh_rate=0, weights_summary=None,
                             checkpoint_callback=True, logger=False, resume_from_checkpoint=None)
        trainer.fit(model, train_dataloader=train, val_dataloaders=val)
        fitted = dict(trainer.callback_metrics)
        trainer.test(model, test_dataloaders=tests, verbose=False)
        return model, best, fitted, dict(trainer.callback_metrics)
    """
)
HPARAMS = Namespace(width=5, classes=3)


def loader(seed: int, batches: int) -> DataLoader[Any]:
    """Returns a few batches of noise."""
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(8 * batches, 5, generator=drawn)
    y = torch.randint(3, (8 * batches,), generator=drawn)
    return DataLoader(TensorDataset(x, y), batch_size=8)


def module_of(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Runs a file as a module."""
    fake = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, fake)
    exec(compile(text, name, "exec"), fake.__dict__)
    return fake


class OldRecogniser:
    """Runs the old text as Lightning 1.5 did.

    Args:
        cls: The class of the old text.
        weights: Where it starts.
    """

    def __init__(self, cls: type[pl.LightningModule], weights: dict[str, torch.Tensor]) -> None:
        cls.hparams = None  # it could be assigned to
        self.model = cls(HPARAMS)
        self.model.load_state_dict(weights)
        self.logged: dict[str, torch.Tensor] = {}
        self.model.log = self.log
        self.model.log_dict = lambda values: [self.log(*item) for item in values.items()]

    def log(self, name: str, value: Any) -> None:
        """Keeps what a hook logs."""
        self.logged[name] = torch.as_tensor(value)

    def fit(self, train: DataLoader[Any], val: DataLoader[Any]) -> None:
        """Trains two steps, and validates."""
        optimiser = self.model.configure_optimizers()
        outputs = []
        for step, batch in zip(range(2), train, strict=False):
            output = self.model.training_step(batch, step)
            optimiser.zero_grad()
            output["loss"].backward()
            optimiser.step()
            outputs.append({**output, "loss": output["loss"].detach()})
        with torch.no_grad():
            val_outputs = [self.model.validation_step(batch, i) for i, batch in enumerate(val)]
            self.model.validation_epoch_end(val_outputs)
        self.model.training_epoch_end(outputs)

    def test(self, loaders: list[DataLoader[Any]]) -> None:
        """Tests on several loaders."""
        with torch.no_grad():
            outputs = [
                [
                    self.model.test_step_end(self.model.test_step(b, i, n))
                    for i, b in enumerate(loader)
                ]
                for n, loader in enumerate(loaders)
            ]
        self.model.test_epoch_end(outputs)


def old_model(monkeypatch: pytest.MonkeyPatch) -> type[pl.LightningModule]:
    """Returns the class of the old text, with the score that it imported."""
    metrics = types.ModuleType("pytorch_lightning.metrics")

    class F1:
        def __new__(cls, **options: Any) -> torchmetrics.Metric:
            metric = torchmetrics.F1Score(task="multiclass", **options)
            metric.__class__ = type("F1", (type(metric),), {})
            return metric

    metrics.F1 = F1  # ty: ignore[unresolved-attribute]
    monkeypatch.setitem(sys.modules, "pytorch_lightning.metrics", metrics)
    return module_of(MODEL, "old_model", monkeypatch).Recogniser


def test_it_trains_and_logs_what_it_logged(tmp_path, monkeypatch):
    model, program = upgrade(MODEL, PROGRAM)
    module_of(model.text, "model", monkeypatch)
    train, val, tests = loader(0, 3), loader(1, 2), [loader(2, 1), loader(3, 2)]
    torch.manual_seed(7)
    weights = {
        "layer.weight": torch.randn(3, 5),
        "layer.bias": torch.randn(3),
    }
    recogniser = sys.modules["model"].Recogniser
    started = recogniser.__init__

    def begin(self: pl.LightningModule, hparams: Namespace) -> None:
        started(self, hparams)
        self.load_state_dict(weights)

    monkeypatch.setattr(recogniser, "__init__", begin)
    run = module_of(program.text, "program", monkeypatch).run
    trained, best, fitted, tested = run(HPARAMS, train, val, tests, tmp_path)

    old = OldRecogniser(old_model(monkeypatch), weights)
    old.fit(train, val)
    renamed = {"val_F1": "val_MulticlassF1Score"}
    assert set(fitted) == {renamed.get(name, name) for name in old.logged}
    for name, value in old.logged.items():
        torch.testing.assert_close(fitted[renamed.get(name, name)], value.float())
    old.logged.clear()
    old.test(tests)
    assert set(tested) == set(old.logged) == {"test_loss_0", "test_loss_1"}
    for name, value in old.logged.items():
        torch.testing.assert_close(tested[name], value)
    assert trained.ends == 4, "one epoch of training, one of sanity, one of validation, one of test"
    assert best.best_model_path.endswith(f"val_MulticlassF1Score={best.best_model_score:.2f}.ckpt")
    assert trained.hparams.width == 5


def test_nothing_of_it_is_left_to_a_person():
    model, program = upgrade(MODEL, PROGRAM)
    left = [change for file in (model, program) for change in file.changes if change.is_undecided]
    assert not left
    assert upgraded(model.text).text == model.text


def test_what_was_not_to_be_changed_is_as_it_was():
    model, _ = upgrade(MODEL, PROGRAM)
    before, after = MODEL.splitlines(), model.text.splitlines()
    unchanged = [line for line in before if line in after]
    assert len(unchanged) > 0.7 * len(before)
    assert "            return {'loss': loss, 'n': len(y)}" not in after
