"""Builds every part of an experiment that needs no data, and collects what they refuse."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from polymodal.diagnostics import Diagnostic
from polymodal.errors import UserError
from polymodal.preflight.context import Context
from polymodal.security.targets import resolve_target


def check_components(context: Context) -> Iterator[Diagnostic]:
    """Builds task, scores, loss, encoders, model, optimiser, schedule and trainer.

    Args:
        context: The experiment; what could be built is put into `built`.

    Yields:
        A finding for each part that refuses its options.
    """
    yield from _task(context)
    yield from _encoders(context)
    yield from _model(context)
    yield from _optimizer(context)
    yield from _trainer(context)


def _task(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import try_loss, try_score, try_task

    if not context.is_sound("task"):
        return
    task, findings = _tried(context, "task", partial(try_task, context.config))
    yield from findings
    if task is None:
        return
    context.built["task"] = task
    if context.is_sound("loss"):
        yield from _tried(context, "loss", partial(try_loss, context.config, task))[1]
    scores: dict[str, Any] = {}
    for name, section in (context.config.get("scores") or {}).items():
        if context.is_sound("scores") and section:
            score, findings = _tried(context, f"scores.{name}", partial(try_score, section, task))
            yield from findings
            scores |= {name: score} if score is not None else {}
    if context.is_sound("scores"):
        context.built["scores"] = scores


def _encoders(context: Context) -> Iterator[Diagnostic]:
    from polymodal.config.run_encoders import FROM_RUN
    from polymodal.experiment.components import UNKNOWN_WIDTH, is_light, try_encoder, try_trained

    sections = context.config.get("encoder") or {}
    if not sections and "encoder" in context.config:
        found = "encoder names no modality"
        yield Diagnostic(
            "no encoder", "encoder", found, hint="choose one, such as encoder=[logmel]"
        )
    context.built["widths"] = dict.fromkeys(sections, UNKNOWN_WIDTH)
    context.built["encoders"], context.built["trained"] = {}, {}
    for name, section in sections.items() if context.is_sound("encoder") else ():
        key = f"encoder.{name}"
        if section.get(FROM_RUN):
            trained, findings = _tried(context, key, partial(try_trained, name, context.config))
            yield from findings
            if trained is None or trained.run is None:
                continue
            context.built["trained"][name] = trained
            section = trained.section  # class and options are those of the run
        target = resolve_target(section["_target_"], key, context.projects)
        context.built.setdefault("sources", {})[name] = getattr(target, "source", None)
        if not is_light(target):
            continue
        encoder, findings = _tried(context, key, partial(try_encoder, section, key))
        yield from findings
        if encoder is not None:
            context.built["encoders"][name] = encoder
            context.built["widths"][name] = encoder.feature_size


def _model(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import try_balance, try_model

    task, widths = context.built.get("task"), context.built["widths"]
    if task is None or not widths:
        return
    if context.is_sound("model"):
        yield from _tried(context, "model", partial(try_model, context.config, widths, task))[1]
    if context.is_sound("balance"):
        yield from _tried(context, "balance", partial(try_balance, context.config, widths, task))[1]


def _optimizer(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import default_optimizer, try_optimizer, try_scheduler

    optimizer = None
    if context.is_sound("optimizer"):
        optimizer, findings = _tried(context, "optimizer", partial(try_optimizer, context.config))
        yield from findings
    if context.is_sound("scheduler"):
        optimizer = optimizer or default_optimizer()
        yield from _tried(context, "scheduler", partial(try_scheduler, context.config, optimizer))[
            1
        ]


def _trainer(context: Context) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import try_trainer

    if context.is_sound("trainer"):
        precision = context.config["trainer"].get("precision") or "32-true"
        yield from _tried(context, "trainer", partial(try_trainer, context.config, precision))[1]


def _tried(context: Context, section: str, make: Callable[[], Any]) -> tuple[Any, list[Diagnostic]]:
    """What a part is built as, or what it says against that."""
    try:
        return make(), []
    except UserError as error:
        context.broken.add(section.partition(".")[0])
        return None, [context.refused(error, section)]
    except Exception as error:  # of a class of the user's project, whatever it is
        found = f"{section} cannot be built: {type(error).__name__}: {error}"
        return None, [Diagnostic("cannot be built", section, found)]
