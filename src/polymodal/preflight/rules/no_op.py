"""Options without effect: each is changed, and what is built with it compared with what was."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, get_args, get_origin

from polymodal.diagnostics import Diagnostic
from polymodal.preflight.context import Context, flatten
from polymodal.preflight.rules.signatures import annotation

Make = Callable[[Mapping[str, Any]], Any]


def check_no_op_options(context: Context) -> Iterator[Diagnostic]:
    """Change each option that the user has written, builds its part anew, and compares.

    Args:
        context: The experiment, its parts built as far as possible.

    Yields:
        A finding for each option whose change leaves everything as it was.
    """
    from polymodal.experiment.deep_equal import deep_equal

    num_tried, num_idle = 0, 0
    for section, make in _makers(context):
        before = _built(make, context.config)
        for key, value in flatten(_at(context.config, section), section) if before else ():
            others = _others(context, key, value) if _is_written(context, key) else []
            after = [_built(make, _changed(context.config, key, other)) for other in others]
            built = [result for result in after if result]
            num_tried += bool(built)
            if built and all(deep_equal(before, result) for result in built):
                tried = " or ".join(
                    str(other) for other, is_built in zip(others, after, strict=True) if is_built
                )
                num_idle += 1
                yield Diagnostic(
                    "no effect",
                    key,
                    f"{key}={value} has no effect: with {tried} the same is built",
                    hint="remove it, or change the option that makes it useless",
                    severity="warning",
                )

    context.notes.append(
        f"effects: {num_tried} of your options were changed one by one; without effect: {num_idle}"
    )


def _makers(context: Context) -> Iterator[tuple[str, Make]]:
    """Dotted key of a section, and what builds it from a configuration; nothing heavy."""
    from polymodal.experiment.components import build_seeded, learning_rates

    task, widths = context.built.get("task"), context.built.get("widths")
    if task is None or not widths:
        return
    names = task.classes or task.values
    counts = {"classes": names, "class_counts": [1.0 + n for n in range(len(names))]}
    given: dict[str, dict[str, Any]] = {
        **{f"encoder.{name}": {} for name in context.built.get("encoders", {})},
        "model": {"feature_sizes": widths, "num_outputs": task.num_outputs},
        "loss": {"optional": {**counts, "num_targets": len(names)}},
        "task": {},
    }
    for key, arguments in given.items():
        if context.is_sound(key.partition(".")[0]):
            yield key, partial(_seeded, build_seeded, key, arguments)
    if context.is_sound("optimizer", "scheduler"):
        yield "scheduler", learning_rates


def _seeded(
    make: Callable[..., Any], key: str, given: Mapping[str, Any], config: Mapping[str, Any]
) -> Any:
    return make(_at(config, key), key, **given)


def _built(make: Make, config: Mapping[str, Any]) -> tuple[Any] | None:
    """What is built; None where the options are refused."""
    try:
        return (make(config),)
    except Exception:  # a refusal is an effect, whatever its kind
        return None


def _is_written(context: Context, key: str) -> bool:
    entry = context.origins.entry(key)
    by_user = key in context.origins.overrides or (entry is not None and entry.origin.by_user)
    return by_user and not key.rpartition(".")[2].startswith("_")


def _others(context: Context, key: str, value: Any) -> list[Any]:
    """Values to try in place of one."""
    hint = annotation(context.config, key, context.projects)
    literals = [
        member
        for hint_part in (hint, *get_args(hint))
        if get_origin(hint_part) is Literal
        for member in get_args(hint_part)
    ]
    if literals:
        return [literal for literal in literals if literal != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value * 2, value + 1] if value else [1]
    if isinstance(value, float):
        return [value / 2] if value else [0.25]
    return []


def _changed(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(config))
    *path, name = key.split(".")
    _at(changed, ".".join(path))[name] = value
    return changed


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for word in key.split("."):
        node = node[word]
    return node
