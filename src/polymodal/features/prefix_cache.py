"""Which frozen beginnings of encoders a run reads from the store, and why others are computed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polymodal.encoders.base import Encoder
from polymodal.encoders.extractor import Prefix
from polymodal.errors import ConfigError, nearest
from polymodal.features.lookup import StoreLookup

REUSE = ("auto", True, False)
PRECISIONS: Mapping[str, str] = {
    "32": "float32",
    "32-true": "float32",
    "bf16": "bfloat16",
    "bf16-mixed": "bfloat16",
}
# Nobody asked for the store to be filled, so much of the disk is left alone.
MAX_FRACTION = 0.5


@dataclass
class PrefixPlan:
    """The frozen beginnings of the encoders of a run.

    Args:
        extractors: Modality to what computes its beginning, where that is stored.
        said: Modality to what is done, in words for the record; without those that have none.
    """

    extractors: dict[str, Prefix] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def disable(self, name: str, reason: str) -> None:
        """Has a beginning computed after all.

        Args:
            name: The modality.
            reason: Why, in words.
        """
        self.extractors.pop(name, None)
        self.said[name] = f"computed ({reason})"


def plan_prefix_cache(
    encoders: Mapping[str, Encoder], config: Mapping[str, Any], precision: Any, *, training: bool
) -> PrefixPlan:
    """Decides what is read from the store, as `data.reuse_prefix` says.

    Args:
        encoders: Modality to its encoder.
        config: The configuration, resolved.
        precision: Lightning's word for what is computed in.
        training: Whether the run trains; otherwise each utterance is read once.

    Returns:
        What is read, and why the rest is computed.
    """
    found, reuse = PrefixPlan(), config["data"]["reuse_prefix"]
    words = PRECISIONS.get(str(precision))
    against = _against(config, reuse, training=training)
    if words is None:
        against = against or f"trainer.precision={precision} cannot be stored"
    for name, encoder in encoders.items():
        prefix = encoder.prefix(words or "float32")
        if isinstance(prefix, str):
            found.disable(name, prefix)
        elif prefix is not None and against is not None:
            found.disable(name, against)
        elif prefix is not None:
            found.extractors[name] = prefix
            found.said[name] = f"read from the store ({prefix.ends})"
    return found


def check_reuse(config: Mapping[str, Any]) -> None:
    """Refuses an unknown `data.reuse_prefix`.

    Args:
        config: The configuration, resolved.

    Raises:
        ConfigError: It is none of the words.
    """
    reuse = config["data"]["reuse_prefix"]
    if reuse not in REUSE:
        raise ConfigError(
            f"data.reuse_prefix={reuse}",
            expected="auto, true or false",
            hint=nearest(str(reuse), ["auto", "true", "false"]),
        )


def exceeds_free_space(seen: StoreLookup) -> str | None:
    """Returns why a beginning should not be stored unasked, or None.

    Args:
        seen: What the store lacks of it.

    Returns:
        The reason, in words.
    """
    folder = seen.collection.folder
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(existing).free
    if seen.expected_bytes <= MAX_FRACTION * free:
        return None
    return (
        f"about {seen.expected_bytes / 1e9:,.1f} GB would go to {folder.parent}, where "
        f"{free / 1e9:,.1f} GB are free (data.reuse_prefix=true stores them all the same)"
    )


def _against(config: Mapping[str, Any], reuse: Any, *, training: bool) -> str | None:
    if reuse != "auto":
        return None if reuse else "data.reuse_prefix=false"
    trainer = config["trainer"]
    limits = [trainer.get(name) for name in ("limit_train_batches", "overfit_batches")]
    if trainer.get("fast_dev_run") or any(one not in (None, 0, 0.0, 1.0) for one in limits):
        return "some batches only are trained on"
    if not training or trainer.get("max_epochs") == 1:
        return "each utterance is read once"
    return None
