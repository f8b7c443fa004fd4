"""The picture of kernels in a notebook: what stands in it, and that names stay text."""

import re

import numpy as np
import pandas as pd
import pytest
from comparisons import HOSTILE
from sklearn.utils import estimator_html_repr

from mkfusion import (
    MKLClassifier,
    MKLOneClass,
    MKLRegressor,
    MKLTransformer,
    ModalityFourierFeatures,
    ModalityKernels,
    ModalityNystroem,
)
from mkfusion.kernels import RBF

ALL = (
    MKLClassifier,
    MKLOneClass,
    MKLRegressor,
    MKLTransformer,
    ModalityFourierFeatures,
    ModalityKernels,
    ModalityNystroem,
)


def views(width=2, n=40):
    rng = np.random.default_rng(0)
    columns = [f"sense{m}__{j}" for m in range(width) for j in range(2)]
    X = pd.DataFrame(rng.normal(size=(n, len(columns))), columns=columns)
    return X, (X["sense0__0"] > 0).astype(int)


def picture(estimator):
    """Return the labels and the details of the picture."""
    page = estimator_html_repr(estimator)
    labels = re.findall(r"<div><div>(.*?)</div>", page, flags=re.DOTALL)
    return labels, re.findall(r"<pre>(.*?)</pre>", page, flags=re.DOTALL)


@pytest.mark.parametrize("cls", ALL)
def test_kernels_stand_side_by_side_with_what_they_see(cls):
    X, y = views()
    estimator = cls([("near", RBF(2.0), "sense0"), ("far", RBF(0.5), "sense0")])
    labels, details = picture(estimator)
    assert labels[1:6:2] == ["near", "far", "every other modality"]
    assert labels[2:7:2] == ["RBF", "RBF", "rbf"]
    assert "RBF(gamma=2.0)" in details
    labels, details = picture(estimator.fit(X, y))
    assert [label.partition(":")[0] for label in labels[1:6:2]] == ["near", "far", "sense1"]
    assert details.count("sees sense0\n2 columns: sense0__0, sense0__1") == 2
    assert "RBF(gamma=0.5)" in details


def test_weights_are_there_once_they_are_found():
    X, y = views(3)
    estimator = MKLClassifier(C=10, norm=2)
    assert picture(estimator)[0][-2:] == [
        "weighting: svm, norm=2",
        "C=10, multi_class=&#x27;shared&#x27;",
    ]
    labels, details = picture(estimator.fit(X, y))
    weights = estimator.kernel_weights_
    assert labels[1:6:2] == [f"sense{m}: weight {w:.3f}" for m, w in enumerate(weights)]
    assert "\n".join(f"sense{m}: {w:.3f}" for m, w in enumerate(weights)) in details
    product = MKLRegressor(weighting="product").fit(X, y)
    assert picture(product)[0][1:6:2] == ["sense0", "sense1", "sense2"]
    given = MKLRegressor(weighting=[1, 0, 3]).fit(X, y)
    assert "sense1: weight 0" in picture(given)[0]
    assert "weighting: given" in picture(given)[0]


def test_modalities_are_known_beforehand():
    labels, _ = picture(
        MKLClassifier([("pitch", "linear", "audio")], {"audio": [0], "video": [1]})
    )
    assert labels[1:5] == ["pitch", "linear", "video", "rbf"]
    labels, _ = picture(MKLClassifier("linear", {"audio": [0], "video": [1]}))
    assert labels[1:5] == ["audio", "linear", "video", "linear"]
    assert picture(MKLOneClass("linear"))[0][1:3] == ["every modality", "linear"]


def test_of_hundreds_of_kernels_the_largest_are_drawn():
    X, y = views(34)
    kernels = [(f"k{m}_{j}", RBF(2.0**j), f"sense{m}") for m in range(34) for j in range(13)]
    labels, _ = picture(ModalityKernels(kernels))
    assert len(labels) == 1 + 2 * 13
    assert labels[-2:] == ["431 more kernels", "..."]
    fitted = MKLClassifier(kernels, weighting=np.arange(442) % 20).fit(X, y)
    labels, details = picture(fitted)
    drawn = [label.partition(":")[0] for label in labels[1:25:2]]
    largest = np.sort(np.argsort(-fitted.kernel_weights_, kind="stable")[:12])
    assert drawn == [kernels[m][0] for m in largest]
    rest = 1 - fitted.kernel_weights_[largest].sum()
    assert f"with {rest:.3f} of the weights" in details
    one = MKLClassifier(kernels, weighting=np.eye(442)[7]).fit(X, y)
    labels, details = picture(one)
    assert labels[1:5:2] == ["k0_7: weight 1.000", "441 more kernels"]
    assert "with 0 of the weights" in details


@pytest.mark.parametrize("cls", ALL)
def test_what_fit_refuses_is_drawn(cls):
    for kernels in ([("a", "rbf")], [3], 3, [("a", "rbf", "x", "y")], []):
        assert cls.__name__ in picture(cls(kernels))[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name):
    X, y = views()
    X.columns = [f"{name.replace('__', '')}__x", f"a__{name}", "b__x", "b__y"]
    modalities = {name: X.columns[:2].tolist(), "b": X.columns[2:].tolist()}
    for cls in ALL:
        estimator = cls([(f"k {name}", "rbf", name)], modalities)
        for model in (estimator, estimator.fit(X, y)):
            page = estimator_html_repr(model)
            for harm in ("<script>alert", "<img src", "]]><!--"):
                assert harm not in page
