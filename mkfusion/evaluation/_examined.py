"""A closer look at the fusion that a comparison judges: its modalities, and what if they go."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._validation import listed
from ..modality import as_list, presence
from ._comparison import _check_target, read_table
from ._result import FusionComparison
from ._robustness import RATES, RobustnessCurve, robustness_curve
from ._strategies import LATE, STRATEGIES
from ._trial import Trial
from ._worth import FusionReport, fusion_report

__all__ = ["ExaminedFusion", "examine_fusion"]

# So few modalities have hardly more subsets than a comparison has folds.
FEW = 3
# Orders in which more than 8 modalities join: enough for a picture.
ORDERS = 10
GROUPS = "groups of the comparison"  # an index level


@dataclass(frozen=True, eq=False)
class ExaminedFusion:
    """What :func:`examine_fusion` found.

    Parameters
    ----------
    name : str
        The strategy that was looked at.
    picked : int or None
        The splits of the comparison that chose it; None if it was named beforehand.
    n_splits : int
    report : FusionReport or None
        What its modalities are worth; None where it cannot be told.
    robustness : RobustnessCurve or None
        How its score falls when modalities go missing, beside that of the single modality that
        was chosen most often; None where it cannot be told.
    reasons : list of str
        What was refused, of what is None.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import examine_fusion
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::10].filter(regex="mor|zer"), y[::10]
    >>> found = compare_fusion(X, y, strategies=["late:mean"])
    >>> examine_fusion(found, X, y).picked
    5
    """

    name: str
    picked: int | None
    n_splits: int
    report: FusionReport | None
    robustness: RobustnessCurve | None
    reasons: list[str]


def examine_fusion(
    result: FusionComparison,
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    scoring: Any = None,
    cv: Any = 5,
    groups: Any = None,
    n_jobs: int | None = None,
    random_state: int | None = 0,
    verbose: int = 0,
) -> ExaminedFusion | None:
    """Look closer at the fusion that a comparison judges, for its page.

    That is the one named beforehand, else the one chosen in most training sets; then what is
    found is exploratory, for it was chosen on rows that it is scored on here. Late fusion whose
    rule learns nothing is fitted anew for each subset, which costs its experts once for each
    fold; so is any but hybrid fusion of at most three modalities. Of others one fit on
    everything is asked with modalities blanked. Weights and rules that are learnt have the inner
    folds of the comparison.
    Every argument is that of :func:`compare_fusion`, and must be the same.

    Parameters
    ----------
    result : FusionComparison
    X : DataFrame or array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
    scoring : str or callable, default=None
        None is the one of the comparison.
    cv : int, cross-validation generator or iterable, default=5
    groups : array-like of shape (n_samples,) or str, default=None
    n_jobs : int, default=None
    random_state : int or None, default=0
    verbose : int, default=0

    Returns
    -------
    examined : ExaminedFusion or None
        None of one modality.

    Raises
    ------
    ValueError
        If the modalities are others than those of the comparison.

    See Also
    --------
    fusion_report : The same of any estimator.
    robustness_curve : The same of any estimators.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import examine_fusion
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::10].filter(regex="mor|zer"), y[::10]
    >>> found = compare_fusion(X, y, strategy="late:mean")
    >>> examined = examine_fusion(found, X, y)
    >>> examined.name, examined.picked
    ('late:mean', None)
    """
    if len(result.modalities) == 1:
        return None
    X, groups, found = read_table(X, groups, modalities, allow_overlap=True)
    columns = {name: as_list(places) for name, places in found.items()}
    if list(columns) != list(result.modalities):
        raise ValueError(
            f"the comparison was of the modalities {listed(result.modalities, 30)}, and X has "
            f"{listed(columns, 30)}"
        )
    y, counts = _check_target(y, result.task), result.choices["fusion"].value_counts()
    name = result.named or counts.index[0]
    single = result.choices["single"].value_counts().index[0].removeprefix("single:")
    fusion, alone = result.estimator(name), result.estimator(f"single:{single}")
    if groups is not None and getattr(fusion, "cv", None) is not None and name in STRATEGIES:
        # Inside their training rows what is learnt finds the groups by themselves.
        X = X.set_axis(pd.Index(groups, name=GROUPS))
        fusion.set_params(groups=GROUPS)
    if all(map(_is_plain, X.dtypes)):  # a block of numbers is damaged at once, not by column
        X = pd.DataFrame(X.to_numpy(np.float64), X.index, X.columns)
    scoring = result.scoring if scoring is None else scoring
    shared = {"scoring": scoring, "n_jobs": n_jobs, "random_state": random_state}
    reasons: list[str] = []

    def report() -> FusionReport:
        few = len(columns) <= FEW and not hasattr(fusion, "joint_modalities")
        # Late fusion without inner folds learns nothing, and its experts are fitted already.
        cheap = name in STRATEGIES and type(fusion) is LATE[result.task] and fusion.cv is None
        how = "refit" if cheap or few else "mask"
        return fusion_report(
            fusion, X, y, columns, strategy=how, single=single, cv=cv, groups=groups,
            n_orders=ORDERS, verbose=verbose, **shared,
        )  # fmt: skip

    def robustness() -> RobustnessCurve:
        rivals = {name: fusion, f"single:{single}": alone}
        splits = _splits(result, X, y, columns, groups, cv, random_state)
        return robustness_curve(
            rivals, X, y, columns, rates=RATES, noise=None, n_repeats=1, cv=splits,
            verbose=verbose, **shared,
        )  # fmt: skip

    def told(ask: Any) -> Any:
        try:
            return ask()
        except (TypeError, ValueError) as error:
            reasons.append(" ".join(str(error).split()))
            return None

    # What subsets lack is meant to be lacking; of the data themselves the comparison has warned.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        of_subsets, of_losses = told(report), told(robustness)
    picked = None if result.named else int(counts.iloc[0])
    return ExaminedFusion(name, picked, len(result.choices), of_subsets, of_losses, reasons)


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def _splits(
    result: FusionComparison,
    X: pd.DataFrame,
    y: Any,
    columns: Mapping[str, list[int]],
    groups: Any,
    cv: Any,
    seed: int | None,
) -> Any:
    """Return the splits of the comparison."""
    classes = np.unique(y) if result.task == "classification" else None
    there = presence(X, columns)
    return Trial(X, y, groups, classes, there, {}, {}, None, None, seed).outer(cv)
