"""Sequence kernels against their definitions, and what holds for every input."""

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracles_sequence as oracles
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from mkfusion.kernels import GlobalAlignment, Spectrum

NAN = float("nan")


def matrix(kernel, X, Y=None, n_threads=1):
    checked = None if Y is None else kernel._check(Y, "Y")
    return kernel._matrix(kernel._check(X, "X"), checked, n_threads)


def series(rng, count, longest, d, scale=1.0):
    return [scale * rng.normal(size=(rng.integers(1, longest + 1), d)) for _ in range(count)]


def texts(rng, count, longest, symbols="abc"):
    return ["".join(rng.choice(list(symbols), rng.integers(longest + 1))) for _ in range(count)]


# Global alignment -----------------------------------------------------------------------------


@pytest.mark.parametrize("triangular", [None, 1, 2, 4])
def test_alignment_is_the_sum_over_all_alignments(triangular, global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = series(rng, 5, 5, 2), series(rng, 4, 4, 2)
    kernel = GlobalAlignment(sigma=0.8, triangular=triangular, normalize=False)
    expected = [[oracles.aligned_by_enumeration(x, y, 0.8, triangular) for y in Y] for x in X]
    np.testing.assert_allclose(matrix(kernel, X, Y), expected, rtol=1e-13)


@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9]),
    longest=st.sampled_from([1, 3, 30]),
    sigma=st.sampled_from([0.02, 0.5, 3.0, 1e3]),
    triangular=st.sampled_from([None, 1, 2, 7, 40, 10**30]),
)
def test_alignment_equals_the_recursion_in_logarithms(seed, d, longest, sigma, triangular):
    rng = np.random.default_rng(seed)
    X, Y = series(rng, 3, longest, d), series(rng, 2, longest, d)
    kernel = GlobalAlignment(sigma=sigma, triangular=triangular)
    expected = oracles.aligned_matrix(X, Y, sigma, triangular)
    ours = matrix(kernel, X, Y)
    # A float's relative error in an exponent is an absolute one in what it is the exponent of.
    exponents = 1 + np.abs(np.log(np.maximum(expected, 1e-300)))
    assert (np.abs(ours - expected) <= 1e-13 * exponents * expected + 1e-290).all()


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e150])
def test_only_the_ratio_of_frames_and_sigma_matters(scale, global_seed):
    rng = np.random.default_rng(global_seed)
    X = series(rng, 4, 20, 3)
    base = matrix(GlobalAlignment(sigma=1.5), X)
    scaled = matrix(GlobalAlignment(sigma=1.5 * scale), [scale * x for x in X])
    np.testing.assert_allclose(scaled, base, rtol=1e-11)


def test_far_from_the_origin_nothing_is_lost(global_seed):
    rng = np.random.default_rng(global_seed)
    X = [np.round(x * 2**20) / 2**20 for x in series(rng, 4, 20, 3)]
    base = matrix(GlobalAlignment(sigma=1.0), X)
    np.testing.assert_array_equal(matrix(GlobalAlignment(sigma=1.0), [x + 2**20 for x in X]), base)


def test_alignment_equals_tslearn(global_seed):
    cdist_gak = pytest.importorskip("tslearn.metrics").cdist_gak
    rng = np.random.default_rng(global_seed)
    X, Y = rng.normal(size=(6, 25, 3)), rng.normal(size=(5, 40, 3))
    kernel = GlobalAlignment(sigma=2.0)
    np.testing.assert_allclose(matrix(kernel, X), cdist_gak(X, sigma=2.0), rtol=1e-10)
    np.testing.assert_allclose(matrix(kernel, X, Y), cdist_gak(X, Y, sigma=2.0), rtol=1e-10)


