"""Real data that come with the package, and simulated data whose truth is known.

======================================  ====================================================
:func:`load_multiple_features`          handwritten digits, six modalities of the same image
:func:`load_watch`                      smartwatch recordings of exercises, two sensors
:func:`make_multimodal_classification`  classes, seen redundantly, uniquely, synergistically
:func:`make_multimodal_regression`      several measurements of one number
:func:`make_multimodal_sequences`       one hidden Markov chain, seen by several modalities
:func:`simulate_missing`                loss of whole modalities in given data
======================================  ====================================================
"""

from ._loaders import load_multiple_features, load_watch
from ._missing import simulate_missing
from ._simulated_classification import make_multimodal_classification
from ._simulated_regression import make_multimodal_regression
from ._simulated_sequences import make_multimodal_sequences

__all__ = [
    "load_multiple_features",
    "load_watch",
    "make_multimodal_classification",
    "make_multimodal_regression",
    "make_multimodal_sequences",
    "simulate_missing",
]
