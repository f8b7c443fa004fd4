"""Missing modalities are completed by the formulas, and what is there stays as it was."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_missing import (
    conditional_covariance,
    conditional_mean,
    expectation_maximisation,
    nearest_mean,
    observed_log_likelihood,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.cross_decomposition import CCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import KNNImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import ModalityImputer, modality_mask
from mkfusion.datasets import make_multimodal_classification, simulate_missing
from mkfusion.missing import _imputer
from mkfusion.missing._moments import unique_patterns

METHODS = _imputer.METHODS
GAUSSIAN = ("conditional", "ridge", "cca", "low_rank")
WIDTHS = {"audio": 3, "video": 4, "text": 3}
COLUMNS = [f"{name}__{j}" for name, width in WIDTHS.items() for j in range(width)]
BLOCKS = [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]

over_methods = pytest.mark.parametrize("method", METHODS)


def correlated(seed, n_samples=80, noise=0.3, rank=3):
    """Draw a frame of three modalities that see the same three sources, in unlike units."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(rank, len(COLUMNS)))
    values = rng.normal(size=(n_samples, rank)) @ loadings
    values += noise * rng.normal(size=values.shape)
    return pd.DataFrame(
        values * np.logspace(-1, 1, len(COLUMNS)) + np.arange(len(COLUMNS)),
        columns=COLUMNS,
        index=[f"s{i}" for i in range(n_samples)],
    )


def damaged(frame, seed, rate=0.3):
    return simulate_missing(frame, rate, random_state=seed)


def standardised(frame):
    mean, deviation = np.nanmean(frame, axis=0), np.nanstd(frame, axis=0)
    return (frame.to_numpy() - mean) / deviation, mean, deviation


# What is there


@over_methods
@pytest.mark.parametrize("posterior", [False, True])
def test_observed_entries_stay_to_the_last_bit(method, posterior, global_seed):
    whole = correlated(global_seed)
    X = damaged(whole, global_seed)
    imputer = ModalityImputer(method, sample_posterior=posterior, random_state=0)
    Z = imputer.fit_transform(X)
    observed = X.notna().to_numpy()
    assert not observed.all()
    assert Z.to_numpy()[observed].tobytes() == X.to_numpy()[observed].tobytes()
    assert np.isfinite(Z.to_numpy()).all()
    assert Z.index.equals(X.index)
    assert list(Z.columns) == list(X.columns)


@over_methods
def test_whole_samples_come_back_as_they_are(method):
    X = correlated(0)
    pd.testing.assert_frame_equal(ModalityImputer(method).fit(damaged(X, 0)).transform(X), X)


@over_methods
def test_a_few_nan_inside_a_modality_stay(method):
    X = correlated(1)
    X.iloc[:20, 3:7] = np.nan
    X.iloc[5, 0] = X.iloc[50, 4] = np.nan
    Z = ModalityImputer(method).fit_transform(X)
    assert np.argwhere(Z.isna().to_numpy()).tolist() == [[5, 0], [50, 4]]


@over_methods
def test_inputs_are_never_written_to(method):
    X = damaged(correlated(2), 2).to_numpy()
    kept = X.copy()
    X.setflags(write=False)
    modalities = {"a": [0, 1, 2], "b": [3, 4, 5, 6], "c": [7, 8, 9]}
    Z = ModalityImputer(method, modalities).fit(X).transform(X)
    np.testing.assert_array_equal(X, kept)
    assert not np.shares_memory(Z, X)


# The formulas


