"""How workers share out items, and wait for each other's."""

import sys
from typing import Any

from numba import types

from fastsoftmax.engine.simd.emit import I32, I64, call, operation, pointer

PATIENCE = 4096  # looks, some 100 us, after which another thread may have the core


def _python_take(counter: Any) -> int:
    counter[0] += 1
    return int(counter[0]) - 1


@operation(_python_take)
def take(typingctx, counter):  # type: ignore[no-untyped-def]
    """counter[0]++ at once: workers share out items as they come to them, for cores are never equally fast."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        return b.atomic_rmw("add", pointer(ctx, b, counter, args[0], I64(0)), I64(1), "monotonic")

    return types.int64(counter), codegen


def _python_signal(counts: Any, i: int) -> None:
    counts[i] += 1


@operation(_python_signal)
def signal(typingctx, counts, i):  # type: ignore[no-untyped-def]
    """counts[i]++, for others to see after all that was written before."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        b.atomic_rmw("add", pointer(ctx, b, counts, *args), I64(1), "acq_rel")
        return ctx.get_dummy_value()

    return types.void(counts, types.int64), codegen


def _python_await_count(counts: Any, i: int, count: int) -> None:
    assert counts[i] >= count, "one worker alone takes items in an order in which none waits"


@operation(_python_await_count)
def await_count(typingctx, counts, i, count):  # type: ignore[no-untyped-def]
    """Wait until counts[i] >= count, and see what was written before it was."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        place = pointer(ctx, b, counts, *args[:2])
        before = b.block
        look, rest, leave = (b.append_basic_block(name) for name in ("look", "rest", "leave"))
        b.branch(look)
        b.position_at_end(look)
        looks = b.phi(I64)
        looks.add_incoming(I64(0), before)
        there = b.load_atomic(place, "acquire", 8)
        b.cbranch(b.icmp_signed(">=", there, args[2]), leave, rest)
        b.position_at_end(rest)
        if sys.platform in ("linux", "darwin"):
            with b.if_then(b.icmp_signed(">", looks, I64(PATIENCE)), likely=False):
                call(b, "sched_yield", I32)
        looks.add_incoming(b.add(looks, I64(1)), b.block)
        b.branch(look)
        b.position_at_end(leave)
        return ctx.get_dummy_value()

    return types.void(counts, types.int64, types.int64), codegen
