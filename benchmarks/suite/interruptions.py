"""How soon Ctrl-C ends a fit, an epoch, a prediction on 10 GB, and softmax of a large array."""

import subprocess
import sys
import tempfile
import textwrap

START = """
import os, signal, tempfile, threading, time
import numpy as np, fastsoftmax as fs
rng, sent = np.random.default_rng(0), []
def interrupt_after(seconds):
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(seconds, send).start()
"""
WORK = {
    "fit": """
        X, y = rng.standard_normal((60_000, 784), dtype=np.float32), rng.integers(0, 10, 60_000)
        fs.SoftmaxRegression(tol=1).fit(X[:2000], y[:2000])
        interrupt_after(DELAY)
        fs.SoftmaxRegression(tol=1e-14, max_iter=10**6).fit(X, y)
    """,
    "fit of a thousand features and a hundred classes": """
        X, y = rng.standard_normal((20_000, 1000), dtype=np.float32), rng.integers(0, 100, 20_000)
        fs.SoftmaxRegression(tol=1).fit(X[:2000], y[:2000])
        interrupt_after(DELAY)
        fs.SoftmaxRegression(tol=1e-14, max_iter=10**6).fit(X, y)
    """,
    "epoch": """
        X, y = rng.standard_normal((60_000, 784), dtype=np.float32), rng.integers(0, 10, 60_000)
        trainer = fs.Trainer(10**6, optimizer="gd", learning_rate=0.01)
        interrupt_after(DELAY)
        trainer.fit(X, y)
        raise KeyboardInterrupt
    """,
    "prediction": """
        with tempfile.TemporaryFile() as file:
            file.truncate(10**10)
            X = np.memmap(file, np.uint8, "r", shape=(10**7, 1000))
        model = fs.SoftmaxModel(np.ones((10, 1000), np.float32), np.ones(10, np.float32))
        model.predict(X[:1000])
        interrupt_after(DELAY)
        model.predict(X)
    """,
    "softmax": """
        Z = np.zeros((4_000_000, 100), np.float32)
        fs.softmax(Z[:1000])
        interrupt_after(DELAY)
        while True:
            fs.softmax(Z, out=Z)
    """,
}


class CtrlC:
    """Seconds from the signal to the end of the work: the longest of three."""

    unit = "s"
    timeout = 600
    params = tuple(WORK)
    param_names = ("work",)

    def track_latency(self, work: str) -> float:
        code = START + "try:\n" + textwrap.indent(textwrap.dedent(WORK[work]), "    ")
        # Where KeyboardInterrupt came through an exec of text, as in Numba, Python ends by the signal, handled or not.
        code += "\nexcept KeyboardInterrupt:\n    print(time.perf_counter() - sent[0], flush=True)\n    os._exit(0)"
        found = []
        for delay in (0.2, 0.35, 0.5):
            with tempfile.TemporaryFile("w+") as out:
                script = code.replace("DELAY", str(delay))
                subprocess.run([sys.executable, "-c", script], check=True, stdout=out)
                out.seek(0)
                found.append(float(out.read()))
        return max(found)
