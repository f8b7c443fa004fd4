"""What fitted estimators keep: nothing that only a pickle can hold."""

import pickle
import types

import numpy as np
import pandas as pd
import pytest
from skops import io as skops

from mkfusion import (
    ConformalFusionClassifier,
    ConformalFusionRegressor,
    CoupledHMMClassifier,
    HiddenCRFClassifier,
    HMMClassifier,
    LateFusionClassifier,
    LatentCRFTagger,
)
from mkfusion._stored import ByTuple
from mkfusion.datasets import (
    make_multimodal_classification,
    make_multimodal_regression,
    make_multimodal_sequences,
)


def rows():
    return make_multimodal_classification(
        120, missing={"video": 0.3}, random_state=0, return_X_y=True
    )


def numbers():
    return make_multimodal_regression(80, random_state=0, return_X_y=True)


def sequences():
    made = make_multimodal_sequences(20, lengths=(3, 5), random_state=0)
    return made.data, made.target


def symbols():
    X, y = sequences()
    return X.assign(word=[np.array(list("abcde"))[: len(cell)] for cell in X["audio"]]), y


def steps():
    rng = np.random.default_rng(0)
    y = np.tile(np.repeat([0, 1], 5), 8)
    index = pd.Index(np.repeat(range(8), 10), name="sequence")
    signals = 2 * y[:, None] + rng.normal(size=(80, 2))
    return pd.DataFrame(signals, columns=["audio__pitch", "video__hue"], index=index), y


FITTED = {
    "late": (LateFusionClassifier(output_calibration="sigmoid"), rows),
    "conformal classifier": (ConformalFusionClassifier(random_state=0), rows),
    "conformal regressor": (ConformalFusionRegressor(random_state=0), numbers),
    "HMM": (HMMClassifier(2, random_state=0), sequences),
    "HMM of symbols": (
        HMMClassifier(
            2, chain="separate", emissions={"word": "categorical"}, max_iter=9, random_state=0
        ),
        symbols,
    ),
    "coupled HMM": (CoupledHMMClassifier(2, random_state=0), sequences),
    "hidden CRF": (HiddenCRFClassifier(2, chains="linked-coupled", random_state=0), sequences),
    "latent CRF": (LatentCRFTagger(chains="linked-coupled", n_init=1, random_state=0), steps),
}


@pytest.fixture(scope="module", params=FITTED)
def fitted(request):
    model, draw = FITTED[request.param]
    X, y = draw()
    return model.fit(X, y), X


def parts_of(thing, seen):
    """Yield what an object is made of, itself first."""
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    yield thing
    if isinstance(thing, dict):
        inside = list(thing.values())
    elif isinstance(thing, list | tuple | set | frozenset):
        inside = list(thing)
    elif isinstance(thing, type | types.FunctionType | pd.DataFrame):
        inside = []
    else:
        inside = list(getattr(thing, "__dict__", {}).values())
    for part in inside:
        yield from parts_of(part, seen)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nothing_is_kept_that_json_or_an_importer_could_not_name(fitted):
    model, _ = fitted
    for part in parts_of(model, {}):
        if isinstance(part, dict):
            wrong = [key for key in part if not isinstance(key, str | int | float | None)]
            assert not wrong
        assert not isinstance(part, types.MethodType)


@pytest.mark.filterwarnings("ignore")
def test_skops_stores_and_loads(fitted):
    model, X = fitted
    data = skops.dumps(model)
    asked = skops.get_untrusted_types(data=data)
    again = skops.loads(data, trusted=asked)
    strange = {name for name in asked if name.partition(".")[0] not in {"mkfusion", "sklearn"}}
    assert strange <= {"builtins.frozenset"}
    ask = "predict_proba" if hasattr(model, "predict_proba") else "predict_interval"
    np.testing.assert_array_equal(getattr(model, ask)(X), getattr(again, ask)(X))
    if isinstance(model, ConformalFusionClassifier):
        np.testing.assert_array_equal(model.predict_set(X), again.predict_set(X))


def test_a_mapping_by_tuples_is_one():
    given = {("audio", "video"): 2, (): 1}
    found = ByTuple(given)
    assert found == given
    assert list(found) == [("audio", "video"), ()]
    assert found["audio", "video"] == 2
    assert found.get(("audio",), 7) == 7
    assert repr(found) == repr(given)
    with pytest.raises(KeyError, match="audio"):
        found[("audio",)]
    assert pickle.loads(pickle.dumps(found)) == found
