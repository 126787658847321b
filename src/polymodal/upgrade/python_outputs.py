"""What steps return, and what took it at the end of an epoch: the Trainer keeps it no longer."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    has_heirs,
    is_call_of_self,
    methods,
    parameter_names,
    parameters,
    returns,
    uses,
    without_parameters,
)
from polymodal.upgrade.python_source import Source, rule_of
from polymodal.upgrade.python_values import step_output

STAGES = ("training", "validation", "test")
EMPTY = cst.Module([])


@dataclass(frozen=True)
class _Stage:
    """The hooks of one kind of epoch.

    Args:
        name: `training`, `validation` or `test`.
    """

    name: str

    @property
    def step(self) -> str:
        return f"{self.name}_step"

    @property
    def step_end(self) -> str:
        return f"{self.name}_step_end"

    @property
    def batch_end(self) -> str:
        return f"on_{self.name.removesuffix('ing')}_batch_end"

    @property
    def old(self) -> str:
        return f"{self.name}_epoch_end"

    @property
    def new(self) -> str:
        return f"on_{self.name.removesuffix('ing')}_epoch_end"


def rewrite_outputs(source: Source, old: cst.ClassDef, new: cst.ClassDef) -> cst.ClassDef:
    """Rewrites `*_step_end` and `*_epoch_end` of a LightningModule.

    Args:
        source: The file.
        old: The class as it was.
        new: The class as it is now.

    Returns:
        The class, which calls the one and collects for the other itself.
    """
    for stage in map(_Stage, reversed(STAGES)):
        new = _call_step_end(source, old, new, stage)
        new = _collect(source, old, new, stage)
    return new


def _call_step_end(
    source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage
) -> cst.ClassDef:
    """Has the step call its `*_step_end`, which the Trainer no longer does."""
    own = methods(new)
    hook = own.get(stage.step_end)
    if hook is None or any(is_call_of_self(one, stage.step_end) for one in _calls(new)):
        return new
    node, about = methods(old)[stage.step_end], rule_of("hook-step-end")
    step = own.get(stage.step)
    values = returns(hook)
    problem = ""
    if step is None or has_heirs(source.facts, old.name.value, stage.step):
        problem = (
            f"another class has {stage.step}: call self.{stage.step_end}(...) where it returns"
        )
    elif not returns(step) or not is_in_lines(step, returns(step)):
        problem = f"call self.{stage.step_end}(...) at the end of {stage.step}"
    elif len(parameters(hook)) != 2 or (values and not _ends_with_return(hook)):
        problem = f"call it at the end of {stage.step}; it returns a value only sometimes"
    if problem:
        source.note(about.id, node, stage.step_end, None, f"never called since 2.0: {problem}")
        return new
    assert step is not None
    name = _free_name(step, "output")

    def write(value: cst.BaseExpression) -> Sequence[str]:
        text = EMPTY.code_for_node(value)
        if values:
            return (f"return self.{stage.step_end}({text})",)
        return (f"{name} = {text}", f"self.{stage.step_end}({name})", f"return {name}")

    written = f"called by {stage.step}"
    source.note(about.id, node, stage.step_end, written, about.reason)
    return with_method(new, stage.step, at_returns(step, write))


def _collect(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> cst.ClassDef:
    """Turns `*_epoch_end(outputs)` into `on_*_epoch_end()`, which reads what steps have kept."""
    hook = methods(new).get(stage.old)
    if hook is None:
        return new
    taken = parameter_names(hook)[1:]
    node, about = methods(old)[stage.old], rule_of("hook-epoch-end")
    found = f"{stage.old}({', '.join(parameter_names(hook))})"
    problem = _not_mechanical(source, old, new, stage)
    made = None
    if not problem:
        is_read = uses(hook.body, taken[0])
        attribute = _free_attribute(new, f"{stage.name}_step_outputs")
        made = _keep(source, old, new, stage, attribute) if is_read else new
        if made is None:
            problem = "its __init__ does not call super().__init__() in a line of its own"
    if made is None:
        remedy = (
            f"raises an error since 2.0: write {stage.new}(self) that reads a list which "
            f"{stage.step} appends to, and clears it; left alone, as {problem}"
        )
        source.note(about.id, node, found, None, remedy)
        return new
    note = about.reason
    if is_read:
        note += f"; what {stage.step} returns is kept in self.{attribute}"
    source.note(about.id, node, found, f"{stage.new}(self)", note)
    lines = _read(made, stage, attribute, taken[0]) if is_read else []
    return _rename(made, stage, lines, taken[0])


def _not_mechanical(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> str:
    """Says why a hook cannot be rewritten; empty where it can."""
    own = methods(new)
    hook = own[stage.old]
    if len(parameters(hook)) != 2:
        return "it takes other parameters than outputs"
    if m.findall(new, m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name(stage.old))):
        return f"it calls {stage.old} of its base"
    there = own.get(stage.new)
    if there is not None and len(parameters(there)) != 1:
        return f"{stage.new} is there, too"
    if base := base_with(source.facts, old.name.value, (stage.old, stage.new)):
        return f"{base}, from which it derives, has one, too, whose outputs would never be cleared"
    if not uses(hook.body, parameter_names(hook)[1]):
        return ""
    if not isinstance(hook.body, cst.IndentedBlock):
        return "its body stands on the line of its name"
    step = own.get(stage.step)
    if step is not None and {"optimizer_idx", "hiddens"} & set(parameter_names(step)):
        return f"{stage.step} is called several times for a batch"
    if stage.batch_end in own and not _keeps_in_step(source, old, new, stage):
        return f"what {stage.step} returns is not plain to see"
    return ""


def _keeps_in_step(source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage) -> bool:
    """Tells whether the step itself can keep what it returns, as only the Trainer calls it."""
    step = methods(new).get(stage.step)
    if step is None or has_heirs(source.facts, old.name.value, stage.step):
        return False
    values = returns(step)
    if not values or not is_in_lines(step, values):
        return False
    if any(is_call_of_self(one, stage.step) for one in m.findall(new, m.Call())):
        return False
    if stage.name != "training":
        return True
    return all(one.value and step_output(new, step, one.value) for one in values)


def _keep(
    source: Source, old: cst.ClassDef, new: cst.ClassDef, stage: _Stage, attribute: str
) -> cst.ClassDef | None:
    """Has a class keep what a step returns: in the step, or where the batch ends."""
    in_step = _keeps_in_step(source, old, new, stage)
    made = (
        _keep_in_step(new, stage, attribute)
        if in_step
        else (_keep_at_batch_end(new, stage, attribute))
    )
    by_loader = _by_loader(new, stage)
    return with_attribute(made, attribute, "[]" if by_loader == "no" else "{}")


def _keep_in_step(node: cst.ClassDef, stage: _Stage, attribute: str) -> cst.ClassDef:
    step = methods(node)[stage.step]
    keep = _append(node, stage, attribute)
    name = _free_name(step, "output")

    def write(value: cst.BaseExpression) -> Sequence[str]:
        kind = step_output(node, step, value) if stage.name == "training" else ""
        plain = isinstance(value, cst.Name)
        text = EMPTY.code_for_node(value)
        said = text if plain else name
        kept = {
            "loss": f'{{"loss": {said}.detach()}}',
            "mapping": f'{{**{said}, "loss": {said}["loss"].detach()}}',
        }.get(kind, said)
        first = () if plain else (f"{name} = {text}",)
        return (*first, f"{keep}({kept})", f"return {said}")

    return with_method(node, stage.step, at_returns(step, write))


def _keep_at_batch_end(node: cst.ClassDef, stage: _Stage, attribute: str) -> cst.ClassDef:
    """Adds the hook that is given what the step returned, before the one of the epoch."""
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
    """Tells whether outputs are kept for each loader: `no`, `always`, or `several` where so."""
    step = methods(node).get(stage.step)
    if stage.name == "training":
        return "no"
    if step is None:
        return "several"
    found = [one for one in parameters(step) if one.name.value == "dataloader_idx"]
    if not found:
        return "no"
    return "always" if found[0].default is None else "several"


def _append(node: cst.ClassDef, stage: _Stage, attribute: str) -> str:
    if _by_loader(node, stage) == "no":
        return f"self.{attribute}.append"
    return f"self.{attribute}.setdefault(dataloader_idx, []).append"


def _read(node: cst.ClassDef, stage: _Stage, attribute: str, name: str) -> list[str]:
    """Writes the lines that take what was kept, and forget it."""
    kind = _by_loader(node, stage)
    kept = f"self.{attribute}" if kind == "no" else f"self.{attribute}.values()"
    lines = [f"{name} = list({kept})", f"self.{attribute}.clear()"]
    if kind == "several":
        lines.append(f"{name} = {name}[0] if len({name}) == 1 else {name}")
    return lines


def _rename(node: cst.ClassDef, stage: _Stage, lines: list[str], name: str) -> cst.ClassDef:
    """Gives the hook its new name; where others call it, the new one calls it, too."""
    own = methods(node)
    hook = own[stage.old]
    is_called = any(is_call_of_self(one, stage.old) for one in _calls(node))
    if not is_called and stage.new not in own:
        made = without_parameters(hook, [name]).with_changes(name=cst.Name(stage.new))
        return with_method(node, stage.old, at_head(made, *lines) if lines else made)
    helper = f"_{stage.old}"
    node = rename_calls(node, stage.old, helper)
    hook = methods(node)[stage.old].with_changes(name=cst.Name(helper))
    node = with_method(node, stage.old, hook)
    lines = [*lines, f"self.{helper}({name if lines else '[]'})"]
    if stage.new in own:
        return with_method(node, stage.new, at_head(methods(node)[stage.new], *lines))
    body = "".join(f"    {line}\n" for line in lines)
    added = cst.parse_statement(f"def {stage.new}(self):\n{body}")
    assert isinstance(added, cst.FunctionDef)
    blank = [cst.EmptyLine(indent=False)]
    return after_method(node, helper, added.with_changes(leading_lines=blank))


def _calls(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    return m.findall(node, m.Call())


def _ends_with_return(method: cst.FunctionDef) -> bool:
    last = method.body.body[-1]
    return m.matches(last, m.SimpleStatementLine(body=[m.ZeroOrMore(), m.Return()])) or isinstance(
        last, cst.Return
    )


def _free_name(method: cst.FunctionDef, wanted: str) -> str:
    taken = {one.value for one in m.findall(method, m.Name()) if isinstance(one, cst.Name)}
    return next(one for one in (wanted, f"step_{wanted}", f"kept_{wanted}") if one not in taken)


def _free_attribute(node: cst.ClassDef, wanted: str) -> str:
    taken = attributes_set(node) | set(methods(node))
    return next(one for one in (wanted, f"kept_{wanted}", f"all_{wanted}") if one not in taken)
