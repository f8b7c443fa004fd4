"""How far a fitted model uses the modalities together: its additive projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_regressor

from .._parallel import delayed, run, single_blas_thread
from .._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    check_option,
    listed,
)
from ..modality import as_list, resolve_modalities, take_block
from ._result import printable

METHODS = ("predict_proba", "decision_function", "predict_log_proba", "predict")


@dataclass(frozen=True, eq=False, repr=False)
class AdditiveProjection:
    """What :func:`emap` found.

    Parameters
    ----------
    original, projected : ndarray of shape (n_samples, n_outputs)
        What the model answers, and the additive projection of it.
    score, projected_score : float
        Accuracy (R2 for numbers) of both.
    scoring : {"accuracy", "r2"}
    response : str
        The method of the model that was asked.
    interaction : float
        The share of the answers' variance over the rows that the projection leaves, the mean
        squared difference over the variance; 0 for an additive model, NaN for constant answers.
    modalities : tuple of str
    n_background : int

    Attributes
    ----------
    difference : float
        The score less that of the projection: what using the modalities together is worth.
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from mkfusion.evaluation import emap
    >>> X = pd.DataFrame({"a__x": [0.0, 1.0, 2.0, 4.0], "b__x": [1.0, 0.0, 2.0, 1.0]})
    >>> y = [1.0, 2.0, 6.0, 9.0]
    >>> round(emap(LinearRegression().fit(X, y), X, y).interaction, 9)
    0.0
    """

    original: np.ndarray
    projected: np.ndarray
    score: float
    projected_score: float
    scoring: str
    response: str
    interaction: float
    modalities: tuple[str, ...]
    n_background: int

    @property
    def difference(self) -> float:
        """The score less that of the projection."""
        return self.score - self.projected_score

    @property
    def verdict(self) -> str:
        """A plain sentence that says what using the modalities together is worth."""
        names = ", ".join(self.modalities)
        if self.difference > 0:
            worth = f"its use of {names} together is worth {self.difference:.3g}"
        else:
            worth = f"its use of {names} together is worth nothing on these rows"
        return (
            f"The model has {self.scoring} {self.score:.3g}, its additive projection "
            f"{self.projected_score:.3g}: {worth}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table of one row for the model and one for its projection."""
        scores = {"model": self.score, "additive projection": self.projected_score}
        return pd.DataFrame({self.scoring: scores})

    def __repr__(self) -> str:
        text = self.to_frame().to_string(float_format="{:.4f}".format)
        return f"{text}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(float_format="{:.4f}".format)
        return f"<p>{escape(self.verdict)}</p>{table}"


