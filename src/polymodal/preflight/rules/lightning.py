"""Options of Lightning with which a record would say something else than what was run."""

from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.diagnostics import Diagnostic
from polymodal.errors import ConfigError
from polymodal.preflight.context import Context
from polymodal.security.targets import resolve_target

REFUSED: Mapping[str, tuple[str, str]] = {  # an option that is on: why not, and what to do
    "use_distributed_sampler": (
        "batches are divided among the devices already, and would be once more",
        "leave it out",
    ),
    "barebones": (
        "nothing would be logged and no checkpoint kept, from which the trained model is read",
        "leave it out; `python -m benchmarks` measures speed",
    ),
    "model_registry": (
        "checkpoints would be uploaded elsewhere",
        "leave it out; `polymodal push` exports a run",
    ),
}


def check_lightning(context: Context) -> Iterator[Diagnostic]:
    """Yield a finding for each refused option of the trainer or of a checkpoint callback."""
    trainer = context.config.get("trainer")
    if not isinstance(trainer, Mapping):
        return
    for name, (reason, hint) in REFUSED.items():
        if trainer.get(name):
            key = f"trainer.{name}"
            yield Diagnostic(
                "misleading record", key, f"{key}={trainer[name]}: {reason}", hint=hint
            )
    if trainer.get("limit_test_batches") == 0 and trainer["limit_test_batches"] is not False:
        key = "trainer.limit_test_batches"
        message = f"{key}=0: nothing would be predicted, and the run would have no scores"
        yield Diagnostic("misleading record", key, message, hint="leave it out")
    if "fit" in (context.config.get("stages") or ()):
        yield from _best_checkpoints(context, trainer)


def _best_checkpoints(context: Context, trainer: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Checkpoints that are not those of the best epoch, which the run is scored with."""
    keepers = _best_keepers(context)
    followed = [name for name, section in keepers.items() if section.get("monitor")]
    for name, section in keepers.items():
        key = f"callbacks.{name}"
        if not followed:
            message = f"{key}.monitor is null: no best checkpoint is known, and the last is scored"
            hint = f"set {key}.monitor, such as val/uar, or use callbacks=last"
            yield Diagnostic("no best checkpoint", f"{key}.monitor", message, hint=hint)
        if section.get("save_top_k") == 0 and section.get("monitor"):
            message = f"{key}.save_top_k=0 keeps no best checkpoint, and the last would be scored"
            hint = "use 1 or more, -1 for all, or callbacks=last"
            yield Diagnostic("no best checkpoint", f"{key}.save_top_k", message, hint=hint)
        for option in ("every_n_train_steps", "train_time_interval"):
            if section.get(option) and str(section.get("monitor", "")).startswith("val/"):
                message = (
                    f"{key}.{option}={section[option]}: checkpoints within an epoch would be "
                    "ranked by the validation of the epoch before, which had other weights"
                )
                hint = "leave it out; every_n_epochs keeps fewer"
                yield Diagnostic("misleading record", f"{key}.{option}", message, hint=hint)
        if section.get("save_on_train_epoch_end") and _validates_within_epochs(trainer):
            option = f"{key}.save_on_train_epoch_end"
            message = (
                f"{option}=True with trainer.val_check_interval={trainer['val_check_interval']}: "
                "the weights at the end of an epoch are not those that were validated last"
            )
            yield Diagnostic("misleading record", option, message, hint=f"set {option}=false")


def _validates_within_epochs(trainer: Mapping[str, Any]) -> bool:
    interval = trainer.get("val_check_interval")
    return interval is not None and not (isinstance(interval, float) and interval == 1.0)


def _best_keepers(context: Context) -> dict[str, Mapping[str, Any]]:
    """Name to section of each callback that keeps the best of several checkpoints."""
    from polymodal.training.checkpoints import keeps_best

    keepers = {}
    for name, section in (context.config.get("callbacks") or {}).items():
        if not isinstance(section, Mapping):
            continue
        try:
            target = resolve_target(str(section.get("_target_", "")), name, context.projects)
        except ConfigError:  # reported by the rule of targets
            continue
        if keeps_best(target):
            keepers[str(name)] = section
    return keepers
