"""LatentCRFTagger: all hidden paths, what it is without hidden states, and what those bring."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles_crf import label_marginals
from test_crf_objective import by_hand
from test_crf_tagger import drawn, index_of

from mkfusion.datasets import load_watch
from mkfusion.graphical import CRFTagger, LatentCRFTagger

CHAINS = ("joint", "linked", "coupled", "linked-coupled", "separate")


def latent(*args, **options):
    return LatentCRFTagger(*args, **{"n_init": 1, "random_state": 0, "max_iter": 2000} | options)


@pytest.mark.parametrize("chains", CHAINS)
def test_probabilities_are_those_of_all_hidden_paths(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, longest=5, n_labels=2)
    crf = latent(chains=chains).fit(X, y)
    layout, found = crf._layout, crf._potentials_found
    proba = crf.predict_proba(X)
    for i in range(3):
        own = X.loc[[i]].to_numpy()
        unary, transition = by_hand(layout, found, own)
        expected = label_marginals(unary, transition, layout.labels)
        where = X.index.get_level_values(0) == i
        np.testing.assert_allclose(proba[where], expected, atol=1e-12)
    names = ["joint"] if chains == "joint" else ["audio", "video"]
    assert list(crf.coef_) == names
    assert list(crf.links_) == ([("audio", "video")] if "linked" in chains else [])
    both = [("audio", "video"), ("video", "audio")]
    assert list(crf.couplings_) == (both if "coupled" in chains else [])


def test_one_state_per_label_is_the_crf(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    plain = CRFTagger(tol=1e-8, l2={"audio": 0.5, "video": 2.0}, context=1).fit(X, y)
    one = LatentCRFTagger(1, tol=1e-8, l2={"audio": 0.5, "video": 2.0}, context=1).fit(X, y)
    np.testing.assert_array_equal(one.coef_["joint"], plain.coef_)
    np.testing.assert_array_equal(one.predict_proba(X), plain.predict_proba(X))
    assert one.objective_ == plain.objective_
    # A chain per modality is the sum of their scores: the same model, with the transition in parts
    apart = LatentCRFTagger(1, chains="separate", l2_transition=2.0, tol=1e-8).fit(X, y)
    joint = CRFTagger(l2_transition=1.0, tol=1e-8).fit(X, y)
    assert apart.objective_ == pytest.approx(joint.objective_, rel=1e-9)
    np.testing.assert_allclose(apart.predict_proba(X), joint.predict_proba(X), atol=1e-6)


def test_hidden_states_find_what_labels_do_not_say(global_seed):
    """Each label is two places far apart, between those of the other: no line parts them."""
    rng = np.random.default_rng(global_seed)
    lengths = np.full(30, 20)
    place = np.repeat(rng.integers(0, 4, 120), 5)
    y = place % 2
    X = pd.DataFrame(
        {"m__0": 3.0 * place + rng.normal(size=600), "n__0": rng.normal(size=600)},
        index=index_of(lengths),
    )
    plain = CRFTagger().fit(X, y)
    hidden = LatentCRFTagger(2, random_state=global_seed, n_init=4, max_iter=2000).fit(X, y)
    assert hidden.objective_ == hidden.objectives_.min()
    assert hidden.objective_ < 0.7 * plain.objective_
    assert hidden.score(X, y) > plain.score(X, y) + 0.1
    states = hidden.hidden_states(X)
    assert states.shape == (600, 1)
    np.testing.assert_array_equal(states[:, 0] // 2, hidden.predict(X))


def test_views_of_chains(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    crf = latent({"audio": 2, "video": 1}, chains="linked-coupled").fit(X, y)
    assert crf.coef_["audio"].shape == (6, 2)
    assert crf.coef_["video"].shape == (3, 3)
    assert crf.links_["audio", "video"].shape == (6, 3)
    assert crf.couplings_["video", "audio"].shape == (3, 6)
    states = crf.hidden_states(X)
    np.testing.assert_array_equal(states[:, 0] // 2, states[:, 1])  # one label
    np.testing.assert_array_equal(crf.predict(X), crf.classes_[states[:, 1]])


def test_the_same_answer_for_any_threads(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=200, longest=60)
    one, two = (latent(chains="linked", n_jobs=n, max_iter=25, tol=1e-2).fit(X, y) for n in (1, 2))
    for name in ("audio", "video"):
        np.testing.assert_array_equal(one.coef_[name], two.coef_[name])
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_absent_modality_adds_nothing(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    gone = rng.random(len(X)) < 0.3
    holes = X.copy()
    holes.loc[gone, ["audio__0", "audio__1"]] = np.nan
    first, second = (latent(chains="linked").fit(data, y) for data in (holes, holes.fillna(0.0)))
    np.testing.assert_array_equal(first.coef_["audio"], second.coef_["audio"])
    np.testing.assert_array_equal(first.predict_proba(holes), second.predict_proba(holes))


def test_forbidden_transitions_and_decoding(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    names = np.array(["a", "b", "c"])[y]
    pairs = set(pairwise(names))
    free = sorted({(p, q) for p in "abc" for q in "abc"} - pairs)
    crf = latent(forbidden=tuple(free), decode="marginals").fit(X, names)
    proba = crf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(crf.predict(X), crf.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_states": 0}, "n_states must be"),
        ({"n_states": {"audio": 2, "video": 2}}, "n_states must be one number for chains='joint'"),
        ({"n_states": {"audio": 2}, "chains": "linked"}, "n_states must be one number"),
        ({"chains": "twisted"}, "chains must be one of"),
        ({"max_states": 0}, "max_states must be"),
        ({"n_init": 0}, "n_init must be"),
        (
            {"n_states": 7, "chains": "coupled"},
            "3 labels with 7 x 7 states each make a chain of 147 states, over max_states=128",
        ),
        ({"l2": -1}, "l2 must be"),
    ],
)
def test_parameters_out_of_range(options, message):
    X, y = drawn(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        LatentCRFTagger(**options).fit(X, y)


def test_one_class_infinity_and_an_outlier():
    X, y = drawn(np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 2 classes"):
        LatentCRFTagger().fit(X, np.ones(len(y)))
    bad = X.copy()
    bad.iloc[3, 0] = np.inf
    with pytest.raises(ValueError, match="audio"):
        LatentCRFTagger().fit(bad, y)
    crf = latent().fit(X, y)
    bad.iloc[3] = 1e90
    assert np.isfinite(crf.predict_proba(bad)).all()


@pytest.mark.filterwarnings("ignore:LatentCRFTagger. not converged")
def test_watch():
    watch = load_watch(layout="sessions")
    rows = watch.data.index.get_level_values("step") % 10 == 0  # one a second
    X = watch.data[rows].droplevel("step")
    y = watch.target[rows].to_numpy()
    X = (X - X.mean()) / X.std()
    train = (watch.groups[rows] <= 5).to_numpy()
    crf = LatentCRFTagger(2, l2=10.0, n_init=1, max_iter=60, random_state=0, tol=1e-3)
    crf.fit(X[train], y[train])
    assert crf.score(X[~train], y[~train]) > 2 / 7  # twice what chance gives
