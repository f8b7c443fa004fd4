"""What a fusion is worth on a table: the same folds for all, and an honest sentence."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy import sparse, stats
from sklearn.base import BaseEstimator, clone

from ._parallel import delayed, run, single_blas_thread
from ._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    check_option,
    listed,
    warn,
)
from .early import EarlyFusionClassifier, EarlyFusionRegressor
from .late import LateFusionClassifier, LateFusionRegressor
from .modality import as_list, holds_sequences, presence, resolve_modalities
from .rules import REGRESSION_RULES, RULES, fuse, fuse_predictions

__all__ = ["STRATEGIES", "FusionComparison", "compare_fusion", "corrected_interval"]

SINGLE, FUSION = "single (chosen)", "fusion (chosen)"
GAINS = ["gain", "gain_low", "gain_high"]
RULES_OF_TASK: dict[str, Any] = {"classification": RULES, "regression": REGRESSION_RULES}
Split = tuple[np.ndarray, np.ndarray]


# The strategies -----------------------------------------------------------------------------


def _early(task: str, modalities: dict[str, list[int]], encoders: dict, model: Any) -> Any:
    cls = EarlyFusionClassifier if task == "classification" else EarlyFusionRegressor
    imputer = sklearn.impute.SimpleImputer(keep_empty_features=True)
    model = sklearn.pipeline.make_pipeline(imputer, model)
    return cls(model, modalities, transformers=list(encoders.items()), allow_overlap=True)


def _late(rule: str, task: str, *_: Any) -> str | None:
    # inverse_variance needs variances, which are the user's to give.
    return rule if rule in RULES_OF_TASK[task] and rule != "inverse_variance" else None


# By name a function of the task, the positions of the modalities' columns, the transformers that
# make numbers of these, and the model. It returns an unfitted estimator for the whole table, or
# the name of a late rule (all of them share one fit of the experts), or None for another task.
STRATEGIES: dict[str, Callable[..., Any]] = {
    "early": _early,
    **{f"late:{rule}": partial(_late, rule) for rule in RULES | REGRESSION_RULES},
}
# With equal priors and weights and without discounts these say what others say already.
_NOT_BY_DEFAULT = {"late:kittler_max", "late:kittler_min", "late:weighted", "late:dempster_shafer"}


def _choose_strategies(wanted: Any, named: str | None, known: dict[str, Any]) -> dict[str, Any]:
    known = {name: entry for name, entry in known.items() if entry is not None}
    if isinstance(wanted, str) and wanted in ("default", "all"):
        wanted = [name for name in known if wanted == "all" or name not in _NOT_BY_DEFAULT]
    items = [wanted] if isinstance(wanted, str) else [*wanted]
    chosen = {}
    for item in items if named is None else [*items, named]:
        name, known[name] = _check_strategy(item, known)
        chosen[name] = known[name]
    if not chosen:
        raise ValueError("strategies is empty: name at least one")
    return chosen


def _check_strategy(item: Any, known: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name of a strategy and what it is."""
    if isinstance(item, str):
        if item not in known:
            raise ValueError(f"unknown strategy {item!r}; of this task: {listed(known, 40)}")
        return item, known[item]
    name, estimator = item if isinstance(item, tuple | list) and len(item) == 2 else (None, None)
    if not isinstance(name, str) or not hasattr(estimator, "fit") or isinstance(estimator, type):
        raise ValueError(f"a strategy is a name or a pair (name, estimator), got {item!r}")
    if name in known or name.startswith("single:") or name in (SINGLE, FUSION):
        raise ValueError(f"strategy {name!r} has the name of another row; rename it")
    return name, estimator


# Models that take any table -----------------------------------------------------------------


def _default_model(task: str) -> Any:
    linear = sklearn.linear_model
    return linear.LogisticRegression(max_iter=1000) if task == "classification" else linear.Ridge()


