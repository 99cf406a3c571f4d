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


def as_photographed(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What camera and file do to a scene: shadow, colour of the light, exposure, blur, grain, JPEG; uint8 RGB."""
    height, width = canvas.shape[:2]
    if rng.random() < 0.25:  # the shadow of something outside the frame
        angle, yy, xx = rng.uniform(0, 2 * np.pi), *np.mgrid[:height, :width] / 256 - 0.5
        distance = xx * np.cos(angle) + yy * np.sin(angle) - rng.uniform(-0.3, 0.3)
        canvas = canvas * (1 - rng.uniform(0.2, 0.55) / (1 + np.exp(-distance * rng.uniform(8, 40))))[..., None]
    warmth = rng.normal(0, 0.06)
    canvas = canvas * (1 + warmth, 1.0, 1 - warmth) * rng.uniform(0.8, 1.35)
    canvas = np.clip(canvas, 0, 1) ** rng.uniform(0.75, 1.25)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.choice([0.6, 1.0, 2.0, 3.2], p=[0.45, 0.35, 0.13, 0.07]))
    canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.0, 0.035))
    picture = np.clip(np.round(canvas * 255), 0, 255).astype(np.uint8)
    quality = int(rng.integers(35, 95))
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
