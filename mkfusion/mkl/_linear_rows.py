"""What a block of rows tells a linear machine: its features joined, its targets, its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from .._blocks import Block, RowBlocks
from .._validation import (
    check_block,
    check_class_target,
    check_numeric_target,
    frame_values,
    listed,
    sample_weights,
)
from ..modality import presence, take_block
from ..solvers._linear_losses import LOSSES, LinearTerms, Moments
from ..solvers._linear_rows import grams_of, pieces, terms_of

__all__ = ["BlockedRows", "Reader", "Survey", "side_by_side", "survey"]

Array = np.ndarray

LARGEST = 1e120  # of y, so that n squares of it can be summed
ROUNDING = {False: 1e-13, True: 1e-26}  # of a mean square: what taking the mean out leaves of it
FAR = 100.0  # times a block's spread, which a feature's squared mean is, that is taken out
FEW = 1000  # rows, which may be of as many classes
ENOUGH = 8  # rows for each feature, of which a model is made that need not be exact


@dataclass(frozen=True)
class Reader:
    """How the rows of a table become features, side by side by modality.

    Attributes
    ----------
    columns : dict of str to list of int
        Of each modality.
    features : transformer or None
        What makes the features; then the slices are its own.
    slices : dict of str to slice
        Where the features of each block stand.
    cosine : bool
        Divide what each sample has of a block by its length.
    finite : bool
        All rows are known to hold finite numbers.
    whole : bool
        All rows are known to have every modality.
    """

    columns: Mapping[str, list[int]]
    features: Any
    slices: Mapping[str, slice]
    cosine: bool
    finite: bool = False
    whole: bool = False

    @property
    def places(self) -> Array:
        """Where each block begins, and the end."""
        return np.array([0, *(own.stop for own in self.slices.values())])

    def read(self, table: Any) -> tuple[Any, Array]:
        """Return features of shape (n_rows, n_features), and who has which modality.

        What is absent is 0, and what is there is divided by the root of the share that is.
        """
        n = len_of(table)
        mask = np.ones((1, n), bool) if self.whole else presence(table, self.columns)
        if self.features is not None:
            Z = self.features.transform(table) if n else np.zeros((0, self.width))
            return self.scaled(self._numbers(Z, [])), mask
        Z = self._sparse(table, mask) if sparse.issparse(table) else self._dense(table, mask)
        if not mask.all():
            shares = mask.mean(axis=0)
            factors = 1 / np.sqrt(np.where(shares > 0, shares, 1.0))
            Z = sparse.diags_array(factors) @ Z if sparse.issparse(Z) else factors[:, None] * Z
        return self.scaled(Z), mask

    @property
    def order(self) -> list[int]:
        """The positions of all columns, modality by modality."""
        return [j for own in self.columns.values() for j in own]

    def _sparse(self, table: Any, mask: Array) -> Any:
        """Return sparse features, 0 where a modality is absent and else finite."""
        Z = take_block(table, self.order).tocsr().astype(np.float64)
        Z.sum_duplicates()
        wrong = np.flatnonzero(~np.isfinite(Z.data))
        if wrong.size:
            rows = np.repeat(np.arange(Z.shape[0]), np.diff(Z.indptr))[wrong]
            block = np.searchsorted(self.places, Z.indices[wrong], side="right") - 1
            present = np.broadcast_to(mask, (len(self.columns), Z.shape[0]))[block, rows]
            if present.any():
                first = int(np.argmax(present))
                raise ValueError(
                    f"modality {list(self.columns)[block[first]]!r}: X holds "
                    f"{Z.data[wrong[first]]} in row {rows[first]}; features must be finite"
                )
            Z.data[wrong] = 0.0
        return Z

    @property
    def width(self) -> int:
        """The number of features."""
        return int(self.places[-1])

    def _dense(self, table: Any, mask: Array) -> Array:
        frame = hasattr(table, "iloc")
        if mask.all() and self.order == list(range(table.shape[1])):
            return self._numbers(frame_values(table) if frame else table, list(self.columns))
        Z = np.zeros((mask.shape[1], self.width))
        for m, (name, columns) in enumerate(self.columns.items()):
            rows = mask[m if len(mask) > 1 else 0]
            block = take_block(table, columns, rows)
            if rows.any():
                values = frame_values(block) if frame else block
                Z[rows, self.slices[name]] = self._numbers(values, [name])
        return Z

    def _numbers(self, values: Any, names: Sequence[str]) -> Array:
        """Return finite numbers, or say which modality holds something else."""
        if self.finite:
            return np.asarray(values, dtype=np.float64, order="C")  # sums go by rows, to the bit
        try:
            return check_block(values).astype(np.float64, copy=False)
        except (TypeError, ValueError):
            for name in names:
                own = self.slices[name] if len(names) > 1 else slice(None)
                try:
                    check_block(values[:, own])
                except (TypeError, ValueError) as error:
                    raise type(error)(f"modality {name!r}: {error}") from None
            raise

    def scaled(self, Z: Any) -> Any:
        """Return features of which each sample has length 1 in each block, or 0."""
        if not self.cosine:
            return Z
        parts = []
        for own in self.slices.values():
            part = Z[:, own]
            squares = part.multiply(part) if sparse.issparse(part) else part * part
            lengths = np.sqrt(np.ravel(squares.sum(axis=1)))
            inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
            parts.append(
                sparse.diags_array(inverse) @ part
                if sparse.issparse(part)
                else inverse[:, None] * part
            )
        return sparse.hstack(parts, format="csr") if sparse.issparse(Z) else np.hstack(parts)


class Survey(NamedTuple):
    """What is known of a table after one look at every row.

    Attributes
    ----------
    n_samples : int
    whole : bool
        Whether every sample has every modality.
    dense : bool
        Whether features are arrays, of which the mean can be taken out.
    classes : ndarray of shape (n_classes,) or None
    weights : ndarray of shape (n_classes,) or (1,)
        The summed weights of each class; of numbers those of all samples.
    mean : ndarray of shape (n_features,)
        Of the features, by weight.
    squares : ndarray of shape (n_features,)
        The mean squared distance from the mean, by weight.
    features : ndarray of shape (n_features, n_classes) or (n_features, 1)
        The weighted sums of what the features lie above the mean, for each class.
    targets : ndarray of shape (n_outputs,) or None
        The weighted sums of numbers.
    products : ndarray of shape (n_features, n_outputs) or None
        Those of what the features lie above the mean times numbers.
    """

    n_samples: int
    whole: bool
    dense: bool
    classes: Any
    weights: Array
    mean: Array
    squares: Array
    features: Array
    targets: Any
    products: Any

    def lengths(self, places: Array) -> Array:
        """Return each block's mean squared length."""
        return _by_block(self.squares + self.mean**2, places)

    def spread(self, places: Array) -> Array:
        """Return each block's mean squared distance from its mean, 0 where that is rounding."""
        found = _by_block(self.squares, places)
        return np.where(found > ROUNDING[self.dense] * self.lengths(places), found, 0.0)

    def far(self, places: Array) -> Array | None:
        """Return the means that hide what features differ by, None where no mean does."""
        spread = np.repeat(self.spread(places), np.diff(places))
        center = np.where(self.mean**2 > FAR * spread, self.mean, 0.0)
        return center if self.dense and center.any() else None

    def moments(self, costs: Any, negative: float, center: Any = None) -> Moments:
        """Return the sums that solvers ask for, where each class has a cost."""
        shift = self.mean - (0.0 if center is None else center)
        features = self.features + np.multiply.outer(shift, self.weights)
        if self.classes is None:
            products = self.products + np.multiply.outer(shift, self.targets)
            return Moments(float(self.weights[0]), self.targets, features[:, 0], products)
        many = list(range(len(self.classes))) if len(self.classes) > 2 else [1]
        signs = np.full((len(self.classes), len(many)), negative)
        signs[many, range(len(many))] = 1.0
        weighed, features = costs * self.weights, features * costs
        return Moments(
            float(weighed.sum()), weighed @ signs, features.sum(axis=1), features @ signs
        )


