"""The same bytes on any CPU and any number of threads: one SHA-256 for losses, gradients, softmax, trained weights.

On targets without fma it is a call of libm, 20 to 50 times slower: the problems are small.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastsoftmax.engine.threads import JIT

pytestmark = pytest.mark.skipif(
    not JIT, reason="NumPy's own arithmetic, with the JIT off, is not promised to be portable"
)

CODE = r"""
import hashlib, numpy as np, scipy.sparse, fastsoftmax as fs
from fastsoftmax.engine import simd
bits = np.random.PCG64(5)
def uniform(*shape):
    return (bits.random_raw(int(np.prod(shape))) >> 40).astype(np.float64).reshape(shape) / 2**24 - 0.5
def labels(n, c):
    return (bits.random_raw(n) % c).astype(np.int64)
h = hashlib.sha256()
def add(*arrays):
    for a in arrays:
        h.update(np.asarray(a).tobytes())
f4, f8, u1 = np.float32, np.float64, np.uint8
for dtype, n, m, c in ((f4, 150, 40, 3), (f4, 700, 20, 10), (f8, 700, 21, 10), (u1, 700, 33, 10), (f4, 21, 900, 100),
                       (f8, 15, 700, 100), (f4, 60, 30, 200)):
    real = f8 if dtype == f8 else f4
    X = (uniform(n, m) * 255 + 127).astype(dtype)
    W, b, y = uniform(c, m).astype(real), uniform(c).astype(real), labels(n, c)
    Y, total = uniform(n, c) + 0.6, np.zeros(n)
    for k in range(c):
        total += Y[:, k]
    Y /= total[:, None]
    add(*fs.loss_gradient(X, y, W, b, scale=1 / 255))
    add(*fs.loss_gradient(X, Y, W, b, scale=1 / 255, label_smoothing=0.1, sample_weight=uniform(n) + 1, l2=0.1))
    add(fs.predict_proba(X, W, b, scale=1 / 255))
    Z = (uniform(n, c) * 20).astype(real)
    add(fs.softmax(Z), fs.log_softmax(Z), fs.logsumexp(Z), fs.softmax(Z.T.copy(), axis=0))
    add(*fs.cross_entropy_gradient(Z, y))
X, y = (bits.random_raw(900 * 30) % 256).astype(np.uint8).reshape(900, 30), labels(900, 4)
for options in (dict(), dict(optimizer="adam", schedule="one_cycle"), dict(optimizer="gd"), dict(batch_size=700),
                dict(momentum=0.9, nesterov=True, schedule="cosine", average=True, l2=0.01, early_stopping=True),
                dict(schedule="inverse_scaling", accumulate_steps=3, label_smoothing=0.1)):
    trainer = fs.Trainer(2, scale=1 / 255, **options)
    model = trainer.fit(X, y, class_weight="balanced")
    add(model.coef, model.intercept, [record["loss"] for record in trainer.history])
indices = (bits.random_raw(90 * 7) % 17000).astype(np.int32)  # wide: steps touch the features of a batch
X = scipy.sparse.csr_array((uniform(90 * 7).astype(f4), indices, np.arange(0, 90 * 7 + 1, 7)), (90, 17000))
for options in (dict(momentum=0.9, nesterov=True, average=True, l2=0.01), dict(optimizer="adam", average=1)):
    model = fs.Trainer(2, 32, schedule="inverse_scaling", **options).fit(X, labels(90, 5))
    add(model.coef, model.intercept)
X, y = uniform(210 * 30).reshape(210, 30).astype(f4), (bits.random_raw(210).argsort() % 200).astype(np.int64)
for options in (dict(momentum=0.9, l2=0.01), dict(optimizer="adam", average=True, scale=2.0)):  # classes have owners
    model = fs.Trainer(2, 70, **options).fit(X, y)
    add(model.coef, model.intercept)
print(h.hexdigest(), simd.REGISTER_BYTES, fs.get_num_threads())
"""

TARGETS = [
    {"NUMBA_NUM_THREADS": "1"},
    {"NUMBA_NUM_THREADS": "2"},
    {"NUMBA_NUM_THREADS": "3"},
    {"NUMBA_NUM_THREADS": "2", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    {"NUMBA_NUM_THREADS": "2", "NUMBA_CPU_NAME": "generic"},
]
MORE = [
    {"NUMBA_NUM_THREADS": "3", "NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": ""},
    {"NUMBA_NUM_THREADS": "1", "NUMBA_CPU_NAME": "haswell"},
]


@pytest.mark.parametrize("targets", [TARGETS, pytest.param(TARGETS + MORE, marks=pytest.mark.long)])
def test_one_hash(run_python, targets):
    """Each target compiles all of it: two at a time, after the first of the CPU's own has filled the cache."""
    seen = {}
    with ThreadPoolExecutor(2) as pool:
        first = run_python(CODE, timeout=900, **targets[0])
        printed = [first, *pool.map(lambda target: run_python(CODE, timeout=900, **target), targets[1:])]
    for target, text in zip(targets, printed, strict=True):
        hash_, *facts = text.split()
        seen.setdefault(hash_, []).append((target, facts))
        assert facts[1] == target["NUMBA_NUM_THREADS"]
    assert len(seen) == 1, seen
    widths = set(itertools.chain.from_iterable(facts[:1] for _, facts in next(iter(seen.values()))))
    assert "32" in widths  # tiles of narrow registers were among them
