"""The decomposition of information: known cases, a grid, cvxpy, and nothing found in noise."""

import numpy as np
import pandas as pd
import pytest
from oracles_information import decomposition_on_a_grid, mutual_information
from sklearn.linear_model import LogisticRegression

from mkfusion.evaluation import broja, partial_information_decomposition
from mkfusion.evaluation._broja import decompose

ROWS = ["redundancy", "unique:a", "unique:b", "synergy", "total"]


def of_function(function):
    """The joint distribution of two fair bits and a function of them."""
    joint = np.zeros((2, 2, 2))
    for a in range(2):
        for b in range(2):
            joint[a, b, function(a, b)] += 0.25
    return joint


REDUNDANT = np.zeros((2, 2, 2))
REDUNDANT[0, 0, 0] = REDUNDANT[1, 1, 1] = 0.5
AND_REDUNDANCY = 0.75 * np.log2(4 / 3)  # I(Y; X1), of which nothing is unique
KNOWN = {
    "xor": (of_function(lambda a, b: a ^ b), (0, 0, 0, 1)),
    "and": (of_function(lambda a, b: a & b), (AND_REDUNDANCY, 0, 0, 0.5)),
    "copy": (of_function(lambda a, b: a), (0, 1, 0, 0)),
    "redundant": (REDUNDANT, (1, 0, 0, 0)),
}


def flat(parts):
    return np.array([parts.redundancy, *parts.unique, parts.synergy])


def random_joint(rng, shape, holes=False):
    joint = rng.dirichlet(np.full(np.prod(shape), 0.5)).reshape(shape)
    if holes:
        joint[rng.random(shape) < 0.4] = 0
        joint[0, 0, 0] += 0.1
    return joint / joint.sum()


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("solver", ["newton", "cvxpy"])
def test_known_distributions(name, solver):
    joint, expected = KNOWN[name]
    np.testing.assert_allclose(flat(broja(joint, solver=solver)), expected, atol=1e-6)


def test_and_has_the_figure_of_the_literature():
    assert round(broja(KNOWN["and"][0]).redundancy, 4) == 0.3113


def test_a_grid_of_all_distributions_agrees(global_seed):
    rng = np.random.default_rng(global_seed)
    for holes in (False, True):
        joint = random_joint(rng, (2, 2, 2), holes)
        found, grid = flat(broja(joint)), decomposition_on_a_grid(joint)
        np.testing.assert_allclose(found, grid, atol=2e-4)
        assert found[3] >= grid[3] - 1e-7  # the grid cannot lie below the optimum


@pytest.mark.parametrize("shape", [(3, 2, 4), (4, 5, 3), (1, 3, 2), (6, 6, 2)])
@pytest.mark.parametrize("holes", [False, True])
def test_cvxpy_agrees_and_the_gap_is_closed(shape, holes, global_seed):
    joint = random_joint(np.random.default_rng(global_seed), shape, holes)
    found, reference = broja(joint), broja(joint, solver="cvxpy")
    assert found.converged
    assert 0 <= found.gap <= 1e-8
    np.testing.assert_allclose(flat(found), flat(reference), atol=2e-6)


def test_the_gap_bounds_the_error(global_seed):
    joint = random_joint(np.random.default_rng(global_seed), (4, 4, 3))
    rough, exact = broja(joint, tol=0.02), broja(joint)
    assert rough.n_iter < exact.n_iter
    assert -1e-9 <= exact.synergy - rough.synergy <= rough.gap + 1e-9
    assert rough.gap <= 0.02


def test_parts_add_up_and_sources_change_places(global_seed):
    joint = random_joint(np.random.default_rng(global_seed), (3, 4, 2))
    found, swapped = broja(joint), broja(joint.swapaxes(0, 1))
    assert abs(flat(found).sum() - found.total) < 1e-12
    assert abs(found.total - mutual_information(joint.reshape(12, 2))) < 1e-12
    first = mutual_information(joint.sum(axis=1))
    assert abs(found.redundancy + found.unique[0] - first) < 1e-12
    np.testing.assert_allclose(flat(found)[[0, 2, 1, 3]], flat(swapped), atol=1e-7)


def test_many_at_once_are_what_each_is_alone(global_seed):
    rng = np.random.default_rng(global_seed)
    joints = np.array([random_joint(rng, (3, 3, 2), holes=k % 2) for k in range(7)])
    parts, gaps, _ = decompose(joints)
    alone = [flat(broja(joint)) for joint in joints]
    np.testing.assert_allclose(parts[:, :4], alone, atol=3e-8)
    assert (gaps <= 1e-8).all()


# On samples


