"""Outputs of steps at the end of an epoch, which the Trainer no longer collects."""

from collections.abc import Sequence
from typing import NamedTuple

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_bodies import (
    after_method,
    at_head,
    at_returns,
    before_method,
    is_in_lines,
    rename_calls,
    with_attribute,
    with_method,
)
from polymodal.upgrade.python_classes import (
    attributes_set,
    base_with,
    calls_self,
    has_heirs,
    methods,
    parameter_names,
    parameters,
    returns,
    uses,
    without_parameters,
)
from polymodal.upgrade.python_source import Source
from polymodal.upgrade.python_values import step_output
from polymodal.upgrade.rules import rule_by_id

STAGES = ("training", "validation", "test")
EMPTY = cst.Module([])
LAST_RETURN = m.SimpleStatementLine(body=[m.ZeroOrMore(), m.Return()]) | m.Return()


class _Stage(NamedTuple):
    """Names of the hooks of one kind of epoch."""

    name: str
    step: str
    step_end: str
    batch_end: str
    old: str
    new: str

    @classmethod
    def of(cls, name: str) -> "_Stage":
        new = f"on_{name.removesuffix('ing')}"
        steps = f"{name}_step", f"{name}_step_end"
        return cls(name, *steps, f"{new}_batch_end", f"{name}_epoch_end", f"{new}_epoch_end")


def rewrite_outputs(source: Source, old: cst.ClassDef, new: cst.ClassDef) -> cst.ClassDef:
    """Rewrite `*_step_end` and `*_epoch_end` of a LightningModule."""
    for stage in map(_Stage.of, reversed(STAGES)):
        new = _call_step_end(source, old, new, stage)
        new = _collect(source, old, new, stage)
    return new


def _call_step_end(
    source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage
) -> cst.ClassDef:
    """Let the step call its `*_step_end`, which the Trainer no longer does."""
    class_methods = methods(new)
    hook = class_methods.get(stage.step_end)
    if hook is None or calls_self(new, stage.step_end):
        return new
    node, about = methods(old)[stage.step_end], rule_by_id("hook-step-end")
    step = class_methods.get(stage.step)
    values = returns(hook)
    problem, call = "", f"call self.{stage.step_end}(...)"
    if step is None or has_heirs(source.facts, old.name.value, stage.step):
        problem = f"another class has {stage.step}: {call} where it returns"
    elif not returns(step) or not is_in_lines(step, returns(step)):
        problem = f"{call} at the end of {stage.step}"
    elif len(parameters(hook)) != 2 or (values and not m.matches(hook.body.body[-1], LAST_RETURN)):
        problem = f"call it at the end of {stage.step}; it returns a value only sometimes"
    if problem:
        source.note(about.id, node, stage.step_end, None, f"never called since 2.0: {problem}")
        return new
    assert step is not None
    name = _free(_names(step), "output", "step_output", "kept_output")

    def write(value: cst.BaseExpression) -> Sequence[str]:
        text = EMPTY.code_for_node(value)
        if values:
            return (f"return self.{stage.step_end}({text})",)
        return (f"{name} = {text}", f"self.{stage.step_end}({name})", f"return {name}")

    source.note(about.id, node, stage.step_end, f"called by {stage.step}", about.reason)
    return with_method(new, stage.step, at_returns(step, write))


