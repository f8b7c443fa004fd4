"""Simulated measurements of one quantity, whose best prediction is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._checks import (
    RATE,
    Interval,
    as_random_state,
    check_choice,
    check_dimensions,
    check_flags,
    check_real,
    check_whole,
    per_modality,
)
from ._frames import modality_slices
from ._simulated import STRENGTH, informative_modalities, lossy_frames, orthonormal, unique_parts

__all__ = ["make_multimodal_regression"]

_VARIANCE = Interval(1e-12, 1e12)


def make_multimodal_regression(
    n_samples: int = 200,
    *,
    modalities: Mapping[str, int] | None = None,
    variances: float | Mapping[str, float] = 1.0,
    unique: float | Mapping[str, float] = 0.0,
    noise_modalities: Sequence[str] = (),
    noise: float = 0.1,
    missing: float | Mapping[str, float] = 0.0,
    missing_pattern: str = "random",
    return_X_y: bool = False,
    random_state: Any = None,
) -> Bunch | tuple[pd.DataFrame, pd.Series]:
    r"""Draw a number that several modalities measure, each with an error of known variance.

    With all of :math:`f, e_m, u_m, g_m, \eta` standard normal and independent,

    .. math::

        y &= f + \sum_m b_m u_m + \text{noise} \cdot \eta\\
        x_m &= w_m (f + \sigma_m e_m) + v_m u_m + (I - w_m w_m^\top - v_m v_m^\top) g_m

    where w_m and v_m are random, orthonormal and known (v_m is 0 where b_m is), so that
    :math:`w_m^\top x_m` measures f without bias and with variance :math:`\sigma_m^2`. A noise
    modality is g_m alone. The best average of the measurements has inverse-variance weights, and

    .. math::

        E[y \mid x] = \sum_m \Big(\frac{\sigma_m^{-2}}{1 + \sum_k \sigma_k^{-2}} w_m
        + b_m v_m\Big)^\top x_m, \qquad
        \operatorname{Var}[y \mid x] = \frac{1}{1 + \sum_k \sigma_k^{-2}} + \text{noise}^2 .

    Parameters
    ----------
    n_samples : int
    modalities : dict or None
        Number of features of each modality; None is ``{"audio": 10, "video": 20}``. A modality
        with a unique part needs two.
    variances : float or dict
        sigma_m**2, the variance of a modality's error, in units of the variance of f; one for
        all or one per name (noise modalities may be left out).
    unique : float or dict
        b_m, the weight in y of what modality m alone knows; one for all or one per name (0 where
        left out).
    noise_modalities : sequence of str
        Modalities that carry nothing.
    noise : float
        Standard deviation of the target's own noise.
    missing : float or dict
        Share of the samples that lose a whole modality; at least one is kept. See
        :func:`simulate_missing`.
    missing_pattern : {"random", "block"}
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState or None
        Equal seeds give equal data, and a seed's ``complete`` is the same for every ``missing``
        and ``missing_pattern``.

    Returns
    -------
    Bunch or tuple
        With these fields (n samples, D features, M modalities):

        data : DataFrame of shape (n, D)
            Columns ``audio__0`` ..., NaN where a modality is lost.
        target : Series of shape (n,)
        modalities : dict of lists of column names
        feature_names : list of str
        complete : DataFrame of shape (n, D)
            The data before any loss.
        mask : DataFrame of shape (n, M)
            True where a modality is present.
        signal : Series of shape (n,)
            f.
        measurements : DataFrame of shape (n, number of informative modalities)
            w_m' x_m, before any loss.
        measurement_weights : dict of float
            Inverse-variance weights with sum 1; 0 for noise modalities.
        variances : dict of float
            sigma_m**2; infinite for noise modalities.
        coef : Series of shape (D,)
            E[y | x] is ``complete @ coef``.
        modality_coef : dict of ndarray of shape (d_m,)
            E[y | x_m] is ``complete[modalities[m]] @ modality_coef[m]``.
        conditional_mean : ndarray of shape (n,)
            E[y | all modalities, complete].
        observed_conditional_mean : ndarray of shape (n,)
            E[y | the modalities present].
        conditional_variance : float
            Var[y | all modalities]: no regressor has a lower expected squared error.
        modality_conditional_variances : dict of float
            Var[y | one modality].

    Raises
    ------
    ValueError
        A parameter out of its range, unknown names, or too few features.

    References
    ----------
    W. G. Cochran, "The combination of estimates from different experiments", Biometrics 10(1),
    1954, doi:10.2307/3001666 (inverse-variance weights).

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_regression
    >>> truth = make_multimodal_regression(
    ...     1000, variances={"audio": 0.5, "video": 2.0}, random_state=0
    ... )
    >>> truth.measurement_weights
    {'audio': 0.8, 'video': 0.2}
    >>> error = truth.target - truth.conditional_mean
    >>> bool(abs(error.var() - truth.conditional_variance) < 0.05)
    True
    """
    check_flags(return_X_y=return_X_y)
    check_choice("missing_pattern", missing_pattern, ("random", "block"))
    n_samples = check_whole("n_samples", n_samples, 1)
    dims = check_dimensions({"audio": 10, "video": 20} if modalities is None else modalities)
    informative = informative_modalities(dims, noise_modalities)
    model = _Model(
        dims,
        _check_variances(variances, dims, informative),
        _check_unique(unique, dims, informative),
        check_real("noise", noise, STRENGTH),
    )
    rates = per_modality("missing", missing, list(dims), RATE)
    rng = as_random_state(random_state)

    w, v = _directions(model, rng)
    signal, x, y = _draw(model, w, v, n_samples, rng)
    tables = lossy_frames(x, dims, rates, missing_pattern, None, rng)
    target = pd.Series(y, name="target")
    if return_X_y:
        return tables["data"], target
    return Bunch(
        **tables,
        target=target,
        signal=pd.Series(signal, name="signal"),
        variances=model.variances,
        **_best(model, w, v, x, tables["mask"].to_numpy(dtype=float), tables["feature_names"]),
    )


class _Model(NamedTuple):
    dims: dict[str, int]
    variances: dict[str, float]
    unique: dict[str, float]
    noise: float


def _check_variances(
    variances: Any, dims: Mapping[str, int], informative: tuple[str, ...]
) -> dict[str, float]:
    silent = [name for name in dims if name not in informative]
    if isinstance(variances, Mapping):
        variances = {**dict.fromkeys(silent, 1.0), **variances}
    given = per_modality("variances", variances, list(dims), _VARIANCE, absent=None)
    return {name: given[name] if name in informative else np.inf for name in dims}


def _check_unique(
    unique: Any, dims: Mapping[str, int], informative: tuple[str, ...]
) -> dict[str, float]:
    weights = unique_parts(unique, dims, informative)
    for name, size in dims.items():
        if weights[name] and size < 2:
            raise ValueError(
                f"modality {name!r} carries 2 latent dimensions and has {size} feature; "
                "give it at least 2 in modalities"
            )
    return weights


def _directions(model: _Model, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Return w and v of each modality in its own rows: twice (n_features, n_modalities)."""
    w, v = np.zeros((2, sum(model.dims.values()), len(model.dims)))
    for j, (name, rows) in enumerate(modality_slices(model.dims).items()):
        axes = orthonormal(model.dims[name], 1 + (model.unique[name] > 0), rng)
        if np.isfinite(model.variances[name]):
            w[rows, j] = axes[:, 0]
        if model.unique[name] > 0:
            v[rows, j] = axes[:, 1]
    return w, v


