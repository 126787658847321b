"""Which sections of a YAML file feed a class that an upgrade knows, and what they give it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from polymodal.upgrade.edits import Expression, Value
from polymodal.upgrade.names import renamed
from polymodal.upgrade.rules import rules
from polymodal.upgrade.yaml_text import (
    Document,
    Entry,
    below,
    entries,
    entry,
    is_mapping,
    is_scalar,
    is_sequence,
    plain,
)

TRAINER = "pytorch_lightning.Trainer"
ARGUMENTS = "transformers.TrainingArguments"
CALLBACKS = {
    "checkpoint": "pytorch_lightning.callbacks.ModelCheckpoint",
    "early_stop": "pytorch_lightning.callbacks.EarlyStopping",
}
# Arguments of a Trainer that have kept their names. They tell a section without `_target_`.
TRAINER_WORDS = frozenset(
    {
        *("accelerator", "accumulate_grad_batches", "barebones", "benchmark", "callbacks"),
        *("check_val_every_n_epoch", "default_root_dir", "detect_anomaly", "deterministic"),
        *("devices", "enable_autolog_hparams", "enable_checkpointing", "enable_model_summary"),
        *("enable_progress_bar", "fast_dev_run", "gradient_clip_algorithm", "gradient_clip_val"),
        *("inference_mode", "limit_predict_batches", "limit_test_batches", "limit_train_batches"),
        *("limit_val_batches", "log_every_n_steps", "logger", "max_epochs", "max_steps"),
        *("max_time", "min_epochs", "min_steps", "model_registry", "num_nodes", "plugins"),
        *("num_sanity_val_steps", "overfit_batches", "precision", "profiler", "strategy"),
        *("reload_dataloaders_every_n_epochs", "sync_batchnorm", "use_distributed_sampler"),
        "val_check_interval",
    }
)
# Arguments of TrainingArguments that nothing else has.
ARGUMENTS_WORDS = frozenset(
    {
        *("evaluation_strategy", "eval_strategy", "per_device_train_batch_size"),
        *("per_device_eval_batch_size", "per_gpu_train_batch_size", "per_gpu_eval_batch_size"),
        *("num_train_epochs", "load_best_model_at_end", "metric_for_best_model"),
        *("save_total_limit", "save_strategy", "logging_strategy", "warmup_ratio"),
        *("gradient_accumulation_steps", "dataloader_num_workers", "lr_scheduler_type"),
        *("group_by_length", "report_to", "output_dir", "push_to_hub", "label_smoothing_factor"),
    }
)


@dataclass(frozen=True)
class Section:
    """A section that feeds a class.

    Args:
        target: Dotted name of the class, as it is called now.
        options: The mapping that holds its arguments.
        style: How it names its class: `_target_`, `class_path`, or empty where it does not.
        named: Entry that names the class; None where nothing does.
        path: Keys that lead to it.
    """

    target: str
    options: Any
    style: str
    named: Entry | None
    path: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it gives all arguments; otherwise it adds to those of another file."""
        return self.named is not None


def sections(document: Document, path: Path) -> Iterator[Section]:
    """Finds the sections of a document.

    Args:
        document: The document.
        path: Its file; a group's folder tells what is in it.

    Yields:
        The sections, outer ones first.
    """
    for root in document.roots:
        for keys, node in below(root):
            if is_mapping(node) and (found := _section(node, keys, path)) is not None:
                yield found


def arguments(document: Document, section: Section) -> dict[str, Value]:
    """Returns the arguments that a section gives, as values.

    Args:
        document: The document.
        section: The section.
    """
    options = entries(section.options) if is_mapping(section.options) else ()
    return {
        one.name: value(document, one)
        for one in options
        if not one.name.startswith("_") and one.name != "defaults"
    }


def value(document: Document, one: Entry) -> Value:
    """Returns the value of an entry; as an expression, where it is known later or makes an object.

    Args:
        document: The document.
        one: The entry.
    """
    return _value(one.value, document.raw(one))


def class_of(node: Any) -> str:
    """Returns the class that a mapping names, as it is called now; empty where it names none.

    Args:
        node: Any node.
    """
    for style in ("_target_", "class_path"):
        found = entry(node, style)
        if found is not None and is_scalar(found.value):
            return now(str(found.value.value))
    return ""


def now(name: str) -> str:
    """Returns what a dotted name is called now; itself where it is gone.

    Args:
        name: The name.
    """
    found = renamed(name)
    return found.name if found is not None and found.name is not None else name


def _value(node: Any, raw: str) -> Value:
    if is_mapping(node) and class_of(node):
        return Expression(raw, class_of(node))
    if is_sequence(node):
        return [_value(one, "") for one in node.value]
    if is_scalar(node) and ("${" in node.value or node.value == "???"):
        return Expression(raw)
    return plain(node)


def _section(node: Any, keys: tuple[str, ...], path: Path) -> Section | None:
    named = entry(node, "_target_")
    if named is not None:
        return Section(class_of(node), node, "_target_", named, keys)
    named = entry(node, "class_path")
    if named is not None:
        given = entry(node, "init_args")
        return Section(class_of(node), given.value if given else None, "class_path", named, keys)
    names = {one.name for one in entries(node)}
    names = {one for one in names if one != "defaults"}
    known = names & (TRAINER_WORDS | old_names(TRAINER))
    if _is_trainer(keys, path) and 2 * len(known) > len(names):
        return Section(TRAINER, node, "", None, keys)
    if len(names & ARGUMENTS_WORDS) > 1 and "trainer" not in names:
        return Section(ARGUMENTS, node, "", None, keys)
    if len(keys) > 1 and keys[-2] == "callbacks":
        found = [target for word, target in CALLBACKS.items() if word in keys[-1]]
        return Section(found[0], node, "", None, keys) if found else None
    return None


def _is_trainer(keys: tuple[str, ...], path: Path) -> bool:
    return keys[-1:] == ("trainer",) or (not keys and path.parent.name == "trainer")


@cache
def old_names(target: str) -> frozenset[str]:
    """Returns all names that arguments of a class once had.

    Args:
        target: Dotted name of the class.
    """
    return frozenset(n for rule in rules("argument") if rule.is_about(target) for n in rule.old)