def _collect(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> cst.ClassDef:
    """Turn `*_epoch_end(outputs)` into `on_*_epoch_end()`, which reads collected outputs."""
    hook = methods(new).get(stage.old)
    if hook is None:
        return new
    node, about = methods(old)[stage.old], rule_by_id("hook-epoch-end")
    before, note = f"{stage.old}({', '.join(parameter_names(hook))})", about.reason
    outputs = "".join(parameter_names(hook)[1:2])
    problem, updated, lines = _why_not(source, old, new, stage), None, []
    if not problem:
        updated = new
        if uses(hook.body, outputs):
            name, taken = f"{stage.name}_step_outputs", attributes_set(new) | set(methods(new))
            attribute = _free(taken, name, f"kept_{name}", f"all_{name}")
            keep = _keep_in_step if _keeps_in_step(source, old, new, stage) else _keep_at_batch_end
            empty = "[]" if _by_loader(new, stage) == "no" else "{}"
            updated = with_attribute(keep(new, stage, attribute), attribute, empty)
            problem = "its __init__ does not call super().__init__() in a line of its own"
            note += f"; what {stage.step} returns is kept in self.{attribute}"
            lines = _read(new, stage, attribute, outputs)
    if updated is None:
        note = (
            f"raises an error since 2.0: write {stage.new}(self) that reads a list which "
            f"{stage.step} appends to, and clears it; left alone, as {problem}"
        )
        source.note(about.id, node, before, None, note)
        return new
    source.note(about.id, node, before, f"{stage.new}(self)", note)
    return _rename(updated, stage, lines, outputs)


def _why_not(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> str:
    """Return why a hook cannot be rewritten; empty if it can."""
    class_methods = methods(new)
    hook = class_methods[stage.old]
    if len(parameters(hook)) != 2:
        return "it takes other parameters than outputs"
    if m.findall(new, m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name(stage.old))):
        return f"it calls {stage.old} of its base"
    there = class_methods.get(stage.new)
    if there is not None and len(parameters(there)) != 1:
        return f"{stage.new} exists, too"
    if base := base_with(source.facts, old.name.value, (stage.old, stage.new)):
        return f"{base}, from which it derives, has one, too, whose outputs would never be cleared"
    if not uses(hook.body, parameter_names(hook)[1]):
        return ""
    if not isinstance(hook.body, cst.IndentedBlock):
        return "its body is on the line of its name"
    step = class_methods.get(stage.step)
    if step is not None and {"optimizer_idx", "hiddens"} & set(parameter_names(step)):
        return f"{stage.step} is called several times for a batch"
    if stage.batch_end in class_methods and not _keeps_in_step(source, old, new, stage):
        return f"what {stage.step} returns is not plain to see"
    return ""


def _keeps_in_step(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> bool:
    """Return whether the step itself can collect its outputs, as only the Trainer calls it."""
    step = methods(new).get(stage.step)
    if step is None or has_heirs(source.facts, old.name.value, stage.step):
        return False
    values = returns(step)
    if not values or not is_in_lines(step, values) or calls_self(new, stage.step):
        return False
    outputs = (value.value and step_output(new, step, value.value) for value in values)
    return stage.name != "training" or all(outputs)


def _keep_in_step(node: cst.ClassDef, stage: _Stage, attribute: str) -> cst.ClassDef:
    step = methods(node)[stage.step]
    keep = _append(node, stage, attribute)
    name = _free(_names(step), "output", "step_output", "kept_output")

    def write(value: cst.BaseExpression) -> Sequence[str]:
        kind = step_output(node, step, value) if stage.name == "training" else ""
        plain = isinstance(value, cst.Name)
        text = EMPTY.code_for_node(value)
        output = text if plain else name
        stored = {
            "loss": f'{{"loss": {output}.detach()}}',
            "mapping": f'{{**{output}, "loss": {output}["loss"].detach()}}',
        }.get(kind, output)
        first = () if plain else (f"{name} = {text}",)
        return (*first, f"{keep}({stored})", f"return {output}")

    return with_method(node, stage.step, at_returns(step, write))


def _keep_at_batch_end(node: cst.ClassDef, stage: _Stage, attribute: str) -> cst.ClassDef:
    is_training = stage.name == "training"
    loader = "" if is_training else ", dataloader_idx=0"
    added = cst.parse_statement(
        f"def {stage.batch_end}(self, outputs, batch, batch_idx{loader}):\n"
        f"    if outputs{'' if is_training else ' is not None'}:\n"
        f"        {_append(node, stage, attribute)}(outputs)\n"
    )
    assert isinstance(added, cst.FunctionDef)
    return before_method(node, stage.old, added)


def _by_loader(node: cst.ClassDef, stage: _Stage) -> str:
    """Return whether outputs are collected by loader: `no`, `always` or, if many, `several`."""
    step = methods(node).get(stage.step)
    if stage.name == "training":
        return "no"
    if step is None:
        return "several"
    for param in parameters(step):
        if param.name.value == "dataloader_idx":
            return "always" if param.default is None else "several"
    return "no"


def _append(node: cst.ClassDef, stage: _Stage, attribute: str) -> str:
    if _by_loader(node, stage) == "no":
        return f"self.{attribute}.append"
    return f"self.{attribute}.setdefault(dataloader_idx, []).append"


def _read(node: cst.ClassDef, stage: _Stage, attribute: str, name: str) -> list[str]:
    """Return the lines that take and clear the collected outputs."""
    kind = _by_loader(node, stage)
    stored = f"self.{attribute}" if kind == "no" else f"self.{attribute}.values()"
    lines = [f"{name} = list({stored})", f"self.{attribute}.clear()"]
    if kind == "several":
        lines.append(f"{name} = {name}[0] if len({name}) == 1 else {name}")
    return lines


def _rename(node: cst.ClassDef, stage: _Stage, lines: list[str], name: str) -> cst.ClassDef:
    """Rename the hook; if others call it, let the new hook call it, too."""
    class_methods = methods(node)
    hook = class_methods[stage.old]
    is_called = calls_self(node, stage.old)
    if not is_called and stage.new not in class_methods:
        updated = without_parameters(hook, [name]).with_changes(name=cst.Name(stage.new))
        return with_method(node, stage.old, at_head(updated, *lines) if lines else updated)
    helper = f"_{stage.old}"
    node = rename_calls(node, stage.old, helper)
    hook = methods(node)[stage.old].with_changes(name=cst.Name(helper))
    node = with_method(node, stage.old, hook)
    lines = [*lines, f"self.{helper}({name if lines else '[]'})"]
    if stage.new in class_methods:
        return with_method(node, stage.new, at_head(methods(node)[stage.new], *lines))
    body = "".join(f"    {line}\n" for line in lines)
    added = cst.parse_statement(f"def {stage.new}(self):\n{body}")
    assert isinstance(added, cst.FunctionDef)
    blank = [cst.EmptyLine(indent=False)]
    return after_method(node, helper, added.with_changes(leading_lines=blank))


def _free(taken: set[str], *names: str) -> str:
    return next(name for name in names if name not in taken)


def _names(method: cst.FunctionDef) -> set[str]:
    return {node.value for node in m.findall(method, m.Name()) if isinstance(node, cst.Name)}
