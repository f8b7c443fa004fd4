"""What a fusion is worth, and what each modality adds to it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import check_random_state

from .._calibration import calibrate, fit_calibrator
from .._models import noting
from .._parallel import delayed, run, single_blas_thread
from .._sharing import Sharing
from .._validation import check_lengths, check_option, listed, warn
from ..modality import as_list, presence, resolve_modalities
from ._comparison import _check_target, read_table, without_groups
from ._measures import corrected_interval, expected_calibration_error
from ._result import _as_html, _without_nan, printable
from ._subsets import Plan, check_chosen, hearing, plan_subsets, shapley_values
from ._trial import Split, Trial
from ._wording import decimals, gain_verdict, lines_of, plain

__all__ = ["FusionReport", "fusion_report"]

Array = np.ndarray
BOUNDS = ["low", "high"]


def fusion_report(
    estimator: Any,
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    strategy: str = "refit",
    single: str | None = None,
    cv: Any = 5,
    inner_cv: Any = None,
    scoring: Any = None,
    groups: Any = None,
    n_orders: int = 100,
    n_jobs: int | None = None,
    random_state: int | None = 0,
    verbose: int = 0,
) -> FusionReport:
    r"""Tell whether a fusion pays, and what each modality adds to it.

    Every subset S of the modalities is worth its score v(S) on the test rows of the same folds;
    v of none is that of the class frequencies, or of the mean. Out of these scores come the
    Shapley value of each modality, the interaction of every pair, and the gain over the best
    single modality, which is chosen inside each training set unless it is named beforehand.
    The fusion is the estimator as it is given, so it is named beforehand too.

    Parameters
    ----------
    estimator : estimator
        A classifier or a regressor. One with a parameter ``modalities`` (or a Pipeline that ends
        in one) is told which it may hear; any other gets the columns of these modalities.
    X : DataFrame or array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
        None takes those of the estimator, and else reads the prefixes before ``__`` in the column
        names.
    strategy : {"refit", "mask"}, default="refit"
        "refit" fits the estimator anew for each subset: what is a fusion worth that never had the
        others? Experts of late and hybrid fusion are fitted once for all subsets. "mask" fits it
        once on everything and blanks the others in the test rows: how does it do when they are
        lost?
    single : str, default=None
        The single modality that the gain is over. None chooses it inside each training set.
    cv : int, cross-validation generator or iterable, default=5
        As in :func:`compare_fusion`.
    inner_cv : int or cross-validation generator, default=None
        The folds inside a training set that choose the single modality. None is 2 folds.
    scoring : str or callable, default=None
        A scorer, greater is better. None is accuracy, for numbers r2.
    groups : array-like of shape (n_samples,) or str, default=None
        Rows of one group stay in one fold.
    n_orders : int, default=100
        The orders in which modalities join, of which the Shapley values of more than 8 modalities
        are made.
    n_jobs : int, default=None
        Folds, or subsets of folds, at a time. No figure depends on it.
    random_state : int or None, default=0
        Shuffles the folds, and draws the orders.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    report : FusionReport

    Raises
    ------
    ValueError
        For one modality, one class, a target with NaN, an estimator that is neither classifier
        nor regressor, or too few rows for the folds.

    References
    ----------
    Shapley (1953), A value for n-person games. Nadeau, Bengio (2003), Inference for the
    generalization error, Machine Learning 52, for the intervals over folds.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import fusion_report
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X, y = X[::10].filter(regex="mor|zer|kar"), y[::10]
    >>> report = fusion_report(LateFusionClassifier(), X, y)
    >>> report.shapley.index.tolist(), len(report.subsets)
    (['kar', 'zer', 'mor'], 8)
    >>> total = report.subsets["score"].iloc[-1] - report.subsets["score"].iloc[0]
    >>> bool(abs(report.shapley["value"].sum() - total) < 1e-12)
    True
    """
    check_option("strategy", strategy, ("refit", "mask"))
    task = _task_of(estimator)
    if modalities is None:
        X, groups = without_groups(X, groups)
        found = resolve_modalities(X, _own_modalities(estimator), allow_overlap=True)
    else:
        X, groups, found = read_table(X, groups, modalities, allow_overlap=True)
    columns = {name: as_list(own) for name, own in found.items()}
    X = X.set_axis(X.columns.astype(object), axis=1)  # every fit reads the names; so it is quick
    names = list(columns)
    if len(names) == 1:
        raise ValueError(
            f"X has one modality ({names[0]!r}), so there is no fusion to report on; say which "
            "columns belong to which with modalities={'audio': [...], 'text': [...]}"
        )
    check_chosen(names, single)
    taken = [name for name in names if name in ("score", "spread")]
    if taken:
        raise ValueError(
            f"modalities {listed(taken)} have the names of columns of the report; rename"
        )
    y = _check_target(y, task)
    check_lengths(X=X, y=y, groups=groups)
    scoring = scoring or ("accuracy" if task == "classification" else "r2")
    scorer = sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring
    trial = Trial(
        X=X,
        y=y,
        groups=groups,
        classes=np.unique(y) if task == "classification" else None,
        present=presence(X, columns),
        experts={},
        fusions={},
        joint=None,
        scorer=scorer,
        seed=random_state,
    )
    plan = plan_subsets(len(names), n_orders, check_random_state(random_state))
    outer = trial.outer(cv)
    inner_cv = 2 if inner_cv is None else inner_cv
    inner = [trial.inner(train, cv, inner_cv) for train, _ in outer] if single is None else []
    work = _Work(trial, estimator, columns, plan, strategy)
    values, answers = work.values(outer, n_jobs, verbose)
    chosen = _choose(work, inner, n_jobs) if single is None else [names.index(single)] * len(outer)
    sizes = np.mean([(len(train), len(test)) for train, test in outer], axis=0)
    share = float(sizes[1] / sizes[0])
    gain = _gain_table(names, values, chosen)
    return FusionReport(
        subsets=_subset_table(plan, names, values),
        shapley=_value_table(plan, names, values, share),
        interactions=_interaction_table(plan, names, values, share),
        gain=gain,
        interval=corrected_interval(gain["gain"], share, 1.0),
        calibration=_calibration_table(trial, outer, answers),
        fold_scores=pd.DataFrame(values.T, columns=_labels(plan, names)),
        estimator=type(estimator).__name__,
        strategy=strategy,
        scoring=getattr(getattr(scoring, "_score_func", scoring), "__name__", str(scoring)),
        single=single,
        n_rows=len(y),
    )


def _task_of(estimator: Any) -> str:
    if is_classifier(estimator):
        return "classification"
    if is_regressor(estimator):
        return "regression"
    raise ValueError(
        f"estimator must be a classifier or a regressor, got {type(estimator).__name__}"
    )


def _own_modalities(estimator: Any) -> Any:
    found = estimator.get_params(deep=False).get("modalities")
    if found is None and getattr(estimator, "steps", None):
        last = estimator.steps[-1][1]
        return _own_modalities(last) if hasattr(last, "get_params") else None
    return found


def concerning(chosen: Sequence[str]) -> AbstractContextManager[None]:
    """Note on an error which modalities were fused when it was raised."""
    return noting(f"raised by the fusion of {', '.join(chosen) or 'nothing'}")


class _Work(NamedTuple):
    """What is fitted and asked for each subset on each fold."""

    trial: Trial
    estimator: Any
    columns: Mapping[str, list[int]]
    plan: Plan
    strategy: str

    def values(
        self, splits: Sequence[Split], n_jobs: Any, verbose: int
    ) -> tuple[Array, list[Any]]:
        """Return the score of each subset on each fold, and what everything answers."""
        places = list(range(len(self.plan.subsets)))
        together = self.strategy == "mask" or isinstance(self.estimator, Sharing)
        parts = [places] if together else [[place] for place in places]
        tasks = [(*split, part) for split in splits for part in parts]
        found = run(
            (delayed(self._score)(*task) for task in tasks),
            n_jobs=n_jobs,
            total=len(tasks),
            progress="subsets" if verbose else None,
        )
        for text, category in dict.fromkeys(said for *_, told in found for said in told):
            warn(text, category)
        scores = np.concatenate([own for own, *_ in found]).reshape(len(splits), len(places))
        return scores.T, [answers for _, answers, _ in found if answers is not None]

    def singles(self, train: Array, test: Array) -> Array:
        """Return the score of each single modality."""
        first = 1  # after the empty subset
        places = list(range(first, first + len(self.columns)))
        return self._replace(strategy="refit")._score(train, test, places)[0]

    def _score(self, train: Array, test: Array, places: list[int]) -> tuple[Array, Any, list[Any]]:
        """Return the scores of some subsets, and what everything answers where it is one."""
        learnt, asked = self.trial.X.iloc[train], self.trial.X.iloc[test]
        y, truth = self.trial.y[train], self.trial.y[test]
        known, answers, scores = dict[Any, Any](), None, np.empty(len(places))
        with single_blas_thread, warnings.catch_warnings(record=True) as caught:
            for what in ("belong to no modality", "nothing is fused", "none of the modalities"):
                warnings.filterwarnings("ignore", message=f"(?s).*{what}")
            whole = self.strategy == "mask" and self._fit(list(self.columns), learnt, y, known)
            for row, place in enumerate(places):
                heard = self.plan.subsets[place]
                chosen = [name for name, own in zip(self.columns, heard, strict=True) if own]
                model, read = whole if whole and chosen else self._fit(chosen, learnt, y, known)
                rows = self._blank(asked, chosen) if whole and chosen else asked
                rows = rows if read is None else rows.iloc[:, read]
                with concerning(chosen):
                    scores[row] = self._judge(model, rows, truth)
                if heard.all():
                    answers = self._probabilities(model, rows)
        return scores, answers, [(str(entry.message), entry.category) for entry in caught]

    def _fit(
        self, chosen: list[str], rows: pd.DataFrame, y: Array, known: dict[Any, Any]
    ) -> tuple[Any, list[int] | None]:
        """Return a model fitted on some modalities, and the columns it reads; None is all."""
        if not chosen:
            dummies, numbers = sklearn.dummy, self.trial.classes is None
            model = dummies.DummyRegressor() if numbers else dummies.DummyClassifier()
            return model.fit(rows.iloc[:, :0], y), []
        model, read = hearing(self.estimator, self.columns, chosen), None
        if model is None:
            model = clone(self.estimator)
            read = list(dict.fromkeys(j for name in chosen for j in self.columns[name]))
        # Answers are known by the rows asked, which blanking does not change, but it changes what
        # an expert of several modalities hears in them.
        if isinstance(model, Sharing) and self.strategy == "refit":
            model._known = known
        with concerning(chosen):
            model.fit(rows if read is None else rows.iloc[:, read], y)
        return model, read

    def _blank(self, rows: pd.DataFrame, chosen: list[str]) -> pd.DataFrame:
        """Return rows without the modalities that are not chosen."""
        kept = {j for name in chosen for j in self.columns[name]}
        others = {j for own in self.columns.values() for j in own} - kept
        if all(dtype == np.float64 for dtype in rows.dtypes):  # at once, not column by column
            values = rows.to_numpy(copy=True)
            values[:, list(others)] = np.nan
            return pd.DataFrame(values, rows.index, rows.columns)
        rows = rows.copy()
        for j in others:
            numbers = pd.api.types.is_numeric_dtype(rows.dtypes.iloc[j])
            rows.isetitem(j, np.full(len(rows), np.nan if numbers else None))
        return rows

    def _judge(self, model: Any, rows: Any, y: Array) -> float:
        score = float(self.trial.scorer(model, rows, y))
        if not np.isfinite(score):
            raise ValueError(f"{len(y)} test rows score {score}: take larger folds")
        return score

    def _probabilities(self, model: Any, rows: Any) -> Any:
        if self.trial.classes is None or not hasattr(model, "predict_proba"):
            return None
        spread = np.zeros((len(rows), len(self.trial.classes)))
        places = np.searchsorted(self.trial.classes, model.classes_)
        spread[:, places] = model.predict_proba(rows)
        return spread


def _choose(work: _Work, inner: list[list[Split]], n_jobs: Any) -> list[int]:
    """Return the best single modality inside each training set."""
    flat = [split for splits in inner for split in splits]
    scores = run((delayed(work.singles)(*split) for split in flat), n_jobs=n_jobs)
    ends = np.cumsum([0, *map(len, inner)])
    means = (np.mean(scores[a:b], axis=0) for a, b in pairwise(ends))
    return [int(np.argmax(mean)) for mean in means]


# Tables ---------------------------------------------------------------------------------------


def _labels(plan: Plan, names: Sequence[str]) -> list[str]:
    """Return a name for each subset: what it holds, joined by plus signs."""
    held = ([name for name, own in zip(names, row, strict=True) if own] for row in plan.subsets)
    return [" + ".join(own) or "nothing" for own in held]


def _subset_table(plan: Plan, names: Sequence[str], values: Array) -> pd.DataFrame:
    table = pd.DataFrame(plan.subsets, columns=list(names), index=_labels(plan, names))
    table["score"], table["spread"] = values.mean(axis=1), _spread(values)
    return table.rename_axis("subset")


def _spread(values: Array) -> Array:
    """Return the standard deviation over folds; NaN of a single one."""
    if values.shape[1] == 1:
        return np.full(len(values), np.nan)
    return values.std(axis=1, ddof=1)


def _with_bounds(values: Array, share: float) -> dict[str, Any]:
    """Return means over folds with their corrected 95 % intervals."""
    bounds = [corrected_interval(own, share, 1.0) for own in values]
    low, high = zip(*bounds, strict=True)
    return {"value": values.mean(axis=1), "low": low, "high": high}


def _value_table(plan: Plan, names: Sequence[str], values: Array, share: float) -> pd.DataFrame:
    places = plan.places
    table = pd.DataFrame(_with_bounds(shapley_values(plan, values), share), index=list(names))
    alone, last = [], []
    for m in range(len(names)):
        only, rest = np.zeros(len(names), bool), np.ones(len(names), bool)
        only[m], rest[m] = True, False
        alone.append((values[places[only.tobytes()]] - values[0]).mean())
        last.append((values[-1] - values[places[rest.tobytes()]]).mean())
    table["alone"], table["last"] = alone, last
    return table.rename_axis("modality")


def _interaction_table(
    plan: Plan, names: Sequence[str], values: Array, share: float
) -> pd.DataFrame:
    """Return v(AB) - v(A) - v(B) + v(none) of every pair."""
    places, rows = plan.places, []
    pairs = list(combinations(range(len(names)), 2))

    def worth(*members: int) -> Array:
        mask = np.zeros(len(names), bool)
        mask[list(members)] = True
        return values[places[mask.tobytes()]]

    rows = [worth(a, b) - worth(a) - worth(b) + values[0] for a, b in pairs]
    index = pd.MultiIndex.from_tuples(
        [(names[a], names[b]) for a, b in pairs], names=["modality", "other"]
    )
    return pd.DataFrame(_with_bounds(np.array(rows), share), index=index)


def _gain_table(names: Sequence[str], values: Array, chosen: list[int]) -> pd.DataFrame:
    """Return by fold what the fusion scores, and the single modality that was chosen."""
    single = values[np.array(chosen) + 1, np.arange(values.shape[1])]
    table = pd.DataFrame({"fusion": values[-1], "single": single})
    same = np.isclose(values[-1], single, rtol=1e-12, atol=0)
    table["gain"] = np.where(same, 0.0, values[-1] - single)
    table["chosen"] = [names[own] for own in chosen]
    return table.rename_axis("fold")


def _calibration_table(trial: Trial, splits: Sequence[Split], answers: list[Any]) -> pd.DataFrame:
    """Return what the fusion's probabilities are worth, as they are and with a temperature.

    The temperature of a fold is learnt on the answers to the test rows of the others.
    """
    columns = ["log_loss", "brier", "ece"]
    if len(answers) < len(splits) or trial.classes is None:
        return pd.DataFrame(columns=columns)
    parts = [trial.y[test] for _, test in splits]
    y, rows = np.concatenate(parts), {"as it is": np.concatenate(answers)}
    if len(splits) > 1:
        heated = []
        for fold, own in enumerate(answers):
            others = [place for place in range(len(splits)) if place != fold]
            calibrator = fit_calibrator(
                np.concatenate([answers[place] for place in others]),
                np.concatenate([parts[place] for place in others]),
                None,
                method="temperature",
                response="predict_proba",
                classes=trial.classes,
            )
            heated.append(calibrate(calibrator, own))
        rows["with a temperature"] = np.concatenate(heated)
    truth = (y[:, None] == trial.classes).astype(float)
    found = [
        (
            sklearn.metrics.log_loss(y, own, labels=trial.classes),
            np.square(own - truth).sum(axis=1).mean(),
            expected_calibration_error(y, own, trial.classes),
        )
        for own in rows.values()
    ]
    return pd.DataFrame(found, columns=columns, index=list(rows)).rename_axis("probabilities")


@dataclass(frozen=True, eq=False, repr=False)
class FusionReport:
    """What :func:`fusion_report` found. Every interval is a corrected one of 95 % over folds.

    Parameters
    ----------
    subsets : DataFrame
        A row for each subset: which modalities are in it, mean score and spread over the folds.
    shapley : DataFrame
        By modality its Shapley ``value`` with ``low`` and ``high``, what it adds ``alone``, and
        what it adds as the ``last`` to join all others. The values sum to the score of everything
        less that of nothing.
    interactions : DataFrame
        By pair v(AB) - v(A) - v(B) + v(none) with ``low`` and ``high``: positive where two
        modalities say more together than each alone, negative where they say the same.
    gain : DataFrame
        By fold what the fusion scores, the single modality that was chosen inside the training
        rows, its score, and the gain.
    interval : tuple of float
        Of the mean gain; NaN for a single split.
    calibration : DataFrame
        Log loss, Brier score (of 0 to 2) and expected calibration error of the fusion's
        probabilities, as they are and with a temperature learnt on the other folds. Empty without
        probabilities.
    fold_scores : DataFrame of shape (n_splits, n_subsets)
    estimator, strategy, scoring : str
    single : str or None
        The single modality that was named beforehand.
    n_rows : int

    Attributes
    ----------
    mean_gain : float
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import fusion_report
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> report = fusion_report(LateFusionClassifier(), X[::10].filter(regex="mor|zer"), y[::10])
    >>> low, high = report.interval
    >>> bool(low <= report.mean_gain <= high)
    True
    """

    subsets: pd.DataFrame
    shapley: pd.DataFrame
    interactions: pd.DataFrame
    gain: pd.DataFrame
    interval: tuple[float, float]
    calibration: pd.DataFrame
    fold_scores: pd.DataFrame
    estimator: str
    strategy: str
    scoring: str
    single: str | None
    n_rows: int

    @property
    def mean_gain(self) -> float:
        """Mean score of the fusion less that of the chosen single modality."""
        return float(self.gain["gain"].mean())

    @property
    def verdict(self) -> str:
        """A plain sentence that says whether fusion pays, and who adds to it."""
        counts = self.gain["chosen"].value_counts()
        single = (
            f"{self.single}, named beforehand"
            if self.single is not None
            else (f"{counts.index[0]}, chosen in {counts.iloc[0]} of {len(self.gain)} splits")
        )
        values = self.shapley["value"]
        adding = self.shapley.index[self.shapley["low"] > 0].tolist()
        sure = (
            f"a sure share of it comes from {', '.join(adding)}"
            if adding
            else ("no modality has a sure share in it")
        )
        largest, smallest = (
            f"{name} ({plain(values[name], decimals(values), signed=True)})"
            for name in (values.idxmax(), values.idxmin())
        )
        said = gain_verdict(self.estimator, single, self.mean_gain, self.interval, self.scoring)
        return (
            f"{said} Of the fusion's score the largest share is that of {largest}, the smallest "
            f"that of {smallest}; {sure}."
        )

    @property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return {
            "What each modality is worth (Shapley)": self.shapley,
            "Pairs": self.interactions,
            "Gain by fold": self.gain,
            "Calibration": self.calibration,
            "Every subset": self.subsets,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers, ready for JSON; NaN is None."""
        low, high = (None if np.isnan(bound) else bound for bound in self.interval)
        plain = vars(self) | {"verdict": self.verdict, "interval": [low, high]}
        for name in ("subsets", "shapley", "interactions", "gain", "calibration", "fold_scores"):
            plain[name] = _without_nan(plain[name].reset_index()).to_dict("records")
        return plain

    def __repr__(self) -> str:
        shown = [self.shapley.rename(index=printable), self.interactions.rename(index=printable)]
        texts = [lines_of(table) for table in shown]
        return "\n\n".join([*texts, printable(self.verdict)])

    def _repr_html_(self) -> str:
        folded = (
            f"<details{' open' if place == 0 else ''}><summary>{title}</summary>"
            f"{_as_html(table)}</details>"
            for place, (title, table) in enumerate(self._tables.items())
            if len(table)
        )
        return f"<p>{escape(self.verdict)}</p>{''.join(folded)}"
