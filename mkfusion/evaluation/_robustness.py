"""How scores fall when modalities go missing or noisy, under the same damage for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy import sparse
from scipy.integrate import trapezoid
from sklearn.base import clone, is_classifier, is_regressor

from .._parallel import delayed, run, single_blas_thread
from .._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    check_option,
    listed,
    warn,
)
from ..datasets import simulate_missing
from ..modality import as_list, resolve_modalities
from ._result import printable

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
NOISE = (0.0, 0.5, 1.0, 2.0)
LONG = ["damage", "level", "estimator", "split", "repeat", "score"]
AREAS = ["clean", "area", "relative", "effective"]


@dataclass(frozen=True, eq=False, repr=False)
class RobustnessCurve:
    """What :func:`robustness_curve` found.

    Parameters
    ----------
    scores : DataFrame
        A row for each ``damage`` ("missing" or "noise"), ``level``, ``estimator``, ``split`` and
        ``repeat``: the ``score``, NaN where the estimator refuses such rows.
    areas : DataFrame
        By damage and estimator: ``clean``, the mean score without damage; ``area`` under the
        curve of mean scores over the level; ``relative``, the area over that of a curve that stays
        at the clean score, NaN unless that is above 0; ``effective``, the area between the curve
        and the baseline's once both begin at the same height.
    refusals : dict of str to str
        By estimator what it said when it refused damaged rows.
    baseline : str
        The estimator against which ``effective`` is.
    scoring : str

    Attributes
    ----------
    curves : DataFrame
        Mean scores: a row for each damage and level, a column for each estimator.
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.evaluation import robustness_curve
    >>> X = pd.DataFrame({"a__x": [0.0, 1.0] * 30, "b__x": [0.0, 1.0] * 30})
    >>> y = [0, 1] * 30
    >>> found = robustness_curve(LateFusionClassifier(), X, y, rates=(0, 0.5), noise=None)
    >>> float(found.areas["relative"].iloc[0])  # one modality is always left, and enough
    1.0
    """

    scores: pd.DataFrame
    areas: pd.DataFrame
    refusals: dict[str, str]
    baseline: str
    scoring: str

    @property
    def curves(self) -> pd.DataFrame:
        """Mean scores by damage and level, a column for each estimator."""
        return curves_of(self.scores)

    @property
    def verdict(self) -> str:
        """A plain sentence that says who keeps most under each damage."""
        parts = []
        for damage in dict.fromkeys(self.scores["damage"]):
            curves = self.curves.loc[damage]
            worst = float(curves.index.max())
            column = self.areas.loc[damage, "area"].dropna()
            if column.empty:
                parts.append(f"no estimator answers under {damage} {worst:g}")
                continue
            name = column.idxmax()
            first, last = curves[name].iloc[0], curves[name].iloc[-1]
            parts.append(
                f"from {damage} {curves.index.min():g} to {worst:g}, {name} has the largest area "
                f"({self.scoring} {first:.3g} falls to {last:.3g})"
                if last < first
                else f"from {damage} {curves.index.min():g} to {worst:g}, {name} has the largest "
                f"area ({self.scoring} {first:.3g} does not fall)"
            )
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}."

    def to_frame(self) -> pd.DataFrame:
        """Return the scores, as a copy."""
        return self.scores.copy()

    def __repr__(self) -> str:
        areas = self.areas.rename(index=printable).to_string(float_format="{:.4f}".format)
        return f"{areas}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        as_html = {"float_format": "{:.4f}".format, "na_rep": ""}
        return (
            f"<p>{escape(self.verdict)}</p>{self.areas.to_html(**as_html)}"
            f"<details><summary>Curves</summary>{self.curves.to_html(**as_html)}</details>"
        )


def robustness_curve(
    estimators: Any,
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    rates: Iterable[float] | None = RATES,
    noise: Iterable[float] | None = NOISE,
    pattern: str = "random",
    keep_one: bool = True,
    n_repeats: int = 3,
    baseline: str | None = None,
    cv: Any = 5,
    scoring: Any = None,
    remainder: str = "drop",
    n_jobs: int | None = None,
    random_state: int | None = 0,
    verbose: int = 0,
) -> RobustnessCurve:
    r"""Score estimators on test rows that lose modalities, or whose numbers are noisy.

    Each estimator is fitted once on each training set, which stays as it is. The test rows are
    damaged, the same rows in the same way for all estimators. All levels take the same random
    numbers: the noise only grows, and a row that is hit at one rate is hit at a higher one too
    (but for the pattern "block"). With s(r) the mean score at level r, and b(r) that of the
    baseline,

    .. math::

        \text{area} = \int s(r)\, dr, \quad
        \text{relative} = \frac{\text{area}}{s(r_0)\, (r_1 - r_0)}, \quad
        \text{effective} = \int \big(s(r) - s(r_0)\big) - \big(b(r) - b(r_0)\big)\, dr

    from the lowest level to the highest, by trapezoids between the levels whatever their distance;
    a constant curve has the area of its value times the range.

    Parameters
    ----------
    estimators : estimator, mapping of str to estimator, or list of pairs (str, estimator)
        All classifiers, or all regressors.
    X : DataFrame or array-like of shape (n_samples, n_features)
        What is missing already stays missing.
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
        What can be lost; None reads the prefixes before ``__`` in the column names.
    rates : iterable of float or None, default=(0, 0.1, 0.2, 0.3, 0.4, 0.5)
        Shares of the test rows, from 0 to 1, that lose each modality, as by
        :func:`mkfusion.datasets.simulate_missing`. None leaves this out.
    noise : iterable of float or None, default=(0, 0.5, 1, 2)
        Standard deviations of the Gaussian noise that is added to each column of numbers, as
        multiples of the column's own on the training rows. None leaves this out.
    pattern : {"random", "class", "block"}, default="random"
        How modalities are lost.
    keep_one : bool, default=True
        A row keeps one modality at least.
    n_repeats : int, default=3
        Times that the damage is drawn for each split.
    baseline : str, default=None
        The estimator against which ``effective`` is, in MultiBench late fusion. None is the first.
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is shuffled, stratified for classifiers.
    scoring : str or callable, default=None
        A scorer, greater is better. None is accuracy, for regressors r2.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left as they are, with a warning, or refused.
    n_jobs : int, default=None
        Splits at a time, through joblib. The figures do not depend on it.
    random_state : int or None, default=0
        Shuffles the folds and draws the damage.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    curve : RobustnessCurve

    Raises
    ------
    ValueError
        For a single modality that cannot be lost, one class, a target with NaN, levels out of
        range or fewer than two, or a baseline that is no estimator's name.

    Warns
    -----
    UserWarning
        If an estimator refuses damaged rows; its scores there are NaN.

    References
    ----------
    Liang et al. (2021), "MultiBench: Multiscale benchmarks for multimodal representation
    learning", NeurIPS Datasets and Benchmarks, appendix on robustness. Its code gives the area
    for steps of 0.1 and the effective robustness as a sum that grows with the number of levels.
    Taori et al. (2020), "Measuring robustness to natural distribution shifts in image
    classification", NeurIPS.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import robustness_curve
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::8].filter(regex="mor|zer"), y[::8]
    >>> found = robustness_curve(LateFusionClassifier(), X, y, rates=(0, 0.5), noise=None)
    >>> clean, damaged = found.curves.iloc[:, 0]
    >>> bool(damaged < clean)
    True
    """
    named = _named(estimators)
    table = as_table(X)
    if sparse.issparse(table):
        raise ValueError("X is sparse, and its zeros are no missing values: pass X.toarray()")
    columns = resolve_modalities(table, modalities, remainder=remainder)
    if len(columns) < 2 and keep_one and rates is not None:
        raise ValueError(
            f"X has one modality, {listed(columns)}, which keep_one=True never lets go; name at "
            "least two in modalities, or pass rates=None or keep_one=False"
        )
    levels = {"missing": _levels("rates", rates, 1.0), "noise": _levels("noise", noise, np.inf)}
    levels = {damage: found for damage, found in levels.items() if found}
    if not levels:
        raise ValueError("rates and noise are both None: there is no damage to look at")
    if not isinstance(n_repeats, int | np.integer) or n_repeats < 1:
        raise ValueError(f"n_repeats must be a positive whole number, got {n_repeats!r}")
    check_option("pattern", pattern, ("random", "class", "block"))
    baseline = next(iter(named)) if baseline is None else baseline
    check_option("baseline", baseline, named)
    classes = _are_classifiers(named)
    y = check_class_target(y) if classes else check_numeric_target(y)
    check_lengths(X=table, y=y)
    if len(np.unique(y)) < 2:
        raise ValueError(f"y has one value, {listed(np.unique(y))}: there is nothing to learn")
    scoring = scoring or ("accuracy" if classes else "r2")
    trial = _Trial(
        table,
        y,
        {name: as_list(places) for name, places in columns.items()},
        named,
        sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring,
        levels,
        {"pattern": pattern, "keep_one": bool(keep_one)},
        int(n_repeats),
    )
    splits = _splits(cv, table, y, classes, random_state)
    seeds = np.random.SeedSequence(random_state).spawn(len(splits))
    tasks = (
        delayed(trial.ask)(place, *split, seed)
        for place, (split, seed) in enumerate(zip(splits, seeds, strict=True))
    )
    progress = "splits" if verbose else None
    found = run(tasks, n_jobs=n_jobs, total=len(splits), progress=progress)
    scores = pd.DataFrame([line for lines, _ in found for line in lines], columns=LONG)
    kinds = {"damage": list(levels), "estimator": list(named)}
    scores = scores.sort_values(
        LONG[:-1],
        key=lambda c: pd.Index(kinds[c.name]).get_indexer(c) if c.name in kinds else c,
        ignore_index=True,
    )
    refusals: dict[str, str] = {}
    for _, refused in found:
        refusals = refused | refusals
    for name, said in refusals.items():
        warn(f"{name!r} refuses damaged rows, and its scores there are NaN: {said}")
    scorer_name = getattr(getattr(scoring, "_score_func", scoring), "__name__", str(scoring))
    areas = robustness_areas(curves_of(scores), baseline)
    return RobustnessCurve(scores, areas, refusals, baseline, scorer_name)


def curves_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores by damage and level, a column for each estimator."""
    names = dict.fromkeys(scores["estimator"])
    grouped = scores.groupby(["damage", "level", "estimator"], sort=False)["score"]
    means = grouped.agg(lambda values: values.mean(skipna=False)).unstack("estimator")
    order = scores[["damage", "level"]].drop_duplicates()
    return means.loc[pd.MultiIndex.from_frame(order), list(names)]


