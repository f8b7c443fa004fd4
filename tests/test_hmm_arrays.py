"""Hidden Markov models on arrays: enumeration, naive EM, hmmlearn, and what EM promises."""

import warnings
from itertools import pairwise

import numpy as np
import oracles_hmm as oracle
import pytest
from hmmlearn import hmm
from oracles_chain import path_score
from test_emissions import PRIORS, SPECS, assert_same_params, every_spec, values_of

from mkfusion.chains._chain import posteriors, step_sequence, viterbi
from mkfusion.chains._em import (
    HMM,
    emission_scores,
    expect,
    fit_hmm,
    log_likelihoods,
    log_potentials,
    maximize,
    n_parameters,
    prepare,
)
from mkfusion.chains._emissions import (
    CategoricalEmission,
    GaussianEmission,
    GMMEmission,
    PoissonEmission,
    Stream,
    resolve_emission,
)

S = 3
LENGTHS = (4, 1, 5, 3, 5, 4)
MIXED = [("gaussian", {"covariance_type": "full"}), "poisson", "categorical"]


def offsets_of(lengths):
    return np.r_[0, np.cumsum(lengths)]


def chain_states(offsets, rng):
    """Draw states that mostly stay."""
    states = rng.integers(S, size=offsets[-1])
    for a, b in pairwise(offsets):
        for t in range(a + 1, b):
            if rng.random() < 0.7:
                states[t] = states[t - 1]
    return states


def data(specs, lengths, rng, absent=0.0):
    offsets = offsets_of(lengths)
    states = chain_states(offsets, rng)
    streams = []
    for spec in specs:
        values = values_of(spec, len(states), rng, states)
        present = rng.random(len(states)) >= absent
        streams.append(Stream(np.where(present[:, None], values, np.nan), present))
    return streams, offsets


def random_model(specs, streams, rng):
    weights = rng.dirichlet(np.ones(S), len(streams[0].values))
    emissions = []
    for spec, stream in zip(specs, streams, strict=True):
        family, options = resolve_emission(spec)
        shown = np.where(stream.present[:, None], weights, 0.0)
        emissions.append(family.initial(stream.values, shown, S, rng, **options))
    start, transition = rng.dirichlet(np.ones(S)), rng.dirichlet(np.ones(S), S)
    return HMM(start, transition, tuple(emissions))


# Against enumeration


