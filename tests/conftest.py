"""What every test shares: the run's random seed, one BLAS thread per worker, hypothesis."""

import os
import random
from pathlib import PurePosixPath

import pytest
from hypothesis import settings

SEED_VARIABLE = "MKFUSION_SEED"
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

# One worker runs these files, so that their cluster is started once.
ON_CLUSTER = ("test_blocks", "test_distributed", "test_linear_mkl_blocks")
# What takes longest begins first, so that no worker is left with it at the end.
FIRST = (
    *ON_CLUSTER,
    "test_late_learnt",
    "test_hybrid",
    "test_sklearn_conformity",
    "test_late",
    "test_fusion_report",
)

# In CI the examples are the same in every run, so that a red run is red again.
settings.register_profile(
    "mkfusion", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("mkfusion")


def pytest_addoption(parser):
    parser.addoption(
        "--seed",
        type=int,
        default=None,
        help=f"seed of the global_seed fixture (default: ${SEED_VARIABLE}, else one of 0-99)",
    )


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # an xdist worker: the controller has chosen
        config.mkfusion_seed = config.workerinput["mkfusion_seed"]
        _limit_threads(config)
    else:
        config.mkfusion_seed = _choose_seed(config.getoption("--seed"))


def _choose_seed(option):
    if option is not None:
        return option
    if text := os.environ.get(SEED_VARIABLE, "").strip():
        if not text.isdecimal():
            raise pytest.UsageError(f"{SEED_VARIABLE} must be a whole number, got {text!r}")
        return int(text)
    return random.randrange(100)


def _limit_threads(config):
    """Hold every worker to one thread, or the workers fight each other for the cores."""
    for variable in THREAD_VARIABLES:  # for libraries loaded later and for child processes
        os.environ.setdefault(variable, "1")

    import scipy.linalg  # noqa: F401  # the limit reaches only libraries that are loaded
    from threadpoolctl import threadpool_limits

    config.mkfusion_thread_limit = threadpool_limits(limits=1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["mkfusion_seed"] = node.config.mkfusion_seed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each worker whole files: what a file makes once is made and compiled once."""
    if config.getoption("dist") != "load":  # asked for on the command line
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            name = _file_of(nodeid)
            return "the cluster" if name in ON_CLUSTER else name

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        place = {name: number for number, name in enumerate(FIRST)}
        items.sort(key=lambda item: place.get(_file_of(item.nodeid), len(FIRST)))


def _file_of(nodeid):
    return PurePosixPath(nodeid.partition("::")[0]).stem


def pytest_report_header(config):
    return f"mkfusion: {_repeat_hint(config)}"


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if exitstatus != pytest.ExitCode.OK:  # the header is far above, or silenced by -q
        terminalreporter.write_line(f"mkfusion: {_repeat_hint(config)}")


def _repeat_hint(config):
    return f"random seed {config.mkfusion_seed} (repeat with --seed {config.mkfusion_seed})"


@pytest.fixture(scope="session")
def global_seed(request):
    """One seed for the whole run, printed at its top.

    A statistical test takes it and must pass for every seed of 0-99.
    """
    return request.config.mkfusion_seed


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes of Dask, whose work may end one of them once."""
    from clusters import two_workers

    with two_workers() as running:
        yield running


@pytest.fixture
def client(cluster):
    """The client of that cluster, once both workers are there."""
    from clusters import client_of

    with client_of(cluster) as current:
        yield current