@pytest.mark.parametrize("lost", [*BLOCKS, BLOCKS[0] + BLOCKS[2]])
def test_conditional_mean_is_the_closed_form(lost, global_seed):
    """A sample's own covariance, no shrinkage: standardising changes nothing."""
    train, test = correlated(global_seed), correlated(global_seed + 100)
    covariance = np.cov(train.to_numpy().T, bias=True)
    test.iloc[:, lost] = np.nan
    imputer = ModalityImputer(shrinkage=0).fit(train)
    wanted = [
        conditional_mean(train.mean().to_numpy(), covariance, row) for row in test.to_numpy()
    ]
    np.testing.assert_allclose(imputer.transform(test), wanted, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(imputer.covariance_, covariance, rtol=1e-10, atol=1e-12)
    assert (imputer.n_iter_, imputer.converged_) == (1, True)


def test_shrinkage_is_that_of_ledoit_and_wolf(global_seed):
    train, test = correlated(global_seed), correlated(global_seed + 100)
    scaled, mean, deviation = standardised(train)
    shrunk = LedoitWolf().fit(scaled)
    covariance = shrunk.covariance_ * deviation * deviation[:, None]
    test.iloc[:, 3:7] = np.nan
    imputer = ModalityImputer().fit(train)
    assert imputer.shrinkage_ == pytest.approx(shrunk.shrinkage_, rel=1e-10)
    wanted = [conditional_mean(mean, covariance, row) for row in test.to_numpy()]
    np.testing.assert_allclose(imputer.transform(test), wanted, rtol=1e-8)


def test_all_shrinkage_gives_the_means():
    X = correlated(3)
    test = X.copy()
    test.iloc[:, :3] = np.nan
    Z = ModalityImputer(shrinkage=1).fit(X).transform(test)
    np.testing.assert_allclose(Z.iloc[:, :3], np.tile(X.iloc[:, :3].mean(), (len(X), 1)))


@pytest.mark.parametrize("alpha", [0.5, 30.0])
def test_ridge_is_that_of_scikit_learn(alpha, global_seed):
    train, test = correlated(global_seed), correlated(global_seed + 100)
    scaled, mean, deviation = standardised(train)
    lost, seen = BLOCKS[1], BLOCKS[0] + BLOCKS[2]
    ridge = Ridge(alpha).fit(scaled[:, seen], scaled[:, lost])
    wanted = ridge.predict(((test.to_numpy() - mean) / deviation)[:, seen])
    test.iloc[:, lost] = np.nan
    Z = ModalityImputer("ridge", alpha=alpha).fit(train).transform(test).to_numpy()
    np.testing.assert_allclose((Z[:, lost] - mean[lost]) / deviation[lost], wanted, rtol=1e-8)


def test_cca_regresses_on_canonical_variates(global_seed):
    train, test = correlated(global_seed), correlated(global_seed + 100)
    scaled, mean, deviation = standardised(train)
    lost, seen = BLOCKS[2], BLOCKS[0] + BLOCKS[1]
    cca = CCA(2, tol=1e-14, max_iter=100_000).fit(scaled[:, seen], scaled[:, lost])
    line = LinearRegression().fit(cca.transform(scaled[:, seen]), scaled[:, lost])
    wanted = line.predict(cca.transform(((test.to_numpy() - mean) / deviation)[:, seen]))
    test.iloc[:, lost] = np.nan
    Z = ModalityImputer("cca", shrinkage=0, n_components=2).fit(train).transform(test)
    found = (Z.to_numpy()[:, lost] - mean[lost]) / deviation[lost]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_all_canonical_pairs_give_the_conditional_mean(global_seed):
    X = damaged(correlated(global_seed), global_seed)
    np.testing.assert_allclose(
        ModalityImputer("cca").fit_transform(X),
        ModalityImputer("conditional").fit_transform(X),
        rtol=1e-8,
        atol=1e-8,
    )


def test_low_rank_without_noise_is_recovered_exactly(global_seed):
    whole = correlated(global_seed, noise=0.0)
    X = damaged(whole, global_seed, 0.4)
    imputer = ModalityImputer("low_rank").fit(X)
    assert imputer.n_components_ == 3
    np.testing.assert_allclose(imputer.transform(X), whole, rtol=1e-7, atol=1e-7)
    new = correlated(global_seed, n_samples=90, noise=0.0)
    np.testing.assert_allclose(imputer.transform(damaged(new, 1, 0.4)), new, rtol=1e-7, atol=1e-7)


def test_low_rank_with_more_columns_than_samples(global_seed):
    rng = np.random.default_rng(global_seed)
    whole = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 100))
    X = whole.copy()
    X[:8, :50] = np.nan
    X[8:14, 50:] = np.nan
    halves = {"left": slice(0, 50), "right": slice(50, 100)}
    np.testing.assert_allclose(
        ModalityImputer("low_rank", halves).fit_transform(X), whole, rtol=1e-7, atol=1e-7
    )


