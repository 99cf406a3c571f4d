"""The denoising report: its rows, its data, its baselines and its evaluation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from torch import nn

from ...data.datasets import SegmentationDataset
from ...training import evaluate
from ..base import Report, Splits, measure_masks, predict_masks
from ..keys import ConfigError, Data, Fractions, Lengths, Probability, Row, Strict
from . import baselines, shapes

TUNING_IMAGES = 200  # of the training part, for the classical baselines: total variation takes 10 ms an image


class Noise(Strict):
    """The knobs of `shapes.Noise`, where their units stand."""

    base: Fractions
    contrast: Fractions
    blur_probability: Probability
    blur_sigma: Lengths
    gaussian_sigma: Fractions
    salt_pepper: Fractions


class Shapes(Data):
    """`count` pairs of `size` × `size` pixels, the share `held_out` for validation. A pair's noise is drawn once; the
    training pairs' anew in each of the first `fresh_epochs`, or, growing from weak to whole, `progressive_epochs`."""

    size: int = Field(ge=8)
    count: int = Field(ge=2)
    held_out: float = Field(gt=0, lt=1)
    augment: Literal["none", "flips-and-quarter-turns"]
    noise: Noise
    progressive_epochs: int = Field(0, ge=0)
    fresh_epochs: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _noise_is_drawn_in_one_way(self) -> Shapes:
        if self.progressive_epochs and self.fresh_epochs:
            raise ValueError(
                f"expected progressive_epochs or fresh_epochs, got {self.progressive_epochs} and {self.fresh_epochs}"
            )
        return self

    @property
    def channels(self) -> int:
        return 1


class Baseline(Strict):
    """A classical method in place of a network: a filter of `baselines.FILTERS`, then Otsu's threshold."""

    filter: Literal["none", "gaussian", "median", "total-variation"]


class DenoisingRow(Row):
    data: Shapes
    baseline: Baseline | None = None


class Denoising(Report):
    row_type = DenoisingRow

    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        config = row.data
        noise = shapes.Noise(**config.noise.model_dump())
        images, masks = shapes.make_pairs(config.count, config.size, seed, noise)
        held_out = round(config.count * config.held_out)
        if not 0 < held_out < config.count:
            raise ConfigError(f"data.held_out: {config.held_out} of {config.count} pairs leaves one part empty")
        dataset = SegmentationDataset
        if epochs := config.progressive_epochs or config.fresh_epochs:
            growing = bool(config.progressive_epochs)
            dataset = partial(shapes.FreshNoise, noise=noise, epochs=epochs, growing=growing)
        train = dataset(images[held_out:], masks[held_out:], augment=self.augmentation(row), seed=seed)
        validation = SegmentationDataset(images[:held_out], masks[:held_out])
        description = (
            f"generated shapes, {len(train)} training and {len(validation)} validation pairs of "
            f"{config.size}×{config.size}, seed {seed}"
        )
        return [Splits(train, validation, description)]

    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        filter = row.baseline.filter
        strength = baselines.tune(data.train.images[:TUNING_IMAGES], data.train.masks[:TUNING_IMAGES], filter)
        masks = [baselines.segment(image, filter, strength) for image in data.validation.images]
        chosen = {"strength": strength, "tuned_on": f"the first {TUNING_IMAGES} training pairs"}
        return measure_masks(masks, data.validation.masks), chosen

    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Also the mean IoU over 200 or more noisy pictures of each set of real silhouettes: `iou_horse` and so on."""
        noise = shapes.Noise(**row.data.noise.model_dump())
        found = evaluate(model, data.validation)
        for name, masks in shapes.silhouettes(row.data.size, folder).items():
            masks = np.tile(masks, (-(-200 // len(masks)), 1, 1))
            images = shapes.degrade(masks, noise, np.random.default_rng([seed, len(masks)]))
            found[f"iou_{name}"] = evaluate(model, SegmentationDataset(images, masks))["iou"]
        return predict_masks(model, data.validation), found


REPORT = Denoising()
