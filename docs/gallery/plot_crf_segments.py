"""
Conditional random fields: labelling steps
==========================================

Where each step of a sequence has a label, a row is a step, and the id of the sequence is a
level of the index. A conditional random field weighs the sensors of a step and the label before
it together.
"""

# %%
# Sessions of a watch: exercises one after the other. A logistic regression on both sensors
# answers each step by itself; the chain has the same columns.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import CRFTagger, EarlyFusionClassifier
from mkfusion.datasets import load_watch
from mkfusion.evaluation import segment_f1_score, sequence_scorer

watch = load_watch(layout="sessions")
X, y, known = watch.data[::20], watch.target[::20], (watch.groups[::20] <= 7).to_numpy()
X = X.join(X.groupby(level="sequence").rolling(9, center=True, min_periods=1).std().droplevel(0)
           .fillna(0).add_suffix("_std"))  # fmt: skip
scaler = StandardScaler().set_output(transform="pandas")
models = {
    "each step alone": EarlyFusionClassifier(make_pipeline(scaler, LogisticRegression())),
    "CRF": make_pipeline(scaler, CRFTagger(l2=10, tol=1e-4)),
}
answers = {
    name: model.fit(X[known], y[known]).predict(X[~known]) for name, model in models.items()
}

# %%
# One session of a subject that neither model has seen, a colour for each label.

ids = X[~known].index.get_level_values("sequence")
own = np.flatnonzero(ids == ids[0])
labels = np.unique(y)
rows = {"truth": y[~known].to_numpy()} | answers
image = [np.searchsorted(labels, np.asarray(row)[own]) for row in rows.values()]
fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
colours = plt.get_cmap("tab10", len(labels))
shown = ax.pcolormesh(image, cmap=colours, vmin=-0.5, vmax=len(labels) - 0.5)
ax.set(yticks=np.arange(len(rows)) + 0.5, yticklabels=list(rows), xlabel="step")
ax.invert_yaxis()
ax.hlines([1, 2], *ax.get_xlim(), color="white", linewidth=4)
fig.colorbar(shown, ticks=range(len(labels))).set_ticklabels(labels)

# %%
# What to see: the answers step by step flicker, where those of the chain come in stretches. Its
# errors do so too: a whole exercise is taken for another. In the share of right steps the two
# differ little; F1 of whole segments, of which each must be found, tells them apart.

segments = sequence_scorer(segment_f1_score, overlap=0.5)
for name, model in models.items():
    accuracy = accuracy_score(y[~known], answers[name])
    print(f"{name:16} accuracy {accuracy:.3f}, F1 of segments", end=" ")
    print(f"{segments(model, X[~known], y[~known]):.3f}")
