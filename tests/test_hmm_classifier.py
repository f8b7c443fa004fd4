"""One hidden Markov model for each class: Bayes, streams, temperature, absence, bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from oracles_chain import enumerate_chain
from scipy.special import softmax
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from mkfusion import LateFusionClassifier
from mkfusion.datasets import load_watch, make_multimodal_sequences
from mkfusion.graphical import HMMClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning"),
    pytest.mark.filterwarnings("ignore:columns .* belong to no modality:UserWarning"),
]


def drawn(seed, n=60, **options):
    return make_multimodal_sequences(n, return_X_y=True, random_state=seed, **options)


def quick(**options):
    return HMMClassifier(**{"n_states": 2, "temperature": None, "random_state": 0, **options})


@pytest.fixture
def data(global_seed):
    return drawn(global_seed)


# The formula ---------------------------------------------------------------------------------


def densities(emission, values):
    """log b_j(x) of a diagonal Gaussian, one state after another."""
    means, covars = emission.params["means"], emission.params["covars"]
    return np.array(
        [
            norm.logpdf(values, mean, np.sqrt(covar)).sum(axis=1)
            for mean, covar in zip(means, covars, strict=True)
        ]
    ).T


def enumerated(model, streams, weights):
    unary = sum(
        w * densities(e, s) for e, s, w in zip(model.emissions, streams, weights, strict=True)
    )
    with np.errstate(divide="ignore"):
        return enumerate_chain(np.log(model.start), np.log(model.transition), unary)[0]


@pytest.mark.parametrize("temperature", [None, 2.5])
@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_posteriors_are_bayes_over_all_paths(chain, temperature, global_seed):
    X, y = drawn(global_seed, 20, lengths=(2, 5))
    weights, priors = (0.5, 1.5), [0.7, 0.3]
    model = quick(chain=chain, stream_weights=weights, priors=priors, temperature=temperature).fit(
        X, y
    )
    scores = np.empty((4, 2))
    for i in range(4):
        streams = [X["audio"].iloc[i], X["video"].iloc[i]]
        for c in (0, 1):
            own = model.models_[c]
            if chain == "shared":
                scores[i, c] = enumerated(own, streams, weights)
            else:
                scores[i, c] = sum(
                    w * enumerated(own[name], [s], [1.0])
                    for w, name, s in zip(weights, own, streams, strict=True)
                )
    scores = scores / (temperature or 1.0) + np.log(priors)
    np.testing.assert_allclose(model.predict_joint_log_proba(X[:4]), scores, rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X[:4]), softmax(scores, axis=1), atol=1e-9)
    np.testing.assert_allclose(
        np.exp(model.predict_log_proba(X)), model.predict_proba(X), atol=1e-12
    )
    logs = model.predict_log_proba(X)
    np.testing.assert_allclose(model.decision_function(X), logs[:, 1] - logs[:, 0])


def test_the_learnt_temperature_is_the_formula(global_seed):
    X, y = drawn(global_seed, lengths=(5, 60))
    model = HMMClassifier(random_state=0).fit(X, y)
    tau = model.temperature_
    cold = clone(model).set_params(temperature=None).fit(X, y)
    logs = cold.predict_joint_log_proba(X) - np.log(model.priors_)
    steps = 2 * np.array([len(cell) for cell in X["audio"]])  # both modalities are observed
    expected = logs / np.exp(tau.a + tau.b * np.log(steps))[:, None] + np.log(model.priors_)
    np.testing.assert_allclose(model.predict_joint_log_proba(X), expected, rtol=1e-9)
    assert tau.origin == "learnt out of fold"
    assert tau.converged


def test_priors_do_not_change_what_is_learnt(data):
    """The temperature is one of likelihoods; new priors move posteriors as Bayes says."""
    X, y = data
    model = HMMClassifier(2, random_state=0).fit(X, y)
    other = clone(model).set_params(priors=[0.9, 0.1]).fit(X, y)
    assert model.temperature_ == other.temperature_
    moved = model.predict_proba(X) * np.array([0.9, 0.1]) / model.priors_
    moved /= moved.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(other.predict_proba(X), moved, atol=1e-9)


@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_posteriors_of_long_sequences_are_not_saturated(chain, global_seed):
    """Models of too few states and noise that repeats itself: evidence that is counted twice."""
    X, y = drawn(global_seed, 150, lengths=(150, 300), separation=0.7, persistence=0.9)
    X = X.map(lambda cell: np.hstack([cell] * 3))
    y = y.where(np.random.default_rng(global_seed).uniform(size=len(y)) > 0.1, 1 - y)
    options = {"n_states": 2, "chain": chain, "random_state": 0, "cv": 3, "priors": [0.5, 0.5]}
    warm = HMMClassifier(**options).fit(X[:100], y[:100])
    cold = HMMClassifier(**options, temperature=None).fit(X[:100], y[:100])
    losses = [log_loss(y[100:], m.predict_proba(X[100:])) for m in (warm, cold)]
    assert losses[0] < 0.6 * losses[1]
    assert losses[0] < 1.0
    np.testing.assert_array_equal(warm.predict(X), cold.predict(X))  # for equal priors


# Streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_weight_0_is_a_stream_removed(chain, data):
    X, y = data
    both = quick(chain=chain, stream_weights={"audio": 1.0, "video": 0.0}).fit(X, y)
    alone = quick(chain=chain, modalities={"audio": ["audio"]}).fit(X, y)
    np.testing.assert_allclose(
        both.predict_joint_log_proba(X), alone.predict_joint_log_proba(X), rtol=1e-9
    )


def test_weights_by_class_are_those_of_each_class(data):
    X, y = data
    one, two = (1.0, 0.5), (0.2, 1.3)
    by_class = quick(stream_weights=np.array([one, two]).T).fit(X, y)
    for c, weights in enumerate((one, two)):
        same = quick(stream_weights=weights).fit(X, y)
        np.testing.assert_allclose(
            by_class.predict_joint_log_proba(X)[:, c], same.predict_joint_log_proba(X)[:, c]
        )


@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_learnt_weights_leave_noise_out(chain, global_seed):
    transition = [[[0.9, 0.1], [0.1, 0.9]], [[0.3, 0.7], [0.7, 0.3]]]
    X, y = drawn(
        global_seed, 120, n_states=2, transition=transition, lengths=(10, 30),
        separation={"audio": 3.0, "video": 0.0},
    )  # fmt: skip
    rng = np.random.default_rng(global_seed)
    # Noise whose level is each recording's own: models of it are wrong with great confidence.
    X = X.assign(video=[cell + rng.normal(scale=3, size=3) for cell in X["video"]])
    options = {"chain": chain, "temperature": "learn", "cv": 3, "n_init": 3}
    learnt = quick(stream_weights="learn", **options).fit(X[:80], y[:80])
    assert learnt.learnt_.converged
    assert learnt.learnt_.gap < 1e-4
    assert learnt.stream_weights_[0] == 1
    assert learnt.stream_weights_[1] < 0.5
    np.testing.assert_allclose(
        learnt.stream_weights_, learnt.learnt_.weights / learnt.learnt_.weights.max()
    )
    equal = quick(**options).fit(X[:80], y[:80])
    if chain == "separate":  # there, what was learnt is what is answered: check it at the optimum
        assert learnt.temperature_.loss == learnt.learnt_.temperature.loss
        assert learnt.temperature_.loss < equal.temperature_.loss
        np.testing.assert_allclose(
            learnt.temperature_.at([9]) * learnt.learnt_.weights.max(),
            learnt.learnt_.temperature.at([9]),
        )


def test_separate_chains_have_their_own_lengths(data):
    X, y = data
    slow = X.assign(video=[cell[::3] for cell in X["video"]])
    model = quick(chain="separate").fit(slow, y)
    assert model.score(slow, y) > 0.5
    for name in ("audio", "video"):
        alone = quick(chain="separate", modalities={name: [name]}).fit(slow, y)
        assert set(model.models_[0]) == {"audio", "video"}
        if name == "audio":  # the draws of the first modality are the same
            np.testing.assert_allclose(
                model.models_[0][name].emissions[0].params["means"],
                alone.models_[0][name].emissions[0].params["means"],
            )
    with pytest.raises(ValueError, match=r"'video' and 'audio' have \d+ and \d+ steps"):
        quick().fit(slow, y)


def test_modality_order_does_not_matter(data):
    X, y = data
    one = quick(modalities={"audio": ["audio"], "video": ["video"]}, n_states=1).fit(X, y)
    two = quick(modalities={"video": ["video"], "audio": ["audio"]}, n_states=1).fit(X, y)
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-9)


def test_families_and_options_by_modality(global_seed):
    X, y = drawn(global_seed, 40)
    X = pd.DataFrame(
        {
            "audio": X["audio"],
            "words": [np.where(cell[:, 0] > 0, "up", "down") for cell in X["video"]],
            "counts": [np.floor(np.abs(cell)) for cell in X["video"]],
        }
    )
    emissions = {
        "audio": ("gaussian", {"covariance_type": "full"}),
        "words": "categorical",
        "counts": "poisson",
    }
    model = quick(emissions=emissions).fit(X, y)
    kinds = [emission.family for emission in model.models_[0].emissions]
    assert kinds == ["gaussian", "categorical", "poisson"]
    assert np.isfinite(model.predict_proba(X)).all()


def test_symbols_of_one_class_are_known_to_all():
    X = pd.DataFrame({"words": [list("aab"), list("aba"), list("ccb"), list("cbc")]})
    y = ["left", "left", "right", "right"]
    model = quick(emissions="categorical", n_states=1).fit(X, y)
    new = pd.DataFrame({"words": [list("abb"), list("cbb")]})
    np.testing.assert_array_equal(model.predict(new), ["left", "right"])
    with pytest.raises(ValueError, match="modality 'words': symbols 'z' were not seen"):
        model.predict(pd.DataFrame({"words": [list("abz")]}))
    ignoring = quick(emissions=("categorical", {"unknown": "ignore"}), n_states=1).fit(X, y)
    np.testing.assert_allclose(
        ignoring.predict_proba(pd.DataFrame({"words": [list("abz")]})),
        ignoring.predict_proba(pd.DataFrame({"words": [list("ab")]})),
    )
    with pytest.raises(
        ValueError, match="'words' holds text, and gaussian emissions need numbers"
    ):
        quick().fit(X, y)


# What is absent ------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_an_absent_stream_has_factor_1(chain, data):
    X, y = data
    model = quick(chain=chain).fit(X, y)
    without = X.copy()
    without.iloc[0, 1] = None
    without.iloc[1, 1] = np.nan
    without.at[2, "video"] = np.full_like(X["video"].iloc[2], np.nan)
    silenced = clone(model).set_params(stream_weights=(1.0, 0.0)).fit(X, y)
    silenced.models_ = model.models_
    np.testing.assert_allclose(
        model.predict_joint_log_proba(without[:3]),
        silenced.predict_joint_log_proba(X[:3]),
        rtol=1e-9,
    )


def test_an_absent_step_has_factor_1_and_teaches_nothing(data):
    X, y = data
    holes = X.map(np.copy)
    for cell in holes["video"]:
        cell[3:6] = np.nan
    found = quick().fit(holes, y)
    filled = holes.map(lambda cell: np.where(np.isnan(cell), 0.0, cell))
    with_zeros = quick().fit(filled, y)
    assert abs(found.predict_log_proba(X) - with_zeros.predict_log_proba(X)).max() > 1e-3
    # One state: the mean is that of the steps that are there.
    single = quick(n_states=1).fit(holes, y)
    rows = np.concatenate(list(holes["video"][y == 0]))
    np.testing.assert_allclose(
        single.models_[0].emissions[1].params["means"][0], np.nanmean(rows, axis=0)
    )


def test_a_sample_without_any_modality_gets_the_priors(data):
    X, y = data
    model = quick(priors=[0.9, 0.1]).fit(X, y)
    new = X[:3].copy()
    new.iloc[1] = None
    with pytest.warns(UserWarning, match="1 of 3 samples have no modality"):
        found = model.predict_proba(new)
    np.testing.assert_allclose(found[1], [0.9, 0.1])
    np.testing.assert_allclose(found[[0, 2]], model.predict_proba(X[:3])[[0, 2]])


def test_a_class_without_a_modality_is_refused(data):
    X, y = data
    lost = X.copy()
    lost.loc[y[y == 1].index, "video"] = None
    with pytest.raises(ValueError, match="class 1 has no sample with modality 'video'"):
        quick().fit(lost, y)


# Models --------------------------------------------------------------------------------------


def test_states_by_class_and_topology(data):
    X, y = data
    labels = y.map({0: "down", 1: "up"})
    model = quick(n_states={"down": 2, "up": 4}, topology="left-right").fit(X, labels)
    assert list(model.classes_) == ["down", "up"]
    assert [len(model.models_[label].start) for label in ("down", "up")] == [2, 4]
    found = model.models_["up"]
    np.testing.assert_array_equal(found.start, [1, 0, 0, 0])
    allowed = np.eye(4) + np.eye(4, k=1)
    np.testing.assert_array_equal(found.transition * (1 - allowed), 0)
    assert set(model.predict(X)) <= {"down", "up"}


def test_zeros_of_the_user_stay(data):
    X, y = data
    transition = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    start = {0: [1.0, 0.0, 0.0], 1: [0.0, 0.5, 0.5]}
    model = quick(n_states=3, transition=transition, start=start, transition_prior=1.5).fit(X, y)
    for c in (0, 1):
        np.testing.assert_array_equal(model.models_[c].transition == 0, transition == 0)
        assert (model.models_[c].start[np.array(start[c]) == 0] == 0).all()


@pytest.mark.parametrize("chain", ["shared", "separate"])
def test_history_never_falls(chain, data):
    X, y = data
    model = quick(chain=chain, n_states=3, tol=1e-6, max_iter=300).fit(X, y)
    for history in model.history_.values():
        runs = [history] if chain == "shared" else list(history.values())
        for run in runs:
            assert len(run) > 2
            assert (np.diff(run) >= -1e-8 * abs(run[0])).all()
    assert model.n_iter_ >= 2


def test_it_says_when_it_did_not_converge(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="2 of 2 classes: not converged after 1 iter"):
        quick(max_iter=1, tol=1e-12).fit(X, y)


def test_restarts_are_no_worse(data):
    X, y = data
    one, four = (quick(n_states=4, n_init=n, tol=1e-4).fit(X, y) for n in (1, 4))
    for c in (0, 1):
        assert four.history_[c][-1] >= one.history_[c][-1] - 1e-9


def test_weights_of_samples_are_repetitions(data):
    X, y = data
    weights = np.random.default_rng(0).integers(0, 3, size=len(y))
    options = {"n_states": 3, "max_iter": 5, "tol": 0.0}
    with pytest.warns(ConvergenceWarning):
        weighted = quick(**options).fit(X, y, sample_weight=weights)
    rows = np.repeat(np.arange(len(y)), weights)
    with pytest.warns(ConvergenceWarning):
        repeated = quick(**options).fit(X.iloc[rows], y.iloc[rows])
    np.testing.assert_allclose(weighted.priors_, repeated.priors_)
    np.testing.assert_allclose(
        weighted.predict_joint_log_proba(X), repeated.predict_joint_log_proba(X), rtol=1e-6
    )


def test_order_of_sequences_does_not_matter(data):
    X, y = data
    order = np.random.default_rng(1).permutation(len(y))
    one = quick().fit(X, y)
    two = quick().fit(X.iloc[order], y.iloc[order])
    np.testing.assert_allclose(
        one.predict_joint_log_proba(X), two.predict_joint_log_proba(X), rtol=1e-7
    )


def test_threads_change_nothing(global_seed):
    X, y = drawn(global_seed, 40)
    one, two = (
        HMMClassifier(stream_weights="learn", cv=2, random_state=3, n_jobs=n).fit(X, y)
        for n in (None, 2)
    )
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert one.temperature_ == two.temperature_


def test_one_step_is_a_mixture(global_seed):
    """Number columns are sequences of one step; one state each is naive Bayes."""
    rng = np.random.default_rng(global_seed)
    y = np.repeat([0, 1, 2], 40)
    X = rng.normal(size=(120, 4)) + y[:, None]
    with pytest.warns(UserWarning, match="nothing is fused"):
        model = HMMClassifier(n_states=1, emissions=("gaussian", {"min_covar": 1e-12})).fit(X, y)
    expected = GaussianNB(var_smoothing=0).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
    assert "one step" in model.temperature_.origin


# Folds ---------------------------------------------------------------------------------------


def test_too_few_samples_leave_the_temperature_at_1(data):
    X, y = data
    rows = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[:9]]
    with pytest.warns(UserWarning, match="class 0 has 3 samples, and folds need at least 4"):
        model = HMMClassifier(n_states=2).fit(X.iloc[rows], y.iloc[rows])
    assert "3 samples" in model.temperature_.origin
    assert model.temperature_[:2] == (0.0, 0.0)
    with pytest.raises(ValueError, match="stream_weights='learn' is not possible: class 0 has 3"):
        quick(stream_weights="learn").fit(X.iloc[rows], y.iloc[rows])


def test_one_group_cannot_be_divided(data):
    X, y = data
    with pytest.warns(UserWarning, match="all samples are in one group"):
        model = HMMClassifier(n_states=1).fit(X, y, groups=np.zeros(len(y)))
    assert "one group" in model.temperature_.origin


def test_folds_keep_groups_together(data):
    X, y = data
    who = np.arange(60) // 5
    model = HMMClassifier(n_states=2, random_state=0)
    kept = clone(model).fit(X, y, groups=who).temperature_
    folds = list(StratifiedGroupKFold(5).split(X, y, who))
    assert clone(model).set_params(cv=folds).fit(X, y).temperature_ == kept
    assert clone(model).fit(X, y).temperature_ != kept
    named = clone(model).set_params(groups="who").fit(X.assign(who=who), y)
    assert named.temperature_ == kept
    assert list(named.modalities_) == ["audio", "video"]
    with pytest.raises(ValueError, match="cv divides"):
        clone(model).set_params(cv=list(KFold(7).split(X))).fit(X, y, groups=who)


def test_more_folds_than_samples_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="cannot be made of 60 samples"):
        HMMClassifier(cv=40).fit(X, y)


# scikit-learn --------------------------------------------------------------------------------


def thin(X):
    """Every fifth step: quick, and the same for a hand-written loop."""
    return X.map(lambda cell: cell[::5])


@pytest.fixture(scope="module")
def watch():
    bunch = load_watch()
    return thin(bunch.data), bunch.target, np.asarray(bunch.groups)


def test_search_over_weights_by_subject_is_a_loop(watch):
    X, y, groups = watch
    choices = [{"accelerometer": 1, "gyroscope": w} for w in (0.0, 0.5, 1.0)]
    base = HMMClassifier(n_states=2, temperature=None, max_iter=10, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(None), base)
    search = GridSearchCV(
        pipeline, {"hmmclassifier__stream_weights": choices}, cv=GroupKFold(2), refit=False
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
    assert search.cv_results_["mean_test_score"].max() > 0.6


def test_cross_val_predict_scorers_and_voting_are_a_loop(data):
    X, y = data
    model = quick()
    groups = np.arange(len(y)) // 6
    out = cross_val_predict(model, X, y, cv=GroupKFold(3), groups=groups, method="predict_proba")
    scores = cross_validate(
        model, X, y, cv=GroupKFold(3), groups=groups, scoring=("accuracy", "neg_log_loss")
    )
    for f, (train, test) in enumerate(GroupKFold(3).split(X, y, groups)):
        fitted = clone(model).fit(X.iloc[train], y.iloc[train])
        own = fitted.predict_proba(X.iloc[test])
        np.testing.assert_array_equal(out[test], own)
        assert scores["test_accuracy"][f] == np.mean(own.argmax(axis=1) == y.iloc[test])
        assert scores["test_neg_log_loss"][f] == pytest.approx(
            -log_loss(y.iloc[test], own[:, 1])  # scorers hand over one column of two
        )
    other = quick(stream_weights=(1.0, 0.2))
    voting = VotingClassifier([("a", model), ("b", other)], voting="soft").fit(X, y)
    mean = (model.fit(X, y).predict_proba(X) + other.fit(X, y).predict_proba(X)) / 2
    np.testing.assert_allclose(voting.predict_proba(X), mean, atol=1e-12)


def test_bagging_works(data):
    X, y = data
    bag = BaggingClassifier(quick(modalities={"audio": [0], "video": [1]}), 2, random_state=0)
    found = bag.fit(X.to_numpy(), y).predict_proba(X.to_numpy())
    each = [
        model.predict_proba(X.to_numpy()[:, columns])
        for model, columns in zip(bag.estimators_, bag.estimators_features_, strict=True)
    ]
    np.testing.assert_allclose(found, np.mean(each, axis=0))
    assert not np.allclose(*each)


def test_late_fusion_of_a_chain_and_a_machine(global_seed):
    """The survey's own example: a hidden Markov model for the audio, an SVM for the images."""
    X, y = drawn(global_seed, 120, modalities={"audio": 2}, lengths=(150, 250), separation=0.6)
    rng = np.random.default_rng(global_seed)
    images = rng.normal(size=(120, 3)) + 0.9 * y.to_numpy()[:, None]
    X = X.assign(**{f"image__{j}": images[:, j] for j in range(3)})
    X = X.reset_index(drop=True)
    svm = make_pipeline(StandardScaler(), SVC())
    modalities = {"audio": ["audio"], "image": [f"image__{j}" for j in range(3)]}

    def fused(**options):
        chain = HMMClassifier(n_states=3, random_state=0, **options)
        return LateFusionClassifier([("audio", chain), ("image", svm)], modalities)

    warm, cold = fused(cv=3), fused(temperature=None)
    train, test = np.arange(80), np.arange(80, 120)
    losses = []
    for fusion in (warm, cold):
        fusion.fit(X.iloc[train], y.iloc[train])
        losses.append(log_loss(y.iloc[test], fusion.predict_proba(X.iloc[test])))
    assert losses[0] <= losses[1] + 0.05
    assert losses[0] < 0.65
    assert warm.score(X.iloc[test], y.iloc[test]) > 0.6
    assert list(warm.named_estimators_) == ["audio", "image"]
    assert warm.get_params()["audio__n_states"] == 3


