"""Clusters, and data with their borders, for all tests of fits over them."""

import contextlib
import itertools
import os
import signal

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from distributed import LocalCluster

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT

MARKS = [
    pytest.mark.skipif(not JIT, reason="workers would take minutes with the JIT off"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of sockets that distributed leaves to the collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside tornado and distributed
]
N, M = 600, 7
CUTS = (0, 100, 101, 350, 350, 600)


def cluster(workers, threads=1, processes=True):
    return LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=processes, dashboard_address=":0", memory_limit=0
    )


def pieces(*columns, cuts=CUTS):
    return [tuple(column[a:b] for column in columns) for a, b in itertools.pairwise(cuts)]


def parts(*columns, cuts=CUTS):
    return fs.Parts([piece for piece in pieces(*columns, cuts=cuts) if piece[0].shape[0]])


def collection(array, cuts=CUTS):
    """A dask array with these borders; of sparse matrices, of chunks that are."""
    sizes = tuple(np.diff(cuts).tolist())
    if sp.issparse(array):
        blocks = [dask.delayed(array[a:b]) for a, b in itertools.pairwise(cuts)]
        return da.concatenate(
            [
                da.from_delayed(block, (size, array.shape[1]), meta=sp.csr_matrix((0, 0), dtype=array.dtype))
                for block, size in zip(blocks, sizes, strict=True)
            ]
        )
    return da.from_array(array, chunks=(sizes, *[(k,) for k in array.shape[1:]]))


def kill(process):
    """By number, as an operating system that is out of memory does."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
