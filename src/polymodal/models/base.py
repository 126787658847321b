"""The interface of models: sequences of any modalities in, logits out.

Legend: batch = utterances, output = classes or values to be predicted.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.schemas.batch import PaddedSequence


class Model(nn.Module, ABC):
    """A mapping of modalities to logits.

    Every model takes `feature_sizes`, the name of each modality to the width of its vectors, and
    `num_outputs`, the number of classes or of values to be predicted, first; they come from the
    encoders and the task. Options of the model itself follow as keyword arguments.

    Raises:
        ConfigError: There is no modality, a name cannot be used, or a size is not positive.
    """

    def __init__(self, feature_sizes: Mapping[str, int], num_outputs: int) -> None:
        super().__init__()
        if not feature_sizes or min(num_outputs, *feature_sizes.values()) < 1:
            raise ConfigError(
                f"a model with the modalities {dict(feature_sizes)} and {num_outputs} outputs",
                expected="at least one modality, and sizes above 0",
                hint="name at least one encoder, and check the classes of the task",
            )
        for name in feature_sizes:
            # torch.nn.ModuleDict, which holds the layers of a modality, rejects such names.
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise ConfigError(
                    f"a modality cannot be called {name!r}",
                    expected="a name without a dot that is not a method of a Python mapping",
                    hint="rename the encoder's key, for example to speech, text or signals",
                )
        self.feature_sizes = dict(sorted(feature_sizes.items()))
        self.num_outputs = num_outputs

    @abstractmethod
    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits, finite also where nothing is present.

        Each modality is `[batch, time, feature]`. Without a True in its mask it is absent and its
        values do not count.
        """
