"""The comparison: every strategy on the same folds, and the choice inside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from scipy import sparse

from .._folds import SEQUENCE
from .._parallel import delayed, run
from .._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    check_option,
    warn,
)
from ..modality import Columns, as_list, presence, resolve_modalities
from ._answers import Answers, pooled
from ._learning import learn
from ._measures import corrected_interval
from ._models import (
    columns_in_use,
    default_model,
    encoder,
    expert_model,
    in_step,
    sequence_names,
)
from ._result import FusionComparison
from ._strategies import (
    FUSION,
    LATE,
    RULES_OF_TASK,
    SINGLE,
    as_estimator,
    choose_strategies,
    known_strategies,
)
from ._tables import (
    agreement_table,
    availability_table,
    calibration_errors,
    calibration_table,
    per_class_table,
)
from ._trial import Asked, Split, Trial

GAINS = ["gain", "gain_low", "gain_high"]


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
    """Compare every single modality and ways to fuse them on the same folds.

    The verdict speaks of the best single modality and of a fusion that are both chosen inside
    each training set, by an inner cross-validation, or of a fusion named beforehand; whoever
    picks the best of many rows after the fact sees a gain where there is none. All other rows
    are exploratory.

    Late fusion asks the models of the single modalities, hybrid fusion those and the early one.
    What a rule has to learn (its weights, a table, a model on top) it learns from the inner
    splits' answers, which are out of fold of the training set; that costs no fit of a model more,
    and its fit time holds all of these fits. Inside a training set such a rule is learnt on the
    answers of the other inner splits and tried on those of one; where that leaves nothing to
    learn from, as with a single inner split, it is left out of the choice.

    Multiple kernel learning has an RBF kernel for each modality, on what ``estimator`` would get,
    and C = 1. A sigmoid learnt from three folds makes probabilities of its decisions. It treats
    missing modalities by itself, but for "mkl:product", which gets means in their place.

    A column whose cells hold sequences is a modality whose model is an :class:`HMMClassifier` on
    standardised steps, and late fusion asks it as any other. Where all modalities are sequences,
    as long as one another in each sample, there are graphical models of all together: hidden
    Markov models of several streams, the same of columns that are joined, and a hidden CRF.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        A modality that is NaN (None for text) in all its columns is missing for the sample.
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    estimator : estimator, default=None
        The model that is fitted on each modality, and on all together. It gets numbers:
        standardised columns (mean for NaN), indicators of categories, tf-idf of texts. Text is
        categories where it has at most 20 different values or under three words on average,
        unless its modality is a bare name and no list: that is a column of documents. None is
        logistic regression, for numbers ridge regression. Where every modality is of sequences,
        it is fitted on their cells instead; where only some are, these have their HMM.
    strategies : {"default", "all"} or iterable, default="default"
        Names of :data:`STRATEGIES`: "early", "late:RULE", and "hybrid:RULE" with the early fused
        model as one more expert; at the end ":learn" or ":search" says how weights are found.
        "mkl:WEIGHTING" is multiple kernel learning, ":p2" with the norm 2. Of sequences there
        are "late:RULE", "graphical:hmm", "graphical:hmm:early" and "graphical:hidden_crf". Or
        pairs (name, estimator) of one's own; these estimators get X as it is. In a list too,
        "default", "all" and "late", "hybrid", "mkl" or "graphical" stand for several. "early",
        the joint expert of "hybrid:RULE", "mkl:product" and "graphical:hmm:early" cannot do
        without a modality: where one is missing, means are in its place. "default"
        leaves out what says much the same as others, or takes long, as kernels do: with the
        square of the rows.
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
        The folds inside a training set, to choose and to learn. None is 3 folds of the kind of a
        number, of time if ``cv`` is a TimeSeriesSplit.
    groups : array-like of shape (n_samples,) or str, default=None
        Rows of one group stay in one fold. A name is that of a column of X, which is no feature
        then, or of an index level. None takes an index level named "sequence" where a sequence
        has several rows, so that none is cut.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Splits at a time, through joblib. The figures do not depend on it, but for the times.
    random_state : int or None, default=0
        Shuffles the folds, and draws the weights of a search.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    comparison : FusionComparison

    Raises
    ------
    ValueError
        For one class, a constant target, a target with NaN, too few rows for the folds or to
        learn from out of fold, an unknown strategy, or modalities that do not fit X.

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
    named = groups if isinstance(groups, str) else None
    X, groups, found = read_table(
        X, groups, modalities, remainder=remainder, allow_overlap=allow_overlap
    )
    columns = {name: as_list(places) for name, places in found.items()}
    task = check_task(task, y)
    y = _check_target(y, task)
    check_lengths(X=X, y=y, groups=groups)
    scoring = scoring or ("accuracy" if task == "classification" else "r2")
    tried = _tried(X, found, task, estimator, strategies, strategy)
    joint = any(getattr(how, "joint", False) for how in tried.fusions.values())
    trial = Trial(
        X=X,
        y=y,
        groups=groups,
        classes=np.unique(y) if task == "classification" else None,
        present=presence(X, columns),
        experts=tried.singles(LATE[task]),
        fusions=tried.fusions,
        joint=tried.early if joint else None,
        scorer=sklearn.metrics.get_scorer(scoring) if isinstance(scoring, str) else scoring,
        seed=random_state,
    )
    outer = trial.outer(cv)
    inner = [trial.inner(train, cv, inner_cv) for train, _ in outer if len(columns) > 1]
    first, *inside = _ask(trial, outer, inner, n_jobs, verbose)
    # Of one modality there is nothing to choose, and any part tells so.
    choices = _choose(trial, inside or [first] * len(first), strategy)
    rows = _rows(trial, choices, strategy)
    learning = {
        "cv": trial.inner_splitter(np.arange(len(y)), cv, inner_cv),
        "random_state": random_state,
        "groups": named if named in X.index.names else None,  # a column has left X
    }
    return FusionComparison(
        **_score_tables(trial, outer, first, rows),
        choices=choices.map([*trial.experts, *trial.fusions].__getitem__),
        task=task,
        scoring=getattr(getattr(scoring, "_score_func", scoring), "__name__", str(scoring)),
        named=strategy,
        n_rows=len(y),
        modalities={name: len(places) for name, places in columns.items()},
        baseline=trial.baseline(outer),
        columns=tried.columns,
        availability=availability_table(trial.present, list(columns)),
        **_answer_tables(trial, outer, first, rows),
        estimators=trial.experts | tried.estimators(task, **learning),
    )