class _Look(NamedTuple):
    """What one block of rows shows, its features taken about a center of its own."""

    n_samples: int
    whole: bool
    dense: bool
    silent: int
    classes: Any
    weights: Array
    center: Array
    squares: Array
    features: Array
    targets: Any
    products: Any

    def sums(self) -> Array:
        """Return the weighted sums of the features."""
        return self.features.sum(axis=1) + self.center * self.weights.sum()

    def about(self, center: Array) -> _Look:
        """Return the same about another center."""
        shift = self.center - center
        squares = self.squares + 2 * shift * self.features.sum(axis=1)
        return self._replace(
            center=center,
            squares=squares + shift**2 * self.weights.sum(),
            features=self.features + np.multiply.outer(shift, self.weights),
            products=self.products
            if self.targets is None
            else self.products + np.multiply.outer(shift, self.targets),
        )

    def plus(self, other: _Look) -> _Look:
        """Return what both show, about the mean of both: what lies far apart does not cancel."""
        total = self.weights.sum() + other.weights.sum()
        center = (self.sums() + other.sums()) / total if total > 0 else self.center
        a, b = self.about(center), other.about(center)
        squares = a.squares + b.squares
        counts = (a.n_samples + b.n_samples, a.whole and b.whole, a.dense and b.dense)
        silent = a.silent + b.silent
        if a.classes is None:
            sums = (own + more for own, more in zip(a[-3:], b[-3:], strict=True))
            return _Look(*counts, silent, None, a.weights + b.weights, center, squares, *sums)
        classes = _all_classes(a.classes, b.classes)
        weights, features = np.zeros(len(classes)), np.zeros((len(center), len(classes)))
        for own in (a, b):
            places = np.searchsorted(classes, own.classes)
            weights[places] += own.weights
            features[:, places] += own.features
        return _Look(*counts, silent, classes, weights, center, squares, features, None, None)


