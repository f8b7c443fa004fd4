"""The package's layers, read from its imports.

An import goes down the list `LAYERS`, never up, and never sideways except where
`SIDEWAYS` says so. Nothing is imported here: the files are parsed, so that an import
inside a function counts too.
"""

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mkfusion"

# Bottom to top. A name is a module or a subpackage below the root, whose own `__init__` stands
# above the list.
LAYERS = (
    {
        "_version",
        "_jit",
        "_mapped",
        "_memory",
        "_validation",
        "_parallel",
        "_columns",
        "_contributions",
        "_diagram",
        "_files",
        "_handover",
        "_progress",
        "_stored",
    },
    {"kernels", "solvers", "rules", "chains"},
    {"_selectors", "_folds", "_calibration", "_sharing", "_row_blocks"},
    {"modality", "_dask_blocks", "_parquet_blocks"},
    {"_models", "_blocks"},
    {"_experts", "_policy"},
    {"_out_of_fold"},
    {"_classifier_experts"},
    {"early", "late", "hybrid", "mkl", "graphical", "missing", "conformal"},
    {"evaluation", "distributed"},
    {"_pictures"},
    {"plotting"},
    {"report", "_table_file"},
    {"cli", "__main__"},
)
LAYER_OF = {unit: level for level, units in enumerate(LAYERS) for unit in units}
ROOT = "__init__"

SIDEWAYS = {
    ("hybrid", "early"),
    ("hybrid", "late"),
    ("conformal", "late"),
    ("_parallel", "_handover"),
    ("_parallel", "_progress"),
    ("__main__", "cli"),
}

# Beside the layers: imports no layer, and only these and what lies above them import it.
BESIDE = "datasets"
LOWEST_READER_OF_BESIDE = LAYER_OF["evaluation"]

ARRAY_LAYER = 1
ARRAY_PACKAGES = {"numpy", "scipy", "numba", "joblib"}
BASE_MODULES = {"sklearn.base"}  # kernels take their parameters from it, stacking its clone
READERS_OF_BASE = {"kernels", "rules"}

# Slow to import or optional: imported by the function that needs them.
HEAVY = {
    "cvxpy",
    "dask",
    "distributed",
    "hmmlearn",
    "matplotlib",
    "polars",
    "pyarrow",
    "sklearn_crfsuite",
    "torch",
}

MAX_DEPTH = 2
MAX_CODE_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import statement's target, with where and how it is made."""

    target: str
    line: int
    at_module_level: bool
    for_types_only: bool


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name below the root, and what it imports."""

    name: str  # "" for the root's __init__, "mkl" for mkl/__init__.py, "mkl._features"
    path: Path
    source: str
    imports: tuple[Import, ...]

    @property
    def unit(self) -> str:
        """The name under which the table of layers knows this module."""
        if not self.name:
            return ROOT
        return self.name.split(".")[0]


class _ImportVisitor(ast.NodeVisitor):
    """Collects absolute import targets, and whether they run when the module is imported."""

    def __init__(self, parents: tuple[str, ...]):
        self.parents = parents  # the dotted path of the package that relative imports start from
        self.found: list[Import] = []
        self._functions = 0
        self._type_checking = 0

    def _visit_function(self, node):
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815

    def visit_If(self, node):
        only_for_types = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        self._type_checking += only_for_types
        for child in node.body:
            self.visit(child)
        self._type_checking -= only_for_types
        for child in node.orelse:
            self.visit(child)

    def _add(self, target, node):
        self.found.append(
            Import(target, node.lineno, self._functions == 0, self._type_checking > 0)
        )

    def visit_Import(self, node):
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node):
        parents = self.parents[: len(self.parents) - node.level + 1] if node.level else ()
        base = ".".join([*parents, *([node.module] if node.module else [])])
        for alias in node.names:
            self._add(f"{base}.{alias.name}", node)


def read_package(root: Path) -> dict[str, Module]:
    """Parse every Python file below `root` into modules by dotted name."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_init = parts[-1] == "__init__"
        package = parts[:-1]
        name = ".".join(package if is_init else parts)
        source = path.read_text(encoding="utf-8")
        visitor = _ImportVisitor((root.name, *package))
        visitor.visit(ast.parse(source, filename=str(path)))
        modules[name] = Module(name, path, source, tuple(visitor.found))
    return modules


