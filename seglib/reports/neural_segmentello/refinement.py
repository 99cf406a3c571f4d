"""From a photograph and a hint to a mask: what a refinement network is given, in training as in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...data import strokes
from ...data.clues import colour_likelihood
from ...data.coco import Object
from ...data.datasets import EpochDataset
from ...items import hashed
from ..base import mean_probability
from .play import FIRST_MARGIN, look, move, resampled, seen

if TYPE_CHECKING:
    from .report import Brush

ENDS = 16 * 2**10  # bytes at the beginning and at the end of a photograph's file, which tell it from others


def channels(image: np.ndarray, hint: np.ndarray, rgb: bool = False, likelihood: bool = False) -> Tensor:
    """A network's input: hint, grey value and gradient magnitude, or with `rgb` hint, red, green, blue and gradient.

    Args:
        image: uint8 (H, W, 3).
        hint: (H, W) of −1, 0 and 1.
        likelihood: `colour_likelihood` of what the hint calls the object is a last channel.

    Returns:
        float32 (3 to 6, H, W): the hint as it is, colours divided by 255, and the magnitude of the grey image's 3×3
        Sobel gradient divided by its maximum (0 where the image is of one colour).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)
    magnitude = np.sqrt(across**2 + down**2)  # cv2.magnitude rounds differently from call to call
    magnitude /= magnitude.max() or 1
    colours = list(image.astype(np.float32).transpose(2, 0, 1) / 255) if rgb else [grey]
    # Against all that is not called the object: beside the little that a correction denies, a first one would turn
    # the colours of everything else.
    further = [colour_likelihood(image, hint.clip(min=0))] if likelihood else []
    return torch.from_numpy(np.stack([hint.astype(np.float32), *colours, magnitude, *further]))


def window(hint: np.ndarray, margin: float = 1.0) -> tuple[slice, slice]:
    """The part of a photograph that a hint is about: the box around its foreground, with a margin on each side.

    The margin is a quarter of the box's longer side and a twentieth of the image's diagonal, times `margin`: a rough
    mask is smaller than its object. A hint without foreground is about the whole photograph.
    """
    height, width = hint.shape
    left, top, across, down = cv2.boundingRect((hint > 0).astype(np.uint8))
    if not across:
        return slice(0, height), slice(0, width)
    more = round(margin * (0.25 * max(across, down) + 0.05 * np.hypot(height, width)))
    return slice(max(0, top - more), top + down + more), slice(max(0, left - more), left + across + more)


def scale_to(size: tuple[int, int], config: Brush) -> float:
    """By how much a network's view of height and width `size` is shrunk, or a small object's (at most 2×) enlarged."""
    if config.longest is None:
        return 1.0
    return min(config.longest / max(size), 2.0 if config.view == "object" else 1.0)


def resized(picture: np.ndarray, scale: float, nearest: bool = False) -> np.ndarray:
    """A picture at `scale` times its size: by area or bilinear, or as masks and hints must be, by nearest neighbour."""
    if scale == 1:
        return picture
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = tuple(max(1, round(length * scale)) for length in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT if nearest else smooth)


