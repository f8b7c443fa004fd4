"""One coupled hidden Markov model for each class: joint paths, identities, cap, bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from oracles_coupled import enumerate_coupled
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mkfusion.chains._coupling import factored
from mkfusion.datasets import load_watch, make_multimodal_sequences
from mkfusion.graphical import CoupledHMMClassifier, HMMClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning"),
    pytest.mark.filterwarnings("ignore:columns .* belong to no modality:UserWarning"),
]


def drawn(seed, n=40, **options):
    return make_multimodal_sequences(n, return_X_y=True, random_state=seed, **options)


def quick(**options):
    return CoupledHMMClassifier(**{"temperature": None, "random_state": 0, **options})


@pytest.fixture
def data(global_seed):
    return drawn(global_seed)


def leading(seed, n=80, length=40):
    """Classes that differ only in whether the second modality follows the first, one step on."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    first = rng.integers(0, 2, size=(n, length))
    own = rng.integers(0, 2, size=(n, length))
    follows = np.where(y[:, None] == 1, np.roll(first, 1, axis=1), own)
    cells = {
        name: [4.0 * row[:, None] + rng.normal(size=(length, 1)) for row in states]
        for name, states in (("first", first), ("second", follows))
    }
    return pd.DataFrame(cells), y


def densities(emission, values):
    means, covars = emission.params["means"], emission.params["covars"]
    return np.array(
        [
            norm.logpdf(values, mean, np.sqrt(covar)).sum(axis=1)
            for mean, covar in zip(means, covars, strict=True)
        ]
    ).T


def test_scores_are_sums_over_all_joint_paths(global_seed):
    X, y = drawn(global_seed, 20, lengths=(2, 3))
    weights = (0.5, 1.5)
    model = quick(
        n_states={"audio": 2, "video": 3}, stream_weights=weights, priors=[0.2, 0.8], tol=0.1
    ).fit(X, y)
    scores = model.predict_joint_log_proba(X[:4]) - np.log([0.2, 0.8])
    for i in range(4):
        streams = [X["audio"].iloc[i], X["video"].iloc[i]]
        for c in (0, 1):
            own = model.models_[c]
            logs = [
                w * densities(e, s)
                for w, e, s in zip(weights, own.emissions, streams, strict=True)
            ]
            expected = enumerate_coupled(own.starts, own.tables, logs)[0]
            assert scores[i, c] == pytest.approx(expected, rel=1e-9)


def test_it_sees_that_one_modality_leads_the_other(global_seed):
    X, y = leading(global_seed)
    train, test = slice(0, 50), slice(50, 80)
    coupled = quick().fit(X[train], y[train])
    apart = HMMClassifier(2, chain="separate", temperature=None, random_state=0)
    assert coupled.score(X[test], y[test]) > 0.9
    assert apart.fit(X[train], y[train]).score(X[test], y[test]) < 0.9
    table = coupled.models_[1].tables[1]  # of the second, by the first's and its own last state
    assert abs(table[0, :, 0] - table[1, :, 0]).min() > 0.5
    table = coupled.models_[0].tables[1]
    assert abs(table[0, :, 0] - table[1, :, 0]).max() < 0.3


def test_factored_coupling_is_separate_chains(data):
    """Tables that heed only their own chain: the likelihood of chains apart."""
    X, y = data
    apart = HMMClassifier(2, chain="separate", temperature=None, random_state=0).fit(X, y)
    coupled = quick().fit(X, y)
    coupled.models_ = {
        c: factored(
            [model.start for model in models.values()],
            [model.transition for model in models.values()],
            [model.emissions[0] for model in models.values()],
        )
        for c, models in apart.models_.items()
    }
    np.testing.assert_allclose(
        coupled.predict_joint_log_proba(X), apart.predict_joint_log_proba(X), rtol=1e-10
    )


def test_one_modality_is_a_plain_chain(data):
    X, y = data
    options = {"modalities": {"audio": ["audio"]}, "random_state": 0, "tol": 1e-7}
    one = CoupledHMMClassifier(2, temperature=None, **options).fit(X, y)
    # Both are at an optimum; whether it is the same one is up to the draws, so begin from it.
    for c, model in one.models_.items():
        assert model.tables[0].shape == (2, 2)
        assert len(one.history_[c]) >= 2
        assert one.history_[c][-1] - one.history_[c][0] < 1e-3 * abs(one.history_[c][0])