def internal_target(target: str, modules: dict[str, Module], root: str) -> str | None:
    """Name the module of the package that `target` stands for; None when it is from outside."""
    head, _, rest = target.partition(".")
    if head != root:
        return None
    while rest and rest not in modules:  # "mkl._features.Nystroem" is the module "mkl._features"
        rest = rest.rpartition(".")[0]
    return rest


def internal_imports(modules: dict[str, Module], root: str):
    """Yield (importing module, import, imported module) for imports inside the package."""
    for module in modules.values():
        for found in module.imports:
            target = internal_target(found.target, modules, root)
            if target is not None and target != module.name:
                yield module, found, modules[target]


def where(module: Module, found: Import) -> str:
    return f"{module.path.name}:{found.line} ({module.name or 'the root'})"


def unplaced(modules: dict[str, Module]) -> list[str]:
    known = {*LAYER_OF, BESIDE, ROOT}
    return [
        f"{module.name}: no layer; place it in LAYERS of tests/test_architecture.py"
        for module in modules.values()
        if module.unit not in known
    ]


def wrong_directions(modules: dict[str, Module], root: str) -> list[str]:
    problems = []
    for module, found, target in internal_imports(modules, root):
        source_unit, target_unit = module.unit, target.unit
        if source_unit in {target_unit, ROOT} or (source_unit, target_unit) in SIDEWAYS:
            continue
        at = where(module, found)
        if target_unit == ROOT:
            problems.append(f"{at} imports from the root, which stands above every layer")
        elif source_unit == BESIDE:
            problems.append(f"{at} imports {target.name}; {BESIDE} imports no other module")
        elif target_unit == BESIDE:
            if LAYER_OF.get(source_unit, -1) < LOWEST_READER_OF_BESIDE:
                problems.append(f"{at} imports {target.name}; only evaluation and above may")
        elif source_unit in LAYER_OF and target_unit in LAYER_OF:
            step = LAYER_OF[target_unit] - LAYER_OF[source_unit]
            if step >= 0:
                direction = "an upward" if step else "a sideways"
                problems.append(f"{at} imports {target.name}: {direction} import")
    return problems


def cycles(modules: dict[str, Module], root: str) -> list[str]:
    """Depth-first search; each back edge closes one cycle."""
    graph = {name: set() for name in modules}
    for module, _, target in internal_imports(modules, root):
        graph[module.name].add(target.name)

    problems, done, trail = [], set(), []

    def visit(name):
        if name in trail:
            loop = [*trail[trail.index(name) :], name]
            problems.append("import cycle: " + " -> ".join(part or root for part in loop))
        elif name not in done:
            trail.append(name)
            for target in sorted(graph[name]):
                visit(target)
            trail.pop()
            done.add(name)

    for name in sorted(graph):
        visit(name)
    return problems


def foreign_imports(modules: dict[str, Module], root: str) -> list[str]:
    """Heavy packages at module level, and what the array layer may not know."""
    problems = []
    for module in modules.values():
        in_array_layer = LAYER_OF.get(module.unit) == ARRAY_LAYER
        for found in module.imports:
            top = found.target.split(".")[0]
            if top == root or top in sys.stdlib_module_names:
                continue
            at = where(module, found)
            if top in HEAVY:
                if found.at_module_level and not found.for_types_only:
                    problems.append(f"{at} imports {top} at module level")
            elif in_array_layer and top not in ARRAY_PACKAGES:
                from_base = any(found.target.startswith(f"{name}.") for name in BASE_MODULES)
                if not (module.unit in READERS_OF_BASE and from_base):
                    problems.append(f"{at} imports {found.target}; this layer knows arrays only")
    return problems


