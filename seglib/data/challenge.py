"""The scribble challenge's photographs: Pascal VOC's, with a few strokes and the masks that are meant by them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from ..files import user_path, write_grey
from .coco import Object
from .images import BORDER, LABELS, DataError, only_one, pictures_in, read_labels, read_mask, read_photograph

CHALLENGE = Path("scribbles")
SIZE = (375, 500)  # height and width of the challenge's photographs
HOW_TO_GET = (
    "`python -m seglib build scribbles` makes the task from Pascal VOC; without SEGLIB_DATA, generated scenes are used"
)


@dataclass
class Scribbled:
    """Photographs with strokes at their own sizes, with names.

    Attributes:
        images: N arrays uint8 RGB (H, W, 3).
        scribbles: N hints int8 (H, W): −1 on strokes in the background, 1 on strokes in the object, 0 elsewhere.
        masks: N arrays bool (H, W), the object; empty where they are not known.
        names: of the photographs.
    """

    images: list[np.ndarray]
    scribbles: list[np.ndarray]
    masks: list[np.ndarray]
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: Scribbled) -> Scribbled:
        return Scribbled(*(one + two for one, two in zip(vars(self).values(), vars(other).values())))

    def take(self, indices: Sequence[int]) -> Scribbled:
        return Scribbled(*([column[i] for i in indices] if column else [] for column in vars(self).values()))


def read_challenge(folder: str | Path, part: str = "train") -> Scribbled:
    """A part of the challenge below a folder of real data, ordered by name; all pixels as they are stored.

    Args:
        folder: with pictures in `scribbles/PART/images`, and under the same stems in `scribbles/PART/scribbles` and, in
            the training part, `scribbles/PART/ground_truth`. Of the truth, 255 between other labels is Pascal VOC's
            border, and background.

    Raises:
        DataError: no photograph, or one whose strokes or (in the training part) mask are missing, unreadable or of
            another size; strokes with other values than 0, 1 and 255. The message names the file.
    """
    place = user_path(folder) / CHALLENGE / part
    paths, drawn, known = (pictures_in(place / name) for name in ("images", "scribbles", "ground_truth"))
    if not paths:
        raise DataError(f"no photograph in {place / 'images'}; {HOW_TO_GET}")
    found, one_sided = Scribbled([], [], [], list(paths)), []
    for name, files in paths.items():
        image = read_photograph(only_one(files), as_stored=True)
        path = only_one(drawn.get(name, [place / "scribbles" / f"{name}.png"]))
        strokes = read_scribble(path, as_stored=True)
        _check_size(strokes, image, path)
        if {-1, 1} - set(np.unique(strokes)):
            one_sided.append(name)
        if part == "train" or known:
            path = only_one(known.get(name, [place / "ground_truth" / f"{name}.png"]))
            truth = read_truth(path)
            _check_size(truth, image, path)
            found.masks.append(truth)
        found.images.append(image)
        found.scribbles.append(strokes)
    if one_sided:
        warnings.warn(
            f"{len(one_sided)} of {len(paths)} scribbles in {place} have strokes on one side only, object or "
            f"background: {', '.join(one_sided[:5])}",
            stacklevel=2,
        )
    return found


def read_truth(path: Path) -> np.ndarray:
    """The pixels of all objects, bool (H, W), as they are stored: of a few labels all but 0 and, beside others, Pascal
    VOC's border 255; of other pictures what `read_mask` finds. Errors as there."""
    labels = read_labels(path, as_stored=True)
    classes = set(np.unique(labels).tolist()) - {0, BORDER}
    if path.suffix.lower() in (".jpg", ".jpeg") or max(classes, default=0) > LABELS:
        return read_mask(path, as_stored=True)
    return (labels > 0) & (labels != BORDER) if classes else labels > 0


def read_scribble(path: Path, *, as_stored: bool = False) -> np.ndarray:
    """Strokes from a picture of the challenge, int8 (H, W): 0 becomes −1 (background), 1 stays, 255 becomes 0.

    Raises:
        DataError: it cannot be read, or has other values.
    """
    expected = "expected 0 (background), 1 (object) and 255 (unlabelled)"
    try:
        picture = read_labels(path, as_stored=as_stored)
    except DataError as error:
        raise DataError(f"{error}; {expected}") from None
    others = set(np.unique(picture).tolist()) - {0, 1, 255}
    if others:
        raise DataError(
            f"{path}: {expected}, got also {sorted(others)[:5]}; was it saved as JPEG, or resized smoothly?"
        )
    return np.select([picture == 0, picture == 1], [-1, 1], 0).astype(np.int8)


def read_user_scribble(path: Path) -> np.ndarray:
    """Strokes that a user drew, as `read_scribble`, with some on the object. (The background may have none: then what
    is far from the object, in place and colour, is all that speaks for it.)

    Raises:
        DataError: likewise, or no stroke is on the object.
    """
    strokes = read_scribble(path)
    if not (strokes > 0).any():
        raise DataError(
            f"{path}: expected strokes of 1 on the object, of 0 on the background and 255 elsewhere, got "
            f"{'no stroke at all' if not strokes.any() else 'none on the object; white strokes on black are not taken'}"
        )
    if strokes.all():
        raise DataError(f"{path}: expected 255 where nothing is drawn, got strokes on every pixel; is it a mask?")
    return strokes


def number_of(name: str) -> int:
    """A number for a photograph's name: Pascal VOC's without the underscore, and one of its own for any other name."""
    digits = name.replace("_", "")
    if digits.isascii() and digits.isdigit() and len(digits) < 12:
        return int(digits)
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:6])


def write_scribble(path: str | Path, strokes: np.ndarray) -> None:
    """The inverse of `read_scribble`: writes strokes (H, W) of −1, 0 and 1 as a grey PNG."""
    write_grey(path, np.select([strokes < 0, strokes > 0], [0, 1], 255).astype(np.uint8))


def objects(folder: str | Path) -> list[Object]:
    """The connected parts of the challenge's ground truth, as objects of COCO are read.

    The challenge tells object from background only, so objects that touch are one, of the category "object". Image
    ids are those of `number_of`. Arguments and errors as for `read_challenge`.
    """
    found, data = [], read_challenge(folder)
    paths = pictures_in(user_path(folder) / CHALLENGE / "train" / "images")
    for name, truth in zip(data.names, data.masks):
        count, parts, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8))
        image_id = number_of(name)
        found += [
            Object(
                paths[name][0],
                image_id,
                1000 * image_id + part,
                "object",
                truth.shape,
                float(stats[part, cv2.CC_STAT_AREA]),
                0,
                count - 1,
                rle.encode(np.asfortranarray((parts == part).astype(np.uint8))),
            )
            for part in range(1, count)
        ]
    return found


def _check_size(picture: np.ndarray, image: np.ndarray, path: Path) -> None:
    if picture.shape != image.shape[:2]:
        raise DataError(f"{path}: expected the photograph's height and width {image.shape[:2]}, got {picture.shape}")
