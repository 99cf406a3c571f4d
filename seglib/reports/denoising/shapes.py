"""Binary masks of random shapes and their noisy pictures: the data of the denoising report.

Everything is drawn from one seeded NumPy generator, and the picture is made in 8-bit steps as a camera would make it,
so the same seed gives the same bytes on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from ...data.datasets import SegmentationDataset
from ...data.images import read_labels, read_mask

Range = tuple[float, float]


@dataclass(frozen=True)
class Noise:
    """How a mask becomes a noisy picture. Every (low, high) is a range that each picture draws from uniformly.

    Intensities are on the scale where black is 0 and white is 1. The defaults make the task as hard as the report's:
    thresholding alone fails, the best classical filter reaches an IoU of about 0.85, a U-Net just above 0.9.

    Attributes:
        base: intensity of the background.
        contrast: how much brighter the shapes are than the background.
        blur_probability: share of the pictures that are blurred, 0 to 1.
        blur_sigma: standard deviation of the Gaussian blur, in pixels.
        gaussian_sigma: standard deviation of the additive Gaussian noise, in intensity.
        salt_pepper: share of the pixels that are replaced by black or white, 0 to 1.
    """

    base: Range = (0.1, 0.4)
    contrast: Range = (0.25, 0.6)
    blur_probability: float = 0.5
    blur_sigma: Range = (0.5, 1.5)
    gaussian_sigma: Range = (0.1, 0.35)
    salt_pepper: Range = (0.0, 0.08)

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "blur_probability":
                valid, wanted = 0 <= value <= 1, "a probability between 0 and 1"
            else:
                limit = np.inf if field.name == "blur_sigma" else 1
                valid, wanted = 0 <= value[0] <= value[1] <= limit, f"a range (low, high) within 0 and {limit}"
            if not valid:
                raise ValueError(f"noise.{field.name}: expected {wanted}, got {value}")

    def scaled(self, strength: float) -> Noise:
        """The same noise at a `strength` from 0 (none) to 1 (as it is); intensities and contrast stay."""

        def scale(bounds: Range) -> Range:
            return (bounds[0] * strength, bounds[1] * strength)

        return replace(
            self,
            blur_probability=self.blur_probability * strength,
            gaussian_sigma=scale(self.gaussian_sigma),
            salt_pepper=scale(self.salt_pepper),
        )


def draw_masks(count: int, size: int, rng: np.random.Generator, shapes: Range = (2, 4)) -> np.ndarray:
    """Draws masks of 2 to 4 circles, rectangles and simple polygons, all masks of a batch at once.

    A shape is the set of pixels (x, y) that fulfil its inequality. A polygon's vertices are taken in the order of
    their angle around its centre, no two neighbours more than half a turn apart, so that it never crosses itself.

    Args:
        count: number of masks, at least 1.
        size: height and width, in pixels, at least 8.
        rng: where all randomness comes from.
        shapes: fewest and most shapes in a mask, both included.

    Returns:
        uint8 array (count, size, size) of 0 and 1.
    """
    if count < 1 or size < 8:
        raise ValueError(f"expected count >= 1 and size >= 8 pixels, got count {count} and size {size}")
    number = rng.integers(shapes[0], shapes[1] + 1, count)
    masks = np.zeros((count, size, size), np.uint8)
    for layer in range(shapes[1]):
        chosen = np.flatnonzero(number > layer)
        kind = rng.integers(0, 3, len(chosen))
        for k, draw in enumerate((circles, rectangles, polygons)):
            indices = chosen[kind == k]
            masks[indices] |= draw(len(indices), size, rng)
    return masks


def circles(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Filled circles, radius 7 to 17 % of the size, centre 15 to 85 %: bool (count, size, size)."""
    x, y = _pixel_grid(size)
    centre_x, centre_y = _uniform(rng, (0.15, 0.85), (2, count)) * size
    radius = _uniform(rng, (0.07, 0.17), count) * size
    return (x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius**2


def rectangles(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Filled rectangles, sides 11 to 34 % of the size, wholly inside the frame: bool (count, size, size)."""
    x, y = _pixel_grid(size)
    width, height = _uniform(rng, (0.11, 0.34), (2, count)) * size
    left, top = rng.random((2, count))[..., None, None] * (size - np.stack([width, height]))
    return (x >= left) & (x < left + width) & (y >= top) & (y < top + height)


def polygons(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Filled polygons of 3 to 7 vertices, 8 to 20 % of the size from their centre: bool (count, size, size)."""
    x, y = _pixel_grid(size)
    vertices = polygon_vertices(count, size, rng)
    inside = np.zeros((count, size, size), bool)
    for k in range(vertices.shape[1]):
        # A pixel is inside when a ray to its right crosses the outline an odd number of times.
        (ax, ay), (bx, by) = (vertices[:, j, :, None, None].swapaxes(0, 1) for j in (k - 1, k))
        crosses = (ay <= y) != (by <= y)
        inside ^= crosses & ((x - ax) * np.abs(by - ay) < (y - ay) * (bx - ax) * np.sign(by - ay))
    return inside


def polygon_vertices(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Vertices of simple polygons, (count, 7, 2) as x, y in pixels; one with fewer than 7 repeats its last one."""
    corners = rng.integers(3, 8, count)[:, None]
    order = np.minimum(np.arange(7), corners - 1)
    # Each vertex moves by under a quarter of its 1/corners of a turn, so that neighbours stay within 1.5/3 of a turn.
    jitter = np.take_along_axis(rng.random((count, 7)) - 0.5, order, axis=1) / 2
    angle = 2 * np.pi * ((order + jitter) / corners + rng.random((count, 1)))
    distance = np.take_along_axis(0.08 + 0.12 * rng.random((count, 7)), order, axis=1) * size
    centre = (0.15 + 0.7 * rng.random((count, 1, 2))) * size
    vertices = centre + distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.round(vertices * 16) / 16  # sixteenths of a pixel: cosines differ in their last bit between machines


def degrade(masks: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Turns clean masks into noisy 8-bit pictures: faint contrast, then blur, Gaussian noise, salt and pepper.

    Args:
        masks: (N, H, W) of 0 and 1.
        noise: the ranges to draw from; each picture draws its own values.
        rng: where all randomness comes from.

    Returns:
        uint8 array (N, H, W).
    """
    n = len(masks)
    base, contrast, gaussian, salt_pepper = (
        _uniform(rng, bounds, n) for bounds in (noise.base, noise.contrast, noise.gaussian_sigma, noise.salt_pepper)
    )
    blurred = rng.random(n) < noise.blur_probability
    blur_sigma = rng.uniform(*noise.blur_sigma, n)
    pictures = np.clip(np.round(255 * (base + contrast * masks)), 0, 255).astype(np.uint8)
    for i in np.flatnonzero(blurred & (blur_sigma > 0)):
        # On 8-bit input and with this hint OpenCV computes in fixed point: bit-exact on every processor.
        pictures[i] = cv2.GaussianBlur(pictures[i], (0, 0), blur_sigma[i], hint=cv2.ALGO_HINT_ACCURATE)
    grain = rng.standard_normal(masks.shape, dtype=np.float32)
    grain *= 255 * gaussian.astype(np.float32)
    grain += pictures
    pictures = np.clip(np.round(grain), 0, 255).astype(np.uint8)
    lottery = rng.random(masks.shape, dtype=np.float32)
    pictures[lottery < salt_pepper / 2] = 0
    pictures[lottery > 1 - salt_pepper / 2] = 255
    return pictures


def make_pairs(count: int, size: int, seed: int, noise: Noise = Noise()) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures and their clean masks, both uint8 (count, size, size); pictures 0 to 255, masks 0 and 1."""
    rng = np.random.default_rng(seed)
    masks = draw_masks(count, size, rng)
    return degrade(masks, noise, rng), masks


def silhouettes(size: int, folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """Masks of real things, to see what a network that was trained on circles and polygons makes of them.

    Each mask is padded to a square and reduced to `size` × `size` pixels.

    Args:
        size: height and width, in pixels.
        folder: with the real data sets, or None.

    Returns:
        uint8 arrays (N, size, size) of 0 and 1 by name: always `horse` (scikit-image's, in its eight flips and
        turns), and where `folder` has them `scribbles` (the objects of the scribble challenge) and `faces` (the face
        masks of MFSD).
    """
    horse = ~skimage.data.horse()
    found = {"horse": [np.rot90(flipped, turns) for flipped in (horse, horse[:, ::-1]) for turns in range(4)]}
    if folder is not None:
        found["scribbles"] = [
            read_labels(path, as_stored=True) == 1
            for path in sorted(Path(folder).glob("scribbles/train/ground_truth/*.png"))
        ]
        found["faces"] = [
            read_mask(path, as_stored=True)
            for path in sorted(Path(folder).glob("mfsd/MSFD/1/face_crop_segmentation/*.jpg"))
        ]
    return {name: np.stack([_square(mask, size) for mask in masks]) for name, masks in found.items() if masks}


def _square(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask padded to a square with background and resized by nearest neighbour."""
    height, width = mask.shape
    top, left = (max(height, width) - height) // 2, (max(height, width) - width) // 2
    square = np.pad(
        mask.astype(np.uint8),
        ((top, max(height, width) - height - top), (left, max(height, width) - width - left)),
    )
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


class FreshNoise(SegmentationDataset):
    """Pairs whose noise is drawn anew in each of the first `epochs` epochs; after them the pairs are as given.

    Where it is `growing` the noise of epoch e has strength (e + 1) / (epochs + 1), so that it starts weak; else it is
    always whole.
    """

    def __init__(self, images, masks, *, noise: Noise, epochs: int, growing: bool = False, **arguments):
        super().__init__(images, masks, **arguments)
        self.noise, self.epochs, self.growing = noise, epochs, growing

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = super().pair(index)
        epoch = self.epoch
        if epoch < self.epochs:
            rng = np.random.default_rng([self.seed, epoch, index])
            noise = self.noise.scaled((epoch + 1) / (self.epochs + 1)) if self.growing else self.noise
            image = degrade(mask[None], noise, rng)[0]
        return image, mask


def _pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels' centres, in pixels: x (1, 1, size) and y (1, size, 1)."""
    centres = np.arange(size) + 0.5
    return centres[None, None, :], centres[None, :, None]


def _uniform(rng: np.random.Generator, bounds: Range, shape) -> np.ndarray:
    """Uniform numbers of `shape`, with two axes of length 1 behind, to broadcast over pixels."""
    return rng.uniform(*bounds, shape)[..., None, None]
