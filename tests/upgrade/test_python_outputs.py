"""Outputs of an epoch: what the Trainer gave to `*_epoch_end`, a module keeps itself now."""

import pytest
from tests.upgrade.python_rewriting import block, module, notes, upgrade, upgraded


def rewritten(body: str) -> str:
    """Returns the body of an upgraded module."""
    return upgraded(module(body)).text.removeprefix(module("pass\n").removesuffix("    pass\n"))


def indented(text: str) -> str:
    """Returns a text block as the body of a class."""
    return module(text).removeprefix(module("pass\n").removesuffix("    pass\n"))


def test_a_validation_step_keeps_what_it_returns():
    before = """
        def __init__(self):
            super().__init__()
            self.layer = None

        def validation_step(self, batch, batch_idx):
            if batch is None:
                return
            # of one batch
            return {"loss": self.loss(batch)}  # kept

        def validation_epoch_end(self, outputs):
            if not outputs:
                return
            self.log("val_loss", sum(x["loss"] for x in outputs))
    """
    after = """
        def __init__(self):
            super().__init__()
            self.validation_step_outputs = []
            self.layer = None

        def validation_step(self, batch, batch_idx):
            if batch is None:
                return
            # of one batch
            output = {"loss": self.loss(batch)}
            self.validation_step_outputs.append(output)
            return output  # kept

        def on_validation_epoch_end(self):
            outputs = list(self.validation_step_outputs)
            self.validation_step_outputs.clear()
            if not outputs:
                return
            self.log("val_loss", sum(x["loss"] for x in outputs))
    """
    assert rewritten(before) == indented(after)


def test_a_training_step_keeps_its_loss_as_the_trainer_did():
    before = """
        def __init__(self):
            super(Lit, self).__init__()

        def training_step(self, batch, batch_idx):
            loss = self.criterion(batch)
            return loss

        def training_epoch_end(self, outs) -> None:
            '''Logs a mean.'''
            self.log("mean", sum(x["loss"] for x in outs))
    """
    after = """
        def __init__(self):
            super(Lit, self).__init__()
            self.training_step_outputs = []

        def training_step(self, batch, batch_idx):
            loss = self.criterion(batch)
            self.training_step_outputs.append({"loss": loss.detach()})
            return loss

        def on_train_epoch_end(self) -> None:
            '''Logs a mean.'''
            outs = list(self.training_step_outputs)
            self.training_step_outputs.clear()
            self.log("mean", sum(x["loss"] for x in outs))
    """
    assert rewritten(before) == indented(after)


def test_a_mapping_of_a_training_step_keeps_its_loss_detached():
    before = """
        def __init__(self):
            super().__init__()

        def step(self, batch):
            return {"loss": 1, "n": 2}

        def training_step(self, batch, batch_idx):
            return self.step(batch)

        def training_epoch_end(self, outputs):
            print(outputs)
    """
    text = rewritten(before)
    assert "        output = self.step(batch)\n" in text
    stored = 'self.training_step_outputs.append({**output, "loss": output["loss"].detach()})\n'
    assert stored in text


def test_outputs_that_nothing_reads_are_not_kept():
    before = """
        def training_step(self, batch, batch_idx):
            return self.loss(batch)

        def training_epoch_end(self, outputs):
            self.accuracy.reset()
    """
    assert rewritten(before) == indented(
        before.replace("training_epoch_end(self, outputs)", "on_train_epoch_end(self)")
    )


def test_a_loader_index_keeps_the_outputs_of_each_loader_apart():
    before = """
        def test_step(self, batch, batch_idx, dataloader_idx):
            return batch

        def test_epoch_end(self, outputs):
            for one in outputs:
                print(one)
    """
    after = """
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.test_step_outputs = {}

        def test_step(self, batch, batch_idx, dataloader_idx):
            self.test_step_outputs.setdefault(dataloader_idx, []).append(batch)
            return batch

        def on_test_epoch_end(self):
            outputs = list(self.test_step_outputs.values())
            self.test_step_outputs.clear()
            for one in outputs:
                print(one)
    """
    assert rewritten(before) == indented(after)


def test_an_index_with_a_default_gives_one_list_where_there_is_one_loader():
    before = """
        def test_step(self, batch, batch_idx, dataloader_idx=0):
            return batch

        def test_epoch_end(self, outputs):
            print(outputs)
    """
    assert "outputs = outputs[0] if len(outputs) == 1 else outputs\n" in rewritten(before)


def test_a_step_that_others_call_or_inherit_is_kept_where_its_batch_ends():
    before = """
        def validation_step(self, batch, batch_idx):
            return batch

        def validation_epoch_end(self, outputs):
            print(outputs)

        def test_step(self, batch, batch_idx):
            return self.validation_step(batch, batch_idx)
    """
    added = """
        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
            if outputs is not None:
                self.validation_step_outputs.append(outputs)

        def on_validation_epoch_end(self):
    """
    assert indented(added) in rewritten(before)
    inherited = """
        def training_epoch_end(self, outputs):
            print(outputs)
    """
    assert (
        "    def on_train_batch_end(self, outputs, batch, batch_idx):\n        if outputs:\n"
        in (rewritten(inherited))
    )


