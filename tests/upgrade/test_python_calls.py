"""Calls: constructors, methods and attributes of a Trainer, what `self` is asked for."""

import inspect

import pytest
import pytorch_lightning as pl
from tests.upgrade.python_rewriting import LIT, block, module, notes, upgraded

from polymodal.upgrade.rules import rules

ATTRIBUTES = [
    rule
    for rule in rules("form")
    if set(rule.classes) & {"trainer", "module"} and not rule.id.startswith("hook-")
]


def body(text: str) -> str:
    """Returns the upgraded text after the import of Lightning."""
    return upgraded(LIT + block(text)).text.removeprefix(LIT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pl.Trainer(gpus=2)\n", 'pl.Trainer(accelerator="gpu", devices=2)\n'),
        (
            'pl.Trainer(gpus=2, accelerator="ddp", max_epochs=3)\n',
            'pl.Trainer(accelerator="gpu", devices=2, strategy="ddp", max_epochs=3)\n',
        ),
        (
            "pl.Trainer(\n    gpus=1,  # a\n    checkpoint_callback=False,\n    min_epochs=9,\n)\n",
            'pl.Trainer(\n    accelerator="gpu",\n    devices=1,  # a\n'
            "    enable_checkpointing=False,\n    min_epochs=9,\n)\n",
        ),
        ("pl.Trainer(weights_summary=None)\n", "pl.Trainer(enable_model_summary=False)\n"),
        ("pl.Trainer(terminate_on_nan=False)\n", "pl.Trainer()\n"),
        (
            "pl.Trainer(progress_bar_refresh_rate=5, callbacks=[one], weights_summary='top')\n",
            "pl.Trainer(\n    callbacks=[one, pl.callbacks.TQDMProgressBar(refresh_rate=5)],\n"
            "    enable_model_summary=True,\n)\n",
        ),
        (
            "t = pl.Trainer(resume_from_checkpoint=args.ckpt)\nt.fit(model)\n",
            "t = pl.Trainer()\nt.fit(model, ckpt_path=args.ckpt)\n",
        ),
        (
            'pl.callbacks.ModelCheckpoint(filepath="out/best", period=2)\n',
            'pl.callbacks.ModelCheckpoint(dirpath="out", filename="best", every_n_epochs=2)\n',
        ),
        (
            "trainer = pl.Trainer()\ntrainer.fit(m, train_dataloader=a, val_dataloaders=b)\n",
            "trainer = pl.Trainer()\ntrainer.fit(m, train_dataloaders=a, val_dataloaders=b)\n",
        ),
        (
            "trainer = pl.Trainer()\ntrainer.test(m, test_dataloaders=a)\n",
            "trainer = pl.Trainer()\ntrainer.test(m, dataloaders=a)\n",
        ),
        (
            "t = pl.Trainer()\nprint(t.num_gpus, t.running_sanity_check, t.get_model())\n",
            "t = pl.Trainer()\nprint(t.num_devices, t.sanity_checking, t.lightning_module)\n",
        ),
    ],
)
def test_calls_of_a_trainer_and_of_callbacks(before, after):
    assert body(before) == after


def test_what_was_written_for_a_trainer_makes_one(tmp_path):
    text = LIT + block(
        f"""
        trainer = pl.Trainer(
            gpus=0,
            checkpoint_callback=False,
            progress_bar_refresh_rate=0,
            weights_summary=None,
            logger=False,
            default_root_dir={str(tmp_path)!r},
            precision=32,
            track_grad_norm=-1,
            replace_sampler_ddp=True,
            amp_backend="native",
        )
        """
    )
    names = {}
    exec(upgraded(text).text, names)
    assert isinstance(names["trainer"], pl.Trainer)
    assert names["trainer"].num_devices == 1


def test_a_value_that_only_the_run_knows_is_left_alone():
    text = LIT + "pl.Trainer(gpus=args.gpus, **more)\n"
    done = upgraded(text)
    assert done.text == text
    assert "args.gpus" in notes(done)["trainer-gpus"]


@pytest.mark.parametrize(
    "text",
    [
        "t = pl.Trainer(resume_from_checkpoint=find())\nt.fit(m)\n",
        "t = pl.Trainer(resume_from_checkpoint=path)\nt.fit(m)\nt.fit(m)\n",
        "def go(t):\n    t.fit(m)\n\n\ngo(pl.Trainer(resume_from_checkpoint=path))\n",
    ],
)
def test_a_checkpoint_is_moved_only_to_the_one_fit_of_its_trainer(text):
    done = upgraded(LIT + text)
    assert done.text == LIT + text
    assert "trainer-resume-from-checkpoint" in notes(done)


def test_a_callback_with_a_name_of_its_own_goes_among_the_callbacks():
    before = """
        best = pl.callbacks.ModelCheckpoint(monitor="a", mode="min")
        pl.Trainer(checkpoint_callback=best, callbacks=[one])
        pl.Trainer(checkpoint_callback=best)
    """
    after = """
        best = pl.callbacks.ModelCheckpoint(monitor="a", mode="min")
        pl.Trainer(callbacks=[one, best])
        pl.Trainer(callbacks=[best])
    """
    assert body(before) == block(after)


def test_argparse_of_ones_own_data_module_is_left_to_a_person():
    text = module("x = 1\n", "pl.LightningDataModule") + "\n\nLit.from_argparse_args(args)\n"
    done = upgraded(text)
    assert done.text == text
    assert done.changes[0].line == 8
    assert "datamodule-argparse" in notes(done)
    class_code = module("def from_argparse_args(args): ...\n", "pl.LightningDataModule")
    assert "datamodule-argparse" not in notes(
        upgraded(class_code + "\n\nLit.from_argparse_args(a)\n")
    )


