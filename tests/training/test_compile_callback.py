"""Compilation is kept where it helps, and taken back where it does not."""

import time

import pytest
from torch import nn

from polymodal.errors import ConfigError
from polymodal.training.compile_callback import CompileIfFaster

RUN = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "callbacks=compiled",
    "callbacks.compile.warm_up_steps=2",
    "callbacks.compile.measured_steps=3",
    "callbacks.early_stopping=null",
    "data.max_utterances=4",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "tracker=none",
]
SLOW_S = 0.05


@pytest.fixture
def calls(monkeypatch):
    """Slows a model down in one of two ways; counts the calls of what stands for the compiled."""
    counted = {"eager": 0, "compiled": 0}

    def use(eager_s, compiled_s):
        def compile_(module, **options):
            def run(*values, **named):
                counted["compiled"] += 1
                time.sleep(compiled_s)
                return module.forward(*values, **named)

            module._compiled_call_impl = run

        plain = nn.Module._call_impl

        def called(module, *values, **named):
            if type(module).__name__ == "UnimodalClassifier":
                counted["eager"] += 1
                time.sleep(eager_s)
            return plain(module, *values, **named)

        monkeypatch.setattr(nn.Module, "compile", compile_)
        monkeypatch.setattr(nn.Module, "_call_impl", called)
        return counted

    return use


@pytest.mark.parametrize("faster", [True, False])
def test_it_is_kept_only_where_it_is_faster(polymodal, calls, faster, workplace):
    counted = calls(SLOW_S if faster else 0, 0 if faster else SLOW_S)
    code, _, error = polymodal("run", *RUN)
    assert code == 0, error
    lines = next(workplace.glob("runs/*/metrics.jsonl")).read_text()
    assert '"train/compile_gain"' in lines
    assert f'"train/compiled": {float(faster)}' in lines
    num_steps = 3 + 2 + 3 + 2  # two measurements with their warm-up
    assert (counted["compiled"] > 2 * num_steps) is faster


def test_nothing_to_measure_is_refused():
    with pytest.raises(ConfigError, match="measured_steps=0"):
        CompileIfFaster(measured_steps=0)


@pytest.mark.slow
def test_the_compiler_is_really_asked(process, workplace):
    done = process("run", *RUN)  # a process of its own: the compiler cannot see through our checks
    assert done.returncode == 0, done.stderr
    assert "train/compile_gain" in next(workplace.glob("runs/*/metrics.jsonl")).read_text()
