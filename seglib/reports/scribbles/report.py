"""The scribble report: its rows, its data, its baselines, its evaluation, and how its networks are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import albumentations as A
import numpy as np
from pydantic import Field, model_validator
from torch import nn

from ...data import challenge, strokes
from ...metrics import boundary_metrics, iou, reliability
from ..base import Report, Splits, measure_masks
from ..keys import Data, Probability, Row, SizedData, Strict
from . import baselines, scribbles
from .scribbles import fill_in

EXTRA_SEED = 1000  # added to the seed for generated scenes that must not be those of the row's data
STROKES_LEFT = (0.0, 0.1, 0.25, 0.5)  # of each stroke's pixels, from a dot on
generated_scribbles = cache(scribbles.generated)  # rows with the same scenes need not draw them again


class Scribbles(SizedData):
    """The challenge's photographs where the folder of real data is given, else scenes.

    Attributes:
        width, height: that a network sees photographs at, multiples of 16.
        scenes: how many scenes are generated where they are the data, or are added to it.
        real: use the challenge where there is a folder of real data; false: generated scenes in any case.
        limit: keep only so many photographs, drawn at random, of each training part.
        extra: what the training part gets in addition: scenes, or COCO's photographs as one task each, as one for each
            category, or with the masks that the network which a row starts from finds in them.
        augment: the report's level of augmentation.
        synthetic: how likely a training item's strokes are generated ones, in place of its own.
        long_strokes: generate strokes that are more like the challenge's own than the report's algorithm does.
        clues: further channels, see `scribbles.network_input`.
        used_at: scales, relative to width and height, whose predictions are averaged when a network is used.
        mirrored: then also average with those for the mirrored photograph.
        folds: of the cross-validation.
        run_folds: train only the first so many.
    """

    IN_USE: ClassVar[frozenset[str]] = frozenset({"used_at", "mirrored", "run_folds"})

    width: int = Field(ge=32, multiple_of=16)
    height: int = Field(ge=32, multiple_of=16)
    scenes: int = Field(ge=2)
    real: bool = True
    limit: int | None = Field(None, ge=1)
    extra: list[Literal["coco", "coco-categories", "coco-unlabelled", "scenes"]] = Field([])
    augment: Literal["none", "low", "medium", "high"] = "none"
    synthetic: Probability = 0.0
    long_strokes: bool = False
    clues: list[Literal["likelihood", "geodesic"]] = Field([])
    used_at: list[Annotated[float, Field(gt=0.1, le=4)]] = Field([1.0], min_length=1)
    mirrored: bool = False
    folds: int = Field(ge=2)
    run_folds: int | None = Field(None, ge=1)

    @property
    def channels(self) -> int:
        """Colours, strokes and clues."""
        return 4 + len(self.clues)


class Baseline(Strict):
    """A method of `baselines`, given photograph and strokes, in place of a network."""

    method: Literal["background", "nearest", "grabcut", "random-walker"]


class ScribblesRow(Row):
    data: Scribbles
    baseline: Baseline | None = None

    @model_validator(mode="after")
    def _masks_are_found(self) -> ScribblesRow:
        if "coco-unlabelled" in self.data.extra and not self.start:
            raise ValueError("data.extra: coco-unlabelled needs a row to start from, whose network finds the masks")
        return self


class ScribbleReport(Report):
    row_type = ScribblesRow
    real_data = "scribbles"
    extra_data: ClassVar = dict.fromkeys(("coco", "coco-categories", "coco-unlabelled"), "COCO")
    takes_hints = True

    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        config = row.data
        if config.real and folder:
            data, what = challenge.read_challenge(folder), "the scribble challenge"
        else:
            data, what = generated_scribbles(config.scenes, seed), "generated scenes"
        extra, added = [], ""
        if "scenes" in config.extra:
            extra.append(generated_scribbles(config.scenes, seed + EXTRA_SEED))
            added += f" and {len(extra[-1])} generated scenes"
        unlabelled = None
        for name, what_else in (("coco", "photographs"), ("coco-categories", "categories in photographs")):
            if name in config.extra and folder:
                extra.append(scribbles.from_coco(folder, seed, apart=name == "coco-categories"))
                added += f" and {len(extra[-1])} {what_else} of COCO"
        if "coco-unlabelled" in config.extra and folder:
            unlabelled = scribbles.from_coco(folder, seed)
            added += f" and, with the masks that the starting network finds, {len(unlabelled)} photographs of COCO"
        size, folds = (config.height, config.width), []
        for i, part in enumerate(scribbles.stratified_folds(data, config.folds, seed)[: config.run_folds]):
            inside = np.setdiff1d(np.arange(len(data)), part)
            if config.limit is not None:
                inside = np.random.default_rng([seed, i]).permutation(inside)[: config.limit]
            folds.append(
                Splits(
                    self._to_train_on(sum(extra, start=data.take(inside)), row, seed),
                    scribbles.ScribbleDataset(data.take(part), size, clues=config.clues),
                    f"{what} at {config.width}×{config.height}, fold {i + 1} of {config.folds}, stratified by the "
                    f"object's share: {len(inside)}{added} for training, {len(part)} for validation, seed {seed}",
                    unlabelled,
                )
            )
        return folds

    def _to_train_on(self, data: challenge.Scribbled, row: Row, seed: int) -> scribbles.ScribbleDataset:
        config = row.data
        return scribbles.ScribbleDataset(
            data,
            (config.height, config.width),
            clues=config.clues,
            synthetic=config.synthetic,
            long=config.long_strokes,
            augment=self.augmentation(row),
            seed=seed,
        )

    def augmentation(self, row: Row) -> A.Compose | None:
        return scribbles.augmentation(row.data.augment, (row.data.height, row.data.width))

    def prepared(self, model: nn.Module, row: Row, seed: int, data: Splits) -> Splits:
        """With the photographs without masks in the training part, and what `model` finds there as their masks."""
        photographs = data.unlabelled
        if photographs is None:
            return data
        masks = [fill_in([model], *pair, row.data) >= 0.5 for pair in zip(photographs.images, photographs.scribbles)]
        labelled = data.train.data + replace(photographs, masks=masks)
        return replace(data, train=self._to_train_on(labelled, row, seed), unlabelled=None)

    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        method, held_out = baselines.FROM_STROKES[row.baseline.method], data.validation.data
        masks = [method(*pair) for pair in zip(held_out.images, held_out.scribbles)]
        metrics = measure_filled_in(masks, held_out)
        return metrics, {"photographs": metrics.pop("photographs")}

    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """At each photograph's own size, whatever the network was trained at; also with less and less left of each
        stroke, and how right the probabilities are."""
        held_out, config = data.validation.data, row.data
        found = [fill_in([model], *pair, config) for pair in zip(held_out.images, held_out.scribbles)]
        masks = [probability >= 0.5 for probability in found]
        predicted, observed, error = reliability(
            *(np.concatenate([a.ravel() for a in each]) for each in (found, held_out.masks))
        )
        metrics = measure_filled_in(masks, held_out) | {"calibration_error": error}
        for share in STROKES_LEFT:
            rng = np.random.default_rng(seed)
            shorter = [strokes.shortened(hint, share, rng) for hint in held_out.scribbles]
            fewer = [fill_in([model], *pair, config) >= 0.5 for pair in zip(held_out.images, shorter)]
            metrics[f"mean_iou_strokes_{share:.0%}"] = float(np.mean(two_ious(fewer, held_out.masks)))
        bins = [{"predicted": round(float(p), 4), "observed": round(float(o), 4)} for p, o in zip(predicted, observed)]
        return masks, metrics | {"calibration": bins}

    def probability(
        self, models: Sequence[nn.Module], image: np.ndarray, data: Data, hint: np.ndarray | None = None
    ) -> np.ndarray:
        return fill_in(models, image, hint, data)

    def read_hint(self, path: Path) -> np.ndarray:
        return challenge.read_user_scribble(path)

    def build(self, source: str, out: str, masks: str | None, seed: int) -> str:
        count = scribbles.build_from_voc(source, masks or Path(source) / "SegmentationClass", out, seed=seed)
        return f"{count} photographs with strokes and masks in {out}"


def two_ious(masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> np.ndarray:
    """Each mask's IoU of the object and of the background: (2, N)."""
    pairs = list(zip(masks, truths))
    return np.array([[iou(*pair) for pair in pairs], [iou(~mask, ~truth) for mask, truth in pairs]])


def measure_filled_in(masks: Sequence[np.ndarray], data: challenge.Scribbled) -> dict[str, Any]:
    """Means over photographs: `mean_iou` of foreground and background, and both apart, Dice, accuracy, outlines;
    `mean_iou_pooled`, from the pixels of all photographs together; and `photographs`, the object's share of each and
    its two IoUs."""
    inside, outside = two_ious(masks, data.masks)
    pooled = measure_masks(masks, data.masks)
    return (
        {"mean_iou": float((inside + outside).mean() / 2), "iou": float(inside.mean())}
        | {"iou_background": float(outside.mean())}
        | {name: pooled[name] for name in ("dice", "pixel_accuracy", "mean_iou_pooled", "iou_pooled", "images")}
        | boundary_metrics(zip(masks, data.masks))
        | {
            "photographs": [
                {
                    "name": name,
                    "share": round(float(truth.mean()), 4),
                    "iou": round(float(one), 4),
                    "iou_background": round(float(other), 4),
                }
                for name, truth, one, other in zip(data.names, data.masks, inside, outside)
            ]
        }
    )


REPORT = ScribbleReport()
