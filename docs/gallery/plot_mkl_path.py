"""
Multiple kernel learning: weights along C
=========================================

Multiple kernel learning finds the weight of each kernel and the support vector machine on their
weighted sum together. The weights depend on C: ``mkl_path`` fits a row of values, each from the
one before.
"""

# %%
# An RBF kernel for each of six views of handwritten digits, and one for a view that is pure
# noise.

import numpy as np
import pandas as pd

from mkfusion import KernelPathDisplay, MKLClassifier, mkl_path
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::5], y[::5]
noise = np.random.default_rng(0).normal(size=(len(X), 10))
X = X.join(pd.DataFrame(noise, X.index, [f"noise__{j}" for j in range(10)]))
path = mkl_path(MKLClassifier(), X, y, values=np.logspace(-1, 2, 10))
display = KernelPathDisplay.from_path(path)

# %%
# What to see: the weights sum to 1 at each C. With little C two views have nearly all of it;
# with more C *pix* takes a share from *kar*, and beyond some C nothing changes, since no sample
# is on the wrong side any more. Two views and the noise have no weight: what *fac* knows, the
# others know as well. That noise gets none is not a rule; the example on noise shows when it
# gets some.
#
# Each fit says how far it can be from the optimum at most.

table = pd.DataFrame(path.weights, index=path.values.round(1), columns=path.kernel_names)
print(table.round(2).to_string())
print("largest relative gap:", f"{(path.gap / path.objective).max():.1e}")
