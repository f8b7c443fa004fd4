"""Labels of steps, measured sequence by sequence: scorers that find the ids, segment metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._validation import as_table, check_lengths, check_option, is_frame, listed, refuse_masked

__all__ = ["pk_score", "segment_f1_score", "sequence_scorer", "window_diff"]


# Labels and segments ------------------------------------------------------------------------


class Labels(NamedTuple):
    """Labels of steps as codes of one list, the steps of a sequence next to one another."""

    true: np.ndarray  # shape: (n_steps,)
    predicted: np.ndarray  # shape: (n_steps,)
    sequence: np.ndarray  # shape: (n_steps,), codes of the ids
    names: Sequence[Any]  # the label of each code


def _read_labels(y_true: Any, y_pred: Any, sequence: Any) -> Labels:
    check_lengths(y_true=y_true, y_pred=y_pred, sequence=sequence)
    true, predicted = _label_column("y_true", y_true), _label_column("y_pred", y_pred)
    if not len(true):
        raise ValueError("y_true and y_pred are empty: there is no step to measure")
    codes, names = pd.factorize(pd.Series([*true, *predicted], dtype=object))
    ids = np.zeros(len(true), np.int64)
    if sequence is not None:
        ids = pd.factorize(_label_column("sequence", sequence))[0]
    order = np.argsort(ids, kind="stable")
    return Labels(codes[: len(true)][order], codes[len(true) :][order], ids[order], list(names))


def _label_column(name: str, values: Any) -> pd.Series:
    refuse_masked(name, values)
    array = np.asarray(values, dtype=None if hasattr(values, "dtype") else object)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
    column = pd.Series(array)
    missing = column.isna()
    if missing.any():
        raise ValueError(
            f"{name} is missing for {int(missing.sum())} steps (first at step "
            f"{int(missing.to_numpy().argmax())}); leave them out of both, and of the ids"
        )
    return column.infer_objects()


def _segments(labels: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """Return the number of each step's segment, a longest run of one label in a sequence."""
    begins = (labels[1:] != labels[:-1]) | (sequence[1:] != sequence[:-1])
    return np.concatenate([[0], np.cumsum(begins)])


# Segment F1 ---------------------------------------------------------------------------------


def segment_f1_score(
    y_true: Any,
    y_pred: Any,
    *,
    overlap: float = 0.5,
    average: str = "micro",
    labels: Any = None,
    sequence: Any = None,
) -> float:
    r"""Return the F1 score of segments: runs of one label that are found as a whole.

    .. math:: F_1 = \frac{2\,TP}{2\,TP + FP + FN},
        \qquad IoU(p, t) = \frac{|p \cap t|}{|p \cup t|}

    A predicted segment p is right (TP) if, of the true segments of its label, the one t of the
    highest overlap has :math:`IoU(p, t) \ge \tau` and no earlier p was right by it: of several
    pieces in one true segment one counts and the others are wrong (FP). True segments that no p
    was right by are missed (FN). Unlike accuracy it falls when a segment breaks into pieces, and
    a boundary that lies a few steps off costs nothing.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_steps,)
        Labels, text or numbers.
    overlap : float, default=0.5
        The threshold :math:`\tau`, above 0 and at most 1; 0.1, 0.25 and 0.5 are usual.
    average : {"micro", "macro"}, default="micro"
        Count the segments of all labels together, or take the mean over the labels.
    labels : array-like, default=None
        The labels whose segments count, for instance all but the background. None takes all.
    sequence : array-like of shape (n_steps,), default=None
        The id of each step's sequence, so that no segment runs from one into the next; the
        segments of all sequences are counted together. None is a single sequence.

    Returns
    -------
    score : float
        From 0 to 1. A label without any true or predicted segment does not count; 0 where no
        label has one.

    Raises
    ------
    ValueError
        If there is no step, the lengths differ, a label is missing, or a parameter is out of
        range.

    References
    ----------
    Lea, Flynn, Vidal, Reiter, Hager (2017), "Temporal convolutional networks for action
    segmentation and detection", CVPR, section 4.1 ("segmental overlap F1").

    Examples
    --------
    One of two true segments is found, with an IoU of 2/4; the other, of which the prediction
    covers 1 step of 4, is not:

    >>> from mkfusion.evaluation import segment_f1_score
    >>> segment_f1_score(list("aabbbb"), list("aaaabc"), overlap=0.5)
    0.4
    >>> segment_f1_score(list("aabbbb"), list("aaaabc"), overlap=0.25)
    0.8

    The mean over the labels a, b and c, of which c has no true segment:

    >>> round(segment_f1_score(list("aabbbb"), list("aaaabc"), overlap=0.25, average="macro"), 6)
    0.666667
    """
    check_option("average", average, ("micro", "macro"))
    if not isinstance(overlap, Real) or not 0 < overlap <= 1:
        raise ValueError(f"overlap must be a number above 0 and at most 1, got {overlap!r}")
    found = _read_labels(y_true, y_pred, sequence)
    counted = np.ones(len(found.names), bool)
    if labels is not None:
        counted = pd.Series(found.names, dtype=object).isin([*labels]).to_numpy()
    right, wanted = _count_segments(found, float(overlap))
    right, wanted = right[counted & (wanted > 0)], wanted[counted & (wanted > 0)]
    if not len(wanted):
        return 0.0
    if average == "macro":
        return float(np.mean(2 * right / wanted))
    return float(2 * right.sum() / wanted.sum())


