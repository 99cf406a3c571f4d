"""The Mars homework's file, made from AI4Mars as it is published (Swan et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...data.images import DataError, only_one, pictures_in, read_labels, read_photograph
from ...files import user_path, write_whole
from .mars import BACKGROUND, SIZE

PHOTOGRAPHS = Path("msl", "images", "edr")
LABELS = Path("msl", "labels", "train")
GOLD = Path("msl", "labels", "test", "masked-gold-min3-100agree")  # where all of at least three experts agreed
# Masks that hide what labels must not be trusted on: folder and what stands for EDR in a file's name; 1 is hidden.
HIDDEN = {Path("msl", "images", "mxy"): "MXY", Path("msl", "images", "rng-30m"): "RNG"}
UNLABELLED = 255  # in AI4Mars, where 0 to 3 are soil, bedrock, sand and big rock
SIDE = SIZE[1]  # of a reduced photograph, whose two halves are the homework's rows


def build_from_ai4mars(source: str | Path, out: str | Path) -> int:
    """Makes `mars_for_students.npz` from the photographs of Curiosity (MSL) that have a label.

    Each photograph is reduced to 128×128 pixels, by area, and cut into an upper and a lower half. A label's pixel is
    what most of those are that it stands for; what shows the rover or lies beyond 30 m has none. As in the homework's
    file, halves less than half of which are labelled are left out, and so are photographs that are not square.

    Args:
        source: the folder `ai4mars-dataset-merged-0.1` of the published archive.
        out: a new file, which gets `training_set` uint8 (N, 2, 64, 128) and `ids` (N,); written whole or not at all.
            Where experts' labels are there too, it also gets `test_set` uint8 (M, 64, 128), the halves of their
            photographs that have any label, without the labels: the homework withholds them.

    Returns:
        How many rows of training there are.

    Raises:
        DataError: no label with its photograph, a file that cannot be read whole or has another size, a label of other
            values, or `out` is there.
    """
    source, out = user_path(source), user_path(out)
    if out.exists():
        raise DataError(f"{out} is there already; give a new file")
    paths = _labels(source / LABELS)
    if not paths:
        raise DataError(f"no label in {source / LABELS}; expected the folder ai4mars-dataset-merged-0.1 as published")
    rows, ids = _halves(source, paths, least=0.5)
    if not rows:
        raise DataError(f"no label in {source / LABELS} marks half of a square photograph in {source / PHOTOGRAPHS}")
    arrays = {"training_set": np.stack(rows), "ids": np.array(ids)}
    gold, _ = _halves(source, _labels(source / GOLD), least=0)  # experts rarely all agree
    if gold:
        arrays["test_set"] = np.stack(gold)[:, 0]
    write_whole(out, lambda file: np.savez_compressed(file, **arrays), "data set")
    return len(rows)


def _halves(source: Path, paths: Sequence[Path], least: float) -> tuple[list[np.ndarray], list[str]]:
    """Halves of which at least the share `least` is labelled, and something, each picture and label uint8 (2, 64, 128),
    and the photographs' names, of the labels' files."""
    masks = {folder: pictures_in(source / folder) for folder in HIDDEN}
    photographs = {name: only_one(paths) for name, paths in pictures_in(source / PHOTOGRAPHS).items()}
    rows, ids = [], []
    for path in paths:
        name = path.stem.removesuffix("_merged")  # as the experts' are called
        if name not in photographs:
            continue
        image = read_photograph(photographs[name], grey=True, as_stored=True)
        labels = read_labels(path, as_stored=True)
        _check_size(path, labels, image)
        if image.shape[0] != image.shape[1]:
            continue
        others = sorted(set(np.unique(labels).tolist()) - {0, 1, 2, 3, UNLABELLED})
        if others:
            raise DataError(f"{path}: expected 0 to 3 and {UNLABELLED}, got also {others[:5]}")
        for folder, kind in HIDDEN.items():
            for mask in masks[folder].get(name.replace("EDR", kind), []):
                hidden = read_labels(mask, as_stored=True)
                _check_size(mask, hidden, image)
                labels[hidden == 1] = UNLABELLED
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        reduced = majority(np.where(labels == UNLABELLED, BACKGROUND, labels + 1).astype(np.uint8), SIDE)
        for half in (slice(0, SIZE[0]), slice(SIZE[0], SIDE)):
            if reduced[half].any() and np.mean(reduced[half] != BACKGROUND) >= least:
                rows.append(np.stack([small[half], reduced[half]]))
                ids.append(name)
    return rows, ids


def _labels(folder: Path) -> list[Path]:
    return [path for paths in pictures_in(folder).values() for path in paths]


def majority(labels: np.ndarray, side: int) -> np.ndarray:
    """Labels (H, H) reduced to side × side: each pixel is the class with the largest area in its part of the picture,
    of equal ones the lower. (The nearest pixel alone would let thin gaps between areas come and go.)"""
    areas = [
        cv2.resize((labels == kind).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) for kind in range(5)
    ]
    return np.argmax(areas, axis=0).astype(np.uint8)


def _check_size(path: Path, picture: np.ndarray, image: np.ndarray) -> None:
    if picture.shape != image.shape:
        raise DataError(f"{path}: expected its photograph's size {image.shape}, got {picture.shape}")
