"""Chains on arrays: sums and maxima over paths, and what hidden Markov models and fields learn.

The estimators of :mod:`mkfusion.graphical` make arrays of tables, call these, and keep what they
return.
"""

from ._chain import Paths, Posteriors, log_partition, posteriors, step_sequence, viterbi
from ._emissions import EMISSIONS, Emission, Stream

__all__ = [
    "EMISSIONS",
    "Emission",
    "Paths",
    "Posteriors",
    "Stream",
    "log_partition",
    "posteriors",
    "step_sequence",
    "viterbi",
]
