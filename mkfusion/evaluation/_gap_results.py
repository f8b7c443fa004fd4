"""What the gaps between modalities were found to be."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd

from ._result import printable


@dataclass(frozen=True, eq=False, repr=False)
class Finding:
    """A table, and a sentence about it."""

    table: pd.DataFrame

    @property
    def verdict(self) -> str:
        raise NotImplementedError

    def to_frame(self) -> pd.DataFrame:
        """Return the table, as a copy."""
        return self.table.copy()

    def __repr__(self) -> str:
        table = self.table.rename(index=printable)
        return f"{table.to_string(float_format='{:.4f}'.format)}\n\n{printable(self.verdict)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.verdict)}</p>{self.table.to_html(float_format='{:.4f}'.format)}"


def _extremes(table: pd.DataFrame, column: str) -> tuple[str, str, pd.Series] | None:
    """Return the pairs with the largest and the smallest figure, None where there is none."""
    given = table[column].dropna()
    if given.empty:
        return None
    return " and ".join(given.idxmax()), " and ".join(given.idxmin()), given


@dataclass(frozen=True, eq=False, repr=False)
class HeterogeneityGap(Finding):
    """What :func:`heterogeneity_gap` found.

    Parameters
    ----------
    table : DataFrame
        A row for each two modalities: ``linear`` and ``rbf``, 1 - CKA by the biased estimate of
        HSIC, ``linear_unbiased`` and ``rbf_unbiased`` by the unbiased one, which alone do not
        fall with the number of columns and can lie a little above 1; ``mmd2`` and
        ``mmd2_unbiased`` in the shared space; the ``components`` of that space, and ``rows``. NaN
        where a modality is constant or too few rows have both.

    Attributes
    ----------
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.evaluation import heterogeneity_gap
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> X = np.hstack([X, X])
    >>> found = heterogeneity_gap(X, modalities={"one": [0, 1], "same": [2, 3]})
    >>> float(abs(found.table[["linear", "rbf", "mmd2"]].to_numpy()).max().round(9))
    0.0
    """

    @property
    def verdict(self) -> str:
        """A plain sentence that names the modalities that are furthest apart."""
        found = _extremes(self.table, "rbf_unbiased")
        if found is None:
            return "No two modalities can be compared."
        far, near, given = found
        text = f"{far} are furthest apart (1 - CKA {given.max():.3g} of at most about 1)"
        return f"{text}." if len(given) == 1 else f"{text}, {near} closest ({given.min():.3g})."


@dataclass(frozen=True, eq=False, repr=False)
class SemanticGap(Finding):
    """What :func:`semantic_gap` found.

    Parameters
    ----------
    table : DataFrame
        A row for each two modalities: ``gap``, 1 - ``map``, the mean average precision of both
        directions; ``chance``, the gap of answers in random order; ``components`` of the shared
        space; ``queries`` that count, and ``rows``.
    alignment : DataFrame
        By modality the alignment of its ``linear`` and of its ``rbf`` kernel with the labels, the
        unbiased CKA: 0 for labels that have nothing to do with it, 1 for a block that is the
        labels.

    Attributes
    ----------
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import semantic_gap
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = semantic_gap(X[::8].filter(regex="fou|zer"), y[::8])
    >>> bool(found.table["gap"].iloc[0] < found.table["chance"].iloc[0])
    True
    """

    alignment: pd.DataFrame

    @property
    def verdict(self) -> str:
        """A plain sentence that says where the labels are found again."""
        found = _extremes(self.table, "gap")
        if found is None:
            return "No two modalities can be compared."
        _, near, given = found
        chance = self.table.loc[given.idxmin(), "chance"]
        best = self.alignment["rbf"].idxmax() if self.alignment["rbf"].notna().any() else None
        text = f"Labels are found again best between {near}: a gap of {given.min():.3g}, "
        text += f"where chance has {chance:.3g}"
        if best is None:
            return f"{text}."
        share = self.alignment["rbf"].max()
        return f"{text}. {best} is aligned with the labels most ({share:.3g} of at most 1)."


@dataclass(frozen=True, eq=False, repr=False)
class ModalityRedundancy(Finding):
    """What :func:`modality_redundancy` found.

    Parameters
    ----------
    table : DataFrame
        A row for each two modalities: ``held_out``, the first canonical correlation on rows that
        the directions were not learnt from; ``in_sample``, on those that they were, which is
        high for wide blocks of noise; ``shared``, the mean of the squared held-out correlations;
        the ``components``, the ``shrinkage`` of both blocks, and ``rows``.
    correlations : DataFrame
        The held-out correlations of all components, a row for each two modalities.
    gains : DataFrame
        For each modality and each other that is ``given``: the score of the other alone, of both,
        the conditional ``gain`` with its 95 % interval, ``rows``. Empty without a target.
    scoring : str

    Attributes
    ----------
    verdict : str
        A plain sentence.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.evaluation import modality_redundancy
    >>> X = load_multiple_features(return_X_y=True)[0]
    >>> found = modality_redundancy(X[::8].filter(regex="fou|zer"))
    >>> bool(found.table["held_out"].iloc[0] > 0.5)
    True
    """

    correlations: pd.DataFrame
    gains: pd.DataFrame
    scoring: str

    @property
    def verdict(self) -> str:
        """A plain sentence that names the modalities that repeat each other most."""
        found = _extremes(self.table, "held_out")
        if found is None:
            return "No two modalities can be compared."
        most, _, given = found
        text = f"{most} repeat each other most (held-out canonical correlation {given.max():.3g})."
        if not len(self.gains):
            return text
        sure = self.gains[self.gains["low"] > 0]
        if sure.empty:
            return f"{text} No modality adds to another for sure."
        (name, given_name), gain = sure["gain"].idxmax(), sure["gain"].max()
        return f"{text} {name} adds most to {given_name}: {gain:+.3g} in {self.scoring}."
