"""No kernel touches a byte outside its arrays: each array ends at a protected page, or begins behind one.

What the kernels are given, what they allocate for themselves, and what they return: a byte too far ends the process.
"""

import sys

import pytest

from fastsoftmax.engine.threads import JIT

pytestmark = [
    pytest.mark.skipif(not JIT, reason="with the JIT off there are no kernels, and NumPy checks its indexes"),
    pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="mprotect is POSIX's"),
]

CODE = r"""
import ctypes, mmap, sys
import numpy as np, scipy.sparse as sp
import fastsoftmax as fs
from fastsoftmax.engine import memory

PAGE, LIBC, real_empty, real_zeros = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True), np.empty, np.zeros
LIBC.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
pool, at_end = {}, [True]

def pages(size):
    "Pages for so many bytes between two protected ones, which are used again when their array is gone."
    count = max(1, -(-size // PAGE))
    free = pool.setdefault(count, [])
    for block in free:
        if sys.getrefcount(block) <= 3:
            return block
    raw = mmap.mmap(-1, (count + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(raw))
    for page in (start, start + (count + 1) * PAGE):
        assert LIBC.mprotect(page, PAGE, 0) == 0, ctypes.get_errno()
    block = np.frombuffer(raw, np.uint8, count * PAGE, PAGE)
    free.append(block)
    return block

def guarded(shape, dtype, align=1):
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    block = pages(size)
    start = (len(block) - size) // align * align if at_end[0] else 0
    return block[start : start + size].view(dtype).reshape(shape)

def put(a):
    out = guarded(a.shape, a.dtype)
    out[...] = a
    return out

def aligned(shape, dtype, fill=0):
    out = guarded(shape, dtype, 64)
    out[...] = 7 if fill is None else fill
    return out

# scratch begins on a line, and ends within one of its page
memory.aligned = aligned
memory.carved = lambda places, size: [aligned(shape, dtype) for shape, dtype, _ in places]

def sparse(X):
    Z = sp.csr_array(X)
    Z.data, Z.indices, Z.indptr = put(Z.data), put(Z.indices), put(Z.indptr)
    return Z

def check(n, m, c, kind, rng):
    X = put((rng.random((n, m)) * 3).astype(kind))
    f = np.float64 if kind == np.float64 else np.float32
    W, b, y = put(rng.random((c, m)).astype(f)), put(rng.random(c).astype(f)), put(rng.integers(0, c, n))
    w, Z, Y = put(rng.random(n)), put(rng.random((n, c)).astype(f)), put(np.full((n, c), 1 / c, f))
    out = put(np.empty((c, m), f)), put(np.empty(c, f))
    for data in (X, sparse(X)):
        fs.loss_gradient(data, y, W, b, sample_weight=w, reduction="sum", out=out)
        fs.loss_gradient(data, Y, W, b, label_smoothing=0.1, reduction="sum", out=out, accumulate=True)
        fs.predict_proba(data, W, b)
        fs.SoftmaxModel(W, b).predict(data)
    for axis in (0, 1):
        if Z.shape[axis]:
            fs.softmax(Z, axis, put(Z)), fs.log_softmax(Z, axis), fs.logsumexp(Z, axis)
    fs.cross_entropy_gradient(Z, y, sample_weight=w, reduction="sum")
    fs.cross_entropy(Z, Y, reduction="none")

def train(n, m, c, kind, rng):
    X, y = put((rng.random((n, m)) * 3).astype(kind)), put(np.arange(n) % c)
    for data in (X, sparse(X)):
        for options in ({"batch_size": 7, "average": True}, {"optimizer": "adam", "batch_size": n}, {"momentum": 0.5}):
            fs.Trainer(1, learning_rate=1e-3, progress=False, **options).fit(data, y)
        for solver in ("lbfgs", "newton", "newton-cg", "proximal"):
            l1 = 0.5 if solver == "proximal" else 0.0
            fs.SoftmaxRegression(solver=solver, l1_ratio=l1, tol=1e-2, standardize=True).fit(data, y)

rng = np.random.default_rng(0)
lengths = np.arange(68)
count = 0
kinds = [np.float32, np.float64, np.uint8]
for at_end[0] in (True, False):
    for shift in range(ROUNDS):  # every length in every dimension, with others in the other two
        ms, cs = rng.permutation(lengths), rng.permutation(lengths)
        for n, m, c in zip(lengths, ms, cs):
            check(int(n), max(1, int(m)), max(2, int(c)), kinds[count % 3], rng)
            count += 1
    for n, m, c in ((67, 1, 2), (66, 67, 3), (29, 13, 9), (40, 33, 17)):
        for kind in kinds:
            train(n, m, c, kind, rng)
    for n, m, c in ((33, 700, 65), (5, 1100, 67)):  # classes own their gradients
        for kind in kinds:
            X, y = put((rng.random((n, m)) * 3).astype(kind)), put(np.arange(n) % c)
            W = put(np.zeros((c, m), np.float64 if kind == np.float64 else np.float32))
            fs.loss_gradient(X, y, W)
    wide = sp.csr_array((put(np.ones(9)), (range(9), range(9))), (9, 40_001))  # and features theirs
    fs.loss_gradient(wide, [0, 1, 2] * 3, put(np.zeros((3, 40_001))))
print(count)
if len(sys.argv) > 1:
    pages(10)[10 - 11 if sys.argv[1] == "before" else PAGE :]
    address = pages(PAGE).ctypes.data + (-1 if sys.argv[1] == "before" else PAGE)
    ctypes.c_char.from_address(address).value
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_byte_outside(run_python, threads):
    printed = run_python("ROUNDS = 3\n" + CODE, timeout=900, NUMBA_NUM_THREADS=threads)
    assert printed.split()[-1] == str(2 * 3 * 68)


@pytest.mark.long
def test_no_byte_outside_of_many_shapes(run_python):
    run_python("ROUNDS = 100\n" + CODE, timeout=3600)


@pytest.mark.parametrize("side", ["before", "behind"])
def test_the_guard_bites(run_python, side):
    result = run_python("ROUNDS = 0\n" + CODE, check=False, args=(side,), timeout=900)
    assert result.returncode < 0
