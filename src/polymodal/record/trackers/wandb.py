"""Weights & Biases: offline without an account, online with one."""

import os
from collections.abc import Mapping
from typing import Any, Literal

from polymodal.errors import MissingExtraError
from polymodal.record.trackers.base import Start


class WandbTracker:
    """Mirrors a run to Weights & Biases, one of their runs for each of ours.

    Args:
        mode: `offline` writes into the run folder, to be sent later with `wandb sync`.
        entity: Team or user; None for the default one.
    """

    def __init__(
        self, mode: Literal["offline", "online"] = "offline", entity: str | None = None
    ) -> None:
        self.mode, self.entity = mode, entity
        self.remote = mode == "online"
        self.run: Any = None

    def start(self, start: Start) -> None:
        """Begins a run.

        Args:
            start: What the tracker is told.

        Raises:
            MissingExtraError: wandb is not installed.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("wandb", "wandb") from None
        self.run = wandb.init(
            project=start.project,
            entity=self.entity,
            group=start.group,
            id=start.run_id,
            name=start.run_id,
            config=dict(start.config),
            dir=str(start.folder),
            mode=self.mode,
            resume="allow" if self.mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",  # it would take over the terminal and copy what is printed
                disable_git=True,
                save_code=False,
                x_disable_meta=True,  # it would copy the command line, secrets included
                silent=True,
            ),
        )

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Passes the scores of one step on.

        Args:
            scores: Name to value.
            step: Number of the optimiser step, kept as a score: their own step must never fall,
                and ours begins anew in each fold.
        """
        self.run.log({**scores, "trainer/step": step})

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Ends the run.

        Args:
            status: How it ended.
            scores: The scores it ended with.
        """
        if self.run is None:
            return
        run, self.run = self.run, None
        run.summary.update({**scores, "status": status})
        run.finish(exit_code=0 if status == "finished" else 1)