@pytest.mark.parametrize("stream_weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 0.0]])
def test_likelihood_and_expectation_are_those_of_all_paths(stream_weights, global_seed):
    rng = np.random.default_rng(global_seed)
    streams, offsets = data(MIXED, LENGTHS, rng, absent=0.3)
    model = random_model(MIXED, streams, rng)
    logs, gamma, pairs = oracle.log_likelihoods_and_responsibilities(
        model, streams, offsets, stream_weights
    )
    np.testing.assert_allclose(
        log_likelihoods(model, streams, offsets, stream_weights), logs, rtol=1e-10, atol=1e-12
    )
    own = rng.uniform(0, 2, len(LENGTHS))
    found = expect(
        model,
        streams,
        prepare(model, streams),
        offsets,
        stream_weights=np.array(stream_weights),
        sample_weight=own,
    )
    np.testing.assert_allclose(found.log_likelihoods, logs, rtol=1e-10, atol=1e-12)
    first = sum(w * g[0] for w, g in zip(own, gamma, strict=True))
    np.testing.assert_allclose(found.start, first, atol=1e-12)
    counts = sum(w * p for w, p in zip(own, pairs, strict=True))
    np.testing.assert_allclose(found.pairs, counts, atol=1e-12)


@every_spec
@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_iteration_is_the_naive_one(spec, absent, global_seed):
    rng = np.random.default_rng(global_seed)
    streams, offsets = data([spec, "poisson"], LENGTHS * 2, rng, absent)
    model = random_model([spec, "poisson"], streams, rng)
    stream_weights = np.array([0.7, 1.3])
    own = rng.uniform(0.5, 2, len(offsets) - 1)
    log_likelihood, start, transition, params = oracle.em_step(
        model, streams, offsets, stream_weights, own
    )
    # The floor binds where few steps share a state; the naive iteration has none.
    for emission in model.emissions:
        emission.floor = np.full_like(getattr(emission, "floor", np.ones(1)), 1e-12)
    fit = fit_hmm(
        streams,
        offsets,
        S,
        [spec, "poisson"],
        stream_weights=stream_weights,
        sample_weight=own,
        initial=model,
        max_iter=1,
        tol=0,
    )
    np.testing.assert_allclose(fit.history[0], log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(fit.model.start, start, atol=1e-10)
    np.testing.assert_allclose(fit.model.transition, transition, atol=1e-9)
    for emission, wanted in zip(fit.model.emissions, params, strict=True):
        assert_same_params(emission, wanted, 1e-6)


def test_clamped_steps_have_no_other_states(global_seed):
    rng = np.random.default_rng(global_seed)
    streams, offsets = data(MIXED, LENGTHS, rng)
    model = random_model(MIXED, streams, rng)
    clamped = rng.random((offsets[-1], S)) < 0.6
    clamped[:, 1] |= ~clamped.any(axis=1)
    wanted = oracle.em_step(model, streams, offsets, np.ones(3), np.ones(len(LENGTHS)), clamped)
    fit = fit_hmm(streams, offsets, S, MIXED, clamped=clamped, initial=model, max_iter=1, tol=0)
    np.testing.assert_allclose(fit.history[0], wanted[0], rtol=1e-10)
    np.testing.assert_allclose(fit.model.transition, wanted[2], atol=1e-9)


def test_clamped_to_one_state_is_counting(global_seed):
    rng = np.random.default_rng(global_seed)
    spec = "gaussian"
    streams, offsets = data([spec], (30, 20, 25), rng)
    states = chain_states(offsets, rng)
    fit = fit_hmm(streams, offsets, S, [spec], clamped=np.eye(S, dtype=bool)[states])
    counts = np.zeros((S, S))
    for a, b in pairwise(offsets):
        np.add.at(counts, (states[a : b - 1], states[a + 1 : b]), 1)
    np.testing.assert_allclose(
        fit.model.transition, counts / counts.sum(axis=1, keepdims=True), atol=1e-12
    )
    for k in range(S):
        np.testing.assert_allclose(
            fit.model.emissions[0].means[k], streams[0].values[states == k].mean(axis=0)
        )
    assert fit.n_iter <= 2


# What EM promises


@every_spec
@pytest.mark.parametrize("stream_weights", [[1.0, 1.0], [0.3, 2.5]])
@pytest.mark.parametrize("priors", [False, True])
def test_objective_never_falls(spec, stream_weights, priors, global_seed):
    rng = np.random.default_rng(global_seed)
    family, options = spec
    specs = [(family, {**options, **(PRIORS[family] if priors else {})}), "categorical"]
    streams, offsets = data(specs, (15,) * 8, rng, absent=0.2)
    for restart in range(3):
        fit = fit_hmm(
            streams,
            offsets,
            S,
            specs,
            stream_weights=stream_weights,
            sample_weight=rng.integers(0, 3, 8).astype(float) + (np.arange(8) == 0),
            start_prior=1.5 if priors else 1,
            transition_prior=2.0 if priors else 1,
            max_iter=40,
            tol=0,
            rng=np.random.default_rng(restart),
        )
        assert np.diff(fit.history).min() >= -1e-8 * abs(fit.history[-1])
        assert fit.history[-1] > fit.history[0]


def test_best_restart_is_kept():
    rng = np.random.default_rng(3)
    streams, offsets = data(["gaussian"], (40,) * 4, rng)
    seen = {}

    def watch(restart, iteration, gain):
        seen.setdefault(restart, []).append(gain)

    alone = []
    generator = np.random.default_rng(7)
    for _ in range(5):
        alone.append(fit_hmm(streams, offsets, S, ["gaussian"], rng=generator).history[-1])
    fit = fit_hmm(
        streams,
        offsets,
        S,
        ["gaussian"],
        n_init=5,
        rng=np.random.default_rng(7),
        progress=watch,
    )
    assert fit.history[-1] == max(alone) > min(alone)
    assert sorted(seen) == list(range(5))


def test_certificate():
    rng = np.random.default_rng(0)
    streams, offsets = data(["gaussian"], (40,) * 4, rng)
    fit = fit_hmm(streams, offsets, S, ["gaussian"], tol=1e-3)
    assert fit.converged
    assert len(fit.history) == fit.n_iter + 1
    assert fit.gain == pytest.approx((fit.history[-1] - fit.history[-2]) / 160)
    assert fit.gain < 1e-3
    total = log_likelihoods(fit.model, streams, offsets).sum()
    assert fit.log_likelihood == pytest.approx(total) == fit.history[-1]
    short = fit_hmm(streams, offsets, S, ["gaussian"], tol=0, max_iter=2)
    assert not short.converged
    assert short.n_iter == 2


@every_spec
def test_stream_of_weight_0_is_as_if_removed(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    specs = ["gaussian", spec]
    streams, offsets = data(specs, (20,) * 5, rng)
    both = fit_hmm(streams, offsets, S, specs, stream_weights=[1, 0], n_init=2, max_iter=5, tol=0)
    one = fit_hmm(streams[:1], offsets, S, specs[:1], n_init=2, max_iter=5, tol=0)
    np.testing.assert_array_equal(both.history, one.history)
    first = fit_hmm(
        streams[::-1], offsets, S, specs[::-1], stream_weights=[0, 1], n_init=2, max_iter=5, tol=0
    )
    np.testing.assert_array_equal(first.history, one.history)


def test_weight_0_makes_no_nan_of_what_is_impossible():
    table = np.array([[1.0, 0.0], [1.0, 0.0]])
    model = HMM(np.full(2, 0.5), np.full((2, 2), 0.5), (CategoricalEmission(table),))
    stream = Stream(np.array([[1], [0]]), np.ones(2, bool))
    assert (emission_scores(model, [stream], [0.0]) == 0).all()
    assert (emission_scores(model, [stream], [0.5])[0] == -np.inf).all()


@every_spec
def test_absent_stream_is_as_if_removed_in_training(spec, global_seed):
    """A stream that a sequence lacks has the factor 1: with one stream, the sequence is mute."""
    rng = np.random.default_rng(global_seed)
    streams, offsets = data([spec], (12,) * 6, rng)
    mute = np.ones(72, bool)
    mute[:12] = False
    stream = Stream(np.where(mute[:, None], streams[0].values, np.nan), mute)
    model = random_model([spec], [stream], rng)
    a = fit_hmm([stream], offsets, S, [spec], initial=model, max_iter=3, tol=0)
    rest = Stream(streams[0].values[12:], mute[12:])
    b = fit_hmm([rest], offsets[1:] - 12, S, [spec], initial=model, max_iter=1, tol=0)
    assert a.history[0] == pytest.approx(b.history[0])
    one = fit_hmm([stream], offsets, S, [spec], initial=model, max_iter=1, tol=0)
    assert_same_params(one.model.emissions[0], b.model.emissions[0].params, 1e-8)


@pytest.mark.parametrize("topology", ["ergodic", "left-right"])
def test_sequence_of_weight_2_stands_twice_and_of_0_not_at_all(topology, global_seed):
    rng = np.random.default_rng(global_seed)
    specs = ["gaussian", ("gmm", {"n_mix": 2}), "categorical", "poisson"]
    lengths = rng.integers(8, 15, 7)
    streams, offsets = data(specs, lengths, rng, absent=0.1)
    own = np.array([2.0, 1, 0, 3, 1, 0, 2])
    kinds = {"topology": topology, "n_init": 2, "max_iter": 10, "tol": 0}
    weighted = fit_hmm(streams, offsets, S, specs, sample_weight=own, **kinds)
    parts = np.repeat(np.arange(7), own.astype(int))
    rng.shuffle(parts)
    steps = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in parts])
    repeated = [Stream(stream.values[steps], stream.present[steps]) for stream in streams]
    twice = fit_hmm(repeated, offsets_of(lengths[parts]), S, specs, **kinds)
    np.testing.assert_allclose(twice.history, weighted.history, rtol=1e-7)
    np.testing.assert_allclose(twice.model.transition, weighted.model.transition, atol=1e-5)


def test_weights_of_all_sequences_have_no_unit():
    rng = np.random.default_rng(0)
    streams, offsets = data(["gaussian"], (15,) * 6, rng)
    one = fit_hmm(streams, offsets, S, ["gaussian"])
    small = fit_hmm(streams, offsets, S, ["gaussian"], sample_weight=np.full(6, 1e-3))
    assert small.n_iter == one.n_iter
    np.testing.assert_allclose(small.model.transition, one.model.transition, rtol=1e-7)


def test_threads_change_nothing(global_seed):
    rng = np.random.default_rng(global_seed)
    specs = [("gaussian", {"covariance_type": "full"}), "categorical", ("gmm", {}), "poisson"]
    streams, offsets = data(specs, (60,) * 150, rng, absent=0.1)
    one, three = (
        fit_hmm(streams, offsets, S, specs, max_iter=3, tol=0, n_threads=k) for k in (1, 3)
    )
    np.testing.assert_array_equal(one.history, three.history)
    np.testing.assert_array_equal(one.model.transition, three.model.transition)
    for a, b in zip(one.model.emissions, three.model.emissions, strict=True):
        assert a == b


def test_structural_zeros_stay(global_seed):
    rng = np.random.default_rng(global_seed)
    streams, offsets = data(["gaussian"], (20,) * 5, rng)
    start = np.array([0.5, 0.5, 0])
    transition = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])
    fit = fit_hmm(
        streams, offsets, S, ["gaussian"], start=start, transition=transition, transition_prior=2
    )
    assert (fit.model.start[start == 0] == 0).all()
    assert (fit.model.transition[transition == 0] == 0).all()
    assert (fit.model.transition[transition > 0] > 0).all()
    assert n_parameters(fit.model) == 1 + 3 + 12