def test_low_rank_finds_the_rank_under_noise(global_seed):
    rng = np.random.default_rng(global_seed)
    angle = 2 * np.pi * np.arange(20) / 20
    basis = np.array([np.cos(angle), np.sin(angle), np.ones(20)])  # equally strong everywhere
    X = rng.normal(size=(300, 3)) @ basis + 0.3 * rng.normal(size=(300, 20))
    halves = {"left": slice(0, 10), "right": slice(10, 20)}
    assert ModalityImputer("low_rank", halves).fit(X).n_components_ == 3


def test_knn_is_the_mean_of_the_nearest(global_seed):
    whole = correlated(global_seed, 40)
    X = damaged(whole, global_seed)
    scaled, mean, deviation = standardised(X)
    wanted = np.array([nearest_mean(scaled, row, BLOCKS, 3) for row in scaled])
    Z = ModalityImputer("knn", n_neighbors=3).fit_transform(X)
    np.testing.assert_allclose((Z.to_numpy() - mean) / deviation, wanted, atol=1e-10)


def test_knn_is_that_of_scikit_learn_for_modalities_of_one_width(global_seed):
    """There each column is filled by itself, over distances that weigh all columns alike."""
    X = correlated(global_seed).iloc[:, [0, 1, 2, 7, 8, 9]]
    X.iloc[:20, :3] = np.nan
    scaled, mean, deviation = standardised(X)
    wanted = KNNImputer(n_neighbors=4).fit_transform(scaled) * deviation + mean
    Z = ModalityImputer("knn", n_neighbors=4).fit_transform(X)
    np.testing.assert_allclose(Z, wanted, rtol=1e-10)


# The moments where training samples lack modalities


def test_moments_are_those_of_the_slow_iteration(global_seed):
    X = damaged(correlated(global_seed, 60), global_seed)
    complete = X.dropna().to_numpy()
    mean, covariance = expectation_maximisation(
        X.to_numpy(), complete.mean(axis=0), np.cov(complete.T, bias=True), 3
    )
    with pytest.warns(ConvergenceWarning, match=r"after 3 iterations; the change of the moments"):
        imputer = ModalityImputer(shrinkage=0, max_iter=3, tol=0).fit(X)
    np.testing.assert_allclose(imputer.location_, mean, rtol=1e-7)
    np.testing.assert_allclose(imputer.covariance_, covariance, rtol=1e-6, atol=1e-7)


def test_no_step_makes_the_samples_less_likely(global_seed):
    X = damaged(correlated(global_seed, 200), global_seed)
    found = []
    for max_iter in (1, 2, 4, 8, 16):
        with pytest.warns(ConvergenceWarning):
            imputer = ModalityImputer(shrinkage=0, max_iter=max_iter, tol=0).fit(X)
        found.append(observed_log_likelihood(X.to_numpy(), imputer.location_, imputer.covariance_))
    assert (np.diff(found) > 0).all()


def test_modalities_that_are_never_together_say_nothing_of_each_other():
    X = correlated(4).iloc[:, :7]
    X.iloc[:40, :3] = np.nan
    X.iloc[40:, 3:] = np.nan
    imputer = ModalityImputer().fit(X)
    Z = imputer.transform(X)
    np.testing.assert_allclose(Z.iloc[:40, :3], np.tile(X.iloc[:, :3].mean(), (40, 1)))
    np.testing.assert_allclose(imputer.covariance_[:3, 3:], 0, atol=1e-12)


def test_learns_from_incomplete_samples(global_seed):
    """Few samples are whole; the others must make the completion better."""
    few, all_ = [], []
    for draw in range(4):
        whole = correlated(1000 * draw + global_seed, 600)
        X, test = whole.iloc[:400].copy(), whole.iloc[400:]
        lossy = test.copy()
        lossy.iloc[:, 3:7] = np.nan
        X.iloc[12:140, 7:] = np.nan
        X.iloc[140:270, :3] = np.nan
        X.iloc[270:, 3:7] = np.nan
        for train, errors in ((X.iloc[:12], few), (X, all_)):
            Z = ModalityImputer().fit(train).transform(lossy)
            errors.append(np.mean(((Z - test) / whole.std()).to_numpy()[:, 3:7] ** 2))
    assert np.mean(all_) < 0.9 * np.mean(few)


