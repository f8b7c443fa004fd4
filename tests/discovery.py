"""Finds what the package offers, so that a new class is tested the day it is written."""

import importlib
import inspect
import pkgutil

from sklearn.base import BaseEstimator

import mkfusion


def is_public(name):
    return not any(part.startswith("_") for part in name.split("."))


def public_modules():
    """Import the package and every module below it whose path has no underscore part."""
    found = pkgutil.walk_packages(mkfusion.__path__, "mkfusion.")
    names = sorted(module.name for module in found if is_public(module.name))
    return [mkfusion, *map(importlib.import_module, names)]


def public_packages():
    """The package itself, its public subpackages, and the modules that it names beside them."""
    named = {f"mkfusion.{name}" for name in mkfusion.__all__}
    return [
        module
        for module in public_modules()
        if hasattr(module, "__path__") or module.__name__ in named
    ]


def components():
    """Every public class with scikit-learn parameters: estimators, and kernels too."""
    found = {
        value
        for module in public_modules()
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, BaseEstimator)
        and value.__module__.split(".")[0] == "mkfusion"
        and is_public(name)
        and not inspect.isabstract(value)
    }
    return sorted(found, key=lambda component: (component.__module__, component.__name__))


def estimators():
    """The components that learn from data."""
    return [component for component in components() if hasattr(component, "fit")]
