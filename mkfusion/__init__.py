"""Classical multimodal fusion as scikit-learn estimators.

The same samples seen through several modalities, told apart inside one X by ``modalities`` or by
the prefixes of its columns.

=================  ==================  ==========================================================
group              family              estimators
=================  ==================  ==========================================================
model-independent  early               :class:`EarlyFusionClassifier`,
                                       :class:`EarlyFusionRegressor`,
                                       :class:`ModalityConcatenator`
model-independent  late                :class:`LateFusionClassifier`, :class:`LateFusionRegressor`,
                                       and the rules of :mod:`mkfusion.rules`
model-independent  hybrid              :class:`HybridFusionClassifier`,
                                       :class:`HybridFusionRegressor`
model-based        multiple kernel     :class:`MKLClassifier`, :class:`MKLRegressor`,
                   learning            :class:`MKLOneClass`, :class:`MKLTransformer`,
                                       :class:`ModalityKernels`,
                                       :class:`ModalityNystroem`,
                                       :class:`ModalityFourierFeatures`, on the kernels of
                                       :mod:`mkfusion.kernels` and the solvers of
                                       :mod:`mkfusion.solvers`
=================  ==================  ==========================================================

:func:`compare_fusion` tells what each is worth on a table, :func:`write_report` makes a page of
it, and the Displays draw its pictures; :mod:`mkfusion.datasets` holds data.
"""

from . import datasets, kernels, rules, solvers
from ._version import __version__
from .early import EarlyFusionClassifier, EarlyFusionRegressor, ModalityConcatenator
from .evaluation import FusionComparison, compare_fusion
from .hybrid import HybridFusionClassifier, HybridFusionRegressor
from .late import LateFusionClassifier, LateFusionRegressor, ModalityContributions
from .mkl import (
    KernelPath,
    MKLClassifier,
    MKLOneClass,
    MKLRegressor,
    MKLTransformer,
    ModalityFourierFeatures,
    ModalityKernels,
    ModalityNystroem,
    mkl_path,
)
from .modality import join_modalities, modality_mask, split_modalities, to_sequences
from .plotting import (
    AgreementDisplay,
    AvailabilityDisplay,
    ContributionsDisplay,
    FitTimeDisplay,
    GainDisplay,
    KernelPathDisplay,
    KernelWeightsDisplay,
    PerClassDisplay,
    ReliabilityDisplay,
)
from .report import write_report

__all__ = [
    "AgreementDisplay",
    "AvailabilityDisplay",
    "ContributionsDisplay",
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "FitTimeDisplay",
    "FusionComparison",
    "GainDisplay",
    "HybridFusionClassifier",
    "HybridFusionRegressor",
    "KernelPath",
    "KernelPathDisplay",
    "KernelWeightsDisplay",
    "LateFusionClassifier",
    "LateFusionRegressor",
    "MKLClassifier",
    "MKLOneClass",
    "MKLRegressor",
    "MKLTransformer",
    "ModalityConcatenator",
    "ModalityContributions",
    "ModalityFourierFeatures",
    "ModalityKernels",
    "ModalityNystroem",
    "PerClassDisplay",
    "ReliabilityDisplay",
    "__version__",
    "compare_fusion",
    "datasets",
    "join_modalities",
    "kernels",
    "mkl_path",
    "modality_mask",
    "rules",
    "solvers",
    "split_modalities",
    "to_sequences",
    "write_report",
]
