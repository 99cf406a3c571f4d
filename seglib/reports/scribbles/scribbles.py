"""From photographs with strokes to masks: the report's data, what a network sees of them, and how it is used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...data import scenes
from ...data.challenge import SIZE, Scribbled, number_of, write_scribble
from ...data.clues import colour_likelihood, geodesic_distance
from ...data.coco import Object, find_coco, read_coco
from ...data.datasets import EpochDataset
from ...data.images import DataError, read_labels, read_size
from ...data.strokes import long_strokes, parts_of, scribble
from ...files import user_path, write_grey
from ...items import hashed
from ..base import mean_probability

if TYPE_CHECKING:
    from .report import Scribbles

# COCO's names of Pascal VOC's twenty classes.
VOC_CATEGORIES = (
    *("person", "bird", "cat", "cow", "dog", "horse", "sheep"),
    *("airplane", "bicycle", "boat", "bus", "car", "motorcycle", "train"),
    *("bottle", "chair", "dining table", "potted plant", "couch", "tv"),
)
CLUES = ("likelihood", "geodesic")
LEVELS = ("none", "low", "medium", "high")  # of augmentation
GEODESIC_LONGEST = 128  # pixels of the longest side that geodesic distances are found at: they change slowly
# In the one picture of labels that is augmented: 0 not drawn on, 1 the object's stroke, 2 the background's; and back.
DRAWN, SIGNS = np.array([0, 1, 2], np.uint8), np.array([0, 1, -1], np.int8)


def generated(count: int, seed: int) -> Scribbled:
    """Drawn scenes of the challenge's size, with generated strokes; every annotated object is foreground.

    Args:
        count: how many, at least 1.
        seed: the same one gives the same scenes and strokes.
    """
    found = Scribbled([], [], [], [])
    for number in range(count):
        rng, objects = np.random.default_rng([seed, number]), []
        while not objects:
            image, objects = scenes.draw_scene(*SIZE, rng)
            objects = [mask for _, mask, crowd in objects if not crowd]
        mask = np.logical_or.reduce(objects)
        found.images.append(image)
        found.scribbles.append(scribble(mask, rng, SIZE[1] / 640))
        found.masks.append(mask)
        found.names.append(f"scene-{seed}-{number:04d}")
    return found


def from_coco(folder: str | Path, seed: int, apart: bool = False) -> Scribbled:
    """COCO's photographs as the challenge has its own: objects of Pascal VOC's categories, with strokes like its own
    (`seglib.data.strokes.long_strokes`).

    What covers less than a hundredth of its photograph is left out; crowds, which have no outline, count as background.
    Errors as for `seglib.data.coco.read_coco`.

    Args:
        folder: of real data, with COCO in it.
        seed: of the strokes.
        apart: each category in a photograph is a task of its own, all that COCO has: other strokes on the same
            photograph mean another mask.
    """

    def task(entry: Object) -> tuple[int, str]:
        return entry.image_id, entry.category if apart else ""

    found, shared = Scribbled([], [], [], []), (None, None)  # tasks of one photograph share its pixels
    for source in find_coco(folder):
        wanted = [entry for entry in read_coco(*source) if apart or entry.category in VOC_CATEGORIES]
        for (image_id, category), group in groupby(sorted(wanted, key=task), key=task):
            entries = list(group)
            masks = [entry.mask() for entry in entries]
            mask = np.logical_or.reduce(masks)
            if mask.mean() < 0.01:
                continue
            rng = np.random.default_rng([seed, image_id, *category.encode()])
            if shared[0] != image_id:
                shared = image_id, entries[0].image()
            found.images.append(shared[1])
            found.scribbles.append(long_strokes(masks, rng, max(mask.shape) / 640))
            found.masks.append(mask)
            found.names.append(entries[0].path.stem + (f"-{category}" if apart else ""))
    return found


def build_from_voc(voc: str | Path, masks: str | Path, out: str | Path, *, seed: int = 0) -> int:
    """Makes the challenge's task from Pascal VOC as it is published, with generated strokes.

    Every photograph of 500×375 pixels that has a class mask with an object in it is taken; foreground is
    0 < class < 255 (255 is the border between objects, which VOC leaves out).

    Args:
        voc: the folder VOC2012 of the archive, with `JPEGImages`.
        masks: the folder of class masks: `SegmentationClass` of the same archive, or that of the augmented set
            (Hariharan et al. 2011), which the challenge used.
        out: a new folder, which gets `images`, `scribbles` and `ground_truth`; written whole or not at all.
        seed: of the strokes.

    Returns:
        How many photographs there are.

    Raises:
        DataError: no usable photograph, or `out` is there already.
    """
    photographs, masks, out = user_path(voc) / "JPEGImages", user_path(masks), user_path(out)
    if out.exists():
        raise DataError(f"{out} is there already; give a new folder")
    paths = sorted(masks.glob("*.png"))
    if not paths or not photographs.is_dir():
        raise DataError(
            f"expected photographs in {photographs} and class masks in {masks}; `python -m seglib download "
            "pascal-voc-2012` fetches both"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / out.name
        for path in paths:
            classes = read_labels(path, as_stored=True)
            mask = (classes > 0) & (classes < 255)
            photograph = photographs / f"{path.stem}.jpg"
            if mask.shape != SIZE or not mask.any() or read_size(photograph) != SIZE:
                continue
            strokes = scribble(mask, np.random.default_rng([seed, number_of(path.stem)]), SIZE[1] / 640)
            (folder / "images").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photograph, folder / "images" / photograph.name)
            write_scribble(folder / "scribbles" / path.name, strokes)
            write_grey(folder / "ground_truth" / path.name, mask.astype(np.uint8))
            count += 1
        if not count:
            raise DataError(f"no class mask of {SIZE[1]}×{SIZE[0]} pixels in {masks} shows an object")
        folder.rename(out)
    return count


def network_input(image: np.ndarray, strokes: np.ndarray, clues: Sequence[str] = ()) -> Tensor:
    """What a network sees of a photograph and its strokes.

    Args:
        image: uint8 RGB (H, W, 3).
        strokes: (H, W) of −1, 0 and 1.
        clues: of `CLUES`, each a further channel from 0 (background) to 1 (object): "likelihood", by colours (see
            `colour_likelihood`); "geodesic", the share of the distance to the background's strokes in the sum of both
            (see `geodesic_distance`).

    Returns:
        float32 (4 + clues, H, W): colours from 0 to 1, strokes, clues.
    """
    if set(clues) - set(CLUES):
        raise ValueError(f"clues: expected some of {', '.join(CLUES)}, got {list(clues)}")
    channels = [*(image.astype(np.float32).transpose(2, 0, 1) / 255), strokes.astype(np.float32)]
    if "likelihood" in clues:
        channels.append(colour_likelihood(image, strokes))
    if "geodesic" in clues:
        channels.append(_geodesic_share(image, strokes))
    return torch.from_numpy(np.stack(channels))


def _geodesic_share(image: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    height, width = strokes.shape
    factor = min(1.0, GEODESIC_LONGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # A stroke that is thinner than a pixel of the smaller picture is still there.
    seeds = [
        cv2.resize((strokes == side).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.1 for side in (1, -1)
    ]
    to_object, to_background = (geodesic_distance(small, where) for where in seeds)
    # What nobody drew is as far as the farthest pixel is from what they did.
    if not (seeds[0].any() and seeds[1].any()):
        known = to_object if seeds[0].any() else to_background
        farthest = max(1.0, known.max()) if np.isfinite(known).all() else 1.0
        to_object, to_background = (np.where(np.isfinite(one), one, farthest) for one in (to_object, to_background))
    # Where strokes of both sides fall into one pixel, neither has it.
    total = to_object + to_background
    share = np.divide(to_background, total, out=np.full_like(total, 0.5), where=total > 0)
    return cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photograph at height and width `size`, by Lanczos' filter."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))


def resized_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask or strokes at height and width `size`, by nearest neighbour."""
    return cv2.resize(labels.astype(np.int16), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(labels.dtype)


def fill_in(models: Sequence[nn.Module], image: np.ndarray, strokes: np.ndarray, config: Scribbles) -> np.ndarray:
    """Mean foreground probability of an ensemble for a photograph with strokes, at the photograph's own size.

    Args:
        models: networks that were trained as `config` says; it also says over which views to average.
        image: uint8 RGB (H, W, 3).
        strokes: (H, W) of −1, 0 and 1.

    Returns:
        float32 (H, W).

    Raises:
        ValueError: the strokes have another size than the photograph.
    """
    if strokes.shape != image.shape[:2]:
        raise ValueError(f"expected strokes of the image's size {image.shape[:2]}, got {strokes.shape}")
    sides = (False, True) if config.mirrored else (False,)
    total = np.zeros(strokes.shape, np.float32)
    for scale in config.used_at:
        size = (round(config.height * scale), round(config.width * scale))
        seen, drawn = resized(image, size), resized_labels(strokes, size)
        batch = network_input(seen, drawn, config.clues)[None]
        for mirrored in sides:
            view = batch.flip(-1) if mirrored else batch
            found = mean_probability(models, view)[0, 0]
            found = found.flip(-1) if mirrored else found
            total += cv2.resize(found.numpy(), strokes.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return total / (len(config.used_at) * len(sides))


class ScribbleDataset(EpochDataset):
    """Photographs with strokes as a network sees them, all at one size.

    Args:
        data: with masks, at least one photograph.
        size: height and width that the network sees.
        clues: further channels, see `network_input`.
        synthetic: how likely an item's strokes are generated ones, anew in every epoch, in place of its own.
        long: those are `seglib.data.strokes.long_strokes`, not the report's.
        augment, seed: as for `EpochDataset`; see `augmentation`.

    Items: input float32 (4 + clues, H, W), see `network_input`, and mask float32 (1, H, W) of 0 and 1.
    """

    def __init__(
        self,
        data: Scribbled,
        size: tuple[int, int],
        *,
        clues: Sequence[str] = (),
        synthetic: float = 0.0,
        long: bool = False,
        augment: A.Compose | None = None,
        seed: int = 0,
    ):
        super().__init__(augment, seed)
        if not data.masks or len(data.masks) != len(data):
            raise ValueError(f"expected a mask for each of {len(data)} photographs, got {len(data.masks)}")
        self.data, self.clues, self.synthetic, self.long, self.names = data, clues, synthetic, long, data.names
        self.images = [resized(image, size) for image in data.images]
        self.scribbles = [resized_labels(strokes, size) for strokes in data.scribbles]
        self.masks = [resized_labels(mask.astype(np.uint8), size) for mask in data.masks]

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Also of the masks at the photographs' own size, which it is measured at."""
        return hashed(self.names, self.images, self.scribbles, self.masks, self.data.masks, self.drawn())

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        # Mask and strokes as one picture, so that nothing can move them apart: 0 is background, and not drawn on.
        labels = self.masks[index] + 2 * DRAWN[self.scribbles[index]]
        image, labels = self.augmented(self.images[index], labels, index)
        mask, strokes = labels % 2, SIGNS[labels // 2]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        if rng.random() < self.synthetic:
            inside, scale = mask > 0, mask.shape[1] / 640
            # A crop may show nothing of the object.
            strokes = (
                long_strokes(parts_of(mask) or [inside], rng, scale) if self.long else scribble(inside, rng, scale)
            )
        return network_input(image, strokes, self.clues), torch.from_numpy(mask.astype(np.float32))[None]


def augmentation(level: str, size: tuple[int, int]) -> A.Compose | None:
    """The report's levels of augmentation; each reaches image, strokes and mask alike, colours the image alone.

    What comes from outside the photograph is black, background and not drawn on.

    Args:
        level: "none"; "low": flips, affine transforms, colour jitter; "medium": crops as well, half of them with some
            of the object in them for certain; "high": elastic and grid distortions and blur as well.
        size: height and width of images, before and after.
    """
    if level not in LEVELS:
        raise ValueError(f"level: expected one of {', '.join(LEVELS)}, got {level!r}")
    if level == "none":
        return None
    height, width = size
    steps = [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Affine(rotate=(-20, 20), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), p=0.7),
        A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.03, 0.03), p=0.7),
    ]
    if level in ("medium", "high"):
        aware = A.CropNonEmptyMaskIfExists(round(0.7 * height), round(0.7 * width), ignore_values=[2, 4], p=1)
        back = A.Resize(height, width, p=1)
        anywhere = A.RandomResizedCrop(size, scale=(0.4, 1.0), ratio=(0.8 * width / height, 1.25 * width / height))
        steps.append(A.OneOf([A.Sequential([aware, back], p=1), anywhere], p=0.5))  # its parts by their p's shares
    if level == "high":
        steps += [
            A.ElasticTransform(alpha=width / 8, sigma=width / 40, p=0.3),
            A.GridDistortion(p=0.3),
            A.GaussianBlur(p=0.3),
        ]
    return A.Compose(steps)


def stratified_folds(data: Scribbled, count: int, seed: int) -> list[np.ndarray]:
    """Folds of photographs that are alike in how large the object is.

    Photographs are ordered by the share of the picture that the object covers, and each run of `count` neighbours is
    dealt out to the folds at random.

    Returns:
        `count` sorted arrays of indices; each photograph is in one.

    Raises:
        DataError: fewer photographs with masks than folds.
    """
    if len(data.masks) < count:
        raise DataError(f"{len(data.masks)} photographs with masks cannot be split into {count} folds")
    rng = np.random.default_rng(seed)
    order = np.argsort([mask.mean() for mask in data.masks], kind="stable")
    fold = np.empty(len(data), int)
    for start in range(0, len(data), count):
        part = order[start : start + count]
        fold[part] = rng.permutation(count)[: len(part)]
    return [np.flatnonzero(fold == number) for number in range(count)]
