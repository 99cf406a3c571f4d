import copy
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from seglib import training
from seglib.data.datasets import SegmentationDataset, flips_and_quarter_turns
from seglib.losses import bce_loss, dice_loss, weighted_sum
from seglib.metrics import BinaryMetrics, ClassMetrics
from seglib.models.unet import UNet
from seglib.training import (
    DamagedCheckpoint,
    NonFiniteLoss,
    OtherRun,
    SimilarSizes,
    evaluate,
    fit,
    load_checkpoint,
    make_loader,
    mixed_sizes,
    pad_batch,
    predict,
)
from seglib.weights import load_file

TINY = {
    "training.epochs": 4,
    "data.count": 40,
    "data.size": 16,
    "model.widths": [4, 8],
    "model.dropout": 0.3,  # so that the random state matters
}


def pairs(count=12, height=8, width=12, seed=0):
    rng = np.random.default_rng(seed)
    masks = (rng.random((count, height, width)) < 0.4).astype(np.uint8)
    return SegmentationDataset((masks * 200 + 20).astype(np.uint8), masks)


def tiny_unet(dropout=0.0):
    torch.manual_seed(0)
    return UNet(1, 1, [4, 8], dropout=dropout)


def train(model, data=None, validation=None, loss=bce_loss, **changes):
    data = data or pairs()
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01, "precision": "float32"} | changes
    return fit(model, loss, data, validation or data, **settings)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_what_it_is_shown():
    model = tiny_unet()
    history = train(model, epochs=30)
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert evaluate(model, pairs())["iou"] > 0.95


def test_two_runs_on_one_cpu_give_the_same_weights():
    weights = []
    for _ in range(2):
        model = tiny_unet(dropout=0.3)
        train(model, seed=5)
        weights.append(model.state_dict())
    assert same(*weights)
    model = tiny_unet(dropout=0.3)
    train(model, seed=6)
    assert not same(weights[0], model.state_dict())


