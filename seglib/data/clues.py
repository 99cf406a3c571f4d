"""What a hint says about pixels that it does not touch: clues for a network, made of this one picture alone."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra


def colour_likelihood(image: np.ndarray, hint: np.ndarray, bins: int = 16, smooth: float = 1.0) -> np.ndarray:
    """How likely each pixel's colour is the object's and not the background's, as the hint shows them.

    By Bayes' rule with even odds, from the two histograms of Lab colours, smoothed: f / (f + b). The background is
    what the hint calls so, or where it calls nothing so, all that it does not call the object.

    Args:
        image: uint8 (H, W, 3).
        hint: (H, W) of −1, 0 and 1.
        bins: of each of the three axes of colour.
        smooth: σ of the Gaussian that smooths the histograms, in bins.

    Returns:
        float32 (H, W) from 0 to 1; ½ for a colour that neither has.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.int32) * bins // 256
    inside, outside = hint > 0, hint < 0
    return likelihood(lab, inside, outside if outside.any() else ~inside, bins, smooth)


def likelihood(
    colours: np.ndarray, inside: np.ndarray, outside: np.ndarray, bins: int = 16, smooth: float = 1.0
) -> np.ndarray:
    """As `colour_likelihood`, of colours that are binned already.

    Args:
        colours: int (H, W, 3), each from 0 to `bins` − 1.
        inside, outside: what shows the object's colours and the background's, bool (H, W).
    """
    code = (colours[..., 0] * bins + colours[..., 1]) * bins + colours[..., 2]
    found = []
    for part in (inside, outside):
        histogram = np.bincount(code[part], minlength=bins**3).reshape(bins, bins, bins) / max(1, part.sum())
        found.append(gaussian_filter(histogram, smooth).ravel())
    unknown = 1e-6
    return ((found[0] + unknown) / (sum(found) + 2 * unknown)).astype(np.float32)[code]


def geodesic_distance(image: np.ndarray, seeds: np.ndarray, sensitivity: float = 400.0) -> np.ndarray:
    """How far each pixel is from the nearest seed along the path on which the picture changes least.

    A step from a pixel to one of its eight neighbours is as long as √(d² + (s · c)²): d is 1 or √2, c the distance of
    the two colours in Lab (from 0 to 1, black to white) and s the `sensitivity`, in pixels (Criminisi et al. 2008).

    Args:
        image: uint8 RGB (H, W, 3).
        seeds: (H, W), bool.

    Returns:
        float32 (H, W), in pixels; infinite everywhere where there is no seed.
    """
    height, width = seeds.shape
    if not seeds.any():
        return np.full(seeds.shape, np.inf, np.float32)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3) / 100
    first, second, apart = _neighbours(height, width)
    change = lab[first] - lab[second]
    steps = np.sqrt(apart + sensitivity**2 * (change * change).sum(1))
    graph = csr_array((steps, (first, second)), shape=(height * width, height * width))
    found = dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True)
    return found.reshape(height, width).astype(np.float32)


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of neighbouring pixels, each once, as two lists of indices, and their squared distance."""
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)  # SciPy 1.14 takes no other
    pairs = [
        (index[:, :-1], index[:, 1:], 1.0),
        (index[:-1], index[1:], 1.0),
        (index[:-1, :-1], index[1:, 1:], 2.0),
        (index[:-1, 1:], index[1:, :-1], 2.0),
    ]
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    return first, second, np.concatenate([np.full(pair[0].size, pair[2]) for pair in pairs])
