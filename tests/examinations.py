"""Reports and curves made by hand, without a model being fitted."""

import numpy as np
import pandas as pd

from mkfusion import FusionReport
from mkfusion.evaluation import ExaminedFusion, RobustnessCurve
from mkfusion.evaluation._robustness import curves_of, robustness_areas
from mkfusion.evaluation._subsets import plan_subsets
from mkfusion.evaluation._worth import (
    _gain_table,
    _interaction_table,
    _labels,
    _subset_table,
    _value_table,
)


def report_of(modalities, *, n_splits=4, probabilities=True, strategy="refit", seed=0):
    """Return a report on drawn scores; a number stands for that many names."""
    names = [f"sense{m}" for m in range(modalities)] if isinstance(modalities, int) else modalities
    rng = np.random.default_rng(seed)
    plan = plan_subsets(len(names), 4, np.random.RandomState(seed))
    worth = rng.uniform(0, 1, len(names))
    level = 0.2 + 0.7 * (1 - np.exp(-(plan.subsets @ worth)))
    values = level[:, None] + rng.normal(scale=0.02, size=(len(level), n_splits))
    gain = _gain_table(names, values, rng.integers(len(names), size=n_splits).tolist())
    index = pd.Index(["as it is", "with a temperature"], name="probabilities")
    losses = pd.DataFrame(rng.random((2, 3)), index, ["log_loss", "brier", "ece"])
    bounds = (np.nan, np.nan) if n_splits == 1 else (gain["gain"].min(), gain["gain"].max())
    return FusionReport(
        subsets=_subset_table(plan, names, values),
        shapley=_value_table(plan, names, values, 0.25),
        interactions=_interaction_table(plan, names, values, 0.25),
        gain=gain,
        interval=bounds,
        calibration=losses if probabilities else losses.iloc[:0],
        fold_scores=pd.DataFrame(values.T, columns=_labels(plan, names)),
        estimator="LateFusionClassifier",
        strategy=strategy,
        scoring="accuracy",
        single=None,
        n_rows=400,
    )


def curve_of(estimators, *, damages=("missing", "noise"), n_splits=3, seed=0):
    """Return a curve of scores that are drawn at random."""
    rng = np.random.default_rng(seed)
    levels = {"missing": (0.0, 0.25, 0.5), "noise": (0.0, 1.0, 2.0)}
    rows = [
        (damage, level, name, split, repeat, 0.9 - 0.2 * level + rng.normal(scale=0.03))
        for damage in damages
        for level in levels[damage]
        for name in estimators
        for split in range(n_splits)
        for repeat in range(2)
    ]
    columns = ["damage", "level", "estimator", "split", "repeat", "score"]
    scores = pd.DataFrame(rows, columns=columns)
    areas = robustness_areas(curves_of(scores), estimators[0])
    return RobustnessCurve(scores, areas, {}, estimators[0], "accuracy")


def examined(modalities, *, name="late:mean", picked=3, reasons=(), **options):
    """Return what is found of the fusion that a comparison judges."""
    report = report_of(modalities, **options)
    single = report.shapley.index[0]
    curve = curve_of([name, f"single:{single}"], damages=("missing",))
    return ExaminedFusion(name, picked, 5, report, curve, list(reasons))
