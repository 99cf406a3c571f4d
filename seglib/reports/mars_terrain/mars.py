"""Mars terrain: grey pictures of 64×128 pixels with five classes, as the homework hands them out."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor

from ...data.datasets import EpochDataset, to_tensor
from ...data.images import DataError, read_arrays
from ...files import user_path, write_whole
from ...items import hashed
from ...losses import IGNORE

CLASSES = ("background", "soil", "bedrock", "sand", "big rock")
BACKGROUND = 0  # what nobody labelled: sky, the rover, the far distance and whatever was doubtful
SIZE = (64, 128)  # height and width
HOMEWORK = Path("mars", "mars_for_students.npz")
HOW_TO_GET = (
    "`python -m seglib build mars_terrain` makes the file from AI4Mars; without SEGLIB_DATA, generated terrain is used"
)


@dataclass
class Terrain:
    """Pictures with labels, row by row; usually two rows, its upper and its lower half, come from one photograph.

    Attributes:
        images: uint8 (N, 64, 128).
        labels: uint8 (N, 64, 128), indices of `CLASSES`; as annotators made them, or a generator in their manner.
        ids: of the photograph that each row comes from, str (N,).
        clean: the labels without the annotators' mistakes, which only a generator knows; else None.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    clean: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: Terrain) -> Terrain:
        columns = zip(vars(self).values(), vars(other).values())
        return Terrain(*(None if one is None or two is None else np.concatenate([one, two]) for one, two in columns))

    def take(self, indices: Sequence[int] | np.ndarray) -> Terrain:
        """The rows of these indices, or where a bool array (N,) is true."""
        return Terrain(*(column if column is None else column[indices] for column in vars(self).values()))


def read_homework(path: str | Path) -> Terrain:
    """The training rows of `mars_for_students.npz`.

    Args:
        path: the file, or a folder of real data with it at `mars/mars_for_students.npz`. Its `training_set` is uint8
            (N, 2, H, W), picture and label; `ids` (N,) say which photograph a row comes from. The homework's own file
            has none: there each row counts as a photograph, and halves of one cannot be kept together.

    Raises:
        DataError: no such file, one that is cut short or no npz, without that array, or with labels that are no class.
    """
    path, arrays = _homework(path)
    if "training_set" not in arrays:
        raise DataError(f"{path}: expected an array training_set, got {', '.join(arrays) or 'no array'}")
    rows = arrays["training_set"]
    if rows.ndim != 4 or rows.shape[1] != 2 or rows.size == 0:
        raise DataError(f"{path}: expected training_set of whole numbers (N, 2, H, W), got {rows.dtype} {rows.shape}")
    images, labels = _as_bytes(rows, path, "training_set").transpose(1, 0, 2, 3)
    check_labels(labels, str(path))
    ids = arrays.get("ids")
    if ids is None:
        warnings.warn(f"{path} has no ids: halves of one photograph may be on both sides of a split", stacklevel=2)
        ids = np.array([f"row {i}" for i in range(len(images))])
    if ids.shape != (len(images),):
        raise DataError(f"{path}: expected an id for each of {len(images)} rows, got ids of shape {ids.shape}")
    return Terrain(np.ascontiguousarray(images), np.ascontiguousarray(labels), ids.astype(str))


def read_test_set(path: str | Path) -> np.ndarray:
    """The pictures that the homework asks labels for: `test_set` of its file, uint8 (N, H, W). Errors as for
    `read_homework`."""
    path, arrays = _homework(path)
    if "test_set" not in arrays or arrays["test_set"].ndim != 3:
        there = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(f"{path}: expected an array test_set (N, H, W), got {there or 'no array'}")
    return _as_bytes(arrays["test_set"], path, "test_set")


