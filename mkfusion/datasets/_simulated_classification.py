"""Simulated classes whose posteriors are known, for all modalities and for each alone."""

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
    check_class_names,
    check_dimensions,
    check_flags,
    check_probabilities,
    check_real,
    check_whole,
    per_modality,
)
from ._frames import column_names, modality_slices
from ._missing import PATTERNS, Labels
from ._simulated import (
    NOISE,
    STRENGTH,
    informative_modalities,
    lossy_frames,
    orthonormal,
    simplex,
    unique_parts,
)

__all__ = ["make_multimodal_classification"]

_MAX_COMPONENTS = 4096
_CLASS, _FIRST_DIGIT = 0, 1


def make_multimodal_classification(
    n_samples: int = 200,
    *,
    modalities: Mapping[str, int] | None = None,
    n_classes: int = 2,
    weights: Sequence[float] | None = None,
    class_names: Sequence[Any] | None = None,
    redundant: float = 1.0,
    unique: float | Mapping[str, float] = 1.0,
    synergistic: float = 0.0,
    noise_modalities: Sequence[str] = (),
    noise: float | Mapping[str, float] = 0.5,
    correlation: float = 0.0,
    label_noise: float = 0.0,
    missing: float | Mapping[str, float] = 0.0,
    missing_pattern: str = "random",
    return_X_y: bool = False,
    random_state: Any = None,
) -> Bunch | tuple[pd.DataFrame, pd.Series]:
    r"""Draw labelled samples of several modalities whose true posteriors are known.

    Class y has prior :math:`\pi_y`. Latent sources are Gaussian about the corners :math:`v_c` of
    a regular simplex in K - 1 dimensions, every two at distance 1, and a modality sees those that
    it carries through its own noise:

    .. math::

        s &\sim N(\text{redundant} \cdot v_y, I) && \text{one draw, seen by all}\\
        u_m &\sim N(\text{unique}_m \cdot v_y, I) && \text{seen by modality } m \text{ only}\\
        a &\sim U\{0, \dots, K - 1\},\; b = (y - a) \bmod K, \quad
        t_a \sim N(\text{synergistic} \cdot v_a, I),\;
        t_b \sim N(\text{synergistic} \cdot v_b, I) && \text{one digit each}\\
        x_m &= W_m z_m + \varepsilon_m, \quad
        \varepsilon_m \sim N(0, \text{noise}_m^2 [(1 - \rho) I + \rho 1 1^\top])

    with z_m the sources of modality m on top of each other, W_m random with orthonormal columns,
    and rho the ``correlation``. A digit alone says nothing of y, and the sum of both modulo K
    *is* y: for two classes this is XOR. A source of strength 0 is left out. Given y (and a), x is
    Gaussian, so every posterior is exact.

    Parameters
    ----------
    n_samples : int
    modalities : dict or None
        Number of features of each modality; None is ``{"audio": 10, "video": 20}``. A modality
        needs K - 1 features for each source that it carries.
    n_classes : int
        K, at least 2.
    weights : sequence of shape (n_classes,) or None
        Class priors, positive, with sum 1; None for equal ones. Labels are drawn independently.
    class_names : sequence of str or int, or None
        Labels in sorted order; None is 0, ..., K - 1.
    redundant : float
        Distance between two class means in the shared source, in its standard deviations.
    unique : float or dict
        The same in each modality's own source; one for all or one per name (0 where left out).
        With correlation 0 a modality alone tells two classes apart as well as one normal variable
        whose means differ by ``sqrt((redundant**2 + unique**2) / (1 + noise**2))`` deviations.
    synergistic : float
        The same for the digits. The first two modalities that are no noise carry them.
    noise_modalities : sequence of str
        Modalities that carry nothing: noise, independent of all else.
    noise : float or dict
        Standard deviation of each feature's own noise, positive; one for all or one per name.
    correlation : float
        Correlation of that noise between any two features of one modality, in [0, 1).
    label_noise : float
        Share of the labels that are replaced by another class, drawn uniformly.
    missing : float or dict
        Share of the samples that lose a whole modality; at least one is kept. See
        :func:`simulate_missing`.
    missing_pattern : {"random", "class", "block"}
        "class" goes by the true class.
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState or None
        Equal seeds give equal data, and a seed's ``complete`` is the same for every
        ``label_noise``, ``missing`` and ``missing_pattern``.

    Returns
    -------
    Bunch or tuple
        With these fields (n samples, D features, M modalities, K classes, L latent dimensions):

        data : DataFrame of shape (n, D)
            Columns ``audio__0`` ..., NaN where a modality is lost.
        target, true_target : Series of shape (n,)
            Labels with and without label noise.
        target_names : ndarray of shape (K,)
        modalities : dict of lists of column names
        feature_names : list of str
        complete : DataFrame of shape (n, D)
            The data before any loss.
        mask : DataFrame of shape (n, M)
            True where a modality is present.
        latent : DataFrame of shape (n, L)
            The sources: ``redundant__0``, ``unique_audio__0``, ``synergistic_audio__0`` ...
        loadings : DataFrame of shape (D, L)
            ``complete`` is ``latent @ loadings.T`` plus noise.
        digits : DataFrame of shape (n, 2) or (n, 0)
            a and b, named by the modalities that carry them.
        carries : dict of tuples
            What each modality carries, of "redundant", "unique" and "synergistic".
        priors : ndarray of shape (K,)
        posterior : ndarray of shape (n, K)
            P(true class | all modalities, complete): no classifier has a lower expected log loss.
        modality_posteriors : dict of ndarray of shape (n, K)
            P(true class | one modality, complete).
        observed_posterior : ndarray of shape (n, K)
            P(true class | values of the modalities present). It does not use what the absence
            itself tells under the pattern "class".

    Raises
    ------
    ValueError
        A parameter out of its range, unknown names, or too few features for the sources.

    References
    ----------
    P. L. Williams and R. D. Beer, "Nonnegative decomposition of multivariate information", 2010,
    arXiv:1004.2515 (redundant, unique and synergistic information).

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_classification
    >>> xor = make_multimodal_classification(
    ...     500, redundant=0, unique=0, synergistic=6, random_state=0
    ... )
    >>> truth = xor.true_target.to_numpy()
    >>> alone = xor.modality_posteriors["audio"].argmax(axis=1)
    >>> bool(abs((alone == truth).mean() - 0.5) < 0.1)
    True
    >>> bool((xor.posterior.argmax(axis=1) == truth).mean() > 0.95)
    True
    """
    check_flags(return_X_y=return_X_y)
    check_choice("missing_pattern", missing_pattern, PATTERNS)
    n_samples = check_whole("n_samples", n_samples, 1)
    n_classes = check_whole("n_classes", n_classes, 2)
    names = check_class_names(class_names, n_classes)
    dims = check_dimensions({"audio": 10, "video": 20} if modalities is None else modalities)
    rates = per_modality("missing", missing, list(dims), RATE)
    label_noise = check_real("label_noise", label_noise, RATE)
    informative = informative_modalities(dims, noise_modalities)
    sources = _sources(dims, n_classes, informative, redundant, unique, synergistic)
    rng = as_random_state(random_state)

    model = _Model(
        dims,
        sources,
        _check_priors(weights, n_classes),
        per_modality("noise", noise, list(dims), NOISE, absent=None),
        check_real("correlation", correlation, Interval(0, 1, open_end=True)),
        _loadings(dims, sources, n_classes - 1, rng),
    )
    symbols, latent, x = _draw(model, n_samples, rng)
    y = symbols[:, _CLASS]
    labels = _flip(y, n_classes, label_noise, rng)
    tables = lossy_frames(x, dims, rates, missing_pattern, Labels(y, n_classes), rng)
    target = pd.Series(names[labels], name="target")
    if return_X_y:
        return tables["data"], target
    return Bunch(
        **tables,
        target=target,
        target_names=names,
        true_target=pd.Series(names[y], name="target"),
        priors=model.priors,
        **_sources_of(model, symbols, latent),
        **_posteriors(model, x, tables["mask"].to_numpy()),
    )