def test_lists_and_arrays_of_sequences(global_seed):
    X, y = drawn(global_seed, 30, modalities={"audio": 2}, lengths=12)
    cells = list(X["audio"])
    with pytest.warns(UserWarning, match="nothing is fused"):
        expected = quick().fit(X, y).predict_proba(X)
    stacked = np.empty(30, dtype=object)
    stacked[:] = cells
    for same in (cells, stacked, np.array(cells)):
        with pytest.warns(UserWarning, match="nothing is fused"):
            found = quick().fit(same, y)
        np.testing.assert_array_equal(found.predict_proba(same), expected)


def test_inputs_are_left_as_they_were(data):
    X, y = data
    before = [cell.copy() for cell in X["audio"]]
    for cell in X["audio"]:
        cell.setflags(write=False)
    HMMClassifier(cv=2).fit(X, y).predict(X)
    for cell, old in zip(X["audio"], before, strict=True):
        np.testing.assert_array_equal(cell, old)


def test_a_second_fit_keeps_nothing(global_seed):
    X, y = drawn(global_seed, 40)
    other_X, other_y = drawn(global_seed + 1, 45, n_classes=3, modalities={"a": 1, "b": 4})
    model = quick().fit(X, y).fit(other_X, other_y)
    fresh = quick().fit(other_X, other_y)
    np.testing.assert_array_equal(model.predict_proba(other_X), fresh.predict_proba(other_X))
    assert set(vars(model)) == set(vars(fresh))