class _Tried(NamedTuple):
    """What is tried on a table."""

    modalities: dict[str, list[Any]]  # the columns of each, by names that hold in other tables
    experts: dict[str, Any]  # a model for each modality
    fusions: dict[str, Any]  # combinations of the experts, or estimators
    early: Any
    columns: pd.DataFrame  # how each is read

    def singles(self, fusion: type) -> dict[str, Any]:
        """Return by row the late fusions that hear one of the modalities."""
        found = {}
        for name, expert in self.experts.items():
            heard = [(name, expert), *((other, "drop") for other in self.experts if other != name)]
            found[f"single:{name}"] = fusion(
                heard, self.modalities, rule="mean", allow_overlap=True
            )
        return found

    def estimators(self, task: str, **learning: Any) -> dict[str, Any]:
        """Return by row what each fusion is as one estimator."""
        return {
            name: as_estimator(how, task, self.modalities, self.experts, self.early, **learning)
            for name, how in self.fusions.items()
        }


def _tried(
    X: pd.DataFrame,
    found: Mapping[str, Columns],
    task: str,
    estimator: Any,
    strategies: Any,
    strategy: str | None,
) -> _Tried:
    """Return what is to be tried: models that suit what the columns hold."""
    columns = {name: as_list(places) for name, places in found.items()}
    documents = {name for name, places in found.items() if isinstance(places, int)}
    held = sequence_names(X, columns, task)
    encoders = {
        name: encoder(X.iloc[:, places], name in documents)
        for name, places in columns.items()
        if name not in held
    }
    several, whole = len(columns) > 1, len(held) == len(columns)
    together = whole and several and in_step(X, columns)
    model = default_model(task) if estimator is None else estimator
    own = estimator if whole else None  # for sequences
    named = _by_name(X, columns)
    known = known_strategies(task, named, encoders, model, held, together)
    fusions = choose_strategies(strategies, strategy, known, task)
    return _Tried(
        modalities=named,
        experts={name: expert_model(encoders.get(name), model, own) for name in columns},
        fusions=fusions if several else {},  # of one modality there is nothing to fuse
        early=known["early"],
        columns=columns_in_use(X, columns, held, documents),
    )


