"""Objects of a data set in COCO's format: the published one, generated scenes, or the course's own photographs."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import albumentations as A
import cv2
import matplotlib
import numpy as np
import skimage
from pycocotools import mask as rle
from pycocotools.coco import COCO

from ..files import shipped
from .images import DataError, read_photograph

HOW_TO_GET = (
    "`python -m seglib download coco-val2017` fetches 5,000 images into SEGLIB_DATA; without SEGLIB_DATA, generated "
    "scenes are used"
)


@dataclass(frozen=True)
class Object:
    """One annotated object: where its photograph is, and its outline.

    Attributes:
        path: of the image file.
        image_id, annotation_id: COCO's.
        category: its name.
        size: height and width of the image in pixels.
        area: of the object in pixels, as the annotation says.
        overlapping: how many other objects' boxes overlap this one's.
        annotated: how many objects are annotated in the image.
        segmentation: polygons or run lengths, as in COCO's files.
    """

    path: Path
    image_id: int
    annotation_id: int
    category: str
    size: tuple[int, int]
    area: float
    overlapping: int
    annotated: int
    segmentation: list | dict = field(repr=False)

    def mask(self) -> np.ndarray:
        """The object's pixels, bool (H, W); where polygons overlap, their union.

        Raises:
            DataError: the annotation is no outline.
        """
        segmentation = self.segmentation
        try:
            if isinstance(segmentation, list):
                segmentation = rle.merge(rle.frPyObjects(segmentation, *self.size))
            elif isinstance(segmentation["counts"], list):
                segmentation = rle.frPyObjects(segmentation, *self.size)
            return rle.decode(segmentation).astype(bool)
        except Exception as error:  # pycocotools raises that very class
            raise DataError(f"annotation {self.annotation_id}: expected polygons or run lengths: {error}") from None

    def image(self) -> np.ndarray:
        """The photograph, uint8 RGB (H, W, 3).

        Raises:
            DataError: it cannot be read, or has another size than the annotations say.
        """
        image = read_photograph(self.path)
        if image.shape[:2] != self.size:
            raise DataError(
                f"{self.path}: expected height and width {self.size} as its annotations say, got {image.shape[:2]}"
            )
        return image


def read_coco(images: str | Path, annotations: str | Path) -> list[Object]:
    """The objects of a folder of images and a file of instances in COCO's format; crowds are left out.

    Images that are not in the folder are counted, named and left out with a warning.

    Returns:
        At least one object, ordered by image id and annotation id.

    Raises:
        DataError: a missing folder or file, one that is not in COCO's format, or no object.
    """
    images, annotations = Path(images), Path(annotations)
    for path, there in ((images, images.is_dir()), (annotations, annotations.is_file())):
        if not there:
            raise DataError(f"expected COCO's images and annotations, but there is no {path}; {HOW_TO_GET}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress
            coco = COCO(annotations)
        found, missing = [], []
        for image_id in sorted(coco.imgs):
            entry = coco.imgs[image_id]
            mine = sorted(coco.loadAnns(coco.getAnnIds(image_id)), key=lambda annotation: annotation["id"])
            mine = [annotation for annotation in mine if not annotation["iscrowd"] and annotation["segmentation"]]
            path = images / entry["file_name"]
            if mine and not path.is_file():
                missing.append(path.name)
                continue
            found += [
                Object(
                    path,
                    image_id,
                    annotation["id"],
                    coco.cats[annotation["category_id"]]["name"],
                    (entry["height"], entry["width"]),
                    float(annotation["area"]),
                    sum(_overlap(annotation["bbox"], other["bbox"]) for other in mine if other is not annotation),
                    len(mine),
                    annotation["segmentation"],
                )
                for annotation in mine
            ]
    except (ValueError, AssertionError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{annotations}: expected instances in COCO's format, got {error!r}") from None
    if missing:
        warnings.warn(f"{len(missing)} images are not in {images} and left out: {', '.join(missing[:5])}", stacklevel=2)
    if not found:
        raise DataError(f"{annotations}: no object whose image is in {images}; {HOW_TO_GET}")
    return found


def largest(objects: Sequence[Object]) -> list[Object]:
    """Of each image the object with the largest area (the first of equals), as the report takes them."""
    best: dict[int, Object] = {}
    for entry in objects:
        if entry.image_id not in best or entry.area > best[entry.image_id].area:
            best[entry.image_id] = entry
    return list(best.values())


def find_coco(folder: str | Path) -> list[tuple[Path, Path]]:
    """The image folders of COCO 2017 in `folder`/coco, each with its file of instances.

    Raises:
        DataError: there is none.
    """
    coco = Path(folder) / "coco"
    found = [(coco / part, coco / "annotations" / f"instances_{part}.json") for part in ("train2017", "val2017")]
    found = [pair for pair in found if pair[0].is_dir()]
    if not found:
        raise DataError(f"expected train2017 or val2017 in {coco}; {HOW_TO_GET}")
    return found


def photographs() -> list[Object]:
    """The objects in scikit-image's and Matplotlib's sample photographs, outlined by hand for this course."""
    annotations = shipped("data") / "photographs" / "annotations.json"
    sources = {
        "skimage": Path(skimage.__file__).parent / "data",
        "matplotlib": Path(matplotlib.get_data_path()) / "sample_data",
    }
    objects = []
    for name in sources:
        with warnings.catch_warnings():  # the other package's photographs are not missing
            warnings.simplefilter("ignore")
            objects += read_coco(sources[name], annotations)
    return sorted(objects, key=lambda entry: entry.annotation_id)


def split_by_image(
    objects: Sequence[Object], training: int, validation: int, seed: int
) -> tuple[list[Object], list[Object]]:
    """Two parts of a data set, chosen at random, that share no image.

    Args:
        training, validation: how many images each part gets; with fewer images at hand, all are used in that ratio.

    Raises:
        DataError: so few images that one part would be empty.
    """
    ids = sorted({entry.image_id for entry in objects})
    total = min(len(ids), training + validation)
    held_out = round(total * validation / (training + validation))
    if not 0 < held_out < total:
        raise DataError(
            f"{len(ids)} images cannot be split {training}:{validation}; expected enough for one in each part"
        )
    chosen = np.random.default_rng(seed).permutation(ids)[:total].tolist()
    parts = set(chosen[held_out:]), set(chosen[:held_out])
    return tuple([entry for entry in objects if entry.image_id in part] for part in parts)


def photograph_augmentation() -> A.Compose:
    """What leaves a photograph a photograph: mirrored, turned by up to 10°, zoomed by up to a fifth, another light."""
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-10, 10), scale=(0.8, 1.2), border_mode=cv2.BORDER_REFLECT_101, p=0.7),
            A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(0, 0), p=0.7),
        ]
    )


AUGMENTATIONS = {"photographs": photograph_augmentation}


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes (left, top, width, height) share an area."""
    return all(one[k] < other[k] + other[k + 2] and other[k] < one[k] + one[k + 2] for k in (0, 1))
