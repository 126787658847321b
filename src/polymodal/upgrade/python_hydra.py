"""Hydra's entry points: which release's behaviour they ask for."""

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_calls import EQUAL, target_of
from polymodal.upgrade.python_source import (
    Source,
    argument,
    dotted,
    rule_of,
    why,
    words_between,
)

MAIN = "hydra.main"
ENTRIES = (
    MAIN,
    "hydra.initialize",
    "hydra.initialize_config_dir",
    "hydra.initialize_config_module",
)
# What Hydra 1.3 takes for granted where nothing is said: anything newer would change the working
# directory, the default folder of configurations, and what old defaults lists mean.
TODAY = "1.1"
KEPT = (
    "what Hydra does where it is not said, so that nothing changes: each run still works in its "
    "own folder; for 1.3, set hydra.job.chdir=true if relative paths count on that"
)


def gather_hydra(source: Source) -> None:
    """Notes whether the runs of a tree work in folders of their own.

    Args:
        source: The file.
    """
    for call in m.findall(source.module, m.Call()):
        if isinstance(call, cst.Call) and target_of(source, call) == MAIN:
            base = argument(call, "version_base")
            if base is None or m.matches(base.value, m.SimpleString(value=f'"{TODAY}"')):
                source.facts.chdir = True


def rewrite_entry(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    """Rewrites the arguments of `hydra.main` and of the functions that initialise Hydra.

    Args:
        source: The file.
        old: The call as it was.
        new: The call as it is now.
    """
    target = target_of(source, old)
    if target == "hydra.compose":
        return _without_strict(source, old, new)
    if target not in ENTRIES or any(one.star for one in old.args):
        return new
    new = _without_strict(source, old, new)
    path = argument(old, "config_path")
    if path is not None and dotted(path.value) == "None" and argument(old, "version_base") is None:
        note = why(rule_of("hydra-config-path"))
        if argument(old, "config_name") is not None and "ConfigStore" not in source.text:
            source.note("hydra-config-path", path, source.code(path), 'config_path="."', note)
            new = new.with_changes(args=[_with_folder(one) for one in new.args])
        else:
            source.note("hydra-config-path", path, source.code(path), None, note)
    if argument(old, "version_base") is not None or len(_positional(old)) > 2:
        return new
    written = f'version_base="{TODAY}"'
    source.note("hydra-version-base", old, f"{target} without version_base", written, KEPT)
    added = cst.Arg(cst.SimpleString(f'"{TODAY}"'), keyword=cst.Name("version_base"), equal=EQUAL)
    place = len(_positional(old))
    args = [*new.args[:place], added, *new.args[place:]]
    return new.with_changes(args=words_between(args, new.args))


def _positional(call: cst.Call) -> list[cst.Arg]:
    return [one for one in call.args if one.keyword is None]


def _with_folder(arg: cst.Arg) -> cst.Arg:
    if arg.keyword is not None and arg.keyword.value == "config_path":
        return arg.with_changes(value=cst.SimpleString('"."'))
    return arg


def _without_strict(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    strict = argument(old, "strict")
    if strict is None:
        return new
    source.note("hydra-strict", strict, source.code(strict), "", why(rule_of("hydra-strict")))
    kept = [one for one in new.args if one.keyword is None or one.keyword.value != "strict"]
    return new.with_changes(args=words_between(kept, new.args))
