"""How far apart modalities are: in their geometry, in what they mean, in what they repeat."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone

from .._parallel import delayed, run, single_blas_thread
from .._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    listed,
    warn,
)
from ..modality import as_list, presence, resolve_modalities
from ._comparison import check_task
from ._gap_results import HeterogeneityGap, ModalityRedundancy, SemanticGap
from ._measures import corrected_interval
from ._models import default_model, encoder
from ._shared_space import (
    canonical_correlations,
    cka,
    linear,
    mean_average_precision,
    median_gamma,
    mmd,
    rbf,
)

FEWEST_ROWS = 5  # that two modalities must share


def heterogeneity_gap(
    X: Any,
    y: Any = None,
    modalities: Mapping[str, Any] | None = None,
    *,
    n_components: int = 5,
    remainder: str = "drop",
    allow_overlap: bool = False,
    n_jobs: int | None = None,
) -> HeterogeneityGap:
    r"""Measure how differently two modalities arrange the same samples.

    With K and L the kernels of two modalities on the samples that have both,

    .. math:: 1 - \text{CKA} = 1 - \frac{\text{HSIC}(K, L)}{\sqrt{\text{HSIC}(K, K) \,
        \text{HSIC}(L, L)}}

    for linear kernels and for RBF kernels of median width, by the biased and by the unbiased
    estimate of HSIC; and the squared maximum mean discrepancy between the projections u and v to
    a shared space, the first canonical directions,

    .. math:: \text{MMD}^2 = \text{mean}\, k(u_i, u_j) + \text{mean}\, k(v_i, v_j)
        - 2\, \text{mean}\, k(u_i, v_j).

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Columns are made numbers and standardised as in :func:`mkfusion.compare_fusion`. Two
        modalities are compared on the rows that have both.
    y : ignored
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    n_components : int, default=5
        At most that many canonical directions.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Pairs at a time. The figures do not depend on it.

    Returns
    -------
    found : HeterogeneityGap

    Raises
    ------
    ValueError
        For a single modality, or one that is missing in every row.

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton (2019), "Similarity of neural network representations
    revisited", ICML, equations (3) and (4).
    Song, Smola, Gretton, Bedo, Borgwardt (2012), "Feature selection via dependence maximization",
    JMLR 13, equation (5), for the unbiased estimate.
    Gretton, Borgwardt, Rasch, Schoelkopf, Smola (2012), "A kernel two-sample test", JMLR 13,
    equations (4) and (5).

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import heterogeneity_gap
    >>> X = load_multiple_features(return_X_y=True)[0]
    >>> found = heterogeneity_gap(X[::8].filter(regex="fou|zer|mor"))
    >>> len(found.table)
    3
    """
    blocks = _read(X, None, modalities, remainder, allow_overlap)
    _check_count("n_components", n_components)
    return HeterogeneityGap(_of_pairs(blocks, _heterogeneity, n_jobs, n_components))


def semantic_gap(
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    cv: Any = 5,
    n_components: int = 5,
    shrinkage: float | None = None,
    remainder: str = "drop",
    allow_overlap: bool = False,
    n_jobs: int | None = None,
    random_state: int | None = 0,
) -> SemanticGap:
    r"""Measure how far a sample of one modality leads to samples of its label in another.

    On training rows a shared space is learnt, of canonical directions, without labels. Each test
    row in one modality ranks the other test rows in the other one by the cosine, and the average
    precision says how far up those of its label stand:

    .. math:: \text{gap} = 1 - \frac1Q \sum_q \frac1{R_q} \sum_{k : k \text{ relevant}}
        \frac{\text{relevant up to } k}{k}.

    A row is not asked to find itself; permuted labels so give the gap of chance. How far a single
    modality's kernel is aligned with the labels stands beside it.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Columns are made numbers and standardised as in :func:`mkfusion.compare_fusion`. Two
        modalities are compared on the rows that have both.
    y : array-like of shape (n_samples,)
        Classes.
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is stratified and shuffled, and at most the size of the smallest class.
        An iterable holds places among the rows that have both modalities.
    n_components : int, default=5
        At most that many canonical directions.
    shrinkage : float, default=None
        From 0 to 1, of the covariances of both blocks; None is that of Ledoit and Wolf.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Pairs at a time. The figures do not depend on it.
    random_state : int or None, default=0
        Shuffles the folds, and decides on ties.

    Returns
    -------
    found : SemanticGap

    Raises
    ------
    ValueError
        For a single modality, one class, a target with NaN, or a modality that is missing in
        every row.

    References
    ----------
    Rasiwasia et al. (2010), "A new approach to cross-modal multimedia retrieval", ACM MM.
    Cortes, Mohri, Rostamizadeh (2012), "Algorithms for learning kernels based on centered
    alignment", JMLR 13, definition 4.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import semantic_gap
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = semantic_gap(X[::8].filter(regex="fou|zer"), y[::8])
    >>> found.alignment.index.tolist()
    ['fou', 'zer']
    """
    y = check_class_target(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has one class, {listed(classes)}: there is nothing to tell apart")
    blocks = _read(X, codes, modalities, remainder, allow_overlap)
    _check_count("n_components", n_components)
    _check_shrinkage(shrinkage)
    table = _of_pairs(
        blocks, _semantics, n_jobs, n_components, shrinkage, codes, _Folds(cv, random_state)
    )
    aligned = [_alignment(blocks, name, codes) for name in blocks.names]
    index = pd.Index(blocks.names, name="modality")
    return SemanticGap(table, pd.DataFrame(aligned, index, ["linear", "rbf", "rows"]))


def modality_redundancy(
    X: Any,
    y: Any = None,
    modalities: Mapping[str, Any] | None = None,
    *,
    estimator: Any = None,
    scoring: Any = None,
    task: str = "auto",
    cv: Any = 5,
    n_components: int = 5,
    shrinkage: float | None = None,
    remainder: str = "drop",
    allow_overlap: bool = False,
    n_jobs: int | None = None,
    random_state: int | None = 0,
) -> ModalityRedundancy:
    r"""Measure how far modalities repeat each other, and what each adds to another.

    The canonical correlations

    .. math:: \rho_k = \max_{u, v} \frac{u^\top S_{ab} v}
        {\sqrt{u^\top S_{aa} u \; v^\top S_{bb} v}}

    (each pair of directions uncorrelated with the earlier ones) are those of shrunk covariances;
    reported is the correlation on held-out rows. With a target the conditional gain of modality a
    given b is the score of one model on both less that of the model on b, on the same folds.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Columns are made numbers and standardised as in :func:`mkfusion.compare_fusion`. Two
        modalities are compared on the rows that have both.
    y : array-like of shape (n_samples,), default=None
        Without it there are no conditional gains.
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    estimator : estimator, default=None
        The model of the conditional gain. None is logistic regression, for numbers ridge
        regression.
    scoring : str or callable, default=None
        A scorer, greater is better. None is accuracy, for numbers r2.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" takes text and at most 20 different whole numbers for classes.
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is shuffled, and for classes stratified and at most the size of the
        smallest class. An iterable holds places among the rows that have both modalities.
    n_components : int, default=5
        At most that many canonical directions.
    shrinkage : float, default=None
        From 0 to 1, of the covariances of both blocks; None is that of Ledoit and Wolf.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Pairs at a time. The figures do not depend on it.
    random_state : int or None, default=0
        Shuffles the folds.

    Returns
    -------
    found : ModalityRedundancy

    Raises
    ------
    ValueError
        For a single modality, one class, a target with NaN, or a modality that is missing in
        every row.

    References
    ----------
    Hotelling (1936), "Relations between two sets of variates", Biometrika 28.
    Ledoit, Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import modality_redundancy
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = modality_redundancy(X[::8].filter(regex="mor|zer"), y[::8])
    >>> bool(found.gains.loc[("mor", "zer"), "gain"] > 0)
    True
    """
    target, classes = None, False
    if y is not None:
        classes = check_task(task, y) == "classification"
        target = check_class_target(y) if classes else check_numeric_target(y)
        if len(np.unique(target)) < 2:
            raise ValueError(f"y has one value, {listed(np.unique(target))}: nothing to learn")
    blocks = _read(X, target, modalities, remainder, allow_overlap)
    _check_count("n_components", n_components)
    _check_shrinkage(shrinkage)
    folds = _Folds(cv, random_state)
    table = _of_pairs(
        blocks, _correlations, n_jobs, n_components, shrinkage, target if classes else None, folds
    )
    rhos = table.pop("correlations")
    # A pair with too few rows has a single NaN, one with a narrow modality fewer components.
    components = [dict(enumerate(np.atleast_1d(rho))) for rho in rhos]
    correlations = pd.DataFrame(components, index=table.index)
    scoring = scoring or ("accuracy" if classes else "r2")
    gains = pd.DataFrame(columns=_GAIN)
    if target is not None:
        model = default_model("classification" if classes else "regression")
        model = model if estimator is None else estimator
        gains = _gains(blocks, model, target, classes, scoring, folds, n_jobs)
    name = getattr(getattr(scoring, "_score_func", scoring), "__name__", str(scoring))
    return ModalityRedundancy(table, correlations, gains, name)


# Reading --------------------------------------------------------------------------------------


class _Blocks(NamedTuple):
    """The modalities' columns, and who has which."""

    names: list[str]
    tables: list[pd.DataFrame]
    present: np.ndarray  # shape: (n_modalities, n_samples)

    def shared(self, *places: int) -> np.ndarray:
        return np.flatnonzero(self.present[list(places)].all(axis=0))

    def numbers(self, place: int, fit: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return rows of a modality as standardised numbers, the encoder fitted on others."""
        table = self.tables[place]
        try:
            made = encoder(table).fit(table.iloc[fit])
            values = made.transform(table.iloc[fit if rows is None else rows])
        except ValueError as error:
            raise ValueError(f"modality {self.names[place]!r}: {error}") from None
        values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
        return values.astype(np.float64, copy=False)


def _read(X: Any, y: Any, modalities: Any, remainder: str, allow_overlap: bool) -> _Blocks:
    table = as_table(X)
    columns = resolve_modalities(
        table, modalities, remainder=remainder, allow_overlap=allow_overlap
    )
    if len(columns) < 2:
        raise ValueError(
            f"X has one modality, {listed(columns)}, and a gap is between two; name at least two "
            "in modalities"
        )
    if not isinstance(table, pd.DataFrame):
        table = pd.DataFrame(table.toarray() if hasattr(table, "toarray") else table)
    if y is not None:
        check_lengths(X=table, y=y)
    present = presence(table, columns)
    absent = [name for name, own in zip(columns, present, strict=True) if not own.any()]
    if absent:
        raise ValueError(f"modalities {listed(absent)} are missing in every row")
    tables = [table.iloc[:, as_list(places)] for places in columns.values()]
    return _Blocks(list(columns), tables, present)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")


def _check_shrinkage(value: Any) -> None:
    if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"shrinkage must be None or lie between 0 and 1, got {value!r}")


class _Folds(NamedTuple):
    cv: Any
    seed: Any

    def __call__(self, n_rows: int, labels: np.ndarray | None) -> list[tuple[Any, Any]]:
        """Return the splits of rows; a number of folds is shuffled, stratified with labels."""
        from sklearn.model_selection import KFold, StratifiedKFold, check_cv

        rows, folds = np.zeros((n_rows, 1)), self.cv
        if isinstance(folds, int | np.integer):
            if folds < 2:
                raise ValueError(f"cv must be at least 2, got {folds}")
            smallest = n_rows if labels is None else np.unique(labels, return_counts=True)[1].min()
            count = int(min(folds, max(2, smallest)))
            stratified = labels is not None and smallest >= 2
            kind = StratifiedKFold if stratified else KFold
            folds = kind(count, shuffle=True, random_state=self.seed)
        return list(check_cv(folds).split(rows, labels))


def _of_pairs(blocks: _Blocks, measure: Any, n_jobs: Any, *options: Any) -> pd.DataFrame:
    """Return what is measured of each two modalities; NaN with a warning for too few rows."""
    pairs = list(combinations(range(len(blocks.names)), 2))

    def one(first: int, second: int) -> dict[str, Any]:
        rows = blocks.shared(first, second)
        if len(rows) < FEWEST_ROWS:
            return {"rows": len(rows)}
        with single_blas_thread:
            return {**measure(blocks, first, second, rows, *options), "rows": len(rows)}

    found = run((delayed(one)(*pair) for pair in pairs), n_jobs=n_jobs, threads=True)
    few = [
        f"{blocks.names[i]!r} and {blocks.names[j]!r} ({one['rows']})"
        for (i, j), one in zip(pairs, found, strict=True)
        if one["rows"] < FEWEST_ROWS
    ]
    if len(few) == len(pairs):
        raise ValueError(
            f"no two modalities are both there in {FEWEST_ROWS} rows: {', '.join(few)}"
        )
    if few:
        warn(f"too few rows have both {', '.join(few)}: their figures are NaN")
    names = [(blocks.names[i], blocks.names[j]) for i, j in pairs]
    index = pd.MultiIndex.from_tuples(names, names=["first", "second"])
    order = max(found, key=len)
    return pd.DataFrame(found, index=index, columns=list(order))


# Measures -------------------------------------------------------------------------------------


def _heterogeneity(
    blocks: _Blocks, first: int, second: int, rows: np.ndarray, n_components: int
) -> dict[str, Any]:
    one, two = (blocks.numbers(place, rows) for place in (first, second))
    by_line = cka(one, two, (linear, linear))
    by_rbf = cka(one, two, (rbf(median_gamma(one)), rbf(median_gamma(two))))
    space = canonical_correlations(one, two, n_components)
    sides = space.project(one, two)
    biased, unbiased = mmd(*sides, rbf(median_gamma(*sides)))
    return {
        "linear": 1 - by_line.biased,
        "linear_unbiased": 1 - by_line.unbiased,
        "rbf": 1 - by_rbf.biased,
        "rbf_unbiased": 1 - by_rbf.unbiased,
        "mmd2": biased,
        "mmd2_unbiased": unbiased,
        "components": len(space.correlations),
    }


def _semantics(
    blocks: _Blocks,
    first: int,
    second: int,
    rows: np.ndarray,
    n_components: int,
    shrinkage: float | None,
    codes: np.ndarray,
    folds: _Folds,
) -> dict[str, Any]:
    rng = np.random.default_rng(folds.seed)
    figures, components = [], 0
    for train, test in folds(len(rows), codes[rows]):
        fit, asked = rows[train], rng.permutation(rows[test])
        space = canonical_correlations(
            blocks.numbers(first, fit), blocks.numbers(second, fit), n_components, shrinkage
        )
        sides = space.project(
            blocks.numbers(first, fit, asked), blocks.numbers(second, fit, asked)
        )
        components = len(space.correlations)
        figures += [mean_average_precision(*way, codes[asked]) for way in (sides, sides[::-1])]
    values, chance, counts = np.array(figures).T
    counted = counts > 0
    if not counted.any():
        return {"gap": np.nan, "map": np.nan, "chance": np.nan, "components": 0, "queries": 0}
    found, by_chance = (
        float(np.average(part[counted], weights=counts[counted])) for part in (values, chance)
    )
    return {
        "gap": 1 - found,
        "map": found,
        "chance": 1 - by_chance,
        "components": components,
        "queries": int(counts.sum()),
    }


def _alignment(blocks: _Blocks, name: str, codes: np.ndarray) -> tuple[float, float, int]:
    place = blocks.names.index(name)
    rows = blocks.shared(place)
    values = blocks.numbers(place, rows)
    labels = (codes[rows][:, np.newaxis] == np.unique(codes)).astype(float)
    with single_blas_thread:
        by_line, by_rbf = (
            cka(values, labels, (kernel, linear)).unbiased
            for kernel in (linear, rbf(median_gamma(values)))
        )
    return by_line, by_rbf, len(rows)


def _correlations(
    blocks: _Blocks,
    first: int,
    second: int,
    rows: np.ndarray,
    n_components: int,
    shrinkage: float | None,
    labels: np.ndarray | None,
    folds: _Folds,
) -> dict[str, Any]:
    held, weights = [], []
    for train, test in folds(len(rows), None if labels is None else labels[rows]):
        fit, asked = rows[train], rows[test]
        space = canonical_correlations(
            blocks.numbers(first, fit), blocks.numbers(second, fit), n_components, shrinkage
        )
        sides = space.project(
            blocks.numbers(first, fit, asked), blocks.numbers(second, fit, asked)
        )
        held.append(_columnwise(*sides))
        weights.append(len(test))
    both = blocks.numbers(first, rows), blocks.numbers(second, rows)
    whole = canonical_correlations(*both, n_components, shrinkage)
    count = min(map(len, held))
    rhos = np.average([one[:count] for one in held], axis=0, weights=weights)
    return {
        "held_out": float(rhos[0]),
        "in_sample": float(_columnwise(*whole.project(*both))[0]),
        "shared": float((np.maximum(rhos, 0) ** 2).mean()),
        "components": len(rhos),
        "shrinkage_first": whole.shrinkage[0],
        "shrinkage_second": whole.shrinkage[1],
        "correlations": rhos,
    }


def _columnwise(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of each column with its partner, 0 for a constant."""
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    products = (one * two).sum(axis=0)
    return np.divide(products, scale, out=np.zeros_like(scale), where=scale > 1e-12)


_GAIN = ["score_given", "score_both", "gain", "low", "high", "rows"]


def _gains(
    blocks: _Blocks,
    model: Any,
    y: np.ndarray,
    classes: bool,
    scoring: Any,
    folds: _Folds,
    n_jobs: Any,
) -> pd.DataFrame:
    """Return what each modality adds to each other, on the rows that have both."""
    scorer = sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring

    def scores(first: int, second: int) -> tuple[np.ndarray, float, float, int]:
        rows = blocks.shared(first, second)
        labels = y[rows] if classes else None
        if len(rows) < FEWEST_ROWS or len(np.unique(y[rows])) < 2:
            return np.full((3, 1), np.nan), 1.0, 1.0, len(rows)
        splits, found = folds(len(rows), labels), []
        for train, test in splits:
            fit, asked = rows[train], rows[test]
            one, two = (
                (blocks.numbers(k, fit), blocks.numbers(k, fit, asked)) for k in (first, second)
            )
            parts = [one, two, (np.hstack([one[0], two[0]]), np.hstack([one[1], two[1]]))]
            found.append([_score(model, scorer, *part, y[fit], y[asked]) for part in parts])
        sizes = np.mean([(len(test), len(train)) for train, test in splits], axis=0)
        return np.array(found).T, *sizes.tolist(), len(rows)

    pairs = list(combinations(range(len(blocks.names)), 2))
    asked = run((delayed(scores)(*pair) for pair in pairs), n_jobs=n_jobs, threads=True)
    of_pair = dict(zip(pairs, asked, strict=True))
    lines = {}
    for own, given in permutations(range(len(blocks.names)), 2):
        values, n_test, n_train, count = of_pair[min(own, given), max(own, given)]
        other, both = values[0 if given < own else 1], values[2]
        low, high = corrected_interval(both - other, n_test, n_train)
        lines[blocks.names[own], blocks.names[given]] = (
            other.mean(),
            both.mean(),
            (both - other).mean(),
            low,
            high,
            count,
        )
    index = pd.MultiIndex.from_tuples(list(lines), names=["modality", "given"])
    return pd.DataFrame(list(lines.values()), index, _GAIN)


def _score(
    model: Any, scorer: Any, fit: Any, asked: Any, y_fit: np.ndarray, y_asked: np.ndarray
) -> float:
    with single_blas_thread:
        return float(scorer(clone(model).fit(fit, y_fit), asked, y_asked))