class _Source(NamedTuple):
    kind: str
    symbol: int
    strength: float
    carriers: tuple[str, ...]

    def columns(self, width: int) -> list[str]:
        owner = "" if self.kind == "redundant" else f"_{self.carriers[0]}"
        return [f"{self.kind}{owner}__{j}" for j in range(width)]


class _Model(NamedTuple):
    dims: dict[str, int]
    sources: list[_Source]
    priors: np.ndarray
    noise: dict[str, float]
    correlation: float
    loadings: np.ndarray


def _check_priors(weights: Any, n_classes: int) -> np.ndarray:
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    priors = check_probabilities("weights", weights, (n_classes,))
    if (priors == 0).any():
        raise ValueError(f"weights must be positive, got {priors.tolist()}")
    return priors


def _sources(
    dims: Mapping[str, int],
    n_classes: int,
    informative: tuple[str, ...],
    redundant: float,
    unique: float | Mapping[str, float],
    synergistic: float,
) -> list[_Source]:
    own = unique_parts(unique, dims, informative)
    shared = check_real("redundant", redundant, STRENGTH)
    synergy = check_real("synergistic", synergistic, STRENGTH)
    if synergy and len(informative) < 2:
        raise ValueError(
            f"synergistic needs two modalities that are no noise, got {len(informative)}"
        )
    if synergy and n_classes**2 > _MAX_COMPONENTS:
        raise ValueError(
            f"synergistic needs n_classes**2 = {n_classes**2} components for exact posteriors; "
            f"at most {_MAX_COMPONENTS} are allowed, so n_classes must be at most "
            f"{int(_MAX_COMPONENTS**0.5)}"
        )
    sources = [_Source("redundant", _CLASS, shared, informative)]
    sources += [_Source("unique", _CLASS, own[name], (name,)) for name in informative]
    sources += [
        _Source("synergistic", symbol, synergy, (name,))
        for symbol, name in enumerate(informative[:2], _FIRST_DIGIT)
    ]
    return [source for source in sources if source.strength and source.carriers]


