"""Options that a library has taken away: since when, and what takes their place.

Source: Lightning's migration guides, from 1.4 to 1.9 to 2.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Removed:
    """An option that is gone.

    Args:
        since: In which release.
        instead: What to write now.
    """

    since: str
    instead: str


TRAINER_2: Mapping[str, str] = {
    "gpus": "write trainer.accelerator=gpu and trainer.devices=N",
    "num_processes": "write trainer.accelerator=cpu and trainer.devices=N",
    "tpu_cores": "write trainer.accelerator=tpu and trainer.devices=N",
    "ipus": "Lightning no longer supports IPUs",
    "hpus": "write trainer.accelerator=hpu and trainer.devices=N",
    "auto_select_gpus": "write trainer.devices=auto",
    "auto_scale_batch_size": "write data.batch_s=auto",
    "auto_lr_find": "leave it out; optimizer.lr is the rate",
    "resume_from_checkpoint": "leave it out; polymodal run resume=RUN goes on with a run",
    "amp_backend": "leave it out; trainer.precision says it",
    "amp_level": "leave it out; trainer.precision says it",
    "replace_sampler_ddp": "leave it out; every id is scored once on any number of devices",
    "multiple_trainloader_mode": "leave it out; Lightning's CombinedLoader does it",
    "track_grad_norm": "leave it out; a callback can log it in on_before_optimizer_step",
    "move_metrics_to_cpu": "leave it out",
    "opt_einsum_backend": "leave it out",
}
TRAINER_1_7: Mapping[str, str] = {
    "checkpoint_callback": "write trainer.enable_checkpointing",
    "progress_bar_refresh_rate": "leave it out; polymodal has its own display",
    "process_position": "leave it out; polymodal has its own display",
    "weights_summary": "leave it out, or write trainer.enable_model_summary",
    "stochastic_weight_avg": (
        "add a callback with _target_: pytorch_lightning.callbacks.StochasticWeightAveraging"
    ),
    "terminate_on_nan": "leave it out; a loss that is no number ends the run",
    "flush_logs_every_n_steps": "leave it out",
    "log_gpu_memory": "leave it out",
    "prepare_data_per_node": "leave it out",
}
TRAINER_1_8: Mapping[str, str] = {
    "weights_save_path": "leave it out; checkpoints lie in the run folder",
}
TRAINER_1_6: Mapping[str, str] = {
    "reload_dataloaders_every_epoch": "write trainer.reload_dataloaders_every_n_epochs",
    "truncated_bptt_steps": "leave it out",
}
CHECKPOINT_1_6: Mapping[str, str] = {"every_n_val_epochs": "write every_n_epochs"}
CHECKPOINT_1_5: Mapping[str, str] = {"period": "write every_n_epochs"}
TABLES: tuple[tuple[tuple[str, ...], str, Mapping[str, str]], ...] = (
    (("Trainer",), "removed in Lightning 2.0", TRAINER_2),
    (("Trainer",), "removed in Lightning 1.8", TRAINER_1_8),
    (("Trainer",), "removed in Lightning 1.7", TRAINER_1_7),
    (("Trainer",), "removed in Lightning 1.6", TRAINER_1_6),
    (("ModelCheckpoint",), "removed in Lightning 1.6", CHECKPOINT_1_6),
    (("ModelCheckpoint",), "removed in Lightning 1.5", CHECKPOINT_1_5),
)


def removed_from(target: str, option: str) -> Removed | None:
    """Tells what became of an option that a library no longer takes.

    Args:
        target: Dotted path of the class.
        option: The option.

    Returns:
        Since when it is gone and what to write instead; None where nothing is known of it.

    Example:
        >>> removed_from("pytorch_lightning.Trainer", "gpus").since
        'removed in Lightning 2.0'
    """
    name = target.rpartition(".")[2]
    for classes, since, table in TABLES:
        if name in classes and option in table and "lightning" in target:
            return Removed(since, table[option])
    return None
