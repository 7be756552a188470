"""Fresh processes: import, the first call without and with a cache, and the main job."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CALL = """import numpy as np, fastsoftmax as fs
fs.loss_gradient(np.zeros((9, 5), np.float32), np.zeros(9, int), np.zeros((3, 5)))"""
TRAIN = "from fastsoftmax.cli import main; main(['train', '--quiet', '--json'])"
DATA = "from sklearn.datasets import load_iris\nX, y = load_iris(return_X_y=True)\n"
IRIS = DATA + "import fastsoftmax as fs\nfs.SoftmaxRegression().fit(X, y)"
THEIRS = DATA + "from sklearn.linear_model import LogisticRegression\nLogisticRegression(max_iter=1000).fit(X, y)"
# What Numba itself takes: a process that calls an empty kernel from its cache, in a folder of the benchmark's own.
EMPTY = """import os, sys
folder = os.environ["EMPTY_KERNEL"]
path = os.path.join(folder, "empty_kernel.py")
if not os.path.exists(path):
    open(path, "w").write("import numba\\n@numba.njit(cache=True)\\ndef nothing(): return 0\\n")
sys.path.insert(0, folder)
import empty_kernel
empty_kernel.nothing()"""
COUNT = """
import numba.core.event, time
spent = []
class Listener(numba.core.event.Listener):
    depth = 0
    def on_start(self, event):
        self.depth += 1
        self.start = time.perf_counter() if self.depth == 1 else self.start
    def on_end(self, event):
        self.depth -= 1
        spent.append(time.perf_counter() - self.start if self.depth == 0 else 0.0)
numba.core.event.register("numba:compile", Listener())
"""


def seconds(code: str) -> float:
    """Of a process; installed packages have their bytecode beside them, so it may be written here too."""
    environment = os.environ | {"EMPTY_KERNEL": tempfile.gettempdir()}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def beyond(ours: str, theirs: str) -> float:
    """The medians of five processes each, taking turns, after one of each."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(6)][1:]
    return statistics.median(a for a, _ in pairs) - statistics.median(b for _, b in pairs)


Cold = tuple[float, list[float]]


def cold(code: str) -> Cold:
    """Seconds of a process without a cache, and of each of its compilations; 0 for one within another."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"FASTSOFTMAX_CACHE_DIR": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        script = COUNT + code + "\nimport json, sys\nprint(json.dumps(spent), file=sys.stderr)"
        start = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        )
        return time.perf_counter() - start, list(map(float, json.loads(run.stderr.splitlines()[-1])))


class Startup:
    """Wall time of whole processes."""

    unit = "s"
    timeout = 600

    def setup_cache(self) -> dict[str, Cold]:
        """A cold process of each kind, for all that is said of it."""
        return {name: cold(code) for name, code in (("call", CALL), ("train", TRAIN), ("fit", IRIS))}

    def track_import(self, _: dict[str, Cold]) -> float:
        """Of `import fastsoftmax` beyond that of NumPy: the best of nine each."""
        pairs = [(seconds("import numpy, fastsoftmax"), seconds("import numpy")) for _ in range(9)]
        return min(a for a, _ in pairs) - min(b for _, b in pairs)

    def track_cold_call(self, colds: dict[str, Cold]) -> float:
        return colds["call"][0]

    def track_warm_call(self, _: dict[str, Cold]) -> float:
        seconds(CALL)
        return min(seconds(CALL) for _ in range(3))

    def track_cold_train(self, colds: dict[str, Cold]) -> float:
        return colds["train"][0]

    def track_warm_train(self, _: dict[str, Cold]) -> float:
        seconds(TRAIN)
        return min(seconds(TRAIN) for _ in range(3))

    def track_cold_fit(self, colds: dict[str, Cold]) -> float:
        """Of iris, to the optimum."""
        return colds["fit"][0]

    def track_warm_train_beyond_numba(self, _: dict[str, Cold]) -> float:
        """Beyond a process that calls one empty cached kernel: the medians of five each, taking turns."""
        return beyond(TRAIN, EMPTY)

    def track_warm_fit_beyond_scikit_learn(self, _: dict[str, Cold]) -> float:
        """Of iris, beyond a process that fits it with LogisticRegression."""
        return beyond(IRIS, THEIRS)

    def track_kernels_of_training(self, colds: dict[str, Cold]) -> int:
        """How many functions Numba compiles for the main job; those that pointers hold are not among them."""
        return len(colds["train"][1])

    def track_compilation_of_training(self, colds: dict[str, Cold]) -> float:
        """Seconds that these take."""
        return sum(colds["train"][1])

    def track_kernels_of_a_fit(self, colds: dict[str, Cold]) -> int:
        return len(colds["fit"][1])

    def track_compilation_of_a_fit(self, colds: dict[str, Cold]) -> float:
        return sum(colds["fit"][1])

    def track_cold_compile(self, colds: dict[str, Cold]) -> float:
        """What the compiler takes for loss and gradient: the cold call beyond the warm one."""
        return colds["call"][0] - self.track_warm_call(colds)
