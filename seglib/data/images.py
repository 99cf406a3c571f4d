"""The one place where pictures, masks and labels are read from files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


class DataError(ValueError):
    """Data that cannot be used; the message says what was looked for, where, and how to get it."""


def read_photograph(path: str | Path, *, grey: bool = False, as_stored: bool = False) -> np.ndarray:
    """A picture as 8-bit RGB (H, W, 3), or `grey` (H, W).

    Args:
        as_stored: not turned as its EXIF tag says. A mask has none, and would be left where it is.

    Raises:
        DataError: it cannot be read.
    """
    how = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
    picture = cv2.imread(str(path), how | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0))
    if picture is None:
        raise DataError(f"{path}: {'not a readable image' if Path(path).is_file() else 'no such file'}")
    return picture


def read_rough_mask(path: str | Path) -> np.ndarray:
    """A rough mask from a picture, int8 (H, W): 1 where it is above 127. Errors as for `read_photograph`."""
    return (read_photograph(path, grey=True) > 127).astype(np.int8)


def read_labels(path: str | Path) -> np.ndarray:
    """The numbers in a picture (H, W): indices into a palette, grey values, or colours whose channels are equal.

    Raises:
        DataError: it cannot be read, or has colours.
    """
    try:
        with Image.open(path) as file:
            picture = np.array(file)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG is SyntaxError
        raise DataError(f"{path}: not a readable image ({error})") from None
    if picture.ndim == 3:
        if (picture[..., :3] != picture[..., :1]).any():
            raise DataError(f"{path}: expected a picture of labels, got one with colours")
        picture = picture[..., 0]
    return picture


def read_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of a picture, without reading its pixels; None where there is none that can be read."""
    try:
        with Image.open(path) as picture:
            return picture.size[1], picture.size[0]
    except OSError:
        return None


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file; objects, which could run code, are refused.

    Raises:
        DataError: it cannot be read whole.
    """
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a whole npz file ({error}); was it cut short?") from None
