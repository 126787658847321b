"""A file of Python: only what changes is touched; what does not parse is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.upgrade.python_rewriting import block, upgraded

import polymodal
from polymodal.errors import ConfigError
from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.python_files import gather_python, rewrite_python
from polymodal.upgrade.python_layout import break_long_lines, width_of

SOURCES = Path(polymodal.__file__).parent


@pytest.mark.parametrize(
    "text",
    [
        "import pytorch_lightning as pl\r\n\r\nx = pl.Trainer(  max_epochs = 3 )\r\n",
        "# only a comment, with a tab\there and no newline",
        "",
        "import pytorch_lightning as pl\n\n\n\nx = {'a' :1, }   \n",
        "# -*- coding: utf-8 -*-\nimport torchmetrics\nprint('\u00e4')\n",
    ],
)
def test_a_file_with_nothing_to_change_is_the_same(text):
    done = upgraded(text)
    assert done.text == text
    assert not done.changes


def test_line_ends_stay_as_they_are():
    text = "import pytorch_lightning as pl\r\n\r\nx = pl.Trainer(gpus=1,\r\n    max_epochs=2)"
    assert upgraded(text).text == (
        "import pytorch_lightning as pl\r\n\r\n"
        'x = pl.Trainer(accelerator="gpu",\r\n    devices=1,\r\n    max_epochs=2)'
    )
    long = "import pytorch_lightning as pl\r\n\r\nx = pl.Trainer(gpus=1, max_epochs=2, "
    long += "gradient_clip_val=1.0, precision=16)\r\n"
    assert upgraded(long).text.count("\n") == upgraded(long).text.count("\r\n")


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("x = 1\nif x\n    y = 2\n", ("file.py, line 2", "Python 3 that parses")),
        ("print 'a'\n", ("file.py, line 1",)),
        (
            "import torch\n<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> other\n",
            ("file.py, line 2", "merge", "resolve the conflict"),
        ),
        ("def f(:\n", ("file.py, line 1",)),
        ("x = 'a\n", ("file.py, line 1",)),
    ],
)
def test_what_does_not_parse_is_said(text, fragments):
    for run in (
        lambda: gather_python(text, ProjectFacts()),
        lambda: rewrite_python(text, Path("file.py"), ProjectFacts()),
    ):
        with pytest.raises(ConfigError) as caught:
            run()
        assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


def test_a_string_with_the_marks_of_a_merge_is_no_conflict():
    text = 'x = """\n<<<<<<< HEAD\n"""\n'
    assert upgraded(text).text == text


def test_changes_are_in_the_order_of_the_old_lines():
    text = block(
        """
        import pytorch_lightning as pl


        class Lit(pl.LightningModule):
            def test_step(self, batch, batch_idx):
                return batch

            def test_epoch_end(self, outputs):
                print(outputs, self.trainer.gpus)


        trainer = pl.Trainer(gpus=1)
        """
    )
    lines = [(change.rule, change.line) for change in upgraded(text).changes]
    assert lines == [
        ("hook-epoch-end", 8),
        ("trainer-attribute-devices", 9),
        ("trainer-gpus", 12),
    ]


A, B, C = "a" * 24, "b" * 27, "c" * 29
LONG = [
    f"x = f(\n    {A}=1, {B}=2, {C}=3\n)\n",
    f"x = f({A}=1, {B}=2, ccccc=3, dddddddddd=4, ee=5)\n",
    f"x = f({A}=1, {B}=2, {C}=3, eeeeee=5)\n",
    f"x = f(a, [{A}, {B}, {C}])\n",
    f"from {A} import {B}, {C}, d\n",
    f"def f({A}, {B}, *args, {C}=1, **more) -> None:\n    pass\n",
    f"def f():\n    x = [\n        g({A}, {B}, {C}),\n    ]\n",
    f"x = f(a=1, {A}=2, {B}=3, {C}=4,\n      d=5, eeeee={{1: 1}},\n      z=1)\n",
    f"x = f(\n    [{A}, {B}, {C}],\n    z=1,\n)\n",
    f"x = f(g({A}=1, {B}=2), h({C}=3), **e)\n",
]


@pytest.mark.parametrize("text", LONG)
def test_lines_are_broken_as_the_formatter_does(text):
    scripts = Path(sys.executable).parent
    ruff = shutil.which("ruff", path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    if ruff is None:
        pytest.skip("ruff is not installed")
    done = subprocess.run(
        [ruff, "format", "--isolated", "--line-length", "88", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert break_long_lines("", text, 88) == done.stdout
    assert break_long_lines(text, text, 88) == text, "lines that were long stay"


def test_the_width_is_that_of_the_project(tmp_path):
    (tmp_path / "code").mkdir()
    assert width_of(tmp_path / "code" / "a.py") == 88
    (tmp_path / "pyproject.toml").write_text("[tool.black]\nline-length = 120\n")
    assert width_of(tmp_path / "code" / "a.py") == 120
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert width_of(tmp_path / "code" / "a.py") == 100
    (tmp_path / "pyproject.toml").write_text("[tool\n")
    assert width_of(tmp_path / "code" / "a.py") == 88
