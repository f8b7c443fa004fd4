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
model-independent  missing modalities  :class:`ModalityImputer`, :class:`ModalityDropout`,
                                       :class:`ModalityDropoutClassifier`,
                                       :class:`ModalityDropoutRegressor`,
                                       :class:`SubsetFusionClassifier`,
                                       :class:`SubsetFusionRegressor`
model-independent  conformal           :class:`ConformalFusionClassifier`,
                                       :class:`ConformalFusionRegressor`, around any model
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

:func:`compare_fusion` tells what each is worth on a table, :func:`fusion_report` what each
modality is worth to one of them, :func:`robustness_curve` what is left when modalities go,
:func:`acquisition_order` which one to get next. :func:`write_report` makes a page of a
comparison, and the Displays draw the pictures; :mod:`mkfusion.datasets` holds data, and
:mod:`mkfusion.distributed` asks models about tables that are cut into partitions.
"""

from . import chains, datasets, distributed, graphical, kernels, rules, solvers
from ._version import __version__
from .conformal import ConformalFusionClassifier, ConformalFusionRegressor
from .early import EarlyFusionClassifier, EarlyFusionRegressor, ModalityConcatenator
from .evaluation import (
    FusionComparison,
    FusionReport,
    acquisition_order,
    compare_fusion,
    emap,
    fusion_report,
    heterogeneity_gap,
    modality_redundancy,
    partial_information_decomposition,
    robustness_curve,
    semantic_gap,
)
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
from .missing import (
    ModalityDropout,
    ModalityDropoutClassifier,
    ModalityDropoutRegressor,
    ModalityImputer,
    SubsetFusionClassifier,
    SubsetFusionRegressor,
    missing_policy,
)
from .mkl import (
    KernelPath,
    LinearMKLClassifier,
    LinearMKLRegressor,
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
    ContributionDisplay,
    FitTimeDisplay,
    FusionGainDisplay,
    FusionWeightsDisplay,
    KernelPathDisplay,
    KernelWeightsDisplay,
    ModalityMaskDisplay,
    ModalityValueDisplay,
    PerClassDisplay,
    PosteriorAgreementDisplay,
    ReliabilityDisplay,
    RobustnessCurveDisplay,
    SubsetLatticeDisplay,
)
from .report import write_report

__all__ = [
    "AgreementDisplay",
    "CRFTagger",
    "ConformalFusionClassifier",
    "ConformalFusionRegressor",
    "ContributionDisplay",
    "CoupledHMMClassifier",
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "FitTimeDisplay",
    "FusionComparison",
    "FusionGainDisplay",
    "FusionReport",
    "FusionWeightsDisplay",
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
    "LinearMKLClassifier",
    "LinearMKLRegressor",
    "MKLClassifier",
    "MKLOneClass",
    "MKLRegressor",
    "MKLTransformer",
    "ModalityConcatenator",
    "ModalityContributions",
    "ModalityDropout",
    "ModalityDropoutClassifier",
    "ModalityDropoutRegressor",
    "ModalityFourierFeatures",
    "ModalityImputer",
    "ModalityKernels",
    "ModalityMaskDisplay",
    "ModalityNystroem",
    "ModalityValueDisplay",
    "MultistreamHMM",
    "PerClassDisplay",
    "PosteriorAgreementDisplay",
    "ReliabilityDisplay",
    "RobustnessCurveDisplay",
    "StepwiseTransformer",
    "SubsetFusionClassifier",
    "SubsetFusionRegressor",
    "SubsetLatticeDisplay",
    "__version__",
    "acquisition_order",
    "as_sequence_frame",
    "as_step_frame",
    "chains",
    "compare_fusion",
    "datasets",
    "distributed",
    "emap",
    "fusion_report",
    "graphical",
    "heterogeneity_gap",
    "join_modalities",
    "kernels",
    "missing_policy",
    "mkl_path",
    "modality_mask",
    "modality_redundancy",
    "partial_information_decomposition",
    "robustness_curve",
    "rules",
    "semantic_gap",
    "solvers",
    "split_modalities",
    "to_sequences",
    "write_report",
]
