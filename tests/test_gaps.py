"""Gaps between modalities: kernels written out, scikit-learn's and numpy's own figures, chance."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import linalg
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion.evaluation import heterogeneity_gap, modality_redundancy, semantic_gap
from mkfusion.evaluation._shared_space import (
    CHUNK,
    canonical_correlations,
    cka,
    linear,
    mean_average_precision,
    median_gamma,
    mmd,
    rbf,
)

FUNCTIONS = [heterogeneity_gap, semantic_gap, modality_redundancy]


def frame(**blocks):
    parts = [pd.DataFrame(block).add_prefix(f"{name}__") for name, block in blocks.items()]
    return pd.concat(parts, axis=1)


# Array parts, against their definitions


def hsic_biased(K, L):
    n = len(K)
    H = np.eye(n) - 1 / n
    return np.trace(K @ H @ L @ H) / n**2


def hsic_unbiased(K, L):
    """The mean over all (i, j, q, r), all different, of K_ij (L_ij + L_qr - 2 L_iq)."""
    n, total = len(K), 0.0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
    return total / (n * (n - 1) * (n - 2) * (n - 3))


@pytest.mark.parametrize("hsic", [hsic_biased, hsic_unbiased])
def test_cka_by_its_definition(hsic, global_seed):
    rng = np.random.default_rng(global_seed)
    A, B = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    B += A[:, :2]
    for kernels in [(linear, linear), (rbf(0.3), rbf(0.8)), (linear, rbf(0.5))]:
        K, L = (kernel(block, block) for kernel, block in zip(kernels, (A, B), strict=True))
        expected = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
        found = cka(A, B, kernels)
        assert abs((found.biased if hsic is hsic_biased else found.unbiased) - expected) < 1e-10


def test_rbf_is_that_of_sklearn(global_seed):
    A, B = np.random.default_rng(global_seed).normal(size=(2, 6, 3))
    np.testing.assert_allclose(rbf(0.7)(A, B), rbf_kernel(A, B, gamma=0.7), atol=1e-12)


def test_chunks_do_not_show(global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(CHUNK + 37, 3))
    B = A[:, :2] + rng.normal(size=(CHUNK + 37, 2))
    K, L = rbf(0.2)(A, A), B @ B.T
    expected = hsic_biased(K, L) / np.sqrt(hsic_biased(K, K) * hsic_biased(L, L))
    assert abs(cka(A, B, (rbf(0.2), linear)).biased - expected) < 1e-10
    kernel = rbf(0.5)
    K = np.block([[kernel(a, b) for b in (A[:, :2], B)] for a in (A[:, :2], B)])
    n = len(A)
    sign = np.repeat([1 / n, -1 / n], n)
    assert abs(mmd(A[:, :2], B, kernel)[0] - sign @ K @ sign) < 1e-12


def test_mmd_by_its_definition(global_seed):
    U, V = np.random.default_rng(global_seed).normal(size=(2, 8, 2))
    kernel = rbf(0.4)
    total = 0.0
    for i in range(8):
        for j in range(8):
            if i != j:
                pairs = [(U, U, 1), (V, V, 1), (U, V, -1), (V, U, -1)]
                total += sum(s * kernel(a[[i]], b[[j]])[0, 0] for a, b, s in pairs)
    assert abs(mmd(U, V, kernel)[1] - total / 56) < 1e-12


def test_canonical_correlations_by_the_eigenvalue_problem(global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(60, 4))
    B = A[:, :3] @ rng.normal(size=(3, 3)) + rng.normal(size=(60, 3))
    A0, B0 = A - A.mean(axis=0), B - B.mean(axis=0)
    for amount in (0.0, 0.3):
        S = [
            (1 - amount) * C.T @ C / 60
            + amount * np.trace(C.T @ C / 60) / C.shape[1] * np.eye(C.shape[1])
            for C in (A0, B0)
        ]
        cross = A0.T @ B0 / 60
        squares = linalg.eigh(cross @ np.linalg.inv(S[1]) @ cross.T, S[0], eigvals_only=True)
        expected = np.sqrt(np.sort(squares)[::-1][:3])
        found = canonical_correlations(A, B, 3, amount)
        np.testing.assert_allclose(found.correlations, expected, atol=1e-8)
        if amount == 0:
            sides = found.project(A, B)
            together = np.corrcoef(*[side.T for side in sides])
            expected = np.block([[np.eye(3), np.diag(expected)], [np.diag(expected), np.eye(3)]])
            np.testing.assert_allclose(together, expected, atol=1e-8)


def test_average_precision_is_that_of_sklearn(global_seed):
    rng = np.random.default_rng(global_seed)
    queries, gallery = rng.normal(size=(2, 20, 3))
    labels = rng.permutation(np.repeat([0, 1, 2], [9, 10, 1]))  # the last has no partner
    found, _, count = mean_average_precision(queries, gallery, labels)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, gallery)]
    expected = []
    for i in range(20):
        others = np.arange(20) != i
        if labels[i] != 2:
            relevant = labels[others] == labels[i]
            expected.append(average_precision_score(relevant, unit[1][others] @ unit[0][i]))
    assert count == 19
    assert abs(found - np.mean(expected)) < 1e-12


def test_chance_is_the_mean_over_orders(global_seed):
    rng = np.random.default_rng(global_seed)
    labels = np.repeat([0, 1], [3, 5])
    _, chance, _ = mean_average_precision(*rng.normal(size=(2, 8, 2)), labels)
    expected = []
    for i in range(8):
        n_relevant = np.delete(labels == labels[i], i).sum()
        orders = [
            np.mean([(k + 1) / (rank + 1) for k, rank in enumerate(ranks)])
            for ranks in combinations(range(7), n_relevant)
        ]
        expected.append(np.mean(orders))
    assert abs(chance - np.mean(expected)) < 1e-12


# Heterogeneity


def test_same_data_have_no_gap(global_seed):
    A = np.random.default_rng(global_seed).normal(size=(60, 4))
    found = heterogeneity_gap(frame(one=A, same=A, turned=A @ linalg.hilbert(4)))
    gaps = found.table.drop(columns=["components", "rows"])
    np.testing.assert_allclose(gaps.loc[("one", "same")], 0, atol=1e-9)
    assert (gaps.loc[("one", "turned"), ["linear", "rbf"]] > 0.01).all()
    assert found.verdict.startswith(("one and turned", "same and turned"))


def test_the_unbiased_gap_of_noise_is_about_one(global_seed):
    rng = np.random.default_rng(global_seed)
    found = heterogeneity_gap(frame(a=rng.normal(size=(100, 40)), b=rng.normal(size=(100, 40))))
    row = found.table.iloc[0]
    assert row["linear"] < 0.8  # what the biased estimate makes of noise
    assert abs(row["linear_unbiased"] - 1) < 0.1
    assert abs(row["rbf_unbiased"] - 1) < 0.1


def test_units_do_not_matter(global_seed):
    rng = np.random.default_rng(global_seed)
    A, B = rng.normal(size=(2, 40, 3))
    one = heterogeneity_gap(frame(a=A, b=B)).table
    other = heterogeneity_gap(frame(a=1000 * A + 7, b=B * [1, 10, 0.1])).table
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_gap_of_the_described_columns(global_seed):
    rng = np.random.default_rng(global_seed)
    A, B = rng.normal(size=(2, 30, 3))
    row = heterogeneity_gap(frame(a=A, b=B), n_components=2).table.iloc[0]
    A, B = (StandardScaler().fit_transform(block) for block in (A, B))
    gammas = [median_gamma(block) for block in (A, B)]
    distances = np.array([((a - b) ** 2).sum() for k, a in enumerate(A) for b in A[:k]])
    assert abs(gammas[0] - 1 / np.median(distances)) < 1e-12
    found = cka(A, B, (rbf(gammas[0]), rbf(gammas[1])))
    assert abs(row["rbf"] - (1 - found.biased)) < 1e-12
    assert abs(row["rbf_unbiased"] - (1 - found.unbiased)) < 1e-12
    assert row["components"] == 2
    assert row["rows"] == 30


# Semantics


def two_views(rng, n_rows=150, noise=0.5):
    y = rng.permutation(np.repeat(["x", "y", "z"], n_rows // 3))
    centres = rng.permutation(np.eye(3) * 3)
    shared = centres[np.unique(y, return_inverse=True)[1]]
    views = [
        np.hstack([shared + noise * rng.normal(size=(n_rows, 3)), rng.normal(size=(n_rows, 2))])
        for _ in range(2)
    ]
    return frame(a=views[0], b=views[1]), y


def test_labels_that_both_show_leave_a_small_gap(global_seed):
    X, y = two_views(np.random.default_rng(global_seed))
    found = semantic_gap(X, y, n_components=2)
    row = found.table.iloc[0]
    assert row["gap"] < 0.1
    assert row["gap"] == 1 - row["map"]
    assert abs(row["chance"] - 2 / 3) < 0.1
    assert row["queries"] == 300
    assert (found.alignment["linear"] > 0.5).all()
    assert "a and b" in found.verdict


def test_permuted_labels_are_chance(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = two_views(rng)
    found = semantic_gap(X, rng.permutation(y))
    row = found.table.iloc[0]
    assert abs(row["gap"] - row["chance"]) < 0.1
    assert (found.alignment[["linear", "rbf"]].abs() < 0.1).all(axis=None)


def test_noise_is_chance_though_rows_find_themselves(global_seed):
    """The same block twice: each row's own counterpart lies nearest, and must not count."""
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(120, 3))
    y = rng.permutation(np.repeat([0, 1], 60))
    row = semantic_gap(frame(a=A, b=A), y).table.iloc[0]
    assert abs(row["gap"] - row["chance"]) < 0.1


