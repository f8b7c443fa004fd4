"""What a fusion is worth on a table: the same folds for all, and an honest sentence."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone

from ._parallel import delayed, run
from ._validation import as_table, check_lengths, check_option, listed
from .early import EarlyFusionClassifier, EarlyFusionRegressor
from .late import LateFusionClassifier, LateFusionRegressor
from .modality import Columns, as_list, holds_sequences, resolve_modalities
from .rules import fuse, fuse_predictions

__all__ = [
    "STRATEGIES",
    "FusionComparison",
    "Strategy",
    "compare_fusion",
    "corrected_interval",
]

TASKS = ("classification", "regression")


# The strategies -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Strategy:
    """A way to fuse that :func:`compare_fusion` tries.

    Parameters
    ----------
    name : str
    family : {"early", "late", ...}
    tasks : tuple of str
        Of "classification" and "regression".
    rule : str or None
        A late rule; all of them share one fit of the experts.
    build : callable or None
        ``build(task, encoders, model)`` returns an unfitted estimator on the whole table.
    default : bool
        Whether it runs unless asked for otherwise.

    Examples
    --------
    >>> from mkfusion.evaluation import STRATEGIES
    >>> [strategy.name for strategy in STRATEGIES if "regression" in strategy.tasks][:2]
    ['early', 'late:mean']
    """

    name: str
    family: str
    tasks: tuple[str, ...] = TASKS
    rule: str | None = None
    build: Callable[[str, dict[str, Any], Any], Any] | None = None
    default: bool = True


def _early(task: str, encoders: dict[str, Any], model: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    cls = EarlyFusionClassifier if task == "classification" else EarlyFusionRegressor
    model = make_pipeline(SimpleImputer(keep_empty_features=True), model)
    return cls(model, transformers=list(encoders.items()))


def _late(rule: str, *tasks: str, default: bool = True) -> Strategy:
    return Strategy(f"late:{rule}", "late", tasks, rule=rule, default=default)


STRATEGIES: list[Strategy] = [
    Strategy("early", "early", build=_early),
    _late("mean", *TASKS),
    _late("median", *TASKS),
    *(
        _late(rule, "classification")
        for rule in ("bayes", "product", "sum", "max", "min", "vote", "borda", "log_pool")
    ),
    # With equal weights and without discounts these say what others say already.
    *(
        _late(rule, "classification", default=False)
        for rule in ("kittler_max", "kittler_min", "weighted", "dempster_shafer")
    ),
]


def _choose_strategies(wanted: Any, task: str, named: str | None) -> list[Strategy]:
    known = {strategy.name: strategy for strategy in STRATEGIES if task in strategy.tasks}
    if wanted == "default":
        chosen = [strategy for strategy in known.values() if strategy.default]
    elif wanted == "all":
        chosen = list(known.values())
    else:
        chosen = [
            _as_strategy(item, known) for item in ([wanted] if isinstance(wanted, str) else wanted)
        ]
    if named is not None and named not in [strategy.name for strategy in chosen]:
        chosen.append(_as_strategy(named, known))
    if not chosen:
        raise ValueError("strategies is empty: name at least one")
    return chosen


def _as_strategy(item: Any, known: Mapping[str, Strategy]) -> Strategy:
    if isinstance(item, str):
        if item not in known:
            raise ValueError(
                f"unknown strategy {item!r}; those for this task: {listed(known, 40)}"
            )
        return known[item]
    name, estimator = item
    return Strategy(name, "own", build=lambda task, encoders, model: clone(estimator))


# Models that take any table -----------------------------------------------------------------


def _default_model(task: str) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=1000) if task == "classification" else Ridge()


def _encoder(block: pd.DataFrame) -> Any:
    """Return what makes numbers of one modality's columns, by the kind of each."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    kinds: dict[str, list[int]] = {"number": [], "category": [], "text": []}
    for j in range(block.shape[1]):
        kinds[_kind_of_column(block.iloc[:, j])].append(j)
    number = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    category = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2)
    steps: list[tuple[str, Any, Any]] = []
    if kinds["number"]:
        steps.append(("number", number, kinds["number"]))
    if kinds["category"]:
        steps.append(("category", category, kinds["category"]))
    for j in kinds["text"]:
        words = make_pipeline(
            FunctionTransformer(_without_none), TfidfVectorizer(max_features=1000)
        )
        steps.append((f"text{j}", words, j))
    return ColumnTransformer(steps, sparse_threshold=0.0)


