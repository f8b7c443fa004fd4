"""Models of hmmlearn turned into ours give hmmlearn's answers."""

import numpy as np
import pandas as pd
import pytest
from hmmlearn import hmm

from mkfusion.graphical import from_hmmlearn

LENGTHS = [20, 30, 1]
KINDS = ("spherical", "diag", "full", "tied")
MODELS = {
    **{f"gaussian {kind}": (hmm.GaussianHMM, {"covariance_type": kind}) for kind in KINDS},
    **{f"gmm {kind}": (hmm.GMMHMM, {"covariance_type": kind, "n_mix": 2}) for kind in KINDS},
    "categorical": (hmm.CategoricalHMM, {}),
    "poisson": (hmm.PoissonHMM, {}),
}
every_model = pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS.keys())


def fitted(kind, seed, n_iter=3):
    cls, options = kind
    rng = np.random.default_rng(seed)
    states = rng.integers(3, size=sum(LENGTHS))
    if cls is hmm.CategoricalHMM:
        X = (states + (rng.random(len(states)) < 0.3))[:, None]
    elif cls is hmm.PoissonHMM:
        X = rng.poisson(1 + 4 * states[:, None] * [1, 2])
    else:
        X = rng.normal(size=(len(states), 2)) + 3 * states[:, None]
    model = cls(3, random_state=seed, n_iter=n_iter, tol=-np.inf, **options)
    return model.fit(X, LENGTHS), X


def cells(X):
    return np.split(X, np.cumsum(LENGTHS)[:-1])


@every_model
def test_answers_are_those_of_hmmlearn(kind, global_seed):
    theirs, X = fitted(kind, global_seed)
    ours = from_hmmlearn(theirs)
    sequences = cells(X)
    wanted = [theirs.score(own) for own in sequences]
    np.testing.assert_allclose(ours.score_samples(sequences), wanted, rtol=1e-9)
    proba = np.vstack(list(ours.predict_proba(sequences)))
    np.testing.assert_allclose(proba, theirs.predict_proba(X, LENGTHS), atol=1e-8)
    path, other = np.concatenate(list(ours.predict(sequences))), theirs.predict(X, LENGTHS)
    if kind[0] not in (hmm.CategoricalHMM, hmm.PoissonHMM):  # two orders can be equally good
        np.testing.assert_array_equal(path, other)
    np.testing.assert_array_equal(ours.transition_, theirs.transmat_)
    assert ours.history_[-1] == theirs.monitor_.history[-1]


@every_model
def test_rows_can_be_steps(kind, global_seed):
    theirs, X = fitted(kind, global_seed)
    ours = from_hmmlearn(theirs, rows="steps", modality="sound")
    ids = np.repeat(np.arange(3), LENGTHS)
    frame = pd.DataFrame(X, index=pd.Index(ids, name="sequence"))
    assert ours.score_samples(frame).sum() == pytest.approx(theirs.score(X, LENGTHS))
    assert list(ours.modalities_) == ["sound"]
    with pytest.raises(ValueError, match="it was there at fit"):
        ours.predict(X)


@every_model
def test_model_samples_and_trains_again(kind):
    theirs, X = fitted(kind, 0)
    ours = from_hmmlearn(theirs)
    drawn, paths = ours.sample(4, 6, random_state=0)
    assert [cell.shape for cell in drawn.iloc[:, 0]] == [(6, X.shape[1])] * 4
    assert [path.shape for path in paths] == [(6,)] * 4
    before = ours.score(cells(X))
    ours.set_params(max_iter=200, n_init=5, random_state=0).fit(cells(X))
    assert ours.score(cells(X)) > before - 0.05 * abs(before)


def test_parameters_that_were_set_are_enough():
    theirs = hmm.GaussianHMM(2, "diag")
    theirs.startprob_, theirs.transmat_ = np.full(2, 0.5), np.eye(2)
    theirs.means_, theirs.covars_ = np.zeros((2, 3)), np.ones((2, 3))
    ours = from_hmmlearn(theirs)
    assert ours.score_samples([np.zeros((2, 3))])[0] == pytest.approx(-3 * np.log(2 * np.pi))
    assert not ours.converged_


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="GaussianHMM is not fitted"):
        from_hmmlearn(hmm.GaussianHMM(2))
    with pytest.raises(TypeError, match=r"must be one of GaussianHMM, .*, got MultinomialHMM"):
        from_hmmlearn(hmm.MultinomialHMM(2))
    with pytest.raises(ValueError, match="rows must be one of 'sequences', 'steps'"):
        from_hmmlearn(fitted(MODELS["poisson"], 0)[0], rows="cells")
