"""Store a fitted fusion without pickles, look at what it is made of, and load it again."""

import tempfile
from pathlib import Path

import numpy as np
import skops.io

from mkfusion import LateFusionClassifier
from mkfusion.datasets import make_multimodal_classification

X, y = make_multimodal_classification(200, random_state=0, return_X_y=True)
model = LateFusionClassifier().fit(X, y)

path = Path(tempfile.mkdtemp()) / "model.skops"
skops.io.dump(model, path)
asked = skops.io.get_untrusted_types(file=path)  # nothing has been executed yet
print(asked)

# Read the list. Names of mkfusion and scikit-learn may be trusted; any other is a question.
trusted = [name for name in asked if name.split(".")[0] in {"mkfusion", "sklearn"}]
again = skops.io.load(path, trusted=trusted)
same = bool(np.array_equal(model.predict_proba(X), again.predict_proba(X)))
print(same)
