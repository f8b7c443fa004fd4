"""Linear-chain conditional random fields by crfsuite: for text, categories and sparse columns.

crfsuite minimises -sum_i log p(y_i | x_i) + c2 ||w||^2 + c1 ||w||_1 over all weights, transitions
among them, and has no bias of states. With c2 = l2_transition / 2, a column that is multiplied by
a = sqrt(l2_transition / l2) has the penalty l2 / 2 on its coefficient, and a constant column is
the intercept. It deletes weights whose column sums to less than ``min_freq`` for a label, so that
``min_freq`` must lie below every sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from .._validation import listed
from ..chains._chain import posteriors
from ..chains._crf_objective import Potentials
from ..chains._crf_optimum import CRFFit, violations
from ._steps import Steps

__all__ = ["Vocabulary", "attributes", "crfsuite_fit", "learn_vocabulary", "sparse_unary"]

Array = np.ndarray

_CONSTANT = 100.0  # the intercept's penalty is that of the rest over its square


class Vocabulary(NamedTuple):
    """The attributes of one modality: a number column by itself, text by its values."""

    keys: dict[tuple[int, Any], int]
    is_number: list[bool]

    def labels(self, columns: list[Any]) -> list[Any]:
        """Return the column of each attribute, for text with its value."""
        return [
            columns[j] if self.is_number[j] else f"{columns[j]}={value}" for j, value in self.keys
        ]


def _columns(block: Any) -> list[Any]:
    if isinstance(block, pd.DataFrame):
        return [block.iloc[:, j] for j in range(block.shape[1])]
    return [pd.Series(block[:, j]) for j in range(block.shape[1])]


def _is_number(column: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return True
    return column.dtype == object and all(
        isinstance(value, int | float | np.number) or value is None for value in column
    )


def learn_vocabulary(block: Any) -> Vocabulary:
    """Return the attributes that a modality shows."""
    keys: dict[tuple[int, Any], int] = {}
    is_number = []
    for j, column in enumerate(_columns(block)):
        number = _is_number(column)
        is_number.append(number)
        values = [None] if number else sorted({str(v) for v in column[~column.isna()]})
        for value in values:
            keys[j, value] = len(keys)
    return Vocabulary(keys, is_number)


def attributes(
    steps: Steps, vocabularies: list[Vocabulary], contexts: tuple[int, ...]
) -> sparse.csr_matrix:
    """Return the windows of all modalities as one sparse matrix, a row for each step."""
    parts = []
    sequence = np.repeat(np.arange(len(steps.offsets) - 1), np.diff(steps.offsets))
    for (name, block), vocabulary, c in zip(
        steps.blocks.items(), vocabularies, contexts, strict=True
    ):
        own = _one_modality(name, block, steps.present[name], vocabulary)
        n = own.shape[0]
        for lag in range(-c, c + 1):
            at = np.arange(n) + lag
            inside = (at >= 0) & (at < n)
            inside[inside] = sequence[at[inside]] == sequence[inside]
            rows = np.flatnonzero(inside)
            pick = sparse.csr_matrix((np.ones(len(rows)), (rows, at[rows])), shape=(n, n))
            parts.append(pick @ own)
    return sparse.hstack(parts, format="csr")


def _one_modality(
    name: str, block: Any, present: Array, vocabulary: Vocabulary
) -> sparse.csr_matrix:
    rows, columns, data = [], [], []
    for j, column in enumerate(_columns(block)):
        if vocabulary.is_number[j]:
            values = _numbers(name, column, present)
            at = np.flatnonzero(values)
            where = np.full(len(at), vocabulary.keys[j, None])
            found = values[at]
        else:
            at = np.flatnonzero(~column.isna().to_numpy())
            codes = [vocabulary.keys.get((j, str(v)), -1) for v in column.iloc[at]]
            where = np.array(codes, dtype=np.int64)
            at, where = at[where >= 0], where[where >= 0]
            found = np.ones(len(at))
        rows.append(at)
        columns.append(where)
        data.append(found)
    joined = np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(joined, shape=(len(present), len(vocabulary.keys)))


def _numbers(name: str, column: pd.Series, present: Array) -> Array:
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        found = [v for v in column if isinstance(v, str)][:3]
        raise ValueError(
            f"modality {name!r}: column {column.name!r} held numbers at fit, and holds "
            f"{listed(found)}"
        ) from None
    values = np.where(present, values, 0.0)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        what = "NaN beside values" if np.isnan(values[wrong[0]]) else "infinity"
        raise ValueError(
            f"modality {name!r}: column {column.name!r} holds {what} (first: row "
            f"{column.index[wrong[0]]!r}); a step has all of a modality's numbers or none"
        )
    return values


def crfsuite_fit(
    design: sparse.csr_matrix,
    offsets: Array,
    codes: Array,
    n_labels: int,
    *,
    l2: Array,
    l2_transition: float,
    l1: float,
    fit_intercept: bool,
    tol: float,
    max_iter: int,
) -> CRFFit:
    """Minimise the objective of `_crf_optimum` by crfsuite's L-BFGS (OWL-QN where l1 > 0)."""
    from sklearn_crfsuite import CRF

    if (l2 == 0).any() != (l2_transition == 0) or (l2_transition == 0 and l2.any()):
        raise ValueError(
            "backend='crfsuite' needs penalties that are all above 0 or all 0: it has one penalty "
            f"for all weights, got l2 from {l2.min():g} to {l2.max():g} and {l2_transition:g} "
            "for transitions"
        )
    factors = np.sqrt(l2_transition / l2) if l2_transition else np.ones(len(l2))
    if l1 and np.ptp(np.append(factors, 1.0)) > 1e-12:
        raise ValueError(
            "backend='crfsuite' with l1 needs one l2 for all modalities and transitions"
        )
    model = CRF(
        algorithm="lbfgs",
        c1=l1,
        c2=l2_transition / 2,
        max_iterations=max_iter,
        min_freq=-1e30,
        all_possible_states=True,
        all_possible_transitions=True,
        epsilon=tol * 1e-2,
        delta=tol * 1e-6,
    )
    scaled = design @ sparse.diags(factors)
    names = [str(code) for code in range(n_labels)]
    labels = [[names[code] for code in codes[a:b]] for a, b in _spans(offsets)]
    model.fit(_Items(scaled.tocsr(), offsets, _CONSTANT if fit_intercept else None), labels)
    coef = np.zeros((n_labels, design.shape[1]))
    intercept, transition = np.zeros(n_labels), np.zeros((n_labels, n_labels))
    for (attribute, label), weight in model.state_features_.items():
        if attribute == "constant":
            intercept[int(label)] = weight * _CONSTANT
        else:
            coef[int(label), int(attribute)] = weight * factors[int(attribute)]
    for (a, b), weight in model.transition_features_.items():
        transition[int(a), int(b)] = weight
    found = Potentials([coef], [intercept], [transition], [], [])
    objective, residual = _certificate(
        design, offsets, codes, found, l2, l2_transition, l1, fit_intercept
    )
    last = model.training_log_.last_iteration or {"num": 0}
    n_iter = int(last["num"])
    return CRFFit(found, objective, residual, n_iter, residual <= tol)


