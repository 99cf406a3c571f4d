"""What a report is: all that differs between two of them is an attribute or a method of `Report`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..data.datasets import EpochDataset, SegmentationDataset, flips_and_quarter_turns, to_tensor
from ..metrics import BinaryMetrics, Metrics
from ..tiles import WHOLE, predict_in_tiles
from ..training import predict
from .keys import Data, Row


@dataclass
class Splits:
    """The data sets of a row or of one of its folds, and in one sentence what they are.

    A network is measured on the validation part, by which its best epoch was chosen too, or where there is one on the
    `test` part. `unlabelled` pictures, whose masks are not used, are for training as well (see `Report.prepared`).

    A data set has the `names` of its items, their true `masks` at the pictures' own size and, where networks
    normalise, their `images`.
    """

    train: EpochDataset
    validation: EpochDataset
    description: str
    unlabelled: Any = None
    test: EpochDataset | None = None

    @property
    def measured(self) -> EpochDataset:
        """The part that a network is measured on."""
        return self.test or self.validation


class Report(ABC):
    """A report: its rows, its data, what it is measured by, and how its networks are used.

    Attributes:
        row_type: what a line of its configuration is, a `Row` with the report's own `data` and `baseline`.
        real_data: what its real data set is called in results; None: all its data are generated.
        extra_data: likewise, of what a row can add to it by `data.extra`.
        augmentations: of training pictures, by the name that `data.augment` has.
        takes_hints: its networks start from what a user drew.
    """

    row_type: ClassVar[type[Row]]
    real_data: ClassVar[str | None] = None
    extra_data: ClassVar[Mapping[str, str]] = {}
    augmentations: ClassVar[Mapping[str, Callable[[], A.Compose] | None]] = {
        "none": None,
        "flips-and-quarter-turns": flips_and_quarter_turns,
    }
    takes_hints: ClassVar[bool] = False

    @abstractmethod
    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        """The data of a row, split for each of its folds; a row without folds has one.

        Args:
            seed: of all that is random; the same row and seed give the same data.
            folder: with the real data sets; None: the embedded data.
        """

    @abstractmethod
    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[Sequence[np.ndarray], dict[str, Any]]:
        """Masks, and metrics by name, of the measured part; what of the latter is a list is no metric but a detail."""

    @abstractmethod
    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics of a classical baseline on the measured part, and what else is to be known of it."""

    def source(self, row: Row, folder: str | Path | None) -> str:
        """What a row runs on: "embedded", or the names of real data sets."""
        if self.real_data is None or not folder:
            return "embedded"
        first = self.real_data if getattr(row.data, "real", True) else "embedded"
        extra = [self.extra_data[name] for name in getattr(row.data, "extra", ()) if name in self.extra_data]
        return "+".join(dict.fromkeys([first, *extra]))

    def metrics(self) -> Metrics:
        """Fresh metrics, which its training is watched by."""
        return BinaryMetrics()

    def augmentation(self, row: Row) -> A.Compose | None:
        """A fresh augmentation pipeline of a row."""
        augment = self.augmentations[row.data.augment]
        return augment and augment()

    def prepared(self, model: nn.Module, row: Row, seed: int, data: Splits) -> Splits:
        """A row's data once the network that it starts from is there."""
        return data

    def probability(
        self, models: Sequence[nn.Module], image: np.ndarray, data: Data, hint: np.ndarray | None = None
    ) -> np.ndarray:
        """What an ensemble of networks says of a picture at its own size: the mean of their probabilities.

        Args:
            models: trained as `data` says.
            image: 8-bit, (H, W) grey or (H, W, 3) RGB.
            hint: int8 (H, W) of −1, 0 and 1, where the report takes hints.

        Returns:
            float32 (H, W), or of class labels (classes, H, W).
        """
        return probability(models, image, data.resize)

    def read_hint(self, path: Path) -> np.ndarray:
        """What a user drew, from a picture: int8 (H, W) of −1, 0 and 1."""
        raise NotImplementedError(f"{type(self).__name__} takes no hints")

    def pictures(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which of the arrays of an npz file are pictures: `images`, or else the only one that could be.

        Raises:
            ValueError: there are several.
        """
        if "images" in arrays:
            return arrays["images"]
        likely = [name for name, array in arrays.items() if array.dtype.kind in "uif" and array.ndim in (3, 4)]
        if len(likely) > 1:
            raise ValueError(
                f"holds several arrays that could be pictures: {', '.join(likely)}; call one of them images"
            )
        return arrays[likely[0]] if likely else next(iter(arrays.values()))

    def write_submission(self, path: str | Path, labels: Sequence[np.ndarray]) -> None:
        """Writes class labels as the report's competition wants them."""
        raise NotImplementedError(f"{type(self).__name__} has no competition")

    def build(self, source: str, out: str, masks: str | None, seed: int) -> str:
        """Makes the real data set from what is published (`python -m seglib build`); says in words what was made."""
        raise ValueError("the report's data are not made from a data set that is published")


def mean_probability(models: Sequence[nn.Module], batch: Tensor) -> Tensor:
    """The mean of what networks say of a batch, as `predict` gives it; of large pictures, tile by tile."""
    if batch.shape[2] * batch.shape[3] <= WHOLE:
        return torch.stack([predict(model, batch) for model in models]).mean(0)
    mean = predict_in_tiles(models[0], batch)
    for model in models[1:]:
        mean += predict_in_tiles(model, batch)
    return mean.div_(len(models))


def probability(models: Sequence[nn.Module], image: np.ndarray, size: int | None = None) -> np.ndarray:
    """Mean foreground probability of an ensemble for an 8-bit image (H, W) or (H, W, C): float32 (H, W).

    With `size`, the networks see the image at `size` × `size` pixels, by area, as in training; what they say is
    brought back to the image's own size by bilinear interpolation.
    """
    height, width = image.shape[:2]
    if size is not None:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    mean = mean_probability(models, to_tensor(image)[None])[0, 0].numpy()
    return mean if size is None else cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


def measure_masks(masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """The metrics of `BinaryMetrics` for hard masks (H, W), which have no probabilities and so no cross-entropy."""
    metrics = BinaryMetrics()
    for mask, truth in zip(masks, truths):
        logits = torch.from_numpy(mask).float() * 2 - 1
        metrics.update(BinaryMetrics.count(logits[None, None], torch.from_numpy(truth)[None, None]))
    computed = metrics.compute()
    del computed["bce"]
    return computed


def predict_masks(model: nn.Module, data: SegmentationDataset) -> list[np.ndarray]:
    """The masks, bool (H, W), that a network finds in the images of a data set."""
    images = (to_tensor(image)[None] for image in data.images)
    return [predict(model, image)[0, 0].numpy() >= 0.5 for image in images]
