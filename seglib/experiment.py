"""From a row to a result: data, model, fit, evaluate, result file. The only module that knows all others."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from torch import nn

from . import baselines, results, weights
from .config import (
    Baseline,
    Brush,
    ConfigError,
    EncoderUNet,
    FaceBaseline,
    Faces,
    HintBaseline,
    LibraryNetwork,
    Mars,
    MarsBaseline,
    Row,
    ScribbleBaseline,
    Scribbles,
    Shapes,
    load_row,
)
from .data import coco, common, faces, mars, scenes, scribbles, shapes, strokes, terrain
from .data import labels as inspection
from .data.common import SegmentationDataset, channel_statistics, to_tensor
from .files import write_grey, write_mask, write_whole
from .losses import weighted_sum
from .metrics import (
    BinaryMetrics,
    ClassMetrics,
    boundary_metrics,
    class_ious,
    iou,
    mask_metrics,
    mean_metrics,
    reliability,
)
from .models.blocks import Normalize, initialize_kaiming
from .models.unet import UNet
from .refinement import BrushDataset, fill_in, interact, refine, strokes_to_reach
from .training import History, evaluate, fit, predict, resolve_precision

LOSS_OPTIONS = ("boundary_growth", "positive_weight", "focal_gamma", "class_weights")  # `Loss` but for the weights
AUGMENTATIONS = common.AUGMENTATIONS | faces.AUGMENTATIONS | coco.AUGMENTATIONS | mars.AUGMENTATIONS
TUNING_IMAGES = 200  # of the training part, for the classical baselines: total variation takes 10 ms an image
generated_faces = cache(faces.generate)  # rows with the same faces, and folds, need not draw them again
generated_scribbles = cache(scribbles.generated)
generated_terrain = cache(terrain.generate)
STROKES_LEFT = (0.0, 0.1, 0.25, 0.5)  # of each stroke's pixels, from a dot on
USER_STROKES = 8  # that a simulated user draws on each validation object
REAL_DATA = {Faces: "MFSD", Brush: "COCO", Scribbles: "scribbles", Mars: "AI4Mars"}
EXTRA_DATA = {"masked-face-net": "MaskedFaceNet", "scribbles": "scribbles"} | {
    name: "COCO" for name in ("coco", "coco-categories", "coco-unlabelled")
}
# What a network for classes is measured by; other networks, by `BinaryMetrics`.
METRICS = {Mars: partial(ClassMetrics, mars.CLASSES, unlabelled=mars.BACKGROUND)}
RESAMPLES = 200  # of the test photographs, for how much a metric depends on which they are
# Added to the seed for generated pictures that must not be those of the row's data.
EXTRA_SEED, TEST_SEED, PRETRAINING_SEED = 1000, 2000, 3000


@dataclass
class Splits:
    """The data sets of a row or of one of its folds, and in one sentence what they are.

    A network is measured on the validation part, by which its best epoch was chosen too, or where there is one on the
    `test` part. `unlabelled` photographs, whose masks are not used, are for training as well: a row's starting network
    finds masks for them (see `self_labelled`).
    """

    train: SegmentationDataset | BrushDataset | scribbles.ScribbleDataset | mars.TerrainDataset
    validation: SegmentationDataset | BrushDataset | scribbles.ScribbleDataset | mars.TerrainDataset
    description: str
    unlabelled: scribbles.Scribbled | None = None
    test: mars.TerrainDataset | None = None

    @property
    def measured(self):
        """The part that a network is measured on."""
        return self.test or self.validation


@dataclass
class Outcome:
    """What running a row gives: the result as it stands in the file, and the networks, data and histories of its
    folds; a row without folds has one of each. A classical baseline has no network (None)."""

    result: dict
    path: Path
    models: list[nn.Module | None]
    data: list[Splits]
    histories: list[History]

    @property
    def model(self) -> nn.Module | None:
        """The first fold's network."""
        return self.models[0]


