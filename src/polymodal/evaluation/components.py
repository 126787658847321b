"""Principal components with deterministic signs.

Legend: row = utterances, feature = columns, component = directions of decreasing variance.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "row feature"]
MIN_RATIO = 1e-10  # of a variance to the largest one; less is rounding


@dataclass(frozen=True)
class PrincipalComponents:
    """Directions in which rows vary, by decreasing variance."""

    # Orthonormal columns; the largest entry of each is positive.
    directions: Float[np.ndarray, "feature component"]
    variances: Float[np.ndarray, " component"]  # of the rows along each direction, all above 0

    def whiten(self, rows: Rows, num_components: int) -> Float[np.ndarray, "row _"]:
        """Project centred rows on the first components, each scaled to a variance of 1."""
        directions = self.directions[:, :num_components]
        return np.asarray(rows @ directions / np.sqrt(self.variances[:num_components]))


def principal_components(centred: Rows) -> PrincipalComponents:
    """Return the principal components of finite rows that are centred; none for constant rows.

    With fewer rows than features, the smaller Gram matrix of the rows is decomposed instead of the
    covariance.

    Example:
        >>> components = principal_components(np.array([[-1.0, -1.0], [1.0, 1.0]]))
        >>> components.directions.round(3).tolist(), components.variances.round(3).tolist()
        ([[0.707], [0.707]], [2.0])
    """
    num_rows, num_features = centred.shape
    wide = num_rows < num_features
    products = centred @ centred.T if wide else centred.T @ centred
    variances, vectors = np.linalg.eigh(products / max(num_rows, 1))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    above = variances > MIN_RATIO * max(variances.max(initial=0.0), np.finfo(float).tiny)
    variances, vectors = variances[above].copy(), vectors[:, above]
    if wide:
        vectors = centred.T @ vectors / np.sqrt(num_rows * variances)
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return PrincipalComponents(vectors * signs, variances)