def robustness_areas(curves: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the areas under curves of mean scores, by damage and estimator."""
    lines = {}
    for damage in dict.fromkeys(curves.index.get_level_values("damage")):
        own = curves.loc[damage]
        levels, reach = own.index.to_numpy(float), float(np.ptp(own.index.to_numpy(float)))
        falls = own - own.iloc[0]
        for name in own:
            clean, area = float(own[name].iloc[0]), float(trapezoid(own[name], levels))
            effective = float(trapezoid(falls[name] - falls[baseline], levels))
            relative = area / (clean * reach) if clean > 0 else np.nan
            lines[damage, name] = (clean, area, relative, effective)
    index = pd.MultiIndex.from_tuples(list(lines), names=["damage", "estimator"])
    return pd.DataFrame(list(lines.values()), index, AREAS)


def _named(estimators: Any) -> dict[str, Any]:
    if hasattr(estimators, "fit"):
        return {type(estimators).__name__: estimators}
    try:
        named = dict(estimators)
    except (TypeError, ValueError):
        raise TypeError(
            "estimators must be an estimator, a mapping from names to estimators, or a list of "
            f"pairs, got {type(estimators).__name__}"
        ) from None
    if len(named) < len(estimators) or not named:
        raise ValueError(
            f"estimators must have at least one entry and different names, got {listed(named)}"
        )
    unfit = [name for name, estimator in named.items() if not hasattr(estimator, "fit")]
    if unfit:
        raise TypeError(f"estimators {listed(unfit)} have no fit")
    return {str(name): estimator for name, estimator in named.items()}


def _are_classifiers(named: Mapping[str, Any]) -> bool:
    kinds = {bool(is_classifier(e)) for e in named.values() if is_classifier(e) or is_regressor(e)}
    if len(kinds) > 1:
        raise ValueError("estimators must be all classifiers or all regressors, got both")
    return kinds != {False}


def _levels(name: str, values: Any, most: float) -> tuple[float, ...]:
    if values is None:
        return ()
    try:
        levels = sorted({float(value) for value in values})
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers or None, got {values!r}") from None
    if len(levels) < 2 or not all(0 <= level <= most and level < np.inf for level in levels):
        upper = f"at most {most:g}" if np.isfinite(most) else "finite"
        raise ValueError(
            f"{name} must be at least two different numbers, 0 or more and {upper}, got {levels}"
        )
    return tuple(levels)


def _splits(cv: Any, X: Any, y: np.ndarray, classes: bool, seed: Any) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import KFold, StratifiedKFold, check_cv

    if isinstance(cv, int | np.integer):
        kind = StratifiedKFold if classes else KFold
        cv = kind(int(cv), shuffle=True, random_state=seed)
    return list(check_cv(cv).split(np.zeros((len(y), 1)), y))


class _Trial:
    """What is asked on each split."""

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        columns: dict[str, list[int]],
        estimators: dict[str, Any],
        scorer: Any,
        levels: dict[str, tuple[float, ...]],
        loss: dict[str, Any],
        n_repeats: int,
    ) -> None:
        self.X, self.y, self.columns, self.estimators = X, y, columns, estimators
        self.scorer, self.levels, self.loss, self.n_repeats = scorer, levels, loss, n_repeats

    def ask(
        self, place: int, train: Any, test: Any, seed: np.random.SeedSequence
    ) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
        """Return the lines of a split, and what estimators said that refused damaged rows."""
        fit, asked = _rows(self.X, train), _rows(self.X, test)
        with single_blas_thread:
            models = {n: clone(e).fit(fit, self.y[train]) for n, e in self.estimators.items()}
            lines: list[tuple[Any, ...]] = []
            refused: dict[str, str] = {}
            for damage, levels in self.levels.items():
                own = seed.spawn(1)[0]
                states = own.generate_state(self.n_repeats)
                for level in levels:
                    for repeat in range(self.n_repeats):
                        if level == 0 and repeat:  # nothing is drawn
                            lines += [
                                (*line[:4], repeat, line[5]) for line in lines[-len(models) :]
                            ]
                            continue
                        harm = self._lossy if damage == "missing" else self._noisy
                        damaged = harm(asked, fit, self.y[test], level, int(states[repeat]))
                        for name, model in models.items():
                            try:
                                score = float(self.scorer(model, damaged, self.y[test]))
                            except (TypeError, ValueError) as error:
                                if level == 0:
                                    raise
                                refused.setdefault(name, str(error).partition("\n")[0])
                                score = np.nan
                            lines.append((damage, level, name, place, repeat, score))
        return lines, refused

    def _lossy(self, X: Any, fit: Any, y: np.ndarray, rate: float, seed: int) -> Any:
        if rate == 0:
            return X
        labels = y if self.loss["pattern"] == "class" else None
        modalities = {name: list(places) for name, places in self.columns.items()}
        return simulate_missing(
            X, rate, modalities=modalities, y=labels, random_state=seed, **self.loss
        )

    def _noisy(self, X: Any, fit: Any, y: np.ndarray, level: float, seed: int) -> Any:
        """Return X with noise; the same draws at every level, so that only their size grows."""
        if level == 0:
            return X
        rng = np.random.default_rng(seed)
        places = [j for own in self.columns.values() for j in own]
        if isinstance(X, pd.DataFrame):
            X = X.copy()
            for j in places:
                if _is_number(X.iloc[:, j]):
                    own = X.iloc[:, j].to_numpy(np.float64, na_value=np.nan)
                    theirs = fit.iloc[:, j].to_numpy(np.float64, na_value=np.nan)
                    X.isetitem(j, own + level * _spread(theirs) * rng.normal(size=len(own)))
            return X
        if X.dtype.kind not in "iuf":
            raise ValueError(
                f"noise is for numbers, and X is an array of {X.dtype}; pass noise=None"
            )
        X = X.astype(np.result_type(X, np.float32))
        for j in places:
            X[:, j] += level * _spread(fit[:, j].astype(float)) * rng.normal(size=len(X))
        return X


def _rows(X: Any, rows: Any) -> Any:
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def _is_number(column: pd.Series) -> bool:
    is_number, is_bool = pd.api.types.is_numeric_dtype, pd.api.types.is_bool_dtype
    return is_number(column) and not is_bool(column)


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation of what is there, 0 for nothing."""
    given = values[np.isfinite(values)]
    return float(given.std()) if len(given) else 0.0
