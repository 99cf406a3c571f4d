"""What the reports' data share: a checked dataset of image and mask pairs, and seeded augmentation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..items import described, hashed, said
from ..training import hash_seed


def flips_and_quarter_turns() -> A.Compose:
    """Horizontal and vertical flips and rotations by 90°, 180° and 270°: the eight symmetries of the square.

    A quarter turn swaps height and width, so images that are batched must be square.
    """
    return A.Compose([A.D4(p=1)])


class EpochDataset(Dataset):
    """Pairs of image and binary mask that are augmented anew in every epoch.

    What an item looks like depends on `seed`, the epoch and its index alone: not on the order in which items are
    asked for, nor on how many loader workers or processes ask. So a resumed run sees what an unbroken one would.

    Args:
        augment: an albumentations pipeline that reaches image and mask alike, or None.
        seed: of everything random.

    Attributes:
        names: of the items, for files that are written about them.
        masks: the true ones, as they are measured with.
        images: as they are before augmentation, where networks normalise.
    """

    names: list[str]
    masks: Any
    images: Any

    def __init__(self, augment: A.Compose | None, seed: int):
        if augment is not None and not isinstance(augment, A.BasicTransform | A.BaseCompose):
            raise ValueError(f"augment: expected a pipeline of albumentations, or None, got {said(augment)}")
        self.augment, self.seed = augment, seed
        # In shared memory, so that loader workers that live on from epoch to epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def digest(self) -> str:
        """What tells its content and augmentation, whatever the epoch, from that of others: see
        `seglib.items.digest`."""
        return hashed(self.names, self.images, self.masks, self.drawn())

    def drawn(self) -> list[object]:
        """What random numbers are drawn from, and what for, as `digest` takes it."""
        return [self.seed, described(self.augment)]

    def augmented(self, image: np.ndarray, mask: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """An image and its mask as item `index` has them in this epoch."""
        if self.augment is None:
            return image, mask
        seed = hash_seed(self.seed, self.epoch, index)
        # One stream for the whole pipeline: set_random_seed would start each of its transforms with the same
        # numbers, and how far a picture turns would tell how bright it becomes.
        self.augment.set_random_state(np.random.default_rng(seed), random.Random(seed))
        # OpenCV 4.11 turns no Booleans, and none turns numbers of 16 bits.
        mask = mask.astype(np.uint8) if mask.dtype in (bool, np.float16) else mask
        augmented = self.augment(image=image, mask=mask)
        return augmented["image"], augmented["mask"]


class SegmentationDataset(EpochDataset):
    """Pairs of image and binary mask, checked once, augmented anew in every epoch (see `EpochDataset`).

    Args:
        images: N arrays (H, W) or (H, W, C), uint8 or float in [0, 1]; other floats than float32 become such.
        masks: N arrays (H, W) of 0 and 1.
        augment, seed: as for `EpochDataset`.
        names: of the pairs, for files that are written about them; default: 00000, 00001 …

    Items: image float32 (C, H, W) in [0, 1] and mask float32 (1, H, W) of 0 and 1.

    Attributes:
        sizes: height and width of each image, where they differ; else none. So `fit` pads batches.

    Raises:
        ValueError: no pairs; other things than arrays; different numbers or sizes; a mask with other values than 0 and
            1; an image that is not finite. The message names the pair.
    """

    def __init__(
        self,
        images: Sequence,
        masks: Sequence,
        *,
        augment: A.Compose | None = None,
        seed: int = 0,
        names: Sequence[str] | None = None,
    ):
        super().__init__(augment, seed)
        check_pairs(images, masks)
        self.images, self.masks = as_float32(images), masks
        sizes = [image.shape[:2] for image in images]
        self.sizes = sizes if len(set(sizes)) > 1 else []
        self.names = [f"{i:05d}" for i in range(len(images))] if names is None else list(names)
        if len(self.names) != len(images):
            raise ValueError(f"expected a name for each of {len(images)} pairs, got {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.images)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask as they are before augmentation."""
        return self.images[index], self.masks[index]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.augmented(*self.pair(index), index)
        return to_tensor(image), torch.from_numpy(np.array(mask, order="C")).float()[None]


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C), uint8 or float in [0, 1] → float32 tensor (C, H, W) in [0, 1]."""
    tensor = torch.from_numpy(np.array(image, order="C"))  # a copy: flipped arrays have negative strides
    scale = 255 if tensor.dtype == torch.uint8 else 1
    tensor = tensor.float() / scale
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def as_float32(images: Sequence) -> Sequence:
    """Images that are neither uint8 nor float32 as float32, for OpenCV, which augments them, takes no others; a stack
    stays one, and where there is nothing to change it is the same."""
    kept = (np.uint8, np.float32)
    if all(image.dtype in kept for image in images):
        return images
    if isinstance(images, np.ndarray) and images.dtype != object:
        return images.astype(np.float32)
    return [image if image.dtype in kept else image.astype(np.float32) for image in images]


def channel_statistics(images: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of all images, on the scale from 0 to 1.

    Args:
        images: N arrays (H, W) or (H, W, C), uint8 or float in [0, 1]; at least one.

    Returns:
        Two float64 arrays (C,).
    """
    moments = []
    for image in images:
        pixels = image.reshape(image.shape[0] * image.shape[1], -1).astype(np.float64)
        pixels /= 255 if image.dtype == np.uint8 else 1
        moments.append((len(pixels), pixels.sum(0), (pixels**2).sum(0)))
    count, total, squares = (sum(column) for column in zip(*moments))
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def check_pairs(images: Sequence, masks: Sequence) -> None:
    """Raises ValueError, naming the first bad pair, unless every image has a mask of its size and values are legal."""
    if len(images) != len(masks):
        raise ValueError(f"expected as many masks as images, got {len(images)} images and {len(masks)} masks")
    if len(images) == 0:
        raise ValueError("expected at least one pair of image and mask, got an empty data set")
    for i, (image, mask) in enumerate(zip(images, masks)):
        for name, value in (("image", image), ("mask", mask)):
            if not isinstance(value, np.ndarray):
                raise ValueError(
                    f"pair {i}: expected {name} as a NumPy array, got {said(value)}; np.array({name}) makes it one"
                )
        if image.ndim not in (2, 3) or not image.size or image.shape[1:] == mask.shape != image.shape[:2]:
            how = "; image.transpose(1, 2, 0) puts the channels last" if image.ndim == 3 else ""
            raise ValueError(f"pair {i}: expected an image (H, W) or (H, W, C), got one of shape {image.shape}{how}")
        if image.shape[:2] != mask.shape:
            how = "; mask[..., 0] is its first channel" if mask.shape[:2] == image.shape[:2] else ""
            raise ValueError(
                f"pair {i}: expected a mask of the image's size {image.shape[:2]}, got one of shape {mask.shape}{how}"
            )
        if mask.dtype != bool and not (((mask == 0) | (mask == 1)).all()):
            found = np.unique(mask)[:5].tolist()
            raise ValueError(f"pair {i}: expected mask values 0 and 1, got {found}; divide a 0/255 mask by 255")
        if image.dtype != np.uint8 and not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                f"pair {i}: expected a uint8 image, or finite floats in [0, 1], got {image.dtype} values from "
                f"{image.min()} to {image.max()}"
            )
