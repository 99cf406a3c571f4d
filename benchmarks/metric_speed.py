"""Metrics of one mask of 480×640 pixels beside MONAI's, SciPy's, and the official boundary IoU."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from seglib.metrics import boundary_iou, hausdorff

from .timing import in_turns, ratios

SHAPE, PAIRS, ROUNDS = (480, 640), 8, 11


def masks(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a rounded object that fills about a third of the picture, and a network's idea of it, with another
    outline."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        hills = ndimage.gaussian_filter(rng.normal(size=SHAPE), 40)
        other = hills + 0.3 * hills.std() * ndimage.gaussian_filter(rng.normal(size=SHAPE), 10) * 35
        level = np.quantile(hills, 2 / 3)
        pairs.append((other > level, hills > level))
    return pairs


def official_boundary_iou(prediction: np.ndarray, target: np.ndarray, ratio: float = 0.02) -> float:
    """Cheng et al.'s, step by step as their paper and program have it: pad by a pixel, erode d times, subtract."""

    def boundary(mask: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        dilation = max(1, round(ratio * np.sqrt(height**2 + width**2)))
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
        return mask - eroded[1 : height + 1, 1 : width + 1]

    a, b = boundary(target.astype(np.uint8)), boundary(prediction.astype(np.uint8))
    return ((a * b) > 0).sum() / ((a + b) > 0).sum()


def scipy_boundary_iou(prediction: np.ndarray, target: np.ndarray, ratio: float = 0.02) -> float:
    """The same by SciPy's distance to the nearest pixel outside, in steps of a king."""
    dilation = max(1, round(ratio * float(np.hypot(*target.shape))))
    a, b = (
        mask & (ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1] <= dilation)
        for mask in (target, prediction)
    )
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def scipy_hausdorff(prediction: np.ndarray, target: np.ndarray, percentile: float = 100) -> float:
    """The larger of two directed percentiles, by SciPy's distance transform."""
    a, b = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, target))
    directed = (
        ndimage.distance_transform_edt(~goal)[start] if start.any() else np.zeros(1) for start, goal in ((a, b), (b, a))
    )
    return max(float(np.percentile(distances, percentile)) for distances in directed)


def monai_hausdorff(prediction: np.ndarray, target: np.ndarray, percentile: float | None = None) -> float:
    tensors = (torch.from_numpy(mask)[None, None] for mask in (prediction, target))
    return float(compute_hausdorff_distance(*tensors, include_background=True, percentile=percentile))


CASES: dict[str, dict[str, Callable]] = {
    "Hausdorff distance": {
        "seglib": hausdorff,
        "MONAI": monai_hausdorff,
        "SciPy's distance transform": scipy_hausdorff,
    },
    "HD95": {
        "seglib": lambda p, t: hausdorff(p, t, percentile=95),
        "MONAI": lambda p, t: monai_hausdorff(p, t, 95),
        "SciPy's distance transform": lambda p, t: scipy_hausdorff(p, t, 95),
    },
    "boundary IoU": {
        "seglib": boundary_iou,
        "official code": official_boundary_iou,
        "SciPy's distances": scipy_boundary_iou,
    },
}


def measure() -> dict:
    pairs, found = masks(PAIRS), {}
    for name, ways in CASES.items():
        values = {way: [function(*pair) for pair in pairs] for way, function in ways.items()}
        for way, theirs in values.items():
            np.testing.assert_allclose(theirs, values["seglib"], rtol=1e-5, err_msg=f"{name} by {way}")
        calls = {way: (lambda f=function: [f(*pair) for pair in pairs]) for way, function in ways.items()}
        seconds = {way: [s / PAIRS for s in all_] for way, all_ in in_turns(calls, ROUNDS).items()}
        found[name] = {
            "milliseconds": {way: round(1000 * float(np.median(s)), 3) for way, s in seconds.items()},
            "ratios": {way: ratios(s, seconds["seglib"]) for way, s in seconds.items() if way != "seglib"},
        }
        print(f"{name}: {found[name]}")
    boundary = [int((mask & ~ndimage.binary_erosion(mask)).sum()) for pair in pairs for mask in pair]
    return {"shape": SHAPE, "boundary_pixels": boundary, "metrics": found}
