"""What an unknown key was meant to be: by meaning, then by spelling within its section."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from polymodal.config.instantiate import INJECTED
from polymodal.errors import ConfigError
from polymodal.security.targets import resolve_target

# Names of other programs (Lightning-Hydra-Template, Hugging Face's TrainingArguments, nkululeko,
# scikit-learn) to ours, the likeliest first.
MEANINGS: Mapping[str, tuple[str, ...]] = {
    "lr": ("optimizer.lr",),
    "learning_rate": ("optimizer.lr",),
    "weight_decay": ("optimizer.weight_decay",),
    "l2": ("optimizer.weight_decay",),
    "momentum": ("optimizer.momentum",),
    "betas": ("optimizer.betas",),
    "adam_epsilon": ("optimizer.eps",),
    "optim": ("optimizer",),
    "lr_scheduler": ("scheduler",),
    "lr_scheduler_type": ("scheduler",),
    "schedule": ("scheduler",),
    "warmup_steps": ("scheduler.warmup",),
    "warmup_ratio": ("scheduler.warmup",),
    "epochs": ("trainer.max_epochs",),
    "epoch": ("trainer.max_epochs",),
    "num_epochs": ("trainer.max_epochs",),
    "n_epochs": ("trainer.max_epochs",),
    "num_train_epochs": ("trainer.max_epochs",),
    "max_epoch": ("trainer.max_epochs",),
    "steps": ("trainer.max_steps",),
    "gpus": ("trainer.devices",),
    "gpu": ("trainer.devices",),
    "num_gpus": ("trainer.devices",),
    "n_gpu": ("trainer.devices",),
    "gpu_ids": ("trainer.devices",),
    "device": ("trainer.accelerator",),
    "no_cuda": ("trainer.accelerator",),
    "use_cpu": ("trainer.accelerator",),
    "fp16": ("trainer.precision",),
    "bf16": ("trainer.precision",),
    "amp": ("trainer.precision",),
    "grad_clip": ("trainer.gradient_clip_val",),
    "clip_grad": ("trainer.gradient_clip_val",),
    "max_grad_norm": ("trainer.gradient_clip_val",),
    "gradient_accumulation_steps": ("trainer.accumulate_grad_batches",),
    "accumulate": ("trainer.accumulate_grad_batches",),
    "logging_steps": ("trainer.log_every_n_steps",),
    "patience": ("callbacks.early_stopping.patience",),
    "early_stopping": ("callbacks.early_stopping",),
    "early_stopping_patience": ("callbacks.early_stopping.patience",),
    "monitor": ("task.monitor",),
    "metric_for_best_model": ("task.monitor",),
    "optimized_metric": ("task.monitor",),
    "metric": ("task.monitor", "scores"),
    "metrics": ("scores",),
    "measure": ("task.monitor",),
    "save_top_k": ("callbacks.checkpoint.save_top_k",),
    "save_total_limit": ("callbacks.checkpoint.save_top_k",),
    "batch_size": ("data.max_utterances",),
    "bs": ("data.max_utterances",),
    "train_batch_size": ("data.max_utterances",),
    "per_device_train_batch_size": ("data.max_utterances",),
    "workers": ("data.num_workers",),
    "n_workers": ("data.num_workers",),
    "num_worker": ("data.num_workers",),
    "dataloader_num_workers": ("data.num_workers",),
    "balancing": ("data.sampling",),
    "oversample": ("data.sampling",),
    "sampler": ("data.sampling",),
    "datamodule": ("corpus",),
    "dataset": ("corpus",),
    "datasets": ("corpus",),
    "databases": ("corpus",),
    "corpora": ("corpus",),
    "data_dir": ("corpus.root", "paths.data"),
    "data_path": ("corpus.root", "paths.data"),
    "dataset_path": ("corpus.root", "paths.data"),
    "root_dir": ("corpus.root", "paths.data"),
    "manifest": ("corpus.file",),
    "csv": ("corpus.file",),
    "labels": ("corpus.classes", "task.classes"),
    "classes": ("corpus.classes", "task.classes"),
    "output_dir": ("paths.runs",),
    "log_dir": ("paths.runs",),
    "run_dir": ("paths.runs",),
    "save_dir": ("paths.runs",),
    "cache_dir": ("paths.cache",),
    "folds": ("split.num_folds",),
    "n_folds": ("split.num_folds",),
    "k": ("split.num_folds",),
    "n_splits": ("split.num_folds",),
    "cv": ("split",),
    "test_size": ("split.test",),
    "val_size": ("split.val",),
    "validation": ("split.val",),
    "split_strategy": ("split",),
    "group": ("split.groups",),
    "random_state": ("seed",),
    "random_seed": ("seed",),
    "seed_everything": ("seed",),
    "hidden_size": ("model.hidden_sizes", "model.width", "encoder.speech.width"),
    "hidden_dim": ("model.hidden_sizes", "model.width", "encoder.speech.width"),
    "layers": ("model.hidden_sizes", "model.num_layers"),
    "d_model": ("model.width",),
    "drop": ("model.dropout",),
    "dropout": ("model.dropout",),
    "dropout_rate": ("model.dropout",),
    "heads": ("model.num_heads",),
    "nhead": ("model.num_heads",),
    "activation_function": ("model.activation",),
    "net": ("model",),
    "module": ("model",),
    "architecture": ("model",),
    "criterion": ("loss",),
    "loss_function": ("loss",),
    "class_weight": ("loss.class_weights",),
    "label_smoothing_factor": ("loss.label_smoothing",),
    "gamma": ("loss.focus",),
    "logger": ("tracker",),
    "wandb": ("tracker",),
    "report_to": ("tracker",),
    "exp": ("experiment",),
    "features": ("encoder",),
    "feats": ("encoder",),
    "modalities": ("encoder",),
    "modality": ("encoder",),
    "backbone": ("encoder",),
    "ckpt_path": ("resume",),
    "checkpoint": ("resume",),
    "resume_from_checkpoint": ("resume",),
    "train": ("stages",),
    "test": ("stages",),
    "do_train": ("stages",),
    "do_eval": ("stages",),
    "weights": ("ensemble.weights",),
    "ensemble_method": ("ensemble",),
    "voting": ("ensemble",),
}
# Sections whose entries have names of their own.
OPEN = ("callbacks", "scores", "encoder", "tracker")
MAX_LISTED = 12


class KnownKeys:
    """The keys of a configuration, and the options of constructors that it does not set.

    Args:
        config: The configuration as plain types; values may be unresolved.
        projects: Packages of the user's project, which its `_target_`s may name.
        groups: Keys that choose an option of a group and stand in no configuration.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        projects: Sequence[str] = (),
        groups: Sequence[str] = ("experiment",),
    ) -> None:
        self.config, self.projects, self.groups = config, tuple(projects), tuple(groups)

    def without(self, key: str) -> "KnownKeys":
        """Return the same keys without one, which nothing reads."""
        path, config = key.split("."), dict(self.config)
        node = config
        for name in path[:-1]:
            if not isinstance(node.get(name), Mapping):
                return self
            node[name] = dict(node[name])
            node = node[name]
        node.pop(path[-1], None)
        return KnownKeys(config, self.projects, self.groups)

    def hint(self, key: str, value: str | None = None) -> str:
        """Return what to write instead of a key that does not exist.

        Args:
            key: The dotted key.
            value: What an override sets it to, to print one that adds the key; None for a file.

        Example:
            >>> KnownKeys({"optimizer": {"lr": 0.1}, "seed": 0}).hint("learning_rate")
            "did you mean 'optimizer.lr'?"
            >>> KnownKeys({"optimizer": {"lr": 0.1}, "seed": 0}).hint("optimizer.momentom")
            'options of optimizer: lr'
        """
        if (match := self.nearest(key)) is not None:
            if value is None or match in self.groups or self.is_set(match):
                return f"did you mean {match!r}?"
            return f"did you mean {match!r}? No file sets it: add it with +{match}={value}"
        section = self._section_of(key)
        options = self.options(section)
        listed = f"options of {section}" if section else "options and groups"
        if len(options) > MAX_LISTED:
            options = [*options[:MAX_LISTED], "…"]
        hint = f"{listed}: {', '.join(options)}"
        if not section:
            return f"{hint}; `polymodal run --cfg job` prints all"
        if value is None:
            return hint
        takes_any = section.partition(".")[0] in OPEN or not self.is_set(f"{section}._target_")
        return f"{hint}; to add one, write +{key}={value}" if takes_any else hint

    def nearest(self, key: str) -> str | None:
        """Return the key that was meant: of the same meaning, or the same section; or None.

        Args:
            key: The dotted key.
        """
        if key in self.groups or self.exists(key):
            return key
        *path, name = key.split(".")
        section = self._section_of(key)
        siblings = self.options(section)
        if section and section == ".".join(path) and name in siblings:
            return key
        if section and (slip := get_close_matches(name, siblings, n=1, cutoff=0.9)):
            return f"{section}.{slip[0]}"
        if (meaning := self._by_meaning(name, section)) is not None:
            return meaning
        if section:
            if match := get_close_matches(name, siblings, n=1, cutoff=0.7):
                return f"{section}.{match[0]}"
        elif not path and (match := get_close_matches(name, siblings, n=1, cutoff=0.75)):
            return match[0]
        if path and not section:
            replaced = get_close_matches(path[0], self.options(""), n=1, cutoff=0.75)
            if replaced and self.exists(other := ".".join([*replaced, *path[1:], name])):
                return other
        return None if section else self._elsewhere(key)

    def exists(self, key: str) -> bool:
        """Return whether a configuration has a key, or the constructor of its section takes it."""
        section, _, name = key.rpartition(".")
        return self.is_set(key) or name in self.options(section)

    def options(self, section: str) -> list[str]:
        """Return the names that a section has or whose constructor takes, sorted.

        Args:
            section: Its dotted key; empty for the top level.
        """
        node = self._node(section) if section else self.config
        if node is None:
            return []
        names = {str(name) for name in node if not str(name).startswith("_")}
        if not section:
            return sorted(names | {*self.groups})
        given = INJECTED.get(section.partition(".")[0], frozenset())
        return sorted((names | self._parameters(section, node)) - given)

    def _by_meaning(self, name: str, section: str) -> str | None:
        keys = MEANINGS.get(name.lower().replace("-", "_"), ())
        existing = [key for key in keys if key in self.groups or self.exists(key)]
        inside = [key for key in existing if section and key.startswith(f"{section}.")]
        return next(iter([*inside, *existing]), None)

    def _elsewhere(self, key: str) -> str | None:
        """The only key of another section that ends like this one, but for a slip of the pen."""
        keys = list(_leaves(self.config))
        same_end = [other for other in keys if other.endswith(f".{key}")]
        name = key.rpartition(".")[2]
        if not same_end and "." not in key:
            names = sorted({other.rpartition(".")[2] for other in keys})
            match = get_close_matches(name, names, n=1, cutoff=0.85)
            same_end = [other for other in keys if match and other.endswith(f".{match[0]}")]
        elif not same_end:
            same_end = [other for other in keys if other.endswith(f".{name}")]
        return same_end[0] if len(same_end) == 1 else None

    def _section_of(self, key: str) -> str:
        """The innermost section of a key that the configuration has; empty for none."""
        section = key.rpartition(".")[0]
        while section and self._node(section) is None:
            section = section.rpartition(".")[0]
        return section

    def _node(self, section: str) -> Mapping[str, Any] | None:
        node: Any = self.config
        for name in section.split("."):
            node = node.get(name) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else None

    def is_set(self, key: str) -> bool:
        """Return whether the configuration has a key."""
        section, _, name = key.rpartition(".")
        node = self._node(section) if section else self.config
        return node is not None and name in node

    def _parameters(self, section: str, node: Mapping[str, Any]) -> set[str]:
        try:
            target = resolve_target(str(node.get("_target_", "")), section, self.projects)
            parameters = inspect.signature(target).parameters.values()
        except (ConfigError, TypeError, ValueError):  # reported by the rules; C has no signatures
            return set()
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return {parameter.name for parameter in parameters if parameter.kind not in variadic}


def group_hint(key: str, value: str, options: Sequence[str]) -> str:
    """Return a hint where `group.name=option` was to choose an option of a group; else nothing.

    Args:
        key: The dotted key.
        value: What it was to be set to.
        options: The options of the group.

    Example:
        >>> group_hint("encoder.speech", "logmel", ["logmel", "egemaps"])
        'to choose an option of the group, write encoder=logmel'
    """
    if "." in key and value in options:
        return f"to choose an option of the group, write {key.partition('.')[0]}={value}"
    return ""


def _leaves(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of a configuration, without what Hydra reads itself."""
    for name, value in node.items():
        key = f"{above}.{name}" if above else str(name)
        if str(name).startswith("_"):
            continue
        yield key
        if isinstance(value, Mapping):
            yield from _leaves(value, key)