def make_data(row: Row, seed: int, folder: str | Path | None = None) -> Splits:
    """Generates or loads a row's data, and holds a part out (its first fold); the same row and seed give the same data.

    Args:
        folder: with the real data sets; None: the embedded data.
    """
    return make_folds(row, seed, folder)[0]


def make_folds(row: Row, seed: int, folder: str | Path | None = None) -> list[Splits]:
    """The data of a row, split for each of its folds; a row without folds has one. Arguments as for `make_data`."""
    return DATA[type(row.data)](row, seed, folder)


def _split_shapes(row: Row, seed: int, folder) -> list[Splits]:
    noise = shapes.Noise(**row.data.noise.model_dump())
    images, masks = shapes.make_pairs(row.data.count, row.data.size, seed, noise)
    held_out = round(row.data.count * row.data.held_out)
    if not 0 < held_out < row.data.count:
        raise ConfigError(f"data.held_out: {row.data.held_out} of {row.data.count} pairs leaves one part empty")
    dataset = SegmentationDataset
    if row.data.progressive_epochs:
        dataset = partial(shapes.ProgressiveNoise, noise=noise, epochs=row.data.progressive_epochs)
    train = dataset(images[held_out:], masks[held_out:], augment=make_augmentation(row), seed=seed)
    validation = SegmentationDataset(images[:held_out], masks[:held_out])
    description = (
        f"generated shapes, {len(train)} training and {len(validation)} validation pairs of "
        f"{row.data.size}×{row.data.size}, seed {seed}"
    )
    return [Splits(train, validation, description)]


def _split_faces(row: Row, seed: int, folder) -> list[Splits]:
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
        folds.append(
            Splits(
                SegmentationDataset(
                    training.images, training.masks, augment=make_augmentation(row), seed=seed, names=training.names
                ),
                SegmentationDataset(validation.images, validation.masks, names=validation.names),
                f"{what} of {config.size}×{config.size}, fold {i + 1} of {config.folds}: {len(inside)}{added} for "
                f"training, {len(part)} for validation, seed {seed}",
            )
        )
    return folds


def _split_brush(row: Row, seed: int, folder) -> list[Splits]:
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
        training += scribbles.objects(folder)
        what += " and the scribble challenge"
    if config.objects == "largest":
        training = coco.largest(training)
    # Whatever a network is trained for, it is measured on the report's task: rough masks of the largest objects.
    measured = config.model_copy(update={"hints": ["coarse"], "corrections": 0})
    train = BrushDataset(training, config, augment=make_augmentation(row), seed=seed, fresh=config.fresh, scale=scale)
    held_out = BrushDataset(coco.largest(validation), measured, seed=seed, scale=scale)
    images = len({entry.image_id for entry in train.objects})
    description = (
        f"{what}, {len(train)} objects in {images} images for training, {len(held_out)} for validation, "
        f"split by image, seed {seed}"
    )
    return [Splits(train, held_out, description)]


def _split_scribbles(row: Row, seed: int, folder) -> list[Splits]:
    config = row.data
    if config.real and folder:
        data, what = scribbles.read_challenge(folder), "the scribble challenge"
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
        train = _scribbles_to_train_on(config, sum(extra, start=data.take(inside)), seed)
        folds.append(
            Splits(
                train,
                scribbles.ScribbleDataset(data.take(part), size, clues=config.clues),
                f"{what} at {config.width}×{config.height}, fold {i + 1} of {config.folds}, stratified by the object's "
                f"share: {len(inside)}{added} for training, {len(part)} for validation, seed {seed}",
                unlabelled,
            )
        )
    return folds


def _scribbles_to_train_on(config: Scribbles, data: scribbles.Scribbled, seed: int) -> scribbles.ScribbleDataset:
    size = (config.height, config.width)
    return scribbles.ScribbleDataset(
        data,
        size,
        clues=config.clues,
        synthetic=config.synthetic,
        long=config.long_strokes,
        augment=scribbles.augmentation(config.augment, size),
        seed=seed,
    )


