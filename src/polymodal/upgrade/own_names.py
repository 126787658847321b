"""Old names of polymodal itself that recorded configurations still hold."""

from collections.abc import Mapping

# Module of a `_target_`, below `polymodal.`, to the module that has its class now.
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


def current_target(target: str) -> str:
    """Return the name that a class or function of polymodal has now.

    Args:
        target: Dotted name, as a recorded configuration holds it.

    Example:
        >>> current_target("polymodal.models.early.EarlyFusion")
        'polymodal.models.concat.EarlyFusion'
        >>> current_target("torch.optim.AdamW")
        'torch.optim.AdamW'
    """
    module, _, name = target.rpartition(".")
    package, _, rest = module.partition(".")
    if package != "polymodal" or rest not in MOVED_MODULES:
        return target
    return f"{package}.{MOVED_MODULES[rest]}.{name}"
