"""Mistakes of newcomers: files, commands and what their messages must say.

`python -m tests.cli.newcomers [WORD]` prints every message, or those of mistakes with that word.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HEAD = "# @package _global_\n"
MINE = "configs/experiment/mine.yaml"
TEXT = ("run", "experiment=sample/text")
TABLE = "audio,speaker,label\n"
OWN = ("run", "corpus=table", "corpus.root=data", "corpus.classes=[joy,anger]", "encoder=logmel")
MODEL = "from polymodal.models.base import Model\nclass Own(Model):\n"
# What no message may hold: names of exceptions, libraries and their parsers.
FOREIGN = re.compile(
    r"Traceback|[A-Za-z]+(Exception)\b|Hydra|OmegaConf|[Pp]olars|Errno|viable|mismatched input"
)


@dataclass(frozen=True)
class Mistake:
    """A command that cannot work.

    Args:
        arguments: Of the command line.
        says: Pieces of the message.
        files: Path below the current folder to content.
    """

    arguments: tuple[str, ...]
    says: tuple[str, ...] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def text(*overrides: str, says: tuple[str, ...]) -> Mistake:
    return Mistake((*TEXT, *overrides), says)


def mine(content: str | bytes, *overrides: str, says: tuple[str, ...]) -> Mistake:
    return Mistake(("run", "experiment=mine", *overrides), says, {MINE: content})


def table(content: str | bytes, *overrides: str, says: tuple[str, ...]) -> Mistake:
    return Mistake((*OWN, *overrides), says, {"data/manifest.csv": content})


def project(code: str, says: tuple[str, ...]) -> Mistake:
    config = {"configs/model/own.yaml": "_target_: own.heads.Own\n"}
    return Mistake(
        (*TEXT, "model=own"), says, {**config, "own/__init__.py": "", "own/heads.py": code}
    )


def did_you_mean(override: str, key: str) -> Mistake:
    return text(override, says=(f"the command line ({override})", f"did you mean '{key}'?"))


MISTAKES: dict[str, Mistake] = {
    # keys of other programs, and slips of the pen
    **{
        override: did_you_mean(override, key)
        for override, key in {
            "data.batch_size=8": "data.max_utterances",
            "lr=0.1": "optimizer.lr",
            "epochs=3": "trainer.max_epochs",
            "patience=3": "callbacks.early_stopping.patience",
            "gpus=1": "trainer.devices",
            "workers=2": "data.num_workers",
            "hidden_size=32": "model.hidden_sizes",
            "logger=wandb": "tracker",
            "exp=sample/text": "experiment",
            "early_stopping.patience=2": "callbacks.early_stopping.patience",
            "trianer.max_epochs=1": "trainer.max_epochs",
        }.items()
    },
    "folds": text("split=k_folds", "split.folds=3", says=("did you mean 'split.num_folds'?",)),
    "activatoin": text("model.activatoin=gelu", says=("add it with +model.activation=gelu",)),
    "model.width": text("model.width=3", says=("options of model: activation, dropout",)),
    "unknown key": text("qqqq=1", says=("no option 'qqqq'", "`polymodal run --cfg job`")),
    "removed key": text("trainer.gpus=1", says=("removed in Lightning 2.0", "devices: N")),
    "+ of an option": text("+trainer.max_epochs=1", says=("hint: leave out the +",)),
    "+ of a group": text("+model=unimodal", says=("leave out the +: model=unimodal",)),
    "~ of nothing": text("~trainer.qqqq", says=("there is no 'trainer.qqqq'",)),
    "option of another group": mine(
        HEAD + "defaults:\n  - /experiment/sample/text\nsplit:\n  val: 0.2\n",
        "split=file",
        "split.file=folds.csv",
        says=("mine.yaml:5", "split=file does not take", "add ~split.val"),
    ),
    # values
    "comma": text("corpus.root=/a,b", says=("several values", "'corpus.root=\"/a,b\"'")),
    "decimal comma": text("optimizer.lr=0,1", says=("write a point, optimizer.lr=0.1",)),
    "open list": text("stages=[fit", says=("a [ that is not closed",)),
    "no =": text("trainer.max_epochs", says=("KEY=VALUE",)),
    "colon": text("trainer.max_epochs:3", says=("trainer.max_epochs=3",)),
    "a file": Mistake(("run", "mine.yaml"), ("experiment=mine",)),
    "a run": Mistake(("run", "last"), ("resume=last",)),
    "null": text("optimizer.lr=null", says=("optimizer.lr=null", "expected: float")),
    "word": text("optimizer.lr=fast", says=("optimizer.lr='fast'", "expected: float")),
    "list": text("optimizer.lr=[0.1,0.2]", says=("optimizer.lr=[0.1, 0.2]", "expected: float")),
    "negative": text("optimizer.lr=-1", says=("learning rate: -1", "correct optimizer.lr")),
    "nan": text("data.batch_s=nan", says=("not a finite number", "(data.batch_s=nan)")),
    "zero": text("data.max_utterances=0", says=("expected: at least 1",)),
    "negative seed": text("seed=-1", says=("expected: at least 0",)),
    "half an epoch": text("trainer.max_epochs=2.5", says=("expected: int",)),
    "accelerator": text("trainer.accelerator=gpuu", says=("correct trainer.accelerator",)),
    # groups
    "group": text("modle=unimodal", says=("did you mean 'model'?",)),
    "option": text("model=unimodl", says=("did you mean 'unimodal'?",)),
    "experiment": Mistake(("run", "experiment=sample/speach"), ("mean 'sample/speech'?",)),
    "path": Mistake(("run", f"experiment={MINE}"), ("without .yaml: experiment=mine",)),
    "folder": text("corpus=/data/emodb", says=("corpus.root=/data/emodb",)),
    "study": Mistake(("run", "study=sample/two_stage"), ("study study=sample/two_stage",)),
    "modality": text("encoder.speech=logmel", says=("write encoder=logmel",)),
    "section as mapping": text("model={width: 3}", says=("no option 'model.width'",)),
    # files
    "no package": mine("seed: 1\n", says=("mine.yaml:1", "# @package _global_")),
    "no override": mine(HEAD + "defaults:\n  - /model: mlp\n", says=("- override /model",)),
    "defaults": mine(HEAD + "defaults:\n  model: mlp\n", says=("experiment/mine", "dash")),
    "circle": mine(HEAD + "defaults:\n  - /experiment/mine\n", says=("its own file",)),
    "empty": mine("", says=("mine.yaml", "is empty")),
    "tab": mine(HEAD + "trainer:\n\tmax_epochs: 1\n", says=("mine.yaml:3", "with spaces")),
    "twice": mine(HEAD + "seed: 1\nseed: 2\n", says=("mine.yaml:3", "seed")),
    "list on top": mine(HEAD + "- a\n- b\n", says=("experiment/mine.yaml",)),
    "text on top": mine(HEAD + "hello\n", says=("mine.yaml",)),
    "latin-1": mine((HEAD + "# f\u00fcr\n").encode("latin-1"), says=("mine.yaml:2", "UTF-8")),
    "key of a file": mine(HEAD + "trainer:\n  max_epoch: 1\n", says=("mine.yaml:3",)),
    "value of a file": mine(HEAD + "seed: one\n", says=("mine.yaml:2", "expected: int")),
    "reference": mine(HEAD + "seed: ${sed}\n", says=("mine.yaml:2", "${sed}")),
    "variable": mine(HEAD + "corpus:\n  root: ${oc.env:NO_VAR}\n", says=("export NO_VAR=",)),
    "circular reference": text(
        "seed=${trainer.max_epochs}", "trainer.max_epochs=${seed}", says=("itself",)
    ),
    "value for a section": mine(HEAD + "trainer: 3\n", says=("mine.yaml:2", "not a section")),
    # classes
    "syntax": project("class Own:\n  def f(self:\n", ("own/heads.py:2", "not valid Python")),
    "package": project("import nosuch\n", ("needs the package 'nosuch'", "own/heads.py:1")),
    "import": project("x = nosuch\n", ("cannot be imported", "own/heads.py:1")),
    "no class": project("class Other: pass\n", ("has no 'Own'",)),
    "kind": project("class Own: pass\n", ("a class derived from torch.nn.Module",)),
    "argument": project(
        MODEL + "  def __init__(self): pass\n  def forward(self, x): pass\n",
        ("unexpected keyword argument", "is given feature_sizes, num_outputs"),
    ),
    "raises": project(
        MODEL + "  def __init__(self, **sizes):\n    [][1]\n  def forward(self, x): pass\n",
        ("own/heads.py:4",),
    ),
    "forbidden": text("model._target_=os.system", says=("os.system is not allowed",)),
    # tables
    "no rows": table(TABLE, says=("no utterance is left",)),
    "no table": table("", says=("manifest.csv is empty",)),
    "no speaker": table("file,emotion\na.wav,joy\n", says=("corpus.columns.speaker=COLUMN",)),
    "encoding": table("audio,\u00fc\n".encode("latin-1"), says=("line 1", "corpus.encoding=")),
    "utf-16": table(TABLE.encode("utf-16"), says=("corpus.encoding=utf-16",)),
    "parquet": Mistake((*OWN, "corpus.file=t.parquet"), ("damaged",), {"data/t.parquet": b"PAR1"}),
    "xlsx": Mistake((*OWN, "corpus.file=t.xlsx"), ("CSV UTF-8",), {"data/t.xlsx": b"PK"}),
    "no folds": Mistake(
        (*OWN[:-1], "encoder=characters", "split=file", "split.file=f.csv"),
        ("f.csv cannot be read: there is no such file", "split.file="),
        {"data/manifest.csv": "text,speaker,label\na,s1,joy\nb,s2,anger\n"},
    ),
    # other commands
    "train": Mistake(("train",), ("did you mean 'run'?",)),
    "trian": Mistake(("trian",), ("did you mean 'run'?",)),
    "flag": Mistake(("run", "--trainer.max_epochs=3"), ("write trainer.max_epochs=VALUE",)),
    "flag of others": Mistake(("doctor", "--fix"), ("has no flag --fix",)),
    "test": Mistake(("test",), ("needs RUN",)),
    "test --split": Mistake(("test", "last", "--split", "tset"), ("'tset'",)),
    "test of a checkpoint": Mistake(("test", "best.ckpt"), ("no run 'best.ckpt'",)),
    "predict": Mistake(("predict", "last"), ("no last run",)),
    "embed": Mistake(("embed", "epochs=3"), ("did you mean 'trainer.max_epochs'?",)),
    "vote": Mistake(("vote", "a", "b", "weights=[1,2]"), ("'ensemble.weights'",)),
    "vote of nothing": Mistake(("vote", "a", "b"), ("no run 'a'",)),
    "study of nothing": Mistake(("study", "study=two_stage"), ("'sample/two_stage'",)),
    "study of an experiment": Mistake(("study", "experiment=sample/text"), ("polymodal run",)),
    "study key": Mistake(("study", "study.seed=3"), ("did you mean 'study.seeds'?",)),
    "runs": Mistake(("runs", "uar>x"), ("'uar>x'",)),
    "show": Mistake(("show", "nothing"), ("no run 'nothing'",)),
    "report": Mistake(("report", "nothing"), ("no run 'nothing'",)),
    "compare": Mistake(("compare", "a", "b"), ("no run 'a'",)),
    "push": Mistake(("push", "nothing", "out"), ("no run 'nothing'",)),
    "sync": Mistake(("sync", "nothing"), ("no run 'nothing'",)),
    "corpus": Mistake(("corpus", "emodbb", "."), ("did you mean 'emodb'?",)),
    "corpus check": Mistake(("corpus", "check", "nowhere"), ("no such file",)),
    "upgrade": Mistake(("upgrade", "nowhere"), ("nowhere",)),
    "features": Mistake(("features", "--unused", "soon"), ("'soon'", "30d")),
    "sweep without -m": Mistake(("run", "seed=0,1"), ("add -m",)),
    "sweep of nothing": Mistake(("run", "-m", "sed=0,1"), ("did you mean 'seed'?",)),
    "print": Mistake(("run", "--cfg", "job", "modle=unimodal"), ("did you mean 'model'?",)),
    "check": Mistake(("check", "model=unimodl"), ("did you mean 'unimodal'?",)),
    "check of a study": Mistake(("check", "study=sample/two"), ("'sample/two_stage'",)),
}


def attempt(mistake: Mistake, main: Callable[[list[str]], int]) -> tuple[int, str, str]:
    """Write the files of a mistake into the current folder, and make it.

    Returns:
        Exit code, standard output and standard error.
    """
    for name, content in mistake.files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    out, error = io.StringIO(), io.StringIO()
    search_path = list(sys.path)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main(list(mistake.arguments))
        except SystemExit as exit_:  # of argparse
            code = int(exit_.code or 0)
        finally:
            sys.path[:] = search_path
            for module in [name for name in sys.modules if name.partition(".")[0] == "own"]:
                del sys.modules[module]
    return code, out.getvalue(), error.getvalue()


def _print_messages(word: str) -> None:
    import traceback

    from polymodal.cli.main import main

    for name, mistake in MISTAKES.items():
        if word not in name:
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            try:
                code, out, error = attempt(mistake, main)
            except Exception:
                code, out, error = 1, "", traceback.format_exc()
        print(f"── [{name}] polymodal {' '.join(mistake.arguments)}\n[{code}]\n{out}{error}")


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "200")
    _print_messages(sys.argv[1] if len(sys.argv) > 1 else "")