def two_bits(function, n_times=50):
    X = pd.DataFrame({"a__bit": [0, 0, 1, 1] * n_times, "b__bit": [0, 1, 0, 1] * n_times})
    return X, function(X["a__bit"], X["b__bit"])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: a ^ b, (0, 0, 0, 1)),
        (lambda a, b: a & b, (AND_REDUNDANCY, 0, 0, 0.5)),
        (lambda a, b: a, (0, 1, 0, 0)),
    ],
)
def test_samples_of_known_functions(function, expected, global_seed):
    found = partial_information_decomposition(*two_bits(function), random_state=global_seed)
    np.testing.assert_allclose(found.table["plug_in"].iloc[:4], expected, atol=1e-6)
    for part, truth in zip(ROWS, expected, strict=False):
        low, high = found.intervals[part]
        assert (low > 0.1) == (truth > 0)
        assert truth or high >= 0 >= low
        assert (found.p_values[part] < 0.01) == (truth > 0)
    assert found.gap <= 1e-8


def test_redundant_samples():
    X = pd.DataFrame({"a__bit": [0, 1] * 50, "b__bit": ["no", "yes"] * 50})
    found = partial_information_decomposition(X, [0, 1] * 50)
    np.testing.assert_allclose(found.table["plug_in"], [1, 0, 0, 0, 1], atol=1e-9)
    assert found.redundancy > 0.9
    assert abs(found.unique["a"]) + abs(found.unique["b"]) + abs(found.synergy) < 0.1


@pytest.mark.parametrize(("n_rows", "n_states"), [(120, 3), (120, 12), (3000, 3), (3000, 12)])
def test_noise_is_called_noise(n_rows, n_states, global_seed):
    rng = np.random.default_rng(global_seed)
    said = {name: rng.integers(n_states, size=n_rows) for name in "ab"}
    y = rng.integers(3, size=n_rows)
    found = partial_information_decomposition(
        None, y, predictions=said, n_permutations=100, n_bootstrap=50, random_state=global_seed
    )
    assert all(low <= 0 <= high for low, high in found.intervals.values())
    assert found.verdict.startswith("Nothing is found: every 95% interval covers 0.")
    if n_states == 12 and n_rows == 120:  # what the plug-in figures alone would say
        assert found.table.at["synergy", "plug_in"] > 0.4
        assert abs(found.synergy) < 0.2