def _split_mars(row: Row, seed: int, folder) -> list[Splits]:
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
    held_out = [part[~outliers[part]] for part in held_out]  # an alien is no terrain, and nothing is measured on it
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
    size = (config.height, config.width)
    ignore = config.background == "ignored"
    parts = [mars.TerrainDataset(rows.take(part), size, ignore_background=ignore) for part in held_out]
    description = (
        f"{what} at {config.width}×{config.height}, {len(training)} for training"
        f"{' without ' + ' and '.join(removed) if removed else ''}, {len(held_out[0])} for validation, "
        f"{len(held_out[1])} for the test, split by photograph, labels {config.labels}, seed {seed}"
    )
    train = mars.TerrainDataset(
        training,
        size,
        augment=make_augmentation(row),
        seed=seed,
        copies=config.copies,
        ignore_background=ignore,
    )
    return [Splits(train, parts[0], description, test=parts[1])]


DATA = {Shapes: _split_shapes, Faces: _split_faces, Brush: _split_brush, Scribbles: _split_scribbles, Mars: _split_mars}


def make_augmentation(row: Row) -> A.Compose | None:
    """A fresh augmentation pipeline of a row."""
    augment = AUGMENTATIONS[row.data.augment]
    return augment and augment()


def make_model(row: Row) -> nn.Module:
    """The network of a row, with fresh weights.

    Raises:
        ConfigError: the row is a classical baseline.
    """
    if row.model is None:
        raise ConfigError(f"row {row.name!r} of {row.report!r} is a classical baseline: it has no network")
    arguments = row.model.model_dump()
    normalize = arguments.pop("normalize")
    if isinstance(row.model, (EncoderUNet, LibraryNetwork)):
        from .models import library  # timm takes seconds to import, and only these rows need it

        named = isinstance(row.model, LibraryNetwork)
        network = (library.NETWORKS[arguments.pop("network")] if named else library.EncoderUNet)(**arguments)
    else:
        init = arguments.pop("init")
        shape = [arguments.pop(name) for name in ("in_channels", "out_channels", "widths")]
        network = UNet(*shape, **arguments)
        if init == "kaiming":
            initialize_kaiming(network)
    return nn.Sequential(Normalize(row.model.in_channels), network) if normalize else network


def build_model(report: str, row: str) -> nn.Module:
    """The network of a row of a report's configuration file, with fresh weights.

    Example:
        >>> build_model("denoising", "report")(torch.zeros(1, 1, 48, 64)).shape
        torch.Size([1, 1, 48, 64])

    Raises:
        ConfigError: no such report or row, or the row is a classical baseline.
    """
    return make_model(load_row(report, row))


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def rows_table(report: str) -> list[dict]:
    """Every row of a report as `python -m seglib rows --json` prints it."""
    table = []
    for line in results.summary(report):
        row, ours = line["row"], line["measured"]
        entry = {
            "report": report,
            "row": row.name,
            "title": row.title,
            "parameters": count_parameters(make_model(row)) if row.model else 0,
            "reported": row.reported,
            "measured": ours["metrics"] if ours else None,
        }
        if ours:
            entry |= {"scale": ours["scale"], "data": ours["data"], "seeds": ours["seeds"]}
        if row.best:
            entry["best"] = True
        table.append(entry)
    return table


def train(row: Row, seed: int, data: Splits, start: str | Path | None = None, **arguments) -> tuple[nn.Module, History]:
    """Trains a row's network on `data`, from fresh weights or those in the file `start`; `arguments` go to `fit`."""
    set_seed(seed)
    model = make_model(row)
    if row.model.normalize:
        model[0].set(*channel_statistics(data.train.images))
    if start is not None:
        weights.load(model, start)  # with the statistics that it was trained with
        if data.unlabelled is not None:
            data = self_labelled(model, row, seed, data)
    losses = row.loss.model_dump()
    options = {name: losses.pop(name) for name in LOSS_OPTIONS}
    arguments |= {"metrics": METRICS.get(type(row.data), BinaryMetrics)} | row.training.model_dump()
    history = fit(model, weighted_sum(losses, **options), data.train, data.validation, seed=seed, **arguments)
    return model, history