def test_a_step_of_a_derived_class_in_another_file_is_kept_where_its_batch_ends():
    base = module(
        """
        def validation_step(self, batch, batch_idx):
            return batch

        def validation_epoch_end(self, outputs):
            print(outputs)
        """
    )
    heir = "from base import Lit\n\n\nclass Heir(Lit):\n"
    heir += "    def validation_step(self, b, i):\n        return 2\n"
    first, second = upgrade(base, heir)
    assert "def on_validation_batch_end(" in first.text
    assert second.text == heir
    derived = heir.replace("validation_step(self, b, i)", "training_epoch_end(self, outputs)")
    _, second = upgrade(base, derived)
    assert "def on_train_epoch_end(self):" in second.text, "a base in another file is followed"


def test_a_derived_class_with_a_hook_of_its_own_is_left_to_a_person():
    base = module(
        """
        def test_step(self, batch, batch_idx):
            return batch

        def test_epoch_end(self, outputs):
            print(outputs)
        """
    )
    heir = "from base import Lit\n\n\nclass Heir(Lit):\n"
    heir += "    def test_epoch_end(self, outputs):\n        print(2, outputs)\n"
    first, second = upgrade(base, heir)
    assert "self.test_step_outputs.append(batch)" in first.text
    assert second.text == heir
    assert "Lit, from which it derives" in notes(second)["hook-epoch-end"]
    assert upgrade(first.text, heir)[1].text == heir, "nor the second time"


def test_a_hook_that_another_one_calls_becomes_a_helper_of_both():
    before = """
        def validation_step(self, batch, batch_idx):
            return batch

        def validation_epoch_end(self, outputs):
            print(outputs)

        def test_step(self, batch, batch_idx):
            return batch

        def test_epoch_end(self, outputs):
            return self.validation_epoch_end(outputs)
    """
    text = rewritten(before)
    assert "    def _validation_epoch_end(self, outputs):\n        print(outputs)\n" in text
    assert text.count("self._validation_epoch_end(outputs)\n") == 2


def test_both_hooks_of_an_epoch_become_one():
    before = """
        def validation_step(self, batch, batch_idx):
            return batch

        def validation_epoch_end(self, outputs):
            print(outputs)

        def on_validation_epoch_end(self):
            print("end")
    """
    after = """
        def on_validation_epoch_end(self):
            outputs = list(self.validation_step_outputs)
            self.validation_step_outputs.clear()
            self._validation_epoch_end(outputs)
            print("end")
    """
    assert rewritten(before).endswith(indented(after))


def test_what_a_step_end_returns_is_what_the_step_returns():
    before = """
        def training_step(self, batch, batch_idx):
            return self.loss(batch)

        def training_step_end(self, out):
            return out.mean()

        def test_step(self, batch, batch_idx):
            return batch

        def test_step_end(self, out):
            self.log("x", out)
    """
    after = """
        def training_step(self, batch, batch_idx):
            return self.training_step_end(self.loss(batch))

        def training_step_end(self, out):
            return out.mean()

        def test_step(self, batch, batch_idx):
            output = batch
            self.test_step_end(output)
            return output

        def test_step_end(self, out):
            self.log("x", out)
    """
    assert rewritten(before) == indented(after)


@pytest.mark.parametrize(
    ("body", "rule", "why"),
    [
        (
            """
            def training_step(self, batch, batch_idx, optimizer_idx):
                return self.losses[optimizer_idx]

            def training_epoch_end(self, outputs):
                print(outputs)
            """,
            "hook-epoch-end",
            "several times for a batch",
        ),
        (
            """
            def validation_epoch_end(self, outputs):
                super().validation_epoch_end(outputs)
            """,
            "hook-epoch-end",
            "its base",
        ),
        (
            """
            def validation_epoch_end(self, outputs, more=None):
                print(outputs)
            """,
            "hook-epoch-end",
            "other parameters",
        ),
        (
            """
            def __init__(self):
                self.setup_all()

            def validation_step(self, batch, batch_idx):
                return batch

            def validation_epoch_end(self, outputs):
                print(outputs)
            """,
            "hook-epoch-end",
            "super().__init__()",
        ),
        (
            """
            def validation_step_end(self, out):
                return out
            """,
            "hook-step-end",
            "another class has validation_step",
        ),
        (
            """
            def test_step(self, batch, batch_idx):
                return batch

            def test_step_end(self, out):
                if out:
                    return out
            """,
            "hook-step-end",
            "only sometimes",
        ),
    ],
)
def test_what_is_not_mechanical_is_left_alone_with_a_reason(body, rule, why):
    text = module(body)
    done = upgraded(text)
    stored = block(body).splitlines()[-2].strip()
    assert stored in done.text
    assert why in notes(done)[rule]


def test_a_class_that_is_none_of_lightning_keeps_its_hooks():
    text = (
        "class Lit(Base):\n    def validation_epoch_end(self, outputs):\n        print(outputs)\n"
    )
    assert upgraded(text).text == text
