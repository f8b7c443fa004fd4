"""What two modalities tell of a target: redundantly, uniquely, synergistically, or by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy import stats
from sklearn.base import clone

from .._memory import check_budget, memory_in_bytes
from .._parallel import delayed, run, single_blas_thread
from .._validation import as_table, check_class_target, check_lengths, listed
from ..modality import as_list, holds_sequences, presence, resolve_modalities
from ._broja import BITS, TOLERANCE, decompose
from ._models import encoder
from ._result import printable

REPLICATES = 25  # of one task
GATE = 1e-4  # above this the total may be chance


@dataclass(frozen=True, eq=False, repr=False)
class InformationDecomposition:
    """What :func:`partial_information_decomposition` found, in bits.

    Parameters
    ----------
    table : DataFrame
        A row for each part: "redundancy", "unique:NAME" of both modalities, "synergy", and
        "total", their sum. ``bits`` is ``plug_in``, the figure of the observed frequencies, less
        ``chance``, its mean over permuted targets; ``low`` and ``high`` are the interval,
        ``p_value`` is the share of the permuted targets that give at least the plug-in figure.
    modalities : tuple of str
    entropy : float
        What there is to tell: the entropy of the target, plug-in.
    n_rows : int
        Rows that have both modalities.
    n_states : tuple of int
        States of the first modality, of the second, and of the target.
    confidence : float
    gap : float
        The largest duality gap that the solver left, in bits.
    null : DataFrame of shape (n_permutations, 5)
        The parts for permuted targets.

    Attributes
    ----------
    redundancy, synergy : float
    unique : dict of str to float
        By modality.
    intervals : dict of str to tuple of float
        By row of the table.
    p_values : dict of str to float
        By row of the table.
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion.evaluation import partial_information_decomposition
    >>> X = pd.DataFrame({"a__bit": [0, 0, 1, 1] * 25, "b__bit": [0, 1, 0, 1] * 25})
    >>> found = partial_information_decomposition(X, X["a__bit"] ^ X["b__bit"])
    >>> found.table["plug_in"].round(3).to_dict()
    {'redundancy': 0.0, 'unique:a': 0.0, 'unique:b': 0.0, 'synergy': 1.0, 'total': 1.0}
    """

    table: pd.DataFrame
    modalities: tuple[str, str]
    entropy: float
    n_rows: int
    n_states: tuple[int, ...]
    confidence: float
    gap: float
    null: pd.DataFrame

    @property
    def redundancy(self) -> float:
        """What either modality tells by itself, corrected."""
        return float(self.table["bits"].iloc[0])

    @property
    def unique(self) -> dict[str, float]:
        """What only one modality tells, corrected, by modality."""
        return dict(zip(self.modalities, self.table["bits"].iloc[1:3].tolist(), strict=True))

    @property
    def synergy(self) -> float:
        """What only both modalities together tell, corrected."""
        return float(self.table["bits"].iloc[3])

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The interval of each part."""
        bounds = self.table[["low", "high"]].itertuples()
        return {part: (low, high) for part, low, high in bounds}

    @property
    def p_values(self) -> dict[str, float]:
        """The permutation test's p-value of each part."""
        return self.table["p_value"].to_dict()

    @property
    def verdict(self) -> str:
        """A plain sentence that says which parts are there."""
        sure = [part for part, (low, _) in self.intervals.items() if low > 0]
        told = self.table.loc["total"]
        if not sure:
            return (
                f"Nothing is found: every {self.confidence:.0%} interval covers 0. The plug-in "
                f"total of {told['plug_in']:.3g} bits is of the size that chance alone gives "
                f"({told['chance']:.3g} on average)."
            )
        others = [part for part in self.table.index[:-1] if part not in sure]
        named = ", ".join(
            f"{part} {self.table.at[part, 'bits']:.3g}" for part in sure if part != "total"
        )
        unsure = f"; of {', '.join(others)} the interval covers 0" if others else ""
        return (
            f"Of the {self.entropy:.3g} bits of the target the modalities tell "
            f"{told['bits']:.3g}: {named or 'no part is sure by itself'}{unsure}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the table, as a copy."""
        return self.table.copy()

    def __repr__(self) -> str:
        text = self.table.rename(index=printable).to_string(float_format="{:.4f}".format)
        return f"{text}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.table.to_html(float_format='{:.4f}'.format)}"


def partial_information_decomposition(
    X: Any,
    y: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    predictions: Mapping[str, Any] | None = None,
    estimator: Any = None,
    cv: Any = 5,
    n_permutations: int = 200,
    n_bootstrap: int = 200,
    confidence: float = 0.95,
    remainder: str = "drop",
    allow_overlap: bool = False,
    n_jobs: int | None = None,
    random_state: int | None = 0,
) -> InformationDecomposition:
    r"""Divide what two modalities tell of the target, and say what of it is chance.

    The parts are those of :func:`broja` for the observed frequencies. These plug-in figures are
    far above 0 where there is nothing but noise: 25 states for each of two modalities and 120
    rows give a synergy of .7 bits. So each part is given as

    .. math:: \hat v - \tfrac1B \sum_{b=1}^{B} v(X, y_{\pi_b}),

    less its mean over B random permutations of the target, which can be below 0. Its interval
    adds to that what the part deviates from its mean over bootstrap samples of the rows. It is
    widened to hold 0 where the permutation test does not reject at 1 - ``confidence``, and where
    the total is not above chance at the level 0.0001 (by a gamma distribution with the mean and
    the variance of the permutations): with four parts, and many tables looked at, 5 in 100 would
    be too many false finds.

    Parameters
    ----------
    X : DataFrame, array-like of shape (n_samples, n_features) or None
        Two modalities of discrete columns; a modality's state is what its columns hold together,
        and a missing cell beside given ones is a value of its own. Only rows that have both
        modalities count. None if ``predictions`` are given.
    y : array-like of shape (n_samples,)
        Classes.
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    predictions : mapping of str to array-like of shape (n_samples,), default=None
        By name of two modalities the labels that their models predict, out of fold: labels
        predicted for the rows that a model was fitted on tell of the target what is not so.
    estimator : estimator, default=None
        A classifier that is asked for such labels here. It is fitted on each modality by itself,
        gets numbers as in :func:`mkfusion.compare_fusion`, and predicts out of fold.
    cv : int, cross-validation generator or iterable, default=5
        The folds for ``estimator``; a number is stratified and shuffled. Each row is predicted
        once.
    n_permutations, n_bootstrap : int, default=200
        At least 19 of each.
    confidence : float, default=0.95
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads for the permutations and bootstrap samples. The figures do not depend on it.
    random_state : int or None, default=0

    Returns
    -------
    found : InformationDecomposition

    Raises
    ------
    ValueError
        For any other number of modalities than two, continuous columns, one class, a target with
        NaN, or no row that has both modalities.
    MemoryError
        If there are so many states that the solver's system does not fit.

    Notes
    -----
    The null is that the modalities together tell nothing. Where they tell something, the mean
    that is taken off is an approximation of the plug-in figures' bias: for a target that is a
    function of the modalities it takes off too much. Labels that models predict out of fold lean a
    little on the target even where there is nothing to learn, because each fold's models have seen
    the labels of all others; the permutations, which keep the predictions, do not know of it.
    Rows are taken to be independent of one another.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost, Ay (2014), "Quantifying unique information", Entropy 16.
    Treves, Panzeri (1995), "The upward bias in measures of information derived from limited data
    samples", Neural Computation 7.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.evaluation import partial_information_decomposition
    >>> rng = np.random.default_rng(0)
    >>> said = {"audio": rng.integers(5, size=120), "video": rng.integers(5, size=120)}
    >>> y = rng.integers(2, size=120)
    >>> found = partial_information_decomposition(None, y, predictions=said)
    >>> found.verdict.partition(":")[0]
    'Nothing is found'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    for name, count in (("n_permutations", n_permutations), ("n_bootstrap", n_bootstrap)):
        if not isinstance(count, int | np.integer) or count < 19:
            raise ValueError(f"{name} must be a whole number of at least 19, got {count!r}")
    y = check_class_target(y)
    if predictions is not None:
        if X is not None or estimator is not None:
            raise ValueError(
                "predictions stand in the place of X: pass X=None and no estimator with them"
            )
        sources, rows = _given(predictions, y)
    else:
        sources, rows = _read(
            X, y, modalities, estimator, cv, random_state, remainder, allow_overlap
        )
    labels = y[rows]
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"y has one class, {listed(np.unique(labels))}, in the {len(labels)} rows that have "
            "both modalities; of a constant nothing can be told"
        )
    names = tuple(sources)
    states = [*sources.values(), np.unique(labels, return_inverse=True)[1]]
    return _decomposed(
        names, states, n_permutations, n_bootstrap, confidence, n_jobs, random_state
    )


# Sources --------------------------------------------------------------------------------------


def _refuse_other_than_two(names: Any) -> None:
    if len(names) != 2:
        raise ValueError(
            f"the decomposition is of two modalities, got {len(names)}: {listed(names)}; name two "
            "in modalities, or join some into one"
        )


def _given(predictions: Any, y: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    if not isinstance(predictions, Mapping):
        raise TypeError(
            "predictions must be a mapping from names of modalities to labels, got "
            f"{type(predictions).__name__}"
        )
    _refuse_other_than_two(predictions)
    check_lengths(y=y, **{str(name): said for name, said in predictions.items()})
    frame = pd.DataFrame({name: pd.Series(np.asarray(s)) for name, s in predictions.items()})
    rows = frame.notna().all(axis=1).to_numpy()
    _refuse_no_rows(list(predictions), frame.notna().to_numpy().T, rows)
    return {name: _states(name, frame.loc[rows, [name]]) for name in predictions}, rows


def _read(
    X: Any,
    y: np.ndarray,
    modalities: Any,
    estimator: Any,
    cv: Any,
    random_state: Any,
    remainder: str,
    allow_overlap: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    table = as_table(X)
    check_lengths(X=table, y=y)
    columns = resolve_modalities(
        table, modalities, remainder=remainder, allow_overlap=allow_overlap
    )
    _refuse_other_than_two(columns)
    if not isinstance(table, pd.DataFrame):
        table = pd.DataFrame(table.toarray() if hasattr(table, "toarray") else table)
    present = presence(table, columns)
    rows = np.logical_and.reduce(present)
    _refuse_no_rows(list(columns), present, rows)
    sources = {}
    for name, places in columns.items():
        block = table.iloc[np.flatnonzero(rows), as_list(places)]
        if estimator is not None:
            block = _predicted(block, y[rows], estimator, cv, random_state)
        sources[name] = _states(name, block)
    return sources, rows


def _refuse_no_rows(names: list[str], present: np.ndarray, rows: np.ndarray) -> None:
    absent = [name for name, own in zip(names, present, strict=True) if not own.any()]
    if absent:
        raise ValueError(f"modalities {listed(absent)} are missing in every row")
    if not rows.any():
        raise ValueError(f"no row has both modalities {listed(names)}")


def _predicted(block: pd.DataFrame, y: np.ndarray, estimator: Any, cv: Any, seed: Any) -> Any:
    """Return the labels that the modality's model predicts out of fold."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if isinstance(cv, int | np.integer):
        cv = StratifiedKFold(int(cv), shuffle=True, random_state=seed)
    model = sklearn.pipeline.make_pipeline(encoder(block), clone(estimator))
    with single_blas_thread:
        return pd.DataFrame({"predicted": cross_val_predict(model, block, y, cv=cv)})


def _states(name: str, block: pd.DataFrame) -> np.ndarray:
    """Return the joint state of a modality's columns as codes from 0 on."""
    joint = np.zeros(len(block), dtype=np.int64)
    for j in range(block.shape[1]):
        column = block.iloc[:, j]
        if holds_sequences(column):
            raise ValueError(f"modality {name!r} holds sequences; pass predictions of its model")
        numbers = pd.api.types.is_float_dtype(column)
        given = column.dropna().to_numpy(dtype=np.float64) if numbers else np.zeros(0)
        if np.isinf(given).any():
            raise ValueError(f"column {column.name!r} of modality {name!r} holds infinity")
        if (given % 1 != 0).any():
            _refuse_continuous(f"column {column.name!r} of modality {name!r} is continuous")
        codes = pd.factorize(column, use_na_sentinel=False)[0]
        joint = np.unique(joint * (codes.max() + 1) + codes, return_inverse=True)[1]
    count = int(joint.max()) + 1
    if count > max(2, len(joint) // 2):
        _refuse_continuous(f"modality {name!r} has {count} states in {len(joint)} rows")
    return joint


def _refuse_continuous(what: str) -> None:
    raise ValueError(
        f"{what}, and frequencies say nothing of what is hardly ever seen twice; discretise it "
        "(with KBinsDiscretizer, or clusters), pass predictions= with labels that the "
        "modalities' models predict out of fold, or estimator= to have them predicted here"
    )


# Figures --------------------------------------------------------------------------------------


def _decomposed(
    names: Any,
    states: list[np.ndarray],
    n_permutations: int,
    n_bootstrap: int,
    confidence: float,
    n_jobs: int | None,
    random_state: Any,
) -> InformationDecomposition:
    shape = tuple(int(codes.max()) + 1 for codes in states)
    n_unknowns = (shape[0] + shape[1]) * shape[2]
    size = 8 * (3 * n_unknowns**2 + 8 * shape[0] * shape[1] * shape[2] ** 2)
    what = f"the decomposition of {shape[0]} x {shape[1]} states and {shape[2]} classes"
    check_budget(what, size, memory_in_bytes(None), "; discretise more coarsely")
    counts = _count(states, shape)
    n_rows = int(counts.sum())
    (plug_in,), (gap,), _ = decompose(counts[np.newaxis] / n_rows)
    seeds = np.random.SeedSequence(random_state).spawn(2)
    null, null_gap = _replicated(_permuted, states, counts, n_permutations, seeds[0], n_jobs)
    drawn, drawn_gap = _replicated(_resampled, states, counts, n_bootstrap, seeds[1], n_jobs)
    chance = null.mean(axis=0)
    bits = plug_in - chance
    p_values = (1 + (null >= plug_in - 10 * TOLERANCE).sum(axis=0)) / (1 + n_permutations)
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    low, high = bits + np.quantile(drawn - drawn.mean(axis=0), tails, axis=0)
    unsure = (p_values > 1 - confidence) | (_tail(plug_in[4], null[:, 4]) > GATE)
    low = np.where(unsure, np.minimum(low, 0.0), low)
    high = np.maximum(high, 0.0)  # no part is truly below 0
    index = ["redundancy", f"unique:{names[0]}", f"unique:{names[1]}", "synergy", "total"]
    share = counts.sum(axis=(0, 1)) / n_rows
    return InformationDecomposition(
        table=pd.DataFrame(
            {
                "bits": bits,
                "low": low,
                "high": high,
                "p_value": p_values,
                "plug_in": plug_in,
                "chance": chance,
            },
            index=pd.Index(index, name="part"),
        ),
        modalities=names,
        entropy=float(-(share * np.log(share)).sum() * BITS),
        n_rows=n_rows,
        n_states=shape,
        confidence=confidence,
        gap=max(float(gap), null_gap, drawn_gap),
        null=pd.DataFrame(null, columns=index),
    )


def _tail(value: float, null: np.ndarray) -> float:
    """Return how likely chance reaches the value, by a gamma distribution fitted to draws."""
    mean, variance = null.mean(), null.var(ddof=1)
    if variance < 1e-24:
        return float(value <= mean + 1e-12)
    return float(stats.gamma.sf(value, mean**2 / variance, scale=variance / mean))


def _count(states: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    places = np.ravel_multi_index(states, shape)
    return np.bincount(places, minlength=int(np.prod(shape))).reshape(shape)


def _permuted(states: list[np.ndarray], counts: np.ndarray, rng: Any) -> np.ndarray:
    return _count([*states[:2], rng.permutation(states[2])], counts.shape)


def _resampled(states: list[np.ndarray], counts: np.ndarray, rng: Any) -> np.ndarray:
    n_rows = counts.sum()
    return rng.multinomial(n_rows, counts.ravel() / n_rows).reshape(counts.shape)


def _replicated(
    draw: Any,
    states: list[np.ndarray],
    counts: np.ndarray,
    count: int,
    seed: np.random.SeedSequence,
    n_jobs: int | None,
) -> tuple[np.ndarray, float]:
    """Return the parts of that many drawn tables, and the largest gap; blocks are seeded."""
    sizes = [min(REPLICATES, count - start) for start in range(0, count, REPLICATES)]

    def block(size: int, own: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray, int]:
        rng = np.random.default_rng(own)
        tables = np.array([draw(states, counts, rng) for _ in range(size)])
        with single_blas_thread:
            return decompose(tables / counts.sum())

    tasks = (delayed(block)(*pair) for pair in zip(sizes, seed.spawn(len(sizes)), strict=True))
    found = run(tasks, n_jobs=n_jobs, total=len(sizes), threads=True)
    parts, gaps, _ = zip(*found, strict=True)
    return np.concatenate(parts), float(np.concatenate(gaps).max())