def run(
    report: str,
    name: str,
    *,
    scale: str = "quick",
    seed: int = 0,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
) -> Outcome:
    """Runs a row and writes its result file; a run that was cut off is taken up at its last checkpoint.

    Beside the folder of the results, in `runs`, is left for each row (and there for each fold) the best network, its
    checkpoints and its predictions for the validation images.

    Args:
        report, name: which row.
        scale: "quick" or "full".
        seed: of data, weights, shuffling and augmentation.
        data: folder with the real data sets; default: the environment variable SEGLIB_DATA, where it is set.
        overrides: changes to the row, such as {"training.epochs": 3}; the result file says so and is not counted as
            the row's own.
        out: folder of the result files; default: `results` in the checkout, or in the working folder.
        fresh: start again, even where a checkpoint could be taken up.
        on_epoch: called with the history's row after each epoch.

    Raises:
        ConfigError: a mistake in the row, the overrides or the scale, before any work is done.
        OSError: results cannot be written there, before any work is done.
        RuntimeError: another process runs the same row with the same `out`.
    """
    row = load_row(report, name, scale, overrides)
    folder = data or os.environ.get("SEGLIB_DATA")
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"expected a folder with the real data sets, got {str(folder)!r} (--data or SEGLIB_DATA)")
    if row.start and load_row(report, row.start, scale).model != row.model:
        raise ConfigError(f"row {name!r} starts from {row.start!r}, so it must have that row's network; change both")
    source = data_source(row, folder)
    path = results.result_path(report, name, scale, seed, overrides or {}, out, source)
    place = run_folder(path)
    for needed in (path.parent, place):
        check_writable(needed)
    with only_one(place):
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
        first = None
        if row.start:
            # Where drawn pictures stand in for real ones, a row that is never given real ones must draw others.
            other = 0 if folder or load_row(report, row.start, scale).data.real else PRETRAINING_SEED
            first = run(report, row.start, scale=scale, seed=seed + other, data=data, out=out, on_epoch=on_epoch)
        clock = time.perf_counter()
        folds = make_folds(row, seed, folder)
        starts = starting_points(first, folds) if first else [None] * len(folds)
        if len(folds) > 1 and PartialState().is_main_process:
            names = json.dumps([fold.validation.names for fold in folds], indent=1)
            write_whole(place / "folds.json", lambda file: file.write(names.encode()), "folds")
        outcome = Outcome({}, path, [], folds, [])
        found = []
        for i, fold in enumerate(folds):
            if row.baseline is not None:
                model, history = None, History()
                metrics, chosen = run_baseline(row, fold)
            else:
                where = fold_folder(outcome, i)
                settings = row.training_recipe() | {"seed": seed}
                if len(folds) > 1:
                    settings |= {"fold": i, "validation": fold.validation.names}
                model, history = train(
                    row, seed, fold, starts[i], folder=where / "checkpoints", settings=settings, on_epoch=on_epoch
                )
                masks, metrics = EVALUATIONS[type(row.data)](model, row, seed, folder, fold)
                chosen = {"best_epoch": history.best["epoch"]}
                chosen |= {name: metrics.pop(name) for name, value in list(metrics.items()) if isinstance(value, list)}
                if PartialState().is_main_process:
                    about = {"report": report, "row": name, "scale": scale, "seed": str(seed), "result": path.name}
                    about |= {"fold": str(i), "size": str(row.data.resize)}
                    weights.save(model, where / "best.safetensors", about)
                    write = write_mask if masks[0].dtype == bool else write_grey
                    for mask, stem in zip(masks, fold.measured.names):
                        write(where / "predictions" / f"{stem}.png", mask)
            images, part = metrics.pop("images"), "test" if fold.test else "validation"
            outcome.models.append(model)
            outcome.histories.append(history)
            found.append(
                {
                    "split": f"{fold.description}; metrics over the {images} {part} pairs",
                    "metrics": metrics,
                    "foreground_share": float(np.mean([np.mean(mask) for mask in fold.measured.masks])),
                    **chosen,
                    "history": list(history),
                }
            )
        trained = [history[-1]["seconds"] for history in outcome.histories if history]
        outcome.result.update(
            {
                "report": report,
                "row": name,
                "scale": scale,
                "data": source,
                "seed": seed,
                "overrides": dict(overrides or {}),
                "parameters": count_parameters(outcome.model) if outcome.model else 0,
                **(found[0] if len(found) == 1 else over_folds(found)),
                "config": row.recipe(),
                "run": results.describe_run(
                    seconds=sum(trained) if trained else time.perf_counter() - clock,
                    precision=resolve_precision(row.training.precision) if row.training else None,
                ),
            }
        )
        if PartialState().is_main_process:
            results.write(path, outcome.result)
        return outcome


