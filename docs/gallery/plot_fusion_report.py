"""
What is a fusion worth? The report
==================================

Does fusion pay on these data, and what does each modality add? The report scores the fusion on
every subset of the modalities, on the same folds.
"""

# %%
# Four views of the digits, in late fusion by a logarithmic pool.

import matplotlib.pyplot as plt

from mkfusion import (
    LateFusionClassifier,
    ModalityValueDisplay,
    SubsetLatticeDisplay,
    fusion_report,
)
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::4].filter(regex="fou|pix|zer|mor"), y[::4]
report = fusion_report(LateFusionClassifier(rule="log_pool"), X, y)
print(report.verdict)

# %%
# The score of every subset: which modalities it holds is shown by the dots below.

SubsetLatticeDisplay.from_report(report)

# %%
# What to see: the best single view is far above the others, and more views help less and less.
#
# The value of a modality is its share of what all reach together, averaged over the orders in
# which they could join (Shapley). It lies between what the modality is worth alone and what it
# adds as the last.

ModalityValueDisplay.from_report(report)
plt.show()

# %%
# What to see: the gap between *alone* and *last* is what a view knows that the others know as
# well. On these digits that is most of it.

print(report.shapley.round(3).to_string())
