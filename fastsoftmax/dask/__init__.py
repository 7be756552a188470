"""The same fits over the partitions of a Dask cluster: to the same bytes on any number of workers.

Needs `pip install 'fastsoftmax[dask]'`.
"""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastsoftmax.dask needs dask and distributed, which are not installed: pip install 'fastsoftmax[dask]'"
    ) from error

from fastsoftmax.dask.regression import DaskSoftmaxRegression
from fastsoftmax.dask.sgd import DaskSoftmaxSGDClassifier

__all__ = ["DaskSoftmaxRegression", "DaskSoftmaxSGDClassifier"]
