"""Entry points of Hydra: which release's behaviour they ask for."""

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_calls import target_of
from polymodal.upgrade.python_source import (
    Source,
    argument,
    dotted,
    keyword_arg,
    keyword_of,
    lay_out_args,
)
from polymodal.upgrade.rules import rule_by_id

MAIN = "hydra.main"
INITIALIZE = "hydra.initialize"
ENTRIES = (MAIN, INITIALIZE, f"{INITIALIZE}_config_dir", f"{INITIALIZE}_config_module")
# Hydra 1.3's default. Anything newer changes the working directory, the default folder of
# configurations, and the meaning of old defaults lists.
TODAY = "1.1"
DEFAULT_NOTE = (
    "what Hydra does by default, so that nothing changes: each run still works in its "
    "own folder; for 1.3, set hydra.job.chdir=true if relative paths count on that"
)


def gather_hydra(source: Source) -> None:
    """Note whether runs of the project change into their own folders."""
    for call in m.findall(source.module, m.Call()):
        if isinstance(call, cst.Call) and target_of(source, call) == MAIN:
            base = argument(call, "version_base")
            if base is None or m.matches(base.value, m.SimpleString(value=f'"{TODAY}"')):
                source.facts.chdir = True


def rewrite_entry(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    """Rewrite the arguments of `hydra.main` and of the functions that initialise Hydra."""
    target = target_of(source, old)
    if target == "hydra.compose":
        return _without_strict(source, old, new)
    if target not in ENTRIES or any(arg.star for arg in old.args):
        return new
    new = _without_strict(source, old, new)
    path = argument(old, "config_path")
    if path is not None and dotted(path.value) == "None" and argument(old, "version_base") is None:
        has_file = argument(old, "config_name") is not None and "ConfigStore" not in source.text
        after = 'config_path="."' if has_file else None
        source.note_rule(rule_by_id("hydra-config-path"), path, source.code(path), after)
        if has_file and (arg := argument(new, "config_path")) is not None:
            new = new.with_deep_changes(arg, value=cst.SimpleString('"."'))
    num_positional = sum(arg.keyword is None for arg in old.args)
    if argument(old, "version_base") is not None or num_positional > 2:
        return new
    after = f'version_base="{TODAY}"'
    source.note("hydra-version-base", old, f"{target} without version_base", after, DEFAULT_NOTE)
    args = list(new.args)
    args.insert(num_positional, keyword_arg("version_base", cst.SimpleString(f'"{TODAY}"')))
    return new.with_changes(args=lay_out_args(args, new.args))


def _without_strict(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    strict = argument(old, "strict")
    if strict is None:
        return new
    source.note_rule(rule_by_id("hydra-strict"), strict, source.code(strict), "")
    remaining = [arg for arg in new.args if keyword_of(arg) != "strict"]
    return new.with_changes(args=lay_out_args(remaining, new.args))
