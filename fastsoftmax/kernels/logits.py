"""How a block of logits lies, and what is done to it: lanes over rows of few classes, over classes where many are."""

from typing import Any, NamedTuple

from fastsoftmax.engine.jit import by_layout
from fastsoftmax.engine.simd import LANE_BYTES, borrow, fma, last_lanes, load, store, total, where_less
from fastsoftmax.kernels.softmax import (
    GROUP,
    INFINITY,
    block_affine,
    block_exp,
    block_maximum,
    each_affine,
    each_exp,
    each_maximum,
    gather_block,
    scatter_block,
    softmax_block,
    softmax_rows,
)

TINY = (2.0**-126, 2.0**-1022)  # the least normal numbers of float32 and float64


class ByClass(NamedTuple):
    """Class k of row i lies at k * B + i, short of its bias."""

    B: int


class ByRow(NamedTuple):
    """Class k of row i lies at i * ld + k, bias and all; rows up to a multiple of 24 may be computed along."""

    ld: int


# ---- lanes over rows


def class_steps(lies: Any) -> tuple[int, int]:
    return 1, lies.B


def class_maximum(lies: Any, Z: Any, rows: int, c: int, bias: Any, M: Any) -> None:
    block_maximum(Z, lies.B, rows, c, bias, M)


def class_exp(lies: Any, Z: Any, rows: int, c: int, M: Any, S: Any, keep: bool, low: float) -> None:
    block_exp(Z, lies.B, rows, c, M, S, keep, low)


def class_affine(lies: Any, Z: Any, rows: int, c: int, scale: Any, base: Any) -> None:
    block_affine(Z, lies.B, rows, c, scale, base)


def class_proba(lies: Any, Z: Any, rows: int, c: int, bias: Any, stats: Any, proba: Any, p: int) -> None:
    softmax_block(Z, lies.B, rows, c, bias, stats)
    scatter_block(Z, lies.B, rows, c, proba, p, c, 1)


def class_gather(lies: Any, source: Any, o: int, rows: int, c: int, Z: Any) -> None:
    gather_block(source, o, c, 1, rows, c, Z, lies.B)


def class_scatter(lies: Any, Z: Any, rows: int, c: int, out: Any, o: int) -> None:
    scatter_block(Z, lies.B, rows, c, out, o, c, 1)


def class_argmax(lies: Any, Z: Any, rows: int, c: int, bias: Any, stats: Any, index: Any, out: Any) -> None:
    B = lies.B
    for i in range(rows):
        best, at = Z[i] + bias[0], 0
        for k in range(1, c):
            z = Z[k * B + i] + bias[k]
            if z > best:
                best, at = z, k
        out[index[i]] = at


def class_curvature(
    lies: Any, Z: Any, rows: int, c: int, bias: Any, proba: Any, p: int, weight: Any, index: Any
) -> None:
    tiny, B = TINY[0] if Z.itemsize == 4 else TINY[1], lies.B
    for i in range(rows):
        w, mean, at = weight[index[i]] if len(weight) else 1.0, 0.0, p + i * c
        for k in range(c):
            mean += proba[at + k] * (Z[k * B + i] + bias[k])
        for k in range(c):
            q = proba[at + k]
            Z[k * B + i] = 0 if q < tiny else w * q * (Z[k * B + i] + bias[k] - mean)


