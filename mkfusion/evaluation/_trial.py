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
from ..late import LateFusionClassifier
from ..rules import fuse, fuse_predictions
from ._answers import Said, keep, loss
from ._strategies import Combination

Split = tuple[np.ndarray, np.ndarray]

INNER = 3  # folds inside a training set, where nothing else is asked for


class Voices(NamedTuple):
    """What the experts say of the test rows of a split."""

    values: np.ndarray  # shape: (n_experts, n_test, n_classes), NaN where an expert is absent
    priors: np.ndarray  # shape: (n_experts, n_classes)
    taught: np.ndarray  # shape: (n_experts,), who could be fitted
    seconds: np.ndarray  # shape: (n_experts,)

    def of(self, who: Any) -> Voices:
        """Return what some of the experts say."""
        return Voices(*(part[who] for part in self))

    def spread(self, own: Any, labels: Any) -> Voices:
        """Return the same with 0 for the labels that are not their own."""
        if labels is None or len(own) == len(labels):
            return self
        values = np.where(np.isnan(self.values[:, :, :1]), np.nan, np.zeros(len(labels)))
        priors = np.zeros((len(self.priors), len(labels)))
        places = np.searchsorted(labels, own)
        values[:, :, places], priors[:, places] = self.values, self.priors
        return self._replace(values=values, priors=priors)


class Asked(NamedTuple):
    """What the rows of the table give on a split."""

    figures: np.ndarray  # shape: (n_rows, 3), score, loss and seconds; NaN before it is learnt
    answers: list[Any]  # by row; None before it is learnt, or where it is not to be kept
    spoke: np.ndarray  # shape: (n_modalities, n_test), who answered what
    warnings: list[tuple[str, type[Warning]]]
    voices: Voices | None = None  # only for what is to be learnt from them


