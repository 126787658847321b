"""Build every component that needs no data, and collect the options they reject."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from polymodal.config.schema import PathOptions
from polymodal.diagnostics import Diagnostic
from polymodal.errors import ConfigError, UserError
from polymodal.preflight.context import Context
from polymodal.security.targets import project_line, resolve_target

UNKNOWN_WIDTH = 64  # of an encoder that was not built


def check_components(context: Context) -> Iterator[Diagnostic]:
    """Build task, scores, loss, encoders, model, optimiser, schedule and trainer.

    Args:
        context: The experiment; what could be built is put into `built`.

    Yields:
        A finding for each component that rejects its options.
    """
    yield from _task(context)
    yield from _encoders(context)
    yield from _model(context)
    yield from _optimizer(context)
    yield from _trainer(context)


def _task(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import build_loss, build_score, build_task

    if not context.is_sound("task"):
        return
    task, findings = _tried(context, "task", partial(build_task, context.config["task"]))
    yield from findings
    if task is None:
        return
    context.built["task"] = task
    if context.is_sound("loss"):
        names = task.classes or task.values
        loss = partial(build_loss, context.config["loss"], task, [1.0] * len(names), len(names))
        yield from _tried(context, "loss", loss)[1]
    scores: dict[str, Any] = {}
    for name, section in (context.config.get("scores") or {}).items():
        if context.is_sound("scores") and section:
            score, findings = _tried(context, f"scores.{name}", partial(build_score, section, task))
            yield from findings
            scores |= {name: score} if score is not None else {}
    if context.is_sound("scores"):
        context.built["scores"] = scores


def _encoders(context: Context) -> Iterator[Diagnostic]:
    from polymodal.config.instantiate import instantiate
    from polymodal.config.run_encoders import FROM_RUN
    from polymodal.experiment.components import without_memory
    from polymodal.experiment.trained_encoders import trained_encoder

    sections = context.config.get("encoder") or {}
    if not sections and "encoder" in context.config:
        message = "encoder names no modality"
        yield Diagnostic(
            "no encoder", "encoder", message, hint="choose one, such as encoder=[logmel]"
        )
    context.built["widths"] = dict.fromkeys(sections, UNKNOWN_WIDTH)
    context.built["encoders"], context.built["trained"] = {}, {}
    for name, section in sections.items() if context.is_sound("encoder") else ():
        key = f"encoder.{name}"
        if section.get(FROM_RUN):
            runs = PathOptions(**context.config["paths"]).runs_folder
            trained, findings = _tried(context, key, partial(trained_encoder, name, section, runs))
            yield from findings
            if trained is None or trained.run is None:
                continue
            context.built["trained"][name] = trained
            section = trained.section  # class and options are those of the run
        target = resolve_target(section["_target_"], key, context.projects)
        source = getattr(target, "source", None)
        context.built.setdefault("sources", {})[name] = source
        # Of others weights or features are read later; those of signals say which they read.
        if not getattr(target, "is_trained_from_scratch", True) and source != "signals":
            continue
        build = partial(instantiate, section, key)
        encoder, findings = _tried(context, key, partial(without_memory, build))
        yield from findings
        if encoder is not None:
            context.built["encoders"][name] = encoder
            context.built["widths"][name] = encoder.feature_size


def _model(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import build_balance, build_model, without_memory

    task, widths = context.built.get("task"), context.built["widths"]
    if task is None or not widths:
        return
    if context.is_sound("model"):
        model = partial(build_model, context.config["model"], widths, task)
        yield from _tried(context, "model", partial(without_memory, model))[1]
    if context.is_sound("balance"):
        balance = partial(build_balance, context.config["balance"], widths, task)
        yield from _tried(context, "balance", partial(without_memory, balance))[1]


def _optimizer(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import (
        build_optimizer,
        build_scheduler,
        default_optimizer,
    )

    optimizer = None
    if context.is_sound("optimizer"):
        build = partial(build_optimizer, context.config["optimizer"])
        optimizer, findings = _tried(context, "optimizer", build)
        yield from findings
    if context.is_sound("scheduler"):
        optimizer = optimizer or default_optimizer()
        schedule = partial(build_scheduler, context.config["scheduler"], optimizer)
        yield from _tried(context, "scheduler", schedule)[1]


def _trainer(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.trainer import trainer_from

    if context.is_sound("trainer"):
        precision = context.config["trainer"].get("precision") or "32-true"
        several = len(context.config.get("encoder") or {}) > 1
        trainer = partial(
            trainer_from,
            context.config["trainer"],
            precision,
            several=several,
            callbacks=[],
            logger=False,
        )
        yield from _tried(context, "trainer", trainer)[1]


def _tried(context: Context, section: str, make: Callable[[], Any]) -> tuple[Any, list[Diagnostic]]:
    """Return the built component, or the findings that prevent it."""
    try:
        return make(), []
    except UserError as error:
        context.broken.add(section.partition(".")[0])
        return None, [context.refused(error, section)]
    except Exception as error:  # of a library or a class of the user's project, whatever it is
        context.broken.add(section.partition(".")[0])
        return None, [context.refused(_explained(error, section), section, "cannot be built")]


def _explained(error: Exception, section: str) -> ConfigError:
    """What an exception says, and the line of the user's project that raised it, if one did."""
    first = (str(error).strip().splitlines() or [""])[0]
    line = project_line(error)
    if line is None:
        return ConfigError(f"{section} cannot be built: {first or type(error).__name__}")
    message = f"{section} cannot be built: {line} raised {type(error).__name__}: {first}"
    return ConfigError(message, hint=f"correct that line, or the options of {section}")
