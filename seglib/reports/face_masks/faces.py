"""Face crops with masks: MFSD and MaskedFaceNet as they are published, generated faces, folds and augmentation."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import albumentations as A
import cv2
import matplotlib
import numpy as np
import skimage.data

from ...data.images import DataError, only_one, pictures_in, read_mask, read_photograph
from ...files import user_path
from .face_drawing import CANVAS, MASK_STYLES, Head, Light, draw_face, draw_mask, draw_person, texture

MFSD = Path("mfsd/MSFD/1")  # the publisher's folder is spelt like this
MASKED_FACE_NET = Path("masked_face_net")
HOW_TO_GET = {
    MFSD: "MFSD is published at https://github.com/sadjadrz/MFSD; put its folders face_crop and face_crop_segmentation "
    "there, or unset SEGLIB_DATA to use generated faces",
    MASKED_FACE_NET: "MaskedFace-Net is published at https://github.com/cabani/MaskedFace-Net; put its pictures into "
    "image and their masks into mask",
}


@dataclass
class Pairs:
    """RGB pictures uint8 (N, size, size, 3), masks uint8 (N, size, size) of 0 and 1, and a name for each pair."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Sequence[int]) -> Pairs:
        return Pairs(self.images[indices], self.masks[indices], [self.names[i] for i in indices])

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.masks, other.masks]),
            self.names + other.names,
        )


