"""What is common to the models inside a fusion: defaults, weights, priors, responses."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from ._parallel import single_blas_thread
from ._validation import listed

__all__ = [
    "compares_pairs",
    "concerning",
    "default_classifier",
    "default_regressor",
    "fit_expert",
    "named_by_modality",
    "noting",
    "refuse_kind",
    "responds",
    "takes_nan",
    "trained_prior",
    "weight_params",
]


def default_classifier() -> Any:
    """Return standardised logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def default_regressor() -> Any:
    """Return standardised ridge regression."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge())


def named_by_modality(
    what: str, pairs: Any, prototype: Any, modalities: Sequence[str]
) -> dict[str, Any]:
    """Return the unfitted model of each modality: its own one or the prototype, or "drop"."""
    own = dict(_check_pairs(what, pairs))
    unknown = [name for name in own if name not in modalities]
    if unknown:
        raise ValueError(
            f"{what} names {listed(unknown)}, which is no modality of X; "
            f"the modalities are {listed(modalities, 30)}"
        )
    return {name: own.get(name, prototype) for name in modalities}


def _check_pairs(what: str, pairs: Any) -> list[tuple[str, Any]]:
    if pairs is None:
        return []
    try:
        checked = [(name, model) for name, model in pairs]
    except (TypeError, ValueError):
        raise ValueError(
            f"{what} must be a list of (modality, model) pairs, got {pairs!r}"
        ) from None
    names = [name for name, _ in checked]
    if len(set(names)) < len(names):
        raise ValueError(f"{what} names a modality more than once: {listed(names, 30)}")
    for name, model in checked:
        if isinstance(model, type):
            raise TypeError(
                f"{what}: {name!r} is the class {model.__name__}, not an instance of it"
            )
    return checked


EXPECTED = (  # warnings that say nothing of one modality's model
    "Since Pipeline does not appear to accept sample_weight",
    "nothing is fused",
)

REMEDIES = {  # of what a model of one modality may say of its block
    "setting an array element with a sequence": (
        "its cells hold whole sequences, and this model reads numbers: take a model of "
        "sequences, such as mkfusion.HMMClassifier"
    ),
    "could not convert string to float": (
        "it holds text, and this model reads numbers: give it a model of its own, such as "
        "make_pipeline(OneHotEncoder(handle_unknown='ignore'), LogisticRegression()); where it "
        "holds numbers too, make_column_transformer gives the encoder only the columns of text"
    ),
    "contains NaN": (
        "it has single empty cells in rows that are not missing as a whole: put SimpleImputer() "
        "before its model"
    ),
    "Expected a 2-dimensional container but got": (
        "its selector is a single name, which gives a model one column in one dimension: put "
        "the name into a list"
    ),
}


@contextmanager
def noting(note: str) -> Iterator[None]:
    """Put a note on an error."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def concerning(modality: str) -> AbstractContextManager[None]:
    """Note on an error of a model which modality it was raised for."""
    return noting(f"raised by the model of modality {modality!r}")


def fit_expert(modality: str, expert: Any, block: Any, y: Any, params: Mapping[str, Any]) -> Any:
    """Fit one modality's model under one BLAS thread, so that its bits depend on no count."""
    with concerning(modality), single_blas_thread, warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        try:
            return expert.fit(block, y, **params)
        except ValueError as error:
            for said, remedy in REMEDIES.items():
                if said in str(error):
                    error.add_note(remedy)
            raise


