"""Data sets of handwritten digits and their like: MNIST comes with the package, others are read from a folder."""

from fastsoftmax.datasets.idx import IDXError, load_idx, load_mnist

__all__ = ["IDXError", "load_idx", "load_mnist"]
