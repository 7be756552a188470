"""Coverage-guided fuzzing of what reads files: `python tests/fuzz_readers.py idx -max_total_time=60` (extra `long`).

Each of idx, model and checkpoint may raise its own error, or read what is there, in at most 512 MB and 5 s.
"""

import contextlib
import gzip
import sys
import tempfile
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["fastsoftmax"]):
        import numpy as np

        from fastsoftmax import files, model
        from fastsoftmax.datasets import idx
        from fastsoftmax.training import checkpoint

    folder = Path(tempfile.mkdtemp())
    path, corpus, kind = folder / "file", folder / "corpus", sys.argv.pop(1)
    corpus.mkdir()
    run = {"epochs": 1}
    weights = {"coef": np.zeros((2, 3), np.float32), "counts": np.zeros(2, np.int64)}
    stream = np.random.PCG64(0).state
    seed = checkpoint.Checkpoint(corpus / "1", run, 1) if kind == "checkpoint" else None

    if kind == "idx":
        data = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 5, 6, 7, 8])
        (corpus / "1").write_bytes(data)
        (corpus / "2").write_bytes(gzip.compress(data))
    elif seed is not None:
        seed.save(checkpoint.State(weights, stream, weights, stream, [{"loss": 1.0}], -1, 0, ""))
    else:
        model.SoftmaxModel(weights["coef"], np.zeros(2, np.float32), ["a", "b"], run).save(corpus / "1")

    def read() -> None:
        if kind == "idx":
            idx.read_idx(path, 3)
        elif kind == "checkpoint":
            checkpoint.Checkpoint(path, run, 1).load(weights)
        else:
            model.SoftmaxModel.load(path)

    def once(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(idx.IDXError, files.FileError):
            read()

    options = ["-rss_limit_mb=512", "-timeout=5", f"-artifact_prefix={folder}/"]
    atheris.Setup([*sys.argv, *options, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
