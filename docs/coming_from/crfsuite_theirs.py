"""Label the steps of sessions by a conditional random field: sklearn-crfsuite."""

import numpy as np
from sklearn_crfsuite import CRF

from mkfusion.datasets import load_watch

watch = load_watch(layout="sessions")
X, y, groups = watch.data[::20], watch.target[::20], watch.groups[::20]
X = (X - X.mean()) / X.std()
ids = X.index.get_level_values("sequence")


def cut(chosen):
    """A list of lists of dicts, and a list of lists of labels."""
    found = [np.flatnonzero(chosen & (ids == name)) for name in ids[chosen].unique()]
    rows = X.to_dict("records")
    features = [[{**rows[i], "bias": 10.0} for i in steps] for steps in found]
    return features, [[str(y.iloc[i]) for i in steps] for steps in found]


known = (groups <= 7).to_numpy()
train, labels = cut(known)
test, truth = cut(~known)
# Without min_freq it leaves out every weight of a column and a label whose values sum to less
# than 0, and without all_possible_transitions every transition that the training data lack.
model = CRF(c1=0, c2=5, min_freq=-1e30, all_possible_transitions=True, max_iterations=500)
model.fit(train, labels)
said = np.concatenate(model.predict(test))
accuracy = float((said == np.concatenate(truth)).mean())
marginals = np.concatenate(model.predict_marginals(test))
pairs = zip(marginals, np.concatenate(truth), strict=True)
loss = -np.mean([np.log(found[label]) for found, label in pairs])
print(f"accuracy {accuracy:.3f}, log loss of the marginals {loss:.3f}")