def emap(
    estimator: Any,
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    response: str = "auto",
    n_background: int | None = 500,
    full_grid: bool = False,
    chunk_size: int = 8192,
    remainder: str = "drop",
    n_jobs: int | None = None,
    random_state: int | None = 0,
) -> AdditiveProjection:
    r"""Project a fitted model on functions that add up what each modality says by itself.

    With f what the model answers, :math:`x^m_i` modality m of row i, :math:`x^{-m}_j` all others
    of background row j, and B the number of background rows,

    .. math::

        \hat f(x_i) = \bar f + \sum_{m=1}^{M} (e_m(x_i) - \bar e_m), \quad
        e_m(x_i) = \frac1B \sum_j f(x^m_i, x^{-m}_j), \quad
        \bar e_m = \frac1B \sum_i e_m(x_i), \quad \bar f = \frac1M \sum_m \bar e_m,

    where the mean :math:`\bar e_m` is over the background rows. For two modalities a and b this
    is :math:`\text{mean}_j f(a_i, b_j) + \text{mean}_j f(a_j, b_i) - \text{mean}_{jk}
    f(a_j, b_k)`, the least-squares fit of :math:`f_1(a) + f_2(b)` to f on all pairs. An additive
    f is its own projection, for any number of modalities.

    Parameters
    ----------
    estimator : estimator
        Fitted. Only asked, never fitted.
    X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        Rows that the model has not seen. An absent modality is exchanged as absent.
    y : array-like of shape (n_samples,)
    modalities : mapping of str to column selector, default=None
        None takes ``estimator.modalities_``, where there is none the prefixes before ``__`` in the
        column names.
    response : str, default="auto"
        The method that is projected: "predict_proba", "decision_function", "predict_log_proba" or
        "predict". "auto" takes the first of them that the model has, for numbers "predict".
    n_background : int or None, default=500
        At most that many rows, drawn at random, are the background. None takes all: n_modalities
        times the square of the rows is what the model is asked then.
    full_grid : bool, default=False
        Combine the other modalities freely, and do not keep them together as in the background
        rows. Then the projection is the least-squares additive fit on all combinations for any
        number of modalities, and costs ``n_background ** (n_modalities - 1)`` answers a row and
        modality. For two modalities it is the same.
    chunk_size : int, default=8192
        The model is asked of about so many rows at a time, which bounds the memory.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality stay as in the background row, with a warning, or are refused.
    n_jobs : int, default=None
        Chunks at a time, through joblib. The figures do not depend on it.
    random_state : int or None, default=0
        Draws the background.

    Returns
    -------
    projection : AdditiveProjection

    Raises
    ------
    ValueError
        For a single modality, one class, a target with NaN, answers that are not finite, or a
        model that lacks the method.

    References
    ----------
    Hessel, Lee (2020), "Does my multimodal model learn cross-modal interactions? It's harder to
    tell than you might think!", EMNLP, equations (2) to (4).

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from mkfusion.evaluation import emap
    >>> X = pd.DataFrame({"a__bit": [0, 0, 1, 1], "b__bit": [0, 1, 0, 1]})
    >>> found = emap(DecisionTreeClassifier().fit(X, [0, 1, 1, 0]), X, [0, 1, 1, 0])
    >>> found.score, found.projected_score
    (1.0, 0.5)
    """
    table = as_table(X)
    if modalities is None:
        modalities = getattr(estimator, "modalities_", None)
    columns = resolve_modalities(table, modalities, remainder=remainder)
    if len(columns) < 2:
        raise ValueError(
            f"X has one modality, {listed(columns)}: of one modality every model is additive; "
            "name at least two in modalities"
        )
    if not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
        raise ValueError(f"chunk_size must be a positive whole number, got {chunk_size!r}")
    ask = _Asked(estimator, response)
    target = check_numeric_target(y) if ask.classes is None else check_class_target(y)
    check_lengths(X=table, y=target)
    if ask.classes is not None and len(np.unique(target)) < 2:
        raise ValueError(f"y has one class, {listed(np.unique(target))}; accuracy needs two")
    places = [as_list(own) for own in columns.values()]
    background = _background(len(target), n_background, random_state)
    original = ask(table)
    means = _means(ask, table, places, background, full_grid, int(chunk_size), n_jobs)
    centres = means[:, background].mean(axis=1, keepdims=True)
    projected = centres.mean(axis=0) + (means - centres).sum(axis=0)
    spread = original.var(axis=0).sum()
    left = ((original - projected) ** 2).mean(axis=0).sum()
    return AdditiveProjection(
        original=original,
        projected=projected,
        score=ask.score(target, original),
        projected_score=ask.score(target, projected),
        scoring="r2" if ask.classes is None else "accuracy",
        response=ask.method,
        interaction=float(left / spread) if spread > 0 else np.nan,
        modalities=tuple(columns),
        n_background=len(background),
    )


class _Asked:
    """A fitted model's answers as a 2-D array, and their score."""

    def __init__(self, estimator: Any, response: str) -> None:
        check_option("response", response, ("auto", *METHODS))
        found = [name for name in METHODS if hasattr(estimator, name)]
        if is_regressor(estimator):
            found = [name for name in found if name == "predict"]
        elif "predict" in found and response != "predict":
            found.remove("predict")  # labels are no numbers to be averaged
        if not found or response not in ("auto", *found):
            raise ValueError(
                f"{type(estimator).__name__} has no {response if response != 'auto' else METHODS}"
                f" that could be projected; it has {listed(found)}"
            )
        self.estimator = estimator
        self.method = found[0] if response == "auto" else response
        self.classes = None if is_regressor(estimator) else self._known()

    def _known(self) -> np.ndarray:
        if self.method == "predict":
            raise ValueError(
                "labels cannot be averaged: a classifier is projected by its probabilities or "
                "decisions, not by response='predict'"
            )
        return np.asarray(self.estimator.classes_)

    def __call__(self, table: Any) -> np.ndarray:
        values = np.asarray(getattr(self.estimator, self.method)(table), dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{self.method} of {type(self.estimator).__name__} gives NaN or infinity, whose "
                "mean says nothing; choose another response"
            )
        return values.reshape(len(values), -1)

    def score(self, y: np.ndarray, values: np.ndarray) -> float:
        from sklearn.metrics import accuracy_score, r2_score

        if self.classes is None:
            return float(r2_score(y, values if y.ndim == 2 else values[:, 0]))
        one_column = values.shape[1] == 1
        chosen = (values[:, 0] > 0).astype(int) if one_column else values.argmax(axis=1)
        return float(accuracy_score(y, self.classes[chosen]))


