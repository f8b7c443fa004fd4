"""What taggers by conditional random fields have in common: penalties, windows, scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from .._contributions import ModalityContributions
from .._parallel import thread_count
from .._selectors import as_list
from .._validation import check_count, check_not_negative, check_weight_vector, listed
from ..chains._crf_design import Design, chunks, scores
from ..chains._crf_objective import Layout, Potentials
from ..chains._crf_optimum import Penalties
from ._steps import Steps
from ._tagger import BaseTagger

__all__ = ["BaseCRFTagger"]

Array = np.ndarray

_LARGEST = 1e150  # squares of greater numbers overflow


class BaseCRFTagger(BaseTagger):
    """A tagger whose chain is linear in windows of the features."""

    missing_modality = "skips"  # nothing is known of how x is distributed, to sum over
    l2: Any
    l1: float
    l2_transition: float | None
    context: Any
    forbidden: Any
    fit_intercept: bool
    tol: float
    max_iter: int
    _layout: Layout
    _potentials_found: Potentials

    @property
    def _label_of_state(self) -> Array:
        return self._layout.labels

    def _potentials(self, steps: Steps) -> tuple[Array, Array, Array]:
        found, layout = self._potentials_found, self._layout
        with np.errstate(over="ignore", invalid="ignore"):
            unary = found.unary(self._design(steps), layout)
        if not np.isfinite(unary).all():
            raise ValueError(
                f"the scores of {type(self).__name__} overflow: X holds values far beyond those "
                f"of the fit (up to {_largest(steps.blocks)})"
            )
        _, transition = found.on_chain(layout)
        return np.zeros(len(layout.labels)), transition, unary

    def _design(self, steps: Steps) -> Design:
        return Design(tuple(steps.blocks.values()), self._contexts, steps.offsets)

    def _read_options(self, steps: Steps) -> None:
        """Check the parameters that all have, and keep what windows are made of."""
        names = list(steps.blocks)
        check_not_negative("tol", self.tol)
        check_count("max_iter", self.max_iter)
        self._contexts = _contexts(self.context, names)
        for name, block in steps.blocks.items():
            if np.issubdtype(getattr(block, "dtype", object), np.floating):
                _refuse_huge(name, block, as_list(self._columns[name]))

    def _penalties(self, names: list[str], widths: tuple[int, ...]) -> tuple[list[Array], float]:
        """Return the L2 penalty of each modality's columns, and of transitions."""
        by_modality = isinstance(self.l2, Mapping)
        if by_modality:
            l2 = check_weight_vector("l2", self.l2, names).tolist()
        else:
            l2 = [check_not_negative("l2", self.l2)] * len(names)
        if self.l2_transition is not None:
            of_transitions = check_not_negative("l2_transition", self.l2_transition)
        else:
            of_transitions = 1.0 if by_modality else l2[0]
        return [np.full(d, own) for own, d in zip(l2, widths, strict=True)], of_transitions

    def _view_penalties(self, design: Design, names: list[str], layout: Layout) -> Penalties:
        columns, of_transitions = self._penalties(names, design.widths)
        views = [np.concatenate([columns[m] for m in which]) for which in layout.views]
        return Penalties(views, of_transitions, check_not_negative("l1", self.l1))

    def _no_ways(self, steps: Steps, y: Array) -> Array | None:
        """Return which transitions between labels are forbidden, and refuse y that has one."""
        if self.forbidden is None:
            return None
        classes = self.classes_.tolist()
        found = np.zeros((len(classes), len(classes)), dtype=bool)
        if not isinstance(self.forbidden, Iterable) or isinstance(self.forbidden, str):
            raise ValueError(f"forbidden must be pairs of labels, got {self.forbidden!r}")
        for pair in self.forbidden:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"forbidden must hold pairs (from, to) of labels, got {pair!r}")
            unknown = [label for label in pair if label not in classes]
            if unknown:
                raise ValueError(
                    f"forbidden names the labels {listed(unknown)}, and y has {listed(classes)}"
                )
            found[classes.index(pair[0]), classes.index(pair[1])] = True
        follows = np.ones(len(y), dtype=bool)
        follows[steps.offsets[:-1]] = False
        at = np.flatnonzero(follows)
        broken = at[found[y[at - 1], y[at]]]
        if broken.size:
            i = int(np.searchsorted(steps.offsets, broken[0], side="right")) - 1
            a, b = classes[y[broken[0] - 1]], classes[y[broken[0]]]
            raise ValueError(
                f"y goes from {a!r} to {b!r} in sequence {steps.ids[i]!r}, which forbidden rules "
                f"out ({broken.size} such transitions)"
            )
        return found

    def _window_columns(self) -> list[tuple[str, int, Any]]:
        """Return modality, lag and column of each coefficient."""
        found = []
        for name, c in zip(self._columns, self._contexts, strict=True):
            labels = self._column_labels(name)
            found += [(name, lag, label) for lag in range(-c, c + 1) for label in labels]
        return found

    def _column_labels(self, name: str) -> list[Any]:
        columns = as_list(self._columns[name])
        if hasattr(self, "feature_names_in_"):
            return [self.feature_names_in_[j] for j in columns]
        return columns

    def _contributions(self, steps: Steps, potentials: Potentials) -> ModalityContributions:
        """Return the scores of labels by modality, where states are labels."""
        design, coef = self._design(steps), potentials.coefs[0]
        n, k = int(design.offsets[-1]), len(coef)
        parts = np.zeros((n, len(design.blocks), k))
        for sequences, piece in chunks(design):
            a, b = design.offsets[sequences.start], design.offsets[sequences.stop]
            at = 0
            for m, width in enumerate(piece.widths):
                scores(piece, [m], coef[:, at : at + width], parts[a:b, m])
                at += width
        base = np.tile(potentials.intercepts[0], (n, 1))
        parts, decision = steps.restored(parts), base + parts.sum(axis=1)
        return ModalityContributions(
            parts, base, steps.restored(decision), list(steps.blocks), self.classes_, "score"
        )

    @property
    def _n_threads(self) -> int:
        return thread_count(self.n_jobs)

    @contextmanager
    def _progress(self) -> Iterator[Any]:
        with tqdm(
            desc=type(self).__name__, unit="iteration", disable=not self.verbose, leave=False
        ) as bar:

            def show(_: int, objective: float, residual: float) -> None:
                bar.set_postfix(objective=f"{objective:.6g}", residual=f"{residual:.1g}")
                bar.update()

            yield show if self.verbose else None


def _contexts(context: Any, names: list[str]) -> tuple[int, ...]:
    if isinstance(context, Mapping):
        unknown = [name for name in context if name not in names]
        if unknown:
            raise ValueError(
                f"context names {listed(unknown)}, which are no modalities; these are "
                f"{listed(names, 30)}"
            )
        return tuple(check_count("context", context.get(name, 0), 0) for name in names)
    return (check_count("context", context, 0),) * len(names)


def _refuse_huge(name: str, block: Array, columns: list[int]) -> None:
    if max(block.max(initial=0.0), -block.min(initial=0.0)) > _LARGEST:
        largest = np.abs(block).max(axis=0)
        j = int(largest.argmax())
        raise ValueError(
            f"modality {name!r}: column {columns[j]} of X goes up to {largest[j]:.3g}, whose "
            "square overflows; divide the column by a constant"
        )


def _largest(blocks: dict[str, Any]) -> str:
    return f"{max(np.abs(block).max() for block in blocks.values()):.3g}"
