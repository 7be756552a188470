"""
Soft targets and label smoothing
================================

Targets may be probabilities: votes of several annotators, a teacher's predictions, or labels of which one is not sure.
"""

# %%
# Digits whose labels are wrong in three of ten rows, five annotators each. The share of their votes is the target.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastsoftmax as fs

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X, y, X_test, y_test = X[:1000], y[:1000], X[1000:], y[1000:]
votes = np.where(rng.random((5, len(y))) < 0.3, rng.integers(0, 10, (5, len(y))), y)
shares = np.mean([fs.one_hot(one, 10, np.float64) for one in votes], 0)

# %%
# One annotator alone, the majority, and the shares, each for a few strengths:

targets = {
    "one annotator": votes[0],
    "the majority": shares.argmax(1),
    "shares of the votes": shares,
}
Cs = np.logspace(-6, 0, 7)
scores = {}
for name, target in targets.items():
    found = fs.path(X, target, Cs=Cs, X_val=X_test, y_val=y_test)
    scores[name] = found.scores
    print(f"{name}: best test accuracy {found.scores.max():.4f}")

# %%
# Label smoothing mixes a share of the uniform distribution into every target, which keeps logits small without a
# penalty:

for epsilon in (0.0, 0.1, 0.3):
    model = fs.SoftmaxRegression(C=1.0, label_smoothing=epsilon).fit(X, votes[0])
    largest = model.predict_proba(X_test).max(1).mean()
    print(f"smoothing {epsilon}: test accuracy {model.score(X_test, y_test):.4f}, said with {largest:.0%} on average")

# %%
# Five annotators teach more than one; where the penalty is weak, and would fit every wrong label, shares hold up best:

figure, ax = plt.subplots(layout="constrained")
for name, values in scores.items():
    ax.semilogx(Cs, values, "o-", label=name)
ax.set(xlabel="C", ylabel="test accuracy", title="Training on votes")
ax.legend()
