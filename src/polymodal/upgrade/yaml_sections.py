"""Sections of a YAML file that configure a known class, and their arguments."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from polymodal.upgrade.edits import Expression, Value
from polymodal.upgrade.names import current
from polymodal.upgrade.rules import rules
from polymodal.upgrade.yaml_text import Document, YamlEntry, entries, entry, to_plain

TRAINER = "pytorch_lightning.Trainer"
ARGUMENTS = "transformers.TrainingArguments"
CALLBACKS = {
    "checkpoint": "pytorch_lightning.callbacks.ModelCheckpoint",
    "early_stop": "pytorch_lightning.callbacks.EarlyStopping",
}
# Arguments of a Trainer that have kept their names; they identify a section without `_target_`.
TRAINER_OPTIONS = frozenset(
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
# Arguments that only TrainingArguments has.
ARGUMENTS_OPTIONS = frozenset(
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
    """A section that configures a class."""

    target: str  # current dotted name of the class
    options: Any  # the mapping that holds its arguments
    style: str  # `_target_`, `class_path`, or empty if the class is not named
    named: YamlEntry | None  # entry that names the class, if any
    path: tuple[str, ...]  # keys that lead to it

    @property
    def is_complete(self) -> bool:
        """Whether it gives all arguments; otherwise it overrides some of another file."""
        return self.named is not None


def sections(document: Document, path: Path) -> Iterator[Section]:
    """Yield the sections of a document, outer ones first; `path` tells its group."""
    for keys, node in document.nodes():
        if isinstance(node, MappingNode) and (section := _section(node, keys, path)) is not None:
            yield section


def arguments(document: Document, section: Section) -> dict[str, Value]:
    """Return the arguments of a section, as values."""
    return {
        option.name: _value(option.value, document.raw(option))
        for option in entries(section.options)
        if not option.name.startswith("_") and option.name != "defaults"
    }


def class_of(node: Any) -> str:
    """Return the current name of the class that a mapping names; empty if none."""
    for style in ("_target_", "class_path"):
        class_entry = entry(node, style)
        if class_entry is not None and isinstance(class_entry.value, ScalarNode):
            return current_name(str(class_entry.value.value))
    return ""


def current_name(name: str) -> str:
    """Return the current form of a dotted name; itself if it was removed."""
    move = current(name)
    return move.name if move is not None and move.name is not None else name


def _value(node: Any, raw: str) -> Value:
    if isinstance(node, MappingNode) and class_of(node):
        return Expression(raw, class_of(node))
    if isinstance(node, SequenceNode):
        return [_value(item, "") for item in node.value]
    if isinstance(node, ScalarNode) and ("${" in node.value or node.value == "???"):
        return Expression(raw)
    return to_plain(node)


def _section(node: Any, keys: tuple[str, ...], path: Path) -> Section | None:
    named = entry(node, "_target_")
    if named is not None:
        return Section(class_of(node), node, "_target_", named, keys)
    named = entry(node, "class_path")
    if named is not None:
        given = entry(node, "init_args")
        return Section(class_of(node), given.value if given else None, "class_path", named, keys)
    names = {item.name for item in entries(node)} - {"defaults"}
    matching = names & (TRAINER_OPTIONS | old_names(TRAINER))
    is_trainer = keys[-1:] == ("trainer",) or (not keys and path.parent.name == "trainer")
    if is_trainer and 2 * len(matching) > len(names):
        return Section(TRAINER, node, "", None, keys)
    if len(names & ARGUMENTS_OPTIONS) > 1 and "trainer" not in names:
        return Section(ARGUMENTS, node, "", None, keys)
    if len(keys) > 1 and keys[-2] == "callbacks":
        targets = [target for word, target in CALLBACKS.items() if word in keys[-1]]
        return Section(targets[0], node, "", None, keys) if targets else None
    return None


@cache
def old_names(target: str) -> frozenset[str]:
    """Return all names that arguments of a class once had."""
    return frozenset(n for rule in rules("argument") if rule.is_about(target) for n in rule.old)