def test_left_right_begins_with_equal_parts(global_seed):
    rng = np.random.default_rng(global_seed)
    states = np.tile(np.repeat(np.arange(S), 7), 6)
    values = rng.normal(size=(len(states), 2)) + 20 * states[:, None] * [1, -1]
    offsets = offsets_of([21] * 6)
    stream = Stream(values, np.ones(len(values), bool))
    fit = fit_hmm([stream], offsets, S, ["gaussian"], topology="left-right", n_init=3)
    np.testing.assert_array_equal(fit.model.start, [1, 0, 0])
    assert (np.tril(fit.model.transition, -1) == 0).all()
    assert (np.triu(fit.model.transition, 2) == 0).all()
    unary = emission_scores(fit.model, [stream])
    np.testing.assert_array_equal(
        viterbi(*log_potentials(fit.model), unary, offsets).states, states
    )


def test_factored_start_gives_back_what_made_the_data(global_seed):
    rng = np.random.default_rng(global_seed)
    states = np.zeros(3000, int)
    for t in range(1, 3000):
        states[t] = states[t - 1] if rng.random() < 0.9 else rng.integers(S)
    streams = [Stream(values_of(spec, 3000, rng, states), np.ones(3000, bool)) for spec in MIXED]
    offsets = np.arange(0, 3001, 100)
    fit = fit_hmm(streams, offsets, S, MIXED, n_init=4)
    unary = emission_scores(fit.model, streams)
    path = viterbi(*log_potentials(fit.model), unary, offsets).states
    table = np.zeros((S, S))
    np.add.at(table, (states, path), 1)
    assert (table.argmax(axis=1) != table.argmax(axis=1)[[1, 2, 0]]).all()
    assert table.max(axis=1).sum() > 0.85 * 3000


