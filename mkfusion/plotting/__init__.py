"""Displays: the pictures of a comparison, of a report, of a decision and of weights.

They follow scikit-learn's convention: a class method makes one and draws it, ``plot`` draws it
again elsewhere, and ``ax_`` and ``figure_`` are there to be changed.
"""

from ._comparison import (
    AgreementDisplay,
    FitTimeDisplay,
    FusionGainDisplay,
    ModalityMaskDisplay,
    PerClassDisplay,
    ReliabilityDisplay,
)
from ._contributions import ContributionDisplay
from ._experts import FusionWeightsDisplay, PosteriorAgreementDisplay
from ._kernels import KernelPathDisplay, KernelWeightsDisplay
from ._worth import ModalityValueDisplay, RobustnessCurveDisplay, SubsetLatticeDisplay

__all__ = [
    "AgreementDisplay",
    "ContributionDisplay",
    "FitTimeDisplay",
    "FusionGainDisplay",
    "FusionWeightsDisplay",
    "KernelPathDisplay",
    "KernelWeightsDisplay",
    "ModalityMaskDisplay",
    "ModalityValueDisplay",
    "PerClassDisplay",
    "PosteriorAgreementDisplay",
    "ReliabilityDisplay",
    "RobustnessCurveDisplay",
    "SubsetLatticeDisplay",
]
