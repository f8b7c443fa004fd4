"""What a classifier answers, in the form that fusion takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._models import compares_pairs

__all__ = ["answer_of"]


def answer_of(name: str, expert: Any, block: Any, responses: Mapping[str, str]) -> np.ndarray:
    """Return posteriors, margins (n_samples, 1) of two classes, or labels as posteriors."""
    found = np.asarray(getattr(expert, responses[name])(block))
    if responses[name] == "predict":
        return (found[:, None] == expert.classes_).astype(np.float64)
    found = found.astype(np.float64).reshape(len(found), -1)
    if responses[name] == "decision_function" and len(expert.classes_) > 2:
        _refuse_pairs(name, expert, found.shape[1])
    if not np.isfinite(found).all():
        raise ValueError(f"the model of modality {name!r} returned NaN")
    return found


def _refuse_pairs(name: str, expert: Any, n_margins: int) -> None:
    """Refuse margins of pairs of classes; of three classes there are as many as classes."""
    if n_margins != len(expert.classes_) or compares_pairs(expert):
        raise ValueError(
            f"the model of modality {name!r} gives a margin for each pair of classes, but its "
            "calibration needs one for each class; take decision_function_shape='ovr'"
        )