# Against hmmlearn


def gaussian_pair(kind, means, rng):
    n_states, d = means.shape
    if kind == "spherical":
        covars = rng.uniform(0.5, 2, n_states)
        theirs = np.tile(covars[:, None], (1, d))
    elif kind == "diag":
        covars = theirs = rng.uniform(0.5, 2, (n_states, d))
    else:
        roots = rng.normal(size=(n_states, d, d))
        covars = np.einsum("kij,klj->kil", roots, roots) + np.eye(d)
        covars = theirs = covars[0] if kind == "tied" else covars
    return covars, theirs


def hmmlearn_pair(spec, values, rng):
    """Return a model of hmmlearn and ours, of the same random parameters."""
    family, options = spec
    start, transition = rng.dirichlet(np.ones(S)), rng.dirichlet(np.ones(S), S)
    common = {"n_components": S, "init_params": "", "n_iter": 8, "tol": -np.inf}
    d = values.shape[1]
    means = rng.normal(size=(S, d)) + values.mean(axis=0)
    if family == "gaussian":
        kind = options["covariance_type"]
        theirs = hmm.GaussianHMM(
            covariance_type=kind, covars_prior=0, covars_weight=0, min_covar=0, **common
        )
        covars, other = gaussian_pair(kind, means, rng)
        theirs.means_, theirs._covars_, theirs.n_features = means, other, d
        ours = GaussianEmission(means, covars, kind, floor=np.full(d, 1e-12))
    elif family == "gmm":
        kind = options["covariance_type"]
        theirs = hmm.GMMHMM(n_mix=2, covariance_type=kind, **common)
        weights = rng.dirichlet(np.ones(2), S)
        means = rng.normal(size=(S, 2, d)) + values.mean(axis=0)
        n = S if kind == "tied" else 2 * S
        covars, _ = gaussian_pair(
            "full" if kind == "tied" else kind, means.reshape(-1, d)[:n], rng
        )
        covars = covars if kind == "tied" else covars.reshape(S, 2, *covars.shape[1:])
        theirs.weights_, theirs.means_, theirs.covars_, theirs.n_features = (
            weights,
            means,
            covars,
            d,
        )
        ours = GMMEmission(weights, means, covars, kind, floor=np.full(d, 1e-12))
    elif family == "poisson":
        theirs = hmm.PoissonHMM(**common)
        rates = rng.uniform(1, 5, (S, d))
        theirs.lambdas_, theirs.n_features = rates, d
        ours = PoissonEmission(rates, floor=np.full(d, 1e-12))
    else:
        theirs = hmm.CategoricalHMM(**common)
        table = rng.dirichlet(np.ones(4), S)
        theirs.emissionprob_, theirs.n_features = table, 4
        ours = CategoricalEmission(table)
    theirs.startprob_, theirs.transmat_ = start, transition
    return theirs, HMM(start, transition, (ours,))


