"""The progress bar in a notebook that cannot show widgets."""

import subprocess
import sys

# What tqdm looks at to tell a notebook, and no ipywidgets.
NOTEBOOK = """
import sys, types, warnings
sys.modules["ipywidgets"] = None
kernel = types.ModuleType("IPython")
kernel.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = sys.modules["ipykernel.zmqshell"] = kernel
warnings.simplefilter("always")
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", NOTEBOOK + code], capture_output=True, text=True, timeout=120
    )


def test_import_without_widgets_warns_of_nothing():
    done = run("from mkfusion._progress import tqdm; print(tqdm.__module__)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tqdm.asyncio\n", "")


def test_tqdm_itself_does_warn():
    assert "IProgress not found" in run("import tqdm.auto").stderr
