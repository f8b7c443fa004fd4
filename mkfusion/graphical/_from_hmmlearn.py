"""Models of hmmlearn as they are, in a model of streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .._validation import check_option
from ..chains._em import HMM
from ..chains._emissions import (
    CategoricalEmission,
    Emission,
    GaussianEmission,
    GMMEmission,
    PoissonEmission,
)
from ._hmm import MultistreamHMM

__all__ = ["from_hmmlearn"]

Array = np.ndarray


def from_hmmlearn(model: Any, *, modality: str = "X", rows: str = "sequences") -> MultistreamHMM:
    """Turn a fitted model of hmmlearn into a :class:`MultistreamHMM` of the same parameters.

    Its log-likelihoods, paths and probabilities are those of the model. Sequences are a list of
    (n_steps, d) arrays instead of one array and ``lengths``; one sequence is a list of one array.

    Parameters
    ----------
    model : GaussianHMM, GMMHMM, CategoricalHMM or PoissonHMM
        Fitted, or with all its parameters set.
    modality : str, default="X"
        The name of its only modality.
    rows : {"sequences", "steps"}, default="sequences"
        What a row of X will be: a sequence, in cells, or a step, beside the id of its sequence.

    Returns
    -------
    hmm : MultistreamHMM
        Fitted; ``fit`` trains it anew, from a start of its own.

    Raises
    ------
    TypeError
        For another class of model.
    ValueError
        For a model without parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from hmmlearn.hmm import GaussianHMM
    >>> from mkfusion.graphical import from_hmmlearn
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> theirs = GaussianHMM(2, random_state=0).fit(X, [20, 30])
    >>> ours = from_hmmlearn(theirs)
    >>> bool(np.isclose(ours.score_samples([X[:20], X[20:]]).sum(), theirs.score(X, [20, 30])))
    True
    """
    check_option("rows", rows, ("sequences", "steps"))
    kind = type(model).__name__
    makers = {
        "GaussianHMM": _gaussian,
        "GMMHMM": _mixture,
        "CategoricalHMM": _categorical,
        "PoissonHMM": _poisson,
    }
    own = [cls.__name__ for cls in type(model).__mro__ if cls.__module__.startswith("hmmlearn")]
    known = next((name for name in own if name in makers), None)
    if known is None:
        raise TypeError(f"a model of hmmlearn must be one of {', '.join(makers)}, got {kind}")
    try:
        emission, options, width = makers[known](model)
        start = np.array(model.startprob_, dtype=np.float64)
        transition = np.array(model.transmat_, dtype=np.float64)
    except AttributeError as error:
        raise ValueError(f"the {kind} is not fitted: {error}") from None
    hmm = MultistreamHMM(
        len(start),
        modalities={modality: [0] if rows == "sequences" else list(range(width))},
        emissions=(emission.family, options) if options else emission.family,
        max_iter=model.n_iter,
        random_state=model.random_state,
    )
    # What the model knows of its data, it knows by reading some.
    hmm._has_cells = rows == "sequences"
    values: Any = np.zeros((1, width))
    if hmm._has_cells:
        hmm._fit_read([values])
    else:
        hmm._fit_read(pd.DataFrame(values, index=pd.Index([0], name=hmm.sequence)))
        hmm._seen = {}
    monitor = getattr(model, "monitor_", None)
    history = np.array(getattr(monitor, "history", ()), dtype=np.float64)
    hmm.history_ = history
    hmm.log_likelihood_ = float(history[-1]) if len(history) else float("nan")
    hmm.n_iter_ = len(history)
    hmm.converged_ = bool(len(history) and monitor.converged)  # type: ignore[union-attr]
    hmm._store(HMM(start, transition, (emission,)), [modality], np.ones(1))
    return hmm


def _gaussian(model: Any) -> tuple[Emission, dict[str, Any], int]:
    kind = model.covariance_type
    options = {
        "covariance_type": kind,
        "means_prior": _number(model.means_prior),
        "means_weight": _number(model.means_weight),
    }
    means = np.array(model.means_, dtype=np.float64)
    covars = np.array(model._covars_, dtype=np.float64)
    if kind == "spherical" and covars.ndim == 2:
        covars = covars[:, 0]
    return GaussianEmission(means, covars, **options), options, means.shape[1]


def _mixture(model: Any) -> tuple[Emission, dict[str, Any], int]:
    options = {"n_mix": model.n_mix, "covariance_type": model.covariance_type}
    means = np.array(model.means_, dtype=np.float64)
    weights = np.array(model.weights_, dtype=np.float64)
    covars = np.array(model.covars_, dtype=np.float64)
    emission = GMMEmission(weights, means, covars, model.covariance_type)
    return emission, options, means.shape[2]


def _categorical(model: Any) -> tuple[Emission, dict[str, Any], int]:
    options = {"emissionprob_prior": _number(model.emissionprob_prior)}
    table = np.array(model.emissionprob_, dtype=np.float64)
    return CategoricalEmission(table, np.arange(table.shape[1]), **options), options, 1


def _poisson(model: Any) -> tuple[Emission, dict[str, Any], int]:
    rates = np.array(model.lambdas_, dtype=np.float64)
    return PoissonEmission(rates), {}, rates.shape[1]


def _number(value: Any) -> float:
    """Return a prior that is one number; of others the model is to be trained anew."""
    return float(value) if np.ndim(value) == 0 else 0.0