def _count_segments(found: Labels, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return by label the predicted segments that are right, and all true and predicted ones."""
    n_labels = len(found.names)
    sides = [_segments(codes, found.sequence) for codes in (found.true, found.predicted)]
    label_of = [np.empty(ids[-1] + 1, np.int64) for ids in sides]
    for own, ids, codes in zip(label_of, sides, (found.true, found.predicted), strict=True):
        own[ids] = codes
    wanted = np.bincount(np.concatenate(label_of), minlength=n_labels)
    n_true = sides[0][-1] + 1
    # Two segments meet in as many steps as the pair of them stands.
    pairs, shared = np.unique(sides[1] * n_true + sides[0], return_counts=True)
    predicted, true = np.divmod(pairs, n_true)
    same = label_of[1][predicted] == label_of[0][true]
    predicted, true, shared = predicted[same], true[same], shared[same]
    lengths = [np.bincount(ids) for ids in sides]
    ratio = shared / (lengths[0][true] + lengths[1][predicted] - shared)
    best = np.lexsort((true, -ratio, predicted))
    first = np.unique(predicted[best], return_index=True)[1]
    chosen = best[first]
    hits = np.unique(true[chosen[ratio[chosen] >= overlap]])
    return np.bincount(label_of[0][hits], minlength=n_labels), wanted


# Boundaries ---------------------------------------------------------------------------------


def pk_score(y_true: Any, y_pred: Any, *, k: int | None = None, sequence: Any = None) -> float:
    r"""Return P_k: how often two steps k apart are wrongly in one segment, or wrongly apart.

    .. math:: P_k = \frac{1}{N - k} \sum_{i=1}^{N-k}
        1\big[\delta_{true}(i, i + k) \ne \delta_{pred}(i, i + k)\big],

    where :math:`\delta(i, j)` is 1 if no boundary lies between the steps i and j. A boundary lies
    where the label changes; which label it is does not matter.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_steps,)
        Labels, text or numbers.
    k : int, default=None
        The distance of the two steps. None takes half of the mean length of the true segments,
        rounded, and at least 1.
    sequence : array-like of shape (n_steps,), default=None
        The id of each step's sequence: both steps are of one sequence, the mean is over the
        pairs of all. None is a single sequence.

    Returns
    -------
    error : float
        From 0 to 1; less is better. 0 where no sequence is longer than k, for there is no pair.

    Raises
    ------
    ValueError
        If there is no step, the lengths differ, a label is missing, or k is no positive whole
        number.

    References
    ----------
    Beeferman, Berger, Lafferty (1999), "Statistical models for text segmentation", Machine
    Learning 34, 177-210, section 5.

    Examples
    --------
    True segments of 3 steps give k = 2 (a half is rounded up). Of the 4 pairs, (1, 3) is wrongly
    apart and (3, 5) wrongly together, while (2, 4) is apart and (4, 6) together in both:

    >>> from mkfusion.evaluation import pk_score
    >>> pk_score(list("aaabbb"), list("aabbbb"))
    0.5
    >>> pk_score(list("aaabbb"), list("aabbbb"), k=1)
    0.4
    """
    return _disagreement(y_true, y_pred, k, sequence, lambda counts: counts > 0)


def window_diff(y_true: Any, y_pred: Any, *, k: int | None = None, sequence: Any = None) -> float:
    r"""Return WindowDiff: how often a window of k steps has a wrong number of boundaries.

    .. math:: WD = \frac{1}{N - k} \sum_{i=1}^{N-k}
        1\big[b_{true}(i, i + k) \ne b_{pred}(i, i + k)\big],

    where b(i, j) is the number of boundaries between the steps i and j, places where the label
    changes. It counts the false boundaries that :func:`pk_score` overlooks next to a true one.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_steps,)
        Labels, text or numbers.
    k : int, default=None
        The width of the window. None takes half of the mean length of the true segments,
        rounded, and at least 1.
    sequence : array-like of shape (n_steps,), default=None
        The id of each step's sequence: a window lies in one sequence, the mean is over the
        windows of all. None is a single sequence.

    Returns
    -------
    error : float
        From 0 to 1; less is better, and never less than :func:`pk_score`. 0 where no sequence is
        longer than k.

    Raises
    ------
    ValueError
        If there is no step, the lengths differ, a label is missing, or k is no positive whole
        number.

    References
    ----------
    Pevzner, Hearst (2002), "A critique and improvement of an evaluation metric for text
    segmentation", Computational Linguistics 28(1), 19-36, section 4.

    Examples
    --------
    The boundary before the third step is true, that before the fourth is not. Of the 4 windows
    (2, 4) has two boundaries instead of one, which P_k overlooks, and (3, 5) one instead of none:

    >>> from mkfusion.evaluation import pk_score, window_diff
    >>> true, predicted = list("aabbbb"), list("aabccc")
    >>> window_diff(true, predicted, k=2), pk_score(true, predicted, k=2)
    (0.5, 0.25)
    """
    return _disagreement(y_true, y_pred, k, sequence, lambda counts: counts)


def _disagreement(
    y_true: Any, y_pred: Any, k: Any, sequence: Any, seen: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Return the share of pairs k steps apart where what is seen between them differs."""
    found = _read_labels(y_true, y_pred, sequence)
    numbers = [_segments(codes, found.sequence) for codes in (found.true, found.predicted)]
    n_steps, n_segments = len(found.true), int(numbers[0][-1]) + 1
    if k is None:
        k = max(1, (n_steps + n_segments) // (2 * n_segments))
    elif not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a positive whole number of steps or None, got {k!r}")
    within = found.sequence[k:] == found.sequence[:-k]
    if not within.any():
        return 0.0
    true, predicted = (seen((ids[k:] - ids[:-k])[within]) for ids in numbers)
    return float(np.mean(true != predicted))


# Scorers ------------------------------------------------------------------------------------


def sequence_scorer(
    metric: Callable[..., float],
    *,
    sequence: str = "sequence",
    response_method: str | Sequence[str] = "predict",
    greater_is_better: bool = True,
    pooled: bool = False,
    **kwargs: Any,
) -> Callable[..., float]:
    r"""Make a scorer of a metric of step labels that must not run from one sequence to the next.

    .. math:: \frac{1}{S} \sum_{s=1}^{S} metric(y_s, \hat y_s)

    over the S sequences of the rows that are scored. The ids are found inside X, where splitters
    and searches leave them; the scorer goes wherever scikit-learn takes ``scoring=``.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_response, **kwargs)``, a number: of this package, of scikit-learn's,
        or one's own.
    sequence : str, default="sequence"
        The index level or column of X that holds the ids.
    response_method : str or sequence of str, default="predict"
        The estimator's method that the metric judges; of several, the first that there is. Of two
        classes, probabilities are those of the second, as in scikit-learn's scorers.
    greater_is_better : bool, default=True
        False turns the sign, for what is an error (:func:`pk_score`, :func:`window_diff`).
    pooled : bool, default=False
        Call the metric once for all steps instead of taking the mean over the sequences: a long
        sequence counts more then. A metric with a parameter ``sequence`` gets the ids by it.
    **kwargs : dict
        Handed to the metric.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``.

    Raises
    ------
    TypeError
        If the metric is not callable, or X no DataFrame.
    ValueError
        When scoring, if X has no such level or column, an id is missing, or the estimator has no
        such method.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.dummy import DummyClassifier
    >>> from mkfusion.evaluation import segment_f1_score, sequence_scorer
    >>> X = pd.DataFrame({"x": [0.0, 1.0, 2.0]}, index=pd.Index([7, 7, 9], name="sequence"))
    >>> model = DummyClassifier(strategy="constant", constant="a").fit(X, ["a", "b", "a"])
    >>> scorer = sequence_scorer(segment_f1_score, overlap=0.5)
    >>> round(scorer(model, X, ["a", "b", "a"]), 6)  # 2/3 and 1
    0.833333
    """
    if not callable(metric):
        raise TypeError(f"metric must be callable, got {metric!r}")
    methods = [response_method] if isinstance(response_method, str) else [*response_method]
    return SequenceScorer(metric, sequence, methods, greater_is_better, pooled, kwargs)


class SequenceScorer:
    """A scorer ``(estimator, X, y)`` that calls a metric sequence by sequence."""

    def __init__(
        self,
        metric: Callable[..., float],
        sequence: str,
        methods: list[str],
        greater_is_better: bool,
        pooled: bool,
        kwargs: dict[str, Any],
    ) -> None:
        self.metric, self.sequence, self.methods = metric, sequence, methods
        self.greater_is_better, self.pooled, self.kwargs = greater_is_better, pooled, kwargs

    def __repr__(self) -> str:
        name = getattr(self.metric, "__name__", repr(self.metric))
        more = "".join(f", {key}={value!r}" for key, value in self.kwargs.items())
        return f"sequence_scorer({name}, sequence={self.sequence!r}, pooled={self.pooled}{more})"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        ids = pd.factorize(_ids(X, self.sequence))[0]
        y = np.asarray(y)
        check_lengths(X=X, y=y)
        answers = self._response(estimator, X)
        metric = partial(self.metric, **self._params(estimator))
        sign = 1.0 if self.greater_is_better else -1.0
        if self.pooled:
            takes_ids = "sequence" in _parameters(self.metric)
            return sign * float(metric(y, answers, **({"sequence": ids} if takes_ids else {})))
        order = np.argsort(ids, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(ids))[:-1])
        return sign * float(np.mean([metric(y[own], answers[own]) for own in rows]))

    def _response(self, estimator: Any, X: Any) -> np.ndarray:
        methods = [name for name in self.methods if hasattr(estimator, name)]
        if not methods:
            raise ValueError(
                f"{type(estimator).__name__} has none of the methods {listed(self.methods)} that "
                "this scorer asks"
            )
        answers = np.asarray(getattr(estimator, methods[0])(X))
        if answers.ndim == 2 and answers.shape[1] == 2 and methods[0].startswith("predict_"):
            return answers[:, 1]
        return answers

    def _params(self, estimator: Any) -> dict[str, Any]:
        """Return what the metric gets: the classes too, for one sequence may not have them all."""
        takes = self.methods != ["predict"] and "labels" in _parameters(self.metric)
        named = {"labels": estimator.classes_} if takes and hasattr(estimator, "classes_") else {}
        return {**named, **self.kwargs}


def _parameters(metric: Any) -> Sequence[str]:
    try:
        return list(inspect.signature(metric).parameters)
    except (TypeError, ValueError):  # some compiled functions tell nothing
        return []


def _ids(X: Any, sequence: str) -> Any:
    """Return the ids that stand in X as an index level or a column."""
    if not is_frame(X):
        raise TypeError(
            f"X must be a DataFrame with an index level or a column {sequence!r} that names the "
            f"sequence of each step, got {type(X).__name__}"
        )
    X = as_table(X)
    if sequence in X.index.names:
        ids = X.index.get_level_values(sequence)
    elif list(X.columns).count(sequence) == 1:
        ids = X[sequence]
    else:
        raise ValueError(
            f"X has no index level and no single column {sequence!r}, which is to name the "
            f"sequence of each step; its levels are {listed(X.index.names)}, its columns "
            f"{listed(X.columns)}"
        )
    if pd.isna(ids).any():
        raise ValueError(f"the sequence id {sequence!r} is missing for {pd.isna(ids).sum()} rows")
    return ids