def pair_and_data(spec, seed, lengths=(30, 1, 25, 44)):
    rng = np.random.default_rng(seed)
    streams, offsets = data([spec], lengths, rng)
    if spec[0] in ("gaussian", "gmm"):  # near 0, so that hmmlearn's sums of squares are exact
        streams = [Stream(streams[0].values - [100, -3], streams[0].present)]
    theirs, model = hmmlearn_pair(spec, streams[0].values, rng)
    X = streams[0].values
    X = X.astype(int) if spec[0] in ("categorical", "poisson") else X
    return theirs, model, X, streams, offsets, np.diff(offsets)


@every_spec
def test_paths_and_likelihood_are_hmmlearns(spec, global_seed):
    theirs, model, X, streams, offsets, lengths = pair_and_data(spec, global_seed)
    np.testing.assert_allclose(
        log_likelihoods(model, streams, offsets).sum(), theirs.score(X, lengths), rtol=1e-10
    )
    unary = emission_scores(model, streams)
    chain = (*log_potentials(model), unary, offsets)
    paths, other = viterbi(*chain), theirs.predict(X, lengths)
    scores = [path_score(*chain[:2], unary[a:b], other[a:b]) for a, b in pairwise(offsets)]
    np.testing.assert_allclose(paths.scores, scores, rtol=1e-10)
    if spec[0] not in ("categorical", "poisson"):  # two orders of the same steps can be as good
        np.testing.assert_array_equal(paths.states, other)
    np.testing.assert_allclose(
        posteriors(*chain).marginals, theirs.predict_proba(X, lengths), atol=1e-8
    )


