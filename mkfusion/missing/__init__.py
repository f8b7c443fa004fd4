"""What to do where modalities are missing: complete them, train for it, or a model per pattern.

:func:`missing_policy` tells what an estimator does with a sample that lacks a modality.
"""

from .._policy import MISSING_POLICIES, missing_policies, missing_policy, policy_table
from ._dropout import ModalityDropout, ModalityDropoutClassifier, ModalityDropoutRegressor
from ._imputer import ModalityImputer
from ._subset import SubsetFusionClassifier, SubsetFusionRegressor

__all__ = [
    "MISSING_POLICIES",
    "ModalityDropout",
    "ModalityDropoutClassifier",
    "ModalityDropoutRegressor",
    "ModalityImputer",
    "SubsetFusionClassifier",
    "SubsetFusionRegressor",
    "missing_policies",
    "missing_policy",
    "policy_table",
]
