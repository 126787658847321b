"""Convolution over time that the padding cannot reach.

Legend: batch = utterances, time = frames, feature = width.
"""

from torch import Tensor, nn
from torch.nn import functional

from polymodal.layers.masks import strided_mask, zero_padding
from polymodal.schemas.batch import PaddedSequence


class ConvolutionBlock(nn.Module):
    """Convolution over time, norm of each frame, GELU, dropout.

    Padding is set to zero first, the norm sees one frame at a time, and the mask of the output
    comes from `strided_mask`: an utterance gives the same frames alone and in any batch.

    `kernel`, the width of the window, is odd; it and `stride` are in frames.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        kernel: int = 3,
        stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert kernel % 2, "an even window has no middle frame"
        self.kernel, self.stride, self.padding = kernel, stride, kernel // 2
        self.convolution = nn.Conv1d(input_size, output_size, kernel, stride, self.padding)
        self.norm = nn.LayerNorm(output_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, ceil(time / stride), output_size]`, at least one frame a row."""
        values = zero_padding(sequence.values, sequence.valid_mask)
        valid_mask = strided_mask(sequence.valid_mask, self.kernel, self.stride, self.padding)
        missing = max(0, 1 - values.shape[1])
        frames = functional.pad(values.transpose(1, 2), (0, missing))
        convolved: Tensor = self.convolution(frames).transpose(1, 2)
        output = self.dropout(functional.gelu(self.norm(convolved)))
        return PaddedSequence(zero_padding(output, valid_mask), valid_mask)
