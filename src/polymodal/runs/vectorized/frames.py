"""The encoded frames of all utterances in one tensor, from which many batches are gathered at once.

Legend: head = models that are trained together, batch = utterances of one head, time = frames,
feature = width, frame = frames of all utterances one after another.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polymodal.data.dataset import UtteranceDataset
from polymodal.encoders.base import Encoder
from polymodal.schemas.batch import PaddedSequence

Stacked = tuple[Float[Tensor, "head batch time feature"], Bool[Tensor, "head batch time"]]
MAX_PASS = 2**20  # values of a pass: larger ones leave the cache of the processor
PADDING_ROW = -1  # of a batch that has fewer utterances than another one


class PackedFrames:
    """Frames of all utterances, encoded once for each way of standardising them.

    Heads of the same fold share their frames, whatever their seeds are.

    Args:
        datasets: The datasets of all heads; each utterance is read once.
        encoders: The encoders of each head, frozen or precomputed.
        device: Where the frames are stored.
    """

    def __init__(
        self,
        datasets: Iterable[UtteranceDataset],
        encoders: Sequence[Mapping[str, Encoder]],
        device: torch.device,
    ) -> None:
        self.rows: dict[str, int] = {}
        values: list[Mapping[str, np.ndarray | None]] = []
        for dataset in datasets:
            for index, name in enumerate(dataset.manifest.frame["utterance_id"]):
                if name not in self.rows:
                    self.rows[name] = len(values)
                    values.append(dataset[index].values)
        self.modalities = {
            name: _Modality(
                [by_modality[name] for by_modality in values],
                [of_head[name] for of_head in encoders],
                device,
            )
            for name in encoders[0]
        }

    def sizes(self, rows: Int[np.ndarray, " batch"]) -> list[int]:
        """Return the size of a batch: utterances, then frames of each modality."""
        lengths = [int(modality.lengths[rows].max()) for modality in self.modalities.values()]
        return [len(rows), *(max(1, length) for length in lengths)]

    def counts(self, rows: Int[np.ndarray, " batch"]) -> tuple[int, int]:
        """Return the number of valid frames of a batch, and of frames including the padding."""
        lengths = [modality.lengths[rows] for modality in self.modalities.values()]
        num_valid = sum(int(x.sum()) for x in lengths)
        return num_valid, sum(len(rows) * int(x.max()) for x in lengths)

    def passes(self, rows: Sequence[Int[np.ndarray, "_"]]) -> list[list[int]]:
        """Divide batches into passes of similar sizes that fit into the cache of a processor.

        Returns:
            Indices into `rows`, pass by pass.
        """
        widths = [modality.frames.shape[1] for modality in self.modalities.values()]
        sizes = np.array([self.sizes(row) for row in rows])
        num_values = sizes[:, 0] * (sizes[:, 1:] @ widths)
        order = np.argsort(-num_values, kind="stable").tolist()
        passes: list[list[int]] = []
        while order:
            num = max(1, MAX_PASS // max(1, int(num_values[order[0]])))
            passes.append(sorted(order[:num]))
            del order[:num]
        return passes

    def gather(
        self, rows: Int[np.ndarray, "head batch"], heads: Int[np.ndarray, " head"]
    ) -> dict[str, Stacked]:
        """Return one batch for each head, all padded to the same size with zeros.

        Args:
            rows: Rows of the utterances, or `PADDING_ROW`.
            heads: Indices of the heads in `encoders`.
        """
        return {name: modality.gather(rows, heads) for name, modality in self.modalities.items()}


class _Modality:
    """The frames of one modality, `[frame, feature]`, after one frame of zeros."""

    def __init__(
        self,
        values: Sequence[np.ndarray | None],
        encoders: Sequence[Encoder],
        device: torch.device,
    ) -> None:
        # The last utterance, which PADDING_ROW is the index of, has no frame.
        self.lengths = np.array([0 if value is None else len(value) for value in values] + [0])
        self.starts = 1 + np.cumsum(self.lengths) - self.lengths
        empty = np.zeros((0, encoders[0].feature_size), dtype=np.float32)
        raw = np.concatenate([empty, *(value for value in values if value is not None)])
        frames = [torch.zeros(1, encoders[0].feature_size)]
        shift_of: dict[bytes, int] = {}
        shifts = []
        for encoder in encoders:
            state = b"".join(buffer.cpu().numpy().tobytes() for buffer in encoder.buffers())
            if state not in shift_of:
                shift_of[state] = len(shift_of) * len(raw)
                frames.append(_encode(encoder, torch.from_numpy(raw).float()))
            shifts.append(shift_of[state])
        self.frames, self.shifts = torch.cat(frames).to(device), np.array(shifts)

    def gather(
        self, rows: Int[np.ndarray, "head batch"], heads: Int[np.ndarray, " head"]
    ) -> Stacked:
        lengths, starts = self.lengths[rows], self.starts[rows] + self.shifts[heads, None]
        time = np.arange(max(1, lengths.max()))
        mask = time < lengths[..., None]
        indices = torch.from_numpy(np.where(mask, starts[..., None] + time, 0)).to(
            self.frames.device, non_blocking=True
        )
        values = self.frames.index_select(0, indices.flatten())
        return values.view(*indices.shape, -1), indices > 0


def _encode(
    encoder: Encoder, frames: Float[Tensor, "frame feature"]
) -> Float[Tensor, "frame feature"]:
    with torch.no_grad():
        sequence = PaddedSequence(frames[None], torch.ones(1, len(frames), dtype=torch.bool))
        encoded: PaddedSequence = encoder.cpu()(sequence)
        return encoded.values[0]
