"""Displays: the pictures of a comparison, of a decision and of kernel weights, for matplotlib.

They follow scikit-learn's convention: a class method makes one and draws it, ``plot`` draws it
again elsewhere, and ``ax_`` and ``figure_`` are there to be changed.
"""

from ._comparison import (
    AgreementDisplay,
    AvailabilityDisplay,
    FitTimeDisplay,
    GainDisplay,
    PerClassDisplay,
    ReliabilityDisplay,
)
from ._contributions import ContributionsDisplay
from ._kernels import KernelPathDisplay, KernelWeightsDisplay

__all__ = [
    "AgreementDisplay",
    "AvailabilityDisplay",
    "ContributionsDisplay",
    "FitTimeDisplay",
    "GainDisplay",
    "KernelPathDisplay",
    "KernelWeightsDisplay",
    "PerClassDisplay",
    "ReliabilityDisplay",
]
