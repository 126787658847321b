"""Hooks that Lightning no longer calls, or calls with other arguments: one case for each rule."""

import pytest
from tests.upgrade.python_rewriting import block, module, notes, upgraded

from polymodal.upgrade.rules import rules

CALLBACK, DATA = "pl.Callback", "pl.LightningDataModule"
MECHANICAL = [
    (
        "hook-epoch",
        CALLBACK,
        """
        def on_epoch_start(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_train_epoch_start(self, trainer, pl_module):
            print(1)

        on_validation_epoch_start = on_train_epoch_start
        on_test_epoch_start = on_train_epoch_start
        """,
    ),
    (
        "hook-epoch",
        "pl.LightningModule",
        """
        def on_train_epoch_end(self):
            print(1)

        def on_epoch_end(self):
            print(2)
        """,
        """
        def on_train_epoch_end(self):
            print(1)
            self._on_epoch_end()

        def _on_epoch_end(self):
            print(2)

        on_validation_epoch_end = _on_epoch_end
        on_test_epoch_end = _on_epoch_end
        """,
    ),
    (
        "hook-batch-start",
        CALLBACK,
        """
        def on_batch_start(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            print(1)
        """,
    ),
    (
        "hook-batch-end",
        CALLBACK,
        """
        def on_batch_end(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            print(1)
        """,
    ),
    (
        "hook-pretrain-routine",
        CALLBACK,
        """
        def on_pretrain_routine_start(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_fit_start(self, trainer, pl_module):
            print(1)
        """,
    ),
    (
        "hook-hpc",
        "pl.LightningModule",
        """
        def on_hpc_save(self, checkpoint):
            checkpoint["a"] = 1

        def on_hpc_load(self, checkpoint):
            print(checkpoint)
        """,
        """
        def on_save_checkpoint(self, checkpoint):
            checkpoint["a"] = 1

        def on_load_checkpoint(self, checkpoint):
            print(checkpoint)
        """,
    ),
    (
        "hook-keyboard-interrupt",
        CALLBACK,
        """
        def on_keyboard_interrupt(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_exception(self, trainer, pl_module, exception):
            if not isinstance(exception, KeyboardInterrupt):
                return
            print(1)
        """,
    ),
    (
        "hook-dataloader-idx",
        CALLBACK,
        """
        def on_train_batch_end(
            self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        ):
            print(batch_idx)
        """,
        """
        def on_train_batch_end(
            self, trainer, pl_module, outputs, batch, batch_idx
        ):
            print(batch_idx)
        """,
    ),
    (
        "hook-eval-dataloader-idx",
        "pl.LightningModule",
        """
        def on_validation_batch_start(self, batch, batch_idx, dataloader_idx: int):
            print(dataloader_idx)
        """,
        """
        def on_validation_batch_start(self, batch, batch_idx, dataloader_idx: int = 0):
            print(dataloader_idx)
        """,
    ),
    (
        "hook-epoch-outputs",
        CALLBACK,
        """
        def on_train_epoch_end(self, trainer, pl_module, outputs):
            print(1)
        """,
        """
        def on_train_epoch_end(self, trainer, pl_module):
            print(1)
        """,
    ),
    (
        "hook-predict-outputs",
        CALLBACK,
        """
        def on_predict_epoch_end(self, trainer, pl_module, outputs):
            print(1)
        """,
        """
        def on_predict_epoch_end(self, trainer, pl_module):
            print(1)
        """,
    ),
    (
        "hook-optimizer-idx",
        "pl.LightningModule",
        """
        def on_before_optimizer_step(self, optimizer, optimizer_idx):
            print(optimizer)

        def configure_gradient_clipping(
            self, optimizer, optimizer_idx, gradient_clip_val, gradient_clip_algorithm
        ):
            print(gradient_clip_val)

        def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
            scheduler.step()
        """,
        """
        def on_before_optimizer_step(self, optimizer):
            print(optimizer)

        def configure_gradient_clipping(
            self, optimizer, gradient_clip_val, gradient_clip_algorithm
        ):
            print(gradient_clip_val)

        def lr_scheduler_step(self, scheduler, metric):
            scheduler.step()
        """,
    ),
    (
        "hook-optimizer-step",
        "pl.LightningModule",
        """
        def optimizer_step(
            self,
            epoch,
            batch_idx,
            optimizer,
            optimizer_idx=0,
            optimizer_closure=None,
            on_tpu=False,
            using_native_amp=False,
            using_lbfgs=False,
        ):
            optimizer.step(closure=optimizer_closure)
        """,
        """
        def optimizer_step(
            self,
            epoch,
            batch_idx,
            optimizer,
            optimizer_closure=None,
        ):
            optimizer.step(closure=optimizer_closure)
        """,
    ),
    (
        "hook-backward",
        "pl.LightningModule",
        """
        def backward(self, loss, optimizer, optimizer_idx):
            loss.backward()
        """,
        """
        def backward(self, loss):
            loss.backward()
        """,
    ),
    (
        "hook-optimizer-step-idx",
        "pl.LightningModule",
        """
        def training_step(self, batch, batch_idx, optimizer_idx=None):
            return self.loss(batch)
        """,
        """
        def training_step(self, batch, batch_idx):
            return self.loss(batch)
        """,
    ),
    (
        "hook-hiddens",
        "pl.LightningModule",
        """
        def training_step(self, batch, batch_idx, hiddens):
            return self.loss(batch)
        """,
        """
        def training_step(self, batch, batch_idx):
            return self.loss(batch)
        """,
    ),
    (
        "hook-transfer",
        DATA,
        """
        def transfer_batch_to_device(self, batch, device):
            return batch
        """,
        """
        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch
        """,
    ),
    (
        "hook-checkpoint-state",
        CALLBACK,
        """
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            return {"best": self.best}

        def on_load_checkpoint(self, trainer, pl_module, callback_state):
            self.best = callback_state["best"]
        """,
        """
        def state_dict(self):
            return {"best": self.best}

        def load_state_dict(self, callback_state):
            self.best = callback_state["best"]
        """,
    ),
    (
        "hook-checkpoint-state",
        CALLBACK,
        """
        def on_save_checkpoint(self, trainer, pl_module):
            print(1)
        """,
        """
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            print(1)
        """,
    ),
    (
        "hook-finetune",
        "pl.callbacks.BaseFinetuning",
        """
        def finetune_function(self, pl_module, current_epoch, optimizer, opt_idx):
            print(1)
        """,
        """
        def finetune_function(self, pl_module, current_epoch, optimizer):
            print(1)
        """,
    ),
    (
        "hook-bar-metrics",
        "pl.callbacks.RichProgressBar",
        """
        def get_metrics(self, trainer):
            return {}
        """,
        """
        def get_metrics(self, trainer, pl_module):
            return {}
        """,
    ),
    (
        "hook-items-in-batch",
        "Trainer",
        """
        def compute_loss(self, model, inputs, outputs=False):
            return model(inputs)
        """,
        """
        def compute_loss(self, model, inputs, outputs=False, num_items_in_batch=None):
            return model(inputs)
        """,
    ),
]
TRAINER = "from transformers import Trainer\n\n\n"
LEFT = [
    ("hook-init", CALLBACK, "def on_init_end(self, trainer):\n    print(1)\n", "setup"),
    (
        "hook-backend-setup",
        CALLBACK,
        "def on_before_accelerator_backend_setup(self, trainer, pl_module):\n    print(1)\n",
        "setup",
    ),
    ("hook-post-move", "pl.LightningModule", "def on_post_move_to_device(self): ...\n", "tie"),
    ("hook-dataloader-called", DATA, "def on_train_dataloader(self): ...\n", "_dataloader"),
    ("hook-progress-bar", "pl.LightningModule", "def get_progress_bar_dict(self): ...\n", "bar"),
    ("hook-tbptt-split", "pl.LightningModule", "def tbptt_split_batch(self, b, n): ...\n", "loop"),
    ("hook-queue", "pl.LightningModule", "def add_to_queue(self, queue): ...\n", "metrics"),
    ("hook-summarize", "pl.LightningModule", "def summarize(self, mode): ...\n", "ModelSummary"),
    ("hook-grad-norm", "pl.LightningModule", "def log_grad_norm(self, d): ...\n", "grad_norm"),
    ("hook-datamodule-checkpoint", DATA, "def on_save_checkpoint(self, c): ...\n", "state_dict"),
    ("hook-argparse", DATA, "def from_argparse_args(cls, args): ...\n", "no longer calls"),
    (
        "hook-optimizer-step-idx",
        "pl.LightningModule",
        "def training_step(self, batch, batch_idx, optimizer_idx):\n    return optimizer_idx\n",
        "automatic_optimization = False",
    ),
    (
        "hook-hiddens",
        "pl.LightningModule",
        "def training_step(self, batch, batch_idx, hiddens):\n    return hiddens\n",
        "detaching",
    ),
    (
        "hook-predict-outputs",
        CALLBACK,
        "def on_predict_epoch_end(self, trainer, pl_module, outputs):\n    print(outputs)\n",
        "predict_loop.predictions",
    ),
    (
        "magic-keys",
        "pl.LightningModule",
        'def test_step(self, batch, i):\n    return {"log": {"a": 1}}\n',
        "log_dict",
    ),
    (
        "several-optimisers",
        "pl.LightningModule",
        "def configure_optimizers(self):\n    return [self.a, self.b], []\n",
        "automatic_optimization = False",
    ),
    (
        "several-optimisers",
        "pl.LightningModule",
        "def configure_optimizers(self):\n    return self.a(), self.b()\n",
        "automatic_optimization = False",
    ),
    (
        "several-optimisers",
        "pl.LightningModule",
        'def configure_optimizers(self):\n    return ({"optimizer": a, "frequency": 5},)\n',
        "automatic_optimization = False",
    ),
    ("module-truncated-bptt", "pl.LightningModule", "truncated_bptt_steps = 2\n", "loop"),
    (
        "hook-pretrain-routine",
        CALLBACK,
        "def on_fit_start(self, a, b): ...\n\n\ndef on_pretrain_routine_end(self, a, b): ...\n",
        "on_fit_start exists, too",
    ),
]


