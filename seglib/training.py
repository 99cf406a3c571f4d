"""One training loop for all reports: `fit` and `evaluate`, on a CPU, a GPU or several processes."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate
from tqdm import tqdm

from .files import user_path, write_whole
from .items import (
    check_batch,
    check_items,
    check_targets,
    described,
    digest,
    generators_kept,
    hashed,
    mixed_sizes,
    set_epoch,
    sizes_of,
)
from .losses import IGNORE, TargetWarning
from .metrics import BinaryMetrics, ClassMetrics, Metrics
from .muon import Muon

__all__ = [
    "OPTIMIZERS",
    "PRECISIONS",
    "SCHEDULES",
    "DamagedCheckpoint",
    "History",
    "NonFiniteLoss",
    "OtherRun",
    "check_targets",
    "evaluate",
    "fit",
    "hash_seed",
    "load_checkpoint",
    "make_accelerator",
    "mixed_sizes",
    "pad_batch",
    "predict",
    "resolve_precision",
]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "muon": Muon,
}
PRECISIONS = ("auto", "float32", "bf16", "fp16")
ADVICE = (
    "try a tenth of the learning rate, precision float32 instead of fp16, and look for images or masks with NaN or "
    "values outside [0, 1]"
)
HIGHER_IS_BETTER = {"loss": False, "bce": False, "ce": False}  # every other metric is better when higher


class NonFiniteLoss(RuntimeError):
    """The loss became infinite or not a number."""


class History(list[dict[str, Any]]):
    """One dict per epoch: `epoch` (from 1), `seconds` since the start, `learning_rate` as the epoch begins and
    `learning_rate_end` in its last step, `loss` and the metrics of `BinaryMetrics`; first over the training batches
    as they were trained on (augmented, with dropout, while the weights changed), then, with `val_` before their names,
    over the validation part. `best` is the row of the kept weights."""

    best: dict[str, Any]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self]


@contextmanager
def without_opencv_threads() -> Iterator[None]:
    """Batches are made in the training process or in loader workers; OpenCV's own threads would only compete."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def state_of_accelerate_kept() -> Iterator[None]:
    """What all of accelerate's accelerators share, their precision and gradient accumulation, is as it was, for the
    caller may have one of his own. Which process this is, and on which device, stays known."""
    kept = [(shared, dict(shared)) for shared in (AcceleratorState._shared_state, GradientState._shared_state)]
    try:
        yield
    finally:
        for shared, content in kept:
            shared.clear()
            shared.update(content)


