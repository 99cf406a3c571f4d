"""The Mars report: its rows, its data, its baseline, its evaluation, and how its networks are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ...metrics import ClassMetrics, class_ious
from ...tiles import WHOLE
from ...training import predict
from ..base import Report, Splits
from ..keys import ConfigError, Data, Row, SizedData, Strict
from . import labels as inspection
from . import mars, terrain
from .ai4mars import build_from_ai4mars

METRICS = partial(ClassMetrics, mars.CLASSES, unlabelled=mars.BACKGROUND)
RESAMPLES = 200  # of the test photographs, for how much a metric depends on which they are
generated_terrain = cache(terrain.generate)  # rows with the same terrain need not draw it again


class Mars(SizedData):
    """The homework's rows where the folder of real data is given, else generated terrain.

    Attributes:
        width, height: that a network sees pictures at.
        count: how many rows are generated, where they are the data.
        aliens: how many outliers, which all share one mask, are among them in addition.
        real: use the homework's rows where there is a folder of real data; false: generated ones in any case.
        held_out: shares of the validation and the test part; photographs are never cut apart.
        share: of the training part that is used: whole photographs, drawn at random.
        labels: the training part's labels: as they are given, improved (see `labels.improve_labels`), or without the
            annotators' mistakes, which only generated terrain has.
        remove_outliers: leave those out of the training part that `labels.find_outliers` finds.
        drop_worst: leave out this share of it, the masks whose borders disagree most with their pictures' edges.
        augment: a name in `mars.AUGMENTATIONS`.
        copies: so many pictures are made of each training picture in advance, itself the first; 0: augmented anew in
            every epoch.
        background: what nobody labelled is a class of its own to learn, or is left out of the training.
        mirrored: when a network is used, its probabilities are averaged with those for the mirrored picture.
    """

    OUTPUTS: ClassVar[int] = len(mars.CLASSES)
    IN_USE: ClassVar[frozenset[str]] = frozenset({"mirrored"})

    width: int = Field(ge=16)
    height: int = Field(ge=16)
    count: int = Field(ge=8)
    aliens: int = Field(0, ge=0)
    real: bool = True
    held_out: tuple[Annotated[float, Field(gt=0, lt=0.5)], Annotated[float, Field(gt=0, lt=0.5)]]
    share: float = Field(1.0, gt=0, le=1)
    labels: Literal["given", "improved", "clean"] = "given"
    remove_outliers: bool = True
    drop_worst: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "mirror", "flips-and-half-turns", "terrain"] = "none"
    copies: int = Field(0, ge=0)
    background: Literal["class", "ignored"] = "class"
    mirrored: bool = False

    @property
    def channels(self) -> int:
        return 1


class Baseline(Strict):
    """What needs no training, in place of a network: the same class everywhere."""

    method: Literal["bedrock"]


class MarsTerrainRow(Row):
    data: Mars
    baseline: Baseline | None = None


class MarsTerrain(Report):
    row_type = MarsTerrainRow
    real_data = "AI4Mars"
    augmentations: ClassVar = {"none": None} | mars.AUGMENTATIONS

    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        config = row.data
        if config.real and folder:
            if config.labels == "clean":
                raise ConfigError("data.labels: only generated terrain has clean labels; run it without real data")
            rows, what = mars.read_homework(folder), "the Mars homework's rows"
        else:
            rows, what = generated_terrain(config.count, seed, config.aliens), "generated terrain"
        validation, test = config.held_out
        inside, *held_out = mars.split_by_id(rows.ids, (1 - validation - test, validation, test), seed)
        outliers = inspection.find_outliers(rows.images, rows.labels)
        held_out = [part[~outliers[part]] for part in held_out]  # an alien is no terrain; nothing is measured on it
        removed = []
        if config.remove_outliers:
            removed.append(f"{outliers[inside].sum()} outliers")
            inside = inside[~outliers[inside]]
        training = rows.take(inside)
        if config.share < 1:
            kept, _ = mars.split_by_id(training.ids, (config.share, 1 - config.share), seed)
            training = training.take(kept)
        if config.drop_worst:
            scores = inspection.border_disagreement(training.images, training.labels)
            bad = inspection.worst(scores, config.drop_worst)
            training = training.take(~bad)
            removed.append(f"{bad.sum()} bad masks")
        if config.labels == "improved":
            training = replace(training, labels=inspection.improve_labels(training.images, training.labels))
        elif config.labels == "clean":
            training = replace(training, labels=training.clean)
        size, ignore = (config.height, config.width), config.background == "ignored"
        parts = [mars.TerrainDataset(rows.take(part), size, ignore_background=ignore) for part in held_out]
        description = (
            f"{what} at {config.width}×{config.height}, {len(training)} for training"
            f"{' without ' + ' and '.join(removed) if removed else ''}, {len(held_out[0])} for validation, "
            f"{len(held_out[1])} for the test, split by photograph, labels {config.labels}, seed {seed}"
        )
        train = mars.TerrainDataset(
            training,
            size,
            augment=self.augmentation(row),
            seed=seed,
            copies=config.copies,
            ignore_background=ignore,
        )
        return [Splits(train, parts[0], description, test=parts[1])]

    def metrics(self) -> ClassMetrics:
        return METRICS()

    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        number = mars.CLASSES.index(row.baseline.method)
        everywhere = torch.nn.functional.one_hot(torch.full(data.test.terrain.labels.shape, number), len(mars.CLASSES))
        metrics = measure_classes(everywhere.permute(0, 3, 1, 2).numpy(), data.test.terrain)
        del metrics["ce"]
        return metrics, {"confusion": metrics.pop("confusion")}

    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Labels and metrics of the test part at the pictures' own size, see `measure_classes`."""
        found = np.concatenate(
            [classify([model], data.test.terrain.images[i : i + 64], row.data) for i in range(0, len(data.test), 64)]
        )
        return list(found.argmax(1).astype(np.uint8)), measure_classes(found, data.test.terrain)

    def probability(
        self, models: Sequence[nn.Module], image: np.ndarray, data: Data, hint: np.ndarray | None = None
    ) -> np.ndarray:
        return classify(models, image[None], data)[0]

    def pictures(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Those that the homework asks labels for, or where there are none its training pictures, without labels."""
        for name in ("images", "test_set"):
            if name in arrays:
                return arrays[name]
        rows = arrays.get("training_set")
        return super().pictures(arrays) if rows is None or rows.ndim != 4 else rows[:, 0]

    def write_submission(self, path: str | Path, labels: Sequence[np.ndarray]) -> None:
        mars.write_submission(path, labels)

    def build(self, source: str, out: str, masks: str | None, seed: int) -> str:
        return f"{build_from_ai4mars(source, out)} labelled rows in {out}"


def classify(models: Sequence[nn.Module], images: np.ndarray, config: Mars) -> np.ndarray:
    """Mean class probabilities of an ensemble for pictures of terrain, at the pictures' own size.

    Args:
        models: networks that were trained as `config` says; they see pictures at its width, and as high as follows.
        images: uint8 (N, H, W).

    Returns:
        float32 (N, classes, H, W). Where `config.background` is "ignored", that of the background is 0: the networks
        never learned what it is.

    Raises:
        ValueError: pictures so narrow that the networks would see more than `seglib.tiles.WHOLE` pixels.
    """
    height = max(1, round(images.shape[1] * config.width / images.shape[2]))
    if height * config.width > WHOLE:
        raise ValueError(
            f"pictures of {images.shape[1]} by {images.shape[2]} pixels, which are {config.width} wide for the "
            f"networks, would be {height:,} high, more than {WHOLE // config.width:,}; cut them into shorter parts"
        )
    batch = torch.from_numpy(mars.reduced(images, (height, config.width)))[:, None].float() / 255
    views = []
    for model in models:
        views.append(predict(model, batch))
        if config.mirrored:
            views.append(predict(model, batch.flip(-1)).flip(-1))
    mean = torch.stack(views).mean(0)
    if config.background == "ignored":
        mean[:, mars.BACKGROUND] = 0
        mean /= mean.sum(1, keepdim=True)
    return torch.nn.functional.interpolate(mean, images.shape[1:], mode="bilinear").numpy()


def measure_classes(probabilities: np.ndarray, rows: mars.Terrain) -> dict[str, Any]:
    """The metrics of `ClassMetrics` for class probabilities (N, classes, H, W) of labelled rows.

    With the standard deviation of `mean_iou` when the photographs are drawn anew, with replacement, 200 times
    (`mean_iou_error`), the confusion matrix of all pixels (`confusion`, truth by prediction), and on generated terrain
    the same mean IoU by the clean labels (`mean_iou_clean`).
    """
    metrics = METRICS()
    logits = torch.from_numpy(probabilities).float().clamp(min=1e-7).log()
    counts = metrics.count(logits, torch.from_numpy(rows.labels.astype(np.int64)))
    metrics.update(counts)
    classes = len(mars.CLASSES)
    photographs, of_row = np.unique(rows.ids, return_inverse=True)
    each = np.zeros((len(photographs), classes, classes))
    np.add.at(each, of_row, counts[:, :-1].numpy().reshape(-1, classes, classes))
    each[:, mars.BACKGROUND] = 0  # what nobody labelled is no mistake
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        total = each[rng.integers(len(each), size=len(each))].sum(0)
        drawn.append(np.nanmean(np.delete(class_ious(total), mars.BACKGROUND)))
    found = metrics.compute() | {"mean_iou_error": float(np.std(drawn)), "confusion": metrics.confusion.tolist()}
    if rows.clean is not None:
        clean = METRICS()
        clean.update(clean.count(logits, torch.from_numpy(rows.clean.astype(np.int64))))
        found["mean_iou_clean"] = clean.compute()["mean_iou"]
    return found


REPORT = MarsTerrain()