def test_the_first_step_is_the_one_worked_out_by_hand():
    # One pixel, one weight w = 0, plain gradient: dL/dw = (σ(0) − t) x = −x / 2; Adam's first step is the rate itself.
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.zeros_(model.weight)
    data = SegmentationDataset([np.full((1, 1), 255, np.uint8)], [np.ones((1, 1), np.uint8)])
    history = train(model, data, epochs=1, batch_size=1, learning_rate=0.25)
    assert model.weight.item() == pytest.approx(0.25, abs=1e-6)
    assert history[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert (history[0]["iou"], history[0]["bce"]) == (1.0, pytest.approx(np.log(2)))  # logit 0 counts as foreground
    assert history[0]["val_loss"] == pytest.approx(np.log(1 + np.exp(-0.25)), abs=1e-6)


def test_the_best_weights_are_kept():
    model = tiny_unet()
    data = pairs(seed=1)
    history = train(model, data, epochs=6, learning_rate=0.3, monitor="loss")  # a rate at which the loss jumps about
    losses = history.column("val_loss")
    assert history.best["val_loss"] == min(losses)
    counts = torch.stack([bce_loss(model.eval()(x[None]), y[None]) for x, y in data])
    assert counts.mean().item() == pytest.approx(min(losses), rel=1e-4)


def test_early_stopping_waits_for_patience_epochs():
    model = nn.Conv2d(1, 1, 1)
    history = train(model, epochs=50, learning_rate=1e-12, patience=3)  # nothing changes, so epoch 1 stays the best
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history.best["epoch"] == 1


def test_schedules():
    data = pairs()
    cycle = train(tiny_unet(), data, epochs=5, schedule="one-cycle", learning_rate=0.01).column("learning_rate")
    assert max(cycle) == pytest.approx(0.01, rel=0.3)
    assert cycle[0] < 0.001
    assert cycle[-1] < cycle[2]
    flat = train(
        nn.Conv2d(1, 1, 1),
        data,
        loss=lambda logits, target: 0 * logits.sum(),
        epochs=6,
        schedule="plateau",
        plateau_patience=1,
    )
    # Two epochs without a lower loss are one more than the patience: the rate falls after epochs 3 and 5.
    assert flat.column("learning_rate") == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001, 0.0001])
    patient = train(
        nn.Conv2d(1, 1, 1), data, loss=lambda logits, target: 0 * logits.sum(), epochs=8, schedule="plateau"
    )
    assert patient.column("learning_rate") == pytest.approx([0.01] * 7 + [0.001])  # five epochs, where nothing is said
    assert len(set(train(tiny_unet(), data, epochs=3).column("learning_rate"))) == 1


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of every step with the cosine schedule, and at last the one that is left."""

    class Rates(list):
        left = None

    found, cosine = Rates(), training.SCHEDULES["cosine"]

    def watched(optimizer, *arguments):
        optimizer.register_step_pre_hook(lambda *_: found.append([group["lr"] for group in optimizer.param_groups]))
        found.left = lambda: optimizer.param_groups[0]["lr"]
        return cosine(optimizer, *arguments)

    monkeypatch.setitem(training.SCHEDULES, "cosine", watched)
    return found


@pytest.mark.parametrize(("optimizer", "epochs", "batch_size"), [("adam", 4, 4), ("adamw", 3, 5)])
def test_cosine_falls_step_by_step_along_half_a_wave(rates, optimizer, epochs, batch_size):
    options = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "learning_rate": 0.005}
    history = train(nn.Conv2d(1, 1, 1), schedule="cosine", **options)
    steps = math.ceil(12 / batch_size)  # of an epoch, a smaller batch the last
    n = epochs * steps
    expected = [1e-7 + (0.005 - 1e-7) * (1 + math.cos(math.pi * k / n)) / 2 for k in range(n + 1)]
    assert [rate for (rate,) in rates] == pytest.approx(expected[:-1], rel=1e-9)
    assert rates.left() == pytest.approx(1e-7, rel=1e-6)
    assert history.column("learning_rate") == pytest.approx(expected[:-1:steps], rel=1e-9)  # as an epoch begins
    assert history.column("learning_rate_end") == pytest.approx(expected[steps - 1 :: steps][:epochs], rel=1e-9)


def test_a_cosine_that_is_cut_short_by_patience_is_that_of_all_epochs(rates):
    model = nn.Conv2d(1, 1, 1)
    history = train(model, epochs=40, batch_size=6, learning_rate=1e-6, patience=3, schedule="cosine")
    assert len(history) < 40  # such a rate changes next to nothing
    n = 40 * 2
    expected = [1e-7 + 9e-7 * (1 + math.cos(math.pi * k / n)) / 2 for k in range(len(rates))]
    assert [rate for (rate,) in rates] == pytest.approx(expected, rel=1e-9)


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="schedule: expected one of constant, plateau, one-cycle, cosine; got 'cosin'"):
        train(tiny_unet(), schedule="cosin")
    with pytest.raises(ValueError, match="optimizer: expected one of adam, adamw, muon"):
        train(tiny_unet(), optimizer="sgdm")
    with pytest.raises(ValueError, match=r"monitor: expected one of loss, iou, .*; got 'val_iuo'"):
        train(tiny_unet(), monitor="val_iuo")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, got 0"),
        ({"epochs": 2.0}, "epochs: expected a whole number of at least 1, got 2.0"),
        ({"epochs": "3"}, "epochs: expected a whole number of at least 1, got '3'"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"batch_size": True}, "batch_size: expected a whole number of at least 1, got True"),
        ({"batch_size": None}, "batch_size: expected a whole number of at least 1, got None"),
        ({"learning_rate": 0}, "learning_rate: expected a finite number above 0, got 0"),
        ({"learning_rate": -0.1}, "learning_rate: expected a finite number above 0, got -0.1"),
        ({"learning_rate": math.nan}, "learning_rate: expected a finite number above 0, got nan"),
        ({"learning_rate": math.inf}, "learning_rate: expected a finite number above 0, got inf"),
        ({"learning_rate": "0.1"}, "learning_rate: expected a finite number above 0, got '0.1'"),
    ],
)
def test_numbers_that_cannot_be_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        train(tiny_unet(), **options)
    if "batch_size" in options:
        with pytest.raises(ValueError, match=told):
            evaluate(tiny_unet(), pairs(), **options)


def test_numbers_of_numpy_s_types_will_do():
    train(tiny_unet(), epochs=np.int64(1), batch_size=np.int32(4), learning_rate=np.float32(0.01))


def test_a_loss_that_is_not_finite_stops_the_run():
    class Explodes(nn.Conv2d):
        calls = 0

        def forward(self, x):
            Explodes.calls += self.training
            return super().forward(x) * (float("nan") if Explodes.calls == 5 else 1)

    with pytest.raises(NonFiniteLoss, match=r"epoch 2, step 2 .*try a tenth of the learning rate"):
        train(Explodes(1, 1, 1), epochs=3)  # 12 pairs in batches of 4: the fifth step is the second of epoch 2


def test_a_validation_loss_that_is_not_finite_stops_the_run_too():
    class FailsInEvaluation(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * (1 if self.training else float("nan"))

    with pytest.raises(NonFiniteLoss, match=r"validation loss is nan after epoch 1"):
        train(FailsInEvaluation(1, 1, 1))


def test_without_options_it_computes_in_what_the_hardware_is_fast_in():
    class Spy(nn.Conv2d):
        def forward(self, image):
            nhwc = image.is_contiguous(memory_format=torch.channels_last)
            seen.add((torch.is_autocast_enabled(image.device.type), nhwc))
            return super().forward(image)

    seen, data = set(), TensorDataset(torch.rand(4, 3, 8, 12), torch.zeros(4, 1, 8, 12))
    fit(Spy(3, 1, 3, padding=1), bce_loss, data, data, epochs=1, batch_size=2, learning_rate=0.01)
    assert seen == {(training.resolve_precision("auto") == "bf16", True)}


def test_precisions_may_follow_one_another_and_leave_the_model_as_it_was():
    for precision in ("bf16", "float32", "bf16"):
        model = tiny_unet()
        forward = model.forward.__func__
        history = train(model, precision=precision, channels_last=True)
        assert np.isfinite(history[-1]["loss"])
        assert model.forward.__func__ is forward
        assert model(torch.zeros(1, 1, 8, 8)).dtype == torch.float32


def test_loader_workers_change_nothing():
    weights = []
    for workers in (0, 2):
        data = pairs(height=8, width=8)
        augmented = SegmentationDataset(data.images, data.masks, augment=flips_and_quarter_turns(), seed=3)
        model = tiny_unet()
        train(model, augmented, data, workers=workers)
        weights.append(model.state_dict())
    assert same(*weights)


def test_evaluate_and_predict_agree_with_the_metrics_computed_directly():
    model = tiny_unet()
    data = pairs(count=7)
    images, targets = (torch.stack(tensors) for tensors in zip(*data))
    direct = BinaryMetrics()
    with torch.no_grad():
        direct.update(BinaryMetrics.count(model.eval()(images), targets))
    found = evaluate(model, data, batch_size=2)
    assert found == pytest.approx(direct.compute(), abs=1e-5)
    assert torch.equal(predict(model, images) >= 0.5, model(images) >= 0)


@pytest.mark.parametrize(
    ("gpu", "processor", "chosen"),
    [
        (None, {}, "float32"),
        (None, {"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        (None, {"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ((7, 5), {"amx_bf16": True}, "float32"),
        ((8, 0), {}, "bf16"),
    ],
)
def test_bf16_is_chosen_where_it_is_multiplied_fast(monkeypatch, gpu, processor, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    assert training.resolve_precision("auto") == chosen
    assert training.resolve_precision("fp16") == "fp16"


def test_nothing_but_lines_goes_to_a_log(capsys):
    train(tiny_unet(), on_epoch=lambda row: print("epoch", row["epoch"]))
    written = capsys.readouterr()
    assert written.out == "epoch 1\nepoch 2\nepoch 3\n"
    assert written.err == ""


def stop_after(epoch):
    def stop(row):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return stop


TAKEN_UP = {
    "plateau": {"schedule": "plateau"},
    "cosine": {"schedule": "cosine", "optimizer": "adamw", "weight_decay": 1e-4},
    "muon": {"schedule": "one-cycle", "optimizer": "muon"},
    "a running average": {"average": 0.9},
    "a growing boundary loss": {"loss": ({"bce": 0.5, "boundary": 1.0}, 0.3)},
    # Workers that live on ask for no random number at an epoch's start, new ones do: it must not reach the model.
    "loader workers": {"workers": 2},
}


@pytest.mark.parametrize("options", TAKEN_UP.values(), ids=TAKEN_UP)
def test_a_run_is_taken_up_at_its_last_checkpoint_bit_for_bit(tmp_path, options):
    def run(model, folder, **more):
        weights, growth = options.get("loss", ({"bce": 1.0}, 0.0))
        loss = weighted_sum(weights, growth)
        return train(model, epochs=4, folder=tmp_path / folder, **options | {"loss": loss} | more)

    whole, first, second = (tiny_unet(dropout=0.3) for _ in range(3))
    unbroken = run(whole, "whole")
    assert len(list((tmp_path / "whole").iterdir())) == 2  # the newest two are kept
    with pytest.raises(KeyboardInterrupt):
        run(first, "cut", on_epoch=stop_after(2))
    nn.init.ones_(second.head.weight)  # must be replaced by what the checkpoint holds
    history = run(second, "cut")
    assert same(whole.state_dict(), second.state_dict())
    for one, other in zip(unbroken, history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_boundary_loss_that_grows_is_another_than_one_that_does_not():
    growing, constant = tiny_unet(), tiny_unet()
    train(growing, loss=weighted_sum({"bce": 0.5, "boundary": 1.0}, 0.3))
    train(constant, loss=weighted_sum({"bce": 0.5, "boundary": 1.0}))
    assert not same(growing.state_dict(), constant.state_dict())


def test_a_run_that_is_taken_up_remembers_its_best_weights(tmp_path):
    data = pairs()
    opposite = SegmentationDataset(data.images, [1 - mask for mask in data.masks])  # the more it learns, the worse
    whole, first, second = (tiny_unet() for _ in range(3))
    assert train(whole, data, opposite, epochs=4, monitor="loss").best["epoch"] == 1
    with pytest.raises(KeyboardInterrupt):
        train(first, data, opposite, epochs=4, monitor="loss", folder=tmp_path, on_epoch=stop_after(2))
    assert train(second, data, opposite, epochs=4, monitor="loss", folder=tmp_path).best["epoch"] == 1
    assert same(whole.state_dict(), second.state_dict())


@pytest.mark.parametrize("damage", ["flip a bit", "cut short", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, capsys, damage):
    whole = tiny_unet(dropout=0.3)
    train(whole, epochs=4, folder=tmp_path)
    newest = tmp_path / "epoch-0004.pt"
    content = bytearray(newest.read_bytes())
    if damage == "flip a bit":
        with torch.serialization.safe_globals([]):
            weights = torch.load(newest, weights_only=True)["model"]["head.weight"].numpy().tobytes()
        content[content.find(weights)] ^= 1
    newest.write_bytes({"flip a bit": content, "cut short": content[: len(content) // 2], "empty": b""}[damage])
    with pytest.raises(DamagedCheckpoint, match=r"epoch-0004.pt is damaged"):
        load_checkpoint(newest)
    again = tiny_unet(dropout=0.3)
    history = train(again, epochs=4, folder=tmp_path)
    assert "epoch-0004.pt is damaged" in capsys.readouterr().out
    assert len(history) == 4
    assert same(whole.state_dict(), again.state_dict())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(tiny_unet(), folder=tmp_path, settings={"training": {"epochs": 3}})
    with pytest.raises(ValueError, match=r"training.epochs: 3 there, 5 here"):
        train(tiny_unet(), folder=tmp_path, settings={"training": {"epochs": 5}})


OPTIONS = {
    "learning_rate": 0.02,
    "batch_size": 3,
    "optimizer": "muon",
    "weight_decay": 0.1,
    "schedule": "plateau",
    "plateau_patience": 2,
    "average": 0.5,
    "monitor": "dice",
    "precision": "bf16",
    "channels_last": False,
    "seed": 1,
}
BEFORE = {
    **{"learning_rate": 0.01, "batch_size": 4, "optimizer": "adam", "weight_decay": 0.0, "schedule": "constant"},
    **{"plateau_patience": 5, "average": 0.0, "monitor": "iou", "precision": "float32", "channels_last": True},
    "seed": 0,
}


def refused(folder, *arguments, **options):
    """What is said when a run is not taken up in a folder; whatever was there stays, and the model as well."""
    model = options.pop("model", None) or tiny_unet()
    there, before = {path: path.read_bytes() for path in folder.iterdir()}, copy.deepcopy(model.state_dict())
    with pytest.raises(OtherRun) as error:
        train(model, *arguments, folder=folder, **options)
    assert {path: path.read_bytes() for path in folder.iterdir()} == there
    assert same(model.state_dict(), before)
    found = re.fullmatch(
        r".*/epoch-\d+\.pt belongs to another run \((.*)\); give another folder, or remove this one to start again",
        str(error.value),
    )
    assert found, error.value
    return found[1]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_checkpoint_made_with_another_option_is_refused(tmp_path, name):
    train(tiny_unet(), folder=tmp_path)
    assert refused(tmp_path, **{name: OPTIONS[name]}) == f"{name}: {BEFORE[name]} there, {OPTIONS[name]} here"


def test_more_epochs_go_on_unless_the_schedule_is_that_of_all(tmp_path):
    for schedule in ("constant", "plateau"):
        whole, more = tiny_unet(dropout=0.3), tiny_unet(dropout=0.3)
        train(whole, epochs=5, schedule=schedule)
        train(more, epochs=3, schedule=schedule, folder=tmp_path / schedule)
        assert len(train(more, epochs=5, schedule=schedule, folder=tmp_path / schedule)) == 5
        assert same(whole.state_dict(), more.state_dict())
        told = refused(tmp_path / schedule, model=tiny_unet(dropout=0.3), epochs=4, schedule=schedule)
        assert told == "epochs: 5 there, 4 here"
    for schedule in ("one-cycle", "cosine"):
        train(tiny_unet(), epochs=2, schedule=schedule, folder=tmp_path / schedule)
        assert len(train(tiny_unet(), epochs=2, schedule=schedule, folder=tmp_path / schedule)) == 2
        assert refused(tmp_path / schedule, epochs=3, schedule=schedule) == "epochs: 2 there, 3 here"
    other = {"epochs": 3, "optimizer": "adamw", "schedule": "one-cycle"}
    expected = "optimizer: adam there, adamw here; schedule: plateau there, one-cycle here"
    assert refused(tmp_path / "plateau", **other) == expected


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    data, validation = pairs(), pairs(5, seed=1)
    train(tiny_unet(), data, validation, folder=tmp_path)
    assert len(train(tiny_unet(), pairs(), pairs(5, seed=1), folder=tmp_path)) == 3
    assert refused(tmp_path, pairs(14), validation) == "the training data: 12 items there, 14 here"
    assert refused(tmp_path, data, pairs(6, seed=1)) == "the validation data: 5 items there, 6 here"
    other = "12 items in both, with other content"
    assert refused(tmp_path, pairs(seed=2), validation) == f"the training data: {other}"
    renamed = SegmentationDataset(data.images, data.masks, names=[f"b{i}" for i in range(12)])
    assert refused(tmp_path, renamed, validation) == f"the training data: {other}"
    assert refused(tmp_path, pairs(seed=2), pairs(4), learning_rate=0.5) == (
        f"learning_rate: 0.01 there, 0.5 here; the training data: {other}; the validation data: 5 items there, 4 here"
    )
    tensors = [TensorDataset(*(torch.stack(column) for column in zip(*part))) for part in (data, validation)]
    assert "with other content" in refused(tmp_path, *tensors)  # of others than the course's data sets likewise
    train(tiny_unet(), *tensors, folder=tmp_path / "tensors")
    assert len(train(tiny_unet(), *tensors, folder=tmp_path / "tensors")) == 3
    x, y = tensors[0].tensors
    assert refused(tmp_path / "tensors", TensorDataset(1 - x, y), tensors[1]) == f"the training data: {other}"


def test_settings_that_are_options_as_well_are_said_once(tmp_path):
    settings = {"training": {"learning_rate": 0.01, "epochs": 3}, "nothing": math.nan}
    train(tiny_unet(), folder=tmp_path, settings=settings)
    train(tiny_unet(), folder=tmp_path, settings=settings)
    settings["training"]["learning_rate"] = 0.5
    told = refused(tmp_path, settings=settings, learning_rate=0.5, seed=2)
    assert told == "training.learning_rate: 0.01 there, 0.5 here; seed: 0 there, 2 here"
    assert refused(tmp_path) == (
        "nothing: nan there, None here; training.epochs: 3 there, None here; "
        "training.learning_rate: 0.01 there, None here"
    )


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train(tiny_unet(), folder=tmp_path)
    torch.manual_seed(0)
    wider = UNet(1, 1, [4, 16])
    assert re.fullmatch(
        r"the network: \S+ is \(8, 4, 3, 3\) there, \(16, 4, 3, 3\) here, and \d+ more", refused(tmp_path, model=wider)
    )
    told = refused(tmp_path, model=nn.Conv2d(1, 1, 1))
    assert told.startswith("the network: weight is missing there, (1, 1, 1, 1) here, and ")


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path):
    train(tiny_unet(), folder=tmp_path)
    for path in tmp_path.glob("*.pt"):
        content = load_checkpoint(path)
        del content["run"]
        torch.save(content | {"settings": "null"}, path)
    assert refused(tmp_path) == "an older version made it, which did not write down of what options and data"


def test_keeping_checkpoints_changes_nothing(tmp_path):
    """Neither for data that are drawn from the global generators, nor for those that are augmented."""
    square = pairs(height=8, width=8)
    augmented = partial(SegmentationDataset, square.images, square.masks, augment=flips_and_quarter_turns(), seed=3)
    for make in (augmented, lambda: Targets(masks())):
        runs = []
        for options in ({}, {"folder": tmp_path / make.__class__.__name__}):
            model = tiny_unet(dropout=0.3)
            history = train(model, make(), make(), batch_size=5, **options)
            runs.append((model.state_dict(), [row | {"seconds": 0} for row in history]))
        assert same(runs[0][0], runs[1][0])
        assert runs[0][1] == runs[1][1]


def test_data_are_digested_only_for_checkpoints(monkeypatch):
    monkeypatch.setattr(training, "digest", lambda data: pytest.fail("nobody needs it"))
    train(tiny_unet())


# --- a batch of one ---


class Pooled(nn.Module):
    """Batch normalisation of what is pooled to a pixel, as ASPP has it; it draws random numbers, and counts."""

    def __init__(self):
        super().__init__()
        self.wide, self.norm, self.drop = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head, self.seen = nn.Conv2d(4, 1, 1), []

    def forward(self, images):
        self.seen.append((len(images), self.training))
        wide = self.drop(self.wide(images))
        return self.head(wide + self.norm(wide.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(
    ("count", "batch_size", "told"),
    [
        (9, 4, "got 9 images in batches of 4, which leave 1 alone; take another batch_size or number of images"),
        (1, 4, "got 1 images in batches of 4, which leave 1 alone"),
        (4, 1, "got batches of one; take another batch_size"),
    ],
)
def test_a_batch_of_one_that_cannot_be_normalised_is_told_before(count, batch_size, told):
    model = Pooled().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"batch_size: expected at least two images .* {told}"):
        train(model, pairs(count), pairs(), batch_size=batch_size)
    assert same(model.state_dict(), before)
    assert not any(module.training for module in model.modules())
    assert model.seen == [(1, True)]  # nothing was trained


def test_batches_that_can_be_normalised_are_not_tried():
    for count, batch_size in ((8, 4), (10, 4), (3, 4), (9, 3)):
        model = Pooled()
        train(model, pairs(count), pairs(), batch_size=batch_size, epochs=1)
        assert model.seen[0] == (min(count, batch_size), True)
        assert [size for size, training in model.seen if training and size == 1] == []


def test_a_batch_of_one_with_many_pixels_is_tried_and_leaves_no_trace(monkeypatch):
    runs = []
    for tried in (True, False):
        if not tried:
            monkeypatch.setattr(training, "check_last_batch", lambda *_: None)
        model = tiny_unet(dropout=0.3)
        train(model, pairs(9), pairs(), batch_size=4)
        runs.append(model.state_dict())
    assert same(*runs)
    model, accelerator = tiny_unet(dropout=0.3), training.make_accelerator()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.register_forward_pre_hook(lambda *_: seen.append(1))
    seen = []
    monkeypatch.undo()
    training.check_last_batch(model.train(), pairs(9), 4, accelerator)
    assert seen == [1]
    assert same(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_fails_for_another_reason_says_so_itself():
    class Broken(Pooled):
        def forward(self, images):
            raise ValueError("of its own")

    with pytest.raises(ValueError, match=r"^of its own$"):
        train(Broken(), pairs(9))


def run_row(folder: Path, *prefix: str) -> subprocess.CompletedProcess:
    """`python -m seglib run` with a tiny row, or a program of ours around it."""
    changes = [argument for key, value in TINY.items() for argument in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        *(prefix or ("-m", "seglib")),
        "run",
        "denoising",
        "report",
        "--out",
        str(folder),
        *changes,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300
    )


KILLED = """
import os, signal, sys
from seglib.__main__ import main
from seglib.data.datasets import SegmentationDataset

