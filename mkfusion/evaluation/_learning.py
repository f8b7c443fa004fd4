"""The rows that are learnt from what the experts say out of fold."""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from .._parallel import single_blas_thread
from ..rules import learn_regression_rule, learn_rule
from ._answers import Said
from ._strategies import Combination
from ._trial import Split, Trial, Voices, concerning


class Learnt(NamedTuple):
    """What the rows that are learnt give on a split, and on those inside its training set."""

    figures: np.ndarray  # shape: (n_learnt, 3)
    answers: list[Any]
    inside: np.ndarray  # shape: (n_inner, n_learnt, 3), NaN where too little is left to learn from
    warnings: list[tuple[str, type[Warning]]]


class _Lesson(NamedTuple):
    """What there is to learn from: the experts' answers to rows that they were not fitted on."""

    trial: Trial
    values: np.ndarray  # shape: (n_experts, n_rows, n_classes)
    taught: np.ndarray  # shape: (n_experts, n_rows), whether an expert knows the row's label
    rows: np.ndarray  # shape: (n_rows,), a row of the table for each answer
    labels: Any  # of the training set; None of numbers

    def of(self, who: np.ndarray) -> _Lesson:
        """Return what some of the experts say, as late fusion takes it.

        A row whose label one of them could not know in its fold would teach that it errs.
        """
        kept = (self.taught[who] | np.isnan(self.values[who, :, 0])).all(axis=0)
        lesson = self._replace(values=self.values[who], taught=self.taught[who])
        return lesson._only(kept)

    def without(self, rows: np.ndarray) -> _Lesson:
        """Return the answers to other rows."""
        return self._only(~np.isin(self.rows, rows))

    def _only(self, kept: np.ndarray) -> _Lesson:
        values, taught = self.values[:, kept], self.taught[:, kept]
        return self._replace(values=values, taught=taught, rows=self.rows[kept])

    def teaches(self) -> bool:
        """Tell whether the experts speak of what can be told apart."""
        heard = ~np.isnan(self.values[:, :, 0]).all(axis=0)
        return self.trial.teaches(self.rows[heard])

    def tell(self, how: Combination, voices: Voices, prior: Any) -> tuple[Said, float]:
        """Return what a combination, once it is learnt, makes of what the experts say."""
        y = self.trial.y[self.rows]
        # Drawn as the estimators of late fusion do.
        seed = int(check_random_state(self.trial.seed).randint(np.iinfo(np.int32).max))
        options = {"weights": how.weights, "random_state": seed, **how.params}
        start = time.perf_counter()
        if self.labels is None:
            learnt = learn_regression_rule(self.values, y, how.rule, **options)
        else:
            codes = np.searchsorted(self.labels, y)
            priors = {"priors": prior, "expert_priors": voices.priors}
            learnt = learn_rule(self.values, codes, how.rule, **priors, **options)
        seconds = time.perf_counter() - start
        return self.trial.answer(how, voices, self.labels, prior, learnt), seconds


def _lesson(trial: Trial, labels: Any, inner: list[Split], inside: list[Voices]) -> _Lesson:
    """Put the answers of the inner splits together."""
    values = np.concatenate([said.values for said in inside], axis=1)
    rows = np.concatenate([test for _, test in inner])
    if labels is None:
        return _Lesson(trial, values, np.ones(values.shape[:2], bool), rows, labels)
    known = [
        said.priors[:, np.searchsorted(labels, trial.y[test])] > 0
        for said, (_, test) in zip(inside, inner, strict=True)
    ]
    return _Lesson(trial, values, np.concatenate(known, axis=1), rows, labels)


def learn(
    trial: Trial, split: Split, voices: Voices, inner: list[Split], inside: list[Voices]
) -> Learnt:
    """Learn each row on the test rows of the splits inside a training set.

    These answers are out of fold of the whole training set, and what is learnt from them is
    asked on the outer test rows. For the choice inside, it is learnt on the answers to the test
    rows of the other inner splits, and asked on those of one.
    """
    train, test = split
    labels = trial.own(train)
    pairs = zip(inside, inner, strict=True)
    inside = [said.spread(trial.own(rows), labels) for said, (rows, _) in pairs]
    everything = _lesson(trial, labels, inner, inside)
    fits = voices.seconds + sum(said.seconds for said in inside)
    figures, answers, choices = [], [], []
    with single_blas_thread, warnings.catch_warnings(record=True) as caught:
        for name, how, asked in trial.learnt.values():
            # As in a late fusion, a modality that cannot be fitted is left out.
            who = np.flatnonzero(voices.taught[asked])
            lesson, heard = everything.of(who), [said.of(who) for said in inside]
            with concerning(name):
                if not lesson.teaches():
                    raise ValueError(
                        f"{len(train)} training rows are too few to learn from out of fold; "
                        "take other strategies or other folds inside (inner_cv)"
                    )
                said, seconds = lesson.tell(how, voices.of(who), trial.prior(train, labels))
                figures.append((*trial.judge(said, test), fits[who].sum() + seconds))
                answers.append(trial.keep(said, test))
                choices.append(_cross_fit(lesson, how, inner, heard))
    texts = [(str(entry.message), entry.category) for entry in caught]
    return Learnt(np.array(figures), answers, np.array(choices).transpose(1, 0, 2), texts)


def _cross_fit(
    lesson: _Lesson, how: Combination, inner: list[Split], inside: list[Voices]
) -> list[Any]:
    """Return score and loss on each inner split of what was learnt on the others."""
    trial, found = lesson.trial, list[Any]()
    for (train, test), voices in zip(inner, inside, strict=True):
        others = lesson.without(test)
        if not others.teaches():
            found.append((np.nan, np.nan, np.nan))
            continue
        said, _ = others.tell(how, voices, trial.prior(train, lesson.labels))
        found.append((*trial.judge(said, test), np.nan))
    return found
