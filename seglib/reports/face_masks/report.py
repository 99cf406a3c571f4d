"""The face-mask report: its rows, its data, its baselines and its evaluation."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import nn

from ...data.datasets import SegmentationDataset
from ...metrics import boundary_metrics
from ...training import evaluate
from ..base import Report, Splits, measure_masks, predict_masks
from ..keys import Data, Probability, Row, Strict
from . import baselines, faces

TUNING_IMAGES = 200  # of the training part, for the classical baselines
# Added to the seed for generated faces that must not be those of the row's data.
EXTRA_SEED, TEST_SEED = 1000, 2000
generated_faces = cache(faces.generate)  # rows with the same faces, and folds, need not draw them again


class Faces(Data):
    """MFSD's crops where the folder of real data is given, else generated faces.

    Attributes:
        size: height and width that every picture is reduced to.
        count: how many faces are generated, where they are the data or are added to them.
        two_people: share of the generated frames that show two people.
        real: use MFSD where there is a folder of real data; false: generated faces in any case.
        limit: keep only so many pairs, drawn at random, of each training part.
        extra: what the training part gets in addition.
        folds: of the cross-validation.
        run_folds: train only the first so many.
    """

    IN_USE: ClassVar[frozenset[str]] = frozenset({"run_folds"})

    size: int = Field(ge=8)
    count: int = Field(ge=2)
    two_people: Probability
    real: bool = True
    limit: int | None = Field(None, ge=1)
    extra: list[Literal["generated", "masked-face-net"]] = Field([])
    augment: Literal["none", "faces-weak", "faces-strong", "faces-wide", "faces-image-only"]
    folds: int = Field(ge=2)
    run_folds: int | None = Field(None, ge=1)

    @property
    def channels(self) -> int:
        return 3

    @property
    def resize(self) -> int:
        return self.size

    def seen_at(self, size: str) -> Faces:
        return self.model_copy(update={"size": int(size)})


class Baseline(Strict):
    """A classical method of `baselines`, in place of a network."""

    method: Literal["otsu", "otsu-better-polarity", "region-based"]


class FaceMasksRow(Row):
    data: Faces
    baseline: Baseline | None = None


class FaceMasks(Report):
    row_type = FaceMasksRow
    real_data = "MFSD"
    extra_data: ClassVar = {"masked-face-net": "MaskedFaceNet"}
    augmentations: ClassVar = {"none": None} | faces.AUGMENTATIONS

    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        config = row.data
        if config.real and folder:
            pairs, what = faces.read_mfsd(folder, config.size), "MFSD crops"
        else:
            pairs, what = generated_faces(config.count, config.size, seed, config.two_people), "generated faces"
        extra, added = [], ""
        if "generated" in config.extra:
            extra.append(generated_faces(config.count, config.size, seed + EXTRA_SEED, config.two_people))
            added += f" and {len(extra[-1])} generated faces"
        if "masked-face-net" in config.extra and folder:
            extra.append(faces.read_masked_face_net(folder, config.size))
            added += f" and {len(extra[-1])} of MaskedFaceNet"
        folds = []
        for i, part in enumerate(faces.split_folds(pairs.names, config.folds, seed)[: config.run_folds]):
            inside = np.setdiff1d(np.arange(len(pairs)), part)
            if config.limit is not None:
                inside = np.random.default_rng([seed, i]).permutation(inside)[: config.limit]
            training, validation = sum(extra, start=pairs.take(inside)), pairs.take(part)
            augment = self.augmentation(row)
            folds.append(
                Splits(
                    SegmentationDataset(
                        training.images, training.masks, augment=augment, seed=seed, names=training.names
                    ),
                    SegmentationDataset(validation.images, validation.masks, names=validation.names),
                    f"{what} of {config.size}×{config.size}, fold {i + 1} of {config.folds}: {len(inside)}{added} for "
                    f"training, {len(part)} for validation, seed {seed}",
                )
            )
        return folds

    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        method, chosen = row.baseline.method, {}
        if method == "region-based":
            settings = baselines.tune_region_based(data.train.images[:TUNING_IMAGES], data.train.masks[:TUNING_IMAGES])
            chosen = {"settings": settings, "tuned_on": f"the first {TUNING_IMAGES} training pairs"}
            masks = [baselines.region_based(image, **settings) for image in data.validation.images]
        else:
            masks = [baselines.otsu(image) for image in data.validation.images]
            if method == "otsu-better-polarity":
                masks = [baselines.better_polarity(mask, truth) for mask, truth in zip(masks, data.validation.masks)]
        truths = data.validation.masks
        return measure_masks(masks, truths) | boundary_metrics(zip(masks, truths)), chosen

    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Also of outlines, and the mean IoU over 100 new generated frames with one person (`iou_one_person`) and 100
        with two (`iou_two_people`)."""
        masks = predict_masks(model, data.validation)
        found = evaluate(model, data.validation) | boundary_metrics(zip(masks, data.validation.masks))
        for name, two_people in (("iou_one_person", 0.0), ("iou_two_people", 1.0)):
            found[name] = evaluate(model, test_frames(row.data.size, seed, two_people))["iou"]
        return masks, found


@cache
def test_frames(size: int, seed: int, two_people: float) -> SegmentationDataset:
    """100 generated frames that no row of that seed is trained on; kept, for every fold asks for them."""
    pairs = faces.generate(100, size, seed + TEST_SEED, two_people)
    return SegmentationDataset(pairs.images, pairs.masks)


REPORT = FaceMasks()