@without_opencv_threads()
@state_of_accelerate_kept()
def fit(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    train: Dataset[Any],
    validation: Dataset[Any],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    schedule: str = "constant",
    plateau_patience: int = 5,
    average: float = 0.0,
    monitor: str = "iou",
    metrics: Callable[[], Metrics] = BinaryMetrics,
    patience: int | None = None,
    precision: str = "auto",
    channels_last: bool = True,
    workers: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> History:
    """Trains `model` in place and leaves in it the weights of its best epoch.

    On one CPU the same arguments give the same weights, also when the run was killed and taken up again. It seeds the
    global random generators. Before it starts it looks at some items of each data set (see `seglib.items.check_items`),
    with whatever random numbers they take put back.

    Args:
        model: maps images to logits.
        loss: maps logits and target to a scalar.
        train, validation: items are (image, target). Where their sizes differ, the data set says them in `sizes`, a
            list of (H, W): images that are much alike are then batched together, and padded (see `pad_batch`).
            Before each epoch `set_epoch(epoch)` is called of the training data and of the loss, where they have it.
        epochs: most epochs to train, at least 1.
        batch_size: images a step and process. Several processes average their gradients: where pixels are ignored, a
            mean of means, in which a process with fewer pixels left weighs as much as the others.
        learning_rate: of the optimizer; with "one-cycle", the cycle's highest.
        optimizer: "adam", "adamw", or "muon" (see `seglib.muon`).
        schedule: "constant"; "plateau" (a tenth after `plateau_patience` epochs without a lower validation loss);
            "one-cycle" (Smith and Topin 2017, arXiv 1708.07120) and "cosine" (down to 1e-7; Loshchilov and Hutter
            2017, arXiv 1608.03983, without restarts), a step at a time.
        average: how much of the weights' running average each step keeps, such as 0.99 (less in the first steps); it
            is this average that is validated and left in the model. 0: the weights themselves.
        monitor: the validation metric by which the best epoch is chosen: "loss" or one of the `NAMES` of `metrics`.
        metrics: makes what metrics are counted with: `BinaryMetrics`, or for classes a partial `ClassMetrics`.
        patience: epochs without a better `monitor` after which training stops; None: never.
        precision: "float32", "bf16", "fp16", or "auto": bf16 where the hardware multiplies matrices in it.
        channels_last: keep tensors in NHWC order, which convolutions on CPUs and tensor cores prefer; false for
            networks with group normalisation, which PyTorch computes slowly in it.
        workers: processes that load data; 0 loads in this one.
        seed: of shuffling and of everything random in the model.
        folder: where checkpoints go after each epoch, and from where a run that was cut off is taken up again: one
            with the same options, network, loss, data (see `seglib.items.digest`) and `settings`. More epochs may be
            asked for, unless the schedule is that of all epochs.
        settings: what else makes the run what it is.
        on_epoch: called with each new row of the history.

    Raises:
        NonFiniteLoss: names the epoch and the step.
        OtherRun: checkpoints of a run with other options, data or settings, or of another network.
        ValueError: an option that does not exist; items that a network cannot be trained on, among those looked at; a
            batch of a single image where batch normalisation needs more.
    """
    check_options(optimizer=(optimizer, OPTIMIZERS), precision=(precision, PRECISIONS), schedule=(schedule, SCHEDULES))
    check_metrics(metrics)
    check_options(monitor=(monitor, ("loss", *metrics().NAMES)))
    check_counts(epochs=epochs, batch_size=batch_size)
    check_counts(0, seed=seed, workers=workers, plateau_patience=plateau_patience)
    check_counts(patience=1 if patience is None else patience)
    if not (0 <= weight_decay < math.inf and 0 <= average < 1):
        raise ValueError(
            f"expected weight_decay of at least 0 and average from 0 to below 1, got {weight_decay!r} and {average!r}"
        )
    if isinstance(train, IterableDataset):
        raise ValueError(
            "expected training data with a length and items by their numbers, which are shuffled, got an "
            "IterableDataset; a list of its items is such data"
        )
    if not isinstance(learning_rate, (int, float, np.number)) or not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a finite number above 0, got {learning_rate!r}")
    epochs, batch_size, learning_rate = int(epochs), int(batch_size), float(learning_rate)  # not NumPy's
    parts = {"the training data": train, "the validation data": validation}
    for what, part in parts.items():
        check_items(part, metrics(), what, weights_type(model))
    accelerator = make_accelerator(precision, data_seed=hash_seed(seed))
    set_seed(hash_seed(seed, accelerator.process_index))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]  # torch does not declare it
    check_last_batch(model, train, batch_size, accelerator)
    train_loader = make_loader(train, batch_size, workers, shuffle_seed=hash_seed(seed))
    # Without gradients a larger batch fits. Images of many sizes come one by one, as in use: padding would change what
    # a network with group normalisation makes of them.
    validation_loader = make_loader(validation, 1 if mixed_sizes(validation) else 2 * batch_size, workers)
    optimizer_ = OPTIMIZERS[optimizer](model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    averaged = AveragedModel(model, avg_fn=partial(_running_average, average), use_buffers=True) if average else None
    network, optimizer_, train_loader, validation_loader = accelerator.prepare(
        model, optimizer_, train_loader, validation_loader
    )
    try:
        scheduler = SCHEDULES[schedule](
            optimizer_.optimizer, learning_rate, epochs * len(train_loader), plateau_patience
        )
        validated = accelerator.prepare_model(averaged.module, evaluation_mode=True) if averaged else network
        state = TrainingState(accelerator, model, optimizer_, scheduler, averaged)
        checkpoints = None
        if folder:
            options = {
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "optimizer": optimizer,
                "loss": described(loss),
                "weight_decay": float(weight_decay),
                "schedule": schedule,
                "plateau_patience": plateau_patience,
                "average": float(average),
                "monitor": monitor,
                "precision": precision,
                "channels_last": channels_last,
                "seed": seed,
                "epochs": epochs if isinstance(scheduler, STEPWISE) else None,  # its shape is that of all epochs
            }
            data = {what: [getattr(part, "__len__", lambda: None)(), digest(part)] for what, part in parts.items()}
            layers = hashed([described(model)])
            run = {"settings": settings, "options": options, "data": data, "layers": layers}
            checkpoints = Checkpoints(folder, run, accelerator)
            checkpoints.restore(state, epochs)

        history = state.history
        before = history[-1]["seconds"] if history else 0.0
        start = time.perf_counter()
        for epoch in range(len(history), epochs):
            if patience is not None and history and epoch - history.best["epoch"] >= patience:
                break
            for changing in (train, loss):
                set_epoch(changing, epoch)
            train_loader.set_epoch(epoch)
            rate = optimizer_.param_groups[0]["lr"]
            with warnings.catch_warnings():
                # A batch without an object may well come along; that not all are so was looked at before.
                warnings.simplefilter("ignore", TargetWarning)
                trained = _train_epoch(
                    accelerator, network, loss, train_loader, optimizer_, state, layout, epoch, metrics()
                )
                held_out = _validate(accelerator, validated, validation_loader, layout, metrics(), loss)
            if not math.isfinite(held_out["loss"]):
                raise NonFiniteLoss(f"the validation loss is {held_out['loss']} after epoch {epoch + 1}; {ADVICE}")
            if schedule == "plateau":
                scheduler.step(held_out["loss"])
            row: dict[str, Any] = {"epoch": epoch + 1, "seconds": before + time.perf_counter() - start}
            row |= {"learning_rate": rate} | trained | {f"val_{name}": value for name, value in held_out.items()}
            state.add(row, f"val_{monitor}", HIGHER_IS_BETTER.get(monitor, True))
            if checkpoints:
                checkpoints.save(state)
            if accelerator.is_main_process and on_epoch:
                on_epoch(row)
    finally:  # also when it was interrupted: the model is the caller's again
        unwrap(accelerator, model)
    model.load_state_dict(state.best_weights)
    return history


@without_opencv_threads()
@state_of_accelerate_kept()
def evaluate(
    model: nn.Module,
    data: Dataset[Any],
    *,
    metrics: Callable[[], Metrics] = BinaryMetrics,
    batch_size: int = 64,
    precision: str = "float32",
    workers: int = 0,
) -> dict[str, float]:
    """The metrics over a data set, shared out over all processes; the same on each of them. Arguments as for `fit`.

    Leaves the model on the accelerator's device, in NHWC order and in evaluation mode.

    Raises:
        ValueError: items that a network cannot be measured on, among those looked at, as `fit`.
    """
    check_metrics(metrics)
    check_counts(batch_size=batch_size)
    check_items(data, metrics(), dtype=weights_type(model))
    accelerator = make_accelerator(precision)
    loader = make_loader(data, 1 if mixed_sizes(data) else int(batch_size), workers)
    loader = accelerator.prepare(loader)
    # Without DistributedDataParallel, which measuring does not need and which a process must not hold when it ends.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = accelerator.prepare_model(model, evaluation_mode=True)
    try:
        return _validate(accelerator, network, loader, torch.channels_last, metrics())
    finally:
        unwrap(accelerator, model)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Probabilities for images (N, C, H, W), in evaluation mode, on the model's device: of one channel σ(logits),
    (N, 1, H, W); of several, for classes, their softmax, (N, classes, H, W).

    In float32; within `torch.autocast` the network computes in less. The model is afterwards in the mode that it was
    in before.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        device = next(model.parameters()).device
        logits = (model(batch.to(device)).float() for batch in images.split(64))
        return torch.cat([(torch.sigmoid(one) if one.shape[1] == 1 else one.softmax(1)).cpu() for one in logits])
    finally:
        for module, training in modes:
            module.training = training


def weights_type(model: nn.Module) -> torch.dtype:
    """The type that a network wants its images in."""
    return next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), torch.float32)