def _draw(
    model: _Model, w: np.ndarray, v: np.ndarray, n_samples: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    finite = np.where(np.isfinite(_array(model.variances)), _array(model.variances), 0)
    signal = rng.standard_normal((n_samples, 1))
    measured = signal + np.sqrt(finite) * rng.standard_normal((n_samples, w.shape[1]))
    own = rng.standard_normal(measured.shape)
    rest = rng.standard_normal((n_samples, len(w)))
    rest -= (rest @ w) @ w.T + (rest @ v) @ v.T
    noise = model.noise * rng.standard_normal(n_samples)
    y = signal[:, 0] + own @ _array(model.unique) + noise
    return signal[:, 0], measured @ w.T + own @ v.T + rest, y


def _array(by_modality: Mapping[str, float]) -> np.ndarray:
    return np.array(list(by_modality.values()))


def _best(
    model: _Model,
    w: np.ndarray,
    v: np.ndarray,
    x: np.ndarray,
    mask: np.ndarray,
    features: list[str],
) -> dict[str, Any]:
    precision, unique = 1 / _array(model.variances), _array(model.unique)
    measured, own = x @ w, (x @ v) * unique
    total = precision.sum()
    names = list(model.dims)
    informative = precision > 0
    coef = w @ (precision / (1 + total)) + v @ unique
    alone = w * (precision / (1 + precision)) + v * unique
    unknown = unique @ unique - unique**2 + model.noise**2
    shares = precision / total if total else precision
    seen = mask * precision
    return {
        "measurements": pd.DataFrame(measured, columns=names).loc[:, informative],
        "measurement_weights": dict(zip(names, shares.tolist(), strict=True)),
        "coef": pd.Series(coef, index=features),
        "modality_coef": {
            name: alone[rows, j]
            for j, (name, rows) in enumerate(modality_slices(model.dims).items())
        },
        "conditional_mean": x @ coef,
        "observed_conditional_mean": (seen * measured).sum(1) / (1 + seen.sum(1))
        + (mask * own).sum(1),
        "conditional_variance": float(1 / (1 + total) + model.noise**2),
        "modality_conditional_variances": dict(
            zip(names, (1 / (1 + precision) + unknown).tolist(), strict=True)
        ),
    }