def _encoder(block: pd.DataFrame) -> Any:
    """Return what makes numbers of one modality's columns, by the kind of each."""
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    join, as_text = sklearn.pipeline.make_pipeline, FunctionTransformer(_as_text)
    numbers = join(sklearn.impute.SimpleImputer(keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100)
    words = join(as_text, sklearn.feature_extraction.text.TfidfVectorizer(max_features=1000))
    kinds = np.array([_kind(block.iloc[:, j]) for j in range(block.shape[1])])
    if (kinds == "number").all():
        return numbers
    many = {"number": numbers, "category": join(as_text, one_hot)}
    steps: list[Any] = [(f"text{j}", words, int(j)) for j in np.flatnonzero(kinds == "text")]
    steps += [(kind, model, np.flatnonzero(kinds == kind)) for kind, model in many.items()]
    return sklearn.compose.ColumnTransformer(steps, sparse_threshold=0.0)


def _kind(column: pd.Series) -> str:
    if holds_sequences(column):
        raise ValueError(f"column {column.name!r} holds sequences; make numbers of them first")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    given = column.dropna()
    if not all(isinstance(cell, str) for cell in given) or given.nunique() <= 20:
        return "category"
    return "text" if given.str.split().str.len().mean() >= 3 else "category"


def _as_text(columns: Any) -> Any:
    return columns.astype(object).where(columns.notna(), "").map(str)


# The trial ----------------------------------------------------------------------------------


class _Said(BaseEstimator):
    """Answers that stand already, in the shape that a scorer asks for."""

    def __init__(self, predictions: Any, probabilities: Any = None, classes: Any = None) -> None:
        self.predictions, self.probabilities, self.classes_ = predictions, probabilities, classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.classes_ is None else "classifier"
        return tags

    def predict(self, X: Any) -> np.ndarray:
        return self.predictions

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.probabilities


def _loss(said: Any, y: np.ndarray) -> float:
    """Return the log loss of posteriors, the root mean squared error of numbers."""
    if not isinstance(said, _Said):
        return np.nan
    if said.classes_ is None:
        return sklearn.metrics.root_mean_squared_error(y, said.predictions)
    return sklearn.metrics.log_loss(y, said.probabilities, labels=said.classes_)


@dataclass(frozen=True)
class _Trial:
    """The table, its folds, and everything that is tried on it."""

    X: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray | None
    classes: Any  # the labels; None where y is numbers
    present: np.ndarray  # shape: (n_modalities, n_samples)
    experts: dict[str, Any]  # a late fusion of one modality, by its row
    fusions: dict[str, Any]  # a rule or an estimator, by its row
    scorer: Any
    seed: int | None

    def split(self, cv: Any, rows: np.ndarray) -> list[Split]:
        """Return the splits of some of the rows."""
        ms = sklearn.model_selection
        groups = None if self.groups is None else self.groups[rows]
        if isinstance(cv, Integral):
            kinds = (ms.KFold, ms.GroupKFold, ms.StratifiedKFold, ms.StratifiedGroupKFold)
            kind = kinds[2 * (self.classes is not None) + (groups is not None)]
            cv = kind(int(cv), shuffle=True, random_state=self.seed)
        pairs = ms.check_cv(cv).split(self.X.iloc[rows], self.y[rows], groups)
        return [(rows[np.asarray(train)], rows[np.asarray(test)]) for train, test in pairs]

    def outer(self, cv: Any) -> list[Split]:
        """Return the splits of all rows."""
        if isinstance(cv, Integral) and self.classes is not None and self.groups is None:
            few = self.classes[np.unique(self.y, return_counts=True)[1] < int(cv)].tolist()
            if few:
                raise ValueError(
                    f"too few rows per class for {cv} folds: {listed(few)} stand in fewer rows; "
                    "take fewer folds, leave them out, or say that the task is regression"
                )
        splits = self.split(cv, np.arange(len(self.y)))
        sound = (len(b) and self.teaches(a) and not np.isin(b, a).any() for a, b in splits)
        if not splits or not all(sound):
            raise ValueError("a split of cv has no test rows, shares rows or trains on one class")
        return splits

    def inner(self, train: np.ndarray, cv: Any, inner_cv: Any) -> list[Split]:
        """Return splits of the training rows of a split."""
        if inner_cv is None:
            inner_cv = 3 if self.groups is None else min(3, len(np.unique(self.groups[train])))
            if isinstance(cv, sklearn.model_selection.TimeSeriesSplit):
                inner_cv = sklearn.model_selection.TimeSeriesSplit(3, gap=cv.gap)
        with warnings.catch_warnings(), suppress(ValueError):
            warnings.filterwarnings("ignore", message="The least populated class")
            splits = self.split(inner_cv, train)
            if splits := [pair for pair in splits if len(pair[1]) and self.teaches(pair[0])]:
                return splits
        raise ValueError(
            f"too few rows, rows per class or groups: {len(train)} training rows cannot be split "
            f"once more (by {inner_cv}), to choose inside them"
        )

    def teaches(self, rows: np.ndarray) -> bool:
        """Tell whether there is something to learn from some of the rows."""
        return len(np.unique(self.y[rows])) > (self.classes is not None)

    def ask(self, train: np.ndarray, test: np.ndarray) -> tuple[list[Any], list[Any]]:
        """Return score, loss and seconds of every row of the table on a split, and warnings."""
        found = []
        with single_blas_thread, warnings.catch_warnings(record=True) as caught:
            # Said once already, of the whole table.
            warnings.filterwarnings("ignore", message="(?s).* belong to no modality and are not")
            experts = [self._ask_expert(j, train, test) for j in range(len(self.experts))]
            singles = [(name, "mean", slice(j, j + 1)) for j, name in enumerate(self.experts)]
            fusions = [(name, fusion, slice(None)) for name, fusion in self.fusions.items()]
            for name, fusion, who in [*singles, *fusions]:
                try:
                    said, seconds = self._ask(fusion, experts[who], train, test)
                    score = float(self.scorer(said, self.X.iloc[test], self.y[test]))
                    if not np.isfinite(score):
                        raise ValueError(f"{len(test)} test rows score {score}: take larger folds")
                    found.append((score, _loss(said, self.y[test]), seconds))
                except Exception as error:
                    error.add_note(f"raised by the strategy {name!r}")
                    raise
        return found, [(str(entry.message), entry.category) for entry in caught]

    def _fit(self, estimator: Any, train: np.ndarray) -> tuple[Any, float]:
        estimator = clone(estimator)
        start = time.perf_counter()
        estimator.fit(self.X.iloc[train], self.y[train])
        return estimator, time.perf_counter() - start

    def _ask_expert(self, place: int, train: np.ndarray, test: np.ndarray) -> tuple[Any, ...]:
        """Return what a modality's model says, NaN where it is absent, its prior and its cost."""
        width = 1 if self.classes is None else len(np.unique(self.y[train]))
        values, prior = np.full((len(test), width), np.nan), np.full(width, 1 / width)
        if not self.teaches(train[self.present[place, train]]):
            return values, prior, 0.0
        expert, seconds = self._fit(list(self.experts.values())[place], train)
        rows = self.present[place, test]
        if rows.any():
            values[rows] = expert.transform(self.X.iloc[test[rows]])
        return values, getattr(expert, "expert_priors_", [prior])[0], seconds

    def _ask(self, fusion: Any, experts: Any, train: Any, test: Any) -> tuple[Any, float]:
        if not isinstance(fusion, str):
            return self._ask_estimator(fusion, train, test)
        values, priors, seconds = map(np.array, zip(*experts, strict=True))
        own, counts = np.unique(self.y[train], return_counts=True)
        if self.classes is None:
            fused = fuse_predictions(values, fusion, fallback=self.y[train].mean())
            return _Said(fused[:, 0]), seconds.sum()
        fused = fuse(values, fusion, priors=counts / counts.sum(), expert_priors=priors)
        return self._spread(own[fused.argmax(axis=1)], fused, own), seconds.sum()

    def _ask_estimator(self, estimator: Any, train: Any, test: Any) -> tuple[Any, float]:
        estimator, seconds = self._fit(estimator, train)
        if self.classes is not None and not hasattr(estimator, "predict_proba"):
            return estimator, seconds  # the scorer may want its decision_function
        answers = np.asarray(estimator.predict(self.X.iloc[test])).reshape(len(test))
        if self.classes is None:
            return _Said(answers), seconds
        values = estimator.predict_proba(self.X.iloc[test])
        return self._spread(answers, values, estimator.classes_), seconds

    def _spread(self, labels: np.ndarray, values: np.ndarray, own: np.ndarray) -> _Said:
        """Return posteriors with 0 for the classes that a training set lacks."""
        spread = np.zeros((len(values), len(self.classes)))
        spread[:, np.searchsorted(self.classes, own)] = values
        return _Said(labels, spread, self.classes)


# The interval -------------------------------------------------------------------------------


def corrected_interval(
    differences: Any, n_test: float, n_train: float, confidence: float = 0.95
) -> tuple[float, float]:
    r"""Return the interval of a mean difference of scores over the splits of a cross-validation.

    .. math:: \bar d \pm t_{k - 1} \sqrt{\left(\tfrac1k + \tfrac{n_{test}}{n_{train}}\right) s_d^2}

    The second term corrects for training sets that overlap; without it the interval is far too
    narrow.

    Parameters
    ----------
    differences : array-like of shape (n_splits,)
        Paired differences, one for each split.
    n_test, n_train : float
        The (mean) number of test and training rows.
    confidence : float, default=0.95

    Returns
    -------
    low, high : float
        NaN for a single split.

    Raises
    ------
    ValueError
        If ``confidence`` is not between 0 and 1.

    References
    ----------
    Nadeau, Bengio (2003), "Inference for the generalization error", Machine Learning 52, eq 15.

    Examples
    --------
    >>> from mkfusion.evaluation import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.02, 0.03], n_test=50, n_train=100)
    >>> round(low, 4), round(high, 4)
    (-0.0193, 0.0593)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    error = np.sqrt((1 / len(values) + n_test / n_train) * values.var(ddof=1))
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return float(values.mean() - half), float(values.mean() + half)


# The result ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class FusionComparison:
    """What :func:`compare_fusion` found.

    Parameters
    ----------
    table : DataFrame
        A row for each strategy: mean score, spread (standard deviation over the splits), log
        loss (for numbers rmse; NaN without probabilities), fit time in seconds, gain over the
        best single modality with its 95 % interval, and whether the row is exploratory. The
        first two rows are those that the verdict speaks of: "single (chosen)", and "fusion
        (chosen)" or "NAME (named)" for a strategy named beforehand.
    fold_scores : DataFrame of shape (n_splits, n_strategies)
    choices : DataFrame of shape (n_splits, 2)
        The single modality and the fusion that were chosen inside each training set.
    task, scoring : str
    named : str or None
        The strategy that was named beforehand.
    n_rows : int
    modalities : dict of str to int
        The number of columns of each.

    Attributes
    ----------
    gain : float
        Mean score of the chosen fusion less that of the chosen single modality.
    interval : tuple of float
        The 95 % interval of the gain; NaN for a single split.
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> list(found.table.index)
    ['single (chosen)', 'fusion (chosen)', 'single:zer', 'single:mor', 'early']
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame
    choices: pd.DataFrame
    task: str
    scoring: str
    named: str | None
    n_rows: int
    modalities: dict[str, int]

    @property
    def gain(self) -> float:
        """Mean score of the chosen fusion less that of the chosen single modality."""
        return float(self.table["gain"].iloc[1])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the gain; NaN for a single split."""
        return self.table["gain_low"].iloc[1], self.table["gain_high"].iloc[1]

    @property
    def verdict(self) -> str:
        """A plain sentence that says whether fusion pays."""
        if len(self.modalities) == 1:
            return "There is one modality, so there is nothing to fuse."
        low, high = self.interval
        does = "pays" if low > 0 else "does not pay" if high < 0 else "shows no gain"
        bounds = f"95 % interval {low:+.3g} to {high:+.3g}"
        single, fusion = (_often(self.choices[kind]) for kind in ("single", "fusion"))
        fusion = f"{self.named}, named beforehand" if self.named else fusion
        return (
            f"Fusion {does} here: it ({fusion}) differs by {self.gain:+.3g} in {self.scoring} "
            f"({'one split gives no interval' if np.isnan(low) else bounds}) from the best single "
            f"modality ({single})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers, ready for JSON; NaN is None."""
        plain = vars(self) | {"gain": self.gain, "verdict": self.verdict}
        plain["interval"] = [None if np.isnan(bound) else bound for bound in self.interval]
        for name in ("table", "fold_scores", "choices"):
            frame = plain[name].astype(object).where(plain[name].notna(), None)
            plain[name] = frame.to_dict("index" if name == "table" else "records")
        return plain

    def __repr__(self) -> str:
        table = self.table.rename(index=printable, columns={"score": self.scoring})
        text = table.to_string(na_rep="", float_format=_number)
        return f"{text}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        table = self.table.rename(columns={"score": self.scoring})
        return f"{table.to_html(na_rep='', float_format=_number)}<p>{escape(self.verdict)}</p>"


def _number(value: float) -> str:
    """Write a number to four decimals, a very large or small one to four digits."""
    return f"{value:.4f}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.4g}"


def _often(picks: pd.Series) -> str:
    counts = picks.str.removeprefix("single:").value_counts()
    return f"{counts.index[0]}, chosen in {counts.iloc[0]} of {len(picks)} splits"


def printable(text: str) -> str:
    """Return text in one line, what a terminal would obey written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# The comparison -----------------------------------------------------------------------------


def compare_fusion(
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    estimator: Any = None,
    strategies: str | Iterable[Any] = "default",
    strategy: str | None = None,
    task: str = "auto",
    scoring: Any = None,
    cv: Any = 5,
    inner_cv: Any = None,
    groups: Any = None,
    remainder: str = "drop",
    allow_overlap: bool = False,
    n_jobs: int | None = None,
    random_state: int | None = 0,
    verbose: int = 0,
) -> FusionComparison:
    """Compare every single modality, early and late fusion on the same folds.

    The verdict speaks of the best single modality and of a fusion that are both chosen inside
    each training set, by an inner cross-validation, or of a fusion named beforehand; whoever
    picks the best of many rows after the fact sees a gain where there is none. All other rows
    are exploratory.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        A modality that is NaN (None for text) in all its columns is missing for the sample.
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    estimator : estimator, default=None
        The model that is fitted on each modality, and on all together. It gets numbers:
        standardised columns (mean for NaN), indicators of categories, tf-idf of texts. None is
        logistic regression, for numbers ridge regression.
    strategies : {"default", "all"} or iterable, default="default"
        Names of :data:`STRATEGIES`, or pairs (name, estimator) of one's own; these estimators
        get X as it is.
    strategy : str, default=None
        The fusion that the verdict speaks of, named beforehand.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" takes text and at most 20 different whole numbers for classes.
    scoring : str or callable, default=None
        A scorer, greater is better. None is accuracy, for numbers r2.
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is shuffled, stratified for classes and grouped where there are groups.
        Anything else is asked for its splits, inside which the choice has folds of its own.
    inner_cv : int or cross-validation generator, default=None
        The folds inside a training set. None is 3 folds of the kind of a number, of time if
        ``cv`` is a TimeSeriesSplit.
    groups : array-like of shape (n_samples,) or str, default=None
        Rows of one group stay in one fold. A name is that of a column of X, which is no feature
        then, or of an index level.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Splits at a time, through joblib. The figures do not depend on it, but for the times.
    random_state : int or None, default=0
        Shuffles the folds.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    comparison : FusionComparison

    Raises
    ------
    ValueError
        For one class, a constant target, a target with NaN, too few rows for the folds, an
        unknown strategy, or modalities that do not fit X.

    References
    ----------
    Nadeau, Bengio (2003), "Inference for the generalization error", Machine Learning 52.
    Varma, Simon (2006), "Bias in error estimation when using cross-validation for model
    selection", BMC Bioinformatics 7:91.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategy="late:bayes")
    >>> bool(found.interval[0] < found.gain < found.interval[1])
    True
    """
    X, groups = _as_frame(X, groups)
    found = resolve_modalities(X, modalities, remainder=remainder, allow_overlap=allow_overlap)
    columns = {name: as_list(places) for name, places in found.items()}
    task = check_task(task, y)
    y = _check_target(y, task)
    check_lengths(X=X, y=y, groups=groups)
    scoring = scoring or ("accuracy" if task == "classification" else "r2")
    model = _default_model(task) if estimator is None else estimator
    encoders = {name: _encoder(X.iloc[:, places]) for name, places in columns.items()}
    known = {n: build(task, columns, encoders, model) for n, build in STRATEGIES.items()}
    fusions = _choose_strategies(strategies, strategy, known)
    cls = LateFusionClassifier if task == "classification" else LateFusionRegressor
    join = sklearn.pipeline.make_pipeline
    trial = _Trial(
        X=X,
        y=y,
        groups=groups,
        classes=np.unique(y) if task == "classification" else None,
        present=presence(X, columns),
        experts={
            f"single:{name}": cls(modalities={name: places}, estimator=join(encoders[name], model))
            for name, places in columns.items()
        },
        fusions=fusions if len(columns) > 1 else {},
        scorer=sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring,
        seed=random_state,
    )
    outer = trial.outer(cv)
    inner = [trial.inner(train, cv, inner_cv) for train, _ in outer if len(columns) > 1]
    splits = [*outer, *chain(*inner)]
    tasks = (delayed(trial.ask)(*split) for split in splits)
    answers = run(tasks, n_jobs=n_jobs, total=len(splits), progress="splits" if verbose else None)
    for text, category in dict.fromkeys(chain(*(caught for _, caught in answers))):
        warn(text, category)
    results = np.array([found for found, _ in answers])
    parts = np.split(results, np.cumsum([len(outer), *map(len, inner)])[:-1])
    n_train, n_test = np.mean([(len(train), len(test)) for train, test in outer], axis=0)
    table, scores, choices = _conclude(trial, parts, strategy, n_test / n_train)
    title = getattr(getattr(scoring, "_score_func", scoring), "__name__", str(scoring))
    widths = {name: len(places) for name, places in columns.items()}
    return FusionComparison(table, scores, choices, task, title, strategy, len(y), widths)


def _conclude(
    trial: _Trial, parts: list[np.ndarray], named: str | None, ratio: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the table, the scores by split, and what was chosen inside the training sets."""
    # Of one modality there is nothing to choose, and any part tells so.
    outer, *inside = parts if len(parts) > 1 else parts * (1 + len(parts[0]))
    names, singles = [*trial.experts, *trial.fusions], range(len(trial.experts))
    fusions = [names.index(named)] if named in names else range(len(singles), len(names))
    label = f"{named} (named)" if named else FUSION
    picks = [(_best(part, singles), _best(part, fusions or singles)) for part in inside]
    choices = pd.DataFrame(picks, columns=["single", "fusion"])
    own = {name: j for j, name in enumerate(names)}
    rows = {SINGLE: choices["single"], label: choices["fusion"], **own}
    entries = np.array([outer[np.arange(len(outer)), row] for row in rows.values()])
    scores = pd.DataFrame(entries[:, :, 0].T, columns=list(rows))
    gains = scores.sub(scores[SINGLE], axis=0)
    table = pd.DataFrame({"score": scores.mean(), "spread": scores.std()})
    table["rmse" if trial.classes is None else "log_loss"] = entries[:, :, 1].mean(axis=1)
    table["fit_time"] = entries[:, :, 2].mean(axis=1)
    base = table["score"].iloc[0]
    # Of equal scores summation may leave 1e-17.
    same = np.isclose(table["score"], base, rtol=1e-12, atol=0)
    table["gain"] = (table["score"] - base).mask(same, 0.0)
    table[GAINS[1:]] = [corrected_interval(gains[name], ratio, 1.0) for name in gains]
    table.loc[SINGLE, GAINS] = np.nan
    table["exploratory"] = np.arange(len(table)) > 1
    return table.rename_axis("strategy"), scores, choices.map(names.__getitem__)


def _best(results: np.ndarray, candidates: Iterable[int]) -> int:
    """Return the candidate of highest mean score; of those, the one of lowest mean loss."""
    score, loss, _ = results.mean(axis=0).T
    best = max(score[j] for j in candidates)
    tied = [j for j in candidates if np.isclose(score[j], best, rtol=1e-12, atol=0)]
    return min(tied, key=lambda j: np.nan_to_num(loss[j], nan=np.inf))


def check_task(task: str, y: Any) -> str:
    """Return the task: where it is "auto", classification for labels and few whole numbers."""
    check_option("task", task, ("auto", *RULES_OF_TASK))
    values = pd.Series(np.ravel(np.asarray(y))).dropna().infer_objects()
    few = values.nunique() <= 20
    labels = values.dtype.kind not in "iuf" or (few and (values % 1 == 0).all())
    return task if task != "auto" else "classification" if labels else "regression"


def _as_frame(X: Any, groups: Any) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Return X as a DataFrame without the groups, and these as numbers."""
    table = as_table(X)
    if sparse.issparse(table):
        raise TypeError("compare_fusion takes a DataFrame or a dense array, got a sparse matrix")
    table = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
    if isinstance(groups, str):
        named = table if groups in table else table.index.to_frame()
        if groups not in named:
            raise ValueError(f"groups names {groups!r}, which is no column or index level of X")
        groups, table = named[groups], table.drop(columns=groups, errors="ignore")
    if groups is not None:
        groups, _ = pd.factorize(np.asarray(groups))
        if (groups < 0).any():
            raise ValueError(f"groups is missing for {int((groups < 0).sum())} rows")
    return table, groups


def _check_target(y: Any, task: str) -> np.ndarray:
    target = check_class_target(y) if task == "classification" else check_numeric_target(y)
    if target.ndim > 1:
        raise ValueError(f"y must have one column, got shape {target.shape}")
    if len(np.unique(target)) == 1:
        raise ValueError(f"y is {target.tolist()[0]!r} in every row: there is nothing to predict")
    return target