whole = SegmentationDataset.__getitem__

def item(self, index):
    if self.augment is not None and self.epoch == 2 and index == 7:  # somewhere in the third epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, index)

SegmentationDataset.__getitem__ = item
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_goes_on_to_the_same_weights(tmp_path):
    def weights(folder: Path) -> dict:
        (path,) = folder.glob("runs/denoising/*/best.safetensors")
        return load_file(path)

    assert run_row(tmp_path / "whole" / "results").returncode == 0
    killed = run_row(tmp_path / "cut" / "results", "-c", KILLED)
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("cut/results/denoising/*"))
    resumed = run_row(tmp_path / "cut" / "results")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 3 " in resumed.stdout
    assert "epoch 2 " not in resumed.stdout  # the first two epochs were not trained again
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_measured_model_is_left_in_nhwc_order_and_evaluation_mode():
    model = tiny_unet().train()
    evaluate(model, pairs())
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4 and parameter.shape[1] > 1]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    assert not any(module.training for module in model.modules())


EVALUATE = """
import gc, json, os, sys, torch
from pathlib import Path
from accelerate import PartialState
from torch.nn.parallel import DistributedDataParallel
from seglib.training import evaluate, fit
from seglib.losses import weighted_sum
gc.disable()  # what must be given back is given back without it
sys.path.insert(0, sys.argv[1])
from test_training import pairs, tiny_unet

found = evaluate(tiny_unet(), pairs(count=11), batch_size=2)  # 11 is odd: one process repeats an image
model = tiny_unet()
fit(model, weighted_sum({"bce": 1.0}), pairs(), pairs(count=11), epochs=2, batch_size=3, learning_rate=0.01)
state = PartialState()
sums = [p.detach().double().sum().item() for p in model.parameters()]
held = sum(isinstance(thing, DistributedDataParallel) for thing in gc.get_objects())
result = json.dumps([state.process_index, state.num_processes, found, sums, held])
Path(sys.argv[2], f"process{state.process_index}.json").write_text(result)
state.destroy_process_group()
os._exit(0)  # PyTorch's own threads may abort a process while Python ends it: github.com/pytorch/pytorch/pull/179291
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    script = tmp_path / "measure.py"
    script.write_text(EVALUATE)
    # Without --multi_gpu, `accelerate launch` (1.15) starts a single process on a machine without a GPU.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [*launch, "--main_process_port", "0", str(script), str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("process*.json"))]
    assert [result[0] for result in results] == [0, 1]
    assert {result[1] for result in results} == {2}
    alone = evaluate(tiny_unet(), pairs(count=11), batch_size=2)
    for result in results:
        assert result[2] == pytest.approx(alone, rel=1e-6)
    assert results[0][3] == results[1][3]  # trained together, both hold the same weights
    assert [result[4] for result in results] == [0, 0]  # a process that still holds one aborts at its end, at times


def test_weighted_sum_reaches_fit():
    model = tiny_unet()
    history = train(model, loss=weighted_sum({"bce": 0.7, "dice": 0.3}), epochs=2)
    assert history[-1]["loss"] < history[0]["loss"]


# --- a loss that changes with the epochs ---


class Logged:
    """A loss that writes down, in order, the epochs it was told of and that it was asked."""

    def __init__(self):
        self.log = []

    def set_epoch(self, epoch):
        self.log.append(epoch)

    def __call__(self, logits, target):
        self.log.append("asked")
        return bce_loss(logits, target)

    @property
    def epochs(self):
        return [entry for entry in self.log if entry != "asked"]


def test_the_loss_is_told_each_epoch_before_it_begins():
    loss = Logged()
    train(nn.Conv2d(1, 1, 1), loss=loss, epochs=3)
    an_epoch = ["asked"] * (3 + 12)  # steps, and validation images
    assert loss.log == [0, *an_epoch, 1, *an_epoch, 2, *an_epoch]


def test_the_loss_of_a_resumed_run_is_told_where_it_stands(tmp_path):
    first, second = Logged(), Logged()
    with pytest.raises(KeyboardInterrupt):
        train(nn.Conv2d(1, 1, 1), loss=first, epochs=4, folder=tmp_path, on_epoch=stop_after(2))
    train(nn.Conv2d(1, 1, 1), loss=second, epochs=4, folder=tmp_path)
    assert (first.epochs, second.epochs) == ([0, 1], [2, 3])


# --- a running average of the weights ---


@pytest.mark.parametrize("keep", [0.05, 0.6, 0.999])
def test_the_running_average_is_the_one_worked_out_by_hand(keep):
    model, seen = tiny_unet(), []

    def remember(network, _):
        if network.training:
            seen.append(copy.deepcopy(network.state_dict()))

    model.register_forward_pre_hook(remember)
    history = train(
        model, pairs(20), epochs=1, average=keep, on_epoch=lambda _: seen.append(copy.deepcopy(model.state_dict()))
    )
    after = seen[1:]  # each of the five steps
    assert len(after) == 5
    for name, kept in model.state_dict().items():
        if kept.is_floating_point():
            average = after[0][name]
            for count, current in enumerate(after[1:], 1):
                share = max(1 - keep, 9 / (10 + count))
                average = share * current[name] + (1 - share) * average
            torch.testing.assert_close(kept, average)
    found = evaluate(model, pairs(20))
    assert history[0]["val_bce"] == pytest.approx(found["bce"], rel=1e-4)  # it is what was validated


def test_probabilities_are_float32_also_within_autocast():
    model, images = tiny_unet(), torch.stack([image for image, _ in pairs()])
    exact = predict(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        found = predict(model, images)
    assert exact.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)
    assert not torch.equal(found, exact)


# --- images of several sizes ---

SIZES = [(8, 12), (12, 8), (7, 9), (8, 12), (5, 13), (12, 8), (9, 7), (10, 10), (11, 6), (8, 12)]


class Mixed(Dataset):
    """Bright objects of random pixels in pictures of several sizes; remembers which it was asked for."""

    def __init__(self, sizes=SIZES, seed=0):
        rng = np.random.default_rng(seed)
        self.sizes, self.asked = list(sizes), []
        self.masks = [torch.from_numpy(rng.random((1, *size)) < 0.4).float() for size in sizes]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        self.asked.append(index)
        return 0.1 + 0.8 * self.masks[index], self.masks[index]


def test_a_batch_is_padded_on_the_right_and_at_the_bottom():
    generator = torch.Generator().manual_seed(0)
    sizes = [(3, 5), (4, 2), (2, 6), (1, 1)]
    items = [(torch.rand(3, *size, generator=generator), torch.ones(1, *size)) for size in sizes]
    images, targets = pad_batch(items)
    assert (images.shape, targets.shape) == ((4, 3, 4, 6), (4, 1, 4, 6))
    assert images.dtype == targets.dtype == torch.float32
    for (image, _), (height, width), padded, target in zip(items, sizes, images, targets):
        room = ((0, 0), (0, 4 - height), (0, 6 - width))
        assert np.array_equal(padded, np.pad(image.numpy(), room, mode="edge"))
        assert np.array_equal(target, np.pad(np.ones((1, height, width)), room, constant_values=255))


def test_a_batch_of_one_size_is_not_padded():
    items = [Mixed()[i] for i in (0, 3, 9)]
    images, targets = pad_batch(items)
    assert torch.equal(images, torch.stack([image for image, _ in items]))
    assert torch.equal(targets, torch.stack([target for _, target in items]))


def cut(order, size):
    return [order[i : i + size] for i in range(0, len(order), size)]


@st.composite
def orders(draw, most=70):
    """Sizes, and a batch size, of an image or of more than there are."""
    side = st.integers(1, 9)
    sizes = draw(st.lists(st.tuples(side, side), min_size=1, max_size=most))
    return sizes, draw(st.integers(1, 8) | st.just(most + 1)), draw(st.integers(0, 99))


@settings(max_examples=60, deadline=None)
@given(orders(), st.integers(0, 5))
def test_an_order_takes_every_image_once_and_can_be_had_again(given, epoch):
    one, other = SimilarSizes(*given), SimilarSizes(*given)
    other.set_epoch(epoch + 1)
    list(other)  # what was asked for before does not matter
    for sampler in (one, other):
        sampler.set_epoch(epoch)
    assert sorted(one) == list(range(len(given[0])))
    assert list(one) == list(one) == list(other)
    assert len(one) == len(given[0])


@settings(max_examples=60, deadline=None)
@given(orders())
def test_a_pool_is_cut_into_batches_of_neighbours_in_size(given):
    """Up to 20 batches are one pool: their batches are those of the sorted sizes, and a smaller one is the last."""
    sizes, batch_size, seed = given
    sizes = sizes[: 20 * batch_size]
    found = cut([sizes[i] for i in SimilarSizes(sizes, batch_size, seed)], batch_size)
    expected = cut(sorted(sizes), batch_size)
    assert sorted(found) == sorted(expected)
    if len(sizes) % batch_size:
        assert found[-1] == expected[-1]


def test_orders_and_batches_change_from_epoch_to_epoch_and_with_the_seed():
    rng = np.random.default_rng(0)
    sizes = [tuple(size) for size in rng.integers(20, 60, (200, 2)).tolist()]
    sampler, found = SimilarSizes(sizes, 4, seed=3), []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    found.append(list(SimilarSizes(sizes, 4, seed=4)))
    assert found[0] == list(SimilarSizes(sizes, 4, seed=3))  # it starts with epoch 0
    batches = [{frozenset(batch) for batch in cut(order, 4)} for order in found]
    for i, one in enumerate(batches):
        for other in batches[:i]:
            assert len(one & other) < 5  # of 50


def padding(sizes, order, batch_size):
    """Padded pixels for each pixel of an image."""
    batches = [[sizes[i] for i in batch] for batch in cut(order, batch_size)]
    whole = sum(len(batch) * max(h for h, _ in batch) * max(w for _, w in batch) for batch in batches)
    return whole / sum(h * w for h, w in sizes) - 1


@pytest.mark.parametrize("batch_size", [4, 8])
def test_batches_of_similar_sizes_are_hardly_padded(batch_size):
    """Photographs as COCO's are: 640 pixels along the longest side, most of them 480 or 427 along the other."""
    rng = np.random.default_rng(1)
    short = rng.choice([480, 427, 0], 900, p=[0.5, 0.2, 0.3])
    short = np.where(short == 0, rng.integers(300, 641, 900), short)
    sizes = [(640, int(s)) if upright else (int(s), 640) for s, upright in zip(short, rng.random(900) < 0.3)]
    similar = padding(sizes, list(SimilarSizes(sizes, batch_size, seed=0)), batch_size)
    at_random = padding(sizes, rng.permutation(900).tolist(), batch_size)
    assert at_random > 0.3
    assert similar < 0.06