def check_last_batch(model: nn.Module, data: Dataset[Any], batch_size: int, accelerator: Accelerator) -> None:
    """Raises ValueError where training meets a batch of one image and batch normalisation cannot do with that.

    It can where it sees several pixels, so an image is tried, in training mode; running statistics, modes and random
    generators are left as they were.
    """
    normalized = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if isinstance(data, IterableDataset) or not normalized:
        return
    count = len(data)  # type: ignore[arg-type]
    # Several processes fill the last batch up with images from the start.
    if batch_size > 1 and (count % batch_size != 1 or accelerator.num_processes > 1):
        return
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.no_grad(), generators_kept(accelerator.device):
            model.train()(data[0][0][None].to(accelerator.device))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        left = (
            "batches of one" if batch_size == 1 else f"{count} images in batches of {batch_size}, which leave 1 alone"
        )
        raise ValueError(
            "batch_size: expected at least two images in each batch of training, for batch normalisation in this "
            f"network has one value a channel of a single image, got {left}; take another batch_size or "
            "number of images"
        ) from None
    finally:
        for buffer, kept in buffers:
            buffer.copy_(kept)
        for module, training in modes:
            module.training = training


def _train_epoch(accelerator, network, loss, loader, optimizer, state, layout, epoch, metrics) -> dict[str, float]:
    """One pass over the training data; returns the learning rate of its last step, the mean loss of its steps, and the
    metrics of its batches."""
    network.train()
    losses = []
    with progress_bar(len(loader), f"epoch {epoch + 1}", accelerator.is_main_process) as bar:
        for step, (image, target) in enumerate(loader):
            logits = network(image.to(memory_format=layout))
            batch_loss = loss(logits, target)
            optimizer.zero_grad()
            accelerator.backward(batch_loss)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            if isinstance(state.scheduler, STEPWISE):
                state.scheduler.step()
            if state.averaged:
                state.averaged.update_parameters(state.model)
            losses.append(batch_loss.detach())
            # Processes repeat some images to have equally many batches; gathering drops the repeats.
            metrics.update(accelerator.gather_for_metrics(metrics.count(logits.detach(), target)))
            bar.update()
            # Looking at a loss makes the program wait for an accelerator, so it is done now and then.
            if step % 50 == 49 or step + 1 == len(loader):
                _check_finite(losses, epoch, optimizer.param_groups[0]["lr"])
    found = {"learning_rate_end": rate, "loss": accelerator.reduce(torch.stack(losses).mean(), "mean").item()}
    return found | metrics.compute()


