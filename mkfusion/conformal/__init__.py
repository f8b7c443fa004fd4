"""Prediction sets and intervals that hold what they promise, whichever modalities a sample has."""

from ._classifier import ConformalFusionClassifier
from ._regressor import ConformalFusionRegressor

__all__ = ["ConformalFusionClassifier", "ConformalFusionRegressor"]