def class_sums(lies: Any, Z: Any, rows: int, c: int, sums: Any) -> None:
    """Lane by lane, then over the lanes."""
    lanes, B = LANE_BYTES // Z.itemsize, lies.B
    for k in range(c):
        for i in range(rows, -(-rows // lanes) * lanes):
            Z[k * B + i] = 0
        s = load(Z, k * B)
        for i in range(lanes, rows, lanes):
            s = s + load(Z, k * B + i)
        sums[k] += total(s)


# ---- lanes over classes


def row_steps(lies: Any) -> tuple[int, int]:
    return lies.ld, 1


def row_maximum(lies: Any, Z: Any, rows: int, c: int, bias: Any, M: Any) -> None:
    each_maximum(Z, 0, lies.ld, rows, c, M, GROUP)


def row_exp(lies: Any, Z: Any, rows: int, c: int, M: Any, S: Any, keep: bool, low: float) -> None:
    each_exp(Z, 0, lies.ld, rows, c, M, S, Z, 0, lies.ld, keep, low, 0, GROUP)


def row_affine(lies: Any, Z: Any, rows: int, c: int, scale: Any, base: Any) -> None:
    each_affine(Z, lies.ld, rows, c, scale, base, GROUP)


def row_gather(lies: Any, source: Any, o: int, rows: int, c: int, Z: Any) -> None:
    for r in range(rows):
        to, row = borrow(Z, r * lies.ld, c), borrow(source, o + r * c, c)
        for k in range(c):
            to[k] = row[k]


def row_scatter(lies: Any, Z: Any, rows: int, c: int, out: Any, o: int) -> None:
    for r in range(rows):
        to, row = borrow(out, o + r * c, c), borrow(Z, r * lies.ld, c)
        for k in range(c):
            to[k] = row[k]


def row_proba(lies: Any, Z: Any, rows: int, c: int, bias: Any, stats: Any, proba: Any, p: int) -> None:
    softmax_rows(Z, 0, lies.ld, rows, c, proba, p, c, stats, 0, GROUP)


def row_argmax(lies: Any, Z: Any, rows: int, c: int, bias: Any, stats: Any, index: Any, out: Any) -> None:
    """The first largest of each lane, of these, and of what fills no vector."""
    lanes = LANE_BYTES // Z.itemsize
    whole = c - c % lanes
    for i in range(rows):
        o = i * lies.ld
        at = last_lanes(load(Z, o), 0)
        best = at - INFINITY
        for k in range(0, whole, lanes):
            z = load(Z, o + k)
            at, best = where_less(best, z, float(k), at), where_less(best, z, z, best)
        store(stats, 0, best)
        store(stats, lanes, at)
        top, first = stats[0], int(stats[lanes])
        for lane in range(1, lanes):
            z, k = stats[lane], int(stats[lanes + lane]) + lane
            if z > top or (z == top and k < first):
                top, first = z, k
        for k in range(whole, c):
            if Z[o + k] > top:
                top, first = Z[o + k], k
        out[index[i]] = first if Z[o] == Z[o] else 0


def row_curvature(lies: Any, Z: Any, rows: int, c: int, bias: Any, proba: Any, p: int, weight: Any, index: Any) -> None:
    tiny, lanes = TINY[0] if Z.itemsize == 4 else TINY[1], LANE_BYTES // Z.itemsize
    for i in range(rows):
        w, o, q = Z.dtype.type(weight[index[i]] if len(weight) else 1.0), i * lies.ld, p + i * c
        z, proba_ = load(Z, o + c - lanes), load(proba, q + c - lanes)
        s = last_lanes(z * proba_, c % lanes)
        for k in range(0, c - lanes + 1, lanes):
            s = fma(load(Z, o + k), load(proba, q + k), s)
        mean = total(s)
        last = where_less(proba_, tiny, 0.0, proba_ * w * (z - mean))
        for k in range(0, c - lanes + 1, lanes):
            proba_ = load(proba, q + k)
            store(Z, o + k, where_less(proba_, tiny, 0.0, proba_ * w * (load(Z, o + k) - mean)))
        store(Z, o + c - lanes, last)


def row_sums(lies: Any, Z: Any, rows: int, c: int, sums: Any) -> None:
    """Every fourth row together, then the four."""
    lanes, ld = LANE_BYTES // Z.itemsize, lies.ld
    for k in range(0, c, lanes):
        none = last_lanes(load(Z, k), 0)
        s0, s1, s2, s3 = none, none, none, none
        for r in range(0, rows // 4 * 4, 4):
            s0, s1 = s0 + load(Z, r * ld + k), s1 + load(Z, (r + 1) * ld + k)
            s2, s3 = s2 + load(Z, (r + 2) * ld + k), s3 + load(Z, (r + 3) * ld + k)
        for r in range(rows // 4 * 4, rows):
            s0 = s0 + load(Z, r * ld + k)
        store(sums, k, load(sums, k) + ((s0 + s1) + (s2 + s3)))


# ---- either


steps = by_layout({ByClass: class_steps, ByRow: row_steps})  # from row to row, and from class to class
maximum = by_layout({ByClass: class_maximum, ByRow: row_maximum})  # M[i] = the maximum of row i; the bias is added
exponentials = by_layout(
    {ByClass: class_exp, ByRow: row_exp}
)  # S[i] = sum of `exp_from`, M the maximum; Z too if `keep`
gather = by_layout({ByClass: class_gather, ByRow: row_gather})  # of rows that lie by themselves, in source[o:]
scatter = by_layout({ByClass: class_scatter, ByRow: row_scatter})  # and back
affine = by_layout({ByClass: class_affine, ByRow: row_affine})  # Z = Z * scale - base, a scale and a base to each row
probabilities = by_layout({ByClass: class_proba, ByRow: row_proba})  # by rows in proba[p:]
argmax = by_layout({ByClass: class_argmax, ByRow: row_argmax})  # out[index[i]] = the first class of the largest logit
# The Hessian of the cross-entropy in the logits, diag(p) - p p', times a direction: a residual like any other. Logits
# of a direction -> weight * (diag(p) - p p') times them; proba[p:] by rows. 0 where p is subnormal, as in residuals.
curvature = by_layout({ByClass: class_curvature, ByRow: row_curvature})
add_sums = by_layout({ByClass: class_sums, ByRow: row_sums})  # sums[k] += the sum over the rows of class k
