"""Blocks of columns as arrays: numbers of them, their scales, their absent rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["SCALINGS", "as_numbers", "block_scale", "spread"]


def _sqrt_dim(block: Any) -> float:
    return np.sqrt(block.shape[1])


def _frobenius(block: Any) -> float:
    return float(np.linalg.norm(block.data if sparse.issparse(block) else block))


def _spectral(block: Any) -> float:
    """Return the first singular value, from the smaller of the two Gram matrices."""
    gram = block @ block.T if block.shape[0] < block.shape[1] else block.T @ block
    gram = gram.toarray() if sparse.issparse(gram) else gram
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


SCALINGS = {"sqrt_dim": _sqrt_dim, "frobenius": _frobenius, "spectral": _spectral}


def block_scale(
    block: Any, scaling: str | None, sample_weight: np.ndarray | None = None
) -> tuple[float, float]:
    """Return two numbers whose product a block of shape (n_samples, n_features) is divided by.

    Two, so that neither overflows: the largest entry, and the scale of what that leaves. NaN
    count as 0; a block of zeros is divided by 1; rows count by the square roots of their weights.
    """
    if scaling is None:
        return 1.0, 1.0
    if scaling == "sqrt_dim":
        return 1.0, float(_sqrt_dim(block))
    if not sparse.issparse(block):
        block = np.where(np.isnan(block), 0.0, block)
    values = block.data if sparse.issparse(block) else block
    if not np.isfinite(values).all():
        raise ValueError(f"scaling={scaling!r} needs finite values, got infinity")
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return 1.0, 1.0
    block = block / largest
    if sample_weight is not None:
        roots = np.sqrt(sample_weight)
        block = sparse.diags(roots) @ block if sparse.issparse(block) else block * roots[:, None]
    return largest, SCALINGS[scaling](block) or 1.0


def as_numbers(name: str, block: Any) -> Any:
    """Return a block as a 2-D array or sparse matrix of numbers."""
    if sparse.issparse(block):
        return block.tocsr()
    values = block.to_numpy() if isinstance(block, pd.DataFrame | pd.Series) else np.asarray(block)
    if values.ndim == 1:
        values = values[:, None]
    if values.dtype.kind in "OUSMm":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"modality {name!r} holds what is not a number ({error}); give it a transformer "
                "that makes numbers of it, such as OneHotEncoder or TfidfVectorizer"
            ) from None
    return values


def spread(name: str, block: Any, rows: np.ndarray) -> Any:
    """Put the rows of a block where its modality is present, and NaN elsewhere."""
    if rows.all():
        return block
    if sparse.issparse(block):
        raise ValueError(
            f"modality {name!r} is sparse and missing for {int((~rows).sum())} of {len(rows)} "
            "samples; a sparse block cannot mark them. Make it dense, impute it, or use late "
            "fusion, which leaves absent modalities out"
        )
    dtype = np.result_type(block.dtype, np.float32)
    spread = np.full((len(rows), block.shape[1]), np.nan, dtype=dtype)
    spread[rows] = block
    return spread