def survey(blocks: RowBlocks, reader: Reader, numbers: bool) -> Survey:
    """Look at every row once, and refuse what nothing can be learnt from."""
    look = blocks.fold(_joined, _look, reader, numbers)
    if look is None:
        raise ValueError("X has no rows; nothing can be learnt from it")
    if look.silent:
        raise ValueError(
            f"{look.silent} samples have none of the modalities {listed(list(reader.columns))}; "
            "nothing can be learnt from them: drop those rows"
        )
    total = float(look.weights.sum())
    if total <= 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    look = look.about(look.sums() / total)
    squares = np.maximum(look.squares / total, 0.0)
    return Survey(
        look.n_samples, look.whole, look.dense, look.classes, look.weights, look.center, squares,
        look.features, look.targets, look.products,
    )  # fmt: skip


def _joined(one: _Look | None, other: _Look | None) -> _Look | None:
    """Return what two lots of rows show, None if both have none."""
    if one is None or other is None:
        return other if one is None else one
    return one.plus(other)


def _all_classes(one: Array, other: Array) -> Array:
    """Return the classes of both, if they are of one kind."""
    if (one.dtype.kind in "biuf") == (other.dtype.kind in "biuf"):
        try:
            return np.union1d(one, other)
        except TypeError:
            pass
    shown = [*one[:3].tolist(), *other[:3].tolist()]
    raise TypeError(
        f"y holds labels that cannot stand side by side: {listed(dict.fromkeys(shown))}"
    )


def _look(block: Block, reader: Reader, numbers: bool) -> _Look | None:
    if not len_of(block.X):
        return None
    Z, mask = reader.read(block.X)
    weight = weights_of(block)
    classes, targets, products = None, None, None
    if numbers:
        Y = numbers_of(block)
        largest = float(np.abs(Y).max(initial=0.0))
        if largest > LARGEST:
            raise ValueError(f"y goes up to {largest:.3g}, whose squares overflow; rescale y")
        weights, targets = weight.sum()[None], weight @ Y
        shares = weight[:, None] * np.hstack([np.ones((len(Y), 1)), Y])
    else:
        classes, codes = np.unique(labels_of(block), return_inverse=True)
        weights = np.bincount(codes, weight, len(classes))
        shares = weight[:, None] * (codes[:, None] == np.arange(len(classes)))
    center, squares, features = _sums(Z, weight, shares)
    if not np.isfinite(squares).all():
        first = int(np.flatnonzero(~np.isfinite(squares))[0])
        name = list(reader.slices)[int(np.searchsorted(reader.places, first, side="right")) - 1]
        raise ValueError(f"the squares of the features of {name!r} overflow; rescale them")
    if numbers:
        features, products = features[:, :1], features[:, 1:]
    return _Look(
        len(weight), bool(mask.all()), not sparse.issparse(Z), int((~mask.any(axis=0)).sum()),
        classes, weights, center, squares, features, targets, products,
    )  # fmt: skip