def _running_average(keep: float, average: Tensor, current: Tensor, count: Tensor) -> Tensor:
    """The average after `count` + 1 steps. While there are few, a tenth or more of each enters it."""
    share = 1 - ((1 + count) / (10 + count)).clamp(max=keep)
    return average + share * (current - average)


def _check_finite(losses: list[Tensor], epoch: int, learning_rate: float) -> None:
    finite = torch.isfinite(torch.stack(losses))
    if not finite.all():
        step = int((~finite).nonzero()[0]) + 1
        raise NonFiniteLoss(
            f"the loss is {losses[step - 1].item()} at epoch {epoch + 1}, step {step} (learning rate "
            f"{learning_rate:g}); {ADVICE}"
        )


@torch.no_grad()
def _validate(accelerator, network, loader, layout, metrics, loss=None) -> dict[str, float]:
    network.eval()
    loss_sum = torch.zeros(2, device=accelerator.device)
    for image, target in loader:
        logits = network(image.to(memory_format=layout))
        # Processes repeat some images to have equally many batches; gathering drops the repeats.
        metrics.update(accelerator.gather_for_metrics(metrics.count(logits, target)))
        if loss is not None:
            # One loss per image, so that batches of any size and any number of processes give the same mean.
            each = torch.stack([loss(*pair) for pair in zip(logits.split(1), target.split(1))])
            each = accelerator.gather_for_metrics(torch.stack([each, torch.ones_like(each)], dim=1))
            loss_sum = loss_sum + each.sum(0)
    result = metrics.compute()
    total, images = loss_sum.tolist()
    return result if loss is None else {"loss": total / images} | result