def refine(models: Sequence[nn.Module], image: np.ndarray, hint: np.ndarray, config: Brush) -> np.ndarray:
    """Mean foreground probability of an ensemble for a photograph and a hint, at the photograph's own size.

    Args:
        models: networks that were trained as `config` says.
        image: uint8 RGB (H, W, 3).
        hint: (H, W) of −1, 0 and 1.

    Returns:
        float32 (H, W); 0 outside the networks' view.

    Raises:
        ValueError: the hint has another size than the photograph.
    """
    if hint.shape != image.shape[:2]:
        raise ValueError(f"expected a hint of the image's size {image.shape[:2]}, got {hint.shape}")
    if config.rounds:
        return move(models, image, hint.clip(max=0), (hint > 0).astype(np.float32), config)
    part = window(hint, config.margin) if config.view == "object" else (slice(None), slice(None))
    probability = np.zeros(hint.shape, np.float32)
    seen, view = image[part], hint[part]
    scale = scale_to(view.shape, config)
    batch = channels(resized(seen, scale), resized(view, scale, nearest=True), config.rgb, config.likelihood)[None]
    mean = mean_probability(models, batch)[0, 0].numpy()
    probability[part] = cv2.resize(mean, view.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return probability


class BrushDataset(EpochDataset):
    """Objects in photographs with a simulated hint for each, at their own sizes, read when they are asked for.

    Args:
        objects: at least one.
        config: which hints, in what view, at what size.
        augment, seed: as for `EpochDataset`; a hint depends on the seed and the object, with `fresh` on the epoch too.
        fresh: another hint in every epoch.
        scale: how large the photographs are beside those of about 640×480 that strokes are made for.

    Objects that are too small for a hint are left out.

    Items: input float32 (C, H, W), see `channels`, and mask float32 (1, H, W) of 0 and 1.

    Raises:
        ValueError: no object has a hint.
    """

    def __init__(
        self,
        objects: Sequence[Object],
        config: Brush,
        *,
        augment: A.Compose | None = None,
        seed: int = 0,
        fresh: bool = False,
        scale: float = 1.0,
    ):
        super().__init__(augment, seed)
        self.config, self.fresh, self.scale = config, fresh, scale
        self.objects, self.sizes = [], []
        for entry in objects:
            hint = self.hint(entry, entry.mask())
            if hint.any():
                size = hint[window(hint, config.margin)].shape if config.view == "object" else entry.size
                factor = scale_to(size, config)
                self.objects.append(entry)
                self.sizes.append(tuple(max(1, round(length * factor)) for length in size))
        if not self.objects:
            raise ValueError(f"expected an object that is large enough for a hint, got none among {len(objects)}")
        self.names = [f"{entry.path.stem}_{entry.annotation_id}" for entry in self.objects]

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def masks(self) -> Iterator[np.ndarray]:
        """The true masks at their photographs' own sizes."""
        return (entry.mask() for entry in self.objects)

    def digest(self) -> str:
        """Of each object number, category and outline; of its photograph, which may be one of many thousands, the
        file's size, beginning and end."""
        files = {}
        for path in dict.fromkeys(entry.path for entry in self.objects):
            size = path.stat().st_size
            with path.open("rb") as file:
                ends = file.read(ENDS)
                file.seek(max(0, size - ENDS))
                files[path] = size, hashlib.sha256(ends + file.read()).hexdigest()
        objects = ((e.image_id, e.annotation_id, e.category, e.segmentation, files[e.path]) for e in self.objects)
        return hashed(self.names, objects, self.drawn())

    def hint(self, entry: Object, mask: np.ndarray, reduced: float = 1.0, epoch: int = 0) -> np.ndarray:
        """The hint for an object whose mask is at `reduced` times its photograph's size: int8 (H, W)."""
        scale = self.scale * reduced
        rng = np.random.default_rng([self.seed, entry.annotation_id, epoch])
        kind = self.config.hints[rng.integers(len(self.config.hints))]
        hint = strokes.SIMULATORS[kind](mask, rng, scale)
        corrections = rng.integers(self.config.corrections + 1)
        return strokes.random_corrections(hint, mask, corrections, rng, scale) if corrections else hint

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        entry, config = self.objects[index], self.config
        reduced = scale_to(entry.size, config) if config.view == "photograph" else 1.0
        image, mask = resized(entry.image(), reduced), resized(entry.mask().astype(np.uint8), reduced, nearest=True)
        image, mask = self.augmented(image, mask, index)
        epoch = self.epoch if self.fresh else 0
        hint = self.hint(entry, mask > 0, reduced, epoch)
        if config.view == "object":
            rng = np.random.default_rng([self.seed, entry.annotation_id, epoch, 1])
            part = window(hint, config.margin * (rng.uniform(0.7, 1.5) if self.fresh else 1.0))
            image, mask, hint = image[part], mask[part], hint[part]
            factor = scale_to(mask.shape, config)
            image = resized(image, factor)
            mask, hint = (resized(one, factor, nearest=True) for one in (mask, hint))
        return channels(image, hint, config.rgb, config.likelihood), torch.from_numpy(mask.astype(np.float32))[None]

    def at_own_size(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Photograph, hint and mask of an object as a user has them: uint8 (H, W, 3), int8 and bool (H, W)."""
        entry = self.objects[index]
        mask = entry.mask()
        return entry.image(), self.hint(entry, mask), mask


class PlayDataset(BrushDataset):
    """Objects in photographs with the strokes and the mask of a game that is being played: `BrushDataset` for networks
    that play along.

    A game begins with a stroke, or with a rough mask, and goes on for as many rounds as chance says, at most
    `config.rounds`, in the first epochs fewer, and in a third of the games none: the `player` looks, and mostly a user
    corrects. The next look is what is learned. Without `fresh` it is the first look at a first stroke.

    Items: input float32 (6, `longest`, `longest`), see `seen`, and mask float32 (1, `longest`, `longest`).

    Attributes:
        player: the network that is being trained.
    """

    player: nn.Module | None = None

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sizes = []  # all views are of one size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        entry, config = self.objects[index], self.config
        image, mask = self.augmented(entry.image(), entry.mask().astype(np.uint8), index)
        if not mask.any():  # augmentation has moved the object out of sight
            image, mask = entry.image(), entry.mask()
        truth = mask > 0
        rng = np.random.default_rng([self.seed, entry.annotation_id, self.epoch if self.fresh else 0, 2])
        kind = config.hints[rng.integers(len(config.hints))] if self.fresh else "brush"
        started = strokes.SIMULATORS[kind](truth, rng, self.scale)
        if not started.any():  # the object is too small for a rough mask, and never for a stroke
            kind, started = "brush", strokes.brush_stroke(truth, rng, self.scale)
        hint, found = (np.zeros_like(started), started.astype(np.float32)) if kind == "coarse" else (started, None)
        most = min(config.rounds, self.epoch) if self.fresh and self.player else 0
        rounds = rng.integers(most + 1) if rng.random() < 2 / 3 else 0
        for _ in range(rounds):
            found = look([self.player], image, hint, found, config, self._margin(rng, found))
            if rng.random() < 0.75:
                hand = strokes.THIN if rng.random() < 0.5 else strokes.CAREFUL
                hint = strokes.correction(hint, found >= 0.5, truth, rng, self.scale, hand)
        view, part = seen(image, hint, found, config.longest, self._margin(rng, found))
        wanted = resampled(torch.from_numpy(truth[part].astype(np.float32))[None], view.shape[1:])
        return view, (wanted >= 0.5).float()

    def _margin(self, rng: np.random.Generator, found: np.ndarray | None) -> float | None:
        """As in use, or in training somewhat more or less."""
        return rng.uniform(0.7, 1.5) * (FIRST_MARGIN if found is None else 1.0) if self.fresh else None


def interact(
    models: Sequence[nn.Module],
    image: np.ndarray,
    truth: np.ndarray,
    config: Brush,
    strokes_allowed: int,
    rng: np.random.Generator,
    scale: float = 1.0,
    hand: strokes.Hand = strokes.CAREFUL,
    rough: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A user who draws one stroke inside an object, and then corrects: each time where the largest error is.

    Args:
        models, image, config: as for `refine`.
        truth: what the user has in mind, (H, W), bool.
        strokes_allowed: how many, the first one included; fewer are drawn where nothing is wrong any more.
        scale: how large the photograph is beside one of about 640×480.
        hand: how the user draws.
        rough: a rough mask (H, W) of 0 and 1, from which the user starts in place of a first stroke.

    Yields:
        The hint so far and the mask that came of it, int8 and bool (H, W): for each stroke, and before them for the
        rough mask where there is one.
    """
    drawn = strokes.brush_stroke(truth, rng, scale, hand) if rough is None else rough.astype(np.int8)
    found = None
    if rough is not None and config.rounds:  # it is the mask so far, and no stroke
        drawn, found = np.zeros_like(drawn), rough.astype(np.float32)
    for _ in range(strokes_allowed + (rough is not None)):
        found = move(models, image, drawn, found, config) if config.rounds else refine(models, image, drawn, config)
        mask = found >= 0.5
        yield drawn, mask
        if (mask == truth).all():
            return
        drawn = strokes.correction(drawn, mask, truth, rng, scale, hand)


def strokes_to_reach(ious: Sequence[float], goal: float) -> int:
    """How many strokes it took until the IoU reached `goal`; one more than were drawn where it never did."""
    return next((number for number, iou in enumerate(ious, 1) if iou >= goal), len(ious) + 1)
