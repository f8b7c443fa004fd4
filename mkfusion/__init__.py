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
model-based        graphical models    :class:`HMMClassifier`, :class:`CoupledHMMClassifier`,
                                       :class:`HiddenCRFClassifier` of whole sequences;
                                       :class:`HMMTagger`, :class:`HybridHMMTagger`,
                                       :class:`CRFTagger`, :class:`LatentCRFTagger` of steps;
                                       :class:`MultistreamHMM` without labels;
                                       :class:`StepwiseTransformer`, on the chains of
                                       :mod:`mkfusion.chains`
=================  ==================  ==========================================================

:func:`compare_fusion` tells what each is worth on a table, :func:`write_report` makes a page of
it, and the Displays draw its pictures; :mod:`mkfusion.datasets` holds data.
"""

from . import chains, datasets, graphical, kernels, rules, solvers
from ._version import __version__
from .early import EarlyFusionClassifier, EarlyFusionRegressor, ModalityConcatenator
from .evaluation import FusionComparison, compare_fusion
from .graphical import (
    CoupledHMMClassifier,
    CRFTagger,
    HiddenCRFClassifier,
    HMMClassifier,
    HMMTagger,
    HybridHMMTagger,
    LatentCRFTagger,
    MultistreamHMM,
    StepwiseTransformer,
    as_sequence_frame,
    as_step_frame,
)
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
    "CRFTagger",
    "ContributionsDisplay",
    "CoupledHMMClassifier",
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "FitTimeDisplay",
    "FusionComparison",
    "GainDisplay",
    "HMMClassifier",
    "HMMTagger",
    "HiddenCRFClassifier",
    "HybridFusionClassifier",
    "HybridFusionRegressor",
    "HybridHMMTagger",
    "KernelPath",
    "KernelPathDisplay",
    "KernelWeightsDisplay",
    "LateFusionClassifier",
    "LateFusionRegressor",
    "LatentCRFTagger",
    "MKLClassifier",
    "MKLOneClass",
    "MKLRegressor",
    "MKLTransformer",
    "ModalityConcatenator",
    "ModalityContributions",
    "ModalityFourierFeatures",
    "ModalityKernels",
    "ModalityNystroem",
    "MultistreamHMM",
    "PerClassDisplay",
    "ReliabilityDisplay",
    "StepwiseTransformer",
    "__version__",
    "as_sequence_frame",
    "as_step_frame",
    "chains",
    "compare_fusion",
    "datasets",
    "graphical",
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