def _ask(
    trial: Trial, outer: list[Split], inner: list[list[Split]], n_jobs: Any, verbose: int
) -> list[list[Asked]]:
    """Return what the outer splits give, then what those inside each training set give."""
    splits = [*outer, *chain(*inner)]
    tasks = (
        delayed(trial.ask)(*split, keeping=place < len(outer))
        for place, split in enumerate(splits)
    )
    asked = run(tasks, n_jobs=n_jobs, total=len(splits), progress="splits" if verbose else None)
    said = [one.warnings for one in asked]
    ends = np.cumsum([len(outer), *map(len, inner)])
    first, *inside = (asked[start:end] for start, end in pairwise([0, *ends]))
    if trial.learnt:
        tasks = (
            delayed(learn)(trial, split, one.voices, pairs, [voices for *_, voices in found])
            for split, one, pairs, found in zip(outer, first, inner, inside, strict=True)
        )
        learnt = run(tasks, n_jobs=n_jobs, total=len(outer), progress="rules" if verbose else None)
        said += [one.warnings for one in learnt]
        for place, one in enumerate(learnt):
            first[place] = _completed(trial, first[place], one.figures, one.answers)
            inside[place] = [
                _completed(trial, *pair, ())
                for pair in zip(inside[place], one.inside, strict=True)
            ]
    for text, category in dict.fromkeys(chain(*said)):
        warn(text, category)
    return [first, *inside]


def _completed(trial: Trial, asked: Asked, figures: np.ndarray, answers: Iterable[Any]) -> Asked:
    """Return the figures and answers of a split with those that were learnt."""
    both = asked.figures.copy()
    both[list(trial.learnt)] = figures
    for place, answer in zip(trial.learnt, answers, strict=False):
        asked.answers[place] = answer
    return asked._replace(figures=both, voices=None)


def _choose(trial: Trial, inside: list[list[Asked]], named: str | None) -> pd.DataFrame:
    """Return the rows of the single modality and the fusion chosen inside each training set."""
    names, singles = [*trial.experts, *trial.fusions], range(len(trial.experts))
    fusions = [names.index(named)] if named in names else range(len(singles), len(names))
    parts = [np.array([one.figures for one in asked]) for asked in inside]
    picks = [(_best(part, singles), _best(part, fusions or singles)) for part in parts]
    return pd.DataFrame(picks, columns=["single", "fusion"])


def _rows(trial: Trial, choices: pd.DataFrame, named: str | None) -> dict[str, np.ndarray]:
    """Return the rows of the table: by label, what was asked in which place on each split."""
    label = f"{named} (named)" if named else FUSION
    rows = {SINGLE: choices["single"].to_numpy(), label: choices["fusion"].to_numpy()}
    for place, name in enumerate([*trial.experts, *trial.fusions]):
        rows[name] = np.full(len(choices), place)
    return rows


def _score_tables(
    trial: Trial, outer: list[Split], asked: list[Asked], rows: dict[str, np.ndarray]
) -> dict[str, pd.DataFrame]:
    """Return the table, and the scores by split."""
    figures = np.array([one.figures for one in asked])
    entries = np.array([figures[np.arange(len(asked)), row] for row in rows.values()])
    scores = pd.DataFrame(entries[:, :, 0].T, columns=list(rows))
    table = pd.DataFrame({"score": scores.mean(), "spread": scores.std()})
    table["rmse" if trial.classes is None else "log_loss"] = entries[:, :, 1].mean(axis=1)
    if trial.classes is not None:
        table["ece"] = calibration_errors(_pool(asked, rows))
    table["fit_time"] = entries[:, :, 2].mean(axis=1)
    base = table["score"].iloc[0]
    # Of equal scores summation may leave 1e-17.
    same = np.isclose(table["score"], base, rtol=1e-12, atol=0)
    table["gain"] = (table["score"] - base).mask(same, 0.0)
    gains = scores.sub(scores[SINGLE], axis=0)
    n_train, n_test = np.mean([(len(train), len(test)) for train, test in outer], axis=0)
    bounds = [corrected_interval(gains[name], n_test / n_train, 1.0) for name in gains]
    table[GAINS[1:]] = bounds
    table.loc[SINGLE, GAINS] = np.nan
    table["exploratory"] = np.arange(len(table)) > 1
    return {"table": table.rename_axis("strategy"), "fold_scores": scores}


