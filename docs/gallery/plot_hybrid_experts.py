"""
Hybrid fusion: joint experts beside single ones
===============================================

Where the label hangs on how two modalities go together, no model of one modality sees it, and
late fusion has nothing to combine. Hybrid fusion has a joint expert beside the single ones, and
learns how much to heed each.
"""

# %%
# Three kinds of simulated data: each modality knows something by itself (``unique``), or only
# both together tell (``synergistic``), or there is some of each. Everywhere the models are the
# same: an SVC whose posteriors are calibrated where the weights are learnt.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from mkfusion import (
    EarlyFusionClassifier,
    FusionWeightsDisplay,
    HybridFusionClassifier,
    LateFusionClassifier,
)
from mkfusion.datasets import make_multimodal_classification

expert = CalibratedClassifierCV(SVC(), cv=3)
models = {
    "early": EarlyFusionClassifier(expert),
    "late": LateFusionClassifier(estimator=expert, rule="log_pool"),
    "hybrid": HybridFusionClassifier(estimator=expert, weights="learn", cv=3),
}
kinds = {
    "unique": {"unique": 2.0, "synergistic": 0.0},
    "both": {"unique": 1.5, "synergistic": 3.0},
    "synergistic": {"unique": 0.0, "synergistic": 4.0},
}
found, weights = {}, {}
for kind, strengths in kinds.items():
    X, y = make_multimodal_classification(
        300, modalities={"audio": 4, "video": 4}, redundant=0, **strengths,
        return_X_y=True, random_state=0,
    )  # fmt: skip
    found[kind] = [cross_val_score(model, X, y, cv=3).mean() for model in models.values()]
    weights[kind] = models["hybrid"].fit(X, y).weights_

# %%
# At the left accuracy, at the right what the hybrid fusion heeds.

fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained", width_ratios=[2, 1, 1, 1])
for place, (model, marker) in enumerate(zip(models, "osD", strict=True)):
    heights = [row[place] for row in found.values()]
    axes[0].plot(np.arange(3) + 0.15 * (place - 1), heights, marker, label=model)
axes[0].set_xticks(range(3), kinds)
axes[0].axhline(0.5, color="grey", linewidth=1, linestyle="--")
axes[0].set(ylabel="accuracy, three folds", ylim=(0.4, 1), xlim=(-0.4, 2.4))
axes[0].legend(frameon=False, loc="lower left")
for ax, (kind, own) in zip(axes[1:], weights.items(), strict=True):
    FusionWeightsDisplay(own, ["audio", "video", "joint"]).plot(ax=ax)
    ax.set_title(kind, fontsize="medium")

# %%
# What to see: on ``synergistic`` data late fusion guesses (the dashed line is chance), while
# hybrid fusion does as early fusion does. Where each modality speaks for itself all three are
# alike: then the simplest is to be taken.
#
# Weights are to be read with care. On ``synergistic`` data audio has the largest, though it
# says nothing alone: weights sum to 1, and weight on an expert that answers one half to
# everything only makes the joint expert less sure.

for kind, row in found.items():
    print(kind, {model: round(float(score), 3) for model, score in zip(models, row, strict=True)})
