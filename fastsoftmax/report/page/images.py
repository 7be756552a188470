"""Small pictures as data URIs: PNG, by Pillow."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 128  # pixels a side
FOR, AGAINST = (214, 84, 0), (20, 110, 210)  # what speaks for a class, and against it: apart for the colour-blind too


def gray(image: Floats, paper: float, full: float) -> str:
    """Dark ink on white paper.

    Parameters
    ----------
    image : ndarray of shape (h, w)
    paper, full : float
        What pixels without ink hold, and those with most.

    Returns
    -------
    str
        A data URI.
    """
    share = np.clip((image - paper) / (full - paper), 0, 1) if full != paper else np.zeros(image.shape)
    return _uri(np.rint(255 * (1 - share)).astype(np.uint8))


def signed(image: Floats, most: float) -> str:
    """Weights: orange above 0, blue below; nothing, which any background shines through, at 0.

    Parameters
    ----------
    image : ndarray of shape (h, w)
    most : float
        The largest absolute value, whose colour is full.

    Returns
    -------
    str
        A data URI.
    """
    color = np.where(image[..., None] > 0, FOR, AGAINST)
    opacity = np.abs(image)[..., None] / (most or 1.0)
    return _uri(np.concatenate([color, np.rint(255 * np.clip(opacity, 0, 1))], 2).astype(np.uint8))


def _uri(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    picture.thumbnail((MOST, MOST), Image.Resampling.BOX)
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
