"""Options that do not fit one another, although each alone would do."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeGuard

from polymodal.config.grid import VARIABLE, expand_grid, with_options
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError, UserError, nearest
from polymodal.preflight.context import Context, flatten
from polymodal.preflight.rules.signatures import signature_findings
from polymodal.security.targets import resolve_target

MAX_COMBINATIONS = 16
Check = Callable[[Context], Iterator[Diagnostic]]


def check_consistency(context: Context) -> Iterator[Diagnostic]:
    """Compare options with one another.

    Args:
        context: The experiment, its parts built as far as possible.

    Yields:
        A finding for each pair that does not fit.
    """
    for check in CHECKS:
        yield from check(context)


def check_monitors(context: Context) -> Iterator[Diagnostic]:
    """Monitors that name no score of the task, or whose direction is the wrong one."""
    from polymodal.evaluation.score import monitor_mode, score_names

    if "task" not in context.built or "scores" not in context.built:
        return
    task, scores = context.built["task"], context.built["scores"]
    names = score_names(scores, task.values)
    logged = ["train/loss", "val/loss", *(f"val/{name}" for name in names)]
    for name, section in _callbacks(context):
        key, monitor = f"callbacks.{name}.monitor", section.get("monitor")
        if not isinstance(monitor, str):
            continue
        if monitor not in logged:
            message = f"{key}={monitor} is not a score of this task"
            yield Diagnostic("unknown monitor", key, message, hint=nearest(monitor, logged))
            continue
        fitting, mode = monitor_mode(monitor, scores), section.get("mode", "auto")
        if mode not in ("auto", fitting):
            yield Diagnostic(
                "wrong mode",
                f"callbacks.{name}.mode",
                f"callbacks.{name}.mode={mode}, but {monitor} is better the other way round",
                hint=f"use callbacks.{name}.mode={fitting}, or auto",
            )
    chosen = (context.config.get("selection") or {}).get("score")
    if isinstance(chosen, str) and chosen not in names and _has_grid(context):
        message = f"selection.score={chosen} is not a score of this task"
        yield Diagnostic("unknown score", "selection.score", message, hint=nearest(chosen, names))
    for above in ("above", "below"):
        alert = (context.config.get("alert") or {}).get(above) or {}
        score_keys = [
            *logged,
            *(f"{split}/{name}" for split in ("test", "train") for name in names),
        ]
        for name in alert if isinstance(alert, Mapping) else ():
            if name not in score_keys:
                key = f"alert.{above}.{name}"
                message = f"{key}: no score of this task is called {name}"
                yield Diagnostic("unknown score", key, message, hint=nearest(str(name), score_keys))


def check_validation(context: Context) -> Iterator[Diagnostic]:
    """Score that a callback waits for and that are never computed."""
    trainer = context.config.get("trainer")
    if not isinstance(trainer, Mapping):
        return
    waiting = [
        f"callbacks.{name}"
        for name, section in _callbacks(context)
        if str(section.get("monitor", "")).startswith("val/")
    ]
    epochs, every = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch", 1)
    reasons = {
        "limit_val_batches": trainer.get("limit_val_batches") == 0,
        "check_val_every_n_epoch": _is_number(epochs) and _is_number(every) and 0 < epochs < every,
    }
    for name, is_so in reasons.items():
        if is_so and waiting:
            key = f"trainer.{name}"
            message = f"{key}={trainer[name]}: nothing is validated, but {waiting[0]} waits for it"
            yield Diagnostic(
                "never validated", key, message, hint="change it, or use callbacks=last"
            )


def check_patience(context: Context) -> Iterator[Diagnostic]:
    """Options of callbacks that the training is too short for."""
    epochs = (context.config.get("trainer") or {}).get("max_epochs")
    if not _is_number(epochs) or epochs < 1:
        return
    for name, section in _callbacks(context):
        for option, consequence in (
            ("patience", "never stops"),
            ("every_n_epochs", "writes only at the end"),
        ):
            key, value = f"callbacks.{name}.{option}", section.get(option)
            origin = context.origins.find(key)
            length = context.origins.find("trainer.max_epochs")
            chosen = any(location is not None and location.by_user for location in (origin, length))
            too_long = _is_number(value) and value >= epochs + (option == "every_n_epochs")
            if too_long and epochs > 1 and chosen:
                yield Diagnostic(
                    "no effect",
                    key,
                    f"{key}={value} {consequence}: the training has {epochs} epochs",
                    hint=f"make it less than {epochs}, or trainer.max_epochs more",
                    severity="warning",
                    origin=origin if origin is not None and origin.by_user else length,
                )


def check_training_length(context: Context) -> Iterator[Diagnostic]:
    """Trainings that end before they begin."""
    trainer = context.config.get("trainer")
    if not isinstance(trainer, Mapping) or "fit" not in (context.config.get("stages") or ()):
        return
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(name) == 0 and trainer.get(name) is not False:
            key = f"trainer.{name}"
            yield Diagnostic("no training", key, f"{key}=0: nothing is trained", "more than 0")
    if trainer.get("fast_dev_run"):
        key = "trainer.fast_dev_run"
        message = f"{key} keeps no checkpoint, and the trained model is read from one"
        yield Diagnostic("no checkpoint", key, message, hint="use debug=fast")
    epochs, least = trainer.get("max_epochs"), trainer.get("min_epochs")
    if _is_number(epochs) and _is_number(least) and least > epochs > 0:
        key = "trainer.min_epochs"
        message = f"{key}={least} is more than trainer.max_epochs={epochs}"
        yield Diagnostic("no effect", key, message, severity="warning")


def check_checkpoints(context: Context) -> Iterator[Diagnostic]:
    """Run that would end without a checkpoint to test."""
    trainer, stages = context.config.get("trainer"), context.config.get("stages")
    if not isinstance(trainer, Mapping) or not isinstance(stages, list):
        return
    from polymodal.training.checkpoints import keeps_checkpoints

    keepers = [
        name
        for name, section in _callbacks(context)
        if keeps_checkpoints(_target(context, f"callbacks.{name}", section))
    ]
    if "fit" in stages and not keepers:
        message = "no callback keeps a checkpoint, and the trained model is read from one"
        hint = "use callbacks=default, or callbacks=last for the last epoch"
        yield Diagnostic("no checkpoint", "callbacks", message, hint=hint)
    if trainer.get("enable_checkpointing") is False and keepers:
        key = "trainer.enable_checkpointing"
        message = f"{key}=False, but callbacks.{keepers[0]} keeps checkpoints"
        yield Diagnostic("no checkpoint", key, message, hint="leave it out")
    if stages and "fit" not in stages and not context.config.get("resume"):
        message = f"stages={stages}: nothing is trained, and no run is continued"
        hint = "add fit, or use `polymodal test RUN`"
        yield Diagnostic("nothing trained", "stages", message, hint=hint)


def check_lora(context: Context) -> Iterator[Diagnostic]:
    """Encoders that are frozen and adapted at once, or whose options need what is frozen."""
    for name, section in (context.config.get("encoder") or {}).items():
        if not isinstance(section, Mapping):
            continue
        key, frozen = f"encoder.{name}", section.get("freeze")
        if section.get("lora") and (frozen == "all" or _is_number(frozen)):
            message = f"{key}.freeze={frozen} together with {key}.lora"
            expected = "one of them: lora freezes all weights by itself, and trains its adapters"
            yield Diagnostic(
                "frozen and lora", f"{key}.freeze", message, expected, "leave out freeze"
            )
        if section.get("layer_decay") is not None and frozen == "all":
            dotted = f"{key}.layer_decay"
            message = f"{dotted} has no effect: {key}.freeze=all leaves nothing to learn there"
            yield Diagnostic("no effect", dotted, message, severity="warning")


def check_devices(context: Context) -> Iterator[Diagnostic]:
    """Strategies that need other devices."""
    trainer = context.config.get("trainer")
    if not isinstance(trainer, Mapping):
        return
    strategy, number = trainer.get("strategy"), trainer.get("devices")
    if strategy in (None, "auto") or not isinstance(strategy, str):
        return
    family = strategy.split("_")[0]
    if family in ("fsdp", "deepspeed") and trainer.get("accelerator") == "cpu":
        message = f"trainer.strategy={strategy} needs GPUs, and trainer.accelerator=cpu"
        yield Diagnostic("strategy", "trainer.strategy", message, hint="use trainer.strategy=ddp")
    origin = context.origins.find("trainer.strategy")
    if family == "ddp" and number == 1 and origin is not None and origin.by_user:
        message = f"trainer.strategy={strategy} has no effect with trainer.devices=1"
        yield Diagnostic(
            "no effect", "trainer.strategy", message, hint="trainer.devices=-1", severity="warning"
        )


def check_selection_grid(context: Context) -> Iterator[Diagnostic]:
    """Options to choose between that do not exist, or whose values do not fit."""
    options = (context.config.get("selection") or {}).get("grid")
    if not options:
        return
    try:
        combinations = expand_grid(options)
    except ConfigError as error:
        yield from_error(error, "sweep space", "selection.grid")
        return
    options_of_training = [
        key for key, _ in flatten({section: context.config.get(section) for section in VARIABLE})
    ]
    unknown = [str(key) for key in options if key not in options_of_training]
    for key in unknown:
        message = f"selection.grid names {key!r}, which is no option of what is trained"
        yield Diagnostic(
            "sweep space", f"selection.grid.{key}", message, hint=nearest(key, options_of_training)
        )
    reported = set()
    for combination in combinations[:MAX_COMBINATIONS] if not unknown else ():
        sections = {key.partition(".")[0] for key in combination}
        changed = with_options(context.config, combination)
        findings = [*signature_findings({key: changed[key] for key in sections}, context.projects)]
        refusal = _refused_model(context, changed) if "model" in sections else None
        if not findings and refusal is not None:
            option = next(key for key in combination if key.startswith("model."))
            findings = [from_error(refusal, "refused option", option)]
        for finding in findings:
            if finding.message not in reported and finding.key in combination:
                reported.add(finding.message)
                yield Diagnostic(
                    "sweep space",
                    f"selection.grid.{finding.key}",
                    f"selection.grid: {finding.message}",
                    finding.expected,
                    finding.hint,
                )


def _refused_model(context: Context, config: Mapping[str, Any]) -> UserError | None:
    """What the model says against its options; None where it is built."""
    from polymodal.experiment.components import build_model, without_memory

    task, widths = context.built.get("task"), context.built.get("widths")
    if task is None or not widths or "model" in context.broken:
        return None
    try:
        without_memory(partial(build_model, config["model"], widths, task))
    except UserError as error:
        return error
    return None


def check_unused_options(context: Context) -> Iterator[Diagnostic]:
    """Options that the user has set and that another option makes useless."""
    sources = set(context.built.get("sources", {}).values())
    for key, is_idle, why in _idle(context, sources):
        if is_idle and _written_by_user(context, key):
            yield Diagnostic("no effect", key, f"{key} has no effect: {why}", severity="warning")


def _written_by_user(context: Context, key: str) -> bool:
    entry = context.origins.entry(key)
    return key in context.origins.overrides or (entry is not None and entry.origin.by_user)


def _idle(context: Context, sources: set[Any]) -> Iterator[tuple[str, bool, str]]:
    """Option, whether it is useless, and why."""
    data = context.config.get("data") or {}
    selection = context.config.get("selection") or {}
    encoders = context.config.get("encoder") or {}
    unread = bool(sources) and "audio" not in sources
    for name in ("cache_mb", "channels"):
        yield f"data.{name}", unread, "no encoder reads audio"
    workers = data.get("num_workers")
    none = workers == 0 or (workers == "auto" and _default_num_workers(context) == 0)
    yield "data.timeout_s", none, f"data.num_workers={workers} starts no workers here"
    chosen = bool(selection.get("grid") or selection.get("out_of_fold"))
    yield "selection.score", not chosen, "nothing is chosen: there is no selection.grid"
    yield "test_subsets", len(encoders) == 1, "there is one modality"
    yield "evaluate_on", True, "it is for `polymodal test` and `polymodal predict`"


def _default_num_workers(context: Context) -> int:
    from polymodal.data.loaders import default_num_workers

    return default_num_workers(str((context.config.get("trainer") or {}).get("accelerator")))


def _callbacks(context: Context) -> list[tuple[str, Mapping[str, Any]]]:
    sections = context.config.get("callbacks") or {}
    return [(str(n), section) for n, section in sections.items() if isinstance(section, Mapping)]


def _target(context: Context, key: str, section: Mapping[str, Any]) -> object:
    """What a section names; None where that cannot be used."""
    try:
        return resolve_target(str(section.get("_target_", "")), key, context.projects)
    except ConfigError:
        return None


def _has_grid(context: Context) -> bool:
    return bool((context.config.get("selection") or {}).get("grid"))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


CHECKS: tuple[Check, ...] = (
    check_monitors,
    check_validation,
    check_patience,
    check_training_length,
    check_checkpoints,
    check_lora,
    check_devices,
    check_selection_grid,
    check_unused_options,
)
