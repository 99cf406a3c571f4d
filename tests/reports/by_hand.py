"""What tests of several reports make by hand: shapes, pictures, and folders of real data sets."""

import json

import cv2
import numpy as np

from seglib.data import challenge, scenes


def rng(seed=0):
    return np.random.default_rng(seed)


def disc(height, width, y, x, radius):
    yy, xx = np.mgrid[:height, :width]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def box(height, width, rows, columns):
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def overlap(found, truth):
    """Intersection over union of two masks of 0 and 1."""
    both, either = ((found == 1) & (truth == 1)).sum(), ((found == 1) | (truth == 1)).sum()
    return both / either if either else 1.0


def smooth_picture(height, width, seed=0):
    """RGB uint8 (H, W, 3), of colours that run into each other."""
    small = rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def two_colours(mask, inside, outside, sigma=0.0, seed=0):
    """RGB uint8 (H, W, 3): one colour where the mask is, another where it is not, and noise."""
    picture = np.where(mask[..., None] == 1, inside, outside) + rng(seed).normal(0, sigma, (*mask.shape, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def store_challenge(folder, name, image, strokes, truth, part="train"):
    """A photograph of the scribble challenge with strokes and truth, below `folder`; where they lie."""
    place = folder / "scribbles" / part
    for kind in ("images", "ground_truth"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(place / "images" / f"{name}.jpg"), image[..., ::-1])
    cv2.imwrite(str(place / "ground_truth" / f"{name}.png"), truth.astype(np.uint8))
    challenge.write_scribble(place / "scribbles" / f"{name}.png", strokes)
    return place


def store_coco(folder, part, photographs):
    """A part of COCO, such as "val2017", below `folder`, of {number: (picture, [(category, mask, is a crowd)])}."""
    place = folder / "coco"
    for new in (place / part, place / "annotations"):
        new.mkdir(parents=True, exist_ok=True)
    categories = sorted({category for _, objects in photographs.values() for category, *_ in objects})
    images, annotations = [], []
    for number, (picture, objects) in photographs.items():
        name, (height, width) = f"{number:012d}.jpg", picture.shape[:2]
        cv2.imwrite(str(place / part / name), picture[..., ::-1])
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for k, (category, mask, crowd) in enumerate(objects):
            about = scenes.describe(mask, crowd=True) | {"iscrowd": int(crowd)}  # run lengths, which are exact
            annotations.append(
                {"id": 10 * number + k, "image_id": number, "category_id": categories.index(category)} | about
            )
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(categories)]
    (place / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
