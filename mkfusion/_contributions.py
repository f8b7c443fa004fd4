"""What each modality added to each decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

__all__ = ["ModalityContributions"]


class ModalityContributions(NamedTuple):
    """What each modality added to each decision.

    ``base + contributions.sum(axis=1)`` is ``decision``.

    Parameters
    ----------
    contributions : ndarray of shape (n_samples, n_modalities, n_classes)
        0 where a modality is absent.
    base : ndarray of shape (n_samples, n_classes)
        The part of no modality. For the rules that work in logarithms it holds the normaliser,
        which depends on the sample and moves all classes alike: alone for ``log_pool``,
        ``product`` and ``decision_template``, beside log P(c) for ``bayes`` and ``naive_bayes``.
        For ``mean`` and ``weighted`` it is 0, for ``sum`` (1 - R) P(c), for multiple kernel
        learning the intercept. A sample without modalities has its whole decision here.
    decision : ndarray of shape (n_samples, n_classes)
        The fused decision: logarithms of probabilities for the rules that work in logarithms
        (``bayes``, ``product``, ``log_pool``, ``naive_bayes``, ``decision_template``), else
        probabilities, for a regressor predictions.
    modalities : list of str
    classes : ndarray of shape (n_classes,)
        For a regressor the numbers of its outputs.
    scale : str
        What a decision is: "log probability" for the rules that work in logarithms, "probability"
        for other rules, "prediction" for a regressor, "decision value" for multiple kernel
        learning, "score" for the labels of a conditional random field. Logarithms of
        probabilities are below 0 for every class, so compare classes with one another, not with 0.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = LateFusionClassifier().fit(X[["mor__0", "mor__1", "zer__0", "zer__1"]], y)
    >>> parts = fusion.modality_contributions(X.iloc[:1, :][fusion.feature_names_in_])
    >>> parts.contributions.shape
    (1, 2, 10)
    >>> parts.scale
    'log probability'
    """

    contributions: np.ndarray
    base: np.ndarray
    decision: np.ndarray
    modalities: list[str]
    classes: np.ndarray
    scale: str

    def to_frame(self, sample: int) -> pd.DataFrame:
        """Return one sample's explanation: a row for the base, each modality and the decision."""
        rows = np.vstack([self.base[sample], self.contributions[sample], self.decision[sample]])
        index = pd.Index(["base", *self.modalities, "decision"], name="modality")
        return pd.DataFrame(rows, index=index, columns=list(self.classes))