class TrainingState:
    """All that changes while a network trains: what a checkpoint must hold to go on as if nothing had happened."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Any,  # accelerate's, around one of PyTorch's
        scheduler: Any,
        averaged: AveragedModel | None = None,
    ):
        self.accelerator, self.model, self.optimizer, self.scheduler = accelerator, model, optimizer, scheduler
        self.averaged = averaged
        self.history = History()
        self.best_weights: Any = None  # a state_dict, after the first epoch

    def add(self, row: dict[str, Any], monitor: str, higher: bool) -> None:
        """Adds an epoch's row, and keeps the weights where they are the best so far."""
        self.history.append(row)
        if self.best_weights is None or (row[monitor] - self.history.best[monitor]) * (1 if higher else -1) > 0:
            self.history.best = row
            kept: nn.Module = self.averaged.module if self.averaged else self.model
            self.best_weights = copy.deepcopy(kept.state_dict())

    def state_dict(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "history": list(self.history),
            "best": self.history.best,
            "random": gather_object([random_state()]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.best_weights = state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.history.extend(state["history"])
        self.history.best = state["best"]
        restore_random_state(state["random"][self.accelerator.process_index % len(state["random"])])


class Checkpoints:
    """The two newest checkpoints of a run, in a folder; the older one serves where the newer one is damaged."""

    def __init__(self, folder: str | Path, run: Mapping[str, Any], accelerator: Accelerator):
        """`run` is what the checkpoints belong to: the `options` of `fit`, the caller's `settings`, and of the `data`
        by their names how many items they have and their digest."""
        self.folder, self.accelerator = user_path(folder), accelerator
        self.run = json.dumps(run, sort_keys=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: TrainingState) -> None:
        content = state.state_dict() | {"run": self.run}  # all processes take part in gathering it
        if self.accelerator.is_main_process:
            write_whole(
                self.folder / f"epoch-{len(state.history):04d}.pt", lambda file: torch.save(content, file), "checkpoint"
            )
            for old in self.paths()[:-2]:
                old.unlink()

    def paths(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.pt"))

    def restore(self, state: TrainingState, epochs: int) -> None:
        """Loads the newest checkpoint that is whole; none: leaves `state` as it is.

        Raises:
            OtherRun: it belongs to another run than this one, of so many epochs.
        """
        for path in reversed(self.paths()):
            try:
                content = load_checkpoint(path)
            except DamagedCheckpoint as error:
                self.accelerator.print(f"{error}; going back to the one before it")
                continue
            if isinstance(content, dict) and "run" in content:
                differences = _differences(json.loads(content["run"]), json.loads(self.run))
                differences = differences or _other_network(content["model"], state.model.state_dict())
                if not differences and json.loads(content["run"]).get("layers") != json.loads(self.run)["layers"]:
                    differences = ["the network: weights of the same shapes, in other layers"]
                if not differences and len(content["history"]) > epochs:
                    differences = [f"epochs: {len(content['history'])} there, {epochs} here"]
            else:
                differences = ["an older version made it, which did not write down of what options and data"]
            if differences:
                raise OtherRun(
                    f"{path} belongs to another run ({'; '.join(differences)}); give another folder, or remove this "
                    "one to start again"
                )
            state.load_state_dict(content)
            return


class OtherRun(ValueError):
    """A checkpoint that belongs to another run: one with other options, data or settings, or of another network."""


class DamagedCheckpoint(RuntimeError):
    """A checkpoint that cannot be read whole."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, after comparing every part of the file with its checksum (torch.load does not)."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise DamagedCheckpoint(f"{path} is damaged: wrong checksum in {bad}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # it would have to run code that it brings along
        raise DamagedCheckpoint(f"{path} is damaged: it holds more than tensors and settings") from None
    except DamagedCheckpoint:
        raise
    except Exception as error:  # zipfile, pickle and torch let through whatever they stumble over
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from error


def random_state() -> dict[str, Any]:
    """The state of every random generator in use, of types that torch.load takes with weights_only."""
    state: Any = np.random.get_state()  # noqa: NPY002 (some libraries still draw from it)
    kind, keys, position, has_gauss, cached = state
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def make_accelerator(precision: str = "float32", data_seed: int = 0) -> Accelerator:
    """An Accelerator for `precision`; the devices are those that `accelerate launch` or the machine gives."""
    precision = resolve_precision(precision)
    # accelerate keeps the first precision for the whole process and refuses another; a notebook trains with several.
    # It keeps the first number of steps whose gradients are added up as well, which may be the caller's.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    return Accelerator(
        mixed_precision="no" if precision == "float32" else precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=data_seed),
    )


def resolve_precision(precision: str) -> str:
    """What "auto" means here: bf16 where the GPU, or without one the CPU, multiplies in it faster, else float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        fast_bf16 = torch.cuda.get_device_capability() >= (8, 0)
    else:
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.6 cannot tell
        fast_bf16 = has.get("amx_bf16", False) or has.get("avx512_bf16", False)
    return "bf16" if fast_bf16 else "float32"


def unwrap(accelerator: Accelerator, model: nn.Module) -> None:
    """Takes accelerate's mixed-precision wrapper off the model again, so that it is the caller's own."""
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.__dict__.pop("_is_accelerate_prepared", None)


def make_loader(data: Dataset[Any], batch_size: int, workers: int, shuffle_seed: int | None = None) -> DataLoader[Any]:
    """A loader that shuffles where it is given a seed, and copes with images of several sizes."""
    mixed, sampler = mixed_sizes(data), None
    if mixed and shuffle_seed is not None:
        sampler = SimilarSizes(sizes_of(data), batch_size, shuffle_seed)
    return DataLoader(
        data,
        batch_size,
        shuffle=shuffle_seed is not None and sampler is None,
        sampler=sampler,
        collate_fn=partial(_batch, collate=pad_batch if mixed else default_collate),
        num_workers=workers,
        worker_init_fn=_start_worker if workers else None,
        persistent_workers=workers > 0,
        # New workers ask for a random number, and those that live on do not: it must not be the model's next one.
        generator=torch.Generator() if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _start_worker(number: int) -> None:
    cv2.setNumThreads(0)


class SimilarSizes(Sampler[int]):
    """A random order of images in which those of a batch have much the same shape; another in every epoch.

    All are shuffled, cut into pools of 20 batches, sorted by shape within each pool, and cut into batches, whose order
    is shuffled. So a batch is hardly padded, and as far as shapes allow other images meet in every epoch.

    Args:
        sizes: (H, W) of each image.
        batch_size: images in a batch; 1 gives an order that is simply random.
        seed: of the order.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], batch_size: int, seed: int):
        self.sizes, self.batch_size, self.seed, self.epoch = sizes, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order, pool = rng.permutation(len(self.sizes)).tolist(), 20 * self.batch_size
        pools = [sorted(order[i : i + pool], key=lambda item: self.sizes[item]) for i in range(0, len(order), pool)]
        order = [item for pool in pools for item in pool]
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        # A smaller one stays the last: the loader counts off batches of the full size.
        full = len(order) // self.batch_size
        for i in [*rng.permutation(full).tolist(), *range(full, len(batches))]:
            yield from batches[i]


def pad_batch(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """A batch of images (C, H, W) and targets (1, H, W) of different sizes, padded on the right and at the bottom.

    An image is continued by its edge; the target there is 255, which losses and metrics ignore.
    """
    height, width = (max(image.shape[axis] for image, _ in items) for axis in (1, 2))
    padding = [(0, width - image.shape[2], 0, height - image.shape[1]) for image, _ in items]
    images = [F.pad(image[None], more, mode="replicate") for (image, _), more in zip(items, padding)]
    targets = [F.pad(target[None], more, value=IGNORE) for (_, target), more in zip(items, padding)]
    return torch.cat(images), torch.cat(targets)


def _batch(items, collate):
    """`collate`d items; where it cannot, what is wrong with them."""
    try:
        return collate(items)
    except Exception as error:
        failed = error
    check_batch(items, padded=collate is pad_batch)
    raise failed


def progress_bar(total: int, name: str, main_process: bool = True) -> tqdm[Any]:
    """A bar for a terminal or a notebook that goes when it is full; nothing in a log or on further processes."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    watched = main_process and (in_notebook or sys.stdout.isatty())
    return tqdm(total=total, desc=name, leave=False, disable=not watched, file=sys.stdout)


def _constant(optimizer, rate, steps, patience):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _plateau(optimizer, rate, steps, patience):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=patience)


def _one_cycle(optimizer, rate, steps, patience):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)


def _cosine(optimizer, rate, steps, patience):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-7)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "plateau": _plateau,
    "one-cycle": _one_cycle,
    "cosine": _cosine,
}
STEPWISE = (torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CosineAnnealingLR)


