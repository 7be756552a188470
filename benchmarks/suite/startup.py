"""Fresh processes: import, the first call without and with a cache, and the main job."""

import os
import subprocess
import sys
import tempfile
import time

CALL = """import numpy as np, fastsoftmax as fs
fs.loss_gradient(np.zeros((9, 5), np.float32), np.zeros(9, int), np.zeros((3, 5)))"""
TRAIN = "from fastsoftmax.cli import main; main(['train', '--quiet', '--json'])"


def seconds(code: str, cache: str | None = None) -> float:
    environment = os.environ | ({"FASTSOFTMAX_CACHE_DIR": cache} if cache else {})
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


class Startup:
    """Wall time of whole processes."""

    unit = "s"
    timeout = 600

    def track_import(self) -> float:
        """Of `import fastsoftmax` beyond that of NumPy: the best of nine each."""
        pairs = [(seconds("import numpy, fastsoftmax"), seconds("import numpy")) for _ in range(9)]
        return min(a for a, _ in pairs) - min(b for _, b in pairs)

    def track_cold_call(self) -> float:
        with tempfile.TemporaryDirectory() as cache:
            return seconds(CALL, cache)

    def track_warm_call(self) -> float:
        seconds(CALL)
        return min(seconds(CALL) for _ in range(3))

    def track_cold_train(self) -> float:
        with tempfile.TemporaryDirectory() as cache:
            return seconds(TRAIN, cache)

    def track_warm_train(self) -> float:
        seconds(TRAIN)
        return min(seconds(TRAIN) for _ in range(3))

    def track_cold_compile(self) -> float:
        """What the compiler takes for loss and gradient: the cold call beyond the warm one."""
        return self.track_cold_call() - self.track_warm_call()