def _background(n_samples: int, count: Any, random_state: Any) -> np.ndarray:
    if count is None:
        return np.arange(n_samples)
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"n_background must be a positive whole number or None, got {count!r}")
    if count >= n_samples:
        return np.arange(n_samples)
    drawn = np.random.default_rng(random_state).choice(n_samples, int(count), replace=False)
    return np.sort(drawn)


def _means(
    ask: _Asked,
    table: Any,
    places: list[list[int]],
    background: np.ndarray,
    full_grid: bool,
    chunk_size: int,
    n_jobs: Any,
) -> np.ndarray:
    """Return ``e_m(x_i)``, of shape (n_modalities, n_samples, n_outputs)."""
    n_samples, n_modalities = table.shape[0], len(places)
    size = len(background) ** (n_modalities - 1) if full_grid else len(background)
    step = max(1, chunk_size // size)
    tasks = (
        delayed(_mean_of_rows)(ask, table, places, m, rows, background, full_grid, chunk_size)
        for m in range(n_modalities)
        for rows in np.split(np.arange(n_samples), range(step, n_samples, step))
    )
    found = run(tasks, n_jobs=n_jobs)
    return np.concatenate(found).reshape(n_modalities, n_samples, -1)


def _mean_of_rows(
    ask: _Asked,
    table: Any,
    places: list[list[int]],
    own: int,
    rows: np.ndarray,
    background: np.ndarray,
    full_grid: bool,
    chunk_size: int,
) -> np.ndarray:
    """Return ``e_m`` of some rows, the background in portions."""
    others = [m for m in range(len(places)) if m != own]
    axes = len(others) if full_grid else 1
    n_mixes = len(background) ** axes
    total: Any = 0.0
    step = max(1, chunk_size // len(rows))
    for start in range(0, n_mixes, step):
        mixes = np.arange(start, min(start + step, n_mixes))
        drawn = [background[k] for k in np.unravel_index(mixes, (len(background),) * axes)]
        given = np.tile(drawn[0], len(rows))
        taken = {own: np.repeat(rows, len(mixes))}
        for m, mixed in zip(others[1:], drawn[1:], strict=False):
            taken[m] = np.tile(mixed, len(rows))
        asked = exchanged(table, given, {m: (places[m], taken[m]) for m in taken})
        with single_blas_thread:
            values = ask(asked)
        total = total + values.reshape(len(rows), len(mixes), -1).sum(axis=1)
    return total / n_mixes


def exchanged(table: Any, rows: np.ndarray, taken: Mapping[int, Any]) -> Any:
    """Return rows of a table in which some columns are those of other rows."""
    if isinstance(table, pd.DataFrame):
        source = {j: other for columns, other in taken.values() for j in columns}
        kinds = set(table.dtypes)
        if len(kinds) == 1 and all(isinstance(kind, np.dtype) for kind in kinds):
            mixed = _exchanged_array(table.to_numpy(), rows, taken)
            return pd.DataFrame(mixed, columns=table.columns)
        series = [table.iloc[:, j].array.take(source.get(j, rows)) for j in range(table.shape[1])]
        mixed = pd.concat([pd.Series(cells) for cells in series], axis=1)
        return mixed.set_axis(table.columns, axis=1)
    if sparse.issparse(table):
        mixed = table[rows]
        for columns, other in taken.values():
            chosen = np.zeros(table.shape[1])
            chosen[columns] = 1.0
            theirs = table[other]
            mixed = mixed @ sparse.diags_array(1 - chosen) + theirs @ sparse.diags_array(chosen)
        return type(table)(mixed)
    return _exchanged_array(table, rows, taken)


def _exchanged_array(table: np.ndarray, rows: np.ndarray, taken: Mapping[int, Any]) -> np.ndarray:
    mixed = table[rows]
    for columns, other in taken.values():
        mixed[:, columns] = take_block(table, columns)[other]
    return mixed