def test_one_image_a_step_is_an_order_that_is_simply_random():
    """Sorting has no use here, but it makes the largest image of the last pool the last one of every epoch."""
    sampler, last = SimilarSizes([(10 + i, 20) for i in range(12)], 1, seed=0), set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        last.add(list(sampler)[-1])
    assert len(last) > 4


def test_which_data_sets_are_of_several_sizes():
    assert mixed_sizes(Mixed())
    assert not mixed_sizes(Mixed([(8, 12)] * 3))
    assert not mixed_sizes(pairs())  # they say no sizes


def test_loaders_of_images_of_several_sizes():
    data = Mixed()
    plain = list(make_loader(data, 4, 0))
    assert data.asked == list(range(10))  # nothing is shuffled without a seed
    assert [tuple(image.shape) for image, _ in plain] == [(4, 1, 12, 12), (4, 1, 12, 13), (2, 1, 11, 12)]
    data.asked.clear()
    loader = make_loader(data, 4, 0, shuffle_seed=7)
    shuffled = list(loader)
    assert len(loader) == len(shuffled) == 3
    assert data.asked == list(SimilarSizes(SIZES, 4, 7))
    for (image, target), batch in zip(shuffled, cut(data.asked, 4)):
        expected = pad_batch([data[i] for i in batch])
        assert torch.equal(image, expected[0])
        assert torch.equal(target, expected[1])
    alike = make_loader(Mixed([(8, 12)] * 10), 4, 0, shuffle_seed=7)
    assert not isinstance(alike.sampler, SimilarSizes)