def _loadings(
    dims: Mapping[str, int], sources: list[_Source], width: int, rng: np.random.RandomState
) -> np.ndarray:
    loadings = np.zeros((sum(dims.values()), len(sources) * width))
    for name, rows in modality_slices(dims).items():
        own = np.array([name in source.carriers for source in sources], dtype=bool)
        carried = np.repeat(own, width)
        needed = int(carried.sum())
        if needed > dims[name]:
            raise ValueError(
                f"modality {name!r} carries {needed} latent dimensions and has {dims[name]} "
                f"features; give it at least {needed} in modalities"
            )
        loadings[rows, carried] = orthonormal(dims[name], needed, rng)
    return loadings


def _draw(
    model: _Model, n_samples: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_classes = len(model.priors)
    y = rng.choice(n_classes, n_samples, p=model.priors)
    a = rng.randint(n_classes, size=n_samples)
    symbols = np.column_stack([y, a, (y - a) % n_classes])
    centres = _latent_means(model, symbols)
    latent = centres + rng.standard_normal(centres.shape)
    x = latent @ model.loadings.T
    for name, columns in modality_slices(model.dims).items():
        own = rng.standard_normal((n_samples, model.dims[name]))
        common = rng.standard_normal((n_samples, 1))
        mixed = np.sqrt(1 - model.correlation) * own + np.sqrt(model.correlation) * common
        x[:, columns] += model.noise[name] * mixed
    return symbols, latent, x


def _latent_means(model: _Model, symbols: np.ndarray) -> np.ndarray:
    corners = simplex(len(model.priors))
    blocks = [source.strength * corners[symbols[:, source.symbol]] for source in model.sources]
    return np.hstack(blocks) if blocks else np.zeros((len(symbols), 0))


def _flip(y: np.ndarray, n_classes: int, share: float, rng: np.random.RandomState) -> np.ndarray:
    flipped = rng.random_sample(len(y)) < share
    return (y + flipped * rng.randint(1, n_classes, size=len(y))) % n_classes


def _sources_of(model: _Model, symbols: np.ndarray, latent: np.ndarray) -> dict[str, Any]:
    names = [name for source in model.sources for name in source.columns(len(model.priors) - 1)]
    digits = {
        source.carriers[0]: symbols[:, source.symbol]
        for source in model.sources
        if source.symbol != _CLASS
    }
    features = [column for columns in column_names(model.dims).values() for column in columns]
    return {
        "latent": pd.DataFrame(latent, columns=names),
        "loadings": pd.DataFrame(model.loadings, index=features, columns=names),
        "digits": pd.DataFrame(digits, index=range(len(symbols))),
        "carries": {
            name: tuple(source.kind for source in model.sources if name in source.carriers)
            for name in model.dims
        },
    }


class _Mixture(NamedTuple):
    means: np.ndarray
    covariance: np.ndarray
    log_weights: np.ndarray
    classes: np.ndarray


def _mixture(model: _Model) -> _Mixture:
    n_classes = len(model.priors)
    synergistic = any(source.symbol != _CLASS for source in model.sources)
    n_digits = n_classes if synergistic else 1
    y, a = (table.ravel() for table in np.indices((n_classes, n_digits)))
    means = _latent_means(model, np.column_stack([y, a, (y - a) % n_classes])) @ model.loadings.T
    log_weights = np.log(model.priors[y] / n_digits)
    return _Mixture(means, _covariance(model), log_weights, y)


def _covariance(model: _Model) -> np.ndarray:
    covariance = model.loadings @ model.loadings.T
    for name, block in modality_slices(model.dims).items():
        size, variance = model.dims[name], model.noise[name] ** 2
        shape = (1 - model.correlation) * np.eye(size) + model.correlation
        covariance[block, block] += variance * shape
    return covariance


def _posteriors(model: _Model, x: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    mixture = _mixture(model)
    owner = np.repeat(np.arange(len(model.dims)), list(model.dims.values()))
    alone = {name: _posterior(mixture, x, owner == j) for j, name in enumerate(model.dims)}
    observed = np.empty((len(x), len(model.priors)))
    patterns, which = np.unique(mask, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        rows = which.ravel() == i
        observed[rows] = _posterior(mixture, x[rows], pattern[owner])
    return {
        "posterior": _posterior(mixture, x, np.full(len(owner), True)),
        "modality_posteriors": alone,
        "observed_posterior": observed,
    }


def _posterior(mixture: _Mixture, x: np.ndarray, columns: np.ndarray) -> np.ndarray:
    means = mixture.means[:, columns]
    slopes = np.linalg.solve(mixture.covariance[np.ix_(columns, columns)], means.T)
    scores = x[:, columns] @ slopes - (means.T * slopes).sum(axis=0) / 2 + mixture.log_weights
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    members = mixture.classes[:, np.newaxis] == np.unique(mixture.classes)
    joint = shares @ members
    return joint / joint.sum(axis=1, keepdims=True)
