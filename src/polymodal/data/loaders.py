"""Data loaders over the splits of a fold."""

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
    """Estimate the length of each utterance in seconds, for batches of similar length.

    It is the duration, or where that is missing 1/15 s a character of the text, or 1 s.
    """
    estimated = pl.col("text").str.len_chars() * SECONDS_A_CHARACTER
    lengths = manifest.frame.select(pl.coalesce("duration_s", estimated, 1.0).alias("s"))["s"]
    return lengths.to_numpy()


def default_num_workers(accelerator: str) -> int:
    """Return how many processes read ahead if `data.num_workers` is `auto`.

    At most 4, with one core left for each CUDA device; 0 on the CPU, whose cores compute.

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
    weights: np.ndarray | None = None,
) -> DataLoader[Any]:
    """Build the loader of one split; it yields `Batch`.

    `shuffle` draws new batches each epoch, in an order of the seed, for training. A batch has at
    most `batch_s` seconds of padded audio and `max_utterances` utterances. `num_workers` processes
    read ahead, 0 reads in the main process; a worker may take `timeout_s`, 0 for ever. With
    `pin_memory` batches are copied through page-locked memory, for CUDA. `weights` are the relative
    sampling weights of the utterances; None draws each once.

    Raises:
        DataError: The size or the number is not positive.
    """
    if batch_s <= 0 or max_utterances < 1:
        message = f"data.batch_s={batch_s}, data.max_utterances={max_utterances}"
        raise DataError(message, expected="both greater than 0")
    sampler = LengthBucketSampler(
        lengths_s(dataset.manifest).tolist(),
        budget=batch_s,
        max_utterances=max_utterances,
        shuffle=shuffle,
        seed=seed,
        weights=weights,
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