def looked_at(batch_size):
    """How many of ten items are asked for before training; one more where a batch is a single image."""
    return 4 + (batch_size == 1 or 10 % batch_size == 1)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_training_on_images_of_several_sizes(batch_size):
    data, validation, model = Mixed(), Mixed(seed=1), tiny_unet()
    history = train(
        model,
        data,
        validation,
        loss=weighted_sum({"bce": 0.4, "dice": 0.4, "sobel_boundary": 0.2}),
        epochs=4,
        batch_size=batch_size,
    )
    assert np.isfinite(history.column("loss") + history.column("val_loss")).all()
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[0]["images"] == history[0]["val_images"] == 10
    epochs = cut(data.asked[looked_at(batch_size) :], 10)
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 4
    if batch_size < 10:
        assert len({tuple(epoch) for epoch in epochs}) == 4  # another order in each
        again = Mixed()
        train(tiny_unet(), again, validation, epochs=4, batch_size=batch_size)
        assert again.asked == data.asked


def test_evaluate_takes_images_of_several_sizes_one_at_a_time():
    """A U-Net sees the padding, so a batch would not give what its images alone give."""
    model, data = tiny_unet(), Mixed()
    train(model, epochs=2)
    direct = BinaryMetrics()
    with torch.no_grad():
        for image, target in data:
            direct.update(BinaryMetrics.count(model.eval()(image[None]), target[None]))
    for batch_size in (1, 4, 64):
        assert evaluate(model, data, batch_size=batch_size) == pytest.approx(direct.compute(), abs=1e-5)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_validation_of_a_network_that_sees_single_pixels_does_not_depend_on_the_batches(loss):
    rows = []
    for batch_size in (1, 4):
        torch.manual_seed(0)
        model = nn.Conv2d(1, 1, 1)
        history = train(model, Mixed(), loss=loss, epochs=1, batch_size=batch_size, learning_rate=1e-12)
        rows.append({name: value for name, value in history[0].items() if name.startswith("val_")})
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)
    found = {f"val_{name}": value for name, value in evaluate(model, Mixed()).items()}
    assert {name: rows[1][name] for name in found} == pytest.approx(found, abs=1e-6)
    one_by_one = [loss(model(image[None]), target[None]).item() for image, target in Mixed()]
    assert rows[1]["val_loss"] == pytest.approx(sum(one_by_one) / 10, abs=1e-6)


