"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

__all__ = ["root", "shipped", "user_path", "write_grey", "write_mask", "write_whole"]


def write_whole(path: str | Path, write: Callable[[BinaryIO], object], what: str = "file") -> Path:
    """Lets `write` fill a temporary file beside `path` and puts it in place only when that worked.

    A reader finds the old file or the new one, never half of it, even after a power cut.

    Raises:
        OSError: the folder cannot be made or written to, or the disk is full; the message names `what` and `path`.
    """
    path = user_path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".seglib.")
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"cannot write the {what}: {error.strerror or error}", str(path)) from error
        raise
    return path


def user_path(path: str | Path) -> Path:
    """A path as a user gave it; `~` is the home folder, which a shell does not see to everywhere.

    Raises:
        ValueError: nobody knows where the home folder is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        if Path(path).parts[0] != "~":  # of a name that begins with the sign, and is no user's
            return Path(path)
        raise ValueError(f"{path}: the home folder is not known; name it in full") from None


def write_mask(path: str | Path, mask: np.ndarray) -> Path:
    """Writes a mask (H, W) as a PNG file, whole or not at all: bool as 0 and 255, class labels uint8 as they are.
    Raises OSError as `write_whole`."""
    return write_grey(path, mask.astype(np.uint8) * 255 if mask.dtype == bool else mask)


def write_grey(path: str | Path, picture: np.ndarray) -> Path:
    """Writes a grey picture or class labels, uint8 (H, W), as a PNG file, likewise."""
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    return write_whole(path, lambda file: file.write(encoded), "mask")


def root() -> Path | None:
    """The checkout that this package is run from, or None where it was installed without one."""
    folder = Path(__file__).parent.parent
    return folder if (folder / "configs").is_dir() and (folder / "pyproject.toml").is_file() else None


def shipped(folder: str) -> Path:
    """A folder that comes with the package: `configs`, `results` or `weights`, in a checkout or installed."""
    return (root() or Path(__file__).parent) / folder