@over_methods
def test_is_better_than_the_mean(method, global_seed):
    whole = correlated(global_seed, 200)
    X = damaged(whole, global_seed)
    lost = X.isna().to_numpy()
    scale = whole.std().to_numpy()
    errors = ((ModalityImputer(method).fit_transform(X) - whole) / scale).to_numpy()[lost]
    means = ((X.fillna(X.mean()) - whole) / scale).to_numpy()[lost]
    assert np.mean(errors**2) < 0.7 * np.mean(means**2)


# Draws


def test_draws_have_the_conditional_mean_and_covariance(global_seed):
    train = correlated(global_seed, 200)
    covariance = np.cov(train.to_numpy().T, bias=True)
    row = train.iloc[[7]].copy()
    row.iloc[:, 3:7] = np.nan
    lost = row.isna().to_numpy()[0]
    n = 20_000
    X = pd.concat([row] * n)
    imputer = ModalityImputer(shrinkage=0, sample_posterior=True, random_state=global_seed)
    drawn = imputer.fit(train).transform(X).to_numpy()[:, lost]
    mean = conditional_mean(train.mean().to_numpy(), covariance, row.to_numpy()[0])[lost]
    spread = conditional_covariance(covariance, lost)
    deviation = np.sqrt(np.diag(spread))
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * deviation / np.sqrt(n)).all()
    off = (np.cov(drawn.T) - spread) / deviation / deviation[:, None]
    assert np.abs(off).max() < 5 * np.sqrt(2 / n)


def test_ridge_draws_have_the_residuals_of_the_ridge(global_seed):
    train = correlated(global_seed, 200)
    scaled, _, deviation = standardised(train)
    lost, seen = BLOCKS[1], BLOCKS[0] + BLOCKS[2]
    ridge = Ridge(50).fit(scaled[:, seen], scaled[:, lost])
    wanted = np.cov((scaled[:, lost] - ridge.predict(scaled[:, seen])).T, bias=True)
    X = pd.concat([train.iloc[[0]]] * 20_000)
    X.iloc[:, lost] = np.nan
    imputer = ModalityImputer("ridge", alpha=50, sample_posterior=True, random_state=global_seed)
    found = np.cov((imputer.fit(train).transform(X).to_numpy() / deviation)[:, lost].T)
    unit = np.sqrt(np.diag(wanted))
    assert np.abs((found - wanted) / unit / unit[:, None]).max() < 5 * np.sqrt(2 / 20_000)


@over_methods
def test_draws_follow_the_seed_and_only_when_asked(method):
    X = damaged(correlated(5), 5)
    imputer = ModalityImputer(method, sample_posterior=True, random_state=1).fit(X)
    first = imputer.transform(X)
    pd.testing.assert_frame_equal(first, imputer.transform(X))
    second = imputer.set_params(random_state=2).transform(X)
    lost = X.isna().to_numpy()
    assert (first.to_numpy() != second.to_numpy())[lost].mean() > 0.5
    assert (first.to_numpy() == second.to_numpy())[~lost].all()
    mean = imputer.set_params(sample_posterior=False).transform(X)
    pd.testing.assert_frame_equal(mean, ModalityImputer(method).fit(X).transform(X))


def test_knn_draws_one_neighbour():
    X = correlated(6)
    test = X.copy()
    test.iloc[:, 3:7] = np.nan
    imputer = ModalityImputer("knn", sample_posterior=True, random_state=0).fit(X)
    drawn = {tuple(row) for row in imputer.transform(test).iloc[:, 3:7].to_numpy()}
    assert drawn <= {tuple(row) for row in X.iloc[:, 3:7].to_numpy()}


# Invariance


@pytest.mark.parametrize("method", GAUSSIAN)
@settings(max_examples=8)
@given(power=st.integers(-280, 280), shift=st.floats(-5, 5))
def test_units_do_not_matter(method, power, shift):
    whole = correlated(7, 30)
    X = damaged(whole, 7)
    factors = np.ones(len(COLUMNS))
    factors[::2] = 10.0**power
    there = ModalityImputer(method).fit_transform(X)
    other = ModalityImputer(method).fit_transform((X + shift) * factors)
    scale = np.abs(there.to_numpy()).max()
    np.testing.assert_allclose(other / factors - shift, there, atol=1e-6 * scale)


@over_methods
def test_order_of_columns_does_not_matter(method):
    X = damaged(correlated(8), 8)
    order = [4, 9, 0, 8, 3, 1, 6, 2, 7, 5]
    there = ModalityImputer(method).fit_transform(X).iloc[:, order]
    np.testing.assert_allclose(
        ModalityImputer(method).fit_transform(X.iloc[:, order]), there, rtol=1e-7, atol=1e-7
    )


