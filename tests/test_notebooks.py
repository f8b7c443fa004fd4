"""The notebooks as they are kept: outputs, links, pictures, and text that agrees with them.

`python .ci/notebooks.py` executes them; this only reads.
"""

import base64
import json
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [
    "00_tour",
    "01_one_table",
    "02_early_late_hybrid",
    "03_multiple_kernel_learning",
    "04_sequences",
    "05_a_modality_is_lacking",
    "06_does_fusion_pay",
    "07_your_own_csv",
]
LARGEST = 400_000  # bytes, with pictures
MACHINE = re.compile(r"/(?:tmp|home|root|work|Users|usr|opt)/|\\Users\\|ipykernel")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]|%)")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the sdist holds no notebooks")

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def text_of(cell):
    return "".join(cell["source"])


def pictures(cell):
    return [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})]


def said(path):
    """Return all that code cells print."""
    texts = []
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            texts += output.get("text", []) + output.get("data", {}).get("text/plain", [])
    return "".join(texts)


def test_the_course_is_whole():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@by_notebook
def test_first_cell_says_what_is_learnt_and_how_long(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first = notebook["cells"][0]
    title, _, rest = text_of(first).partition("\n")
    assert first["cell_type"] == "markdown"
    assert title.startswith("# ")
    assert rest.strip().startswith("You learn ")
    assert re.search(r"minutes to read and about \d+ seconds to run|few seconds to run", rest)
    titles = [line for cell in cells(path, "markdown") for line in text_of(cell).split("\n")]
    assert sum(line.startswith("# ") for line in titles) == 1


@by_notebook
def test_last_cell_says_where_to_go_next(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    last = text_of(notebook["cells"][-1]).partition("## Where to go next")[2]
    assert ".ipynb)" in last
    assert "../docs/" in last


@by_notebook
def test_links_resolve(path):
    for cell in cells(path, "markdown"):
        for link in LINK.findall(text_of(cell)):
            if "://" not in link:
                assert (path.parent / link.partition("#")[0]).is_file(), link


@by_notebook
def test_outputs_are_kept_and_clean(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    found = cells(path, "code")
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    assert sum(bool(cell["outputs"]) for cell in found) > len(found) / 2
    for cell in found:
        assert set(cell["metadata"]) <= {"mystnb"}
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", output
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


@by_notebook
def test_no_path_of_a_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    assert not MACHINE.search(json.dumps(notebook))


@by_notebook
def test_pictures_are_moderate_and_described(path):
    assert path.stat().st_size < LARGEST
    for cell in cells(path, "code"):
        for picture in pictures(cell):
            width, height = struct.unpack(">II", base64.b64decode(picture)[16:24])
            assert 200 < width < 1000
            assert 100 < height < 700
        described = len(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")) > 40
        assert described == bool(pictures(cell)), text_of(cell)


@by_notebook
def test_every_picture_is_explained(path):
    explained = sum(
        text_of(cell).count("**What to see in the picture.**") for cell in cells(path, "markdown")
    )
    assert explained == sum(len(pictures(cell)) for cell in cells(path, "code"))


@by_notebook
def test_figures_in_the_text_are_printed(path):
    """A number with decimals in the text stands in an output, rounded to as many places."""
    printed = [float(number) for number in re.findall(r"\d+\.\d+(?:e[-+]\d+)?", said(path))]
    for cell in cells(path, "markdown"):
        for number in DECIMAL.findall(re.sub(r"\$[^$]*\$", "", text_of(cell))):
            places = len(number.partition(".")[2])
            near = [value for value in printed if abs(value - float(number)) <= 0.51 * 10**-places]
            assert near, f"{number} is printed nowhere"