def test_one_state_each_is_chains_of_one_state(data):
    X, y = data
    coupled = quick(n_states=1).fit(X, y)
    shared = HMMClassifier(1, temperature=None).fit(X, y)
    np.testing.assert_allclose(
        coupled.predict_joint_log_proba(X), shared.predict_joint_log_proba(X), rtol=1e-9
    )


def test_history_never_falls_and_begins_apart(data):
    X, y = data
    model = quick(n_states=2, tol=1e-6, max_iter=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    for history in model.history_.values():
        assert (np.diff(history) >= -1e-8 * abs(history[0])).all()
        assert history[-1] >= history[0]


def test_the_cap_is_refused_with_its_figure(data):
    X, y = data
    with pytest.raises(ValueError, match=r"12 \* 12 = 144 joint states, more than max_states=128"):
        quick(n_states=12).fit(X, y)
    with pytest.raises(ValueError, match=r"2 \* 3 = 6 joint states, more than max_states=5"):
        quick(n_states={"audio": 2, "video": 3}, max_states=5).fit(X, y)
    quick(n_states={"audio": 2, "video": 3}, max_states=6, tol=1.0).fit(X, y)


def test_chains_with_other_lengths_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"'video' and 'audio' have \d+ and \d+ steps"):
        quick().fit(X.assign(video=[cell[::2] for cell in X["video"]]), y)


def test_absent_streams_and_steps_have_factor_1(data):
    X, y = data
    model = quick().fit(X, y)
    holes = X.map(np.copy)
    holes.at[0, "video"] = None
    holes["video"].iloc[1][2:5] = np.nan
    found = model.predict_joint_log_proba(holes[:2])
    silenced = clone(model).set_params(stream_weights=(1.0, 0.0)).fit(X, y)
    silenced.models_ = model.models_
    np.testing.assert_allclose(found[0], silenced.predict_joint_log_proba(X)[0], rtol=1e-9)
    # Every chain's own states: the steps that are absent are summed out.
    cell = X["video"].iloc[1].copy()
    cell[2:5] = 1e3
    far = X.assign(video=[*X["video"].iloc[:1], cell, *X["video"].iloc[2:]])
    assert (model.predict_joint_log_proba(far[:2])[1] < found[1]).all()
    assert np.isfinite(quick().fit(holes, y).predict_proba(holes)).all()


def test_weight_0_leaves_the_emissions_out(data):
    """The chain of a modality of weight 0 still runs, and sums to 1."""
    X, y = data
    model = quick(stream_weights={"audio": 1.0, "video": 0.0}).fit(X, y)
    shuffled = X.assign(video=[cell[::-1] * 3 for cell in X["video"]])
    np.testing.assert_array_equal(
        model.predict_joint_log_proba(X), model.predict_joint_log_proba(shuffled)
    )


def test_temperature_and_weights_are_learnt(global_seed):
    transition = [[[0.9, 0.1], [0.1, 0.9]], [[0.3, 0.7], [0.7, 0.3]]]
    X, y = drawn(
        global_seed, 120, n_states=2, transition=transition, lengths=(10, 30),
        separation={"audio": 3.0, "video": 0.0},
    )  # fmt: skip
    rng = np.random.default_rng(global_seed)
    X = X.assign(video=[cell + rng.normal(scale=3, size=3) for cell in X["video"]])
    options = {"cv": 3, "random_state": 0, "n_init": 2}
    learnt = CoupledHMMClassifier(stream_weights="learn", **options).fit(X[:80], y[:80])
    warm = CoupledHMMClassifier(**options).fit(X[:80], y[:80])
    cold = CoupledHMMClassifier(temperature=None, **options).fit(X[:80], y[:80])
    assert learnt.learnt_.converged
    assert learnt.stream_weights_[0] == 1
    assert learnt.stream_weights_[1] < 0.3
    losses = [log_loss(y[80:], m.predict_proba(X[80:])) for m in (learnt, warm, cold)]
    assert losses[0] < losses[1] < 0.5 * losses[2]