@over_methods
def test_samples_are_completed_one_by_one(method):
    X = damaged(correlated(9), 9)
    imputer = ModalityImputer(method).fit(X)
    alone = pd.concat([imputer.transform(X.iloc[[i]]) for i in range(len(X))])
    np.testing.assert_allclose(alone, imputer.transform(X), rtol=1e-9, atol=1e-9)


def test_every_pattern_is_solved_once(monkeypatch):
    X = damaged(correlated(10, 300), 10, 0.5)
    imputer = ModalityImputer().fit(X)
    solve, calls = imputer._regress, []
    monkeypatch.setattr(imputer, "_regress", lambda *args: calls.append(1) or solve(*args))
    imputer.transform(X)
    patterns = modality_mask(X).drop_duplicates()
    assert len(calls) == (~patterns.all(axis=1)).sum() == 6


@given(st.lists(st.lists(st.booleans(), min_size=11, max_size=11), min_size=1, max_size=30))
def test_patterns_are_the_unique_rows(rows):
    mask = np.array(rows)
    patterns, codes = unique_patterns(mask)
    np.testing.assert_array_equal(patterns[codes], mask)
    assert len(np.unique(patterns, axis=0)) == len(patterns)


# Tables


def test_indicator_has_a_column_for_each_modality_that_was_missing():
    X = correlated(11)
    X.iloc[:10, :3] = np.nan
    imputer = ModalityImputer(add_indicator=True).fit(X)
    new = correlated(12)
    new.iloc[5, :3] = new.iloc[6, 3:7] = np.nan
    Z = imputer.transform(new)
    assert imputer.indicator_modalities_ == ["audio"]
    assert list(Z.columns) == [*COLUMNS, "missing__audio"]
    assert Z.columns.tolist() == imputer.get_feature_names_out().tolist()
    assert np.flatnonzero(Z["missing__audio"]).tolist() == [5]
    flags = new.isna()[["audio__0"]].to_numpy()
    np.testing.assert_array_equal(Z[["missing__audio"]].to_numpy(), flags)


def test_indicator_refuses_a_name_that_is_taken():
    X = pd.DataFrame({"audio__0": [1.0, np.nan], "video__0": [1.0, 2], "missing__audio": [0.0, 1]})
    with pytest.raises(ValueError, match=r"columns 'missing__audio' already"):
        ModalityImputer(add_indicator=True).fit(X)


def test_types_stay_where_they_can():
    X = pd.DataFrame(
        {
            "audio__single": np.array([1, 2, np.nan, 4], dtype=np.float32),
            "audio__nullable": pd.array([1.5, 2.5, None, 3.5], dtype="Float64"),
            "audio__whole": pd.array([1, 2, None, 2**62 + 1], dtype="Int64"),
            "audio__object": np.array([True, False, None, 2], dtype=object),
            "video__int": [2**60 + 1, 2, 3, 4],
            "video__flag": [True, False, True, True],
        }
    )
    Z = ModalityImputer("knn", n_neighbors=1).fit_transform(X)
    assert Z.dtypes.astype(str).to_dict() == {
        "audio__single": "float32",
        "audio__nullable": "Float64",
        "audio__whole": "Float64",
        "audio__object": "float64",
        "video__int": "int64",
        "video__flag": "bool",
    }
    assert Z["video__int"].tolist() == X["video__int"].tolist()
    assert not Z.isna().to_numpy().any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_keep_their_type(dtype):
    X = damaged(correlated(13), 13).to_numpy().astype(dtype)
    modalities = dict(zip(WIDTHS, BLOCKS, strict=True))
    Z = ModalityImputer(modalities=modalities).fit_transform(X)
    assert Z.dtype == dtype
    seen = ~np.isnan(X)
    assert Z[seen].tobytes() == X[seen].tobytes()