@pytest.mark.parametrize("triangular", [None, 9])
def test_alignment_holds_what_its_traits_say(triangular, global_seed):
    rng = np.random.default_rng(global_seed)
    X = series(rng, 30, 25, 2)
    kernel = GlobalAlignment(sigma=1.0, triangular=triangular)
    K = matrix(kernel, X)
    assert kernel.unit_diagonal
    assert not GlobalAlignment(normalize=False).unit_diagonal
    assert (K.diagonal() == 1.0).all()
    np.testing.assert_array_equal(K, K.T)
    assert ((K >= 0) & (K <= 1)).all()
    assert np.linalg.eigvalsh(K)[0] > -1e-12
    np.testing.assert_array_equal(matrix(kernel, X, [x.copy() for x in X]), K)
    np.testing.assert_array_equal(matrix(kernel, X[:7], X[3:]), K[:7, 3:])
    plain = matrix(GlobalAlignment(sigma=1.0, triangular=triangular, normalize=False), X)
    roots = np.sqrt(plain.diagonal())
    np.testing.assert_allclose(K, plain / roots[:, None] / roots, rtol=1e-13)
    reversed_ = matrix(kernel, [x[::-1] for x in X])
    np.testing.assert_allclose(reversed_, K, rtol=1e-12) if triangular is None else None


def test_a_wide_triangle_leaves_the_plain_kernel(global_seed):
    X = series(np.random.default_rng(global_seed), 6, 20, 1)
    wide = matrix(GlobalAlignment(sigma=1.0, triangular=10**14), X)
    np.testing.assert_allclose(wide, matrix(GlobalAlignment(sigma=1.0), X), rtol=1e-10)


def test_a_triangle_of_one_leaves_the_diagonal_path(global_seed):
    rng = np.random.default_rng(global_seed)
    x, y, z = rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.normal(size=(8, 2))
    kernel = GlobalAlignment(sigma=1.0, triangular=1, normalize=False)
    locals_ = [oracles.local_kernel(u, v, 1.0) for u, v in zip(x, y, strict=True)]
    np.testing.assert_allclose(matrix(kernel, [x], [y, z]), [[np.prod(locals_), 0.0]], rtol=1e-13)


@pytest.mark.parametrize("kind", ["alignment", "spectrum"])
def test_any_number_of_threads_gives_the_same_bits(kind, global_seed):
    rng = np.random.default_rng(global_seed)
    if kind == "alignment":
        kernel, X, Y = GlobalAlignment(sigma=1.0), series(rng, 40, 60, 5), series(rng, 11, 90, 5)
    else:
        kernel, X, Y = Spectrum(k=2), texts(rng, 300, 20), texts(rng, 170, 20)
    for pair in ((X, None), (X, Y)):
        one = matrix(kernel, *pair)
        for n_threads in (2, 4):
            np.testing.assert_array_equal(matrix(kernel, *pair, n_threads), one)


def test_a_pair_does_not_depend_on_its_neighbours(global_seed):
    """Pairs are worked on side by side, padded to the longest."""
    rng = np.random.default_rng(global_seed)
    X = series(rng, 20, 70, 3)
    kernel = GlobalAlignment(sigma=1.0, normalize=False)
    K = matrix(kernel, X)
    for i, j in rng.integers(20, size=(40, 2)):
        assert matrix(kernel, [X[i]], [X[j]])[0, 0] == K[i, j]


def test_long_series_neither_overflow_nor_underflow(global_seed):
    rng = np.random.default_rng(global_seed)
    walk = np.cumsum(rng.normal(size=5000))
    X = [
        walk,
        np.repeat(walk[::2], 2)[:4990] + 1e-3,
        rng.normal(size=4000) - 1e6,
        np.full(3000, -1e308),
        np.full(5, 1e308),
    ]
    K = matrix(GlobalAlignment(sigma=3.0), X)
    assert (K.diagonal() == 1).all()
    assert 0 < K[0, 1] < 1
    assert not np.triu(K, 1)[:, 2:].any()
    plain = matrix(GlobalAlignment(sigma=3.0, normalize=False), X)
    assert plain[0, 0] == np.inf
    assert plain[0, 3] == 0.0


