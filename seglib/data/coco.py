"""Objects of a data set in COCO's format: the published one, generated scenes, or the course's own photographs."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import albumentations as A
import cv2
import matplotlib
import numpy as np
import skimage
from pycocotools import mask as rle

from ..files import shipped, user_path
from .images import DataError, DataWarning, read_annotated
from .instances import check_outline, find_photograph, read_instances, shortened

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
        try:
            check_outline(self.segmentation, *self.size)
        except DataError as error:
            raise DataError(f"annotation {self.annotation_id}: {error}") from None
        segmentation = self.segmentation
        if isinstance(segmentation, list):
            segmentation = rle.merge(rle.frPyObjects(segmentation, *self.size))
        elif isinstance(segmentation["counts"], list):
            segmentation = rle.frPyObjects(segmentation, *self.size)
        return rle.decode(segmentation).astype(bool)

    def image(self) -> np.ndarray:
        """The photograph, uint8 RGB (H, W, 3), as its outlines lie on it: as stored, or turned as its EXIF tag says
        where only that has the size that the annotations say.

        Raises:
            DataError: it cannot be read, or has another size.
        """
        return read_annotated(self.path, self.size)


def read_coco(images: str | Path, annotations: str | Path, *, strict: bool = True) -> list[Object]:
    """The objects of a folder of images and a file of instances in COCO's format; crowds are left out.

    Images that are not in the folder are counted, named and left out with a warning.

    Args:
        strict: whether an annotation that cannot be used is an error. If not, such are counted, the first are named,
            and all are left out with a warning.

    Returns:
        At least one object, ordered by image id and annotation id.

    Raises:
        DataError: a missing folder or file, one that is not in COCO's format, or no object.
    """
    images, annotations = user_path(images), user_path(annotations)
    for path, there in ((images, images.is_dir()), (annotations, annotations.is_file())):
        if not there:
            raise DataError(f"expected COCO's images and annotations, but there is no {path}; {HOW_TO_GET}")
    data = read_instances(annotations, strict=strict)
    names = {entry["id"]: entry["name"] for entry in data["categories"]}
    objects = defaultdict(list)
    for annotation in data["annotations"]:
        if not annotation["iscrowd"]:
            objects[annotation["image_id"]].append(annotation)
    found, missing = [], []
    for entry in data["images"]:
        mine = objects[entry["id"]]
        path = find_photograph(images, entry["file_name"]) if mine else None
        if path is None:
            missing += [entry["file_name"]] if mine else []
            continue
        overlapping = _overlaps([annotation["bbox"] for annotation in mine])
        found += [
            Object(
                path,
                entry["id"],
                annotation["id"],
                names[annotation["category_id"]],
                (entry["height"], entry["width"]),
                float(annotation["area"]),
                others,
                len(mine),
                annotation["segmentation"],
            )
            for annotation, others in zip(mine, overlapping)
        ]
    if missing:
        first = ", ".join(map(shortened, missing[:5]))
        warnings.warn(f"{len(missing)} images are not in {images} and left out: {first}", DataWarning, stacklevel=2)
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

    A folder without files, which a download that broke off leaves, is left out; with a warning, if there is another.

    Raises:
        DataError: there is none.
    """
    coco = user_path(folder) / "coco"
    found = [(coco / part, coco / "annotations" / f"instances_{part}.json") for part in ("train2017", "val2017")]
    found = [pair for pair in found if pair[0].is_dir()]
    empty = [images for images, _ in found if not any(path.is_file() for path in images.glob("[!.]*"))]
    found = [pair for pair in found if pair[0] not in empty]
    if found and empty:
        warnings.warn(f"{empty[0]} has no images and is left out", DataWarning, stacklevel=2)
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


def wider_augmentation() -> A.Compose:
    """The same, and more of it, for long training on few photographs: also grey ones, blurred ones, another hue."""
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(rotate=(-25, 25), scale=(0.7, 1.3), shear=(-8, 8), border_mode=cv2.BORDER_REFLECT_101, p=0.8),
            A.ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.4, 1.6), hue=(-0.05, 0.05), p=0.8),
            A.ToGray(p=0.05),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=0.1),
        ]
    )


AUGMENTATIONS = {"photographs": photograph_augmentation, "wider": wider_augmentation}


def _overlaps(boxes: Sequence[Sequence[float]]) -> list[int]:
    """Of each box (left, top, width, height), how many others share an area with it."""
    corners = [(left, top, left + width, top + height) for left, top, width, height in boxes]
    return [
        sum(l < right and left < r and t < bottom and top < b for l, t, r, b in corners)  # noqa: E741
        - (left < right and top < bottom)  # itself
        for left, top, right, bottom in corners
    ]
