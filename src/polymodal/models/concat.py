"""Deep fusion: the pooled modalities side by side, then a perceptron.

Legend: batch = utterances, modality = in the order of their names, feature = width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from polymodal.layers.feedforward import perceptron
from polymodal.models.fusion import Fused, PooledFusion, Present, Vectors


class EarlyFusion(PooledFusion):
    """Concatenation of the pooled modalities, the plainest deep fusion.

    The options and errors are those of `PooledFusion`, and `hidden_sizes`, the widths of hidden
    layers between the concatenation and the output.

    Example:
        >>> EarlyFusion({"speech": 8, "text": 4}, 3).num_outputs
        3
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        hidden_sizes: Sequence[int] = (),
        pooling: str = "attention",
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, pooling, dropout, modality_dropout)
        self.mix = perceptron([len(self.feature_sizes) * width, *hidden_sizes, width])

    def combine(self, vectors: Vectors, present: Present) -> Fused:
        """Mix the vectors of all modalities, see `PooledFusion`."""
        mixed: Tensor = self.mix(vectors.flatten(1))
        return mixed