@every_spec
def test_statistics_are_hmmlearns(spec, global_seed):
    theirs, model, X, streams, offsets, lengths = pair_and_data(spec, global_seed)
    theirs._check()
    wanted, _ = theirs._do_estep(X, lengths)
    found = expect(model, streams, prepare(model, streams), offsets, stream_weights=np.ones(1))
    np.testing.assert_allclose(found.start, wanted["start"], atol=1e-8)
    np.testing.assert_allclose(found.pairs, wanted["trans"], atol=1e-8)
    statistics, emission = found.statistics[0], model.emissions[0]
    if spec[0] == "categorical":
        np.testing.assert_allclose(statistics.T, wanted["obs"], atol=1e-8)
    elif spec[0] == "poisson":
        np.testing.assert_allclose(statistics.sums, wanted["obs"], rtol=1e-8)
        np.testing.assert_allclose(statistics.weights, wanted["post"], rtol=1e-8)
    elif spec[0] == "gaussian":
        weights, first, second = statistics
        means = emission.means
        np.testing.assert_allclose(weights, wanted["post"], rtol=1e-8)
        np.testing.assert_allclose(first + weights[:, None] * means, wanted["obs"], rtol=1e-8)
        squares = "obs*obs.T" if second.ndim == 3 else "obs**2"
        if second.ndim == 3:
            cross = np.einsum("ki,kj->kij", means, first)
            outer = np.einsum("k,ki,kj->kij", weights, means, means)
            second = second + cross + np.swapaxes(cross, 1, 2) + outer
        else:
            second = second + 2 * means * first + weights[:, None] * means**2
        np.testing.assert_allclose(second, wanted[squares], rtol=1e-8, atol=1e-8)
    else:
        weights, first, second = statistics
        kind = spec[1]["covariance_type"]
        means = emission.means.reshape(len(weights), -1)
        np.testing.assert_allclose(weights, wanted["post_mix_sum"].ravel(), rtol=1e-8)
        sums = (first + weights[:, None] * means).reshape(emission.means.shape)
        np.testing.assert_allclose(sums, wanted["m_n"], rtol=1e-8, atol=1e-8)
        # hmmlearn takes the scatter about the means of before, as these statistics do.
        if kind == "spherical":
            second = second.sum(axis=1)
        if kind == "tied":
            second = second.reshape(S, 2, *second.shape[1:]).sum(axis=1)
        np.testing.assert_allclose(
            second.reshape(wanted["c_n"].shape), wanted["c_n"], rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize(
    "spec",
    [spec for spec in SPECS.values() if spec[0] != "gmm"],
    ids=[name for name, spec in SPECS.items() if spec[0] != "gmm"],
)
def test_trajectory_is_hmmlearns(spec, global_seed):
    theirs, model, X, streams, offsets, lengths = pair_and_data(spec, global_seed)
    theirs.fit(X, lengths)
    history = np.array(theirs.monitor_.history)
    if spec[0] == "poisson":
        # hmmlearn divides 0 counts by 0 where a state is lost; it is not here.
        assert np.isfinite(history).all()
    fit = fit_hmm(streams, offsets, S, [spec], initial=model, max_iter=len(history), tol=0)
    n = min(len(fit.history), len(history))
    assert n >= 8
    np.testing.assert_allclose(fit.history[:n], history[:n], rtol=1e-8)
    last = fit_hmm(streams, offsets, S, [spec], initial=model, max_iter=n, tol=0).model
    np.testing.assert_allclose(last.transition, theirs.transmat_, atol=1e-6)


@pytest.mark.parametrize("kind", ["spherical", "diag", "full", "tied"])
def test_mixtures_take_the_scatter_about_their_new_means(kind, global_seed):
    """hmmlearn's covariances are about the means of before, and its likelihood may fall."""
    spec = ("gmm", {"covariance_type": kind, "n_mix": 2})
    theirs, model, X, streams, offsets, lengths = pair_and_data(spec, global_seed)
    theirs.n_iter = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, lengths)
    found = expect(model, streams, prepare(model, streams), offsets, stream_weights=np.ones(1))
    ours = maximize(model, found).emissions[0]
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-7)
    np.testing.assert_allclose(ours.means, theirs.means_, rtol=1e-7, atol=1e-8)
    moved = ours.means - model.emissions[0].means
    outer = moved[..., :, None] * moved[..., None, :]
    mass = found.statistics[0].weights.reshape(S, 2)
    less = {
        "spherical": lambda: (moved**2).mean(axis=2),
        "diag": lambda: moved**2,
        "full": lambda: outer,
        "tied": lambda: np.einsum("jk,jkab->jab", mass / mass.sum(axis=1, keepdims=True), outer),
    }[kind]()
    np.testing.assert_allclose(ours.covars, theirs.covars_ - less, rtol=1e-6, atol=1e-8)


