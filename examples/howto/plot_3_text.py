"""
Text with a million features
============================

Hashed words and pairs of words make very wide, very sparse rows. They are fitted as they are, in CSR.
"""

# %%
# Which library does a docstring come from? The texts are those that are installed here: lines of the documentation of
# NumPy, SciPy and scikit-learn.

import inspect
import warnings

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.signal
import scipy.stats
import sklearn.cluster
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import ConfusionMatrixDisplay

from fastsoftmax import SoftmaxRegression

SOURCES = {
    "numpy": [np, np.linalg, np.fft, np.ma],
    "scipy": [scipy.linalg, scipy.optimize, scipy.signal, scipy.stats],
    "sklearn": [sklearn.cluster, sklearn.ensemble, sklearn.linear_model, sklearn.metrics],
}


def paragraphs(module):
    """Of the docstrings of its public functions and classes."""
    for name in sorted(vars(module)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = inspect.getdoc(getattr(module, name)) or ""
        if not name.startswith("_"):
            yield from (part for part in text.split("\n\n") if len(part) > 60)


texts = {source: sorted({p for module in modules for p in paragraphs(module)}) for source, modules in SOURCES.items()}
documents = [text for found in texts.values() for text in found]
y = np.repeat(list(texts), [len(found) for found in texts.values()])
print({source: len(found) for source, found in texts.items()})

# %%
# A million features (2**20), of which a paragraph has some tens. ``tol`` bounds how far F is from its optimum.

X = HashingVectorizer(n_features=2**20, ngram_range=(1, 2), dtype=np.float32).transform(documents)
rng = np.random.default_rng(0)
order = rng.permutation(len(y))
train, test = order[len(y) // 4 :], order[: len(y) // 4]
model = SoftmaxRegression(C=10, tol=1e-3).fit(X[train], y[train])
print(f"{X.shape[1]} features, {X.nnz / X.shape[0]:.0f} in a row; {model.n_iter_[0]} iterations")
print(f"gap {model.duality_gap_:.1e}, test accuracy {model.score(X[test], y[test]):.3f}")

# %%
# What is taken for what:

display = ConfusionMatrixDisplay.from_estimator(model, X[test], y[test], colorbar=False)
