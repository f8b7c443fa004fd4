"""What an estimator does with a sample that lacks a modality."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import getattr_static
from typing import Any

import pandas as pd

from ._models import takes_nan

__all__ = ["MISSING_POLICIES", "missing_policies", "missing_policy", "policy_table"]

#: What can become of a sample that lacks a modality. :func:`missing_policy` tells it of an
#: estimator.
MISSING_POLICIES = {
    "skips": "is answered from the modalities that are there, by what was learnt about them",
    "marginalises": "is answered by a probability model summed over all that could be there",
    "imputes": "has it filled in, and is answered as if it were there",
    "passes": "is handed on with its NaN to a model that takes them",
    "refuses": "raises a ValueError",
}


def missing_policy(estimator: Any) -> str:
    """Tell what an estimator does with a sample that lacks a modality.

    ==============  ==========================================================================
    policy          a sample whose columns of one modality are all NaN
    ==============  ==========================================================================
    "skips"         is answered from the modalities that are there, by what was learnt of them
    "marginalises"  is answered by a probability model summed over what could have been there
    "imputes"       is filled in, and answered as if it were whole
    "passes"        is handed on with its NaN to what stands behind, a model that takes NaN
    "refuses"       raises a ValueError
    ==============  ==========================================================================

    An estimator of this package says it in its attribute ``missing_modality``; one that leaves
    it to the model inside says what that does. A Pipeline does what its first step does that
    does not pass NaN on; a search does what its estimator does.

    Parameters
    ----------
    estimator : estimator or class
        Of this package or of scikit-learn; a class stands for its default instance.

    Returns
    -------
    policy : str

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, ModalityImputer, missing_policy
    >>> missing_policy(LateFusionClassifier)
    'skips'
    >>> missing_policy(ModalityImputer())
    'imputes'
    """
    if isinstance(estimator, type):
        estimator = estimator()
    stated = getattr(estimator, "missing_modality", None)
    if isinstance(stated, str):
        return stated
    if hasattr(estimator, "steps"):
        return _of_pipeline([step for _, step in estimator.steps])
    if type(estimator).__module__.startswith("sklearn.impute"):
        return "imputes"
    inner = getattr(estimator, "estimator", None)
    if inner is not None and hasattr(inner, "fit"):
        return missing_policy(inner)
    return "passes" if takes_nan(estimator) else "refuses"


def _of_pipeline(steps: list[Any]) -> str:
    for step in steps:
        if step is None or isinstance(step, str):
            continue
        found = missing_policy(step)
        if found != "passes":
            return found
    return "passes"


def missing_policies(estimators: Iterable[Any]) -> pd.DataFrame:
    """List what estimators do with a sample that lacks a modality.

    Parameters
    ----------
    estimators : iterable of estimators or classes

    Returns
    -------
    table : DataFrame of shape (n_estimators, 2)
        Columns "policy" and "meaning", by the names of the classes.

    Examples
    --------
    >>> from mkfusion import LateFusionClassifier, ModalityImputer
    >>> from mkfusion.missing import missing_policies
    >>> missing_policies([LateFusionClassifier, ModalityImputer])["policy"].to_dict()
    {'LateFusionClassifier': 'skips', 'ModalityImputer': 'imputes'}
    """
    found = {}
    for estimator in estimators:
        cls = estimator if isinstance(estimator, type) else type(estimator)
        found[cls.__name__] = missing_policy(estimator)
    meanings = [MISSING_POLICIES[policy] for policy in found.values()]
    return pd.DataFrame(
        {"policy": list(found.values()), "meaning": meanings},
        index=pd.Index(list(found), name="estimator"),
    )


def policy_table(estimators: Iterable[Any]) -> str:
    """Write what estimators do with a sample that lacks a modality as a Markdown table.

    Parameters
    ----------
    estimators : iterable of estimators or classes

    Returns
    -------
    text : str
        A row for each policy that occurs. A star marks what the default instance does and
        another may not, as it is left to the model inside.

    Examples
    --------
    >>> from mkfusion import ModalityDropout
    >>> from mkfusion.missing import policy_table
    >>> print(policy_table([ModalityDropout]))
    | policy | a sample that lacks a modality | estimators |
    |---|---|---|
    | passes | is handed on with its NaN to a model that takes them | `ModalityDropout` |
    """
    estimators = list(estimators)
    table = missing_policies(estimators)
    names: dict[str, list[str]] = {policy: [] for policy in MISSING_POLICIES}
    for estimator, (name, policy) in zip(estimators, table["policy"].items(), strict=True):
        cls = estimator if isinstance(estimator, type) else type(estimator)
        names[policy].append(f"`{name}`" + ("\\*" if _leaves_it(cls) else ""))
    rows = [
        f"| {policy} | {MISSING_POLICIES[policy]} | {', '.join(sorted(own))} |"
        for policy, own in names.items()
        if own
    ]
    head = ["| policy | a sample that lacks a modality | estimators |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def _leaves_it(cls: type) -> bool:
    """Tell whether what a class does is left to the model inside."""
    return isinstance(getattr_static(cls, "missing_modality", None), property)
