"""Ridge regression on two kernels, weights and penalty chosen in five folds: himalaya."""

import numpy as np
from himalaya.kernel_ridge import Kernelizer, MultipleKernelRidgeCV, make_column_kernelizer
from sklearn.pipeline import make_pipeline

from mkfusion.datasets import make_multimodal_regression

truth = make_multimodal_regression(400, unique=0.5, noise=0.5, random_state=0)
X, y, columns = truth.data, truth.target, truth.feature_names
audio, video = ([j for j, name in enumerate(columns) if name.startswith(m)] for m in ("a", "v"))

kernels = make_column_kernelizer(
    (Kernelizer("rbf", {"gamma": 0.02}), audio), (Kernelizer("rbf", {"gamma": 0.02}), video)
)
shares = np.array([[share, 1 - share] for share in (0.01, 0.25, 0.5, 0.75, 0.99)])
options = {"n_iter": shares, "alphas": np.array([0.01, 0.1, 1.0]), "progress_bar": False}
ridge = MultipleKernelRidgeCV(
    "precomputed", solver="random_search", solver_params=options, fit_intercept=True, cv=5
)
model = make_pipeline(kernels, ridge).fit(X.to_numpy()[:200], y.to_numpy()[:200])

alpha = float(ridge.best_alphas_[0])
weights = np.exp(ridge.deltas_) * alpha  # alpha is inside the deltas
score = float(model.score(X.to_numpy()[200:], y.to_numpy()[200:]))
answers = model.predict(X.to_numpy()[200:])
print(f"alpha {alpha:g}, weights {weights.round(2).tolist()}, R2 {score:.4f}")
