"""Label the steps of sessions by a conditional random field: mkfusion."""

from sklearn.metrics import log_loss

from mkfusion import CRFTagger
from mkfusion.datasets import load_watch

watch = load_watch(layout="sessions")
X, y, groups = watch.data[::20], watch.target[::20], watch.groups[::20]
X = (X - X.mean()) / X.std()  # one row is one step; the index names its sequence

known = (groups <= 7).to_numpy()
model = CRFTagger(l2=10).fit(X[known], y[known])  # l2 = 2 c2
accuracy = model.score(X[~known], y[~known])
loss = log_loss(y[~known], model.predict_proba(X[~known]))
print(f"accuracy {accuracy:.3f}, log loss of the marginals {loss:.3f}")
print(f"converged {model.converged_}, largest violation of optimality {model.residual_:.0e}")
