"""Data loaders over the parts of a fold."""

import os
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader

from polymodal.data.dataset import UtteranceDataset, collate
from polymodal.data.samplers import LengthBucketSampler
from polymodal.errors import DataError
from polymodal.schemas.manifest import Manifest

SECONDS_A_CHARACTER = 0.07


def lengths_s(manifest: Manifest) -> np.ndarray:
    """Estimates how long each utterance is, for batches of similar length.

    Args:
        manifest: The utterances.

    Returns:
        Seconds, `[utterance]`: the duration, or where it is unknown one guessed from the text
        (15 characters a second), or 1.
    """
    guessed = pl.col("text").str.len_chars() * SECONDS_A_CHARACTER
    lengths = manifest.frame.select(pl.coalesce("duration_s", guessed, 1.0).alias("s"))["s"]
    return lengths.to_numpy()


def default_num_workers(accelerator: str) -> int:
    """Returns how many processes read ahead where `data.num_workers` is `auto`.

    Args:
        accelerator: Lightning's word, `cpu` where nothing else is at hand.

    Returns:
        At most 4, and one core left for each CUDA device; 0 on the CPU, whose cores compute.

    Example:
        >>> default_num_workers("cpu")
        0
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return 0
    return max(0, min(4, (os.cpu_count() or 1) // max(1, torch.cuda.device_count()) - 1))


def make_loader(
    dataset: UtteranceDataset,
    *,
    shuffle: bool,
    batch_s: float = 120.0,
    max_utterances: int = 32,
    num_workers: int = 0,
    timeout_s: float = 0.0,
    pin_memory: bool = False,
    seed: int = 0,
    chances: np.ndarray | None = None,
) -> DataLoader[Any]:
    """Makes the loader of one part.

    Args:
        dataset: The utterances.
        shuffle: Whether to draw new batches each epoch (training).
        batch_s: Budget of a batch in seconds of padded audio.
        max_utterances: Greatest number of utterances in a batch.
        num_workers: Processes that read ahead; 0 reads in the main process.
        timeout_s: How long to wait for a worker before giving up; 0 for ever.
        pin_memory: Whether to copy through page-locked memory, for CUDA.
        seed: Seed of the order of the batches.
        chances: How often each utterance is to be drawn, relative to the others; None for once.

    Returns:
        A loader of `Batch`.

    Raises:
        DataError: The budget or the greatest number is not positive.
    """
    if batch_s <= 0 or max_utterances < 1:
        raise DataError(
            f"data.batch_s={batch_s}, data.max_utterances={max_utterances}",
            expected="both greater than 0",
        )
    sampler = LengthBucketSampler(
        lengths_s(dataset.manifest).tolist(),
        budget=batch_s,
        max_utterances=max_utterances,
        shuffle=shuffle,
        seed=seed,
        chances=chances,
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        timeout=timeout_s if num_workers else 0,
        pin_memory=pin_memory,
    )
