"""Masks for image files: what `python -m seglib predict` does."""

from __future__ import annotations

import copy
import glob
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from . import weights
from .config import Brush, Row
from .data.common import to_tensor
from .experiment import make_model
from .files import write_mask
from .refinement import refine
from .training import predict


def predict_files(
    row: Row,
    images: Sequence[str | Path],
    out: str | Path,
    weight_files: Sequence[str | Path] | None = None,
    hints: str | Path | None = None,
) -> list[str]:
    """Writes a mask for each image, STEM.png of the image's own size, 0 and 255, into the folder `out`.

    Several weights files are an ensemble: their probabilities are averaged. The arrays of an npz file become
    STEM_00000.png and so on. An input that cannot be read is named on stderr and left out; the others are done.

    Args:
        hints: for a report whose networks refine what a user drew: the folder with a picture for each image, under the
            same stem and of the same size, above 127 where the user said "object".

    Returns:
        The inputs that failed.

    Raises:
        WeightsError: before anything is written: weights that are missing or belong to another network.
        ValueError: likewise: hints where there is no use for them, or none where they are needed.
    """
    needed = isinstance(row.data, Brush)
    if needed != (hints is not None):
        wanted = "a folder of hints (--hints)" if needed else "no hints"
        raise ValueError(f"{row.report} takes {wanted}, got {'none' if hints is None else hints}")
    if needed and not Path(hints).is_dir():
        raise ValueError(f"expected a folder of hints, got {hints}")
    network = make_model(row)  # before the weights are looked for: a classical baseline has neither
    models, size = [], row.data.resize
    for path in weight_files or weights.shipped_weights(row.report, row.name):
        models.append(copy.deepcopy(network))
        weights.load(models[-1], path)
        if size is not None:  # a network is used at the size that it was trained at, whatever the scale
            trained = weights.metadata(path).get("size", str(size))
            size = None if trained == "None" else int(trained)
    failed, written = [], {}
    for path in map(Path, images):
        try:
            for stem, image in read_images(path, row.model.in_channels):
                if stem in written:
                    raise ValueError(f"its mask would replace that of {written[stem]}")
                written[stem] = path
                if needed:
                    config = row.data.model_copy(update={"longest": size})
                    found = refine(models, image, read_hint(Path(hints), stem), config)
                else:
                    found = probability(models, image, size)
                write_mask(Path(out) / f"{stem}.png", found >= 0.5)
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:
            failed.append(str(path))
            print(f"{path}: {error}; skipped", file=sys.stderr)
    return failed


def read_hint(folder: Path, stem: str) -> np.ndarray:
    """The hint for an image from the one picture in a folder that has its stem: int8 (H, W), 1 where it is above 127.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    for path in sorted(folder.glob(f"{glob.escape(stem)}.*")):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError(f"{path} is not a readable image")
        return (picture > 127).astype(np.int8)
    raise ValueError(f"no hint {stem}.png in {folder}")


def probability(models: Sequence[nn.Module], image: np.ndarray, size: int | None = None) -> np.ndarray:
    """Mean foreground probability of an ensemble for an 8-bit image (H, W) or (H, W, C): float32 (H, W).

    With `size`, the networks see the image at `size` × `size` pixels, by area, as in training; what they say is
    brought back to the image's own size by bilinear interpolation.
    """
    height, width = image.shape[:2]
    if size is not None:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    batch = to_tensor(image)[None]
    mean = torch.stack([predict(model, batch)[0, 0] for model in models]).mean(0).numpy()
    return mean if size is None else cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


def read_images(path: Path, channels: int) -> Iterator[tuple[str, np.ndarray]]:
    """The images of a file as (stem, 8-bit array): one of a picture, (H, W) grey or (H, W, 3) RGB; many of an npz."""
    if path.suffix == ".npz":
        try:
            with np.load(path) as arrays:  # allow_pickle is off: an npz cannot run code here
                stack = arrays["images"] if "images" in arrays else arrays[arrays.files[0]]
        except (OSError, ValueError, IndexError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"not a readable npz file ({error})") from None
        if stack.dtype != np.uint8 or stack.ndim != (3 if channels == 1 else 4) or 0 in stack.shape[1:]:
            raise ValueError(
                f"expected uint8 images (N, H, W{', C' if channels > 1 else ''}), got {stack.dtype} {stack.shape}"
            )
        yield from ((f"{path.stem}_{i:05d}", image) for i, image in enumerate(stack))
        return
    if not path.is_file():
        raise ValueError("no such file")
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("not a readable image")
    yield path.stem, image