def test_a_block_that_is_the_labels_is_aligned_with_them(global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.permutation(np.repeat([0, 1, 2], 30))
    found = semantic_gap(frame(a=np.eye(3)[y], b=rng.normal(size=(90, 3))), y)
    assert abs(found.alignment.loc["a", "linear"] - 1) < 1e-9
    assert abs(found.alignment.loc["b", "linear"]) < 0.15


def test_the_space_is_learnt_out_of_fold(global_seed):
    """Wide noise: in sample any two blocks correlate fully; held out they do not."""
    rng = np.random.default_rng(global_seed)
    X = frame(a=rng.normal(size=(60, 50)), b=rng.normal(size=(60, 50)))
    found = modality_redundancy(X, shrinkage=0.01)
    assert 0.95 < found.table["in_sample"].iloc[0] <= 1
    assert abs(found.table["held_out"].iloc[0]) < 0.8


# Redundancy


def test_redundancy_of_a_shared_number(global_seed):
    rng = np.random.default_rng(global_seed)
    z = rng.normal(size=(200, 1))
    blocks = {
        "a": np.hstack([z, rng.normal(size=(200, 2))]),
        "b": np.hstack([rng.normal(size=(200, 2)), z + 0.1 * rng.normal(size=(200, 1))]),
        "c": rng.normal(size=(200, 2)),
    }
    found = modality_redundancy(frame(**blocks))
    assert found.table.loc[("a", "b"), "held_out"] > 0.95
    assert abs(found.table.loc[("a", "c"), "held_out"]) < 0.4
    assert found.correlations.shape == (3, 3)
    assert found.correlations.loc[("a", "b"), 1] < 0.5
    assert np.isnan(found.correlations.loc[("a", "c"), 2])  # c has two columns
    assert len(found.gains) == 0
    assert found.verdict.startswith("a and b repeat each other most")


def test_conditional_gain_is_that_of_cross_val_score(global_seed):
    rng = np.random.default_rng(global_seed)
    X = frame(a=rng.normal(size=(120, 2)), b=rng.normal(size=(120, 2)))
    y = (X["a__0"] + X["b__1"] > 0).astype(int)
    found = modality_redundancy(X, y, random_state=3)
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    alone = cross_val_score(model, X[["b__0", "b__1"]], y, cv=folds)
    both = cross_val_score(model, X, y, cv=folds)
    row = found.gains.loc[("a", "b")]
    assert abs(row["score_given"] - alone.mean()) < 1e-12
    assert abs(row["gain"] - (both - alone).mean()) < 1e-12
    assert row["low"] < row["gain"] < row["high"]
    assert row["gain"] > 0.02


def test_a_copy_adds_nothing_and_numbers_have_r2(global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(100, 3))
    y = A.sum(axis=1) + 0.1 * rng.normal(size=100)
    found = modality_redundancy(frame(a=A, copy=A), y)
    assert found.scoring == "r2"
    assert found.gains["score_given"].min() > 0.9
    assert found.gains["gain"].abs().max() < 0.01


# What all have in common


def fused(rng, n_rows=60):
    X = frame(a=rng.normal(size=(n_rows, 3)), b=rng.normal(size=(n_rows, 2)))
    return X, rng.permutation(np.repeat([0, 1], n_rows // 2))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_pairs_are_compared_on_the_rows_that_both_have(function, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = fused(rng)
    X = X.join(frame(c=rng.normal(size=(60, 2))))
    lost = X.copy()
    lost.loc[lost.index[:10], ["a__0", "a__1", "a__2"]] = np.nan
    lost.loc[lost.index[30:45], ["b__0", "b__1"]] = np.nan
    lost.loc[lost.index[50], "c__0"] = np.nan  # a hole is no absence
    before = lost.copy()
    found = function(lost, y).table
    assert found["rows"].tolist() == [35, 50, 45]
    rows = np.r_[10:30, 45:60]
    only = function(X.iloc[rows][["a__0", "a__1", "a__2", "b__0", "b__1"]], y[rows]).table
    np.testing.assert_allclose(found.iloc[0], only.iloc[0], atol=1e-12)
    pd.testing.assert_frame_equal(lost, before)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_same_figures_for_any_number_of_jobs(function, global_seed):
    X, y = fused(np.random.default_rng(global_seed))
    X = X.join(X[["a__0"]].rename(columns={"a__0": "c__0"}))
    one, two = (function(X, y, n_jobs=n).table for n in (1, 2))
    assert ((one == two) | one.isna()).all(axis=None)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arrays_words_and_constants(function, global_seed):
    X, y = fused(np.random.default_rng(global_seed))
    named = {"a": [0, 1, 2], "b": [3, 4]}
    np.testing.assert_allclose(
        function(X.to_numpy(), y, named).table, function(X, y).table, atol=1e-12
    )
    words = X.assign(b__0=np.where(X["b__0"] > 0, "up", "down"))
    assert function(words, y).table["rows"].tolist() == [60]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(X.assign(b__0=1.0, b__1=2.0), y)


def test_a_constant_modality_has_no_cka(global_seed):
    X, _ = fused(np.random.default_rng(global_seed))
    row = heterogeneity_gap(X.assign(b__0=1.0, b__1=2.0)).table.iloc[0]
    assert row[["linear", "linear_unbiased", "rbf", "rbf_unbiased"]].isna().all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_too_few_shared_rows(function, global_seed):
    X, y = fused(np.random.default_rng(global_seed))
    X = X.join(X[["a__0"]].rename(columns={"a__0": "c__0"}))
    X.loc[X.index[3:], "c__0"] = np.nan
    with pytest.warns(UserWarning, match=r"too few rows have both 'a' and 'c' \(3\)"):
        found = function(X, y)
    assert found.table.iloc[1].drop("rows").isna().all()
    assert found.table.iloc[0, 0] == found.table.iloc[0, 0]
    assert repr(found)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_refusals(function):
    X, y = fused(np.random.default_rng(0))
    with pytest.raises(ValueError, match="one modality, 'a'"):
        function(X[["a__0"]], y, {"a": ["a__0"]})
    with pytest.raises(ValueError, match="modalities 'b' are missing in every row"):
        function(X.assign(b__0=np.nan, b__1=np.nan), y)
    with pytest.raises(ValueError, match=r"modality 'b': .*infinity"):
        function(X.assign(b__0=np.inf), y)
    with pytest.raises(ValueError, match="n_components must be a positive"):
        function(X, y, n_components=0)
    apart = X.copy()
    apart.iloc[::2, :3] = np.nan
    apart.iloc[1::2, 3:] = np.nan
    with pytest.raises(ValueError, match=r"no two modalities are both there .*'a' and 'b' \(0\)"):
        function(apart, y)


@pytest.mark.parametrize("function", [semantic_gap, modality_redundancy])
def test_refused_targets(function):
    X, y = fused(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"one (class|value), 0"):
        function(X, np.zeros(60, dtype=int))
    with pytest.raises(ValueError, match="NaN"):
        function(X, np.where(y, np.nan, 1.0))
    with pytest.raises(ValueError, match="inconsistent"):
        function(X, y[:-1])
    with pytest.raises(ValueError, match="shrinkage must be None or lie"):
        function(X, y, shrinkage=2.0)
    with pytest.raises(ValueError, match="cv must be at least 2"):
        function(X, y, cv=1)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_are_text(function, global_seed):
    X, y = fused(np.random.default_rng(global_seed))
    name = "<script>alert(1)</script>"
    found = function(X, y, {name: ["a__0", "a__1", "a__2"], "two\nlines": ["b__0", "b__1"]})
    assert "<script>" not in found._repr_html_()
    assert "two\nlines" not in repr(found)
    assert isinstance(found.to_frame(), pd.DataFrame)