def _spans(offsets: Array) -> Iterator[tuple[int, int]]:
    return pairwise(offsets.tolist())


class _Items:
    """The sequences as crfsuite takes them, each written when it is asked for."""

    def __init__(self, design: sparse.csr_matrix, offsets: Array, constant: float | None) -> None:
        self.design, self.offsets, self.constant = design, offsets, constant

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[list[dict[str, float]]]:
        for a, b in _spans(self.offsets):
            part = self.design[a:b]
            ends = part.indptr.tolist()
            names, values = list(map(str, part.indices.tolist())), part.data.tolist()
            items = [dict(zip(names[i:j], values[i:j], strict=True)) for i, j in pairwise(ends)]
            if self.constant is not None:
                for item in items:
                    item["constant"] = self.constant
            yield items


def sparse_unary(design: sparse.csr_matrix, found: Potentials) -> Array:
    """Return the scores of labels at steps."""
    return np.asarray(design @ found.coefs[0].T) + found.intercepts[0]


def _certificate(
    design: sparse.csr_matrix,
    offsets: Array,
    codes: Array,
    at: Potentials,
    l2: Array,
    l2_transition: float,
    l1: float,
    fit_intercept: bool,
) -> tuple[float, float]:
    """Return our objective at what crfsuite found, and how far its own is from the optimum."""
    coef, transition = at.coefs[0], at.transitions[0]
    unary = sparse_unary(design, at)
    found = posteriors(np.zeros(len(coef)), transition, unary, offsets)
    steps = np.arange(len(codes))
    follows = np.ones(len(codes), dtype=bool)
    follows[offsets[:-1]] = False
    second = np.flatnonzero(follows)
    loss = found.log_partition.sum() - unary[steps, codes].sum()
    loss -= transition[codes[second - 1], codes[second]].sum()
    loss += 0.5 * np.sum(l2 * coef**2) + 0.5 * l2_transition * np.sum(transition**2)
    loss += l1 * (np.abs(coef).sum() + np.abs(transition).sum())
    residuals, pairs = found.marginals, found.pairs
    residuals[steps, codes] -= 1.0
    np.subtract.at(pairs, (codes[second - 1], codes[second]), 1.0)
    by_intercept = residuals.sum(axis=0)
    own = by_intercept + l2_transition / _CONSTANT**2 * at.intercepts[0]
    means = np.asarray(design.mean(axis=0)).ravel() * fit_intercept
    squares = np.asarray(design.multiply(design).mean(axis=0)).ravel()
    scales = np.sqrt(np.maximum(squares - means**2, 0.0))
    scales[scales <= 1e-7 * np.sqrt(squares)] = 1.0
    scales[scales == 0] = 1.0
    by_coef = np.asarray(design.T @ residuals).T + l2 * coef - np.outer(by_intercept, means)
    worst = max(
        violations(by_coef, coef, l1, scales),
        violations(pairs + l2_transition * transition, transition, l1),
        float(np.abs(own).max()) * fit_intercept,
    )
    return float(loss), worst / len(codes)
