"""The scribble challenge's photographs: Pascal VOC's, with a few strokes and the masks that are meant by them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from ..files import write_grey
from .coco import Object
from .images import DataError, read_labels, read_photograph

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
    """A part of the challenge below a folder of real data, ordered by name.

    Args:
        folder: with `scribbles/PART/images/*.jpg`, and under the same stems `scribbles/*.png` and, in the training
            part, `ground_truth/*.png`.

    Raises:
        DataError: no photograph, or one whose strokes or (in the training part) mask are missing, unreadable or of
            another size; strokes with other values than 0, 1 and 255. The message names the file.
    """
    place = Path(folder) / CHALLENGE / part
    paths = sorted((place / "images").glob("*.jpg"))
    if not paths:
        raise DataError(f"no photograph in {place / 'images'}; {HOW_TO_GET}")
    found = Scribbled([], [], [], [path.stem for path in paths])
    has_truth, one_sided = part == "train" or (place / "ground_truth").is_dir(), []
    for path in paths:
        image = read_photograph(path)
        drawn = place / "scribbles" / f"{path.stem}.png"
        strokes = read_scribble(drawn)
        _check_size(strokes, image, drawn)
        if {-1, 1} - set(np.unique(strokes)):
            one_sided.append(path.stem)
        if has_truth:
            known = place / "ground_truth" / f"{path.stem}.png"
            truth = read_labels(known)
            _check_size(truth, image, known)
            found.masks.append(truth > 0)
        found.images.append(image)
        found.scribbles.append(strokes)
    if one_sided:
        warnings.warn(
            f"{len(one_sided)} of {len(paths)} scribbles in {place} have strokes on one side only, object or "
            f"background: {', '.join(one_sided[:5])}",
            stacklevel=2,
        )
    return found


def read_scribble(path: Path) -> np.ndarray:
    """Strokes from a picture of the challenge, int8 (H, W): 0 becomes −1 (background), 1 stays, 255 becomes 0.

    Raises:
        DataError: it cannot be read, or has other values.
    """
    picture = read_labels(path)
    others = set(np.unique(picture).tolist()) - {0, 1, 255}
    if others:
        raise DataError(
            f"{path}: expected 0 (background), 1 (object) and 255 (unlabelled), got also {sorted(others)[:5]}; was it "
            "saved as JPEG, or resized smoothly?"
        )
    return np.select([picture == 0, picture == 1], [-1, 1], 0).astype(np.int8)


def write_scribble(path: str | Path, strokes: np.ndarray) -> None:
    """The inverse of `read_scribble`: writes strokes (H, W) of −1, 0 and 1 as a grey PNG."""
    write_grey(path, np.select([strokes < 0, strokes > 0], [0, 1], 255).astype(np.uint8))


def objects(folder: str | Path) -> list[Object]:
    """The connected parts of the challenge's ground truth, as objects of COCO are read.

    The challenge tells object from background only, so objects that touch are one, of the category "object". Image
    ids are Pascal VOC's, without the underscore. Arguments and errors as for `read_challenge`.
    """
    found, data = [], read_challenge(folder)
    for name, truth in zip(data.names, data.masks):
        count, parts, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8))
        image_id = int(name.replace("_", ""))
        found += [
            Object(
                Path(folder) / CHALLENGE / "train" / "images" / f"{name}.jpg",
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