def test_streams_of_diagonal_gaussians_are_their_concatenation(global_seed):
    rng = np.random.default_rng(global_seed)
    streams, offsets = data(["gaussian", "gaussian"], (30, 20, 25), rng)
    X = np.hstack([stream.values for stream in streams]) - 50
    streams = [Stream(stream.values - 50, stream.present) for stream in streams]
    means = rng.normal(size=(S, 4)) + X.mean(axis=0)
    covars = rng.uniform(5, 20, (S, 4))
    start, transition = rng.dirichlet(np.ones(S)), rng.dirichlet(np.ones(S), S)
    theirs = hmm.GaussianHMM(S, "diag", init_params="", covars_prior=0, n_iter=6, tol=-np.inf)
    theirs.startprob_, theirs.transmat_, theirs.means_ = start, transition, means
    theirs._covars_, theirs.n_features = covars, 4
    halves = tuple(
        GaussianEmission(means[:, half], covars[:, half], floor=np.full(2, 1e-12))
        for half in (slice(0, 2), slice(2, 4))
    )
    model = HMM(start, transition, halves)
    theirs.fit(X, [30, 20, 25])
    history = np.array(theirs.monitor_.history)
    families = ["gaussian"] * 2
    fit = fit_hmm(streams, offsets, S, families, initial=model, max_iter=len(history), tol=0)
    np.testing.assert_allclose(fit.history[: len(history)], history, rtol=1e-8)


# Bad input


GOOD = {
    "streams": [Stream(np.arange(12.0).reshape(6, 2), np.ones(6, bool))],
    "offsets": np.array([0, 3, 6]),
    "n_states": 2,
    "families": ["gaussian"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([0, 0, 6])}, "at least one step"),
        ({"offsets": np.array([0, 3, 5])}, "stream 0 has 6 steps, the offsets end at 5"),
        ({"families": []}, "1 streams and 0 families"),
        ({"n_states": 0}, "n_states must be a whole number, at least 1"),
        ({"n_init": 0}, "n_init must be"),
        ({"max_iter": -1}, "max_iter must be"),
        ({"tol": -1.0}, "tol must be at least 0"),
        ({"tol": np.nan}, "tol must be at least 0"),
        ({"start_prior": 0.5}, "start_prior must be at least 1"),
        ({"transition_prior": 0.5}, "transition_prior must be at least 1"),
        ({"topology": "ring"}, "topology must be one of"),
        ({"start": [0.5, 0.6]}, "start must be non-negative and sum to 1"),
        ({"transition": [[1, 0]]}, r"transition must have shape \(2, 2\)"),
        ({"transition": [[1, 0], [0.5, 0.6]]}, "row 1 of transition"),
        ({"stream_weights": [-1.0]}, "stream_weights must be 1 finite numbers"),
        ({"stream_weights": [np.nan]}, "stream_weights must be 1 finite numbers"),
        ({"sample_weight": np.zeros(2)}, "no sequence has a weight above 0"),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have shape \(2,\)"),
        ({"clamped": np.ones((6, 3), bool)}, r"clamped must have shape \(6, 2\)"),
        ({"clamped": np.arange(12).reshape(6, 2) > 1}, "step 0 is clamped to no state"),
        ({"initial": np.ones((5, 2))}, r"initial must have shape \(6, 2\)"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit_hmm(**{**GOOD, **change})


def test_sequence_without_a_path_is_named():
    clamped = np.ones((6, 2), bool)
    clamped[3:] = [[1, 0], [0, 1], [1, 1]]
    with pytest.raises(ValueError, match="sequence 1 has no possible path"):
        fit_hmm(**GOOD, clamped=clamped, transition=np.eye(2))


@every_spec
def test_more_states_than_steps(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values = values_of(spec, 2, rng)
    stream = Stream(values, np.ones(2, bool))
    for offsets in ([0, 2], [0, 1, 2]):
        fit = fit_hmm([stream], np.array(offsets), 5, [spec], n_init=2)
        assert np.isfinite(log_likelihoods(fit.model, [stream], np.array(offsets))).all()


def test_step_sequence_is_what_weights_are_laid_out_by():
    np.testing.assert_array_equal(step_sequence(np.array([0, 2, 3])), [0, 0, 1])
