"""Where kernels meet modalities: resolution, masks of what is missing, nested parameters."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from mkfusion.kernels import RBF, Categorical, FunctionKernel, Linear, Precomputed, gram
from mkfusion.mkl import ModalityKernels


@pytest.fixture
def frame(global_seed):
    rng = np.random.default_rng(global_seed)
    names = ["audio__a", "audio__b", "video__c", "video__d", "video__e", "text__f"]
    return pd.DataFrame(rng.normal(size=(60, 6)), columns=names)


def holes(frame, seed, share=0.4):
    """Lose modalities at random, at most all but one of a sample."""
    rng = np.random.default_rng(seed)
    modalities = ["audio", "video", "text"]
    lost = rng.random((len(frame), 3)) < share
    lost[lost.all(axis=1), 0] = False
    frame = frame.copy()
    for k, modality in enumerate(modalities):
        columns = [name for name in frame if name.startswith(modality)]
        frame.loc[lost[:, k], columns] = np.nan
    return frame, ~lost


TRIPLES = [
    ("near", RBF(gamma=1.0), "audio"),
    ("far", RBF(gamma=0.1), "audio"),
    ("line", Linear(), "video"),
    ("words", "rbf", "text"),
]


def masked_by_hand(kernels, columns, frame, there, other=None, there_too=None):
    """Section by section: z_i z_j K(i, j) / sqrt(r_i r_j), in plain loops over modalities."""
    other, there_too = (frame, there) if other is None else (other, there_too)
    found = []
    for kernel, (names, k) in zip(kernels, columns, strict=True):
        X, Y = frame[names].fillna(0).to_numpy(), other[names].fillna(0).to_numpy()
        K = gram(X, Y, kernel)
        r, s = there.mean(axis=1), there_too.mean(axis=1)
        z, w = there[:, k], there_too[:, k]
        found.append(K * np.outer(z / np.sqrt(r), w / np.sqrt(s)))
    return np.array(found)


COLUMNS = {"audio": (["audio__a", "audio__b"], 0), "video": (["video__c", "video__d", "video__e"], 1), "text": (["text__f"], 2)}  # fmt: skip # noqa: E501


def test_complete_samples_give_the_plain_kernels(frame):
    found = ModalityKernels(TRIPLES, normalize=None).fit(frame)
    assert found.kernel_names_ == ["near", "far", "line", "words"]
    assert found.kernel_modalities_ == ["audio", "audio", "video", "text"]
    K = found.gram()
    for m, (kernel, name) in enumerate(zip(found.kernels_, found.kernel_modalities_, strict=True)):
        assert np.array_equal(K[m], gram(frame[COLUMNS[name][0]], kernel=kernel))


def test_missing_modalities_give_the_masked_kernels(frame, global_seed):
    X, there = holes(frame, global_seed)
    found = ModalityKernels(TRIPLES, normalize=None).fit(X)
    columns = [COLUMNS[name] for name in found.kernel_modalities_]
    expected = masked_by_hand(found.kernels_, columns, X, there)
    np.testing.assert_allclose(found.gram(), expected, rtol=1e-12, atol=1e-13)
    for K in found.gram():
        assert np.array_equal(K, K.T)
        assert np.linalg.eigvalsh(K).min() >= -1e-10 * max(1, np.abs(K).max())


def test_pairwise_renormalising_would_not_be_psd():
    """Why the definition divides by the share of each sample, not by what a pair shares."""
    there = np.array([[1, 1], [1, 0], [0, 1]], dtype=float)
    shared = there @ there.T
    K = np.divide(shared, shared, out=np.zeros_like(shared), where=shared > 0)
    assert np.linalg.eigvalsh(K).min() < -0.1
    r = there.mean(axis=1)
    assert np.linalg.eigvalsh(shared / 2 / np.sqrt(np.outer(r, r))).min() > -1e-12


def test_the_sum_is_linear_in_the_weights(frame, global_seed):
    X, _ = holes(frame, global_seed)
    found = ModalityKernels(TRIPLES).fit(X)
    rng = np.random.default_rng(global_seed)
    u, v = rng.random((2, 4))
    joined = found.combine(u + 2 * v)
    np.testing.assert_allclose(joined, found.combine(u) + 2 * found.combine(v), rtol=1e-12)
    np.testing.assert_allclose(joined, np.tensordot(u + 2 * v, found.gram(), 1), rtol=1e-12)
    assert np.linalg.eigvalsh(joined).min() > -1e-10


def test_new_samples(frame, global_seed):
    X, there = holes(frame, global_seed)
    train, test = X.iloc[:40], X.iloc[40:]
    found = ModalityKernels(TRIPLES, normalize=None).fit(train)
    columns = [COLUMNS[name] for name in found.kernel_modalities_]
    expected = masked_by_hand(found.kernels_, columns, test, there[40:], train, there[:40])
    np.testing.assert_allclose(found.gram(test), expected, rtol=1e-12, atol=1e-13)
    combined = found.combine([0.1, 0.2, 0.3, 0.4], test)
    np.testing.assert_allclose(
        combined, np.tensordot([0.1, 0.2, 0.3, 0.4], expected, 1), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("normalize", ["cosine", None])
def test_the_training_samples_asked_again(frame, global_seed, normalize):
    X, _ = holes(frame, global_seed)
    found = ModalityKernels(TRIPLES, normalize=normalize).fit(X)
    assert np.array_equal(found.gram(), found.gram(X))
    # A row does not depend on which others are asked with it.
    assert np.array_equal(found.gram(X)[:, 7:8], found.gram(X.iloc[7:8]))


def test_cosine_normalisation_has_unit_diagonals(frame):
    K = ModalityKernels(TRIPLES).fit(frame).gram()
    np.testing.assert_allclose(K.diagonal(axis1=1, axis2=2), 1, rtol=1e-14)
    plain = ModalityKernels(TRIPLES, normalize=None).fit(frame).gram()[2]
    d = np.sqrt(plain.diagonal())
    np.testing.assert_allclose(K[2], plain / np.outer(d, d), rtol=1e-13, atol=1e-15)


def test_normalising_refuses_a_negative_diagonal(frame):
    kernels = ModalityKernels(kernel=FunctionKernel(lambda X, Y: -(X @ Y.T)))
    with pytest.raises(ValueError, match="negative values k\\(x, x\\)") as caught:
        kernels.fit(frame)
    assert "'audio'" in str(caught.value.__notes__)


def test_a_zero_sample_is_similar_to_nothing(frame):
    frame.iloc[3, :2] = 0
    K = ModalityKernels(kernel="linear").fit(frame).gram()[0]
    assert not K[3].any()
    assert np.isfinite(K).all()


def test_store_holds_the_same_kernels(frame, global_seed):
    X, _ = holes(frame, global_seed)
    found = ModalityKernels(TRIPLES).fit(X)
    store = found.store(dtype=np.float32)
    assert store.dtype == np.float32
    np.testing.assert_allclose(store.rows(range(60)), found.gram(), rtol=1e-6, atol=1e-7)
    assert np.array_equal(found.store().rows(range(60)), found.gram())


def test_parameters_are_learnt_where_the_modality_is_present(frame, global_seed):
    X, there = holes(frame, global_seed)
    found = ModalityKernels(kernel=RBF("scale")).fit(X)
    for kernel, name in zip(found.kernels_, found.kernel_modalities_, strict=True):
        columns, k = COLUMNS[name]
        block = frame[columns].to_numpy()[there[:, k]]
        assert kernel.gamma == pytest.approx(1 / (block.shape[1] * block.var()))


def test_banks_have_numbered_names(frame):
    found = ModalityKernels([("a", RBF([0.1, 1.0]), "audio")], kernel="drop").fit(frame)
    assert found.kernel_names_ == ["a_0", "a_1"]
    assert found.gram().shape == (2, 60, 60)
    np.testing.assert_allclose(
        found.combine({"a_1": 0.25, "a_0": 0.75}), 0.75 * found.gram()[0] + 0.25 * found.gram()[1]
    )


def test_a_sample_without_any_modality_is_refused_at_fit(frame):
    frame.iloc[5] = np.nan
    with pytest.raises(ValueError, match=r"1 samples have none .* \(first at row 5\)"):
        ModalityKernels(TRIPLES).fit(frame)


def test_a_sample_without_any_modality_has_a_row_of_zeros(frame):
    found = ModalityKernels(TRIPLES).fit(frame)
    new = frame.iloc[:3].copy()
    new.iloc[1] = np.nan
    with pytest.warns(UserWarning, match="1 of 3 samples have no modality whose kernel"):
        K = found.combine([0.25] * 4, new)
    assert not K[1].any()
    assert K[[0, 2]].all(axis=1).any()


def test_a_sample_seen_by_weight_0_only_is_warned_of(frame):
    found = ModalityKernels(TRIPLES).fit(frame)
    new = frame.iloc[:3].copy()
    new.iloc[1, 2:] = np.nan  # has audio only
    with pytest.warns(UserWarning, match="1 of 3 samples"):
        K = found.combine([0, 0, 0.5, 0.5], new)
    assert not K[1].any()


def test_a_modality_that_nobody_has_is_left_out(frame):
    frame[["video__c", "video__d", "video__e"]] = np.nan
    with pytest.warns(UserWarning, match="'video' is missing for every sample"):
        found = ModalityKernels(TRIPLES).fit(frame)
    assert found.kernel_names_ == ["near", "far", "words"]
    # It is not one of the modalities in use, so that nobody lacks it.
    np.testing.assert_allclose(found.gram().diagonal(axis1=1, axis2=2), 1)


def test_drop_leaves_a_modality_out_of_the_share(frame, global_seed):
    X, there = holes(frame, global_seed)
    X = X[there[:, 0] | there[:, 2]]
    found = ModalityKernels([("v", "drop", "video")]).fit(X)
    same = ModalityKernels().fit(X.drop(columns=["video__c", "video__d", "video__e"]))
    assert np.array_equal(found.gram(), same.gram())


def test_a_few_nan_in_a_present_modality_are_refused_by_name(frame):
    frame.iloc[4, 0] = np.nan
    with pytest.raises(ValueError, match="NaN") as caught:
        ModalityKernels(TRIPLES).fit(frame)
    assert "'audio'" in str(caught.value.__notes__)


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        ([("a", "rbf", "smell")], "'smell', which is no modality of X"),
        ([("a", "rbf")], r"list of \(name, kernel, modality\)"),
        ([("a", "rbf", "audio"), ("a", "rbf", "video")], "not unique"),
        ([("a__b", "rbf", "audio")], "__"),
        ([("normalize", "rbf", "audio")], "conflict"),
        ([("video", "rbf", "audio")], "names of modalities that no kernel names"),
        ([("a", "smell", "audio")], "kernel must be one of"),
    ],
)
def test_wrong_kernels_are_refused(frame, kernels, message):
    with pytest.raises(ValueError, match=message):
        ModalityKernels(kernels).fit(frame)


def test_nothing_left_is_refused(frame):
    with pytest.raises(ValueError, match="no kernel is left"):
        ModalityKernels(kernel="drop").fit(frame)


def test_wrong_weights_are_refused(frame):
    found = ModalityKernels(TRIPLES).fit(frame)
    with pytest.raises(ValueError, match="one entry for each of 4 kernels"):
        found.combine([1.0, 2.0])
    with pytest.raises(ValueError, match="'near'"):
        found.combine({"audio": 1.0})


def test_parameters_of_kernels_have_names(frame):
    kernels = ModalityKernels(TRIPLES)
    params = kernels.get_params()
    assert params["near__gamma"] == 1.0
    kernels.set_params(near__gamma=3.0, line="drop", words=RBF(0.5))
    assert kernels.kernels[0][1].gamma == 3.0
    assert [modality for *_, modality in kernels.kernels] == ["audio", "audio", "video", "text"]
    found = clone(kernels).fit(frame)
    assert found.kernel_names_ == ["near", "far", "words"]
    assert found.kernels_[0].gamma == 3.0
    assert TRIPLES[0][1].gamma == 3.0  # set_params changes the kernel it is given, as always
    TRIPLES[0][1].gamma = 1.0


def test_arguments_are_not_written_to(frame, global_seed):
    X, _ = holes(frame, global_seed)
    before = X.copy()
    array = X.to_numpy()
    array.flags.writeable = False
    triples = [(n, clone(k) if hasattr(k, "get_params") else k, m) for n, k, m in TRIPLES]
    found = ModalityKernels(triples).fit(X)
    found.gram(X)
    pd.testing.assert_frame_equal(X, before)
    assert triples[3] == ("words", "rbf", "text")
    modalities = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
    bare = ModalityKernels(triples, modalities).fit(array)
    assert np.array_equal(bare.gram(), found.gram())


def test_pickles(frame):
    found = ModalityKernels(TRIPLES).fit(frame)
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.gram(frame), found.gram())


def test_any_number_of_threads(frame, global_seed):
    X, _ = holes(pd.concat([frame] * 10, ignore_index=True), global_seed)
    one, two = (ModalityKernels(TRIPLES, n_jobs=n).fit(X) for n in (1, 2))
    assert np.array_equal(one.gram(), two.gram())
    assert np.array_equal(one.combine([1, 2, 3, 4]), two.combine([1, 2, 3, 4]))


def test_float32_stays(frame):
    X = frame.astype(np.float32)
    found = ModalityKernels(TRIPLES).fit(X)
    assert found.gram().dtype == np.float32
    np.testing.assert_allclose(
        found.gram(), ModalityKernels(TRIPLES).fit(frame).gram(), rtol=1e-4, atol=1e-5
    )


def test_precomputed_matrix_is_cut_by_row_numbers(frame, global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(60, 3))
    X = frame[["audio__a", "audio__b"]].assign(graph__row=np.arange(60))
    triples = [("graph", Precomputed(A @ A.T), "graph")]
    found = ModalityKernels(triples, normalize=None).fit(X.iloc[10:50])
    np.testing.assert_allclose(found.gram(X.iloc[50:])[0], A[50:] @ A[10:50].T, rtol=1e-12)
    assert ModalityKernels(triples).fit(X).gram(X.iloc[:2]).shape == (2, 2, 60)


def test_categories(frame):
    X = frame[["audio__a", "audio__b"]].assign(kind__colour=[0, 1, 2] * 20, kind__size=[5, 6] * 30)
    K = ModalityKernels([("kind", Categorical(), "kind")]).fit(X).gram()[0]
    assert set(np.unique(K)) == {0, 0.5, 1}


def test_refit_keeps_nothing_stale(frame):
    found = ModalityKernels(TRIPLES).fit(frame)
    narrow = frame[["audio__a", "audio__b", "video__c", "text__f"]].iloc[:20]
    again = found.fit(narrow)
    fresh = ModalityKernels(TRIPLES).fit(narrow)
    assert np.array_equal(again.gram(), fresh.gram())
    assert again.n_features_in_ == 4
