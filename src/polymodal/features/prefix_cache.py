"""Decide which frozen prefixes of encoders a run reads from the store."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from polymodal.encoders.base import Encoder
from polymodal.encoders.extractor import Prefix
from polymodal.features.lookup import StoreLookup

PRECISIONS: Mapping[str, str] = {
    "32": "float32",
    "32-true": "float32",
    "bf16": "bfloat16",
    "bf16-mixed": "bfloat16",
}
# The store is filled without being asked for, so only a fraction of the free space is used.
MAX_FRACTION = 0.5


@dataclass
class PrefixPlan:
    """The frozen prefixes of the encoders of a run."""

    # Modality to the extractor of its prefix, if that is stored.
    extractors: dict[str, Prefix] = field(default_factory=dict)
    # Modality to what is done, for the record; without those that have no prefix.
    notes: dict[str, str] = field(default_factory=dict)

    def disable(self, name: str, reason: str) -> None:
        """Compute the prefix of a modality in training, for a reason in words."""
        self.extractors.pop(name, None)
        self.notes[name] = f"computed ({reason})"


def plan_prefix_cache(
    encoders: Mapping[str, Encoder],
    reuse: bool | Literal["auto"],
    trainer: Mapping[str, Any],
    precision: Any,
    *,
    training: bool,
) -> PrefixPlan:
    """Decide which prefixes are read from the store, as `data.reuse_prefix` says.

    `reuse` is that option, `trainer` the options of Lightning's trainer, and `precision` the one it
    computes in. A run without `training` reads each utterance once.
    """
    plan = PrefixPlan()
    dtype = PRECISIONS.get(str(precision))
    objection = _objection(reuse, trainer, training=training)
    if dtype is None:
        objection = objection or f"trainer.precision={precision} cannot be stored"
    for name, encoder in encoders.items():
        prefix = encoder.prefix(dtype or "float32")
        if isinstance(prefix, str):
            plan.disable(name, prefix)
        elif prefix is not None and objection is not None:
            plan.disable(name, objection)
        elif prefix is not None:
            plan.extractors[name] = prefix
            plan.notes[name] = f"read from the store ({prefix.ends})"
    return plan


def exceeds_free_space(lookup: StoreLookup) -> str | None:
    """Return why a prefix should not be stored without being asked to, or None."""
    folder = lookup.collection.folder
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if lookup.expected_bytes <= MAX_FRACTION * free:
        return None
    return (
        f"about {lookup.expected_bytes / 1e9:,.1f} GB would go to {folder.parent}, where "
        f"{free / 1e9:,.1f} GB are free (data.reuse_prefix=true stores them all the same)"
    )


def _objection(
    reuse: bool | Literal["auto"], trainer: Mapping[str, Any], *, training: bool
) -> str | None:
    if reuse != "auto":
        return None if reuse else "data.reuse_prefix=false"
    limits = [trainer.get(name) for name in ("limit_train_batches", "overfit_batches")]
    if trainer.get("fast_dev_run") or any(limit not in (None, 0, 0.0, 1.0) for limit in limits):
        return "only some batches are trained on"
    if not training or trainer.get("max_epochs") == 1:
        return "each utterance is read once"
    return None
