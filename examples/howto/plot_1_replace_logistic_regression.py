"""
Replace LogisticRegression
==========================

:class:`fastsoftmax.SoftmaxRegression` has the parameters, attributes and meaning of scikit-learn's LogisticRegression:
one line changes. What is new is the proof: it ends at the optimum, and says how near.
"""

# %%
# The same pipeline, twice. Timings are of a second fit: the first one compiles, or loads what an earlier process did.

import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastsoftmax import SoftmaxRegression

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0)

found = {}
for estimator in (LogisticRegression(C=0.1, max_iter=1000), SoftmaxRegression(C=0.1)):
    model = make_pipeline(StandardScaler(), estimator).fit(X, y)
    start = time.perf_counter()
    model.fit(X, y)
    name = type(estimator).__name__
    found[name] = model, time.perf_counter() - start
    print(f"{name:20} accuracy {model.score(X_test, y_test):.4f}, {1000 * found[name][1]:.0f} ms")

# %%
# Both have the same coefficients, as far as scikit-learn goes; ours come with a bound.

ours, theirs = (found[name][0][-1] for name in ("SoftmaxRegression", "LogisticRegression"))
print(f"largest difference of coefficients {abs(ours.coef_ - theirs.coef_).max():.1e}")
print(f"F is at most {ours.duality_gap_:.1e} above the optimum; largest gradient entry {ours.optimality_:.1e}")

# %%
# Standardising needs no copy of X, as a parameter:

model = SoftmaxRegression(C=0.1, standardize=True).fit(X, y)
print(f"accuracy {model.score(X_test, y_test):.4f}")

# %%
# The two, coefficient by coefficient:

figure, ax = plt.subplots(layout="constrained")
ax.plot(theirs.coef_.ravel(), ours.coef_.ravel(), ".", alpha=0.5)
ax.axline((0, 0), slope=1, color="gray", linewidth=0.5)
ax.set(xlabel="LogisticRegression", ylabel="SoftmaxRegression", title="Coefficients", aspect="equal")