def test_alignments_that_are_nothing_beside_others_may_be_all_that_counts():
    """Half way, the alignments that win are 1e300 times less than others that then die out.

    Whoever scales row by row loses them. Zeros align with zeros in as many ways as a Delannoy
    number says; a frame at ``far`` aligned with a zero, or at the end with one that is ``far``
    off, costs e^-276.
    """
    zeros, far = [0.0] * 600, 23.5
    x = [*zeros, far, *zeros, 1000.0, 2000.0]
    y = [0.0, far, *zeros, 1000.0 + far, 2000.0 + far]
    ways = sum(math.comb(599, k) ** 2 * 2**k for k in range(600))
    ends = oracles.local_kernel(np.array([far]), np.zeros(1), 1.0)
    ours = matrix(GlobalAlignment(sigma=1.0, normalize=False), [x], [y])[0, 0]
    assert np.log(ours) == pytest.approx(math.log(ways) + 2 * np.log(ends), rel=1e-12)


def test_one_frame_and_no_series():
    kernel = GlobalAlignment(sigma=2.0)
    expected = oracles.local_kernel(np.array([1.0]), np.array([3.0]), 2.0)
    np.testing.assert_allclose(matrix(kernel, [[1.0]], [[3.0]]), [[expected]], rtol=1e-15)
    assert matrix(kernel, [[1.0, 2.0]]).tolist() == [[1.0]]
    assert matrix(kernel, []).shape == (0, 0)
    assert matrix(kernel, [], [[1.0]]).shape == (0, 1)
    assert matrix(kernel, [[1.0]], []).shape == (1, 0)


def test_the_median_bandwidth(global_seed):
    rng = np.random.default_rng(global_seed)
    X = series(rng, 7, 12, 2)
    frames = np.concatenate(X)
    distances = np.linalg.norm(frames[:, None] - frames, axis=2)
    distances = distances[np.triu_indices(len(frames), 1)]
    expected = np.median(distances[distances > 0]) * np.sqrt(np.median([len(x) for x in X]))
    kernel = GlobalAlignment()
    resolved = kernel.resolve(X)
    assert resolved.sigma == pytest.approx(expected, rel=1e-12)
    assert kernel.sigma == "median"
    np.testing.assert_array_equal(matrix(kernel, X), matrix(resolved, X))
    with pytest.raises(ValueError, match=r"call kernel\.resolve\(X_train\)"):
        matrix(kernel, X, X)
    with pytest.raises(ValueError, match="at least one series"):
        matrix(kernel, [])


def test_the_median_of_many_frames_is_of_a_seeded_sample(global_seed):
    rng = np.random.default_rng(global_seed)
    X = series(rng, 100, 40, 1)
    sigmas = [GlobalAlignment(random_state=seed).resolve(X).sigma for seed in (0, 0, 1)]
    assert sigmas[0] == sigmas[1] != sigmas[2]
    assert sigmas[0] == pytest.approx(sigmas[2], rel=0.3)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 1.7e308])
def test_the_median_bandwidth_of_extreme_frames_is_a_number(scale):
    sigma = GlobalAlignment().resolve([[0.0, scale], [scale, -scale]]).sigma
    assert 0 < sigma < np.inf


def test_the_median_bandwidth_is_of_different_frames():
    assert GlobalAlignment().resolve([[1.0] * 3 + [4.0]]).sigma == pytest.approx(3.0 * 2.0)


def test_constant_frames_give_ones():
    assert (matrix(GlobalAlignment(), [[5.0] * 3, [5.0] * 3]) == 1).all()


def test_a_list_of_bandwidths_is_a_bank(global_seed):
    X = series(np.random.default_rng(global_seed), 4, 9, 1)
    bank = GlobalAlignment(sigma=[0.5, 2.0], triangular=5)
    singles = bank.expand()
    assert [kernel.sigma for kernel in singles] == [0.5, 2.0]
    assert {kernel.triangular for kernel in singles} == {5}
    assert bank.resolve(X).sigma == [0.5, 2.0]
    assert len(GlobalAlignment().expand()) == 1
    with pytest.raises(ValueError, match="bank of 2 kernels"):
        matrix(bank, X)
    with pytest.raises(ValueError, match="at least one bandwidth"):
        GlobalAlignment(sigma=[]).expand()


