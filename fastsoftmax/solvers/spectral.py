"""The diagonal of the Hessian at the probabilities where we are, in a basis that suits the features.

The block of class k is sum_i w_ik x_i x_i' / S plus the penalty, w_ik = s_i p_ik (1 - p_ik). Were all w alike, one
basis would make the blocks of all classes diagonal: generalized eigenvectors, of a Gram matrix and the penalty.
Elsewhere only the diagonal in this basis counts, each entry as the rows have it (as George et al. 2018, "Fast
approximate natural gradient descent in a Kronecker-factored eigenbasis", correct eigenvalues), after each class's
features were centred by its own weights, which takes the intercept out exactly. Of 601 classes of embeddings it took 9
iterations to where the shared Gram matrix took 23 (21 without the centring of each class).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, eigh

from fastsoftmax.engine.vectors import in_parts
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers.sampling import (
    LOOKED_AT,
    RAISED,
    UNSEEN,
    Curvature,
    floored,
    mean_gram,
    part_of,
    rows_for,
    trace,
    uniform,
)

Array = NDArray[Any]
WIDEST = 4096  # columns, whose eigenvectors take ten seconds
ALIKE = 0.7  # participation ratio
SHARPER = 100  # times less curvature there may be at the optimum than where probabilities are all alike


class Basis(NamedTuple):
    """Directions of the features in which a Gram matrix and the penalty are diagonal at once."""

    vectors: Array  # (m, m), a column each
    curvature: Array  # (m,) where all classes are alike
    penalty: Array  # (m,) where l2 is 1
    mean: Array  # (m,) of the features


def cost(problem: Problem) -> float:
    """Seconds that building takes, by shapes, never by a clock: eigenvectors (unless they are known), and products."""
    m, rows = problem.m, _rows(problem)
    if m > WIDEST:
        return np.inf
    known = _key(problem) in problem.cache
    return float((0 if known else m**3 / 8e9) + rows * m * (2.0 * m + 4.0 * problem.r) / 2e11 + 1e-2)


def _rows(problem: Problem) -> int:
    """How many rows curvature is looked at."""
    return min(rows_for(problem), max(LOOKED_AT // problem.c, problem.m))


def alike(problem: Problem) -> bool:
    """Whether features are much of one size and hardly correlated: then no basis tells directions apart.

    By the participation ratio of the eigenvalues of their correlations, trace^2 / (m sum of squares): 0.09 for MNIST,
    0.2 for embeddings, 0.9 for Gaussian classes, of which a fit takes no fewer iterations in a basis. With normal
    features it took 300 instead of 180 at a weak penalty.
    """
    if "alike" not in problem.cache:
        G = _covariance(mean_gram(problem).astype(np.float64), problem)[0]
        size = np.sqrt(np.diag(G).clip(np.finfo(np.float32).tiny))
        G /= np.outer(size, size)
        problem.cache["alike"] = bool(np.trace(G) ** 2 > ALIKE * problem.m * np.square(G).sum())
    return problem.cache["alike"]  # type: ignore[no-any-return]


def _covariance(H: Array, problem: Problem) -> tuple[Array, Array]:
    """(the covariance of the features, their means), of a Gram matrix's upper half."""
    m = problem.m
    H = np.triu(H) + np.triu(H, 1).T
    mean = H[:m, m] / H[m, m] if problem.fit_intercept else np.zeros(m)
    return H[:m, :m] - np.outer(mean, mean), mean


def basis(problem: Problem) -> Basis:
    """That of the data; found once, for any strength of the penalty."""
    if _key(problem) not in problem.cache:
        problem.cache[_key(problem)] = _found(problem)
    return problem.cache[_key(problem)]  # type: ignore[no-any-return]


def _key(problem: Problem) -> str:
    return f"basis {problem.dtype}"


