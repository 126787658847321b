"""The base of deep fusion: any number of modalities, some absent, on one width.

Legend: batch = utterances, time = frames, modality = in the order of their names, feature = width,
output = classes or values to be predicted.
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.layers.masks import zero_padding
from polymodal.layers.pooling import build_pooling
from polymodal.models.base import Model
from polymodal.schemas.batch import PaddedSequence

Vectors = Float[Tensor, "batch modality feature"]
Present = Bool[Tensor, "batch modality"]
Fused = Float[Tensor, "batch feature"]


class Fusion(Model):
    """Project every modality to one width, and drop modalities at random in training.

    `width` is what all modalities are projected to. `modality_dropout` is the probability that a
    modality of an utterance is dropped in training; the last one that is present stays (Neverova et
    al. 2016, arXiv 1501.00102). The other options are those of `Model`.

    Raises:
        ConfigError: A size or an option is out of its range.
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        width: int,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs)
        if not 0 <= modality_dropout < 1:
            raise ConfigError(f"modality_dropout {modality_dropout}", expected="0 up to below 1")
        self.modality_dropout = modality_dropout
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width))
                for name, size in self.feature_sizes.items()
            }
        )

    def projected(self, modalities: Mapping[str, PaddedSequence]) -> dict[str, PaddedSequence]:
        """Return all modalities of the model on one width, absent ones with an empty mask.

        Every parameter takes part in every step, as DDP expects it. A modality that is missing in
        `modalities`, which has at least one of this model, is absent from every utterance.
        """
        given = {name: modalities[name] for name in self.feature_sizes if name in modalities}
        assert given, f"none of {list(self.feature_sizes)} is in the batch"
        template = next(iter(given.values()))
        for name, size in self.feature_sizes.items():
            if name not in given:
                values = template.values.new_zeros(len(template.values), 1, size)
                given[name] = PaddedSequence(values, template.valid_mask.new_zeros(len(values), 1))
        names = list(self.feature_sizes)
        present = torch.stack([given[name].present for name in names], dim=1)
        if self.training and self.modality_dropout:
            present = keep_at_least_one(present, self.modality_dropout)
        projected = {}
        for index, name in enumerate(names):
            mask = given[name].valid_mask & present[:, index, None]
            values = self.projections[name](zero_padding(given[name].values, mask))
            projected[name] = PaddedSequence(values, mask)
        return projected


class PooledFusion(Fusion):
    """Pool every modality to one vector; a learned vector replaces that of an absent one.

    `pooling` is `attention`, `mean` or `first`, over the real frames; `dropout` that of the pooled
    vectors and before the output. The other options are those of `Fusion`.

    Raises:
        ConfigError: A size or an option is out of its range or unknown.
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        width: int = 64,
        pooling: str = "attention",
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, modality_dropout)
        poolings = {name: build_pooling(pooling, width) for name in self.feature_sizes}
        self.poolings = nn.ModuleDict(poolings)
        self.absent = nn.Parameter(torch.zeros(len(self.feature_sizes), width))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits, `[batch, output]`; a fixed row where nothing is present."""
        streams = self.projected(modalities)
        pooled = torch.stack([self.poolings[name](streams[name]) for name in streams], dim=1)
        present = torch.stack([stream.present for stream in streams.values()], dim=1)
        vectors = torch.where(present[..., None], pooled, self.absent)
        logits: Tensor = self.head(self.combine(self.dropout(vectors), present))
        return logits

    @abstractmethod
    def combine(self, vectors: Vectors, present: Present) -> Fused:
        """Combine the vectors of the modalities (the learned one where absent) into one."""


def keep_at_least_one(present: Present, probability: float) -> Present:
    """Return which of the present modalities stay when each is dropped with a probability.

    At least one stays wherever `present` has one.
    """
    draws = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    largest = draws == draws.amax(dim=1, keepdim=True)
    return present & ((draws >= probability) | largest)


def mean_of_present(vectors: Vectors, present: Present) -> Fused:
    """Return the mean over the modalities that are present; zeros without one.

    Example:
        >>> mean_of_present(torch.tensor([[[2.0], [9.0]]]), torch.tensor([[True, False]])).tolist()
        [[2.0]]
    """
    count = present.sum(dim=1).clamp(min=1)[:, None]
    return zero_padding(vectors, present).sum(dim=1) / count
