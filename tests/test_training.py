import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seglib.data.common import SegmentationDataset
from seglib.losses import bce_loss, weighted_sum
from seglib.metrics import BinaryMetrics
from seglib.models.unet import UNet
from seglib.training import DamagedCheckpoint, NonFiniteLoss, evaluate, fit, load_checkpoint, predict
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
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01} | changes
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
    assert len(set(train(tiny_unet(), data, epochs=3).column("learning_rate"))) == 1


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="schedule: expected one of constant, plateau, one-cycle; got 'cosin'"):
        train(tiny_unet(), schedule="cosin")
    with pytest.raises(ValueError, match="optimizer: expected one of adam, adamw, muon"):
        train(tiny_unet(), optimizer="sgdm")
    with pytest.raises(ValueError, match=r"monitor: expected one of loss, iou, .*; got 'val_iuo'"):
        train(tiny_unet(), monitor="val_iuo")


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


def test_precisions_may_follow_one_another_and_leave_the_model_as_it_was():
    for precision in ("bf16", "float32", "bf16"):
        model = tiny_unet()
        forward = model.forward.__func__
        history = train(model, precision=precision, channels_last=True)
        assert np.isfinite(history[-1]["loss"])
        assert model.forward.__func__ is forward
        assert model(torch.zeros(1, 1, 8, 8)).dtype == torch.float32


def test_loader_workers_change_nothing():
    from seglib.data.common import flips_and_quarter_turns

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


def test_nothing_but_lines_goes_to_a_log(capsys):
    train(tiny_unet(), on_epoch=lambda row: print("epoch", row["epoch"]))
    written = capsys.readouterr()
    assert written.out == "epoch 1\nepoch 2\nepoch 3\n"
    assert written.err == ""


def test_a_run_is_taken_up_at_its_last_checkpoint(tmp_path):
    whole = tiny_unet(dropout=0.3)
    train(whole, epochs=4, folder=tmp_path / "whole", schedule="plateau")
    assert len(list((tmp_path / "whole").iterdir())) == 2  # the newest two are kept

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    first = tiny_unet(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        train(first, epochs=4, folder=tmp_path / "cut", schedule="plateau", on_epoch=stop)
    second = tiny_unet(dropout=0.3)
    nn.init.ones_(second.head.weight)  # must be replaced by what the checkpoint holds
    history = train(second, epochs=4, folder=tmp_path / "cut", schedule="plateau")
    assert history.column("epoch") == [1, 2, 3, 4]
    assert same(whole.state_dict(), second.state_dict())


def test_a_run_with_loader_workers_is_taken_up_as_if_nothing_had_happened(tmp_path):
    """Workers that live on ask for no random number at an epoch's start, new ones do: it must not reach the model."""

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole, first, second = (tiny_unet(dropout=0.3) for _ in range(3))
    train(whole, epochs=4, workers=2)
    with pytest.raises(KeyboardInterrupt):
        train(first, epochs=4, workers=2, folder=tmp_path, on_epoch=stop)
    train(second, epochs=4, workers=2, folder=tmp_path)
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
from seglib.data.common import SegmentationDataset

whole = SegmentationDataset.__getitem__

def item(self, index):
    if self.augment is not None and self.epoch == 2 and index == 7:  # somewhere in the third epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, index)

SegmentationDataset.__getitem__ = item
sys.exit(main(sys.argv[1:]))
"""


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


EVALUATE = """
import json, sys, torch
from pathlib import Path
from accelerate import PartialState
from seglib.training import evaluate, fit
from seglib.losses import weighted_sum
sys.path.insert(0, sys.argv[1])
from test_training import pairs, tiny_unet

found = evaluate(tiny_unet(), pairs(count=11), batch_size=2)  # 11 is odd: one process repeats an image
model = tiny_unet()
fit(model, weighted_sum({"bce": 1.0}), pairs(), pairs(count=11), epochs=2, batch_size=3, learning_rate=0.01)
state = PartialState()
sums = [p.detach().double().sum().item() for p in model.parameters()]
result = json.dumps([state.process_index, state.num_processes, found, sums])
Path(sys.argv[2], f"process{state.process_index}.json").write_text(result)
"""


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


def test_weighted_sum_reaches_fit():
    model = tiny_unet()
    history = train(model, loss=weighted_sum({"bce": 0.7, "dice": 0.3}), epochs=2)
    assert history[-1]["loss"] < history[0]["loss"]
