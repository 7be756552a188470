"""A trainer in words, and in a notebook: its settings, and how its loss fell."""

import html
import inspect
from typing import Any

import numpy as np

LONG = 60  # characters of a value
WIDTH, HEIGHT, ROOM = 280, 80, 6  # of the curve, in pixels


def changed(owner: Any) -> dict[str, str]:
    """The arguments that differ from their defaults, or have none, as they would be written."""
    found = {}
    for name, parameter in inspect.signature(type(owner).__init__).parameters.items():
        value = getattr(owner, name, None)
        if name == "self" or (type(value) is type(parameter.default) and _same(value, parameter.default)):
            continue
        text = getattr(value, "__qualname__", None) if callable(value) else None
        text = repr(value) if text is None else text
        found[name] = text if len(text) <= LONG else f"{text[: LONG - 3]}..."
    return found


def text_of(owner: Any) -> str:
    """As a call that makes it."""
    return f"{type(owner).__name__}({', '.join(f'{name}={value}' for name, value in changed(owner).items())})"


def html_of(owner: Any, history: list[dict[str, Any]], stopped: str) -> str:
    """A table of its settings, and below it the curve of its losses."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in changed(owner).items()
    )
    settings = f"<table>{rows}</table>" if rows else "<p>All settings are the defaults.</p>"
    return f"<div><b>{html.escape(type(owner).__name__)}</b>{settings}{_progress(history, stopped)}</div>"


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def _progress(history: list[dict[str, Any]], stopped: str) -> str:
    if not history:
        return "<p>Nothing is trained yet.</p>"
    last = history[-1]
    words = [f"{len(history)} epochs", f"loss {last['loss']:.4g}"]
    for name in ("validation_loss", "validation_accuracy"):
        if name in last:
            words.append(f"{name.replace('_', ' ')} {last[name]:.4g}")
    if stopped:
        words.append(f"stopped: {stopped.replace('_', ' ')}")
    curves = [[record["loss"] for record in history]]
    if "validation_loss" in last:
        curves.append([record["validation_loss"] for record in history])
    return f"<p>{html.escape(', '.join(words))}</p>{_svg(curves) if len(history) > 1 else ''}"


def _svg(curves: list[list[float]]) -> str:
    """The losses, and dashed those of the validation rows."""
    values = [value for curve in curves for value in curve if np.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    lines = ""
    for curve, dashes in zip(curves, ("", " stroke-dasharray='4 3'"), strict=False):
        points = " ".join(
            f"{ROOM + k * (WIDTH - 2 * ROOM) / (len(curve) - 1):.1f},"
            f"{ROOM + (high - value) * (HEIGHT - 2 * ROOM) / ((high - low) or 1):.1f}"
            for k, value in enumerate(curve)
            if np.isfinite(value)
        )
        lines += f"<polyline points='{points}' fill='none' stroke='currentColor'{dashes}/>"
    label = (
        "the loss over the epochs, dashed that of the validation rows"
        if len(curves) > 1
        else "the loss over the epochs"
    )
    return f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='{label}'>{lines}</svg>"
