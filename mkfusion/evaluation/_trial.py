"""One table, its folds, and what every strategy answers on them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone

from .._parallel import single_blas_thread
from .._validation import listed
from ..rules import fuse, fuse_predictions
from ._answers import Answers, Said, keep, loss

Split = tuple[np.ndarray, np.ndarray]


class Asked(NamedTuple):
    """What the rows of the table give on a split."""

    figures: np.ndarray  # shape: (n_rows, 3), score, loss and seconds
    answers: list[Answers]  # by row; empty where they are not to be kept
    spoke: np.ndarray  # shape: (n_modalities, n_test), who answered what
    warnings: list[tuple[str, type[Warning]]]


@contextmanager
def _concerning(name: str) -> Iterator[None]:
    """Note on an error which strategy it was raised by."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by the strategy {name!r}")
        raise


@dataclass(frozen=True)
class Trial:
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

    def ask(self, train: np.ndarray, test: np.ndarray, keeping: bool) -> Asked:
        """Return what every row of the table gives on a split, its answers only if kept."""
        figures, answers = [], []
        with single_blas_thread, warnings.catch_warnings(record=True) as caught:
            # Said once already, of the whole table.
            warnings.filterwarnings("ignore", message="(?s).* belong to no modality and are not")
            experts = [self._ask_expert(j, train, test) for j in range(len(self.experts))]
            singles = [(name, "mean", slice(j, j + 1)) for j, name in enumerate(self.experts)]
            fusions = [(name, fusion, slice(None)) for name, fusion in self.fusions.items()]
            for name, fusion, who in [*singles, *fusions]:
                with _concerning(name):
                    said, seconds = self._ask(fusion, experts[who], train, test)
                    figures.append((*self._judge(said, test), seconds))
                    if keeping:
                        rows = self.X.iloc[test]
                        answers.append(keep(said, rows, self.y[test], self.classes))
        spoke = np.array([~np.isnan(values).any(axis=1) for values, *_ in experts])
        texts = [(str(entry.message), entry.category) for entry in caught]
        return Asked(np.array(figures), answers, spoke, texts)

    def _judge(self, said: Any, test: np.ndarray) -> tuple[float, float]:
        """Return score and loss of what was said of the test rows."""
        score = float(self.scorer(said, self.X.iloc[test], self.y[test]))
        if not np.isfinite(score):
            raise ValueError(f"{len(test)} test rows score {score}: take larger folds")
        return score, loss(said, self.y[test])

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
            return Said(fused[:, 0]), seconds.sum()
        fused = fuse(values, fusion, priors=counts / counts.sum(), expert_priors=priors)
        return self._spread(own[fused.argmax(axis=1)], fused, own), seconds.sum()

    def _ask_estimator(self, estimator: Any, train: Any, test: Any) -> tuple[Any, float]:
        estimator, seconds = self._fit(estimator, train)
        if self.classes is not None and not hasattr(estimator, "predict_proba"):
            return estimator, seconds  # the scorer may want its decision_function
        answers = np.asarray(estimator.predict(self.X.iloc[test])).reshape(len(test))
        if self.classes is None:
            return Said(answers), seconds
        values = estimator.predict_proba(self.X.iloc[test])
        return self._spread(answers, values, estimator.classes_), seconds

    def _spread(self, labels: np.ndarray, values: np.ndarray, own: np.ndarray) -> Said:
        """Return posteriors with 0 for the classes that a training set lacks."""
        spread = np.zeros((len(values), len(self.classes)))
        spread[:, np.searchsorted(self.classes, own)] = values
        return Said(labels, spread, self.classes)
