"""The rows that are learnt from what the experts say out of fold."""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import numpy as np

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
    rows: np.ndarray  # shape: (n_rows,), a row of the table for each answer
    labels: Any  # of the training set; None of numbers

    def without(self, rows: np.ndarray) -> _Lesson:
        """Return the answers to other rows."""
        kept = ~np.isin(self.rows, rows)
        return self._replace(values=self.values[:, kept], rows=self.rows[kept])

    def teaches(self, who: Any) -> bool:
        """Tell whether some of the experts speak of what can be told apart."""
        heard = ~np.isnan(self.values[who, :, 0]).all(axis=0)
        return self.trial.teaches(self.rows[heard])

    def tell(self, how: Combination, who: Any, voices: Voices, prior: Any) -> tuple[Said, float]:
        """Return what a combination, once it is learnt, makes of what the experts say."""
        voices, values, y = voices.of(who), self.values[who], self.trial.y[self.rows]
        options = {"weights": how.weights, "random_state": self.trial.seed, **how.params}
        start = time.perf_counter()
        if self.labels is None:
            learnt = learn_regression_rule(values, y, how.rule, **options)
        else:
            codes = np.searchsorted(self.labels, y)
            priors = {"priors": prior, "expert_priors": voices.priors}
            learnt = learn_rule(values, codes, how.rule, **priors, **options)
        seconds = time.perf_counter() - start
        return self.trial.answer(how, voices, self.labels, prior, learnt), seconds


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
    values = np.concatenate([said.values for said in inside], axis=1)
    lesson = _Lesson(trial, values, np.concatenate([rows for _, rows in inner]), labels)
    fits = voices.seconds + sum(said.seconds for said in inside)
    figures, answers, choices = [], [], []
    with single_blas_thread, warnings.catch_warnings(record=True) as caught:
        for name, how, asked in trial.learnt.values():
            # As in a late fusion, a modality that cannot be fitted is left out.
            who = np.flatnonzero(voices.taught[asked])
            with concerning(name):
                if not lesson.teaches(who):
                    raise ValueError(
                        f"{len(train)} training rows are too few to learn from out of fold; "
                        "take other strategies or other folds inside (inner_cv)"
                    )
                said, seconds = lesson.tell(how, who, voices, trial.prior(train, labels))
                figures.append((*trial.judge(said, test), fits[who].sum() + seconds))
                answers.append(trial.keep(said, test))
                choices.append(_cross_fit(lesson, how, who, inner, inside))
    texts = [(str(entry.message), entry.category) for entry in caught]
    return Learnt(np.array(figures), answers, np.array(choices).transpose(1, 0, 2), texts)


def _cross_fit(
    lesson: _Lesson, how: Combination, who: Any, inner: list[Split], inside: list[Voices]
) -> list[Any]:
    """Return score and loss on each inner split of what was learnt on the others."""
    trial, found = lesson.trial, list[Any]()
    for (train, test), voices in zip(inner, inside, strict=True):
        others = lesson.without(test)
        if not others.teaches(who):
            found.append((np.nan, np.nan, np.nan))
            continue
        said, _ = others.tell(how, who, voices, trial.prior(train, lesson.labels))
        found.append((*trial.judge(said, test), np.nan))
    return found
