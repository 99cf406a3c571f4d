"""A network that plays along: after every stroke it sees all strokes and the mask so far, and says the next mask.

It learns that on its own masks (Sofiiuk et al. 2021, arXiv 2102.06583, "RITM"): what it gets wrong in training is
corrected by a simulated user, and the corrected state is what it learns from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.clues import likelihood
from ..base import mean_probability

if TYPE_CHECKING:
    from .report import Brush

CHANNELS = 6  # strokes, the mask so far, red, green, blue, and how likely each colour is the object's
BINS = 16  # of each of red, green and blue
FIRST_MARGIN = 2.0  # around the strokes where there is no mask yet: an object goes on beyond its first stroke


def square(about: np.ndarray, margin: float = 1.0) -> tuple[slice, slice]:
    """The part of a photograph that the pixels `about` lie in: a square, as far as the photograph has room for it.

    Its side is the longer one of the pixels' bounding box and on each side a quarter of that and a twentieth of the
    image's diagonal, times `margin`. At the photograph's edge it is moved inwards, and where the photograph is too
    short for it, it is the whole of that length.

    Args:
        about: (H, W), bool; without any, the whole photograph.
    """
    height, width = about.shape
    rows, columns = np.flatnonzero(about.any(1)), np.flatnonzero(about.any(0))
    if not len(rows):
        return slice(0, height), slice(0, width)
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    # Rounded half up, as JavaScript rounds.
    side = int(longer + 2 * np.floor(margin * (0.25 * longer + 0.05 * np.sqrt(height * height + width * width)) + 0.5))
    return tuple(
        slice(start, start + min(side, length))
        for length, start in (
            (length, min(max(0, int(found[0] + found[-1] + 1 - side) // 2), max(0, length - side)))
            for length, found in zip(about.shape, (rows, columns))
        )
    )


def resampled(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) at another size: enlarged bilinearly; reduced, by a mean with weights that fall linearly to both sides
    (a triangle as wide as two pixels of the result), so that no thin stroke is lost."""
    return F.interpolate(picture[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def seen(
    image: np.ndarray, hint: np.ndarray, mask: np.ndarray | None, side: int, margin: float | None = None
) -> tuple[Tensor, tuple[slice, slice]]:
    """What the network sees: float32 (6, side, side), and which part of the photograph that is.

    The last channel is how likely each pixel's colour is the object's (see `clues.likelihood`), whose colours the
    strokes show, or where there are none, the mask so far: a convolution compares what is near, and this all.

    Args:
        image: uint8 RGB (H, W, 3).
        hint: all strokes so far, int8 (H, W) of −1, 0 and 1.
        mask: the mask so far, probabilities (H, W); None: there is none yet.
        margin: see `square`; by default more around a first stroke.
    """
    if margin is None:
        margin = FIRST_MARGIN if mask is None else 1.0
    about = hint > 0 if mask is None else (hint > 0) | (mask >= 0.5)
    part = square(about, margin)
    before = np.zeros_like(hint, np.float32) if mask is None else mask
    planes = [hint[part].astype(np.float32), before[part], *(image[part].transpose(2, 0, 1) / np.float32(255))]
    view = resampled(torch.from_numpy(np.stack(planes)), (side, side))
    return torch.cat([view, torch.from_numpy(_likelihood(view.numpy()))[None]]), part


def _likelihood(view: np.ndarray) -> np.ndarray:
    """float32 (side, side), of what else the network sees."""
    inside = view[0] > 0.3  # a thin stroke that was reduced
    if not inside.any():
        inside = view[1] >= 0.5
    colours = np.clip((view[2:5] * BINS).astype(np.int32), 0, BINS - 1).transpose(1, 2, 0)
    return likelihood(colours, inside, ~inside, BINS)


def move(
    models: Sequence[nn.Module], image: np.ndarray, hint: np.ndarray, mask: np.ndarray | None, config: Brush
) -> np.ndarray:
    """The next mask, as the mean of what an ensemble of networks says.

    Where there is no mask yet, the networks look twice: at what is around the strokes, and then at what they took for
    the object.

    Args:
        image, hint, mask: as for `seen`.

    Returns:
        Probabilities, float32 (H, W): 1 where the strokes say so and 0 where they deny it; 0 outside the part that the
        networks saw.
    """
    found = look(models, image, hint, mask, config)
    return found if mask is not None else look(models, image, hint, found, config)


def look(
    models: Sequence[nn.Module],
    image: np.ndarray,
    hint: np.ndarray,
    mask: np.ndarray | None,
    config: Brush,
    margin: float | None = None,
) -> np.ndarray:
    """As `move`, but once in any case."""
    batch, part = seen(image, hint, mask, config.longest, margin)
    said = mean_probability(models, batch[None])[0]
    found = np.zeros(hint.shape, np.float32)
    size = (part[0].stop - part[0].start, part[1].stop - part[1].start)
    found[part] = resampled(said, size)[0].numpy()
    found[hint > 0], found[hint < 0] = 1, 0
    return found
