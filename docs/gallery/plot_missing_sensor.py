"""
A sensor fails: robustness curves
=================================

What is left of the accuracy when modalities go missing after training? Late fusion leaves an
absent modality out of the decision; a model on joined columns has to have it filled in.
"""

# %%
# Four views of the digits. The joined model gets the mean of the training rows for what is
# lacking; the other one learns with modalities that are dropped at random, to be ready for it.

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import (
    LateFusionClassifier,
    ModalityDropoutClassifier,
    RobustnessCurveDisplay,
    robustness_curve,
)
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::4].filter(regex="fou|kar|zer|mor"), y[::4]
joined = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=300))
models = {
    "late, mean": LateFusionClassifier(rule="mean"),
    "late, Bayes": LateFusionClassifier(),
    "joined, mean imputed": joined,
    "joined, trained with dropout": ModalityDropoutClassifier(joined, random_state=0),
}
curve = robustness_curve(models, X, y, rates=(0, 0.2, 0.4, 0.6, 0.8), noise=None, n_repeats=2)
display = RobustnessCurveDisplay.from_curve(curve)

# %%
# What to see: the joined model starts highest and falls most. Averaged posteriors start lowest
# and fall least; the Bayes rule loses next to nothing to the joined model while all is there,
# and little when it is not. Training with dropout costs a point at the start and gives some of
# it back at the end. At least one modality is kept for each sample.

print(curve)