def _answer_tables(
    trial: Trial, outer: list[Split], asked: list[Asked], rows: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the tables of the answers to the test rows of all splits."""
    y, labels = np.concatenate([trial.y[test] for _, test in outer]), trial.classes is not None
    classes = trial.classes.tolist() if labels else []
    codes = np.searchsorted(trial.classes, y) if labels else y
    answers = _pool(asked, rows)
    singles = {name.removeprefix("single:"): answers[name] for name in trial.experts}
    spoke = np.concatenate([one.spoke for one in asked], axis=1)
    return {
        "classes": classes,
        "per_class": per_class_table(answers, codes, classes),
        "calibration": calibration_table(answers, y, by_confidence=labels),
        "agreement": agreement_table(singles, spoke, y, labels),
    }


def _pool(asked: list[Asked], rows: dict[str, np.ndarray]) -> dict[str, Answers]:
    """Return the answers of each row of the table for the test rows of all splits."""
    return {
        label: pooled([one.answers[j] for one, j in zip(asked, places, strict=True)])
        for label, places in rows.items()
    }


def _best(results: np.ndarray, candidates: Sequence[int]) -> int:
    """Return the candidate of highest mean score; of those, the one of lowest mean loss.

    One that could not be learnt on every split is left out.
    """
    if len(candidates) == 1:
        return candidates[0]
    score, loss, _ = results.mean(axis=0).T
    candidates = [j for j in candidates if not np.isnan(score[j])]
    if not candidates:
        raise ValueError(
            "strategies that are learnt out of fold can be chosen only where what they learn on "
            "one inner fold can be tried on another; give inner_cv more folds, or name the "
            "strategy beforehand"
        )
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


def read_table(
    X: Any, groups: Any, modalities: Any, **how: Any
) -> tuple[pd.DataFrame, np.ndarray | None, dict[str, Columns]]:
    """Return X as a DataFrame without a column that names groups, these as numbers, and the
    places of the modalities' columns in it. Given places are those in X as it was given.
    """
    table, groups, aside = _with_groups(X, groups)
    found = resolve_modalities(table, modalities, aside=aside, **how)
    if not aside:
        return table, groups, found
    kept = np.delete(np.arange(table.shape[1]), aside).tolist()
    moved = {
        name: kept.index(places) if isinstance(places, int) else [kept.index(j) for j in places]
        for name, places in found.items()
    }
    return table.iloc[:, kept], groups, moved


def without_groups(X: Any, groups: Any) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Return X as a DataFrame without a column that names groups, and these as numbers."""
    table, groups, aside = _with_groups(X, groups)
    return table.drop(columns=table.columns[aside]), groups


def _with_groups(X: Any, groups: Any) -> tuple[pd.DataFrame, np.ndarray | None, list[int]]:
    """Return X as a DataFrame, the groups as numbers, and the place of a column that has them."""
    table = as_table(X)
    if sparse.issparse(table):
        raise TypeError("compare_fusion takes a DataFrame or a dense array, got a sparse matrix")
    table = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
    if groups is None and SEQUENCE in table.index.names:
        steps = table.index.get_level_values(SEQUENCE).has_duplicates
        groups = SEQUENCE if steps else None
    aside: list[int] = []
    if isinstance(groups, str):
        aside = np.flatnonzero(table.columns == groups).tolist()
        named = table if aside else table.index.to_frame()
        if groups not in named:
            raise ValueError(f"groups names {groups!r}, which is no column or index level of X")
        groups = named[groups]
    if groups is not None:
        groups, _ = pd.factorize(np.asarray(groups))
        if (groups < 0).any():
            raise ValueError(f"groups is missing for {int((groups < 0).sum())} rows")
    return table, groups, aside


def _by_name(X: pd.DataFrame, columns: Mapping[str, list[int]]) -> dict[str, list[Any]]:
    """Return the columns by their names, which hold in any table, where names tell them apart."""
    if not X.columns.is_unique or not all(isinstance(name, str) for name in X.columns):
        return dict(columns)
    return {name: X.columns[places].tolist() for name, places in columns.items()}


def _check_target(y: Any, task: str) -> np.ndarray:
    target = check_class_target(y) if task == "classification" else check_numeric_target(y)
    if target.ndim > 1:
        raise ValueError(f"y must have one column, got shape {target.shape}")
    if len(np.unique(target)) == 1:
        raise ValueError(f"y is {target.tolist()[0]!r} in every row: there is nothing to predict")
    return target
