"""The encoded frames of all utterances in one place, from which many batches are cut at once.

Legend: head = models that are trained together, batch = utterances of one head, time = frames,
feature = width, frame = frames of all utterances one after another.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Several

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polymodal.data.dataset import UtteranceDataset
from polymodal.encoders.base import Encoder
from polymodal.schemas.batch import PaddedSequence

Stacked = tuple[Float[Tensor, "head batch time feature"], Bool[Tensor, "head batch time"]]
MAX_PASS = 2**20  # numbers of a pass: larger ones are slower, as memory then is
PADDING_ROW = -1  # the row of a place in a batch that no utterance takes


class PackedFrames:
    """Frames of all utterances, encoded once for each way of standardising them.

    Heads of the same fold share their frames, whatever their seeds are.

    Args:
        datasets: Where the utterances come from; each is read once.
        encoders: The encoders of each head, which learn nothing: frozen or precomputed.
        device: Where the frames are kept.
    """

    def __init__(
        self,
        datasets: Iterable[UtteranceDataset],
        encoders: Several[Mapping[str, Encoder]],
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
                [value[name] for value in values], [encoder[name] for encoder in encoders], device
            )
            for name in encoders[0]
        }

    def sizes(self, rows: Int[np.ndarray, " batch"]) -> list[int]:
        """Return what a batch measures by itself: utterances, then frames of each modality."""
        longest = [int(modality.lengths[rows].max()) for modality in self.modalities.values()]
        return [len(rows), *(max(1, length) for length in longest)]

    def counts(self, rows: Int[np.ndarray, " batch"]) -> tuple[int, int]:
        """Return how many frames of a batch are real, and how many there are with the padding."""
        lengths = [modality.lengths[rows] for modality in self.modalities.values()]
        return sum(int(length.sum()) for length in lengths), sum(
            len(rows) * int(length.max()) for length in lengths
        )

    def passes(self, rows: Several[np.ndarray]) -> list[list[int]]:
        """Parts batches into passes of similar size that stay in a processor's cache.

        Returns:
            Places in `rows`, pass by pass.
        """
        widths = [modality.frames.shape[1] for modality in self.modalities.values()]
        sizes = np.array([self.sizes(row) for row in rows])
        numbers = sizes[:, 0] * (sizes[:, 1:] @ widths)
        order = np.argsort(-numbers, kind="stable").tolist()
        passes: list[list[int]] = []
        while order:
            num = max(1, MAX_PASS // max(1, int(numbers[order[0]])))
            passes.append(sorted(order[:num]))
            del order[:num]
        return passes

    def gather(
        self, rows: Int[np.ndarray, "head batch"], heads: Int[np.ndarray, " head"]
    ) -> dict[str, Stacked]:
        """Cut out one batch a head, all padded to the same size.

        Args:
            rows: Rows of the utterances, `NOBODY` where there is none.
            heads: Which heads they are for, in the order of `encoders`.

        Returns:
            Modality to values and mask; zeros under the padding.
        """
        return {name: modality.gather(rows, heads) for name, modality in self.modalities.items()}


class _Modality:
    """The frames of one modality, `[frame, feature]`, behind one frame of zeros."""

    def __init__(
        self,
        values: Several[np.ndarray | None],
        encoders: Several[Encoder],
        device: torch.device,
    ) -> None:
        # The last utterance, which NOBODY is the index of, has no frame.
        self.lengths = np.array([0 if value is None else len(value) for value in values] + [0])
        self.starts = 1 + np.cumsum(self.lengths) - self.lengths
        nothing = np.zeros((0, encoders[0].feature_size), dtype=np.float32)
        raw = np.concatenate([nothing, *(value for value in values if value is not None)])
        frames = [torch.zeros(1, encoders[0].feature_size)]
        known: dict[bytes, int] = {}
        shifts = []
        for encoder in encoders:
            state = b"".join(buffer.cpu().numpy().tobytes() for buffer in encoder.buffers())
            if state not in known:
                known[state] = len(known) * len(raw)
                frames.append(_encoded(encoder, torch.from_numpy(raw).float()))
            shifts.append(known[state])
        self.frames, self.shifts = torch.cat(frames).to(device), np.array(shifts)

    def gather(
        self, rows: Int[np.ndarray, "head batch"], heads: Int[np.ndarray, " head"]
    ) -> Stacked:
        lengths, starts = self.lengths[rows], self.starts[rows] + self.shifts[heads, None]
        time = np.arange(max(1, lengths.max()))
        mask = time < lengths[..., None]
        places = torch.from_numpy(np.where(mask, starts[..., None] + time, 0)).to(
            self.frames.device, non_blocking=True
        )
        values = self.frames.index_select(0, places.flatten())
        return values.view(*places.shape, -1), places > 0


def _encoded(
    encoder: Encoder, frames: Float[Tensor, "frame feature"]
) -> Float[Tensor, "frame feature"]:
    with torch.no_grad():
        whole = PaddedSequence(frames[None], torch.ones(1, len(frames), dtype=torch.bool))
        encoded: PaddedSequence = encoder.cpu()(whole)
        return encoded.values[0]