def test_a_callback_that_cannot_be_added_is_named():
    callback = "best = pl.callbacks.ModelCheckpoint()\n"
    done = upgraded(LIT + callback + "pl.Trainer(checkpoint_callback=best, callbacks=found)\n")
    assert "add best to what callbacks is made of" in notes(done)["trainer-checkpoint-callback"]
    done = upgraded(LIT + "pl.Trainer(progress_bar_refresh_rate=5, callbacks=found)\n")
    assert [change.after for change in done.changes] == [""], "the bar is left out, and it is said"


def test_what_a_class_gives_to_its_base_is_a_call_of_the_base():
    before = """
        import torchmetrics


        class Mine(torchmetrics.Metric):
            def __init__(self):
                super().__init__(compute_on_step=False, dist_sync_on_step=True)
    """
    after = before.replace("compute_on_step=False, ", "")
    assert upgraded(block(before)).text == block(after)


def test_checkpoints_are_told_of_where_something_else_is_old():
    load = "Lit.load_from_checkpoint(path)\n"
    assert not upgraded(LIT + load).changes
    done = upgraded(LIT + load + "pl.Trainer(gpus=1)\n")
    assert "weights_only=False" in notes(done)["load-weights-only"]
    done = upgraded(LIT + load.replace(")", ", weights_only=True)") + "pl.Trainer(gpus=1)\n")
    assert not notes(done)


def test_a_trainer_of_transformers_is_another_one():
    text = block(
        """
        import pytorch_lightning as pl
        from transformers import AutoTokenizer, Trainer, TrainingArguments

        args = TrainingArguments("out", evaluation_strategy="epoch", no_cuda=True)
        tok = AutoTokenizer.from_pretrained("x", use_auth_token=True)
        trainer = Trainer(model, args, tokenizer=tok)
        print(trainer.gpus)
        """
    )
    assert upgraded(text).text == block(
        """
        import pytorch_lightning as pl
        from transformers import AutoTokenizer, Trainer, TrainingArguments

        args = TrainingArguments("out", eval_strategy="epoch", use_cpu=True)
        tok = AutoTokenizer.from_pretrained("x", token=True)
        trainer = Trainer(model, args, processing_class=tok)
        print(trainer.gpus)
        """
    )


def test_the_optimiser_of_transformers_keeps_its_defaults():
    before = "from transformers import AdamW\n\nAdamW(p, lr=1e-3, correct_bias=True)\n"
    after = "from torch.optim import AdamW\n\nAdamW(p, lr=1e-3, eps=1e-6, weight_decay=0.0)\n"
    assert upgraded(before).text == after
    given = "from transformers import AdamW\n\nAdamW(p, lr=1e-3, eps=1e-8, weight_decay=0.1)\n"
    assert upgraded(given).text == given.replace("transformers", "torch.optim")


def test_what_self_is_asked_for():
    before = """
        def __init__(self, hparams):
            super().__init__()
            self.hparams = hparams

        def test_step(self, batch, batch_idx):
            self.log("a", 1, sync_dist_op="mean")
            self.manual_backward(1, self.optimizers())
            print(self.datamodule.classes, self.trainer.training_type_plugin)
    """
    after = """
        def __init__(self, hparams):
            super().__init__()
            self.save_hyperparameters(hparams)

        def test_step(self, batch, batch_idx):
            self.log("a", 1)
            self.manual_backward(1)
            print(self.trainer.datamodule.classes, self.trainer.strategy)
    """
    assert upgraded(module(before)).text == module(after)


def test_an_attribute_of_ones_own_is_left_alone():
    text = module(
        """
        def __init__(self, datamodule, precision):
            super().__init__()
            self.datamodule, self.use_amp = datamodule, False
            self.datamodule = datamodule
            self.precision = precision

        def forward(self, x):
            return self.datamodule(self.precision(x))
        """
    )
    done = upgraded(text)
    assert done.text == text
    assert not done.changes


@pytest.mark.parametrize("rule", ATTRIBUTES, ids=lambda rule: rule.id)
def test_every_rule_of_an_attribute_is_met(rule):
    for name in rule.old:
        owner = "trainer" if "trainer" in rule.classes else "self"
        method, _, word = name.partition(".")
        messages = {
            "manual_backward": f"{owner}.manual_backward(a, b)",
            "toggle_optimizer": f"{owner}.toggle_optimizer(a, b)",
        }.get(method, f"{owner}.{method}({word}=1)" if word else f"{owner}.{name}")
        text = module(f"def test_step(self, batch, trainer):\n    print({messages})\n")
        if rule.id == "module-hparams":
            text = module(f"def __init__(self, h):\n    {messages} = h\n")
        (change,) = upgraded(text).changes
        assert change.rule == rule.id
        assert change.line == 6


@pytest.mark.parametrize("rule", ATTRIBUTES, ids=lambda rule: rule.id)
def test_what_takes_the_place_of_an_attribute_is_there(rule, tmp_path):
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path
    )
    owner = trainer if "trainer" in rule.classes else pl.LightningModule
    for old in rule.old:
        if rule.action == "keyword":
            method, _, word = old.partition(".")
            taken = inspect.signature(getattr(owner, method)).parameters
            assert rule.new[0] in taken
            assert word not in taken
        elif "." not in old and old not in ("hparams", "root_gpu") and "trainer" in rule.classes:
            assert not hasattr(type(trainer), old.removesuffix("()")), old
    if rule.action == "rename" and "trainer" in rule.classes and "root_gpu" not in rule.old:
        value = trainer
        for name in rule.new[0].split("."):
            assert hasattr(type(value), name) or hasattr(value, name), rule.new[0]
            value = getattr(value, name) if name in ("fit_loop", "strategy") else value
