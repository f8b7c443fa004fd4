"""The final model of a stack: its weights, its columns, and what stands beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._columns import as_numbers
from .._models import noting, responds, takes_nan, weight_params
from .._parallel import single_blas_thread
from .._validation import listed, warn

__all__ = ["final_classifier", "final_regressor", "stacking_params"]


def final_classifier(given: Any) -> Any:
    """Return the classifier on top of a stack; None is logistic regression."""
    if given is None:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000)
    if not responds(given, "predict_proba"):
        raise ValueError(
            f"final_estimator ({type(given).__name__}) has no predict_proba; take a classifier "
            "that has one, or wrap it in CalibratedClassifierCV"
        )
    return given


def final_regressor(given: Any) -> Any:
    """Return the regressor on top of a stack; None is RidgeCV."""
    if given is None:
        from sklearn.linear_model import RidgeCV

        return RidgeCV()
    return given


def stacking_params(
    model: Any, names: Sequence[str], experts: Sequence[str], weighted: bool, extra: Any = None
) -> dict[str, Any]:
    """Return what a stacking rule needs beside the answers.

    ``names`` are those of the columns of answers, ``extra`` the features that stand beside them.
    The model gets sample weights if it is ``weighted``.
    """
    params = {
        "final_estimator": model,
        "takes_nan": takes_nan(model),
        "fit": partial(_fit, weighted=weighted),
    }
    if extra is not None:
        params |= {
            "join": partial(_join, names=list(names), experts=list(experts)),
            "extra": extra,
        }
    return params


def _fit(model: Any, columns: Any, y: Any, sample_weight: np.ndarray, *, weighted: bool) -> Any:
    params: dict[str, np.ndarray] | None = {}
    if weighted and not (sample_weight == 1).all():
        params = weight_params(model, sample_weight)
        if params is None:
            warn(f"final_estimator ({type(model).__name__}) takes no sample_weight")
    with noting("raised by final_estimator"), single_blas_thread, warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Since Pipeline does not appear to accept sample_weight"
        )
        return model.fit(columns, y, **(params or {}))


def _join(
    columns: np.ndarray, marked: np.ndarray, extra: Any, *, names: list[str], experts: list[str]
) -> Any:
    """Put features beside the answers, which have names beside those of a DataFrame."""
    if sparse.issparse(extra):
        return sparse.hstack([columns, extra], format="csr")
    if not isinstance(extra, pd.DataFrame) or not all(isinstance(c, str) for c in extra.columns):
        return np.hstack([columns, as_numbers("passthrough", extra)])
    absent = [f"{expert}__absent" for expert, mark in zip(experts, marked, strict=True) if mark]
    taken = [name for name in (*names, *absent) if name in extra.columns]
    if taken:
        raise ValueError(
            f"passthrough=True would give two columns the names {listed(taken)}; rename those of X"
        )
    answers = pd.DataFrame(columns, columns=[*names, *absent], index=extra.index)
    return pd.concat([answers, extra], axis=1)