def test_series_come_in_many_containers(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(4, 6, 1))
    kernel = GlobalAlignment(sigma=1.0)
    expected = matrix(kernel, X)
    column = np.empty(4, object)
    column[:] = list(X)
    flat = [x[:, 0] for x in X]
    frame = pd.DataFrame({"audio": list(X)}, index=list("aabc"))
    fortran = [np.asfortranarray(x) for x in X]
    strided = [np.repeat(x, 2, axis=0)[::2] for x in X]
    nested = [x.tolist() for x in X]
    for same in (
        list(X), tuple(X), column, column[:, None], flat, frame, frame["audio"], X[:, :, 0],
        fortran, strided, nested, [pd.Series(x) for x in flat], [x.astype(object) for x in X],
    ):  # fmt: skip
        np.testing.assert_array_equal(matrix(kernel, same), expected)
    whole = [np.arange(3), np.array([True, False]), np.array([1, 2], np.uint8), np.ones(2, "f2")]
    assert (matrix(kernel, whole).diagonal() == 1).all()


def test_series_are_left_as_they_were(global_seed):
    X = series(np.random.default_rng(global_seed), 5, 9, 2)
    for x in X:
        x.flags.writeable = False
    before = [x.copy() for x in X]
    matrix(GlobalAlignment(), X, None)
    matrix(GlobalAlignment(sigma=1.0), X[:1], X[1:2])
    for x, copy in zip(X, before, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ([[1.0], None], ValueError, r"row 1 of X is missing \(None\)"),
        ([[1.0], NAN], ValueError, r"row 1 of X is missing \(nan\)"),
        ([[1.0], pd.NA], ValueError, "row 1 of X is missing"),
        ([[1.0], [2.0, NAN]], ValueError, "row 1 of X contains NaN or infinity at frame 1"),
        ([[np.inf]], ValueError, "row 0 of X contains NaN or infinity at frame 0"),
        ([[1.0, None]], ValueError, "row 0 of X contains NaN or infinity at frame 1"),
        ([[1.0], []], ValueError, r"row 1 of X .* got shape \(0,\)"),
        ([np.ones((3, 0))], ValueError, r"got shape \(3, 0\)"),
        ([np.ones((3, 2, 2))], ValueError, r"got shape \(3, 2, 2\)"),
        ([np.ones((3, 2)), np.ones((3, 1))], ValueError, "row 1 of X has 1 features, but row 0"),
        ([[1.0], 5.0], TypeError, "row 1 of X must be an array .* got float 5.0"),
        ([["a", "b"]], TypeError, "row 0 of X must hold numbers"),
        ([np.array(["1", 2], object)], TypeError, "row 0 of X must hold numbers"),
        ([[1j]], TypeError, "row 0 of X must hold numbers"),
        ([[{}]], TypeError, "row 0 of X must hold numbers"),
        ([np.array(["2020-01-01"], "M8[D]")], TypeError, "row 0 of X must hold numbers"),
        (["text"], TypeError, "row 0 of X must be an array .* got str 'text'"),
        ([[[1.0], [1.0, 2.0]]], ValueError, "row 0 of X must be an array"),
        ("text", TypeError, "X must be a list or column of sequences, got str 'text'"),
        (3.0, TypeError, "X must be a list or column of sequences"),
        (np.ones(3), TypeError, "row 0 of X must be an array"),
        (np.full((3, 2), None), ValueError, "X has 2 columns"),
        (np.ma.masked_equal([[1.0, 2.0]], 2.0), ValueError, "X is a masked array"),
        ([np.ma.masked_equal([1.0, 2.0], 2.0)], ValueError, "row 0 of X is a masked array"),
    ],
)
def test_series_are_refused_by_name(X, error, match):
    with pytest.raises(error, match=match):
        matrix(GlobalAlignment(sigma=1.0), X)


