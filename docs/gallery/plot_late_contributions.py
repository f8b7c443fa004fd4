"""
Late fusion: why this answer?
=============================

Late fusion fits a model for each modality and combines their posteriors by a rule. With the
rules that add up (``log_pool``, ``bayes``, ``mean`` and others) the decision about one sample
is a sum of what each modality says, and can be read.
"""

# %%
# A logarithmic pool of six models on the digits; the weights of the pool are learnt on answers
# of models that have not seen the sample.

import numpy as np
from sklearn.model_selection import train_test_split

from mkfusion import ContributionDisplay, LateFusionClassifier
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::2], y[::2]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
fusion = LateFusionClassifier(rule="log_pool", weights="learn").fit(X_train, y_train)
print(fusion.score(X_test, y_test))

# %%
# Among the test samples we take the one on which the fusion is least sure, and draw its two
# likeliest classes and the truth.

proba = fusion.predict_proba(X_test)
unsure = int(proba.max(axis=1).argmin())
truth = np.flatnonzero(fusion.classes_ == y_test.iloc[unsure])
likely = np.union1d(np.argsort(proba[unsure])[-2:], truth)
print("truth:", y_test.iloc[unsure], "fusion:", fusion.predict(X_test)[unsure])

parts = fusion.modality_contributions(X_test)
frame = parts.to_frame(unsure)
display = ContributionDisplay(frame.iloc[:, likely], parts.scale).plot()

# %%
# What to see: for each class the parts are stacked from 0; one that reaches far to the left is a
# model to which the class is unlikely. Compare the rows with one another, not with 0: a logarithm
# of a probability is below 0 for every class. The diamond is the sum, and the class with the
# diamond farthest right wins. The grey *base* is of no modality: it makes the probabilities of
# the sample sum to 1, and is the same for all classes. Here the answer, 4, is wrong. The model of
# *fou* is sure of the truth, 3, to which it adds next to nothing on the left; *fac*, *pix*, *zer*
# and *mor* are all against it.
