"""A user's strokes on a photograph, and the masks that a network makes of them.

What is computed here, brush.js computes in the page: by the same rules, so that the same strokes give the same mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ..prediction import load_model
from ..reports.neural_segmentello.play import move, resampled
from ..rows import load_row

ROW = ("neural_segmentello", "brush")
LONGEST = 1024  # pixels of the longer side of the picture that strokes and masks are worked on at
LEAST_RADIUS = 0.75  # pixels, so that a line passes over centres of pixels however thin it is
KEPT = 32  # masks of earlier strokes, which undoing goes back to at once


Coordinate = Annotated[float, Field(ge=-100_000, le=100_000, allow_inf_nan=False)]


class Stroke(BaseModel):
    """A stroke of the brush, in pixels of the photograph: the centre of its first pixel is at (0.5, 0.5).

    Attributes:
        sign: 1, this is the object; −1, this is background.
        width: of the brush.
        points: x and y of where it went, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sign: Literal[1, -1]
    width: float = Field(gt=0, le=100_000, allow_inf_nan=False)
    points: tuple[tuple[Coordinate, Coordinate], ...] = Field(min_length=1, max_length=20_000)


def rasterise(
    strokes: Sequence[Stroke],
    size: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    onto: np.ndarray | None = None,
) -> np.ndarray:
    """Strokes as a hint: int8 (H, W) of 1, −1 and 0. Of two strokes the later one counts.

    A pixel belongs to a stroke if its centre is at most half of the brush's width from the line through the points.

    Args:
        size: height and width of the hint.
        scale: how many of its pixels one of the photograph is, down and across.
        onto: a hint of strokes before, which stays as it is.
    """
    hint = np.zeros(size, np.int8) if onto is None else onto.copy()
    for stroke in strokes:
        radius = max(LEAST_RADIUS, stroke.width / 2 * max(scale))
        points = np.array(stroke.points, float) * scale[::-1]
        for (x0, y0), (x1, y1) in zip(np.concatenate([points[:1], points[:-1]]), points):
            top, bottom = _range(y0, y1, radius, size[0])
            left, right = _range(x0, x1, radius, size[1])
            py = np.arange(top, bottom)[:, None] + 0.5 - y0
            px = np.arange(left, right)[None] + 0.5 - x0
            dx, dy = x1 - x0, y1 - y0
            length = dx * dx + dy * dy
            along = np.clip((px * dx + py * dy) / length, 0, 1) if length else 0.0
            off_x, off_y = px - along * dx, py - along * dy
            hint[top:bottom, left:right][off_x * off_x + off_y * off_y <= radius * radius] = stroke.sign
    return hint


def _range(a: float, b: float, radius: float, length: int) -> tuple[int, int]:
    """The pixels along an axis that a segment from `a` to `b` may reach."""
    first = min(max(0, int(np.floor(min(a, b) - radius))), length)
    return first, max(first, min(length, int(np.ceil(max(a, b) + radius))))


class Session:
    """A photograph that a user brushes over.

    The masks of strokes depend on nothing but the photograph and the strokes: after each one the network moves once
    (see `play.move`). Those of the strokes before are kept, so that one more stroke costs one move, and undoing none.

    Args:
        image: uint8 RGB (H, W, 3).
        model: a network that plays along, as the row `brush` describes it; default: that row's own.

    Attributes:
        picture: what the network sees parts of, uint8 RGB: the photograph, reduced where it is larger than `LONGEST`.

    Raises:
        ValueError: no such image.
    """

    def __init__(self, image: np.ndarray, model: nn.Module | None = None):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"expected a photograph, uint8 (H, W, 3), got {image.dtype} {image.shape}")
        self.model = load_model(*ROW) if model is None else model
        self.config = load_row(*ROW, "full").data
        self.size = image.shape[:2]
        self.picture = reduced(image)
        self.scale = tuple(ours / theirs for ours, theirs in zip(self.picture.shape, self.size))
        # Of each stroke: itself, and with those before it as a hint and as what was found.
        self._states: list[tuple[Stroke, np.ndarray | None, np.ndarray | None]] = []

    def probability(self, strokes: Sequence[Stroke]) -> np.ndarray:
        """How likely each pixel of `picture` is the object's: float32 (H, W); without strokes, 0."""
        done = 0
        while done < min(len(strokes), len(self._states)) and self._states[done][0] == strokes[done]:
            done += 1
        while done and self._states[done - 1][2] is None:
            done -= 1
        del self._states[done:]
        _, hint, found = self._states[-1] if done else (None, None, None)
        for number in range(done, len(strokes)):
            hint = rasterise([strokes[number]], self.picture.shape[:2], self.scale, hint)
            found = move([self.model], self.picture, hint, found, self.config)
            self._states.append((strokes[number], hint, found))
            if number >= KEPT:
                self._states[number - KEPT] = (strokes[number - KEPT], None, None)
        return np.zeros(self.picture.shape[:2], np.float32) if found is None else found

    def mask(self, strokes: Sequence[Stroke]) -> np.ndarray:
        """The mask at the photograph's own size, bool (H, W): as the strokes say where there are any."""
        hint = rasterise(strokes, self.size)
        found = torch.from_numpy(self.probability(strokes))[None]
        found = found if found.shape[1:] == self.size else resampled(found, self.size)
        return (found[0].numpy() >= 0.5) & (hint >= 0) | (hint > 0)


def reduced(image: np.ndarray, longest: int = LONGEST) -> np.ndarray:
    """A photograph, uint8 (H, W, 3), whose longer side is at most `longest`, by a mean of its pixels."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, int(np.floor(length * factor + 0.5))) for length in image.shape[:2])
    smaller = resampled(torch.from_numpy(image).permute(2, 0, 1).float(), (height, width))
    return np.floor(smaller.numpy().transpose(1, 2, 0) + np.float32(0.5)).astype(np.uint8)
