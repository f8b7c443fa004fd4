"""What is public exists, is documented and annotated, and is cheap to import."""

import importlib.metadata
import inspect
import re
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest
from discovery import public_modules, public_packages
from sklearn.base import BaseEstimator

import mkfusion

pytestmark = pytest.mark.interface

ROOT = Path(__file__).resolve().parents[1]

# Optional or slow: imported by the function that needs them.
HEAVY = {
    "cvxpy",
    "dask",
    "distributed",
    "hmmlearn",
    "matplotlib",
    "polars",
    "pyarrow",
    "pycrfsuite",
    "sklearn_crfsuite",
    "torch",
}
# Parts of scikit-learn that a fusion estimator may be given, and does not need by itself.
UNNEEDED = {
    "sklearn.cluster",
    "sklearn.cross_decomposition",
    "sklearn.datasets",
    "sklearn.ensemble",
    "sklearn.feature_extraction",
    "sklearn.gaussian_process",
    "sklearn.inspection",
    "sklearn.manifold",
    "sklearn.mixture",
    "sklearn.neural_network",
    "sklearn.semi_supervised",
    "sklearn.tree",
}
BASELINE = "import sklearn, pandas, numba"
MAX_NEW_MODULES = 350

EXPORTING = [module for module in public_modules() if hasattr(module, "__all__")]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in public_packages()
    for name in getattr(module, "__all__", ())
    if hasattr(module, name)
}
DOCUMENTED = {
    path: value
    for path, value in PUBLIC.items()
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
}


def by_name(objects):
    return pytest.mark.parametrize("value", objects.values(), ids=objects.keys())


# What `__all__` says


@pytest.mark.parametrize("module", public_packages(), ids=lambda module: module.__name__)
def test_package_lists_its_public_names(module):
    assert hasattr(module, "__all__")


@pytest.mark.parametrize("module", EXPORTING, ids=lambda module: module.__name__)
def test_all_names_what_exists_and_once(module):
    names = list(module.__all__)
    assert all(type(name) is str for name in names)
    assert len(names) == len(set(names)), "a name is listed twice"
    assert [name for name in names if not hasattr(module, name)] == []


# Documentation


def sections(docstring):
    """Split a numpydoc text into {heading: lines}; the part before the first has the name ''."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found, heading = {"": []}, ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.strip() and below and below == "-" * len(line):
            heading = line
            assert heading not in found, f"two sections {heading!r}"
            found[heading] = []
        elif not (heading and set(line) == {"-"}):
            found[heading].append(line)
    return found


def documented_names(lines):
    """List the names of a Parameters section; one line may hold several: `a, b : float`."""
    heads = [line.partition(" :")[0] for line in lines if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def has_parameters_section(value):
    is_estimator = inspect.isclass(value) and issubclass(value, BaseEstimator)
    return is_estimator or (inspect.isroutine(value) and not inspect.isclass(value))


@by_name(DOCUMENTED)
def test_is_documented(value):
    docstring = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert docstring, "no docstring, or an inherited one"
    assert sections(docstring)[""][:1] not in ([], [""]), "no sentence before the sections"


@by_name({path: value for path, value in DOCUMENTED.items() if has_parameters_section(value)})
def test_parameters_section_names_the_signature(value):
    in_signature = list(inspect.signature(value).parameters)
    assert documented_names(sections(value.__doc__).get("Parameters", [])) == in_signature


@by_name(
    {
        path: value
        for path, value in DOCUMENTED.items()
        if not inspect.ismodule(value)
        and not (inspect.isclass(value) and issubclass(value, BaseException))
    }
)
def test_has_an_example(value):
    lines = sections(value.__doc__).get("Examples", [])
    assert any(line.startswith(">>> ") for line in lines)


def test_sections_are_read():
    text = """First line.

    Parameters
    ----------
    a, b : float
        Some text : with a colon.
    *args : int
    c

    Examples
    --------
    >>> 1
    """
    found = sections(text)
    assert list(found) == ["", "Parameters", "Examples"]
    assert documented_names(found["Parameters"]) == ["a", "b", "args", "c"]


# Annotations


def functions_of(value):
    """Yield (name, function) for a function itself, or for a class's own public methods."""
    if not inspect.isclass(value):
        yield value.__name__, value
        return
    for owner in value.__mro__:
        if owner.__module__.split(".")[0] != "mkfusion":
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") and name not in {"__init__", "__call__"}:
                continue
            function = plain_function(member)
            if inspect.isfunction(function):
                yield f"{owner.__name__}.{name}", function


def plain_function(member):
    """Take a function out of the descriptor that holds it."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    if isinstance(member, cached_property):
        return member.func
    return getattr(member, "fn", member)  # scikit-learn's available_if


def missing_annotations(function):
    signature = inspect.signature(function)
    names = [
        name
        for position, (name, parameter) in enumerate(signature.parameters.items())
        if parameter.annotation is parameter.empty
        and not (position == 0 and name in {"self", "cls"})
    ]
    if signature.return_annotation is signature.empty:
        names.append("return")
    return names


@by_name({path: value for path, value in DOCUMENTED.items() if not inspect.ismodule(value)})
def test_signatures_are_annotated(value):
    missing = {
        name: names
        for name, function in functions_of(value)
        if (names := missing_annotations(function))
    }
    assert missing == {}


# Versions


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, flags=re.M) == [mkfusion.__version__]
    try:
        installed = importlib.metadata.version("mkfusion")
    except importlib.metadata.PackageNotFoundError:
        return
    assert installed == mkfusion.__version__


# The cost of an import, as counts: seconds are in benchmarks/bench_import.py


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def new_modules():
    """What `import mkfusion` imports above what every user of its dependencies has already."""
    listing = "import sys; print(*sys.modules)"
    before = run_python(f"{BASELINE}; {listing}")
    return set(run_python(f"{BASELINE}; import mkfusion; {listing}")) - set(before)


def test_import_loads_no_heavy_package(new_modules):
    assert "mkfusion" in new_modules
    assert HEAVY & {name.split(".")[0] for name in new_modules} == set()


def test_import_loads_no_unneeded_part_of_sklearn(new_modules):
    assert UNNEEDED & new_modules == set()


def test_import_loads_few_modules(new_modules):
    assert len(new_modules) <= MAX_NEW_MODULES


def test_import_compiles_nothing():
    compiled = run_python(
        "import gc, mkfusion\n"
        "from numba.core.registry import CPUDispatcher\n"
        "for thing in gc.get_objects():\n"
        "    if isinstance(thing, CPUDispatcher) and thing.__module__.startswith('mkfusion'):\n"
        "        if thing.signatures:\n"
        "            print(thing.__qualname__)\n"
    )
    assert compiled == []
