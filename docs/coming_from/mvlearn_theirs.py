"""A logistic regression on each of three views, majority vote: mvlearn."""

from mvlearn.compose import ViewClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import split_modalities
from mkfusion.datasets import load_multiple_features

X, y = load_multiple_features(return_X_y=True)
X, y = X[::4].filter(regex="fou|zer|mor"), y[::4]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# A list of arrays, one for each view.
train = [block.to_numpy() for block in split_modalities(X_train).values()]
test = [block.to_numpy() for block in split_modalities(X_test).values()]

expert = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
model = ViewClassifier(expert).fit(train, y_train)
labels = model.predict(test)
accuracy = (labels == y_test).mean()
print(f"accuracy {accuracy:.4f}")

try:
    cross_val_score(ViewClassifier(expert), train, y_train, cv=3)
    refused = None
except ValueError as error:
    refused = str(error)
print(f"cross_val_score: {refused}")