def _found(problem: Problem) -> Basis:
    """Eigenvectors of a pair (G, G + D), which are the same for any multiple of the penalty D: here one of G's size."""
    diagonal, jitter = np.arange(problem.m), RAISED[problem.dtype.itemsize]
    H = mean_gram(problem).astype(np.float64)
    floored(problem, H[None], np.ones(1))
    empty = ~(H[diagonal, diagonal] > np.finfo(np.float32).tiny)  # columns of zeros: any number will do
    H[diagonal[empty], diagonal[empty]] = 1
    squares = H[diagonal, diagonal]
    G, mean = _covariance(H, problem)
    G[diagonal, diagonal] = np.maximum(G[diagonal, diagonal], 0) + jitter * squares
    D = np.minimum(problem.unit, 1e150) ** 2
    both = G.copy()
    both[diagonal, diagonal] += D * (np.median(squares) / np.median(D))
    size = 1 / np.sqrt(both[diagonal, diagonal])
    for _ in range(20):
        try:
            share, V = eigh(size[:, None] * G * size, size[:, None] * both * size, driver="gvd", check_finite=False)
            break
        except LinAlgError:
            jitter *= 10
            both[diagonal, diagonal] *= 1 + jitter
    else:
        raise np.linalg.LinAlgError("the Gram matrix is not positive: X has values that are not finite")
    V *= size[:, None]
    vectors, center = (np.ascontiguousarray(part, problem.dtype) for part in (V, mean))
    return Basis(vectors, uniform(problem) * np.clip(share, jitter, None), D @ np.square(V), center)


def curvature(problem: Problem, of: Basis, theta: Array) -> tuple[Basis, Curvature]:
    """At the probabilities of theta, by some of the rows; of features less the mean of all, in the basis."""
    part = part_of(problem, _rows(problem))
    sums = part.sample.turned(part.probabilities(theta)[:, -problem.r :], of.mean, of.vectors)
    share, first, second = (total / part.total for total in sums)
    usual = trace(problem, problem.dtype)
    share, mean = np.maximum(share, usual), np.zeros_like(first)
    if problem.fit_intercept:
        mean = first / share[:, None]
        second = second - share[:, None] * np.square(mean)
    least = np.outer(np.maximum(UNSEEN * share, usual) / uniform(problem), of.curvature)
    return of, Curvature(share, mean.astype(problem.dtype), np.maximum(second, least))


class Spectral:
    """The inverse of that diagonal, for the penalty of the problem."""

    def __init__(self, problem: Problem, of: Basis, found: Curvature) -> None:
        self.problem, self.basis, self.gauge = problem, of, problem.gauge and not problem.l1
        self.share, self.mean, self.dtype = found.share, found.mean, of.vectors.dtype
        self.inverse = (1 / (found.square + problem.l2 * of.penalty)).astype(self.dtype)
        self.empty = np.flatnonzero(~(problem.columns.square > 0))  # columns of zeros: the penalty alone
        self.alone = 1 / np.where(problem.penalty2 > 0, problem.penalty2, 1)[self.empty]

    def __call__(self, vector: Array) -> Array:
        problem, (U, _, _, mean), dtype = self.problem, self.basis, self.dtype
        result, size = np.empty_like(vector), max(float(np.abs(vector).max()), 1e-300)
        (coef, intercept), (to, shift) = problem.split(vector), problem.split(result)
        x, z = np.divide(coef, size).astype(dtype), np.empty((problem.r, problem.m), dtype)
        free, moves, alone = intercept / size, np.empty(problem.r), coef[:, self.empty] * self.alone
        x[:, self.empty] = 0
        if self.gauge:
            x -= x.mean(0)
            free = free - free.mean() if len(free) else free

        def turn(at: slice) -> None:
            part = x[at]
            if len(free):
                part -= np.outer(free[at], mean).astype(dtype)
            turned = part @ U
            if len(free):
                turned -= free[at, None].astype(dtype) * self.mean[at]
            turned *= self.inverse[at]
            if len(free):
                moves[at] = free[at] / self.share[at] - np.einsum("ij,ij->i", turned, self.mean[at])
            np.matmul(turned, U.T, out=z[at])

        in_parts(turn, problem.r, 4.0 * problem.r * problem.m**2)
        z[:, self.empty] = alone / size
        if len(free):
            moves -= z @ mean
        if self.gauge:
            z -= z.mean(0)
            moves -= moves.mean()
        np.multiply(z, size, out=to, dtype=np.float64)
        if len(free):
            np.multiply(moves, size, out=shift)
        return result
