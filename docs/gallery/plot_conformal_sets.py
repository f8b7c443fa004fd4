"""
Sets of labels that hold the truth with a stated chance
=======================================================

A sample that lacks a modality is harder. A conformal classifier answers with a set of labels
that holds the truth with, here, 90 %, for the samples of each pattern of present modalities by
themselves: where a modality is lacking the sets grow, and the promise stays.
"""

# %%
# Half of the samples lack video, which knows most.

import matplotlib.pyplot as plt
import numpy as np

from mkfusion import ConformalFusionClassifier, LateFusionClassifier
from mkfusion.datasets import make_multimodal_classification

X, y = make_multimodal_classification(
    4000, n_classes=5, unique={"audio": 2.0, "video": 3.5}, redundant=0, missing={"video": 0.5},
    return_X_y=True, random_state=0,
)  # fmt: skip
train, test = slice(0, 2000), slice(2000, None)
conformal = ConformalFusionClassifier(LateFusionClassifier(), alpha=0.1, random_state=0)
sets = conformal.fit(X[train], y[train]).predict_set(X[test])
held = sets[np.arange(len(sets)), np.searchsorted(conformal.classes_, y[test])]
whole = X[test]["video__0"].notna().to_numpy()
patterns = {"audio and video": whole, "audio only": ~whole}

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
sizes = np.arange(sets.shape[1] + 1)
for shift, (name, rows) in zip((-0.2, 0.2), patterns.items(), strict=True):
    share = [(sets[rows].sum(axis=1) == size).mean() for size in sizes]
    left.bar(sizes + shift, share, width=0.38, label=name)
    right.bar(name, held[rows].mean(), width=0.5)
left.set(xlabel="labels in the set", ylabel="share of samples")
left.legend(frameon=False)
right.axhline(0.9, color="black", linestyle="--", linewidth=1)
right.set(ylabel="sets that hold the truth", ylim=(0.5, 1))

# %%
# What to see: at the right both patterns hold what was promised, the dashed line, up to the
# chance of some thousand test samples. At the left the price: with audio only the sets are
# larger.

for name, rows in patterns.items():
    size = sets[rows].sum(axis=1).mean()
    print(f"{name}: {held[rows].mean():.3f} hold the truth, {size:.2f} labels in a set")
