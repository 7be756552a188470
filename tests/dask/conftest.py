"""A cluster of two processes for each file of tests, and data with classes."""

import numpy as np
import pytest
from distributed import Client

from tests.dask.clusters import M, N, cluster


@pytest.fixture(name="client", scope="module")
def make_client():
    with cluster(2) as made, Client(made) as client:
        yield client


@pytest.fixture(name="data")
def make_data(rng):
    y = rng.integers(0, 3, N)
    return rng.standard_normal((N, M)) + np.eye(3, M)[y], y