def code_lines(source: str) -> int:
    """Count lines that hold code: no blank line, no comment, no docstring."""
    no_code = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in no_code:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        holds_docstring = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, holds_docstring) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def too_long(modules: dict[str, Module]) -> list[str]:
    counts = {module.name: code_lines(module.source) for module in modules.values()}
    return [
        f"{name}: {count} lines of code, over {MAX_CODE_LINES}; a question to ask"
        for name, count in counts.items()
        if count > MAX_CODE_LINES
    ]


def too_deep(modules: dict[str, Module], root: Path) -> list[str]:
    return [
        f"{module.name}: deeper than {MAX_DEPTH}"
        for module in modules.values()
        if len(module.path.relative_to(root).parts) > MAX_DEPTH
    ]


def all_problems(root: Path) -> list[str]:
    modules = read_package(root)
    return [
        *unplaced(modules),
        *wrong_directions(modules, root.name),
        *cycles(modules, root.name),
        *foreign_imports(modules, root.name),
        *too_long(modules),
        *too_deep(modules, root),
    ]


@pytest.fixture(scope="module")
def modules():
    return read_package(PACKAGE)


def test_package_was_read(modules):
    assert {"", "_version"} <= set(modules)


def test_every_module_has_a_place(modules):
    assert unplaced(modules) == []


def test_imports_go_down(modules):
    assert wrong_directions(modules, PACKAGE.name) == []


def test_no_import_cycle(modules):
    assert cycles(modules, PACKAGE.name) == []


def test_packages_from_outside(modules):
    assert foreign_imports(modules, PACKAGE.name) == []


def test_no_file_is_too_long(modules):
    assert too_long(modules) == []


def test_no_package_is_too_deep(modules):
    assert too_deep(modules, PACKAGE) == []


# What follows tests the reader itself, on small trees that are wrong on purpose.

SOUND = {
    "__init__.py": "from mkfusion.late import LateFusion\nfrom . import mkl\n",
    "_version.py": "__version__ = '0'\n",
    "_jit.py": "import numba\n",
    "_validation.py": "import numpy as np\nimport sklearn.utils\n",
    "rules.py": "import numpy as np\nfrom ._validation import check\n",
    "modality.py": "import pandas as pd\nfrom . import _validation\n",
    "early.py": "from mkfusion.modality import resolve\n",
    "late.py": "from . import rules\nfrom .modality import resolve\n",
    "hybrid.py": "from .early import EarlyFusion\nfrom .late import LateFusion\n",
    "evaluation.py": "from .datasets import load\nfrom .late import LateFusion\n",
    "cli.py": "from . import evaluation\nfrom ._version import __version__\n",
    "__main__.py": "from .cli import main\n",
    "kernels/__init__.py": "from ._vector import RBF\n",
    "kernels/_vector.py": "from sklearn.base import BaseEstimator\nfrom .._jit import njit\n",
    "solvers/__init__.py": "",
    "solvers/_conic.py": "def solve():\n    import cvxpy\n",
    "chains/__init__.py": "from ._chain import forward\n",
    "chains/_chain.py": "import numpy\n",
    "graphical/__init__.py": "from ._hmm import HMM\n",
    "graphical/_hmm.py": "from ..chains import forward\n",
    "mkl/__init__.py": "from ._estimators import MKLClassifier\n",
    "mkl/_estimators.py": "from ..kernels import RBF\nfrom ..solvers._conic import solve\n",
    "datasets/__init__.py": "from ._loaders import load\n",
    "datasets/_loaders.py": "import pandas\n",
    "plotting.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from matplotlib.axes import Axes\n"
        "def draw():\n    import matplotlib\n"
    ),
}

