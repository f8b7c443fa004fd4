"""What a comparison found."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from .._validation import listed
from ._wording import decimals, gain_verdict, in_text, lines_of, plain

LEGEND = """\
The first rows are the answer: chosen inside the training folds, or named beforehand. The others
are to explore; the best of many looks better than it is. score is the mean {} over
splits, spread its standard deviation, ece the calibration error, gain the score less that of the
first row, with its interval."""

# What is answered without a look at any modality.
BLIND = {
    "classification": "the most frequent class",
    "regression": "the mean of the training rows",
}


@dataclass(frozen=True, eq=False, repr=False)
class FusionComparison:
    """What :func:`compare_fusion` found.

    Parameters
    ----------
    table : DataFrame
        A row for each strategy: mean score, spread (standard deviation over the splits), log
        loss and expected calibration error (NaN without probabilities; for numbers rmse instead),
        fit time in seconds, gain over the best single modality with its 95 % interval, and
        whether the row is exploratory. The first two rows are those that the verdict speaks of:
        "single (chosen)", and "fusion (chosen)" or "NAME (named)" for a strategy named
        beforehand.
    fold_scores : DataFrame of shape (n_splits, n_strategies)
    choices : DataFrame of shape (n_splits, 2)
        The single modality and the fusion that were chosen inside each training set.
    task, scoring : str
    named : str or None
        The strategy that was named beforehand.
    baseline : float
        The mean score, by the same scorer on the same splits, of answers without any modality:
        the class frequencies of the training rows, of which the most frequent class is the label,
        for numbers their mean. NaN where the scorer has no score for them.
    n_rows : int
    modalities : dict of str to int
        The number of columns of each.
    columns : DataFrame
        A row for each column of each modality: ``modality``, ``column``, ``kind`` (how it is read:
        "number", "category", "text" or "sequence") and ``empty``, the share of empty cells in all
        rows. A strategy of one's own reads X as it is.
    classes : list
        The labels in sorted order; none for numbers.
    per_class : DataFrame
        By strategy and class ``precision`` (NaN for a class that is never predicted), ``recall``
        (NaN for one that no test row has), ``f1`` and ``support``; empty for numbers.
    calibration : DataFrame
        By ``strategy`` and bin what was ``predicted``, what was ``observed``, and the ``count``
        of rows. For classes: mean confidence and the share that is right, in ten bins of equal
        width of the highest probability, as in
        :func:`mkfusion.evaluation.expected_calibration_error`; no rows without probabilities. For
        numbers: mean prediction and mean target, in ten bins of equally many predictions. Empty
        bins are left out.
    agreement : DataFrame of shape (n_modalities, n_modalities)
        For classes the share of the rows of which two modalities' models say the same, for
        numbers the correlation of their errors, over the rows that have both; NaN without any.
    availability : DataFrame
        The patterns of presence in X, the most frequent first: for each modality whether it is
        there, and in the last column the number of rows.
    estimators : dict of str to estimator
        What was tried, unfitted, by its row; :meth:`estimator` has copies.

    Attributes
    ----------
    gain : float
        Mean score of the chosen fusion less that of the chosen single modality.
    interval : tuple of float
        The 95 % interval of the gain; NaN for a single split.
    verdict : str
        A plain sentence.
    baseline_sentence : str
        A plain sentence on what no modality at all is worth, against which scores are read.
    fusion, single : str
        The rows of the fusion and of the single modality that are chosen as inside each training
        set, but by the scores of all splits; a fusion that was named beforehand is that one.

    Notes
    -----
    The tables of the test rows hold all splits: a row that is tested twice counts twice.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> list(found.table.index)
    ['single (chosen)', 'fusion (chosen)', 'single:zer', 'single:mor', 'early']
    >>> found.baseline_sentence
    'Without any modality, the most frequent class always, the score is 0.1000.'
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame
    choices: pd.DataFrame
    task: str
    scoring: str
    named: str | None
    baseline: float
    n_rows: int
    modalities: dict[str, int]
    columns: pd.DataFrame
    classes: list[Any]
    per_class: pd.DataFrame
    calibration: pd.DataFrame
    agreement: pd.DataFrame
    availability: pd.DataFrame
    estimators: dict[str, Any]

    @property
    def gain(self) -> float:
        """Mean score of the chosen fusion less that of the chosen single modality."""
        return float(self.table["gain"].iloc[1])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the gain; NaN for a single split."""
        return self.table["gain_low"].iloc[1], self.table["gain_high"].iloc[1]

    @property
    def verdict(self) -> str:
        """A plain sentence that says whether fusion pays."""
        if len(self.modalities) == 1:
            return "There is one modality, so there is nothing to fuse."
        single, fusion = (_often(self.choices[kind]) for kind in ("single", "fusion"))
        fusion = f"{self.named}, named beforehand" if self.named else fusion
        return gain_verdict(f"it ({fusion})", single, self.gain, self.interval, self.scoring)

    @property
    def baseline_sentence(self) -> str:
        """A plain sentence on what no modality at all is worth."""
        text = f"Without any modality, {BLIND[self.task]} always, "
        if np.isnan(self.baseline):
            return f"{text}there is no score."
        return f"{text}the score is {plain(self.baseline, decimals([self.baseline]))}."

    @property
    def single(self) -> str:
        """The row of the single modality that is chosen by the scores of all splits."""
        return self._best([f"single:{name}" for name in self.modalities])

    @property
    def fusion(self) -> str:
        """The row of the fusion that is chosen by the scores of all splits, or named before."""
        fusions = [*self.estimators][len(self.modalities) :]
        return self.named or (self._best(fusions) if fusions else self.single)

    def _best(self, names: list[str]) -> str:
        part = self.table.loc[names]
        loss = part["log_loss" if self.task == "classification" else "rmse"]
        best = np.isclose(part["score"], part["score"].max(), rtol=1e-12, atol=0)
        return loss[best].fillna(np.inf).idxmin()

    def estimator(self, row: str | None = None) -> Any:
        """Return the unfitted estimator of a row of the table, to fit on all samples.

        It has the models, encoders, rule and inner folds that were compared, and selects the same
        columns, by their names where X has names. Fit it on X as it was compared, without a
        column that names groups. A rule that is learnt keeps groups together: those of an index
        level it finds by itself, others are handed to it, ``fit(X, y, groups=groups)``.

        Parameters
        ----------
        row : str, default=None
            A row of the table. None is :attr:`fusion`: the fusion named beforehand; else that of
            highest mean score in the table, of equal ones that of lowest loss, as it was chosen
            inside each training set. What the table says of "fusion (chosen)" is what this way to
            choose is worth; each split may have chosen another. "fusion (chosen)" is the same,
            and "single (chosen)" is :attr:`single`.

        Returns
        -------
        estimator : estimator

        Raises
        ------
        ValueError
            If the table has no such row.

        Notes
        -----
        One's own model without probabilities is calibrated on folds of its own where it was
        compared, and by the estimator of a rule that is learnt on the folds of the rule.

        Examples
        --------
        >>> from mkfusion import compare_fusion
        >>> from mkfusion.datasets import load_multiple_features
        >>> X, y = load_multiple_features(return_X_y=True)
        >>> X, y = X[::10].filter(regex="mor|zer"), y[::10]
        >>> found = compare_fusion(X, y, strategies=["early", "late:mean"])
        >>> found.fusion
        'early'
        >>> model = found.estimator().fit(X, y)
        >>> fusion = found.estimator("late:mean").fit(X, y)
        >>> list(fusion.named_estimators_)
        ['zer', 'mor']
        """
        chosen, fused = self.table.index[:2]
        row = {None: self.fusion, chosen: self.single, fused: self.fusion}.get(row, row)
        if row not in self.estimators:
            raise ValueError(
                f"the table has no row {row!r}; its rows are {listed(self.table.index, 40)}"
            )
        return clone(self.estimators[row])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the estimators as plain lists and numbers, ready for JSON.

        NaN is None. Labels that name an entry, and names of columns, become text.
        """
        found = vars(self) | {"gain": self.gain, "verdict": self.verdict}
        del found["estimators"]
        found["interval"] = [None if np.isnan(bound) else bound for bound in self.interval]
        found["baseline"] = None if np.isnan(self.baseline) else self.baseline
        found["columns"] = self.columns.assign(column=self.columns["column"].map(str))
        for name in ("fold_scores", "choices", "calibration", "columns"):
            found[name] = _without_nan(found[name]).to_dict("records")
        for name in ("table", "agreement"):
            found[name] = _without_nan(found[name]).to_dict("index")
        found["per_class"] = {
            strategy: dict(zip(map(str, self.classes), part.to_dict("records"), strict=True))
            for strategy, part in _without_nan(self.per_class).groupby(level=0, sort=False)
        }
        found["availability"] = [
            {"present": dict(zip(self.modalities, present, strict=True)), "count": count}
            for *present, count in self.availability.astype(object).to_numpy().tolist()
        ]
        return found

    def __repr__(self) -> str:
        table = self.table.rename(index=printable)
        answers = 2 + int((~table["exploratory"]).sum())  # below two lines of names
        lines = lines_of(table.drop(columns="exploratory")).splitlines()
        lines.insert(answers, "")
        legend = LEGEND.format(printable(self.scoring))
        said = [legend, "", self.baseline_sentence, "", printable(self.verdict)]
        return "\n".join([*lines, "", *said])

    def _repr_html_(self) -> str:
        others = {
            "What was chosen inside each training set": self.choices,
            "Scores by class": self.per_class,
            "Calibration": self.calibration,
            "Agreement of the modalities' models": self.agreement,
            "Who is missing where": self.availability,
            "Columns": self.columns,
        }
        folded = (
            f"<details><summary>{title}</summary>{_as_html(frame)}</details>"
            for title, frame in others.items()
            if len(frame)
        )
        said = f"<p>{escape(self.verdict)}</p><p>{self.baseline_sentence}</p>"
        return f"{said}{_as_html(self.table)}{''.join(folded)}"


def _as_html(frame: pd.DataFrame) -> str:
    return in_text(frame).to_html(max_rows=100)


def _without_nan(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), None)


def _often(picks: pd.Series) -> str:
    counts = picks.str.removeprefix("single:").value_counts()
    often = f"{counts.index[0]}, chosen in {counts.iloc[0]} of {len(picks)} splits"
    return often if 2 * counts.iloc[0] > len(picks) else f"chosen anew in each split: {often}"


def printable(text: str) -> str:
    """Return text in one line, what a terminal would obey written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
