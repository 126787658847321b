"""Old names of polymodal itself in recorded configurations."""

from collections.abc import Mapping

# Old to new module of a `_target_`, below `polymodal.`.
MOVED_MODULES: Mapping[str, str] = {
    "corpora.features": "corpora.precomputed.corpus",
    "corpora.stored": "corpora.manifest",
    "encoders.functionals": "encoders.opensmile",
    "encoders.physiology": "encoders.physiology.features",
    "encoders.pretrained_speech": "encoders.huggingface.speech",
    "encoders.pretrained_text": "encoders.huggingface.text",
    "evaluation.labels": "evaluation.multilabel",
    "evaluation.scores": "evaluation.classification",
    "evaluation.values": "evaluation.regression",
    "models.early": "models.concat",
    "models.gated": "models.gmu",
    "models.mixer": "models.mlp_mixer",
    "record.alerts": "tracking.alerts",
    "record.trackers.base": "tracking.trackers.base",
    "record.trackers.mlflow": "tracking.trackers.mlflow",
    "record.trackers.tensorboard": "tracking.trackers.tensorboard",
    "record.trackers.trackio": "tracking.trackers.trackio",
    "record.trackers.wandb": "tracking.trackers.wandb",
    "training.balance": "training.modality_balancing",
    "training.compiled": "training.compile_callback",
    "voting.fitted": "ensemble.weighted",
    "voting.soft": "ensemble.soft",
    "voting.stacking": "ensemble.stacking",
}

# Old to new name of classes and functions, with their current module.
RENAMED: Mapping[str, str] = {
    "data.splits.k_folds": "data.splits.k_fold",
    "data.splits.leave_one_out": "data.splits.leave_one_group_out",
    "data.splits.nested": "data.splits.nested_k_fold",
    "data.splits.official": "data.splits.predefined",
    "data.splits.random": "data.splits.random_utterances",
    "tracking.alerts.Nobody": "tracking.alerts.NullChannel",
    "training.modality_balancing.NoBalance": "training.modality_balancing.no_balancing",
    "training.modality_balancing.GradientModulation": "training.modality_balancing.OGMGE",
    "training.optimizers.warmup_cosine": "training.optimizers.cosine_with_warmup",
}

# Target, as it is called today, to its options: dotted old name to the last word of the new one.
RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "polymodal.encoders.huggingface.speech.PretrainedSpeechEncoder": {
        "mask_time_share": "mask_time_fraction",
        "mask_feature_share": "mask_feature_fraction",
        "waveform_augment.share": "probability",
    },
    "polymodal.training.compile_callback.CompileIfFaster": {"least_gain": "min_gain"},
    "polymodal.training.modality_balancing.GradientBlending": {"even_share": "even_fraction"},
    "polymodal.encoders.logmel.LogMelEncoder": {
        "max_time_share": "max_time_fraction",
        "waveform_augment.share": "probability",
    },
}

# Dotted old key of a configuration to the last word of the new one.
RENAMED_KEYS: Mapping[str, str] = {
    "part": "evaluate_on",
    "voting": "ensemble",
    "data.train_share": "train_fraction",
    "study.shares": "fractions",
    "study.together": "vectorized",
}


def current_target(target: str) -> str:
    """Return the name that a class or function of polymodal has now.

    Example:
        >>> current_target("polymodal.models.early.EarlyFusion")
        'polymodal.models.concat.EarlyFusion'
        >>> current_target("torch.optim.AdamW")
        'torch.optim.AdamW'
    """
    module, _, name = target.rpartition(".")
    package, _, rest = module.partition(".")
    if package != "polymodal":
        return target
    moved = f"{MOVED_MODULES.get(rest, rest)}.{name}"
    return f"{package}.{RENAMED.get(moved, moved)}"
