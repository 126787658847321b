"""Deep fusion: the pooled modalities side by side, then a perceptron.

Legend: batch = utterances, modality = in the order of their names, feature = width.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Sizes

from jaxtyping import Bool, Float
from torch import Tensor

from polymodal.layers.feedforward import perceptron
from polymodal.models.fusion import PooledFusion


class EarlyFusion(PooledFusion):
    """Concatenation of the pooled modalities, the plainest deep fusion.

    Args:
        feature_sizes: Name of each modality to the width of its vectors.
        num_outputs: Number of classes or values.
        width: Width that all modalities are projected to.
        hidden_sizes: Widths of hidden layers between the concatenation and the output.
        pooling: `attention`, `mean` or `first`, over the real frames.
        dropout: Dropout of the pooled vectors and before the output.
        modality_dropout: As in `Fusion`.

    Raises:
        ConfigError: A size or an option is out of its range or unknown.

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
        hidden_sizes: Sizes[int] = (),
        pooling: str = "attention",
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            feature_sizes,
            num_outputs,
            width=width,
            pooling=pooling,
            dropout=dropout,
            modality_dropout=modality_dropout,
        )
        self.mix = perceptron([len(self.feature_sizes) * width, *hidden_sizes, width])

    def combine(
        self,
        vectors: Float[Tensor, "batch modality feature"],
        present: Bool[Tensor, "batch modality"],
    ) -> Float[Tensor, "batch feature"]:
        """Mixes the vectors of all modalities, as `PooledFusion` describes."""
        mixed: Tensor = self.mix(vectors.flatten(1))
        return mixed