# Bad input -----------------------------------------------------------------------------------


def test_a_class_of_one_short_row(data):
    X, y = data
    X = X.copy()
    labels = y.astype(object).copy()
    labels.iloc[0] = "rare"
    labels = labels.map(str)
    X.at[0, "audio"], X.at[0, "video"] = np.zeros((1, 2)), np.ones((1, 3))
    model = quick(n_states=3).fit(X, labels)  # more states than steps
    found = model.predict_proba(X)
    assert np.isfinite(found).all()
    assert model.predict(X)[0] == "rare"


def with_cell(X, value):
    X = X.map(np.copy)
    X.at[X.index[4], "audio"] = value
    return X


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.empty((0, 2)), "audio"),
        (np.zeros((5, 3)), "audio"),
        (np.array([[0.0, np.inf]] * 5), "audio"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "audio"),
    ],
)
def test_bad_cells_are_refused_by_name(value, message, data):
    X, y = data
    with pytest.raises(ValueError, match=message):
        quick().fit(with_cell(X, value), y)
    model = quick().fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.predict(with_cell(X, value))


def test_streams_that_nobody_has_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="'video' is missing for every sample"):
        quick().fit(X.assign(video=None), y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_states": 0}, "n_states must be a whole number, at least 1"),
        ({"n_states": {0: 2}}, "n_states must name each of the classes 0, 1"),
        ({"emissions": "laplace"}, "emission must be one of"),
        ({"emissions": {"sound": "gaussian"}}, "emissions names 'sound', which is no modality"),
        ({"emissions": {"audio": "poisson"}}, "modality 'audio': poisson emissions need counts"),
        ({"stream_weights": (1.0,)}, "stream_weights must have length 2"),
        ({"stream_weights": (1.0, -1.0)}, "stream_weights must be non-negative"),
        ({"stream_weights": (0.0, 0.0)}, "0 for every modality"),
        ({"stream_weights": "guess"}, "stream_weights must be one of 'learn'"),
        ({"stream_weights": np.ones((2, 3))}, r"by class must have shape \(2, 2\)"),
        ({"chain": "both"}, "chain must be one of 'shared', 'separate'"),
        ({"topology": "ring"}, "topology must be one of"),
        ({"start": [1.0, 1.0]}, "start must be non-negative and sum to 1"),
        ({"priors": [0.5, 0.6]}, "priors must be non-negative and sum to 1"),
        ({"priors": "uniform"}, "priors must be one of 'empirical'"),
        ({"temperature": -1.0}, "temperature must be 'learn', None or a finite number above 0"),
        ({"temperature": "guess"}, "temperature must be one of 'learn'"),
        ({"n_init": 0}, "n_init must be a whole number"),
    ],
)
def test_parameters_out_of_range_are_refused(options, message, data):
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(*data)


def test_bad_labels_and_weights_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"y has one class \(0\)"):
        quick().fit(X, np.zeros(len(y), int))
    with pytest.raises(ValueError, match="classes 1 have no sample with a weight"):
        quick().fit(X, y, sample_weight=(y == 0).astype(float))
    with pytest.raises(ValueError, match="y has 59"):
        quick().fit(X, y[:-1])