def test_the_figures_are_those_that_are_described(global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.integers(2, size=300)
    said = {name: np.where(rng.random(300) < 0.7, y, rng.integers(2, size=300)) for name in "ab"}
    found = partial_information_decomposition(None, y, predictions=said, random_state=1)
    table, null = found.to_frame(), found.null.to_numpy()
    joint = np.zeros((2, 2, 2))
    np.add.at(joint, (said["a"], said["b"], y), 1 / 300)
    np.testing.assert_allclose(table["plug_in"].iloc[:4], flat(broja(joint)), atol=1e-9)
    np.testing.assert_allclose(table["chance"], null.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(table["bits"], table["plug_in"] - table["chance"], atol=1e-12)
    assert abs(table["bits"].iloc[:4].sum() - table["bits"].iloc[4]) < 1e-9
    share = (null >= table["plug_in"].to_numpy() - 1e-7).sum(axis=0)
    np.testing.assert_allclose(table["p_value"], (1 + share) / 201, atol=1e-12)
    # Twice the information of 300 rows under the null: chi square with 3 degrees of freedom.
    expected = 3 / (2 * 300 * np.log(2))
    assert abs(null[:, 4].mean() - expected) < 5 * expected * np.sqrt(2 / 3 / 200)
    assert found.intervals["redundancy"][0] > 0
    assert "redundancy" in found.verdict


def test_predictions_of_models(global_seed):
    rng = np.random.default_rng(global_seed)
    y = np.repeat(["no", "yes"], 200)
    X = pd.DataFrame(rng.normal(size=(400, 4)), columns=["a__0", "a__1", "b__0", "b__1"])
    X[["a__0", "b__1"]] += 2.0 * (y == "yes")[:, np.newaxis]
    with pytest.raises(ValueError, match=r"continuous.*discretise it.*predictions="):
        partial_information_decomposition(X, y)
    found = partial_information_decomposition(X, y, estimator=LogisticRegression())
    assert found.n_states == (2, 2, 2)
    assert found.intervals["total"][0] > 0.1
    assert found.intervals["redundancy"][0] > 0


def test_models_say_nothing_of_noise(global_seed):
    rng = np.random.default_rng(global_seed)
    X = pd.DataFrame(rng.normal(size=(200, 6)), columns=[f"{m}__{j}" for m in "ab" for j in "012"])
    found = partial_information_decomposition(
        X, rng.permutation([0, 1] * 100), estimator=LogisticRegression(), n_bootstrap=50
    )
    assert found.verdict.startswith("Nothing is found")


def test_same_figures_for_any_number_of_jobs():
    X, y = two_bits(lambda a, b: a & b)
    one, two = (partial_information_decomposition(X, y, n_jobs=n).table for n in (1, 2))
    assert (one.to_numpy() == two.to_numpy()).all()


def test_absent_rows_do_not_count_and_cells_are_states():
    X, y = two_bits(lambda a, b: a ^ b)
    lost = X.astype(float)
    lost.iloc[::7, 0] = np.nan
    lost.iloc[1::7, 1] = np.nan
    before = lost.copy()
    rows = lost.notna().all(axis=1)
    found = partial_information_decomposition(lost, y)
    assert found.n_rows == rows.sum()
    same = partial_information_decomposition(X[rows], y[rows])
    assert (found.table.to_numpy() == same.table.to_numpy()).all()
    pd.testing.assert_frame_equal(lost, before)
    # Two columns of a modality are one state together.
    joined = partial_information_decomposition(
        X.assign(c__x=0), y, {"a": ["a__bit", "b__bit"], "b": ["c__x"]}
    )
    np.testing.assert_allclose(joined.table["plug_in"], [0, 1, 0, 0, 1], atol=1e-9)


X2 = pd.DataFrame({"a__x": [0, 1] * 20, "b__x": [0, 0, 1, 1] * 10})
Y2 = np.array([0, 1, 1, 0] * 10)


@pytest.mark.parametrize(
    ("X", "y", "options", "match"),
    [
        (X2[["a__x"]], Y2, {}, "two modalities, got 1: 'a'"),
        (X2.assign(c__x=1), Y2, {}, "two modalities, got 3: 'a', 'b', 'c'"),
        (X2, np.zeros(40), {}, "y has one class, 0.0"),
        (X2, np.where(Y2, np.nan, 1.0), {}, "y contains NaN"),
        (X2, np.linspace(0, 1, 40), {}, "continuous"),
        (X2, Y2[:-1], {}, "X has 40, y has 39"),
        (X2 + 0.5 * np.arange(40)[:, None], Y2, {}, "'a__x' of modality 'a' is continuous"),
        (X2.assign(b__x=range(40)), Y2, {}, "'b' has 40 states in 40 rows"),
        (X2.assign(b__x=np.inf), Y2, {}, "'b__x' of modality 'b' holds infinity"),
        (X2.assign(b__x=np.nan), Y2, {}, "modalities 'b' are missing in every row"),
        (X2.where(np.eye(2, dtype=bool)[[0, 1] * 20]), Y2, {}, "no row has both modalities"),
        (X2, Y2, {"n_permutations": 3}, "n_permutations must be a whole number of at least 19"),
        (X2, Y2, {"n_bootstrap": 99.5}, "n_bootstrap must be a whole number"),
        (X2, Y2, {"confidence": 95}, "confidence must lie between 0 and 1"),
        (X2, Y2, {"predictions": {"a": Y2, "b": Y2}}, "pass X=None"),
        (None, Y2, {"predictions": {"a": Y2}}, "two modalities, got 1"),
        (None, Y2, {"predictions": {"a": Y2, "b": Y2[1:]}}, "b has 39"),
        (None, Y2, {"predictions": {"a": Y2, "b": Y2 + 0.5}}, "continuous"),
    ],
)
@pytest.mark.filterwarnings("ignore:nothing is fused")
def test_refusals(X, y, options, match):
    with pytest.raises(ValueError, match=match):
        partial_information_decomposition(X, y, **options)


@pytest.mark.parametrize(
    ("joint", "match"),
    [
        (np.full((2, 2), 0.25), "two sources and the target"),
        (np.full((2, 2, 2, 2), 1 / 16), "two sources and the target"),
        (np.full((2, 2, 2), 0.5), "sum to 1"),
        (np.array([[[1.5, -0.5]]]), "non-negative"),
        (np.array([[[np.nan, 1.0]]]), "finite"),
    ],
)
def test_refused_distributions(joint, match):
    with pytest.raises(ValueError, match=match):
        broja(joint)


def test_names_are_text():
    names = {"<script>alert(1)</script>": Y2, "two\nlines": Y2}
    found = partial_information_decomposition(None, Y2, predictions=names)
    assert "<script>" not in found._repr_html_()
    assert "two\nlines" not in repr(found)
