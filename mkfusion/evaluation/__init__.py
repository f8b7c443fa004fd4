"""What a fusion is worth on a table: the same folds for all, and an honest sentence."""

from ._acquisition import AcquisitionOrder, acquisition_order
from ._additive import AdditiveProjection, emap
from ._broja import InformationParts, broja
from ._comparison import check_task as check_task
from ._comparison import compare_fusion
from ._examined import ExaminedFusion, examine_fusion
from ._gap_results import HeterogeneityGap, ModalityRedundancy, SemanticGap
from ._gaps import heterogeneity_gap, modality_redundancy, semantic_gap
from ._information import InformationDecomposition, partial_information_decomposition
from ._measures import corrected_interval, expected_calibration_error
from ._result import FusionComparison
from ._result import printable as printable
from ._robustness import RobustnessCurve, robustness_curve
from ._sequences import pk_score, segment_f1_score, sequence_scorer, window_diff
from ._strategies import RULES_OF_TASK as RULES_OF_TASK
from ._strategies import STRATEGIES
from ._tables import availability_table as availability_table
from ._wording import decimals as decimals
from ._worth import FusionReport, fusion_report

__all__ = [
    "STRATEGIES",
    "AcquisitionOrder",
    "AdditiveProjection",
    "ExaminedFusion",
    "FusionComparison",
    "FusionReport",
    "HeterogeneityGap",
    "InformationDecomposition",
    "InformationParts",
    "ModalityRedundancy",
    "RobustnessCurve",
    "SemanticGap",
    "acquisition_order",
    "broja",
    "compare_fusion",
    "corrected_interval",
    "emap",
    "examine_fusion",
    "expected_calibration_error",
    "fusion_report",
    "heterogeneity_gap",
    "modality_redundancy",
    "partial_information_decomposition",
    "pk_score",
    "robustness_curve",
    "segment_f1_score",
    "semantic_gap",
    "sequence_scorer",
    "window_diff",
]