def test_other_features_in_y_are_refused():
    with pytest.raises(ValueError, match="series of Y have 2 features, but those of X have 3"):
        matrix(GlobalAlignment(sigma=1.0), [np.ones((2, 3))], [np.ones((2, 2))])
    with pytest.raises(ValueError, match="row 0 of Y is missing"):
        matrix(GlobalAlignment(sigma=1.0), [[1.0]], [None])


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"sigma": 0.0}, "sigma must be a finite number > 0, got 0.0"),
        ({"sigma": NAN}, "sigma must be a finite number"),
        ({"sigma": "scott"}, "sigma must be a number, a list or 'median', got 'scott'"),
        ({"sigma": None}, "sigma must be a finite number"),
        ({"sigma": 1.0, "triangular": 0}, "triangular must be a whole number >= 1, got 0"),
        ({"sigma": 1.0, "triangular": 2.5}, "triangular must be a whole number"),
        ({"sigma": "median", "random_state": -1}, "random_state must be a whole number >= 0"),
    ],
)
def test_alignment_parameters_are_refused_when_used(params, match):
    kernel = GlobalAlignment(**params)
    with pytest.raises(ValueError, match=match):
        matrix(kernel, [[1.0]])


@pytest.mark.parametrize(
    "kernel",
    [GlobalAlignment([1.0, 2.0], triangular=3, normalize=False), Spectrum(k=4, blended=True)],
)
def test_kernels_clone_and_pickle(kernel):
    for other in (clone(kernel), pickle.loads(pickle.dumps(kernel))):
        assert other.get_params() == kernel.get_params()
    assert kernel.positive_definite
    assert kernel.conditionally_positive_definite


# Spectrum -------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 6),
    blended=st.booleans(),
    symbols=st.sampled_from(["a", "ab", "abcdefgh", "é💡\x00\ud800", "\u0301e"]),
)
def test_spectrum_equals_counting(seed, k, blended, symbols):
    rng = np.random.default_rng(seed)
    X, Y = texts(rng, 5, 15, symbols), texts(rng, 4, 15, symbols)
    plain = Spectrum(k=k, blended=blended, normalize=False)
    expected = np.array([[oracles.spectrum(x, y, k, blended) for y in Y] for x in X])
    np.testing.assert_array_equal(matrix(plain, X, Y), expected)
    own = [np.array([oracles.spectrum(z, z, k, blended) for z in Z]) for Z in (X, Y)]
    roots = np.sqrt(np.outer(*own))
    normalized = np.divide(expected, roots, out=np.zeros(roots.shape), where=roots > 0)
    kernel = Spectrum(k=k, blended=blended)
    np.testing.assert_allclose(matrix(kernel, X, Y), normalized, rtol=1e-15)


@pytest.mark.parametrize("symbols", ["ab", "".join(map(chr, range(97, 160)))])
@pytest.mark.parametrize("blended", [False, True])
def test_spectrum_holds_what_its_traits_say(symbols, blended, global_seed):
    """Of few symbols counts are dense, of many they are sparse."""
    X = texts(np.random.default_rng(global_seed), 200, 12, symbols)
    kernel = Spectrum(k=3, blended=blended)
    K = matrix(kernel, X)
    np.testing.assert_array_equal(K, K.T)
    least = 1 if blended else 3
    np.testing.assert_array_equal(K.diagonal(), [float(len(x) >= least) for x in X])
    assert not kernel.unit_diagonal
    assert ((K >= 0) & (K <= 1)).all()
    assert np.linalg.eigvalsh(K)[0] > -1e-12
    np.testing.assert_array_equal(matrix(kernel, X, list(X)), K)
    np.testing.assert_array_equal(matrix(kernel, X[:150], X[120:]), K[:150, 120:])


def test_strings_and_sequences_of_symbols_are_the_same():
    strings = ["banana", "ban", "", "nab"]
    kernel = Spectrum(k=2)
    expected = matrix(kernel, strings)
    column = np.array(strings, object)
    for same in (
        tuple(strings), np.array(strings), np.array(strings)[:, None], column, column[:, None],
        pd.Series(strings), pd.DataFrame({"text": strings}), pd.Series(strings, dtype="category"),
        [list(text) for text in strings], [np.array(list(text), "U1") for text in strings],
        ["banana", list("ban"), (), np.array(list("nab"))],
    ):  # fmt: skip
        np.testing.assert_array_equal(matrix(kernel, same), expected)
    codes = [np.array([ord(symbol) for symbol in text], np.int16) for text in strings]
    np.testing.assert_array_equal(matrix(kernel, codes), expected)
    np.testing.assert_array_equal(matrix(kernel, strings, column), expected)


