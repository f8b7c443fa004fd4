"""EasyMKL on three views, threes against fives: mkfusion."""

import numpy as np
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import StandardScaler

from mkfusion import MKLClassifier
from mkfusion.datasets import load_multiple_features
from mkfusion.kernels import RBF

X, y = load_multiple_features(return_X_y=True)
chosen = np.isin(y, [3, 5])
X, y = X[chosen].filter(regex="fou|zer|mor"), y[chosen]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
scaler = StandardScaler().set_output(transform="pandas").fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

model = MKLClassifier(kernel=RBF("scale"), weighting="easy", lam=0.1, C=10).fit(X_train, y_train)
weights = model.modality_weights_
labels = model.predict(X_test)
accuracy = model.score(X_test, y_test)
print({name: round(float(weight), 4) for name, weight in weights.items()})
print(f"accuracy {accuracy:.4f}")

search = GridSearchCV(model, {"lam": [0, 0.1, 0.5], "weighting": ["easy", "svm"]}, cv=3)
search.fit(X_train, y_train)
print(search.best_params_, f"{search.best_score_:.4f}")
