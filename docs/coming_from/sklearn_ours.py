"""Three views of digits, a model for each, averaged: mkfusion."""

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import LateFusionClassifier
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::4].filter(regex="fou|zer|mor"), y[::4]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

expert = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
model = LateFusionClassifier(estimator=expert, rule="mean")
posteriors = model.fit(X_train, y_train).predict_proba(X_test)
accuracy = model.score(X_test, y_test)
folds = cross_val_score(model, X, y, cv=3)
print(f"accuracy {accuracy:.4f}, in three folds {folds.mean():.4f}")

lost = X_test.copy()
lost.loc[:, lost.columns.str.startswith("mor__")] = float("nan")  # a sensor fails
without = model.score(lost, y_test)
print(f"without mor: {without:.4f}")
