"""Surfaces for drawn pictures: crops of the photographs that come inside installed packages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import skimage.data
from PIL import Image

SURFACES = ("brick", "grass", "gravel", "immunohistochemistry", "hubble_deep_field", "retina", "minduka")


@cache
def photograph(name: str) -> np.ndarray:
    """One of `SURFACES`, or another of scikit-image's photographs by its name: RGB float32 (H, W, 3) in [0, 1]."""
    if name == "minduka":
        path = Path(matplotlib.get_data_path()) / "sample_data" / "Minduka_Present_Blue_Pack.png"
        picture = np.asarray(Image.open(path).convert("RGB"))
    else:
        picture = getattr(skimage.data, name)()
    picture = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture
    return picture.astype(np.float32) / 255


def texture(rng: np.random.Generator, height: int, width: int, names: Sequence[str]) -> np.ndarray:
    """A square crop of one of the named photographs, stretched, mirrored and tinted at random: (H, W, 3) in [0, 1]."""
    photo = photograph(names[rng.integers(len(names))])
    side = int(rng.uniform(0.3, 1.0) * min(photo.shape[:2]))
    top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
    crop = cv2.resize(photo[top : top + side, left : left + side], (width, height), interpolation=cv2.INTER_AREA)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    tint = rng.uniform(0.7, 1.25) * rng.uniform(0.9, 1.1, 3)
    return np.clip(crop * tint.astype(np.float32), 0, 1)
