"""What is shipped: the wheel and the sdist, built from a copy of the tree and opened."""

import email
import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
# A stale build folder would put removed modules into the wheel.
LEFT_OUT = (
    ".git",
    ".venv",
    ".hypothesis",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "_build",
)
PACKAGE_FILES = ("*.py", "*.csv.gz", "*.css", "*.html", "py.typed")
VERSION = (ROOT / "mkfusion" / "_version.py").read_text(encoding="utf-8").split('"')[-2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist from the tree, and the wheel from the sdist."""
    pytest.importorskip("build", reason="the dev extra holds the build frontend")
    folder = tmp_path_factory.mktemp("packaging")
    tree, out = folder / "tree", folder / "out"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    """The wheel's files as {path: bytes}."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built):
    """The paths of the sdist's files, below its top folder."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [member.name for member in archive if member.isfile()]
    return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in names}


def tracked(folder, *patterns):
    """Files of the source tree by pattern, as paths below the root."""
    return {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
        if "__pycache__" not in path.parts
    }


def test_names_hold_the_version(built):
    assert sorted(path.name for path in built.iterdir()) == [
        f"mkfusion-{VERSION}-py3-none-any.whl",
        f"mkfusion-{VERSION}.tar.gz",
    ]


def test_wheel_holds_the_package_and_nothing_else(wheel):
    metadata = f"mkfusion-{VERSION}.dist-info/"
    package = {name for name in wheel if not name.startswith(metadata)}
    assert package == tracked("mkfusion", *PACKAGE_FILES)


def test_wheel_holds_license_and_type_marker(wheel):
    assert "mkfusion/py.typed" in wheel
    (name,) = [name for name in wheel if PurePosixPath(name).name == "LICENSE"]
    assert wheel[name] == (ROOT / "LICENSE").read_bytes()


def test_wheel_data_are_tables_of_text(wheel):
    """Nothing that is loaded can be executed: no pickle, whatever its name."""
    package = [name for name in wheel if name.startswith("mkfusion/")]
    data = [name for name in package if not name.endswith((".py", "/py.typed"))]
    templates = {name for name in data if name.startswith("mkfusion/templates/")}
    assert {PurePosixPath(name).suffix for name in templates} == {".css", ".html"}
    data = sorted(set(data) - templates)
    assert data
    for name in data:
        assert name.endswith(".csv.gz")
        with gzip.open(io.BytesIO(wheel[name]), "rt", encoding="utf-8") as text:
            widths = {line.count(",") for line in text}
        assert len(widths) == 1, f"{name}: rows of different widths"
        assert min(widths) > 0


def test_wheel_metadata(wheel):
    text = wheel[f"mkfusion-{VERSION}.dist-info/METADATA"].decode()
    metadata = email.message_from_string(text)
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    entry_points = wheel[f"mkfusion-{VERSION}.dist-info/entry_points.txt"].decode()
    assert "mkfusion = mkfusion.cli:main" in entry_points


def test_sdist_holds_package_tests_and_papers(sdist):
    papers = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"}
    assert papers <= sdist
    assert tracked("mkfusion", *PACKAGE_FILES) <= sdist
    assert tracked("tests", "*.py") <= sdist


def test_sdist_holds_what_the_manual_is_made_of_and_not_the_manual(sdist):
    made = ("docs/_build/", "docs/api/", "docs/auto_gallery/")
    sources = tracked("docs", "*.md", "*.py", "*.svg", "*.css", "*.toml")
    assert {name for name in sources if not name.startswith(made)} <= sdist
    assert tracked("notebooks", "*.ipynb") <= sdist
    copied = {name for name in sdist if name.startswith("docs/") and name.endswith(".ipynb")}
    assert copied | {name for name in sdist if name.startswith(made)} == set()


def test_sdist_holds_no_leftovers(sdist):
    assert {name for name in sdist if name.startswith(".ci/") or "__pycache__" in name} == set()
    assert {name for name in sdist if name.endswith((".pyc", ".pkl", ".npy", ".npz"))} == set()
