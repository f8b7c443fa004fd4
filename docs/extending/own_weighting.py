"""Weigh kernels by how alike samples of one class are, beside how alike any two are."""

import numpy as np


def cohesion(kernels, y):
    """Return, for each kernel, its mean inside the classes less its mean over all pairs, or 0."""
    members = (np.unique(y)[:, None] == np.asarray(y)).astype(float)  # (n_classes, n_samples)
    forms = kernels.quadratic_forms(np.column_stack([members.T, np.ones(len(y))]))
    sizes = (members.sum(axis=1) ** 2).sum()
    inside, everywhere = forms[:, :-1].sum(axis=1) / sizes, forms[:, -1] / len(y) ** 2
    return np.maximum(inside - everywhere, 0.0)