def _kind_of_column(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    given = column.dropna()
    if len(given) and given.nunique() > 20 and all(isinstance(cell, str) for cell in given):
        return "text" if given.str.split().str.len().mean() >= 3 else "category"
    return "category"


def _without_none(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "")


# The folds ----------------------------------------------------------------------------------


def _splitter(folds: int, task: str, groups: Any, seed: Any) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if task == "classification":
        cls = StratifiedKFold if groups is None else StratifiedGroupKFold
    else:
        cls = KFold if groups is None else GroupKFold
    return cls(n_splits=folds, shuffle=True, random_state=seed)


def _outer_splits(
    cv: Any, task: str, X: Any, y: np.ndarray, groups: Any, seed: Any
) -> list[tuple[np.ndarray, np.ndarray]]:
    if isinstance(cv, int):
        if cv < 2:
            raise ValueError(f"cv must be at least 2 folds, got {cv}")
        _check_enough(cv, task, y, groups)
        cv = _splitter(cv, task, groups, seed)
    splits = cv.split(X, y, groups) if hasattr(cv, "split") else cv
    return [(np.asarray(train), np.asarray(test)) for train, test in splits]


def _check_enough(folds: int, task: str, y: np.ndarray, groups: Any) -> None:
    if len(y) < 2 * folds:
        raise ValueError(f"{len(y)} rows are too few for {folds} folds")
    if groups is not None and len(np.unique(groups)) < folds:
        raise ValueError(
            f"groups has {len(np.unique(groups))} different values, fewer than the {folds} folds"
        )
    if task == "classification" and groups is None:
        labels, counts = np.unique(y, return_counts=True)
        if counts.min() < folds:
            rare = labels[counts < folds].tolist()
            raise ValueError(
                f"too few rows per class: {listed(rare)} stand in fewer than {folds} rows, one "
                "for each fold; take fewer folds, or leave the class out"
            )


def _inner_splits(
    outer: list[tuple[np.ndarray, np.ndarray]],
    cv: Any,
    inner_cv: Any,
    task: str,
    X: Any,
    y: np.ndarray,
    groups: Any,
    seed: Any,
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return, for each outer split, splits of its training rows."""
    if inner_cv is None:
        inner_cv = cv if hasattr(cv, "split") else 3
    found = []
    for train, _ in outer:
        own = None if groups is None else groups[train]
        splitter = _splitter(inner_cv, task, own, seed) if isinstance(inner_cv, int) else inner_cv
        splits = splitter.split(X.iloc[train], y[train], own)
        found.append([(train[inside], train[outside]) for inside, outside in splits])
    return found


# One fit, and its answer --------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    """What a model says of the test rows of a split."""

    values: np.ndarray | None  # shape: (n_test, n_classes), or (n_test, 1) for numbers
    seconds: float = 0.0
    prior: np.ndarray | None = None


def _spread_classes(values: np.ndarray, own: np.ndarray, classes: np.ndarray) -> np.ndarray:
    spread = np.zeros((len(values), len(classes)))
    spread[:, np.searchsorted(classes, own)] = values
    return spread


def _ask_expert(
    name: str, block: pd.DataFrame, model: Any, y: Any, train: Any, test: Any, classes: Any
) -> _Answer:
    """Fit one modality's model; NaN for the test rows that lack the modality."""
    columns = {name: list(range(block.shape[1]))}
    cls = LateFusionRegressor if classes is None else LateFusionClassifier
    expert = cls(modalities=columns, estimator=model)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"\d+ of \d+ samples have none of the modalities"
        )
        try:
            expert.fit(block.iloc[train], y[train])
        except ValueError as error:
            if str(error).startswith("no modality can be fitted"):
                return _Answer(None)
            raise
        seconds = time.perf_counter() - start
        values = expert.transform(block.iloc[test])
    if classes is None:
        return _Answer(np.asarray(values), seconds)
    prior = _spread_classes(expert.expert_priors_, expert.classes_, classes)[0]
    spread = _spread_classes(values, expert.classes_, classes)
    spread[np.isnan(values).all(axis=1)] = np.nan
    return _Answer(spread, seconds, prior)


def _ask_estimator(
    name: str, estimator: Any, X: pd.DataFrame, y: Any, train: Any, test: Any, classes: Any
) -> _Answer:
    start = time.perf_counter()
    try:
        estimator.fit(X.iloc[train], y[train])
        seconds = time.perf_counter() - start
        if classes is None:
            return _Answer(np.reshape(estimator.predict(X.iloc[test]), (len(test), 1)), seconds)
        if hasattr(estimator, "predict_proba"):
            values = estimator.predict_proba(X.iloc[test])
        else:
            values = estimator.predict(X.iloc[test])[:, None] == estimator.classes_
    except Exception as error:
        error.add_note(f"raised by the strategy {name!r}")
        raise
    return _Answer(_spread_classes(values, estimator.classes_, classes), seconds)


# Scores -------------------------------------------------------------------------------------


class _Classified(ClassifierMixin, BaseEstimator):
    """Answers that stand already, in the shape that a scorer asks."""

    def __init__(self, probabilities: np.ndarray, classes: np.ndarray) -> None:
        self.probabilities = probabilities
        self.classes_ = classes

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.probabilities

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[self.probabilities.argmax(axis=1)]


class _Predicted(RegressorMixin, BaseEstimator):
    """Predictions that stand already."""

    def __init__(self, predictions: np.ndarray) -> None:
        self.predictions = predictions

    def predict(self, X: Any) -> np.ndarray:
        return self.predictions


def _loss(values: np.ndarray, y: np.ndarray, classes: Any) -> float:
    """Return the log loss of posteriors, the root mean squared error of numbers."""
    if classes is None:
        return float(np.sqrt(np.mean((values[:, 0] - y) ** 2)))
    likelihood = values[np.arange(len(y)), np.searchsorted(classes, y)]
    return float(-np.log(np.maximum(likelihood, np.finfo(float).eps)).mean())


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


@dataclass(frozen=True)
class FusionComparison:
    """What :func:`compare_fusion` found.

    Parameters
    ----------
    table : DataFrame
        A row for each strategy: family, mean score, spread (standard deviation over the splits),
        log loss (for numbers rmse), fit time in seconds, gain over the best single modality with
        its 95 % interval, and whether the row is exploratory. The rows "single (chosen)" and
        "fusion (chosen)" are those that the verdict speaks of.
    fold_scores : DataFrame of shape (n_splits, n_strategies)
    choices : DataFrame of shape (n_splits, 2)
        The single modality and the fusion that were chosen inside each training set.
    gain : float
        Mean score of the chosen fusion less that of the chosen single modality.
    interval : tuple of float
        The 95 % interval of the gain.
    verdict : str
        A plain sentence.
    task, scoring : str
    named : str or None
        The strategy that was named beforehand.

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
    gain: float
    interval: tuple[float, float]
    verdict: str
    task: str
    scoring: str
    named: str | None = None
    shape: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers, ready for JSON; NaN is None."""
        table = self.table.reset_index(names="strategy").to_dict("records")
        return _plain(
            {
                "task": self.task,
                "scoring": self.scoring,
                "named": self.named,
                "gain": self.gain,
                "interval": list(self.interval),
                "verdict": self.verdict,
                "data": self.shape,
                "table": table,
                "fold_scores": self.fold_scores.to_dict("list"),
                "choices": self.choices.to_dict("list"),
            }
        )

    def __str__(self) -> str:
        return f"{_text_table(self.table, self.scoring)}\n\n{self.verdict}"

    def _repr_html_(self) -> str:
        cells = _formatted(self.table, self.scoring)
        return f"{cells.to_html(escape=True)}<p>{escape(self.verdict)}</p>"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _formatted(table: pd.DataFrame, scoring: str) -> pd.DataFrame:
    """Return the table as text cells."""
    loss = "rmse" if "rmse" in table else "log_loss"
    gains = [
        f"{row.gain:+.4f} [{row.gain_low:+.4f}, {row.gain_high:+.4f}]"
        if row.gain == row.gain
        else ""
        for row in table.itertuples()
    ]
    return pd.DataFrame(
        {
            scoring: table["score"].map("{:.4f}".format),
            "spread": table["spread"].map("{:.4f}".format),
            loss.replace("_", " "): table[loss].map("{:.4f}".format),
            "fit s": table["fit_time"].map("{:.2f}".format),
            "gain over best single [95 %]": gains,
            "": ["exploratory" if mark else "" for mark in table["exploratory"]],
        },
        index=table.index.rename("strategy"),
    )


def _text_table(table: pd.DataFrame, scoring: str) -> str:
    cells = _formatted(table, scoring).reset_index()
    columns = [[str(name), *cells[name].astype(str)] for name in cells]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first, *rest = [
            cell.ljust(width) if j in (0, len(row) - 1) else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


# The comparison -----------------------------------------------------------------------------


def guess_task(y: Any) -> str:
    """Return "classification" for labels and few whole numbers, "regression" for the rest."""
    values = pd.Series(np.asarray(y)).dropna()
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return "classification"
    whole = bool((values == np.floor(values)).all())
    return "classification" if whole and values.nunique() <= 20 else "regression"


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
        Names of :data:`STRATEGIES`, or pairs (name, estimator) of one's own.
    strategy : str, default=None
        The fusion that the verdict speaks of, named beforehand.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" takes text and at most 20 different whole numbers for classes.
    scoring : str or callable, default=None
        A scorer, greater is better. None is accuracy, for numbers r2.
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is shuffled, stratified for classes and grouped where there are groups.
    inner_cv : int or cross-validation generator, default=None
        The folds inside a training set. None is ``cv`` where that is a generator, else 3.
    groups : array-like of shape (n_samples,) or str, default=None
        Rows of one group stay in one fold. A name is a column of X, which is no feature then.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    n_jobs : int, default=None
        Fits at a time, through joblib.
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
    from sklearn.metrics import get_scorer

    X, groups = _as_frame(X, groups)
    columns = resolve_modalities(X, modalities, remainder=remainder)
    task = check_task(task, y)
    target = _check_target(y, task)
    check_lengths(X=X, y=target, groups=groups)
    chosen = _choose_strategies(strategies, task, strategy)
    _refuse_sequences(X, columns)
    scoring = scoring or ("accuracy" if task == "classification" else "r2")
    trial = _Trial(
        X=X,
        y=target,
        columns=columns,
        classes=np.unique(target) if task == "classification" else None,
        strategies=chosen if len(columns) > 1 else [],
        model=_default_model(task) if estimator is None else estimator,
        task=task,
        scorer=get_scorer(scoring) if isinstance(scoring, str) else scoring,
    )
    outer = _outer_splits(cv, task, X, target, groups, random_state)
    inner = _inner_splits(outer, cv, inner_cv, task, X, target, groups, random_state)
    found = trial.run([*outer, *(pair for splits in inner for pair in splits)], n_jobs, verbose)
    return _conclude(trial, outer, inner, found, scoring, strategy)


def check_task(task: str, y: Any) -> str:
    """Return the task, guessed where it is "auto"."""
    check_option("task", task, ("auto", *TASKS))
    return guess_task(y) if task == "auto" else task


def _as_frame(X: Any, groups: Any) -> tuple[pd.DataFrame, np.ndarray | None]:
    table = as_table(X)
    if sparse.issparse(table):
        raise TypeError("compare_fusion takes a DataFrame or a dense array, got a sparse matrix")
    if not isinstance(table, pd.DataFrame):
        table = pd.DataFrame(table)
    if isinstance(groups, str):
        if groups not in table.columns:
            raise ValueError(f"groups names {groups!r}, which is no column of X")
        groups, table = table[groups], table.drop(columns=groups)
    if groups is None:
        return table, None
    groups = np.asarray(groups)
    if pd.isna(groups).any():
        raise ValueError(f"groups is missing for {int(pd.isna(groups).sum())} rows")
    return table, groups


def _check_target(y: Any, task: str) -> np.ndarray:
    from ._validation import check_class_target, check_numeric_target

    target = check_class_target(y) if task == "classification" else check_numeric_target(y)
    if task == "classification" and len(np.unique(target)) < 2:
        raise ValueError(f"y has one class ({target[0]!r}); there is nothing to tell apart")
    if task == "regression" and np.ptp(target) == 0:
        raise ValueError(f"y is constant ({target.flat[0]!r}); there is nothing to predict")
    if target.ndim > 1:
        raise ValueError(f"y must have one column, got shape {target.shape}")
    return target


def _refuse_sequences(X: pd.DataFrame, columns: Mapping[str, Columns]) -> None:
    for name, found in columns.items():
        if any(holds_sequences(X.iloc[:, j]) for j in as_list(found)):
            raise ValueError(
                f"modality {name!r} holds whole sequences in its cells, which no strategy takes; "
                "summarise them to columns first"
            )


@dataclass(frozen=True)
class _Trial:
    """The table and everything that is tried on it."""

    X: pd.DataFrame
    y: np.ndarray
    columns: dict[str, Columns]
    classes: np.ndarray | None
    strategies: list[Strategy]
    model: Any
    task: str
    scorer: Any

    def run(self, splits: Sequence[Any], n_jobs: Any, verbose: int) -> list[dict[str, tuple]]:
        """Return (score, loss, seconds) of every strategy on every split."""
        from sklearn.pipeline import make_pipeline

        blocks = {name: self.X.iloc[:, as_list(c)] for name, c in self.columns.items()}
        encoders = {name: _encoder(block) for name, block in blocks.items()}
        experts = {
            name: make_pipeline(encoder, clone(self.model)) for name, encoder in encoders.items()
        }
        built = [strategy for strategy in self.strategies if strategy.build]
        tasks = []
        for train, test in splits:
            rest = (self.y, train, test, self.classes)
            for name, block in blocks.items():
                tasks.append(delayed(_ask_expert)(name, block, experts[name], *rest))
            for strategy in built:
                assert strategy.build is not None
                estimator = strategy.build(self.task, encoders, clone(self.model))
                if strategy.family != "own":
                    estimator.set_params(modalities=dict(self.columns))
                tasks.append(delayed(_ask_estimator)(strategy.name, estimator, self.X, *rest))
        title = "fits" if verbose else None
        answers = iter(run(tasks, n_jobs=n_jobs, total=len(tasks), progress=title))
        return [
            self._judge(
                train,
                test,
                {name: next(answers) for name in blocks},
                {strategy.name: next(answers) for strategy in built},
            )
            for train, test in splits
        ]

    def _judge(
        self, train: Any, test: Any, experts: dict[str, _Answer], built: dict[str, _Answer]
    ) -> dict[str, tuple[float, float, float]]:
        values = {
            f"single:{name}": self._fuse({name: a}, train, test) for name, a in experts.items()
        }
        seconds = {f"single:{name}": answer.seconds for name, answer in experts.items()}
        for strategy in self.strategies:
            if strategy.rule is None:
                found = built[strategy.name].values
                assert found is not None
                values[strategy.name] = found
                seconds[strategy.name] = built[strategy.name].seconds
            else:
                values[strategy.name] = self._fuse(experts, train, test, strategy.rule)
                seconds[strategy.name] = sum(answer.seconds for answer in experts.values())
        y = self.y[test]
        return {
            name: (self._score(found, test, y), _loss(found, y, self.classes), seconds[name])
            for name, found in values.items()
        }

    def _fuse(
        self, experts: dict[str, _Answer], train: Any, test: Any, rule: str = "mean"
    ) -> np.ndarray:
        """Combine what was answered; a row without any answer gets the prior, or the mean."""
        width = 1 if self.classes is None else len(self.classes)
        absent = np.full((len(test), width), np.nan)
        values = np.array([absent if a.values is None else a.values for a in experts.values()])
        mask = ~np.isnan(values).all(axis=2)
        if self.classes is None:
            mean = self.y[train].mean()
            return fuse_predictions(values, rule, mask=mask, fallback=mean)
        counts = np.bincount(
            np.searchsorted(self.classes, self.y[train]), minlength=len(self.classes)
        )
        uniform = np.full(len(self.classes), 1 / len(self.classes))
        own = np.array([uniform if a.prior is None else a.prior for a in experts.values()])
        return fuse(values, rule, mask=mask, priors=counts / counts.sum(), expert_priors=own)

    def _score(self, values: np.ndarray, test: Any, y: np.ndarray) -> float:
        answers = (
            _Predicted(values[:, 0]) if self.classes is None else _Classified(values, self.classes)
        )
        return float(self.scorer(answers, self.X.iloc[test], y))


# The conclusion -----------------------------------------------------------------------------


def _conclude(
    trial: _Trial,
    outer: list[Any],
    inner: list[list[Any]],
    found: list[dict[str, tuple]],
    scoring: Any,
    named: str | None,
) -> FusionComparison:
    results, rest = found[: len(outer)], iter(found[len(outer) :])
    names = list(results[0])
    inside = [
        {name: _merit([score[name] for score in scores]) for name in names}
        for scores in ([next(rest) for _ in splits] for splits in inner)
    ]
    singles = [f"single:{name}" for name in trial.columns]
    fusions = [strategy.name for strategy in trial.strategies] or singles
    choices = pd.DataFrame(
        {
            "single": [max(singles, key=scores.__getitem__) for scores in inside],
            "fusion": [named or max(fusions, key=scores.__getitem__) for scores in inside],
        }
    )
    if not trial.strategies:
        choices["fusion"] = choices["single"]
    table, fold_scores = _tabulate(trial, results, choices, outer, named)
    row = table.loc["fusion (chosen)" if named is None else f"{named} (named)"]
    interval = (float(row["gain_low"]), float(row["gain_high"]))
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return FusionComparison(
        table=table,
        fold_scores=fold_scores,
        choices=choices,
        gain=float(row["gain"]),
        interval=interval,
        verdict=_verdict(float(row["gain"]), interval, choices, name, named, len(trial.columns)),
        task=trial.task,
        scoring=name,
        named=named,
        shape={
            "rows": len(trial.y),
            "modalities": {name: len(as_list(c)) for name, c in trial.columns.items()},
            "splits": len(outer),
        },
    )


def _merit(entries: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the mean score and, for ties, the mean loss reversed."""
    score, loss, _ = np.mean(entries, axis=0)
    return float(score), float(-loss)


def _tabulate(
    trial: _Trial, results: list[dict], choices: pd.DataFrame, outer: list[Any], named: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    loss = "rmse" if trial.classes is None else "log_loss"
    per_split = {name: [result[name] for result in results] for name in results[0]}
    chosen = "fusion (chosen)" if named is None else f"{named} (named)"
    judged = {"single (chosen)": choices["single"], chosen: choices["fusion"]}
    for label, picks in judged.items():
        per_split[label] = [result[pick] for result, pick in zip(results, picks, strict=True)]
    n_test = float(np.mean([len(test) for _, test in outer]))
    n_train = float(np.mean([len(train) for train, _ in outer]))
    family = {strategy.name: strategy.family for strategy in trial.strategies}
    base = np.array(per_split["single (chosen)"])[:, 0]
    rows = {}
    for name in [*judged, *(n for n in per_split if n not in judged)]:
        score, losses, seconds = np.array(per_split[name]).T
        is_base = name == "single (chosen)"
        low, high = corrected_interval(score - base, n_test, n_train)
        rows[name] = {
            "family": family.get(name, "single" if name.startswith("single") else "fusion"),
            "score": score.mean(),
            "spread": score.std(ddof=1) if len(score) > 1 else np.nan,
            loss: losses.mean(),
            "fit_time": seconds.mean(),
            "gain": np.nan if is_base else (score - base).mean(),
            "gain_low": np.nan if is_base else low,
            "gain_high": np.nan if is_base else high,
            "exploratory": name not in judged,
        }
    scores = {name: [entry[0] for entry in entries] for name, entries in per_split.items()}
    return pd.DataFrame.from_dict(rows, orient="index"), pd.DataFrame(scores)


def _verdict(
    gain: float,
    interval: tuple[float, float],
    choices: pd.DataFrame,
    scoring: str,
    named: str | None,
    n_modalities: int,
) -> str:
    if n_modalities == 1:
        return "There is one modality, so there is nothing to fuse."
    low, high = interval
    figures = f"{gain:+.4f} in {scoring} (95 % interval {low:+.4f} to {high:+.4f})"
    single = f"the best single modality ({_often(choices['single'])})"
    fusion = f"{named}, named beforehand," if named else f"fusion ({_often(choices['fusion'])})"
    if low > 0:
        return f"Fusion pays here: {fusion} gains {figures} over {single}."
    if high < 0:
        return f"Fusion does not pay here: {fusion} changes {figures} against {single}."
    return (
        f"No gain is shown: {fusion} changes {figures} against {single}, "
        "which chance alone could bring."
    )


def _often(picks: pd.Series) -> str:
    counts = picks.str.removeprefix("single:").value_counts()
    name, times = counts.index[0], int(counts.iloc[0])
    return f"{name}, chosen in {times} of {len(picks)} splits"