def test_a_run_on_images_of_several_sizes_is_taken_up_bit_for_bit(tmp_path):
    whole, first, second = (tiny_unet(dropout=0.3) for _ in range(3))
    options = {"epochs": 4, "batch_size": 3, "schedule": "one-cycle"}
    loss = weighted_sum({"bce": 0.5, "sobel_boundary": 0.5})
    seen = [Mixed() for _ in range(3)]
    unbroken = train(whole, seen[0], Mixed(), loss, **options)
    with pytest.raises(KeyboardInterrupt):
        train(first, seen[1], Mixed(), loss, folder=tmp_path, on_epoch=stop_after(2), **options)
    history = train(second, seen[2], Mixed(), loss, folder=tmp_path, **options)
    assert same(whole.state_dict(), second.state_dict())
    before = looked_at(3)
    assert seen[1].asked[before:] + seen[2].asked[before:] == seen[0].asked[before:]
    for one, other in zip(unbroken, history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


# --- what is the caller's stays so ---


@pytest.fixture
def clean_accelerate():
    """As in a program that has no accelerator yet."""
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    yield
    for state in (AcceleratorState, GradientState):
        state._reset_state()


@pytest.mark.usefixtures("clean_accelerate")
@pytest.mark.parametrize("work", [lambda: train(tiny_unet(), precision="bf16"), lambda: evaluate(tiny_unet(), pairs())])
def test_the_caller_s_own_accelerator_is_what_it_was(work):
    work()
    assert AcceleratorState._shared_state == GradientState._shared_state == {}  # as if there had been none
    own = Accelerator(mixed_precision="fp16", gradient_accumulation_steps=4)
    own.gradient_state._set_sync_gradients(False)  # in the midst of adding gradients up
    work()
    assert own.mixed_precision == own.state.mixed_precision == "fp16"
    assert own.gradient_accumulation_steps == 4
    assert not own.sync_gradients
    assert Accelerator(mixed_precision="fp16").state is not None  # and another like it may be made


@pytest.mark.usefixtures("clean_accelerate")
def test_gradients_that_the_caller_adds_up_do_not_keep_a_network_from_learning():
    own, (alone, beside) = Accelerator(gradient_accumulation_steps=4), (tiny_unet(), tiny_unet())
    own.gradient_state._set_sync_gradients(False)
    train(beside)
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    train(alone)
    assert same(alone.state_dict(), beside.state_dict())


def test_a_model_whose_run_is_refused_is_not_left_wrapped(tmp_path):
    train(tiny_unet(), folder=tmp_path, settings={"epochs": 3})
    model = tiny_unet()
    with pytest.raises(ValueError, match="epochs: 3 there, 5 here"):
        train(model, folder=tmp_path, settings={"epochs": 5}, precision="bf16")
    assert model.forward.__func__ is UNet.forward


def test_predicting_leaves_every_module_in_its_mode():
    model = tiny_unet(dropout=0.3).train()
    model.encoder[0].eval()  # as who trains on with frozen statistics has it
    modes = [module.training for module in model.modules()]
    images = torch.stack([image for image, _ in pairs()])
    assert torch.equal(predict(model, images), predict(model, images))  # without dropout
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ValueError, match="expected an image"):
        predict(model, images[:, 0])
    assert [module.training for module in model.modules()] == modes


