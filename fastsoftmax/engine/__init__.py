"""How code is compiled and run: JIT, cache, threads and forks, memory, BLAS on one thread, and the vector layer.

May import nothing of the package but `defaults`. Here alone Numba, LLVM and threadpoolctl are configured.
"""

import gc

_collecting = gc.isenabled()
gc.disable()  # what the import of Numba makes stays: looking for garbage in it takes 0.05 s beside scikit-learn
try:
    import numba
    import numba.np.ufunc.parallel  # noqa: F401
finally:
    if _collecting:
        gc.enable()
