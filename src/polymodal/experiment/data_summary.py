"""What a record says of the data: size, classes, leaks, what is missing or converted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polymodal.data.folds import SPLITS
from polymodal.data.leakage import confounds, leakage_report
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.experiment.pretrained_files import file_digests, pretrained_models
from polymodal.experiment.readers import count_lacking

if TYPE_CHECKING:
    from polymodal.experiment.experiment import Experiment


def dataset_summary(experiment: "Experiment") -> dict[str, Any]:
    """Return what the record says of the data and of how it was parted.

    Returns:
        Plain values for `run.json`.
    """
    frame = experiment.manifest.frame
    frozen = {n: e for n, e in experiment.prototypes.items() if isinstance(e, FrozenEncoder)}
    models = pretrained_models(experiment.prototypes, experiment.trained)
    counts = frame["label"].value_counts().drop_nulls().sort("label")
    return {
        "fingerprint": experiment.fingerprint,
        "corpus": str(frame["corpus"][0]),
        "rows": frame.height,
        "resampled": _resampled(experiment),
        "speakers": frame["speaker"].n_unique(),
        "classes": dict(counts.iter_rows()),
        "refused": experiment.manifest.rejected_by_rule(),
        "handled": dict(experiment.manifest.handled),
        "leaks": leakage_report(experiment.manifest, experiment.folds),
        "absent_classes": _absent_classes(experiment),
        "folds": len(experiment.folds),
        "speaker_dependent": experiment.config["split"].get("speaker_dependent", False),
        "transductive": [name for name, encoder in frozen.items() if encoder.is_transductive],
        "revisions": {name: model.revision for name, model in models.items()},
        "files": file_digests(models),
        "lacking": count_lacking(frame, experiment.prototypes),
    }


def encoder_summary(experiment: "Experiment") -> dict[str, Any]:
    """Return which encoders come from which run, for `run.json`.

    Returns:
        Modality to run, digests of its checkpoints, mode and the like.
    """
    return {name: trained.facts() for name, trained in experiment.trained.items()}


def _resampled(experiment: "Experiment") -> dict[str, int]:
    """Sampling rate or channels of audio that is converted to what the encoders want."""
    listening = [e for e in experiment.prototypes.values() if e.source == "audio"]
    if not listening:
        return {}
    rates_hz = {encoder.sampling_rate_hz for encoder in listening}
    counts = experiment.manifest.frame.group_by("sampling_rate_hz", "channels").len().drop_nulls()
    return {
        f"{rate_hz} Hz, {channels} channels": count
        for rate_hz, channels, count in sorted(counts.iter_rows())
        if {rate_hz} != rates_hz or channels > 1
    }


def _absent_classes(experiment: "Experiment") -> dict[str, list[str]]:
    """Part to the declared classes that no utterance of it has, in some fold."""
    absent: dict[str, set[str]] = {}
    for fold in experiment.folds if experiment.task.classes else ():
        splits = fold.split_of_rows(experiment.manifest.frame) if fold.assignment else None
        for split in SPLITS if splits is not None else ():
            present = set(experiment.manifest.frame.filter(splits == split)["label"].drop_nulls())
            if present:
                absent.setdefault(split, set()).update({*experiment.task.classes} - present)
    return {split: sorted(classes) for split, classes in absent.items() if classes}


def dataset_warnings(about: Mapping[str, Any]) -> list[str]:
    """Return what the user should know before the run, in words.

    Args:
        about: What `facts` returned.
    """
    never_there = [
        f"no utterance has what encoder.{name} reads"
        for name, count in about["lacking"].items()
        if count == about["rows"] and "." in name
    ]
    guessed = [f"{message} ({hint})" for message, hint in confounds(about["leaks"]).values()]
    return [*never_there, *guessed] + [
        f"no utterance of the {split} part has the class {', '.join(classes)} in some fold; "
        "its recall and F1 count as 0"
        for split, classes in about["absent_classes"].items()
    ]