FLAWS = {
    "upward": ({"rules.py": "from .late import LateFusion\n"}, "late: an upward import"),
    "upward, absolute": ({"rules.py": "import mkfusion.late\n"}, "late: an upward import"),
    "upward, by the package": ({"modality.py": "from . import late\n"}, "late: an upward import"),
    "upward, from a subpackage": (
        {"mkl/_estimators.py": "from ..report import page\n", "report.py": ""},
        "report: an upward import",
    ),
    "upward, in a function": (
        {"early.py": "def f():\n    from .evaluation import compare\n"},
        "evaluation: an upward import",
    ),
    "upward, for types only": (
        {
            "rules.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from .late import LateFusion\n"
        },
        "late: an upward import",
    ),
    "arrays to their estimators": (
        {"chains/_chain.py": "from ..graphical._hmm import HMM\n", "graphical/_hmm.py": ""},
        "graphical._hmm: an upward import",
    ),
    "sideways": ({"late.py": "from .early import EarlyFusion\n"}, "early: a sideways import"),
    "sideways, the wrong way": (
        {"early.py": "from .hybrid import HybridFusion\n", "hybrid.py": ""},
        "hybrid: a sideways import",
    ),
    "root": ({"late.py": "from . import __version__\n"}, "imports from the root"),
    "datasets to a layer": (
        {"datasets/_loaders.py": "from .._validation import check\n"},
        "datasets imports no other module",
    ),
    "datasets from below": (
        {"late.py": "from .datasets import load\n"},
        "only evaluation and above may",
    ),
    "cycle": (
        {"mkl/_a.py": "from ._b import b\n", "mkl/_b.py": "def f():\n    from ._a import a\n"},
        "import cycle: mkl._a -> mkl._b -> mkl._a",
    ),
    "cycle by way of the package": (
        {"kernels/_vector.py": "from . import RBF\n"},
        "import cycle: kernels -> kernels._vector -> kernels",
    ),
    "heavy": ({"report.py": "import cvxpy as cp\n"}, "imports cvxpy at module level"),
    "heavy, in a try": (
        {"late.py": "try:\n    from torch import nn\nexcept ImportError:\n    nn = None\n"},
        "imports torch at module level",
    ),
    "heavy, in a class": (
        {"plotting.py": "class A:\n    import matplotlib.pyplot as plt\n"},
        "imports matplotlib at module level",
    ),
    "arrays only": (
        {"rules.py": "import pandas as pd\n"},
        "imports pandas; this layer knows arrays only",
    ),
    "base is for kernels": (
        {"solvers/_smo.py": "from sklearn.base import BaseEstimator\n"},
        "this layer knows arrays only",
    ),
    "kernels know no estimator": (
        {"kernels/_vector.py": "from sklearn.svm import SVC\n"},
        "imports sklearn.svm.SVC; this layer knows arrays only",
    ),
    "unknown": ({"tools.py": ""}, "tools: no layer; place it in LAYERS"),
    "unknown package": ({"extra/__init__.py": ""}, "extra: no layer; place it in LAYERS"),
    "too deep": ({"mkl/deep/__init__.py": ""}, "mkl.deep: deeper than 2"),
    "too long": ({"late.py": "x = 1\n" * 401}, "late: 401 lines of code, over 400"),
}


def write_package(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "mkfusion"
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return root


def test_sound_package_passes(tmp_path):
    assert all_problems(write_package(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("files", "message"), FLAWS.values(), ids=FLAWS.keys())
def test_flaw_is_found(tmp_path, files, message):
    problems = all_problems(write_package(tmp_path, SOUND | files))
    assert any(message in problem for problem in problems), problems


def test_code_lines_leave_out_what_is_no_code():
    source = '''"""A docstring
of two lines."""

import os  # 1

# a comment


def f(
    a,
    b,
):
    """Another."""
    text = """a value
    of two lines"""
    return text  # 7 more
'''
    assert code_lines(source) == 8
