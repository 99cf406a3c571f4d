"""The scribble challenge's photographs, taken from Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from .coco import Object
from .common import DataError

TRAINING = Path("scribbles/train")
HOW_TO_GET = "put the scribble challenge's folders images and ground_truth there"


def objects(folder: str | Path) -> list[Object]:
    """The connected parts of the challenge's ground truth, as objects of COCO are read.

    The challenge tells object from background only, so objects that touch are one, of the category "object". Image
    ids are Pascal VOC's, without the underscore.

    Args:
        folder: with `scribbles/train/images/*.jpg` and `scribbles/train/ground_truth/*.png`.

    Raises:
        DataError: no photograph, or one whose ground truth is missing or unreadable.
    """
    place = Path(folder) / TRAINING
    found = []
    for path in sorted((place / "images").glob("*.jpg")):
        truth = cv2.imread(str(place / "ground_truth" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if truth is None:
            raise DataError(f"{path}: expected its ground truth {path.stem}.png in {place / 'ground_truth'}")
        # A palette image: index 0 is black, and index 1 whatever colour its palette gives.
        count, parts, stats, _ = cv2.connectedComponentsWithStats((truth > 0).astype(np.uint8))
        image_id = int(path.stem.replace("_", ""))
        found += [
            Object(
                path,
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
    if not found:
        raise DataError(f"no photograph in {place / 'images'}; {HOW_TO_GET}")
    return found
