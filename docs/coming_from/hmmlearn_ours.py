"""A hidden Markov model for each of seven exercises, from the accelerometer: mkfusion."""

import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_score

from mkfusion import HMMClassifier
from mkfusion.datasets import load_watch

watch = load_watch()
X = watch.data[["accelerometer"]].map(lambda cell: cell[::10])  # one row is one sequence
y, known = watch.target, watch.groups <= 7  # by subject

right, losses = [], []
for seed in range(3):
    model = HMMClassifier(modalities={"accelerometer": ["accelerometer"]}, random_state=seed)
    model.fit(X[known], y[known])
    right.append(model.score(X[~known], y[~known]))
    losses.append(log_loss(y[~known], model.predict_proba(X[~known])))
accuracy, loss = np.mean(right), np.mean(losses)
print(f"three seeds: accuracy {accuracy:.3f}, log loss {loss:.2f}")

cold = model.set_params(temperature=None).fit(X[known], y[known])
raw_loss = log_loss(y[~known], cold.predict_proba(X[~known]))
print(f"the last without the temperature: log loss {raw_loss:.2f}")

folds = cross_val_score(cold, X, y, groups=watch.groups, cv=GroupKFold(5))
print(f"five folds by subject: {np.mean(folds):.3f}")
