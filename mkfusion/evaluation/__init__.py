"""What a fusion is worth on a table: the same folds for all, and an honest sentence."""

from ._comparison import check_task as check_task
from ._comparison import compare_fusion
from ._measures import corrected_interval, expected_calibration_error
from ._result import FusionComparison
from ._result import printable as printable
from ._sequences import pk_score, segment_f1_score, sequence_scorer, window_diff
from ._strategies import RULES_OF_TASK as RULES_OF_TASK
from ._strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "FusionComparison",
    "compare_fusion",
    "corrected_interval",
    "expected_calibration_error",
    "pk_score",
    "segment_f1_score",
    "sequence_scorer",
    "window_diff",
]