def test_symbols_are_whatever_can_be_hashed():
    X = [[("a", 1), "b", 2.5], [("a", 1), "b"], [True, "b"], [1, "b"]]
    assert matrix(Spectrum(k=2, normalize=False), X).tolist() == [
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


def test_no_string_is_long_enough():
    assert matrix(Spectrum(k=5), ["", "ab", "abcd"]).tolist() == [[0.0] * 3] * 3
    assert matrix(Spectrum(k=1), ["", ""]).tolist() == [[0.0] * 2] * 2
    assert matrix(Spectrum(), []).shape == (0, 0)
    assert matrix(Spectrum(), [], ["abc"]).shape == (0, 1)
    assert matrix(Spectrum(), ["abc"], []).shape == (1, 0)


def test_very_long_substrings(global_seed):
    text = "".join(np.random.default_rng(global_seed).choice(list("ab"), 300))
    kernel = Spectrum(k=250, normalize=False)
    assert matrix(kernel, [text, text[:249], text[1:]]).tolist() == [
        [51, 0, 50],
        [0, 0, 0],
        [50, 0, 50],
    ]


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (["a", None], ValueError, r"row 1 of X is missing \(None\)"),
        (pd.Series(["a", None]), ValueError, "row 1 of X is missing"),
        (["a", NAN], ValueError, r"row 1 of X is missing \(nan\)"),
        ([["a", None]], ValueError, "row 0 of X has no symbol at place 1: None"),
        ([[1.0, NAN]], ValueError, "row 0 of X has no symbol at place 1: nan"),
        ([[[1], [2]]], TypeError, "row 0 of X holds list .* at place 0"),
        ([np.ones((2, 2))], ValueError, r"row 0 of X must be a string .* got shape \(2, 2\)"),
        (["a", 3], TypeError, "row 1 of X must be a string .* got int 3"),
        ([b"a"], TypeError, "row 0 of X must be a string"),
        ([{"a"}], TypeError, "row 0 of X must be a string"),
        ("text", TypeError, "X must be a list or column of sequences"),
        (np.array([["a", "b"]], object), ValueError, "X has 2 columns"),
    ],
)
def test_symbols_are_refused_by_name(X, error, match):
    with pytest.raises(error, match=match):
        matrix(Spectrum(), X)


@pytest.mark.parametrize("k", [0, 1.5, True, "3", None])
def test_spectrum_lengths_are_refused_when_used(k):
    kernel = Spectrum(k=k)
    with pytest.raises(ValueError, match="k must be a whole number >= 1"):
        matrix(kernel, ["abc"])


# Without compiled loops, and with every index checked -----------------------------------------

CHILD = """
import numpy as np
from mkfusion.kernels import GlobalAlignment
rng = np.random.default_rng(3)
X = [rng.normal(size=(rng.integers(1, 30), 5)) for _ in range(12)]
for triangular in (None, 1, 6):
    kernel = GlobalAlignment(sigma=1.0, triangular=triangular)
    checked = kernel._check(X, "X")
    K = kernel._matrix(checked, None, 2)
    assert (K.diagonal() == 1).all() and (K == K.T).all()
    assert (K == kernel._matrix(checked, kernel._check(X, "Y"), 1)).all()
    print(*K.ravel())
far = GlobalAlignment(sigma=1.0)._check([[1e308], [-1e308] * 50], "X")
print(*GlobalAlignment(sigma=1.0)._matrix(far, None, 1).ravel())
"""


@pytest.mark.parametrize("variable", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_alignment_in_other_modes_of_numba(variable, tmp_path):
    root = str(Path(__file__).resolve().parents[1])
    results = []
    for added in ({}, {variable: "1", "NUMBA_CACHE_DIR": str(tmp_path)}):
        environment = {
            **{name: value for name, value in os.environ.items() if name != variable},
            "PYTHONPATH": root,
            **added,
        }
        command = [sys.executable, "-W", "error", "-c", CHILD]
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert child.returncode == 0, child.stderr
        results.append(np.array(child.stdout.split(), float))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)
