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
=================  ==================  ==========================================================

:func:`compare_fusion` tells what each is worth on a table; :mod:`mkfusion.datasets` holds data.
"""

from . import datasets, rules
from ._version import __version__
from .early import EarlyFusionClassifier, EarlyFusionRegressor, ModalityConcatenator
from .evaluation import FusionComparison, compare_fusion
from .hybrid import HybridFusionClassifier, HybridFusionRegressor
from .late import LateFusionClassifier, LateFusionRegressor, ModalityContributions
from .modality import join_modalities, modality_mask, split_modalities, to_sequences

__all__ = [
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "FusionComparison",
    "HybridFusionClassifier",
    "HybridFusionRegressor",
    "LateFusionClassifier",
    "LateFusionRegressor",
    "ModalityConcatenator",
    "ModalityContributions",
    "__version__",
    "compare_fusion",
    "datasets",
    "join_modalities",
    "modality_mask",
    "rules",
    "split_modalities",
    "to_sequences",
]