# --- masks of 0 and 255 ---


class Targets(Dataset):
    """Pictures of noise with targets (1, H, W); remembers which were asked for, and draws from every generator."""

    def __init__(self, targets):
        self.targets, self.asked = targets, []

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.asked.append(index)
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        return torch.rand(1, *self.targets[index].shape[1:]), self.targets[index]


def masks(count=6, value=1.0):
    """Masks with an object, or with one whose pixels are 255."""
    return value * (torch.rand(count, 1, 8, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def padded_and_empty(count=3):
    return F.pad(torch.zeros(count, 1, 6, 9), (0, 3, 0, 2), value=255)


@pytest.mark.parametrize(
    "targets", [masks(value=255), masks(value=255).byte(), torch.cat([masks(2) * 0, masks(2, 255)])]
)
@pytest.mark.parametrize("part", ["train", "validation", "measured"])
def test_a_data_set_of_0_and_255_is_refused_before_anything_is_trained(part, targets):
    good, bad, model = Targets(masks()), Targets(targets), tiny_unet()
    before = copy.deepcopy(model.state_dict())
    work = {
        "train": lambda: train(model, bad, good),
        "validation": lambda: train(model, good, bad),
        "measured": lambda: evaluate(model, bad),
    }
    with pytest.raises(ValueError, match=r"got only 0 and 255 in the \d targets looked at; divide a 0/255 mask by 255"):
        work[part]()
    assert same(model.state_dict(), before)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "targets",
    [
        torch.cat([padded_and_empty(), masks()]),
        torch.cat([masks(2), padded_and_empty(4)]),  # whole batches of empty pictures
        torch.zeros(3, 1, 8, 12),
        torch.full((3, 1, 8, 12), 255.0),
        torch.cat([torch.full((2, 1, 8, 12), 255.0), torch.ones(1, 1, 8, 12)]),
        0.3 * masks(),  # soft ones
        masks().masked_fill(torch.arange(12) < 3, 255),
        torch.cat([masks(1), torch.zeros(3, 1, 8, 12).index_fill(-1, torch.tensor([4]), 255)]),
    ],
)
def test_data_sets_that_may_hold_255(targets):
    model = nn.Conv2d(1, 1, 3, padding=1)
    train(model, Targets(targets), epochs=1, batch_size=2)
    evaluate(model, Targets(targets))


def test_empty_pictures_of_several_sizes_may_be_padded():
    class Empty(Mixed):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            return image, 0 * target

    history = train(nn.Conv2d(1, 1, 1), Empty(), epochs=2)
    assert (history[-1]["images"], history[-1]["val_images"]) == (10, 10)


def test_a_target_of_classes_may_hold_0_and_255_alone():
    target = torch.zeros(4, 8, 12, dtype=torch.int64).masked_fill(torch.arange(12) > 8, 255)
    data = TensorDataset(torch.rand(4, 1, 8, 12), target)
    metrics = partial(ClassMetrics, ("sky", "soil", "rock"))
    assert evaluate(nn.Conv2d(1, 3, 1), data, metrics=metrics)["images"] == 4


def test_looking_at_a_data_set_takes_few_items_and_no_random_numbers():
    empty = torch.zeros(1, 1, 8, 12)
    for targets, expected in (
        (masks(900), [0]),
        (torch.cat([empty, masks(5)]), [0, 1]),
        (empty.expand(950, -1, -1, -1), list(range(0, 950, 10))),
        (empty.expand(100, -1, -1, -1), list(range(100))),
    ):
        data, before = Targets(targets), training.random_state()
        training.check_targets(data)
        assert data.asked == expected
        after = training.random_state()
        assert after["python"] == before["python"]
        assert torch.equal(after["numpy"][1], before["numpy"][1])
        assert after["numpy"][2:] == before["numpy"][2:]
        assert torch.equal(after["torch"], before["torch"])
    with pytest.raises(ValueError, match="in the 100 targets looked at"):
        training.check_targets(
            Targets(torch.full((1, 1, 8, 12), 255.0).index_fill(3, torch.tensor(0), 0).expand(1000, -1, -1, -1))
        )


def test_a_stream_of_items_is_not_looked_at_before():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.rand(1, 8, 12), mask) for mask in masks()])

    assert evaluate(tiny_unet(), Stream(), batch_size=4)["images"] == 6