def test_any_frame():
    """Labels that are no strings, doubled index entries, object and nullable numbers."""
    X = damaged(correlated(14), 14)
    there = ModalityImputer().fit_transform(X).to_numpy()
    modalities = dict(zip(WIDTHS, BLOCKS, strict=True))
    for other in (
        X.set_axis(range(10), axis=1),
        X.set_axis([0] * len(X), axis=0),
        X.astype(object).where(X.notna(), None),
        X.astype("Float64"),
        np.asfortranarray(X.to_numpy()),
        X.to_numpy()[::-1][::-1],
        X.to_numpy().astype(object),
    ):
        Z = ModalityImputer(modalities=modalities).fit_transform(other)
        assert type(Z) is type(other)
        np.testing.assert_allclose(np.asarray(Z, dtype=float), there)


def test_columns_of_no_modality_are_left_out():
    X = damaged(correlated(15), 15).assign(subject=1)
    modalities = {"audio": COLUMNS[:3], "video": COLUMNS[3:7]}
    with pytest.warns(UserWarning, match=r"'subject' of X belong to no modality"):
        imputer = ModalityImputer(modalities=modalities).fit(X)
    with pytest.warns(UserWarning, match="samples have none of the modalities"):
        Z = imputer.transform(X)
    assert list(Z.columns) == COLUMNS[:7] == imputer.get_feature_names_out().tolist()


def test_overlapping_modalities():
    X = correlated(16)
    X.iloc[:10, :3] = np.nan
    X.iloc[:10, 3] = 1.0
    imputer = ModalityImputer(
        modalities={"audio": [0, 1, 2], "both": [2, 3], "rest": slice(4, 10)}, allow_overlap=True
    )
    Z = imputer.fit_transform(X)
    assert np.isfinite(Z.to_numpy()).all()
    assert list(Z.columns) == COLUMNS


# In use


def test_pipeline_and_search(global_seed):
    X, y = make_multimodal_classification(
        120, missing=0.3, return_X_y=True, random_state=global_seed
    )
    pipeline = make_pipeline(ModalityImputer(add_indicator=True), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=3, error_score="raise").shape == (3,)
    search = GridSearchCV(
        pipeline,
        {
            "modalityimputer__method": ["ridge", "knn"],
            "modalityimputer__add_indicator": [True, False],
        },
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).predict(X).shape == (120,)
    frames = make_pipeline(StandardScaler(), ModalityImputer()).set_output(transform="pandas")
    assert list(frames.fit_transform(X).columns) == list(X.columns)


def test_a_second_fit_keeps_nothing():
    X, other = damaged(correlated(17), 17), damaged(correlated(18).iloc[:, :7], 18)
    for method in METHODS:
        imputer = ModalityImputer(method).fit(X).fit(other)
        np.testing.assert_array_equal(
            imputer.transform(other), clone(imputer).fit(other).transform(other)
        )


# Edges


def test_a_modality_never_seen_is_left_out():
    X = correlated(19)
    X.iloc[:, 3:7] = np.nan
    with pytest.warns(UserWarning, match=r"'video' are missing for every sample and are left out"):
        imputer = ModalityImputer().fit(X)
    assert list(imputer.transform(X).columns) == COLUMNS[:3] + COLUMNS[7:]
    assert imputer.transform(correlated(19)).shape == (80, 6)


@over_methods
def test_a_sample_with_nothing_gets_the_means(method):
    train = correlated(20)
    X = train.copy()
    X.iloc[3] = np.nan
    imputer = ModalityImputer(method).fit(train)
    with pytest.warns(UserWarning, match=r"1 of 80 samples have none of .*; they get the means"):
        Z = imputer.transform(X)
    np.testing.assert_allclose(Z.iloc[3], train.mean())
    with pytest.warns(UserWarning, match="draws around the means"):
        drawn = imputer.set_params(sample_posterior=True, random_state=0).transform(X)
    assert (drawn.iloc[3] != Z.iloc[3]).all()


@over_methods
def test_samples_with_nothing_do_not_count_at_fit(method):
    X = damaged(correlated(21), 21)
    empty = pd.DataFrame(np.nan, index=["none"], columns=COLUMNS)
    there = ModalityImputer(method).fit(X).transform(X)
    found = ModalityImputer(method).fit(pd.concat([X, empty])).transform(X)
    np.testing.assert_allclose(found, there)


@over_methods
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e200])
def test_constant_columns_are_completed_with_their_constant(method, constant):
    X = correlated(22)
    X["video__0"] = X["text__1"] = constant
    X.iloc[:15, 3:7] = np.nan
    Z = ModalityImputer(method).fit_transform(X)
    np.testing.assert_allclose(Z["video__0"], constant, rtol=1e-12, atol=1e-12)
    assert np.isfinite(Z.to_numpy()).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@over_methods
