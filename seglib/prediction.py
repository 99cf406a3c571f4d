"""Masks for image files: what `python -m seglib predict` does."""

from __future__ import annotations

import copy
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from . import weights
from .config import Brush, Mars, Row, Scribbles, Shapes
from .data import mars
from .data.common import to_tensor
from .data.scribbles import read_scribble
from .experiment import classify, make_model
from .files import write_grey, write_mask
from .refinement import fill_in, refine
from .training import predict


def predict_files(
    row: Row,
    images: Sequence[str | Path],
    out: str | Path,
    weight_files: Sequence[str | Path] | None = None,
    hints: str | Path | None = None,
    submission: str | Path | None = None,
) -> list[str]:
    """Writes a mask for each image, STEM.png of the image's own size, 0 and 255 or class labels, into the folder `out`.

    Several weights files are an ensemble: their probabilities are averaged. The arrays of an npz file become
    STEM_00000.png and so on. An input that cannot be read is named on stderr and left out; the others are done.

    Args:
        hints: for a report whose networks start from what a user drew: the folder with a picture for each image, under
            the same stem and of the same size. Rough masks are above 127 where the user said "object"; scribbles are 0
            on the background's strokes, 1 on the object's and 255 elsewhere, as the challenge has them.
        submission: for class labels: a file that gets them all in one, see `seglib.data.mars.write_submission`; not
            written where an input failed.

    Returns:
        The inputs that failed.

    Raises:
        WeightsError: before anything is written: weights that are missing or belong to another network.
        ValueError: likewise: hints where there is no use for them, or none where they are needed; a submission of
            masks that are no class labels.
    """
    if submission and not isinstance(row.data, Mars):
        raise ValueError(f"a submission holds class labels, as those of mars_terrain; {row.report} has masks")
    needed = isinstance(row.data, (Brush, Scribbles))
    if needed != (hints is not None):
        wanted = "a folder of hints (--hints)" if needed else "no hints"
        raise ValueError(f"{row.report} takes {wanted}, got {'none' if hints is None else hints}")
    if needed and not Path(hints).is_dir():
        raise ValueError(f"expected a folder of hints, got {hints}")
    network = make_model(row)  # before the weights are looked for: a classical baseline has neither
    ensemble = []
    for path in weight_files or weights.shipped_weights(row.report, row.name):
        model = copy.deepcopy(network)
        weights.load(model, path)
        ensemble.append((model, trained_size(row, path)))
    failed, written, labelled = [], {}, []
    for path in map(Path, images):
        try:
            for stem, image in read_images(path, row.model.in_channels):
                if stem in written:
                    raise ValueError(f"its mask would replace that of {written[stem]}")
                written[stem] = path
                hint = read_hint(Path(hints), stem, HINT_READERS[type(row.data)]) if needed else None
                found = np.mean([_probability(row, model, size, image, hint) for model, size in ensemble], axis=0)
                if isinstance(row.data, Mars):
                    labelled.append(found.argmax(0).astype(np.uint8))
                    write_grey(Path(out) / f"{stem}.png", labelled[-1])
                else:
                    write_mask(Path(out) / f"{stem}.png", found >= 0.5)
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:
            failed.append(str(path))
            print(f"{path}: {error}; skipped", file=sys.stderr)
    if submission and failed:
        print(f"{submission}: not written, for {len(failed)} of its pictures are missing", file=sys.stderr)
    elif submission:
        mars.write_submission(submission, labelled)
    return failed


def trained_size(row: Row, path: str | Path) -> int | tuple[int, int] | None:
    """The size that a weights file says its network sees pictures at, else the row's; None: their own. With strokes and
    of terrain, width and height."""
    if isinstance(row.data, Shapes):
        return None
    said = weights.metadata(path).get("size", str(row.data.resize))
    if isinstance(row.data, (Scribbles, Mars)):
        return tuple(map(int, said.split("x")))
    return None if said == "None" else int(said)


def _probability(row: Row, model: nn.Module, size: int | tuple | None, image: np.ndarray, hint: np.ndarray | None):
    """Of the foreground (H, W), or of each class (classes, H, W)."""
    if isinstance(row.data, Mars):
        width, height = size
        return classify([model], image[None], row.data.model_copy(update={"width": width, "height": height}))[0]
    if hint is None:
        return probability([model], image, size)
    if isinstance(row.data, Scribbles):
        width, height = size
        return fill_in([model], image, hint, row.data.model_copy(update={"width": width, "height": height}))
    return refine([model], image, hint, row.data.model_copy(update={"longest": size}))


def read_hint(folder: Path, stem: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The hint for an image from the file in a folder that has its stem, as `read` gives it: int8 (H, W).

    Raises:
        ValueError: there is none or more than one, or `read` cannot use it.
    """
    candidates = sorted(path for path in folder.iterdir() if path.stem == stem)
    if not candidates:
        raise ValueError(f"no hint {stem}.png in {folder}")
    if len(candidates) > 1:
        raise ValueError(f"expected one hint in {folder}, got {', '.join(path.name for path in candidates)}")
    return read(candidates[0])


def read_rough_mask(path: Path) -> np.ndarray:
    """A rough mask from a picture, int8 (H, W): 1 where it is above 127. Raises ValueError where it is no picture."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError(f"{path} is not a readable image")
    return (picture > 127).astype(np.int8)


HINT_READERS = {Brush: read_rough_mask, Scribbles: read_scribble}


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
                name = next((name for name in ("images", "test_set") if name in arrays), arrays.files[0])
                stack = arrays[name]
                if name == "training_set" and stack.ndim == 4:  # of the Mars homework: pictures and labels
                    stack = stack[:, 0]
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
