"""Execute the notebooks and compare what they print with the outputs that they keep.

notebooks.py [NOTEBOOK...]          fail on an error, and where a cell says something else
notebooks.py --keep [NOTEBOOK...]   keep the outputs of this run

Text must be equal but for numbers, whole numbers must be equal too, and others near; of pictures
there must be as many. Without names all of notebooks/ are run, one on each core.
"""

import argparse
import copy
import math
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
METADATA = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
SECONDS = 300  # for one cell, on a slow machine

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
ABSOLUTE, RELATIVE = 0.02, 0.05


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def execute(path):
    """Return the notebook as a fresh kernel leaves it, clean of what differs by machine."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    options = {"timeout": SECONDS, "kernel_name": "python3", "record_timing": False}
    NotebookClient(notebook, resources=resources, **options).execute()
    notebook.metadata = copy.deepcopy(METADATA)
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        cell.outputs = joined(cell.outputs)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def joined(outputs):
    """Return outputs with neighbouring pieces of one stream as one: where they break is chance."""
    found = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def printed(cell):
    """Return what a cell says as text, and its number of pictures."""
    texts, pictures = [], 0
    for output in joined(copy.deepcopy(cell.outputs)):
        data = output.get("data", {})
        if "image/png" in data:
            pictures += 1
        else:
            texts.append(output.get("text", data.get("text/plain", "")).rstrip())
    return "\n".join(texts), pictures


def alike(kept, found):
    """Tell whether two texts say the same: words to the letter, numbers nearly."""
    words = [" ".join(NUMBER.sub(" # ", text).split()) for text in (kept, found)]
    numbers = [NUMBER.findall(text) for text in (kept, found)]
    return words[0] == words[1] and all(map(near, *numbers))


def near(kept, found):
    if not {".", "e"} & set(kept + found):
        return int(kept) == int(found)
    return math.isclose(float(kept), float(found), abs_tol=ABSOLUTE, rel_tol=RELATIVE)


def differences(kept, found):
    """Yield a message for each cell that says something else than it did."""
    for number, (old, new) in enumerate(zip(code_cells(kept), code_cells(found), strict=True), 1):
        (text, pictures), (new_text, new_pictures) = printed(old), printed(new)
        if not alike(text, new_text):
            yield f"code cell {number} said\n{text}\nand says now\n{new_text}"
        if pictures != new_pictures:
            yield f"code cell {number} drew {pictures} pictures and draws {new_pictures} now"


def check(path, keep):
    """Run one notebook; return what is wrong with it."""
    try:
        found = execute(path)
    except CellExecutionError as error:
        return [str(error)]
    wrong = [
        f"code cell {number} wrote to stderr: {output.text}"
        for number, cell in enumerate(code_cells(found), 1)
        for output in cell.outputs
        if output.get("name") == "stderr"
    ]
    if keep and not wrong:
        nbformat.write(found, path)
        return []
    return wrong + list(differences(nbformat.read(path, as_version=4), found))


def timed_check(path, keep):
    """Run one notebook and say how that went; return what is wrong, with its name."""
    start = time.perf_counter()
    found = [f"{path.name}: {message}" for message in check(path.resolve(), keep)]
    say(f"{path.name:36s} {time.perf_counter() - start:5.1f} s   {'FAILED' if found else 'ok'}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the outputs of this run")
    args = parser.parse_args()
    # Pictures go into the notebook, whatever the caller's backend is.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # kernels would fight for the cores
    paths = args.notebooks or sorted(FOLDER.glob("*.ipynb"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a kernel of its own
        found = pool.map(lambda path: timed_check(path, args.keep), paths)
        wrong = [message for messages in found for message in messages]
    sys.exit("\n\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