def weight_params(model: Any, sample_weight: np.ndarray) -> dict[str, np.ndarray] | None:
    """Return the fit parameters that hand sample weights to a model, None if it takes none.

    In a Pipeline every step that takes weights gets them, so that a weight of 2 is a row that
    stands twice for the scaler too.
    """
    if hasattr(model, "steps"):
        params = {
            f"{name}__{key}": value
            for name, step in model.steps
            if hasattr(step, "fit")
            for key, value in (weight_params(step, sample_weight) or {}).items()
        }
        return params if any(key.startswith(f"{model.steps[-1][0]}__") for key in params) else None
    inner = getattr(model, "estimator", None)
    own = type(model).__module__.partition(".")[0] == __package__  # it hands weights on by itself
    if own and hasattr(model, "_model") and weight_params(model._model(), sample_weight) is None:
        return None  # early fusion takes weights where its model does
    passes_on = (
        inner is not None
        and not own
        and any(
            parameter.kind is inspect.Parameter.VAR_KEYWORD
            for parameter in inspect.signature(model.fit).parameters.values()
        )
    )
    params = (weight_params(inner, sample_weight) or {}) if passes_on else {}
    if has_fit_parameter(model, "sample_weight"):
        # The steps of an inner Pipeline are named; another inner model gets them by itself.
        nested = {key: value for key, value in params.items() if "__" in key}
        return {"sample_weight": sample_weight, **nested}
    return params or None


def responds(model: Any, method: str) -> bool:
    """Tell whether a model has a method, asking as scikit-learn does."""
    return callable(getattr(model, method, None))


_THRESHOLDS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


def _final(model: Any) -> Any:
    """Return the model at the end of searches, pipelines and early fusion."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "steps"):
            model = model.steps[-1][1]
        elif type(model).__name__ in ("FrozenEstimator",):
            model = model.estimator
        elif hasattr(model, "concatenator_") or type(model).__name__ in _THRESHOLDS:
            model = model.estimator_
        else:
            return model


def compares_pairs(expert: Any) -> bool:
    """Tell whether the decision function of a fitted expert compares pairs of classes."""
    return getattr(_final(expert), "decision_function_shape", None) == "ovo"


def trained_prior(
    expert: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    classes: np.ndarray,
    stated: bool = True,
) -> np.ndarray:
    """Return the class prior that a fitted expert carries: P_m(c), 0 where it saw no row of c.

    The prior that the expert itself states (naive Bayes, discriminant analysis), else the
    weighted class frequencies of its training rows, times its class weights; equal shares for
    ``class_weight="balanced"``. The plain frequencies if it is not asked what it states.
    """
    final = _final(expert) if stated else None
    own = _stated_prior(final)
    if own is None or len(own) != len(expert.classes_):
        places = np.searchsorted(expert.classes_, y)
        frequencies = np.bincount(places, sample_weight, minlength=len(expert.classes_))
        own = _reweighted(frequencies, final, expert.classes_)
    prior = np.zeros(len(classes))
    prior[np.searchsorted(classes, expert.classes_)] = own / own.sum()
    return prior


def _stated_prior(final: Any) -> np.ndarray | None:
    for attribute in ("class_prior_", "priors_"):
        if isinstance(getattr(final, attribute, None), np.ndarray | list):
            return np.asarray(getattr(final, attribute), dtype=np.float64)
    logarithms = getattr(final, "class_log_prior_", None)
    return None if logarithms is None else np.exp(logarithms)


def _reweighted(frequencies: np.ndarray, final: Any, classes: np.ndarray) -> np.ndarray:
    given = getattr(final, "class_weight", None)
    if isinstance(given, str):
        return (frequencies > 0).astype(float)
    if isinstance(given, Mapping):
        return frequencies * [float(given.get(label, 1.0)) for label in classes.tolist()]
    return frequencies


def takes_nan(model: Any) -> bool:
    """Tell whether a model takes NaN; a Pipeline does where an imputer stands in time.

    scikit-learn's tags say so of single models and not of pipelines.
    """
    if not hasattr(model, "steps"):
        inner = getattr(model, "estimator", None)
        return bool(get_tags(model).input_tags.allow_nan or (inner and takes_nan(inner)))
    for _, step in model.steps:
        if step is None or isinstance(step, str):
            continue
        if not takes_nan(step):
            return False
        if type(step).__module__.startswith("sklearn.impute"):
            return True
    return True


def refuse_kind(modality: str, model: Any, kind: str) -> None:
    """Refuse a regressor where a classifier is needed, and the other way round."""
    other = {"classifier": is_regressor, "regressor": is_classifier}[kind]
    if other(model):
        raise ValueError(
            f"the model of modality {modality!r} must be a {kind}, got {type(model).__name__}"
        )
