"""Seeded segmentation: from a photograph and what a user drew on it to a mask, without training.

A hint is (H, W) of −1 (background), 0 and 1 (object), see `seglib.data.strokes`.
"""

from __future__ import annotations

import warnings

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.segmentation import random_walker


def hint_itself(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Doing nothing: the hint's foreground, bool (H, W)."""
    return hint > 0


def nearest_stroke(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Each pixel goes to the side of the stroke that is nearest, the object's where both are as near: bool (H, W).

    Where only one side has strokes, everything is on it; with none at all, everything is background.
    """
    to_object, to_background = (
        ndimage.distance_transform_edt(hint != side) if (hint == side).any() else np.full(hint.shape, np.inf)
        for side in (1, -1)
    )
    return (to_object <= to_background) & np.isfinite(to_object)


def grabcut(image: np.ndarray, hint: np.ndarray, reach: float | None = 0.05) -> np.ndarray:
    """GrabCut (Rother et al. 2004): colour models of both sides and a minimal cut, in turns, five times.

    The hint's foreground belongs to the object for certain, and so does its −1 to the background; what is farther from
    the foreground than `reach` times the image's diagonal is background too. The rest is to be found out, and starts as
    foreground in the nearer half of that distance.

    Args:
        image: RGB uint8 (H, W, 3).
        hint: (H, W) of −1, 0 and 1.
        reach: None: only the hint itself is certain, and the rest starts with the nearest stroke.

    Returns:
        bool (H, W); without both sides to learn from, the hint itself.
    """
    if reach is None:
        likely = nearest_stroke(image, hint)
    else:
        likely = ndimage.distance_transform_edt(hint <= 0) <= reach / 2 * np.hypot(*hint.shape)
    labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_certain_background(hint, reach)] = cv2.GC_BGD
    labels[hint > 0] = cv2.GC_FGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return hint_itself(image, hint)
    cv2.setRNGSeed(0)  # its colour models start from random clusters
    labels, _, _ = cv2.grabCut(image, labels, None, None, None, 5, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _certain_background(hint: np.ndarray, reach: float | None) -> np.ndarray:
    """Where a hint says background, and what is farther from its foreground than `reach` times the diagonal."""
    if reach is None:
        return hint < 0
    return (hint < 0) | (ndimage.distance_transform_edt(hint <= 0) > reach * np.hypot(*hint.shape))


def random_walk(image: np.ndarray, hint: np.ndarray, reach: float | None = 0.05) -> np.ndarray:
    """The random walker (Grady 2006): each pixel goes to the side that a walk which shuns edges reaches first.

    Marked are what `grabcut` takes for certain. Images are halved until their longest side is at most 320 pixels, for
    a linear system with an unknown a pixel is to be solved; the result is brought back by nearest neighbour.

    Args and returns as for `grabcut`; a picture of one colour has no edges, and gives the hint as well.
    """
    step = 2 ** max(0, int(np.ceil(np.log2(max(hint.shape) / 320))))
    # A stroke that is thinner than a pixel of the smaller picture is still there.
    background, foreground = (
        block_reduce(where, step, np.max) for where in (_certain_background(hint, reach), hint > 0)
    )
    markers = np.where(background, 2, foreground.astype(int))
    if not (markers == 1).any() or not (markers == 2).any() or image.std() == 0:
        return hint_itself(image, hint)
    shrunk = cv2.resize(image, markers.shape[::-1], interpolation=cv2.INTER_AREA)
    # Islands of unknown pixels between marked ones are pruned by the function itself, with a warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        walked = random_walker(shrunk, markers, beta=90, mode="cg_j", channel_axis=-1) == 1
    return cv2.resize(walked.astype(np.uint8), hint.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


# From a photograph and a hint to a mask, without training.
FROM_HINT = {"hint": hint_itself, "grabcut": grabcut, "random-walker": random_walk}