@contextmanager
def concerning(name: str) -> Iterator[None]:
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
    fusions: dict[str, Any]  # a combination of the experts or an estimator, by its row
    joint: Any  # the early fused model; None where no combination asks for it
    scorer: Any
    seed: int | None

    def splitter(self, n_splits: int) -> Any:
        """Return what makes so many folds: shuffled, of classes stratified, and by groups."""
        ms = sklearn.model_selection
        kinds = (ms.KFold, ms.GroupKFold, ms.StratifiedKFold, ms.StratifiedGroupKFold)
        kind = kinds[2 * (self.classes is not None) + (self.groups is not None)]
        return kind(n_splits, shuffle=True, random_state=self.seed)

    def inner_splitter(self, train: np.ndarray, cv: Any, inner_cv: Any) -> Any:
        """Return what splits the training rows of a split."""
        if isinstance(inner_cv, Integral):
            return self.splitter(int(inner_cv))
        if inner_cv is not None:
            return inner_cv
        if isinstance(cv, sklearn.model_selection.TimeSeriesSplit):
            return sklearn.model_selection.TimeSeriesSplit(INNER, gap=cv.gap)
        most = INNER if self.groups is None else len(np.unique(self.groups[train]))
        return self.splitter(min(INNER, most))

    def split(self, cv: Any, rows: np.ndarray) -> list[Split]:
        """Return the splits of some of the rows."""
        ms = sklearn.model_selection
        groups = None if self.groups is None else self.groups[rows]
        cv = self.splitter(int(cv)) if isinstance(cv, Integral) else cv
        pairs = ms.check_cv(cv).split(self.X.iloc[rows], self.y[rows], groups)
        return [(rows[np.asarray(train)], rows[np.asarray(test)]) for train, test in pairs]

    def outer(self, cv: Any) -> list[Split]:
        """Return the splits of all rows."""
        if isinstance(cv, Integral) and self.classes is not None and self.groups is None:
            few = self.classes[np.unique(self.y, return_counts=True)[1] < int(cv)].tolist()
            if few:
                numbers = self.classes.dtype.kind in "iuf"
                raise ValueError(
                    f"too few rows per class for {cv} folds: {listed(few)} stand in fewer rows; "
                    "take fewer folds, or leave them out"
                    + ("; if y is a quantity, say task='regression'" if numbers else "")
                )
        if isinstance(cv, Integral) and self.groups is not None:
            self._check_groups(len(np.unique(self.groups)), int(cv))
        splits = self.split(cv, np.arange(len(self.y)))
        sound = (len(b) and self.teaches(a) and not np.isin(b, a).any() for a, b in splits)
        if not splits or not all(sound):
            raise ValueError("a split of cv has no test rows, shares rows or trains on one class")
        return splits

    def _check_groups(self, count: int, folds: int) -> None:
        if count >= folds:
            return
        least = 3 if self.fusions else 2
        remedy = f"take cv={count} (--cv {count} on the command line)"
        if count < least:
            inside = ", so that a training set can be split once more" if self.fusions else ""
            remedy = f"it takes at least {least}{inside}; name finer groups"
        what = "1 group" if count == 1 else f"{count} different groups"
        raise ValueError(f"groups holds {what}, too few for {folds} folds; {remedy}")

    def inner(self, train: np.ndarray, cv: Any, inner_cv: Any) -> list[Split]:
        """Return splits of the training rows of a split."""
        with warnings.catch_warnings(), suppress(ValueError):
            warnings.filterwarnings("ignore", message="The least populated class")
            splits = self.split(self.inner_splitter(train, cv, inner_cv), train)
            if splits := [pair for pair in splits if len(pair[1]) and self.teaches(pair[0])]:
                return splits
        raise ValueError(
            f"too few rows, rows per class or groups: {len(train)} training rows cannot be split "
            f"once more (by {INNER if inner_cv is None else inner_cv}), to choose inside them"
        )

    def teaches(self, rows: np.ndarray) -> bool:
        """Tell whether there is something to learn from some of the rows."""
        return len(np.unique(self.y[rows])) > (self.classes is not None)

    @property
    def rows(self) -> list[tuple[str, Any, slice]]:
        """Return each row of the table: its name, what is tried, and the experts that it asks."""
        some, everyone = slice(len(self.experts)), slice(None)
        mean = Combination("mean")
        singles = [(name, mean, slice(j, j + 1)) for j, name in enumerate(self.experts)]
        joined = (getattr(fusion, "joint", False) for fusion in self.fusions.values())
        asked = [everyone if joint else some for joint in joined]
        return [*singles, *zip(self.fusions, self.fusions.values(), asked, strict=True)]

    @property
    def learnt(self) -> dict[int, tuple[str, Combination, slice]]:
        """Return by place the rows that are learnt from answers out of fold."""
        return {
            place: row
            for place, row in enumerate(self.rows)
            if isinstance(row[1], Combination) and row[1].learnt
        }

    def ask(self, train: np.ndarray, test: np.ndarray, keeping: bool) -> Asked:
        """Return what every row of the table gives on a split, its answers only if kept."""
        rows, learnt = self.rows, self.learnt
        figures, answers = np.full((len(rows), 3), np.nan), [None] * len(rows)
        with single_blas_thread, warnings.catch_warnings(record=True) as caught:
            # Said once already, of the whole table.
            warnings.filterwarnings("ignore", message="(?s).* belong to no modality and are not")
            # A model of one modality of sequences, or of joined ones, has one column.
            warnings.filterwarnings("ignore", message="nothing is fused: all columns belong to")
            # A table of the comparison counts who is missing where.
            for what in ("none of the modalities", "no modality whose kernel has a weight"):
                warnings.filterwarnings("ignore", message=f".* samples have {what}")
            voices, early = self._hear(train, test)
            for place, (name, fusion, who) in enumerate(rows):
                if place in learnt:
                    continue
                with concerning(name):
                    if isinstance(fusion, Combination):
                        said, seconds = self._combine(fusion, voices.of(who), train)
                    elif fusion is self.joint:
                        said, seconds = early
                    else:
                        said, seconds = self._ask_estimator(fusion, train, test)
                    figures[place] = *self.judge(said, test), seconds
                    answers[place] = self.keep(said, test) if keeping else None
        spoke = ~np.isnan(voices.values[: len(self.experts)]).any(axis=2)
        texts = [(str(entry.message), entry.category) for entry in caught]
        return Asked(figures, answers, spoke, texts, voices if learnt else None)

    def judge(self, said: Any, test: np.ndarray) -> tuple[float, float]:
        """Return score and loss of what was said of the test rows."""
        score = float(self.scorer(said, self.X.iloc[test], self.y[test]))
        if not np.isfinite(score):
            raise ValueError(f"{len(test)} test rows score {score}: take larger folds")
        return score, loss(said, self.y[test])

    def keep(self, said: Any, test: np.ndarray) -> Any:
        """Return what is kept of what was said of the test rows."""
        return keep(said, self.X.iloc[test], self.y[test], self.classes)

    def own(self, train: np.ndarray) -> Any:
        """Return the labels of some rows, None of numbers."""
        return None if self.classes is None else np.unique(self.y[train])

    def prior(self, train: np.ndarray, labels: Any) -> Any:
        """Return the share of each label in some rows, the mean of numbers."""
        if labels is None:
            return self.y[train].mean()
        codes = np.searchsorted(labels, self.y[train])
        return np.bincount(codes, minlength=len(labels)) / len(train)

    def baseline(self, splits: list[Split]) -> float:
        """Return the mean score of answers without any modality; NaN where a split has none."""
        with warnings.catch_warnings(), suppress(ValueError):
            warnings.simplefilter("ignore")  # such as of a class that is never said
            scores = [
                self.scorer(self._blind(train, test), self.X.iloc[test], self.y[test])
                for train, test in splits
            ]
            return float(np.mean(scores)) if np.isfinite(scores).all() else np.nan
        return np.nan

    def _blind(self, train: np.ndarray, test: np.ndarray) -> Said:
        """Return what the targets of the training rows alone say of the test rows."""
        labels = self.own(train)
        prior = self.prior(train, labels)
        if labels is None:
            return Said(np.full(len(test), prior))
        often = np.repeat(labels[prior.argmax()], len(test))
        return self._spread(often, np.tile(prior, (len(test), 1)), labels)

    def answer(
        self, how: Combination, voices: Voices, labels: Any, prior: Any, learnt: Any
    ) -> Said:
        """Return what the experts say together."""
        if labels is None:
            fused = fuse_predictions(voices.values, how.rule, weights=learnt, fallback=prior)
            return Said(fused[:, 0])
        priors = {"priors": prior, "expert_priors": voices.priors}
        fused = fuse(voices.values, how.rule, weights=learnt, **priors)
        return self._spread(labels[fused.argmax(axis=1)], fused, labels)

    def _combine(self, how: Combination, voices: Voices, train: np.ndarray) -> tuple[Said, float]:
        labels = self.own(train)
        said = self.answer(how, voices, labels, self.prior(train, labels), None)
        return said, voices.seconds.sum()

    def _hear(self, train: np.ndarray, test: np.ndarray) -> tuple[Voices, Any]:
        """Return what all experts say, and the answers and the cost of the early fused model."""
        pairs = zip(self.experts.values(), self.present, strict=True)
        experts = [self._ask_expert(*pair, train, test) for pair in pairs]
        early = None
        if self.joint is not None:
            with concerning("early"):
                joint, early = self._ask_joint(train, test)
            experts.append(joint)
        return Voices(*map(np.array, zip(*experts, strict=True))), early

    def _fit(self, estimator: Any, train: np.ndarray) -> tuple[Any, float]:
        estimator = clone(estimator)
        start = time.perf_counter()
        estimator.fit(self.X.iloc[train], self.y[train])
        return estimator, time.perf_counter() - start

    def _ask_expert(
        self, expert: Any, present: Any, train: np.ndarray, test: np.ndarray
    ) -> tuple[Any, ...]:
        """Return the voice of a late fusion of one model: NaN where it is absent."""
        if not self.teaches(train[present[train]]):
            return self._silence(train, test)
        values, prior, *_ = self._silence(train, test)
        expert, seconds = self._fit(expert, train)
        rows = present[test]
        if rows.any():
            values[rows] = expert.transform(self.X.iloc[test[rows]])
        return values, getattr(expert, "expert_priors_", [prior])[0], True, seconds

    def _silence(self, train: np.ndarray, test: np.ndarray) -> tuple[Any, ...]:
        """Return the voice of what could not be fitted."""
        width = 1 if self.classes is None else len(np.unique(self.y[train]))
        return np.full((len(test), width), np.nan), np.full(width, 1 / width), False, 0.0

    def _ask_joint(self, train: np.ndarray, test: np.ndarray) -> tuple[Any, ...]:
        """Return the voice of the early fused model, which is silent on rows that have nothing
        and is not taught by them; and the answers and seconds of its row, None without one.
        """
        there = np.asarray(self.present.any(axis=0))
        heard, row = train[there[train]], None
        taught = self.teaches(heard)
        said = self._ask_estimator(self.joint, heard, test) if taught else None
        if any(fusion is self.joint for fusion in self.fusions.values()):
            whole = len(heard) == len(train)
            row = said if whole else self._ask_estimator(self.joint, train, test)
        return self._joint_voice(said, there, train, test), row

    def _joint_voice(
        self, said: Any, there: np.ndarray, train: np.ndarray, test: np.ndarray
    ) -> tuple[Any, ...]:
        if said is None:
            return self._silence(train, test)
        (answers, seconds), labels = said, self.own(train)
        if labels is None:
            values, prior = answers.predictions[:, None], np.ones(1)
        elif isinstance(answers, Said):
            values = answers.probabilities[:, np.searchsorted(self.classes, labels)]
            prior = self.prior(train[there[train]], labels)
        else:  # a late fusion calibrates a model that states no probabilities
            whole = {"joint": list(range(self.X.shape[1]))}
            expert = LateFusionClassifier(modalities=whole, estimator=self.joint)
            return self._ask_expert(expert, there, train, test)
        return np.where(there[test][:, None], values, np.nan), prior, True, seconds

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