def generate(count: int, size: int, seed: int, two_people: float = 0.0) -> Pairs:
    """Draws masked faces.

    Args:
        count: how many frames, at least 1.
        size: height and width that they are reduced to, in pixels.
        seed: same seed, same faces; frame i depends on nothing but seed, i and `two_people`.
        two_people: share of the frames that show two people, 0 to 1.
    """
    if count < 1 or size < 1 or not 0 <= two_people <= 1:
        raise ValueError(
            f"expected count >= 1, size >= 1 and two_people from 0 to 1, got {count}, {size} and {two_people}"
        )

    def frame(i: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, i])
        people = 2 if rng.random() < two_people else 1
        return reduce(*draw_face(rng, people), size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy and OpenCV let several threads run
        frames = list(pool.map(frame, range(count)))
    images, masks = map(np.stack, zip(*frames))
    return Pairs(images, masks, [f"generated-{seed}-{i:05d}" for i in range(count)])


def reduce(image: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Both at `size` × `size` pixels: the image by area, the mask by nearest neighbour, so that it stays 0 and 1."""
    return (
        cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA),
        cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT),
    )


def read_mfsd(folder: str | Path, size: int) -> Pairs:
    """The face crops of MFSD below a folder of real data; its masks are JPEG files, so foreground is grey above 127.

    Pictures and masks are taken as they are stored, and masks as `seglib.data.images.read_mask` understands them.

    Args:
        folder: with pictures in `mfsd/MSFD/1/face_crop`, and masks of the same stems in `face_crop_segmentation`.
        size: height and width that everything is reduced to, in pixels.

    Raises:
        DataError: no usable pair. One that cannot be used is named in a warning and left out.
    """
    return _read(user_path(folder), MFSD, "face_crop", "face_crop_segmentation", size)


def read_masked_face_net(folder: str | Path, size: int) -> Pairs:
    """MaskedFaceNet's faces, with masks drawn on by software: pictures in `masked_face_net/image`, masks in `mask`.

    Arguments and errors as for `read_mfsd`.
    """
    return _read(user_path(folder), MASKED_FACE_NET, "image", "mask", size)


def _read(folder: Path, dataset: Path, images: str, masks: str, size: int) -> Pairs:
    found, skipped = [], []
    known = pictures_in(folder / dataset / masks)
    for name, paths in pictures_in(folder / dataset / images).items():
        try:
            found.append((*_read_pair(only_one(paths), only_one(known.get(name, []), "mask"), size), name))
        except ValueError as error:
            skipped.append(f"{paths[0].name}: {error}")
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(found) + len(skipped)} pairs in {folder / dataset} left out: {'; '.join(skipped)}",
            stacklevel=3,
        )
    if not found:
        raise DataError(
            f"no pair of picture and mask in {folder / dataset / images} and {folder / dataset / masks}"
            f"{f' (of {len(skipped)}, the first: {skipped[0]})' if skipped else ''}; {HOW_TO_GET[dataset]}"
        )
    pictures, truths, names = zip(*found)
    return Pairs(np.stack(pictures), np.stack(truths), list(names))


def _read_pair(image_path: Path, mask_path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = read_photograph(image_path, as_stored=True), read_mask(mask_path, as_stored=True)
    if image.shape[:2] != mask.shape:
        raise ValueError(f"its mask has {mask.shape[1]}×{mask.shape[0]} pixels, not {image.shape[1]}×{image.shape[0]}")
    return reduce(image, mask.astype(np.uint8), size)


def person(name: str) -> str:
    """Whose picture an MFSD file shows: its name without the numbers and the source's file name behind them.

    Pictures of one person must not lie on both sides of a split. Another name is a person of its own.

    Example:
        >>> person("faceMsak_jingtian_1_0_7"), person("facemsak_zhangbo_0_0_1"), person("00042")
        ('jingtian', 'zhangbo', '00042')
    """
    match = re.match(r"face(?:mask|msak)\d*_(?:t1_|ttt_)?+([a-z]+)_", name, re.IGNORECASE)
    return match[1].lower() if match else name


def split_folds(names: Sequence[str], folds: int, seed: int) -> list[np.ndarray]:
    """Shares out indices into `folds` parts of about equal size, all pictures of a person into the same one.

    Raises:
        ValueError: fewer than two folds, or fewer people than folds.
    """
    people: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        people.setdefault(person(name), []).append(i)
    if not 2 <= folds <= len(people):
        raise ValueError(f"expected 2 folds or more, and at least as many people, got {folds} and {len(people)} people")
    parts: list[list[int]] = [[] for _ in range(folds)]
    groups = list(people.values())
    order = np.random.default_rng(seed).permutation(len(groups))
    for group in sorted((groups[i] for i in order), key=len, reverse=True):
        min(parts, key=len).extend(group)
    return [np.array(sorted(part)) for part in parts]


def weak_augmentation() -> A.Compose:
    """Model 2's: mirror images, rotation by up to 10°, brightness, contrast and saturation by up to 10 %."""
    return _augmentation(10, 0.1)


def strong_augmentation() -> A.Compose:
    """Model 3's: mirror images, rotation by up to 15°, brightness, contrast and saturation by up to 20 %."""
    return _augmentation(15, 0.2)


def _augmentation(degrees: float, jitter: float) -> A.Compose:
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            # Mirrored at the border: a black corner would be a shape that no photograph has.
            A.Rotate(degrees, border_mode=cv2.BORDER_REFLECT_101, p=1),
            _color_jitter(jitter),
        ]
    )


def wide_augmentation() -> A.Compose:
    """What a few real crops need to stand for many: also zoom, shift, stretch and shear, light, grain, blur, JPEG."""
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale={"x": (0.75, 1.3), "y": (0.75, 1.3)},
                translate_percent={"x": (-0.12, 0.12), "y": (-0.12, 0.12)},
                rotate=(-20, 20),
                shear=(-8, 8),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.9,
            ),
            A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4, hue=0.1, p=0.8),
            A.RandomGamma(gamma_limit=(70, 140), p=0.3),
            A.ToGray(p=0.08),
            A.OneOf([A.GaussianBlur((3, 5)), A.Downscale(scale_range=(0.4, 0.8))], p=0.25),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.25),
            A.ImageCompression(quality_range=(30, 90), p=0.25),
            A.CoarseDropout(
                num_holes_range=(1, 3),
                hole_height_range=(0.05, 0.2),
                hole_width_range=(0.05, 0.2),
                fill="random_uniform",
                p=0.2,
            ),
        ]
    )


