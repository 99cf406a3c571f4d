"""What `import seglib` offers, and what it does not do: load torch, ask a server, set what is not its own."""

import json
import pydoc
import subprocess
import sys

import pytest
import torch

import seglib
from seglib import weights
from seglib.prediction import Ensemble, shipped_weights
from seglib.rows import ConfigError
from seglib.weights import WeightsError

NAMED = "UNet fit evaluate predict iou dice boundary_iou hausdorff mean_iou weighted_sum build_model load_model".split()
LOSSES = "bce_loss dice_loss iou_loss focal_loss sobel_boundary_loss boundary_loss cross_entropy_loss".split()


def fresh(program):
    """What a program prints in a process of its own, as JSON."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_people_look_for_is_there_and_listed():
    assert {*NAMED, *LOSSES, "__version__"} <= set(seglib.__all__) & set(dir(seglib))
    text = pydoc.plain(pydoc.render_doc(seglib))
    for name in seglib.__all__:
        assert getattr(seglib, name) is not None
        assert name in text
    with pytest.raises(AttributeError, match="module 'seglib' has no attribute 'dise'"):
        seglib.dise  # noqa: B018


@pytest.mark.slow
def test_it_is_loaded_when_it_is_first_used():
    program = """
import json, sys
import seglib
heavy = {"torch", "numpy", "cv2", "albumentations", "pydantic"}
before = heavy & set(sys.modules)
seglib.UNet
print(json.dumps([sorted(before), "torch" in sys.modules, "albumentations" in sys.modules]))
"""
    assert fresh(program) == [[], True, False]


@pytest.mark.slow
def test_no_import_asks_a_server_or_sets_what_others_have_set():
    program = """
import importlib, json, pkgutil, socket
import cv2, torch
asked = []
def ask(*arguments, **options):
    asked.append(str(arguments))
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = ask
cv2.setNumThreads(3)
torch.set_num_threads(2)
import seglib
names = [m.name for m in pkgutil.walk_packages(seglib.__path__, "seglib.") if m.name != "seglib.__main__"]
for name in names:
    importlib.import_module(name)
print(json.dumps([asked, cv2.getNumThreads(), torch.get_num_threads(), len(names) > 40]))
"""
    assert fresh(program) == [[], 3, 2, True]


@pytest.mark.parametrize(
    ("report", "row", "shape"),
    [
        ("denoising", "report", (2, 1, 24, 33)),
        ("neural_segmentello", "own-size", (1, 6, 24, 33)),
        ("mars_terrain", "ours", (2, 1, 32, 48)),
    ],
)
def test_a_network_is_loaded_with_its_weights(report, row, shape):
    model = seglib.load_model(report, row)
    assert not any(module.training for module in model.modules())
    fresh_one = seglib.build_model(report, row)
    (path,) = shipped_weights(report, row)
    weights.load(fresh_one, path)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(image), fresh_one.eval()(image))


def test_shipped_weights_are_one_file_or_all_folds(tmp_path, monkeypatch):
    monkeypatch.setattr("seglib.prediction.shipped", lambda folder: tmp_path / folder)
    folder = tmp_path / "weights" / "faces"
    folder.mkdir(parents=True)
    for name in ("plain", "plain.fold0", "folds.fold1", "folds.fold0", "folds-more.fold0"):
        (folder / f"{name}.safetensors").touch()
    assert shipped_weights("faces", "plain") == [folder / "plain.safetensors"]
    assert shipped_weights("faces", "folds") == [folder / f"folds.fold{i}.safetensors" for i in (0, 1)]
    with pytest.raises(WeightsError, match=r"no weights for row 'fold' of 'faces'.*seglib run faces fold.*--weights"):
        shipped_weights("faces", "fold")


def test_folds_are_an_ensemble_or_one_of_them():
    image = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    each = [seglib.load_model("face_masks", "pretrained", fold) for fold in range(3)]
    together = seglib.load_model("face_masks", "pretrained")
    with torch.no_grad():
        mean = torch.stack([torch.sigmoid(model(image).double()) for model in each]).mean(0)
        torch.testing.assert_close(torch.sigmoid(together(image).double()), mean, atol=1e-6, rtol=0)
    assert mean.std() > 0.01
    with pytest.raises(WeightsError, match=r"expected a fold with weights, got 3; there are pretrained\.fold0"):
        seglib.load_model("face_masks", "pretrained", 3)
    with pytest.raises(WeightsError, match=r"got 0; there are report\.safetensors"):
        seglib.load_model("denoising", "report", 0)


def test_an_ensemble_s_logits_are_those_of_its_mean_probability():
    class Says(torch.nn.Module):
        def __init__(self, *logits):
            super().__init__()
            self.logits = torch.tensor(logits)[None, :, None, None]

        def forward(self, image):
            return self.logits

    # (σ(ln 3) + σ(−ln 3)) / 2 = (3/4 + 1/4) / 2, and three to one of 3/4 and 1/2 and 1/4 …
    half = Ensemble([Says(torch.tensor(3.0).log().item()), Says(-torch.tensor(3.0).log().item())])(None)
    assert half.item() == pytest.approx(0, abs=1e-6)
    surer = Ensemble([Says(torch.tensor(3.0).log().item()), Says(0.0)])(None)
    assert torch.sigmoid(surer).item() == pytest.approx(5 / 8)
    classes = Ensemble([Says(0.0, 0.0), Says(torch.tensor(3.0).log().item(), 0.0)])(None)
    assert classes.exp().flatten().tolist() == pytest.approx([5 / 8, 3 / 8])
    assert Ensemble([Says(80.0), Says(90.0)])(None).isfinite().all()  # where probabilities are rounded to 1


def test_a_row_without_weights_or_network():
    with pytest.raises(WeightsError, match="no weights for row 'fast' of 'denoising' come with the course"):
        seglib.load_model("denoising", "fast")
    with pytest.raises(ConfigError, match="is a classical baseline"):
        seglib.load_model("denoising", "otsu")
