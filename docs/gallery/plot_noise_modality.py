"""
Weights that find a noise modality
==================================

A modality that carries nothing does harm when all have the same say. Learnt weights find it;
the weights of an exact machine on RBF kernels need not, and this example shows why.
"""

# %%
# Two modalities that know something, two that are pure noise. Late fusion learns its weights by
# log loss on answers of models that have not seen the sample. Kernel weights are found in two
# ways: by alignment with the labels, and together with the support vector machine.

import matplotlib.pyplot as plt
from sklearn.metrics import log_loss

from mkfusion import (
    FusionWeightsDisplay,
    KernelWeightsDisplay,
    LateFusionClassifier,
    MKLClassifier,
)
from mkfusion.datasets import make_multimodal_classification

X, y = make_multimodal_classification(
    2000, modalities={"audio": 8, "video": 8, "dice": 20, "coins": 20}, n_classes=3, redundant=0,
    unique={"audio": 2.5, "video": 1.5}, noise_modalities=("dice", "coins"),
    return_X_y=True, random_state=0,
)  # fmt: skip
train, test = slice(0, 400), slice(400, None)
models = {
    "late fusion, equal weights": LateFusionClassifier(rule="log_pool"),
    "late fusion, learnt weights": LateFusionClassifier(rule="log_pool", weights="learn"),
    "kernels, by alignment": MKLClassifier(weighting="alignf"),
    "kernels, exact, C = 1": MKLClassifier(C=1),
}
for model in models.values():
    model.fit(X[train], y[train])

fig, axes = plt.subplots(1, 3, figsize=(11, 2.6), layout="constrained")
for ax, name in zip(axes, list(models)[1:], strict=True):
    kind = FusionWeightsDisplay if name.startswith("late") else KernelWeightsDisplay
    kind.from_estimator(models[name], ax=ax)
    ax.set_title(name, fontsize="medium")

# %%
# What to see: at the left and in the middle the two noise modalities have next to nothing. At
# the right each has a fifth: an RBF kernel on noise makes every sample similar to itself only,
# which acts as a ridge, and with this C and classes that overlap the machine wants one. With C
# = 0.1 it takes none. A weight is therefore no measure of what a modality is worth: for that
# see the example on the fusion report.
#
# What finding the noise brings is seen in the log loss: equal weights make late fusion unsure.

for name, model in models.items():
    loss = ""
    if hasattr(model, "predict_proba"):
        loss = f", log loss {log_loss(y[test], model.predict_proba(X[test])):.3f}"
    print(f"{name}: accuracy {model.score(X[test], y[test]):.3f}{loss}")
