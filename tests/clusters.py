"""A Dask cluster of two worker processes on loopback, some of which die in tests."""

import contextlib
import logging

import dask
from distributed import Client, LocalCluster

RESTART = "120s"  # a busy machine needs longer than the 15 s after which a worker is given up


@contextlib.contextmanager
def two_workers():
    """Start the cluster; the work of a worker that dies is tried once more."""
    settings = {
        "distributed.deploy.lost-worker-timeout": RESTART,
        "distributed.scheduler.allowed-failures": 1,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            host="127.0.0.1",
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as running,
    ):
        yield running


@contextlib.contextmanager
def client_of(cluster):
    """Be the cluster's client, once both workers are there."""
    cluster.scale(2)
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client