def test_left_right_chains_and_the_users_zeros(data):
    X, y = data
    model = quick(n_states=2, topology="left-right").fit(X, y.map({0: "down", 1: "up"}))
    for own in model.models_.values():
        for c in range(2):
            np.testing.assert_array_equal(own.starts[c], [1.0, 0.0])
            np.testing.assert_array_equal(np.moveaxis(own.tables[c], c, 0)[1, :, 0], 0.0)
    zeros = {"audio": [[0.5, 0.5], [0.0, 1.0]], "video": [[0.5, 0.5], [0.5, 0.5]]}
    found = quick(n_states=2, transition=zeros, transition_prior=1.2).fit(X, y).models_[0]
    np.testing.assert_array_equal(found.tables[0][1, :, 0], 0.0)
    assert (found.tables[1] > 0).all()


def test_weights_of_samples_are_repetitions(data):
    X, y = data
    weights = np.random.default_rng(0).integers(0, 3, size=len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    weighted = quick().fit(X, y, sample_weight=weights)
    repeated = quick().fit(X.iloc[rows], y.iloc[rows])
    np.testing.assert_allclose(
        weighted.predict_joint_log_proba(X), repeated.predict_joint_log_proba(X), rtol=1e-5
    )


def test_threads_change_nothing(global_seed):
    X, y = drawn(global_seed, 30)
    one, two = (CoupledHMMClassifier(cv=2, random_state=1, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_restarts_are_no_worse(data):
    X, y = data
    one, three = (quick(n_init=n).fit(X, y) for n in (1, 3))
    for c in (0, 1):
        assert three.history_[c][-1] >= one.history_[c][-1] - 1e-9


def test_search_over_weights_by_subject_is_a_loop():
    bunch = load_watch()
    X, y, groups = bunch.data.map(lambda cell: cell[::8]), bunch.target, np.asarray(bunch.groups)
    choices = [{"accelerometer": 1, "gyroscope": w} for w in (0.3, 1.0)]
    base = CoupledHMMClassifier(temperature=None, max_iter=5, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(None), base)
    search = GridSearchCV(
        pipeline, {"coupledhmmclassifier__stream_weights": choices}, cv=GroupKFold(2), refit=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y, groups=groups)
        for k, weights in enumerate(choices):
            for f, (train, test) in enumerate(GroupKFold(2).split(X, y, groups)):
                model = clone(base).set_params(stream_weights=weights)
                model.fit(X.iloc[train], y.iloc[train])
                right = np.mean(model.predict(X.iloc[test]) == y.iloc[test].to_numpy())
                assert search.cv_results_[f"split{f}_test_score"][k] == right
    assert search.cv_results_["mean_test_score"].max() > 0.5


def test_a_class_of_one_short_row(data):
    X, y = data
    labels = y.map({0: "down", 1: "up"})
    labels.iloc[0] = "rare"
    X.at[0, "audio"], X.at[0, "video"] = np.zeros((1, 2)), np.ones((1, 3))
    with pytest.warns(UserWarning, match="class 'rare' has 1 samples"):
        model = CoupledHMMClassifier(3).fit(X, labels)
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.predict(X)[0] == "rare"
    assert "1 samples" in model.temperature_.origin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_states": 0}, "n_states must be a whole number, at least 1"),
        ({"n_states": {"audio": 2}}, "n_states must name each of the modalities"),
        ({"max_states": 0}, "max_states must be a whole number"),
        ({"n_init": 0}, "n_init must be a whole number"),
        ({"transition": {"audio": np.eye(2)}}, "transition must name each of the modalities"),
        ({"stream_weights": (1.0,)}, "stream_weights must have length 2"),
        ({"topology": "ring"}, "topology must be one of"),
        ({"max_iter": -1}, "max_iter must be a whole number"),
    ],
)
def test_parameters_out_of_range_are_refused(options, message, data):
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(*data)


def test_bad_cells_and_labels_are_refused(data):
    X, y = data
    model = quick().fit(X, y)
    for value in (
        np.empty((0, 2)), np.zeros((5, 3)), np.full((5, 2), np.inf), np.array([[0.0, np.nan]]),
    ):  # fmt: skip
        bad = X.copy()
        bad.at[3, "audio"] = value
        with pytest.raises(ValueError, match="audio"):
            quick().fit(bad, y)
        with pytest.raises(ValueError, match="audio"):
            model.predict(bad)
    with pytest.raises(ValueError, match="'video' is missing for every sample"):
        quick().fit(X.assign(video=None), y)
    with pytest.raises(ValueError, match="y has one class"):
        quick().fit(X, np.ones(len(y)))