def _as_bytes(values: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Whole numbers from 0 to 255 as uint8; DataError where there are others."""
    if values.dtype.kind not in "ui":
        raise DataError(f"{path}: expected {name} of whole numbers, got {values.dtype} {values.shape}")
    if values.size and (values.min() < 0 or values.max() > 255):
        raise DataError(f"{path}: expected values from 0 to 255 in {name}, got {values.min()} to {values.max()}")
    return values.astype(np.uint8)


def _homework(path: str | Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The homework's file, the one named or that in a folder of real data, and its arrays."""
    path = user_path(path)
    path = path / HOMEWORK if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; {HOW_TO_GET}")
    return path, read_arrays(path)


def check_labels(labels: np.ndarray, what: str) -> None:
    """Raises DataError, naming the first bad row, where a label is not an index of `CLASSES`."""
    bad = np.flatnonzero((labels >= len(CLASSES)).any(axis=(1, 2)))
    if bad.size:
        others = np.unique(labels[bad[0]])
        raise DataError(
            f"{what}: row {bad[0]}: expected labels from 0 to {len(CLASSES) - 1}, got also "
            f"{others[others >= len(CLASSES)][:5].tolist()}"
        )


def split_by_id(ids: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Rows in parts of about these shares, at random, all rows of one photograph in the same part.

    Args:
        ids: str (N,), of at least as many photographs as there are parts.
        shares: of each part, above 0; together 1.

    Returns:
        For each part the indices of its rows, sorted; none is empty.

    Raises:
        ValueError: too few photographs.
    """
    names = np.unique(ids)
    if len(names) < len(shares):
        raise ValueError(f"expected at least {len(shares)} photographs to split, got {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.round(np.cumsum(shares) * len(names)).astype(int)
    for i in range(len(ends)):  # of few photographs too, each part gets one
        ends[i] = np.clip(ends[i], (ends[i - 1] if i else 0) + 1, len(names) - (len(shares) - 1 - i))
    part = np.empty(len(names), int)
    part[order] = np.searchsorted(ends, np.arange(len(names)), side="right")
    of_row = part[np.searchsorted(names, ids)]
    return [np.flatnonzero(of_row == i) for i in range(len(shares))]


def write_submission(path: str | Path, labels: Sequence[np.ndarray]) -> Path:
    """Writes labels, N arrays (H, W), as the competition wants them: a line a picture, its number, then its pixels row
    by row.

    Raises:
        ValueError: no labels, or of several sizes.
        OSError: as `write_whole`.
    """
    if len({picture.shape for picture in labels}) != 1:
        raise ValueError(f"expected labels of one size, got {sorted({picture.shape for picture in labels}) or 'none'}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *range(labels[0].size)])
    writer.writerows([i, *picture.ravel().tolist()] for i, picture in enumerate(labels))
    return write_whole(path, lambda file: file.write(text.getvalue().encode()), "submission")


class TerrainDataset(EpochDataset):
    """Pictures of terrain with a class for each pixel, augmented anew in every epoch or in advance.

    Args:
        terrain: the rows.
        size: height and width that a network sees them at; pictures are reduced by area, labels by nearest neighbour.
        augment, seed: as for `EpochDataset`.
        copies: 0: each epoch shows each picture once, augmented anew. Else the data set is so many times as long, as
            if its pictures had been augmented in advance and stored: each is itself once, and `copies` − 1 times
            augmented, the same way in every epoch.
        ignore_background: the target is 255 where nobody labelled, which losses and metrics ignore.

    Items: picture float32 (1, H, W) in [0, 1] and classes int64 (H, W).

    Raises:
        DataError: a label that is no class.
    """

    def __init__(
        self,
        terrain: Terrain,
        size: tuple[int, int] = SIZE,
        *,
        augment: A.Compose | None = None,
        seed: int = 0,
        copies: int = 0,
        ignore_background: bool = False,
    ):
        super().__init__(augment, seed)
        check_labels(terrain.labels, "terrain")
        self.terrain, self.copies, self.ignore_background = terrain, copies, ignore_background
        self.images = reduced(terrain.images, size)
        self.labels = reduced(terrain.labels, size, nearest=True)
        self.names = [f"{i:05d}" for i in range(len(terrain))]

    def __len__(self) -> int:
        return len(self.images) * max(1, self.copies)

    @property
    def masks(self) -> np.ndarray:
        """Where the terrain is labelled, at its own size: bool (N, H, W)."""
        return self.terrain.labels != BACKGROUND

    def augmented(self, image: np.ndarray, mask: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.copies:
            return super().augmented(image, mask, index)
        return (image, mask) if index < len(self.images) else super().augmented(image, mask, index)

    def digest(self) -> str:
        """Also of the labels at their own size, which it is measured at."""
        return hashed(self.names, self.images, self.labels, self.terrain.labels, [self.ignore_background], self.drawn())

    @property
    def epoch(self) -> int:
        """The epoch that augmentation depends on: what was made in advance does not change."""
        return 0 if self.copies else super().epoch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = index % len(self.images)
        image, labels = self.augmented(self.images[picture], self.labels[picture], index)
        target = torch.from_numpy(np.array(labels, dtype=np.int64, order="C"))
        if self.ignore_background:
            target = target.masked_fill(target == BACKGROUND, IGNORE)
        return to_tensor(image), target


def reduced(pictures: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """Pictures (N, H, W) at another height and width: by area, or as labels must be, by nearest neighbour."""
    if pictures.shape[1:] == tuple(size):
        return pictures
    how = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA
    return np.stack([cv2.resize(picture, size[::-1], interpolation=how) for picture in pictures])


def _mirror() -> A.Compose:
    return A.Compose([A.HorizontalFlip(p=0.5)])


def _flips_and_half_turns() -> A.Compose:
    return A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])  # both together are a half turn


def _terrain() -> A.Compose:
    """What leaves the sky above and the ground below: a mirror image, a small turn, another distance, other light.

    What a turn or a shift uncovers continues the picture as its mirror image, labels alike.
    """
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=(0.9, 1.3),
                translate_percent=(-0.08, 0.08),
                rotate=(-8, 8),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.7,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
            A.RandomGamma(gamma_limit=(70, 140), p=0.3),
        ]
    )


AUGMENTATIONS = {"mirror": _mirror, "flips-and-half-turns": _flips_and_half_turns, "terrain": _terrain}