@pytest.mark.parametrize(("rule", "base", "before", "after"), MECHANICAL, ids=lambda x: x[:24])
def test_a_hook_is_rewritten(rule, base, before, after):
    more = TRAINER if base == "Trainer" else ""
    done = upgraded(module(before, base, more))
    assert done.text == module(after, base, more)
    assert {change.rule for change in done.changes} == {rule}
    assert all(change.line > 4 for change in done.changes)


@pytest.mark.parametrize(("rule", "base", "body", "word"), LEFT, ids=lambda x: x[:24])
def test_a_hook_without_a_successor_is_left_with_a_note(rule, base, body, word):
    text = module(body, base)
    done = upgraded(text)
    assert done.text == text
    assert word in notes(done)[rule]


def test_every_rule_of_a_hook_has_a_case():
    tested = {rule for rule, *_ in (*MECHANICAL, *LEFT)} | {"hook-epoch-end", "hook-step-end"}
    assert {rule.id for rule in rules("form") if rule.id.startswith("hook-")} <= tested


def test_hooks_of_today_are_left_alone():
    text = module(
        """
        def on_train_epoch_end(self):
            print(1)

        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
            print(1)

        def on_save_checkpoint(self, checkpoint):
            checkpoint["a"] = 1

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

        def on_after_batch_transfer(self, batch, loader):
            return batch

        def configure_optimizers(self):
            if self.simple:
                return {"optimizer": a, "lr_scheduler": {"scheduler": b, "frequency": 2}}
            return [a], [b]
        """
    )
    done = upgraded(text)
    assert done.text == text
    assert not done.changes


def test_methods_of_a_callback_that_keep_their_names_are_those_of_a_base_in_between():
    text = module("x = 1\n", CALLBACK) + block(
        """


        class Mine(Lit):
            def on_batch_end(self, trainer, pl_module):
                print(1)
        """
    )
    assert "def on_train_batch_end(self, trainer, pl_module, outputs, " in upgraded(text).text
