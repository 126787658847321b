"""Scores: their task, and the names that change with it, followed into monitors."""

import pytest
import torchmetrics
from tests.upgrade.python_rewriting import block, notes, upgrade, upgraded

from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.python_files import gather_python
from polymodal.upgrade.python_metrics import rename_in_braces

HEAD = "import torchmetrics\nfrom torchmetrics import MetricCollection\n\n"


def scores(text: str) -> dict[str, str]:
    """Returns the scores that a file renames."""
    facts = ProjectFacts()
    gather_python(HEAD + block(text), facts)
    return facts.renamed_scores


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'torchmetrics.F1(num_classes=4, average="macro")',
            'torchmetrics.F1Score(task="multiclass", num_classes=4, average="macro")',
        ),
        ("torchmetrics.F1(4)", 'torchmetrics.F1Score(task="multiclass", num_classes=4)'),
        (
            "torchmetrics.Accuracy(num_classes=2, multiclass=False)",
            'torchmetrics.Accuracy(task="binary", num_classes=2)',
        ),
        ("torchmetrics.AUROC(num_classes=1)", 'torchmetrics.AUROC(task="binary", num_classes=1)'),
        (
            "torchmetrics.Precision(num_labels=3)",
            'torchmetrics.Precision(task="multilabel", num_labels=3)',
        ),
        (
            'torchmetrics.Recall(num_classes=3, mdmc_average="global")',
            'torchmetrics.Recall(task="multiclass", num_classes=3, multidim_average="global")',
        ),
        (
            "torchmetrics.functional.accuracy(p, t, num_classes=3)",
            'torchmetrics.functional.accuracy(p, t, task="multiclass", num_classes=3)',
        ),
        ("torchmetrics.MeanSquaredError(compute_on_step=True)", "torchmetrics.MeanSquaredError()"),
        ("torchmetrics.PearsonCorrcoef()", "torchmetrics.PearsonCorrCoef()"),
    ],
)
def test_a_score_gets_its_task(before, after):
    done = upgraded(f"import torchmetrics\n\nx = {before}\n")
    assert done.text == f"import torchmetrics\n\nx = {after}\n"
    if ".functional." not in after:
        assert isinstance(eval(after, {"torchmetrics": torchmetrics}), torchmetrics.Metric)


@pytest.mark.parametrize("text", ["torchmetrics.Accuracy()", "torchmetrics.functional.f1(a, b)"])
def test_a_task_that_nothing_tells_is_asked_for(text):
    done = upgraded(f"import torchmetrics\n\nx = {text}\n")
    assert "task=" not in done.text
    assert "multiclass" in notes(done)["torchmetrics-task"]


def test_keys_of_a_collection_are_the_names_of_its_classes():
    text = """
        f1 = torchmetrics.F1(num_classes=4)
        MetricCollection([f1, torchmetrics.Accuracy(num_classes=4)], prefix="val_")
    """
    renames = scores(text)
    assert renames == {
        "val_F1": "val_MulticlassF1Score",
        "val_Accuracy": "val_MulticlassAccuracy",
    }
    metrics = torchmetrics.MetricCollection(
        [torchmetrics.F1Score(task="multiclass", num_classes=4)], prefix="val_"
    )
    assert renames["val_F1"] in set(metrics.keys())


def test_clones_give_the_prefixes():
    text = """
        all = MetricCollection([torchmetrics.AUROC(num_classes=1)])
        train, val = all.clone(prefix="train/"), all.clone(prefix="val/", postfix="_1")
    """
    assert scores(text) == {
        "train/AUROC": "train/BinaryAUROC",
        "val/AUROC_1": "val/BinaryAUROC_1",
    }


def test_names_put_together_from_the_class_are_found():
    text = """
        f1 = torchmetrics.F1Score(num_classes=4)
        log(f"val_{f1.__class__.__name__}", 1)
        log("test_" + type(f1).__name__, 1)
        log(f"{stage}/{type(f1).__name__}", 1)
    """
    renames = scores(text)
    assert renames["val_F1Score"] == "val_MulticlassF1Score"
    assert renames["test_F1Score"] == "test_MulticlassF1Score"
    assert renames["valid/F1Score"] == "valid/MulticlassF1Score"


def test_names_that_the_code_writes_out_stay():
    text = """
        both = MetricCollection({"F1": torchmetrics.F1(num_classes=4)}, prefix="val_")
        new = MetricCollection([torchmetrics.F1Score(task="binary")], prefix="val_")
        f1 = torchmetrics.F1(num_classes=4)
        self.log("val_F1", f1)
        self.log(f"val_{type(f1).__name__}", f1)
    """
    assert scores(text) == {}


def test_monitors_and_checkpoints_of_other_files_follow():
    first = HEAD + 'MetricCollection([torchmetrics.F1(num_classes=4)], prefix="val_")\n'
    second = block(
        """
        from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

        best = ModelCheckpoint(monitor="val_F1", filename="{epoch}-{val_F1:.2f}", mode="max")
        stop = EarlyStopping("val_F1")
        score = trainer.callback_metrics["val_F1"]
        plan = {"monitor": 'val_F1', "other": "val_F10"}
        title = "val_F1 of the model"
        """
    )
    _, done = upgrade(first, second)
    new = "val_MulticlassF1Score"
    assert done.text == block(
        f"""
        from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

        best = ModelCheckpoint(
            monitor="{new}",
            filename="{{epoch}}-{{{new}:.2f}}",
            mode="max",
        )
        stop = EarlyStopping("{new}")
        score = trainer.callback_metrics["{new}"]
        plan = {{"monitor": '{new}', "other": "val_F10"}}
        title = "val_F1 of the model"
        """
    )
    assert {change.line for change in done.changes} == {3, 4, 5, 6}


def test_a_bare_name_is_followed_only_where_it_is_a_score():
    first = HEAD + "both = MetricCollection([torchmetrics.F1(num_classes=4)])\n"
    second = 'from mine import F1, stop\n\nstop(monitor="F1")\nprint("F1")\n'
    _, done = upgrade(first, second)
    assert (
        done.text == 'from mine import F1, stop\n\nstop(monitor="MulticlassF1Score")\nprint("F1")\n'
    )


def test_braces_of_all_kinds_are_followed():
    renames = {"val/F1": "val/MulticlassF1Score"}
    assert rename_in_braces("{val/F1}_{val/F1:.2f}_{val/F10}_val/F1", renames) == (
        "{val/MulticlassF1Score}_{val/MulticlassF1Score:.2f}_{val/F10}_val/F1"
    )