@contextmanager
def only_one(place: Path) -> Iterator[None]:
    """Keeps a run's folder to one run at a time: two would take up and remove each other's checkpoints.

    Raises:
        RuntimeError: another run is at work there.
    """
    if not PartialState().is_main_process:
        yield
        return
    lock = place.with_name(f"{place.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise RuntimeError(f"another process runs this row, in {place}; wait until it is done, or stop it") from None


def self_labelled(model: nn.Module, row: Row, seed: int, data: Splits) -> Splits:
    """The same with the photographs without masks in the training part, and what `model` finds there as their masks."""
    photographs = data.unlabelled
    masks = [fill_in([model], *pair, row.data) >= 0.5 for pair in zip(photographs.images, photographs.scribbles)]
    labelled = data.train.data + replace(photographs, masks=masks)
    return replace(data, train=_scribbles_to_train_on(row.data, labelled, seed), unlabelled=None)


def starting_points(first: Outcome, folds: Sequence[Splits]) -> list[Path]:
    """The weights that each fold of a row starts from: those of `first`'s same fold, or of its only one.

    Raises:
        ConfigError: there are fewer folds, or a fold would be validated on what its starting network was trained on.
    """
    if 1 < len(first.data) < len(folds):
        raise ConfigError(f"{len(folds)} folds cannot start from the networks of {len(first.data)}")
    places = []
    for i, fold in enumerate(folds):
        k = i if len(first.data) > 1 else 0
        known = sorted(set(first.data[k].train.names) & set(fold.validation.names))
        if known:
            raise ConfigError(
                f"fold {i}: its starting network was trained on {len(known)} of its validation pictures, such as "
                f"{known[0]}; start from a row with the same folds, or on other data"
            )
        places.append(fold_folder(first, k) / "best.safetensors")
    return places


def data_source(row: Row, folder: str | Path | None) -> str:
    """What a row runs on: "embedded", or the names of real data sets."""
    if isinstance(row.data, Shapes) or not folder:
        return "embedded"
    first = REAL_DATA[type(row.data)] if row.data.real else "embedded"
    extra = getattr(row.data, "extra", ())
    return "+".join(dict.fromkeys([first, *(EXTRA_DATA[name] for name in extra if name in EXTRA_DATA)]))


def fold_folder(outcome: Outcome, fold: int) -> Path:
    """Where a run leaves what belongs to one of its folds."""
    place = run_folder(outcome.path)
    return place / f"fold{fold}" if len(outcome.data) > 1 else place


def run_folder(result: Path) -> Path:
    """Where the run that writes this result file leaves networks, checkpoints and predictions."""
    return result.parents[2] / "runs" / result.parent.name / result.stem


def over_folds(found: list[dict]) -> dict:
    """The folds of a run, and the mean and standard deviation of their metrics."""
    common = [name for name in found[0]["metrics"] if all(name in fold["metrics"] for fold in found)]
    values = {name: [fold["metrics"][name] for fold in found] for name in common}
    return {
        "metrics": {name: float(np.mean(v)) for name, v in values.items()},
        "spread": {name: float(np.std(v, ddof=1)) for name, v in values.items()},
        "folds": found,
    }


def run_baseline(row: Row, data: Splits) -> tuple[dict, dict]:
    """Metrics of a classical baseline on the validation part, and what was chosen for it on the training part."""
    return BASELINES[type(row.baseline)](row, data)


def _filter_and_otsu(row: Row, data: Splits) -> tuple[dict, dict]:
    filter = row.baseline.filter
    strength = baselines.tune(data.train.images[:TUNING_IMAGES], data.train.masks[:TUNING_IMAGES], filter)
    masks = [baselines.segment(image, filter, strength) for image in data.validation.images]
    chosen = {"strength": strength, "tuned_on": f"the first {TUNING_IMAGES} training pairs"}
    return measure_masks(masks, data.validation), chosen


def _otsu_or_regions(row: Row, data: Splits) -> tuple[dict, dict]:
    method, chosen = row.baseline.method, {}
    if method == "region-based":
        settings = baselines.tune_region_based(data.train.images[:TUNING_IMAGES], data.train.masks[:TUNING_IMAGES])
        chosen = {"settings": settings, "tuned_on": f"the first {TUNING_IMAGES} training pairs"}
        masks = [baselines.region_based(image, **settings) for image in data.validation.images]
    else:
        masks = [baselines.otsu(image) for image in data.validation.images]
        if method == "otsu-better-polarity":
            masks = [baselines.better_polarity(mask, truth) for mask, truth in zip(masks, data.validation.masks)]
    return measure_masks(masks, data.validation) | boundary_metrics(zip(masks, data.validation.masks)), chosen


def _from_hint(row: Row, data: Splits) -> tuple[dict, dict]:
    method = baselines.FROM_HINT[row.baseline.method]
    triples = (data.validation.at_own_size(i) for i in range(len(data.validation)))
    found = [mask_metrics(method(image, hint), truth) for image, hint, truth in triples]
    return mean_metrics(found), {"objects": _describe(data.validation.objects, found)}


def _from_strokes(row: Row, data: Splits) -> tuple[dict, dict]:
    method, held_out = baselines.FROM_STROKES[row.baseline.method], data.validation.data
    masks = [method(*pair) for pair in zip(held_out.images, held_out.scribbles)]
    metrics = measure_filled_in(masks, held_out)
    return metrics, {"photographs": metrics.pop("photographs")}


def _one_class(row: Row, data: Splits) -> tuple[dict, dict]:
    number = mars.CLASSES.index(row.baseline.method)
    everywhere = torch.nn.functional.one_hot(torch.full(data.test.terrain.labels.shape, number), len(mars.CLASSES))
    metrics = measure_classes(everywhere.permute(0, 3, 1, 2).numpy(), data.test.terrain)
    del metrics["ce"]
    return metrics, {"confusion": metrics.pop("confusion")}


BASELINES = {
    Baseline: _filter_and_otsu,
    FaceBaseline: _otsu_or_regions,
    HintBaseline: _from_hint,
    ScribbleBaseline: _from_strokes,
    MarsBaseline: _one_class,
}


def measure_masks(masks: Sequence[np.ndarray], data: SegmentationDataset) -> dict:
    """The metrics of `BinaryMetrics` for hard masks (H, W), which have no probabilities and so no cross-entropy."""
    metrics = BinaryMetrics()
    for mask, truth in zip(masks, data.masks):
        logits = torch.from_numpy(mask).float() * 2 - 1
        metrics.update(BinaryMetrics.count(logits[None, None], torch.from_numpy(truth)[None, None]))
    computed = metrics.compute()
    del computed["bce"]
    return computed


def predict_masks(model: nn.Module, data: SegmentationDataset) -> list[np.ndarray]:
    """The masks, bool (H, W), that a network finds in the images of a data set."""
    images = (to_tensor(image)[None] for image in data.images)
    return [predict(model, image)[0, 0].numpy() >= 0.5 for image in images]


def evaluate_on_silhouettes(
    model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
) -> tuple[list[np.ndarray], dict[str, float]]:
    """Masks and metrics of the validation part, with the mean IoU over 200 or more noisy pictures of each set of real
    silhouettes: `iou_horse` and so on."""
    noise = shapes.Noise(**row.data.noise.model_dump())
    found = evaluate(model, data.validation)
    for name, masks in shapes.silhouettes(row.data.size, folder).items():
        masks = np.tile(masks, (-(-200 // len(masks)), 1, 1))
        images = shapes.degrade(masks, noise, np.random.default_rng([seed, len(masks)]))
        found[f"iou_{name}"] = evaluate(model, SegmentationDataset(images, masks))["iou"]
    return predict_masks(model, data.validation), found


def evaluate_on_faces(
    model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
) -> tuple[list[np.ndarray], dict[str, float]]:
    """Masks and metrics of the validation part, also of outlines, with the mean IoU over 100 new generated frames with
    one person (`iou_one_person`) and 100 with two (`iou_two_people`)."""
    masks = predict_masks(model, data.validation)
    found = evaluate(model, data.validation) | boundary_metrics(zip(masks, data.validation.masks))
    for name, two_people in (("iou_one_person", 0.0), ("iou_two_people", 1.0)):
        found[name] = evaluate(model, test_frames(row.data.size, seed, two_people))["iou"]
    return masks, found


def evaluate_at_own_size(
    model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
) -> tuple[list[np.ndarray], dict]:
    """Masks and metrics of the validation part at each photograph's own size, whatever the network was trained at.

    With the mean IoU where the logit is cut at 0.5 and not the probability (`iou_logit_half`), the metrics of each
    single object (`objects`), and which images the network was trained on (`training_images`). A network that was
    trained for corrections also meets a user who draws eight strokes (see `interact`): `iou_after_1` to `iou_after_8`,
    and how many of them it takes to reach an IoU of 0.90 on average, nine where eight are not enough (`strokes_to_90`).
    """
    masks, found, stricter = [], [], []
    for i in range(len(data.validation)):
        image, hint, truth = data.validation.at_own_size(i)
        probability = refine([model], image, hint, row.data)
        masks.append(probability >= 0.5)
        found.append(mask_metrics(masks[-1], truth))
        stricter.append(iou(probability >= 1 / (1 + np.exp(-0.5)), truth))
    means = mean_metrics(found) | {"iou_logit_half": float(np.mean(stricter))}
    if row.data.corrections:
        means |= _measure_user(model, row, seed, data.validation)
    training = sorted({entry.image_id for entry in data.train.objects})
    return masks, means | {"objects": _describe(data.validation.objects, found), "training_images": training}


def _measure_user(model: nn.Module, row: Row, seed: int, data: BrushDataset) -> dict[str, float]:
    curves = []
    for i, entry in enumerate(data.objects):
        image, _, truth = data.at_own_size(i)
        rng = np.random.default_rng([seed, entry.annotation_id])
        steps = interact([model], image, truth, row.data, USER_STROKES, rng, data.scale)
        ious = [iou(mask, truth) for _, mask in steps]
        curves.append(ious + ious[-1:] * (USER_STROKES - len(ious)))  # a user who is content stops early
    found = {f"iou_after_{number}": float(np.mean(after)) for number, after in enumerate(zip(*curves), 1)}
    return found | {"strokes_to_90": float(np.mean([strokes_to_reach(ious, 0.9) for ious in curves]))}


def _describe(objects: Sequence[coco.Object], found: Sequence[dict]) -> list[dict]:
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


def evaluate_filled_in(
    model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
) -> tuple[list[np.ndarray], dict]:
    """Masks and metrics of the validation part at each photograph's own size, whatever the network was trained at;
    also with less and less left of each stroke, and how right the probabilities are."""
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


def two_ious(masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> np.ndarray:
    """Each mask's IoU of the object and of the background: (2, N)."""
    pairs = list(zip(masks, truths))
    return np.array([[iou(*pair) for pair in pairs], [iou(~mask, ~truth) for mask, truth in pairs]])


def measure_filled_in(masks: Sequence[np.ndarray], data: scribbles.Scribbled) -> dict:
    """Means over photographs: `mean_iou` of foreground and background, and both apart, Dice, accuracy, outlines;
    `mean_iou_pooled`, from the pixels of all photographs together; and `photographs`, the object's share of each and
    its two IoUs."""
    pairs = list(zip(masks, data.masks))
    inside, outside = two_ious(masks, data.masks)
    metrics = BinaryMetrics()
    for mask, truth in pairs:
        logits = torch.from_numpy(mask).float() * 2 - 1
        metrics.update(BinaryMetrics.count(logits[None, None], torch.from_numpy(truth)[None, None]))
    pooled = metrics.compute()
    return (
        {"mean_iou": float((inside + outside).mean() / 2), "iou": float(inside.mean())}
        | {"iou_background": float(outside.mean())}
        | {name: pooled[name] for name in ("dice", "pixel_accuracy", "mean_iou_pooled", "iou_pooled", "images")}
        | boundary_metrics(pairs)
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


def classify(models: Sequence[nn.Module], images: np.ndarray, config: Mars) -> np.ndarray:
    """Mean class probabilities of an ensemble for pictures of terrain, at the pictures' own size.

    Args:
        models: networks that were trained as `config` says; they see pictures at its width, and as high as follows.
        images: uint8 (N, H, W).

    Returns:
        float32 (N, classes, H, W). Where `config.background` is "ignored", that of the background is 0: the networks
        never learned what it is.
    """
    height = max(1, round(images.shape[1] * config.width / images.shape[2]))
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


def evaluate_terrain(
    model: nn.Module, row: Row, seed: int, folder: str | Path | None, data: Splits
) -> tuple[list[np.ndarray], dict]:
    """Labels and metrics of the test part at the pictures' own size, see `measure_classes`."""
    found = np.concatenate(
        [classify([model], data.test.terrain.images[i : i + 64], row.data) for i in range(0, len(data.test), 64)]
    )
    return list(found.argmax(1).astype(np.uint8)), measure_classes(found, data.test.terrain)


def measure_classes(probabilities: np.ndarray, rows: mars.Terrain) -> dict:
    """The metrics of `ClassMetrics` for class probabilities (N, classes, H, W) of labelled rows.

    With the standard deviation of `mean_iou` when the photographs are drawn anew, with replacement, 200 times
    (`mean_iou_error`), the confusion matrix of all pixels (`confusion`, truth by prediction), and on generated terrain
    the same mean IoU by the clean labels (`mean_iou_clean`).
    """
    metrics = METRICS[Mars]()
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
        clean = METRICS[Mars]()
        clean.update(clean.count(logits, torch.from_numpy(rows.clean.astype(np.int64))))
        found["mean_iou_clean"] = clean.compute()["mean_iou"]
    return found


@cache
def test_frames(size: int, seed: int, two_people: float) -> SegmentationDataset:
    """100 generated frames that no row of that seed is trained on; kept, for every fold asks for them."""
    pairs = faces.generate(100, size, seed + TEST_SEED, two_people)
    return SegmentationDataset(pairs.images, pairs.masks)


EVALUATIONS = {
    Shapes: evaluate_on_silhouettes,
    Faces: evaluate_on_faces,
    Brush: evaluate_at_own_size,
    Scribbles: evaluate_filled_in,
    Mars: evaluate_terrain,
}


def check_writable(folder: Path) -> None:
    """Raises OSError, naming the folder, where not even a megabyte can be written into it."""
    write_whole(folder / ".probe", lambda file: file.write(bytes(2**20)), "results").unlink()
