"""NeuralSegmentello: its rows, its data, its baselines, its evaluation, and how its networks are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from torch import nn

from ...data import challenge, coco, scenes, seeded
from ...data.images import read_rough_mask
from ...metrics import iou, mask_metrics, mean_metrics
from ..base import Report, Splits
from ..keys import Data, Row, Strict
from .play import CHANNELS
from .refinement import BrushDataset, PlayDataset, interact, refine, strokes_to_reach

USER_STROKES = 8  # that a simulated user draws on each validation object
LARGE = 0.01  # of a photograph's area, from which on an object is a large one


class Brush(Data):
    """Objects of COCO where the folder of real data is given, else of generated scenes.

    Attributes:
        longest: pixels that the longest side of what the network sees is reduced to; null: not at all.
        scenes: how many scenes are generated where they are the data, of `scene_size` pixels along the longest side.
        real: use COCO where there is a folder of real data; false: generated scenes in any case.
        training, validation: images in each part; with fewer at hand, all of them in that ratio.
        limit: keep only so many images, drawn at random, of the training part.
        objects: of each training image the largest one, all that are large enough for a hint, or the "large" ones
            among these, which are at least a hundredth of the photograph.
        extra: what is added to the training part, from the folder of real data: "scribbles", the objects of the
            scribble challenge.
        hints: what the user draws, one of these for each object at random.
        corrections: most strokes that a user adds, of either sign; their number is random.
        fresh: another hint in every epoch.
        view: the network sees the photograph, or the part of it that the hint is about.
        margin: how much of its surroundings that part has, see `refinement.window`.
        rounds: the network plays along, see `play`: it also sees the mask so far, and in training learns from games of
            up to so many rounds; 0: it does not.
        rgb: it sees colours and not the grey value.
        likelihood: it also sees how likely each pixel's colour is the object's, by the hint.
    """

    longest: int | None = Field(ge=16)
    scenes: int = Field(ge=2)
    scene_size: int = Field(ge=64)
    real: bool = True
    training: int = Field(ge=1)
    validation: int = Field(ge=1)
    limit: int | None = Field(None, ge=1)
    objects: Literal["largest", "large", "all"] = "largest"
    extra: list[Literal["scribbles"]] = Field([])
    hints: list[Literal["coarse", "brush", "thin"]] = Field(["coarse"], min_length=1)
    corrections: int = Field(0, ge=0)
    fresh: bool = False
    view: Literal["photograph", "object"] = "photograph"
    margin: float = Field(1.0, ge=0)
    rgb: bool = False
    likelihood: bool = False
    rounds: int = Field(0, ge=0)
    augment: Literal["none", "photographs", "wider"] = "none"

    @property
    def channels(self) -> int:
        """Hint, colours or grey value, gradient, and likelihood; or what a network sees that plays along."""
        if self.rounds:
            return CHANNELS
        return 2 + (3 if self.rgb else 1) + self.likelihood

    @property
    def resize(self) -> int | None:
        return self.longest

    def seen_at(self, size: str) -> Brush:
        return self.model_copy(update={"longest": None if size == "None" else int(size)})


class Baseline(Strict):
    """A method of `seglib.data.seeded`, given photograph and hint, in place of a network."""

    method: Literal["hint", "grabcut", "random-walker"]


class NeuralSegmentelloRow(Row):
    data: Brush
    baseline: Baseline | None = None

    @model_validator(mode="after")
    def _the_player_is_the_network(self) -> NeuralSegmentelloRow:
        if self.data.rounds and self.training and self.training.workers:
            raise ValueError(
                f"training.workers: expected 0 with data.rounds, got {self.training.workers}; other processes would "
                "have games played by the network as it was at the start"
            )
        return self


class NeuralSegmentello(Report):
    row_type = NeuralSegmentelloRow
    real_data = "COCO"
    extra_data: ClassVar = {"scribbles": "scribbles"}
    augmentations: ClassVar = {"none": None} | coco.AUGMENTATIONS
    takes_hints = True

    def folds(self, row: Row, seed: int, folder: str | Path | None) -> list[Splits]:
        config = row.data
        if config.real and folder:
            sources, what, scale = coco.find_coco(folder), "COCO", 1.0
        else:
            sources, what = [scenes.generated(config.scenes, config.scene_size, seed)], "generated scenes"
            scale = config.scene_size / 640
        objects = [entry for source in sources for entry in coco.read_coco(*source)]
        training, validation = coco.split_by_image(objects, config.training, config.validation, seed)
        if config.limit is not None:
            ids = sorted({entry.image_id for entry in training})
            kept = set(np.random.default_rng(seed).permutation(ids)[: config.limit].tolist())
            training = [entry for entry in training if entry.image_id in kept]
        if "scribbles" in config.extra and folder:
            training += challenge.objects(folder)
            what += " and the scribble challenge"
        if config.objects == "largest":
            training = coco.largest(training)
        elif config.objects == "large":
            training = [entry for entry in training if entry.area >= LARGE * entry.size[0] * entry.size[1]]
        # Whatever a network is trained for, it is measured on the report's task: rough masks of the largest objects.
        measured = config.model_copy(update={"hints": ["coarse"], "corrections": 0})
        made = PlayDataset if config.rounds else BrushDataset
        train = made(training, config, augment=self.augmentation(row), seed=seed, fresh=config.fresh, scale=scale)
        held_out = made(coco.largest(validation), measured, seed=seed, scale=scale)
        images = len({entry.image_id for entry in train.objects})
        description = (
            f"{what}, {len(train)} objects in {images} images for training, {len(held_out)} for validation, "
            f"split by image, seed {seed}"
        )
        return [Splits(train, held_out, description)]

    def prepared(self, model: nn.Module, row: Row, seed: int, data: Splits) -> Splits:
        """With the network as the player of its own games, where it learns from such."""
        if row.data.rounds:
            data.train.player = model
        return data

    def run_baseline(self, row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
        method = seeded.FROM_HINT[row.baseline.method]
        triples = (data.validation.at_own_size(i) for i in range(len(data.validation)))
        found = [mask_metrics(method(image, hint), truth) for image, hint, truth in triples]
        return mean_metrics(found), {"objects": describe(data.validation.objects, found)}

    def evaluate(
        self, model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        """At each photograph's own size, whatever the network was trained at.

        With the mean IoU where the logit is cut at 0.5 and not the probability (`iou_logit_half`), the metrics of each
        single object (`objects`), and which images the network was trained on (`training_images`). A network that was
        trained for corrections also meets a user who draws eight strokes (see `interact`): `iou_after_1` to
        `iou_after_8`, and how many of them it takes to reach an IoU of 0.90 on average, nine where eight are not enough
        (`strokes_to_90`).
        """
        masks, found, stricter = [], [], []
        for i in range(len(data.validation)):
            image, hint, truth = data.validation.at_own_size(i)
            probability = refine([model], image, hint, row.data)
            masks.append(probability >= 0.5)
            found.append(mask_metrics(masks[-1], truth))
            stricter.append(iou(probability >= 1 / (1 + np.exp(-0.5)), truth))
        means = mean_metrics(found) | {"iou_logit_half": float(np.mean(stricter))}
        if row.data.corrections or row.data.rounds:
            means |= measure_user(model, row, seed, data.validation)
        training = sorted({entry.image_id for entry in data.train.objects})
        return masks, means | {"objects": describe(data.validation.objects, found), "training_images": training}

    def probability(
        self, models: Sequence[nn.Module], image: np.ndarray, data: Data, hint: np.ndarray | None = None
    ) -> np.ndarray:
        return refine(models, image, hint, data)

    def read_hint(self, path: Path) -> np.ndarray:
        """A rough mask, 1 where the picture is above 127."""
        return read_rough_mask(path)


def measure_user(model: nn.Module, row: Row, seed: int, data: BrushDataset) -> dict[str, float]:
    """How a simulated user's strokes improve the masks of a data set, see `NeuralSegmentello.evaluate`."""
    curves = []
    for i, entry in enumerate(data.objects):
        image, _, truth = data.at_own_size(i)
        rng = np.random.default_rng([seed, entry.annotation_id])
        steps = interact([model], image, truth, row.data, USER_STROKES, rng, data.scale)
        ious = [iou(mask, truth) for _, mask in steps]
        curves.append(ious + ious[-1:] * (USER_STROKES - len(ious)))  # a user who is content stops early
    found = {f"iou_after_{number}": float(np.mean(after)) for number, after in enumerate(zip(*curves), 1)}
    return found | {"strokes_to_90": float(np.mean([strokes_to_reach(ious, 0.9) for ious in curves]))}


def describe(objects: Sequence[coco.Object], found: Sequence[dict]) -> list[dict]:
    """What an object is like, beside how well it was found: for the analysis of errors."""
    return [
        {
            "image_id": entry.image_id,
            "annotation_id": entry.annotation_id,
            "category": entry.category,
            "share": round(entry.area / (entry.size[0] * entry.size[1]), 5),
            "overlapping": entry.overlapping,
            "annotated": entry.annotated,
        }
        | {name: round(metrics[name], 4) for name in ("iou", "boundary_iou", "boundary_iou_1px")}
        for entry, metrics in zip(objects, found)
    ]


REPORT = NeuralSegmentello()