def hash_seed(*numbers: int) -> int:
    """Mixes several numbers into one 32-bit seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def check_options(**options: tuple[str, Iterable[str]]) -> None:
    """Raises ValueError, naming the first option whose value is none of those known: `name=(value, known)`."""
    for name, (value, known) in options.items():
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}; got {value!r}")


def check_counts(least: int = 1, **counts: int) -> None:
    """Raises ValueError, naming the first that is no whole number of at least `least`: `name=value`."""
    for name, value in counts.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def check_metrics(metrics: object) -> None:
    """Raises ValueError where it is nothing that makes metrics."""
    if isinstance(metrics, BinaryMetrics | ClassMetrics) or not callable(metrics):
        raise ValueError(
            f"metrics: expected what makes them, BinaryMetrics or partial(ClassMetrics, names), got {metrics!r:.80}"
        )


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """In words, what two runs differ in; see `Checkpoints`."""

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix.rstrip("."): value}
        return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}{key}.").items()}

    found: list[str] = []
    said: set[str] = set()
    for kind in ("settings", "options"):
        one, other = flat(there[kind]), flat(here[kind])
        for key in sorted(one.keys() | other.keys()):
            name = key.split(".")[-1]
            before, now = one.get(key), other.get(key)
            if repr(before) == repr(now):  # by their text, for NaN is not equal to itself
                continue
            # Settings may hold what is an option as well, and an option may depend on another.
            if kind == "settings" or not (name in said or before is None or now is None):
                found.append(f"{key}: {before} there, {now} here")
            said.add(name)
    for part, (count, content) in here["data"].items():
        count_there, content_there = there["data"][part]
        if count_there != count:
            found.append(f"{part}: {count_there} items there, {count} here")
        elif content_there != content:
            found.append(f"{part}: {count} items in both, with other content")
    return found


def _other_network(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In words, what two networks' weights differ in, if they do."""
    one, other = ({k: tuple(v.shape) for k, v in weights.items() if hasattr(v, "shape")} for weights in (there, here))
    names = [name for name in {**other, **one} if one.get(name) != other.get(name)]
    if not names:
        return []
    shapes = [weights.get(names[0], "missing") for weights in (one, other)]
    more = f", and {len(names) - 1} more" if names[1:] else ""
    return [f"the network: {names[0]} is {shapes[0]} there, {shapes[1]} here{more}"]