def test_a_checkpoint_of_another_loss_or_of_other_layers_is_refused(tmp_path):
    data = pairs()
    train(tiny_unet(), data, loss=weighted_sum({"bce": 1, "dice": 1}), folder=tmp_path)
    same_loss = weighted_sum({"bce": 1, "dice": 1})
    assert len(train(tiny_unet(), data, loss=same_loss, folder=tmp_path)) == 3
    for loss in (
        weighted_sum({"bce": 1, "dice": 1}, positive_weight=2),
        weighted_sum({"bce": 1}),
        nn.BCEWithLogitsLoss(),
    ):
        assert refused(tmp_path, data, loss=loss).startswith("loss: weighted_sum(")
    told = refused(tmp_path, data, loss=same_loss, model=tiny_unet(dropout=0.5))
    assert told == "the network: weights of the same shapes, in other layers"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"workers": 1.5}, "workers: expected a whole number of at least 0"),
        ({"patience": 0}, "patience: expected a whole number of at least 1, got 0"),
        ({"average": 1.0}, "average from 0 to below 1, got 0.0 and 1.0"),
        ({"weight_decay": -1}, "weight_decay of at least 0"),
        ({"metrics": BinaryMetrics()}, "metrics: expected what makes them, BinaryMetrics or partial"),
    ],
)
def test_options_out_of_range_are_named_before_any_work(options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        train(tiny_unet(), **options)


def test_training_data_that_come_one_by_one_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            pytest.fail("it was looked at")

    with pytest.raises(ValueError, match=r"expected training data with a length .*, got an IterableDataset"):
        train(tiny_unet(), Stream(), pairs())