class RotateImageOnly(A.ImageOnlyTransform):
    """A bug to learn from: turns the picture by up to 10° and leaves its mask where it was."""

    def get_params(self) -> dict:
        return {"degrees": self.py_random.uniform(-10, 10)}

    def apply(self, img: np.ndarray, degrees: float, **params) -> np.ndarray:
        height, width = img.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1)
        return cv2.warpAffine(img, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def image_only_augmentation() -> A.Compose:
    """`weak_augmentation` with the bug of `RotateImageOnly`. (The report's program mirrors the picture alone as well:
    https://github.com/Tanish-pat/VR_PROJECTS, commit 816c9be, msfd-unet-segmentation.ipynb.)"""
    return A.Compose([A.HorizontalFlip(p=0.5), RotateImageOnly(p=1), _color_jitter(0.1)])


def _color_jitter(strength: float) -> A.ColorJitter:
    return A.ColorJitter(brightness=strength, contrast=strength, saturation=strength, hue=0, p=1)


AUGMENTATIONS = {
    "faces-weak": weak_augmentation,
    "faces-strong": strong_augmentation,
    "faces-wide": wide_augmentation,
    "faces-image-only": image_only_augmentation,
}


def portraits() -> dict[str, tuple[np.ndarray, Head]]:
    """Two photographs of people that come with installed packages: RGB uint8 (256, 256, 3), and the head as we placed
    it by eye. NASA's portrait of Eileen Collins (scikit-image), the US Navy's of Grace Hopper (Matplotlib); both are
    in the public domain."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    places = {
        "Eileen Collins": (skimage.data.astronaut(), (145, 35, 160), Head(126, 116, 76, 116, yaw=-6, roll=4)),
        "Grace Hopper": (
            read_photograph(hopper),
            (120, 90, 260),
            Head(132, 118, 82, 108, yaw=-3, roll=-2),
        ),
    }
    found = {}
    for name, (photograph, (left, top, side), head) in places.items():
        crop = photograph[top : top + side, left : left + side]
        found[name] = cv2.resize(crop, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA), head
    return found


def mask_portrait(
    portrait: np.ndarray, head: Head, seed: int, style: str | None = None, size: int = CANVAS
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a mask onto a photograph of a face.

    Args:
        portrait: RGB uint8 (256, 256, 3).
        head: where the face is, and how it is turned.
        seed: of everything about the mask but, where it is given, its style.
        style: one of `face_drawing.MASK_STYLES`.
        size: height and width of what is returned, in pixels.

    Returns:
        Picture uint8 (size, size, 3) and mask uint8 (size, size) of 0 and 1.
    """
    if portrait.shape != (CANVAS, CANVAS, 3) or portrait.dtype != np.uint8:
        raise ValueError(f"expected a uint8 portrait ({CANVAS}, {CANVAS}, 3), got {portrait.dtype} {portrait.shape}")
    if style is not None and style not in MASK_STYLES:
        raise ValueError(f"style: expected one of {', '.join(MASK_STYLES)}; got {style!r}")
    rng = np.random.default_rng(seed)
    light = Light(np.array([0.0, -0.3, 0.954]), 0.6)
    canvas, mask = draw_mask(portrait / 255, head, light, rng, style)
    return reduce(np.clip(np.round(canvas * 255), 0, 255).astype(np.uint8), (mask > 0.5).astype(np.uint8), size)


def report_figures() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Drawn, what the report's figures 2 to 5 show: two people, a profile with a printed mask, and two black masks,
    which are drawn onto `portraits`. Pictures uint8 (256, 256, 3) and masks uint8 (256, 256) of 0 and 1."""
    found = {"two people": draw_face(np.random.default_rng(60), people=2)}
    ground = texture(np.random.default_rng(5)) * 0.9
    light, profile = Light(np.array([-0.4, -0.3, 0.866]), 0.5), Head(124, 108, 112, 130, yaw=72)
    canvas, mask = draw_person(ground, profile, light, np.random.default_rng(23))
    found["profile"] = np.clip(canvas * 255, 0, 255).astype(np.uint8), (mask == 1).astype(np.uint8)
    for name, (photograph, head) in portraits().items():
        found[f"{name}, black mask"] = mask_portrait(photograph, head, 1, "black")
    return found