def test_more_columns_than_samples(method):
    X = damaged(correlated(23, 8), 23)
    Z = ModalityImputer(method).fit_transform(X)
    assert np.isfinite(Z.to_numpy()).all()
    assert np.abs(Z.to_numpy()).max() < 50 * np.nanmax(np.abs(X.to_numpy()))


@over_methods
def test_one_sample(method):
    X = correlated(24)
    imputer = ModalityImputer(method).fit(X.iloc[:1])
    test = X.iloc[[1]].copy()
    test.iloc[:, :3] = np.nan
    np.testing.assert_allclose(imputer.transform(test).iloc[:, :3], X.iloc[:1, :3])


@over_methods
def test_one_modality_is_filled_with_its_means(method):
    X = np.array([[1.0, 2.0], [3.0, 6.0], [np.nan, np.nan]])
    with pytest.warns(UserWarning, match="nothing is fused"):
        imputer = ModalityImputer(method).fit(X)
    with pytest.warns(UserWarning, match="none of the modalities"):
        np.testing.assert_allclose(imputer.transform(X)[2], [2.0, 4.0])


@over_methods
def test_huge_and_tiny_numbers_stay_finite(method):
    X = damaged(correlated(25), 25)
    X.iloc[:, [0, 4]] *= 1e306
    X.iloc[:, [1, 8]] *= 1e-310
    assert np.isfinite(ModalityImputer(method).fit_transform(X).to_numpy()).all()


# Refusals


def refused(X, match, kind=ValueError, **params):
    with pytest.raises(kind, match=match):
        ModalityImputer(**params).fit(X)


def test_columns_that_hold_no_numbers_are_named():
    X = correlated(26)
    refused(
        X.assign(text__0="hello"),
        r"modality 'text': column 'text__0' holds text",
    )
    refused(X.assign(text__0=pd.Series(["a"] * 80, dtype=object, index=X.index)), "holds text")
    refused(
        X.assign(video__1=pd.Categorical(["a"] * 80)), r"column 'video__1' holds (text|category)"
    )
    refused(
        X.assign(audio__2=pd.Timestamp("2020-01-01")), r"'audio': column 'audio__2' holds datetime"
    )
    cells = pd.Series([np.ones(3)] * 80, index=X.index)
    refused(
        X[COLUMNS[3:]].assign(sound=cells),
        r"column 'sound' holds ndarray",
        (TypeError, ValueError),
    )


def test_text_at_transform_is_named():
    X = correlated(27)
    imputer = ModalityImputer().fit(X)
    with pytest.raises(ValueError, match=r"column 'text__0' holds text"):
        imputer.transform(X.assign(text__0="hello"))


def test_infinity_is_named():
    X = correlated(28)
    X.iloc[3, 4] = np.inf
    refused(X, r"modality 'video': column 'video__1' holds infinity")


def test_all_missing_is_refused():
    refused(correlated(29) * np.nan, r"'audio', 'video', 'text' are missing for every sample")


@pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")
def test_sparse_is_refused():
    refused(sparse.csr_array(np.eye(3)), "dense data is required", TypeError)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"method": "mean"}, "method must be one of 'conditional', 'ridge'"),
        ({"method": None}, "method must be one of"),
        ({"shrinkage": 1.5}, "shrinkage must be 'ledoit_wolf' or a number from 0 to 1, got 1.5"),
        ({"shrinkage": "oas"}, "shrinkage must be"),
        ({"shrinkage": np.nan}, "shrinkage must be"),
        ({"alpha": -1}, "alpha must be a number of at least 0, got -1"),
        ({"alpha": np.inf}, "alpha must be"),
        ({"tol": -1e-3}, "tol must be"),
        ({"n_components": 0}, "n_components must be a whole number of at least 1, got 0"),
        ({"n_neighbors": 2.5}, "n_neighbors must be"),
        ({"max_iter": True}, "max_iter must be"),
        ({"modalities": {"smell": "smell__0"}}, "modality 'smell': X has no columns 'smell__0'"),
    ],
)
def test_parameters_out_of_range(params, said):
    refused(correlated(30), re.escape(said), **params)