def _sums(Z: Any, weight: Array, shares: Array) -> tuple[Array, Array, Array]:
    """Return a center of the features, their squares about it by weight, and their products."""
    center, width = np.zeros(Z.shape[1]), Z.shape[1]
    squares, sums = np.zeros(width), np.zeros((width, shares.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        if not sparse.issparse(Z):
            center = Z.mean(axis=0)
        for rows in pieces(Z):
            part = Z[rows]
            if sparse.issparse(Z):
                squares += part.multiply(part).T @ weight[rows]
            else:
                part = part - center
                squares += weight[rows] @ np.square(part)
            sums += part.T @ shares[rows]
        lengths = squares + weight.sum() * center**2
    return center, np.where(np.isfinite(lengths), squares, np.inf), sums


def _by_block(by_feature: Array, places: Array) -> Array:
    """Return the sum over the features of each block."""
    return np.add.reduceat(np.append(by_feature, 0.0), places[:-1])


def len_of(table: Any) -> int:
    """Return the number of rows."""
    return int(table.shape[0])


def weights_of(block: Block) -> Array:
    """Return the weight of each row of a block."""
    if block.weight is None:
        return np.ones(len_of(block.X))
    weight = np.asarray(block.weight, dtype=np.float64)
    return weight if not weight.any() else sample_weights(weight, block.X)  # type: ignore[return-value]


def labels_of(block: Block) -> Array:
    """Return the class labels."""
    y = block.y
    if y is None or len(y) > FEW or pd.isna(y).any():
        return check_class_target(y)
    # Twice, or few rows of many classes were taken for a regression problem, with a warning.
    return check_class_target(np.repeat(y, 2, axis=0))[::2]


def numbers_of(block: Block) -> Array:
    """Return the numbers to be learnt, of shape (n_rows, n_outputs)."""
    values = np.asarray(block.y)
    if len(values):  # a partition may be empty
        values = check_numeric_target(block.y)
    return (values if values.ndim > 1 else values[:, None]).astype(np.float64, copy=False)


@dataclass(frozen=True)
class _Task:
    """What a worker needs of the problem."""

    reader: Reader
    loss: str
    classes: Any
    costs: Any  # shape: (n_classes,), what each class multiplies the cost by
    center: Any  # shape: (n_features,), what is taken out of the features, or None

    def open(self, block: Block) -> tuple[Any, Array, Array]:
        """Return features, targets and costs."""
        Z, _ = self.reader.read(block.X)
        if self.center is not None:
            Z = Z - self.center
        c = weights_of(block)
        if self.classes is None:
            return Z, numbers_of(block), c
        codes = np.searchsorted(self.classes, np.asarray(block.y).ravel())
        many = range(len(self.classes)) if len(self.classes) > 2 else [1]
        negative = LOSSES[self.loss].negative
        T = np.column_stack([np.where(codes == k, 1.0, negative) for k in many])
        return Z, T, c * self.costs[codes]


class BlockedRows:
    """Rows in blocks, with features that are multiplied by a scale of their block.

    What lies far from 0 is taken about its mean: an intercept makes up for it.
    """

    def __init__(
        self,
        blocks: RowBlocks,
        reader: Reader,
        loss: str,
        scales: Array,
        found: Survey,
        costs: Any,
        center: Any,
    ) -> None:
        self.blocks, self.loss, self.places = blocks, loss, reader.places
        self.by_feature = np.repeat(scales, np.diff(self.places))
        known = replace(reader, finite=True, whole=found.whole)
        self.task = _Task(known, loss, found.classes, costs, center)
        self.found = found
        self.every = max(1, found.n_samples // max(1, ENOUGH * reader.width))

    def moments(self) -> Moments:
        """Return the sums that depend on no machine."""
        task = self.task
        raw = self.found.moments(task.costs, LOSSES[self.loss].negative, task.center)
        s = self.by_feature
        return raw._replace(features=s * raw.features, products=s[:, None] * raw.products)

    def terms(self, W: Array, b: Array) -> LinearTerms:
        """Return the sums at a machine: a pass over the blocks."""
        s = self.by_feature[:, None]
        raw = LinearTerms(*self.blocks.sum(_terms, self.task, s * W, b))
        return raw._replace(gradient=s * raw.gradient)

    def grams(self, W: Array, b: Array, intercept: bool, exact: bool) -> Array:
        """Return the second derivatives of each output at a machine."""
        s = np.append(self.by_feature, [1.0] * intercept)
        every = 1 if exact else self.every
        (raw,) = self.blocks.sum(
            _grams, self.task, s[: len(W), None] * W, b, intercept, exact, every
        )
        return raw * s * (s[:, None] if raw.ndim == 3 else s)


def _terms(block: Block, task: _Task, W: Array, b: Array) -> LinearTerms:
    return terms_of(task.loss, *task.open(block), W, b)


def _grams(
    block: Block, task: _Task, W: Array, b: Array, intercept: bool, exact: bool, every: int
) -> tuple[Array]:
    share = 1.0
    if every > 1:
        chosen = slice(None, None, every)
        values = (None if own is None else own[chosen] for own in (block.y, block.weight))
        rows = block.X.iloc[chosen] if hasattr(block.X, "iloc") else block.X[chosen]
        share = len_of(block.X) / max(1, len_of(rows))
        block = Block(rows, *values)
    Z, T, c = task.open(block)
    return (grams_of(task.loss, Z, T, share * c, W, b, intercept, apart=exact),)


def side_by_side(widths: Sequence[int], names: Sequence[str]) -> dict[str, slice]:
    """Return where blocks of these widths stand."""
    ends = np.cumsum([0, *widths]).tolist()
    return {name: slice(a, b) for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
