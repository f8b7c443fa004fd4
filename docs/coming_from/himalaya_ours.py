"""Ridge regression on two kernels, weights and penalty chosen in five folds: mkfusion."""

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from mkfusion import MKLRegressor
from mkfusion.datasets import make_multimodal_regression
from mkfusion.kernels import RBF

truth = make_multimodal_regression(400, unique=0.5, noise=0.5, random_state=0)
X, y = truth.data, truth.target

grid = {
    "weighting": [[share, 1 - share] for share in (0.01, 0.25, 0.5, 0.75, 0.99)],
    "C": [100.0, 10.0, 1.0],  # 1 / alpha
}
ridge = MKLRegressor(kernel=RBF(gamma=0.02))
search = GridSearchCV(ridge, grid, cv=KFold(5), scoring="neg_mean_squared_error")
search.fit(X[:200], y[:200])

model = search.best_estimator_
alpha, weights = 1 / model.C, np.array(list(model.modality_weights_.values()))
score = model.score(X[200:], y[200:])
answers = model.predict(X[200:])
print(f"alpha {alpha:g}, weights {weights.round(2).tolist()}, R2 {score:.4f}")

exact = MKLRegressor(kernel=RBF(gamma=0.02), C=model.C).fit(X[:200], y[:200])
found = {name: round(float(weight), 2) for name, weight in exact.modality_weights_.items()}
gap = exact.duality_gap_ / exact.objective_
print(f"learnt with the machine: weights {found}, R2 {exact.score(X[200:], y[200:]):.4f}")
print(f"relative duality gap {gap:.0e} after {exact.n_iter_} machines")
