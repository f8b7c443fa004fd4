"""scikit-learn's contract, held over every estimator that discovery finds."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
from discovery import components, estimators
from sklearn.base import (
    BaseEstimator,
    clone,
    is_classifier,
    is_clusterer,
    is_regressor,
)
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import mkfusion

pytestmark = pytest.mark.interface

# {estimator's class name: {check's name: reason}}; each is one that scikit-learn's own declares.
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a machine is solved to a gap, and bandwidths are learnt from all rows alike: as SVC's"
    )
}
EXPECTED_FAILED: dict[str, dict[str, str]] = {
    "MKLClassifier": WEIGHTS,
    "MKLOneClass": WEIGHTS,
    "MKLRegressor": WEIGHTS,
    "MKLTransformer": {
        "check_sample_weight_equivalence_on_dense_data": "a column for each training sample"
    },
}

COMPONENTS = components()
ESTIMATORS = estimators()
TRANSFORMERS = [cls for cls in ESTIMATORS if hasattr(cls, "transform")]


def over(classes):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: cls.__name__)


def default_instance(cls):
    """Build one from the defaults; what has no default, a component must be able to do without."""
    return cls()


def seeded_instance(cls):
    """Build one from the defaults that draws the same each time."""
    component = default_instance(cls)
    return (
        component.set_params(random_state=0) if hasattr(component, "random_state") else component
    )


def expected_failed(estimator):
    return EXPECTED_FAILED.get(type(estimator).__name__, {})


# The checks give bare arrays, which are one modality.
@pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")
@parametrize_with_checks(
    [default_instance(cls) for cls in ESTIMATORS],
    expected_failed_checks=expected_failed,
    xfail_strict=True,
)
def test_check(estimator, check):
    check(estimator)


def test_discovery_finds_what_is_exported():
    exported = {getattr(mkfusion, name) for name in mkfusion.__all__}
    classes = {value for value in exported if inspect.isclass(value)}
    assert {cls for cls in classes if issubclass(cls, BaseEstimator)} <= set(COMPONENTS)
    assert ESTIMATORS


def test_expected_failed_names_estimators():
    assert set(EXPECTED_FAILED) <= {cls.__name__ for cls in ESTIMATORS}


# The constructor


class Falsy:
    """A value that `value or default` would replace."""

    def __bool__(self):
        return False


@pytest.mark.parametrize("kind", [object, Falsy])
@over(COMPONENTS)
def test_constructor_only_stores(cls, kind):
    values = {name: kind() for name in inspect.signature(cls).parameters}
    component = cls(**values)
    assert {name: getattr(component, name) for name in values} == values  # objects: by identity
    assert set(vars(component)) == set(values), "the constructor sets more than its parameters"


@over(COMPONENTS)
def test_defaults_are_stored_and_hashable(cls):
    component = default_instance(cls)
    for name, parameter in inspect.signature(cls).parameters.items():
        assert getattr(component, name) is parameter.default
        hash(parameter.default)  # a mutable default would be shared by every instance


@over(COMPONENTS)
def test_params_round_trip(cls):
    component = default_instance(cls)
    params = component.get_params(deep=False)
    assert list(params) == sorted(inspect.signature(cls).parameters)
    copied = default_instance(cls).set_params(**params)
    assert all(copied.get_params(deep=False)[name] is value for name, value in params.items())


@over(COMPONENTS)
def test_clone_and_pickle_of_unfitted(cls):
    component = default_instance(cls)
    for copied in (clone(component), pickle.loads(pickle.dumps(component))):
        assert copied is not component
        assert type(copied) is cls
        assert repr(copied.get_params()) == repr(component.get_params())


# What it says about itself


@over(COMPONENTS)
def test_mixins_stand_before_base_estimator(cls):
    """After it, a mixin's tags are lost, and the estimator's type with them."""
    mro = cls.__mro__
    own = [
        base
        for base in mro
        if base.__name__.endswith("Mixin") and base not in BaseEstimator.__mro__
    ]
    late = [base.__name__ for base in own if mro.index(base) > mro.index(BaseEstimator)]
    assert late == []


CLASSIFIERS = ("Classifier", "Tagger")  # a tagger classifies steps


@over(ESTIMATORS)
def test_type_follows_the_name(cls):
    estimator = default_instance(cls)
    assert is_classifier(estimator) == cls.__name__.endswith(CLASSIFIERS)
    assert is_regressor(estimator) == cls.__name__.endswith("Regressor")
    if is_clusterer(estimator):
        assert hasattr(cls, "fit_predict")


@over(ESTIMATORS)
def test_tags_are_there(cls):
    tags = get_tags(default_instance(cls))
    assert (tags.classifier_tags is not None) == cls.__name__.endswith(CLASSIFIERS)
    assert (tags.regressor_tags is not None) == cls.__name__.endswith("Regressor")
    assert (tags.transformer_tags is not None) == hasattr(cls, "transform")


@over(COMPONENTS)
def test_reprs_show_the_name(cls):
    component = default_instance(cls)
    assert cls.__name__ in repr(component)
    assert cls.__name__ in estimator_html_repr(component)


# Names of features


@pytest.fixture(scope="module")
def frame():
    """Two modalities, two classes, and an index that is no range."""
    rng = np.random.default_rng(0)
    columns = ["audio__pitch", "audio__loudness", "video__hue", "video__motion"]
    return pd.DataFrame(
        rng.uniform(size=(40, 4)), columns=columns, index=np.arange(100, 140)
    ), rng.permutation(np.repeat([0, 1], 20))


@over(ESTIMATORS)
def test_remembers_feature_names(cls, frame):
    X, y = frame
    estimator = default_instance(cls).fit(X, y)
    assert list(estimator.feature_names_in_) == list(X.columns)
    assert estimator.n_features_in_ == X.shape[1]


@over(TRANSFORMERS)
def test_set_output_gives_named_columns(cls, frame):
    X, y = frame
    transformer = seeded_instance(cls).set_output(transform="pandas")
    Z = transformer.fit(X, y).transform(X)
    assert isinstance(Z, pd.DataFrame)
    assert list(Z.columns) == list(transformer.get_feature_names_out())
    assert Z.index.equals(X.index)
    plain = seeded_instance(cls).set_output(transform="default").fit(X, y).transform(X)
    np.testing.assert_allclose(np.asarray(plain), Z.to_numpy())
