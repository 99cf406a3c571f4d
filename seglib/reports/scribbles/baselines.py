"""From a photograph and strokes on both sides to a mask, without training."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...data.seeded import grabcut, nearest_stroke, random_walk


def nothing(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """No object anywhere: bool (H, W)."""
    return np.zeros(hint.shape, bool)


FROM_STROKES = {
    "background": nothing,
    "nearest": nearest_stroke,
    "grabcut": partial(grabcut, reach=None),
    "random-walker": partial(random_walk, reach=None),
}
