"""Draw front.svg, the picture of README.md: accuracy while modalities are lost.

Run: python docs/images/front.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import LateFusionClassifier, RobustnessCurveDisplay, robustness_curve
from mkfusion.datasets import load_multiple_features

plt.rcParams |= {"svg.hashsalt": "front", "font.size": 10, "savefig.facecolor": "white"}
X, y = load_multiple_features(return_X_y=True)
X, y = X[::2], y[::2]
joined = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=300))
models = {
    "late fusion: what is lacking is left out": LateFusionClassifier(rule="log_pool"),
    "columns joined: the mean is filled in": joined,
}
rates = (0, 0.2, 0.4, 0.6, 0.8)
curve = robustness_curve(models, X, y, rates=rates, noise=None, n_repeats=2)
fig, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
display = RobustnessCurveDisplay.from_curve(curve, ax=ax)
ax.get_legend().remove()
ax.legend(display.lines_, models, loc="lower left", frameon=False)
ax.set_xlabel("share of the rows that lose a modality, each modality by itself")
fig.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
