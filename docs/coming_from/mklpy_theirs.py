"""EasyMKL on three views, threes against fives: MKLpy."""

import numpy as np
import torch
from MKLpy.algorithms import EasyMKL
from MKLpy.preprocessing import kernel_normalization
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mkfusion import split_modalities
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
chosen = np.isin(y, [3, 5])
X, y = X[chosen].filter(regex="fou|zer|mor"), y[chosen]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
scaler = StandardScaler().set_output(transform="pandas").fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

# Gram matrices are made by hand, and again for every fold.
train, test = split_modalities(X_train), split_modalities(X_test)
gammas = {m: 1 / (block.shape[1] * np.var(block.to_numpy())) for m, block in train.items()}
KL = [torch.tensor(rbf_kernel(train[m], gamma=gammas[m])) for m in train]
KL_test = [torch.tensor(rbf_kernel(test[m], train[m], gamma=gammas[m])) for m in train]
KL = [kernel_normalization(K) for K in KL]  # changes nothing: an RBF has the diagonal 1

model = EasyMKL(lam=0.1, learner=SVC(C=10, kernel="precomputed")).fit(KL, y_train.to_numpy())
weights = dict(zip(train, np.asarray(model.solution.weights), strict=True))
labels = np.asarray(model.predict(KL_test))
accuracy = (labels == y_test).mean()
print({name: round(float(weight), 4) for name, weight in weights.items()})
print(f"accuracy {accuracy:.4f}")
