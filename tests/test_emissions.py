"""Emissions: every family against scipy.stats and naive re-estimation, and what goes wrong."""

import numpy as np
import oracles_hmm as oracle
import pytest

from mkfusion.chains import _emission_clusters, _emission_discrete, _emission_moments
from mkfusion.chains._emissions import (
    EMISSIONS,
    CategoricalEmission,
    GaussianEmission,
    GMMEmission,
    PoissonEmission,
    Stream,
    resolve_emission,
)

KINDS = ("spherical", "diag", "full", "tied")
SPECS = {
    **{f"gaussian {kind}": ("gaussian", {"covariance_type": kind}) for kind in KINDS},
    **{f"gmm {kind}": ("gmm", {"covariance_type": kind, "n_mix": 2}) for kind in KINDS},
    "categorical": ("categorical", {}),
    "poisson": ("poisson", {}),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
N_STATES = 3


def values_of(spec, n, rng, states=None):
    """Draw values that a family can have, which differ by state."""
    states = rng.integers(N_STATES, size=n) if states is None else states
    family = spec[0] if isinstance(spec, tuple) else spec
    if family == "categorical":
        noisy = np.where(rng.random(n) < 0.3, rng.integers(4, size=n), states)
        return noisy[:, None].astype(float)
    if family == "poisson":
        return rng.poisson(1 + 3 * states[:, None] * [1, 0.5]).astype(float)
    return rng.normal(size=(n, 2)) * [1, 5] + 2 * states[:, None] + [100, -3]


def weights_of(n, rng):
    return rng.dirichlet(np.ones(N_STATES), n) * rng.uniform(0.2, 2, (n, 1))


def start_of(spec, values, weights, rng):
    family, options = resolve_emission(spec)
    return family.initial(values, weights, N_STATES, rng, **options)


def assert_same_params(found, wanted, rtol=1e-9):
    for name, value in wanted.items():
        np.testing.assert_allclose(found.params[name], value, rtol=rtol, atol=1e-12, err_msg=name)


def test_registry_is_covered():
    assert {spec[0] for spec in SPECS.values()} == set(EMISSIONS)
    assert all(name == family.family for name, family in EMISSIONS.items())


@every_spec
def test_log_density_is_that_of_scipy(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 40, rng), weights_of(40, rng)
    emission = start_of(spec, values, weights, rng)
    wanted = oracle.log_density(emission, values)
    np.testing.assert_allclose(emission.log_density(values), wanted, rtol=1e-9, atol=1e-9)


@every_spec
def test_reestimate_is_the_weighted_maximum(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 60, rng), weights_of(60, rng)
    emission = start_of(spec, values, weights, rng)
    assert_same_params(
        emission.reestimate(values, weights), oracle.reestimated(emission, values, weights), 1e-7
    )


PRIORS = {
    "gaussian": {
        "means_prior": 1.0,
        "means_weight": 3.0,
        "covars_prior": 0.5,
        "covars_weight": 9.0,
    },
    "gmm": {
        "means_prior": 1.0,
        "means_weight": 3.0,
        "covars_prior": 0.5,
        "covars_weight": 9.0,
        "weights_prior": 2.0,
    },
    "categorical": {"emissionprob_prior": 2.5},
    "poisson": {"lambdas_prior": 2.0, "lambdas_weight": 1.5},
}


def expected(emission, start, values, weights):
    """Return what the M-step raises: the expected log density, and the log prior."""
    if emission.family != "gmm":
        return (weights * emission.log_density(values)).sum() + emission.log_prior()
    before = start._joint(start.prepare(Stream(values, np.ones(len(values), bool))), 1)
    shares = np.exp(before - before.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    joint = emission._joint(values, 1)
    return (weights[:, :, None] * shares * joint).sum() + emission.log_prior()


@every_spec
def test_no_neighbour_is_better_than_the_maximum_under_a_prior(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    family, options = spec
    spec = (family, {**options, **PRIORS[family]})
    values, weights = values_of(spec, 60, rng), weights_of(60, rng)
    start = start_of(spec, values, weights, rng)
    best = start.reestimate(values, weights)
    top = expected(best, start, values, weights)
    for _ in range(30):
        params = {name: value.copy() for name, value in best.params.items()}
        for name, value in params.items():
            if name == "vocabulary":
                continue
            if name in ("table", "weights"):
                value *= np.exp(0.02 * rng.normal(size=value.shape))
                value /= value.sum(axis=-1, keepdims=True)
            elif name == "means":
                value += 0.02 * rng.normal(size=value.shape)
            else:
                value *= np.exp(0.02 * rng.normal())
        extra = {} if family == "categorical" else {"floor": best.floor}
        settings = {k: v for k, v in best.settings.items() if k not in params}
        other = type(best)(**params, **settings, **extra)
        assert expected(other, start, values, weights) <= top + 1e-9 * abs(top)


@every_spec
def test_steps_of_weight_0_are_not_looked_at(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 50, rng), weights_of(50, rng)
    start = start_of(spec, values, weights, rng)
    more = np.vstack([values, np.full((5, values.shape[1]), np.nan)])
    padded = np.vstack([weights, np.zeros((5, N_STATES))])
    assert_same_params(
        start.reestimate(more, padded), start.reestimate(values, weights).params, 1e-12
    )
    again = start_of(spec, more, padded, np.random.default_rng(0))
    alone = start_of(spec, values, weights, np.random.default_rng(0))
    assert_same_params(again, alone.params, 1e-9)


@every_spec
def test_absent_steps_have_the_factor_1(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 20, rng), weights_of(20, rng)
    emission = start_of(spec, values, weights, rng)
    present = rng.random(20) < 0.5
    holes = np.where(present[:, None], values, np.nan)
    found = emission.log_density(holes, present)
    assert (found[~present] == 0).all()
    np.testing.assert_array_equal(found[present], emission.log_density(values)[present])


@every_spec
def test_weight_2_is_a_step_that_stands_twice(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 50, rng), weights_of(50, rng)
    counts = rng.integers(1, 4, 50)
    twice = values.repeat(counts, axis=0), weights.repeat(counts, axis=0)
    draw = np.random.default_rng
    once = start_of(spec, values, weights * counts[:, None], draw(1))
    assert_same_params(start_of(spec, *twice, draw(1)), once.params, 1e-8)


@every_spec
def test_threads_change_nothing(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    n = 9000
    values, weights = values_of(spec, n, rng), weights_of(n, rng)
    emission = start_of(spec, values[:200], weights[:200], rng)
    if spec[0] == "categorical":
        emission = start_of(spec, values, weights, rng)
    prepared = emission.prepare(Stream(values, np.ones(n, bool)))
    one, three = (emission.scores(prepared, k) for k in (1, 3))
    np.testing.assert_array_equal(one, three)
    one, three = (emission.statistics(prepared, weights, k) for k in (1, 3))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


@every_spec
def test_whole_arrays_give_what_loops_give(spec, monkeypatch, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 3000, rng), weights_of(3000, rng)
    emission = start_of(spec, values, weights, rng)
    found = emission.log_density(values), emission.reestimate(values, weights)
    for module in (_emission_moments, _emission_discrete):
        monkeypatch.setattr(module, "JIT", False)
    np.testing.assert_allclose(emission.log_density(values), found[0], rtol=1e-10)
    assert_same_params(emission.reestimate(values, weights), found[1].params, 1e-9)


@every_spec
def test_traits(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    family, options = resolve_emission(spec)
    values, weights = values_of(spec, 30, rng), weights_of(30, rng)
    emission = start_of(spec, values, weights, rng)
    if family.probabilities:
        assert (emission.log_density(values) <= 0).all()
    else:  # densities in small units are above 1
        small = family.initial(values * 1e-6, weights, N_STATES, rng, **options)
        assert (small.log_density(values * 1e-6) > 0).any()
    if family.symbols:
        text = np.array(["a", "b"], dtype=object)[rng.integers(2, size=(30, 1))]
        text = family.initial(text, weights, N_STATES, rng, **options)
        assert list(text.vocabulary) == ["a", "b"]
    else:
        with pytest.raises(ValueError, match="could not convert"):
            family.initial(np.array([["a"]] * 30, object), weights, N_STATES, rng, **options)
    if family.counts:
        for bad in (0.5, -1.0):
            with pytest.raises(ValueError, match=f"counts.*column 1 at step 0 holds {bad}"):
                emission.log_density(np.array([[1.0, bad]]))


@every_spec
def test_samples_have_the_emissions_moments(spec, global_seed):
    rng = np.random.default_rng(global_seed)
    values, weights = values_of(spec, 300, rng), weights_of(300, rng)
    emission = start_of(spec, values, weights, rng)
    drawn = emission.sample(np.full(4000, 1), rng)
    assert drawn.shape == (4000, values.shape[1])
    if spec[0] == "categorical":
        shares = [(drawn[:, 0] == symbol).mean() for symbol in emission.vocabulary]
        np.testing.assert_allclose(shares, emission.table[1], atol=0.05)
        return
    if spec[0] == "poisson":
        mean = emission.rates[1]
    elif spec[0] == "gmm":
        mean = emission.weights[1] @ emission.means[1]
    else:
        mean = emission.means[1]
    assert (abs(drawn.mean(axis=0) - mean) < 6 * drawn.std(axis=0) / np.sqrt(4000)).all()


@pytest.mark.parametrize("family", [GaussianEmission, GMMEmission])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "values",
    [
        np.array([[3.0, -1.0]]),
        np.tile([[3.0, 0.1]], (20, 1)),
        np.column_stack([np.ones(20), np.arange(20.0)]),
        np.repeat(np.arange(2.0), 10)[:, None] * [1, 1],
        np.array([[1e100, -1e-300], [2e100, 3e-300], [1e-100, 0.0]]),
    ],
    ids=["one step", "duplicate steps", "constant column", "duplicate columns", "extremes"],
)
def test_little_data_gives_finite_densities(family, kind, values):
    weights = np.eye(N_STATES)[np.arange(len(values)) % 2]  # nothing is of the last state
    emission = family.initial(
        values, weights, N_STATES, np.random.default_rng(0), covariance_type=kind
    )
    for _ in range(3):
        emission = emission.reestimate(values, weights)
    assert np.isfinite(emission.log_density(values)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_variances_keep_to_their_floor(kind):
    rng = np.random.default_rng(0)
    values = np.repeat([[0.0, 0.0], [1.0, 10.0]], 50, axis=0)
    values[:50] += rng.normal(size=(50, 2))
    weights = np.repeat(np.eye(2), 50, axis=0)
    emission = GaussianEmission.initial(
        values, weights, 2, rng, covariance_type=kind, min_covar=0.01
    )
    np.testing.assert_allclose(emission.floor, 0.01 * values.var(axis=0))
    matrices = [oracle.covariance(emission.covars, kind, k, 2) for k in range(2)]
    unit = [m / np.sqrt(np.outer(emission.floor, emission.floor)) for m in matrices]
    least = [np.linalg.eigvalsh(m).min() for m in unit]
    if kind in ("diag", "full"):
        np.testing.assert_allclose(least[1], 1)
    assert min(least) > (0.1 if kind == "spherical" else 1 - 1e-9)


def test_means_far_from_their_spread_cost_no_digits():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 3))
    weights = np.full((500, 1), 0.7)
    for kind in KINDS:
        near = GaussianEmission.initial(values, weights, 1, rng, covariance_type=kind)
        far = GaussianEmission.initial(values + 1e6, weights, 1, rng, covariance_type=kind)
        np.testing.assert_allclose(far.covars, near.covars, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(
            far.log_density(values + 1e6), near.log_density(values), rtol=1e-7
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
@pytest.mark.parametrize("family", ["gaussian", "gmm", "poisson"])
def test_values_that_cannot_be_are_named(family, bad):
    emission = EMISSIONS[family].initial(
        np.arange(8.0).reshape(4, 2), np.ones((4, 1)), 1, np.random.default_rng(0)
    )
    with pytest.raises(ValueError, match=r"column 1 at step 2 holds (nan|inf|1e\+308)"):
        emission.log_density(np.array([[1.0, 1.0], [1.0, 1.0], [1.0, bad]]))


def test_unknown_symbols_are_refused_or_ignored():
    values, weights = np.array([["a"], ["b"], ["a"]], object), np.ones((3, 2))
    rng = np.random.default_rng(0)
    strict = CategoricalEmission.initial(values, weights, 2, rng)
    with pytest.raises(ValueError, match=r"symbols 'c' were not seen.*'a', 'b'"):
        strict.log_density(np.array([["a"], ["c"]], object))
    mild = CategoricalEmission.initial(values, weights, 2, rng, unknown="ignore")
    found = mild.log_density(np.array([["a"], ["c"]], object))
    assert (found[1] == 0).all()
    assert (found[0] < 0).all()
    wide = CategoricalEmission.initial(values, weights, 2, rng, vocabulary=("c", "a"))
    assert list(wide.vocabulary) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gausian", "must be one of 'gaussian'"),
        (("gaussian", {"covariance": "full"}), "has no options 'covariance'"),
        (("gaussian", "full"), "a pair of a name and a mapping"),
        (3, "an emission is one of"),
    ],
)
def test_what_is_no_emission_is_refused(spec, message):
    with pytest.raises((ValueError, TypeError), match=message):
        resolve_emission(spec)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("gaussian", {"covariance_type": "round"}, "covariance_type must be one of"),
        ("gaussian", {"min_covar": 0.0}, "min_covar must be above 0"),
        ("gaussian", {"covars_prior": -1.0}, "covars_prior must be 0 or more"),
        ("gmm", {"n_mix": 0}, "n_mix must be at least 1"),
        ("gmm", {"weights_prior": 0.5}, "weights_prior must be at least 1"),
        ("categorical", {"unknown": "drop"}, "unknown must be one of"),
        ("categorical", {"emissionprob_prior": 0.5}, "emissionprob_prior must be at least 1"),
        ("poisson", {"min_rate": -1.0}, "min_rate must be above 0"),
        ("poisson", {"lambdas_weight": -1.0}, "lambdas_weight must be 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(family, options, message):
    with pytest.raises(ValueError, match=message):
        EMISSIONS[family].initial(
            np.ones((3, 1)), np.ones((3, 1)), 1, np.random.default_rng(0), **options
        )


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"diag covars must have shape \(2, 3\)"):
        GaussianEmission(np.zeros((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="of 3 columns, the values have 2"):
        GaussianEmission(np.zeros((2, 3)), np.ones((2, 3))).log_density(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="of 3 columns, the values have 2"):
        PoissonEmission(np.ones((2, 3))).log_density(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"one symbol for each step.*\(4, 2\)"):
        CategoricalEmission(np.full((2, 2), 0.5)).log_density(np.zeros((4, 2)))


# Clusters


def test_clusters_depend_on_the_distribution_alone(global_seed):
    rng = np.random.default_rng(global_seed)
    features = rng.normal(size=(80, 3)) + 6 * rng.integers(3, size=(80, 1))
    counts = rng.integers(0, 4, 80)
    labels = _emission_clusters.cluster(features, counts, 3, np.random.default_rng(5))
    order = rng.permutation(counts.sum())
    repeated = features.repeat(counts, axis=0)[order]
    again = _emission_clusters.cluster(
        repeated, np.ones(len(repeated)), 3, np.random.default_rng(5)
    )
    np.testing.assert_array_equal(again, labels.repeat(counts)[order])
    assert len(set(again)) == 3


def test_clusters_find_groups_that_lie_apart(monkeypatch, global_seed):
    monkeypatch.setattr(_emission_clusters, "SAMPLE", 200)
    rng = np.random.default_rng(global_seed)
    truth = rng.integers(4, size=1000)
    features = rng.normal(size=(1000, 2)) * 0.1 + 10 * truth[:, None]
    labels = _emission_clusters.cluster(features, np.ones(1000), 4, rng)
    assert len(set(zip(truth, labels, strict=True))) == 4


def test_clusters_keep_to_what_is_allowed(global_seed):
    rng = np.random.default_rng(global_seed)
    features = rng.normal(size=(60, 2))
    allowed = rng.random((60, 3)) < 0.6
    allowed[:, 0] |= ~allowed.any(axis=1)
    labels = _emission_clusters.cluster(features, np.ones(60), 3, rng, allowed)
    assert allowed[np.arange(60), labels].all()


def test_more_clusters_than_points():
    features = np.array([[0.0], [1.0], [1.0]])
    labels = _emission_clusters.cluster(features, np.ones(3), 5, np.random.default_rng(0))
    assert labels[1] == labels[2] != labels[0]
