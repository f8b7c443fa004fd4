"""A logistic regression on each of three views, majority vote: mkfusion."""

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
model = LateFusionClassifier(estimator=expert, rule="vote").fit(X_train, y_train)
labels = model.predict(X_test)
accuracy = (labels == y_test).mean()
print(f"accuracy {accuracy:.4f}")

folds = cross_val_score(model, X_train, y_train, cv=3)
print(f"cross_val_score: {folds.mean():.4f}")

mean = model.set_params(rule="mean").score(X_test, y_test)  # the experts are kept
print(f"accuracy with the rule 'mean' {mean:.4f}")
