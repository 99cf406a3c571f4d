"""Large pictures in tiles: the same as in one piece, or as close as it is said to be."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from seglib import load_model, tiles
from seglib.data.coco import photographs
from seglib.models.unet import UNet
from seglib.reports import base
from seglib.reports.base import mean_probability, probability
from seglib.reports.neural_segmentello.refinement import channels
from seglib.tiles import SharedAverages, predict_in_tiles
from seglib.training import predict


def network(norm="batch", block="double", widths=(8, 8, 8), channels=2, outputs=1):
    """With weights, statistics and a last layer that leave no place undecided."""
    torch.manual_seed(0)
    model = UNet(channels, outputs, widths, norm=norm, block=block)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def picture(height=150, width=211, channels=2):
    """Smooth on one side and rough on the other, so that averages differ from tile to tile."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.random((6, 5, channels)), (width, height), interpolation=cv2.INTER_CUBIC)
    rough = rng.normal(0, 0.5, (height, width, channels)) * np.linspace(0, 1, width)[:, None]
    return torch.from_numpy((smooth + rough).astype(np.float32)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("height", "width"), [(150, 211), (64, 300), (33, 257), (1, 500), (200, 31)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_with_batch_norm_tiles_are_as_the_whole(height, width, outputs):
    model, image = network(outputs=outputs), picture(height, width)
    found = predict_in_tiles(model, image, side=64, margin=32)
    torch.testing.assert_close(found, predict(model, image), atol=1e-5, rtol=0)
    assert found.shape == (1, outputs, height, width)


def test_the_margin_is_needed():
    model, image = network(), picture()
    whole = predict(model, image)
    assert (predict_in_tiles(model, image, side=64, margin=0) - whole).abs().max() > 0.01


def test_no_tile_is_larger_than_was_allowed():
    model, seen = network(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    predict_in_tiles(model, picture(), side=64, margin=32)
    assert max(max(size) for size in seen) <= 64 + 2 * 32
    assert len(seen) == 3 * 4


@pytest.mark.parametrize("kind", ["group", "squeeze-and-excitation"])
def test_averages_over_the_image_are_those_of_all_of_it(kind, monkeypatch):
    """Where the image need not be shrunk for them, it is the same as in one piece."""
    model = network("group") if kind == "group" else network(block="double-se")
    image = picture()
    whole = predict(model, image)
    assert SharedAverages(model).layers
    shared = predict_in_tiles(model, image, side=64, margin=32)
    torch.testing.assert_close(shared, whole, atol=1e-5, rtol=0)
    own_averages(monkeypatch)
    own = predict_in_tiles(model, image, side=64, margin=32)
    assert (own - whole).abs().max() > 20 * (shared - whole).abs().max()


def own_averages(monkeypatch):
    """Each tile with its own."""
    monkeypatch.setattr(SharedAverages, "__enter__", lambda self: self)
    monkeypatch.setattr(SharedAverages, "__exit__", lambda self, *error: None)


def test_averages_of_the_shrunken_photograph_are_close(monkeypatch):
    """Less than a hundredth of the mask's pixels change; with each tile's own averages, several times as many."""
    model = load_model("neural_segmentello", "own-size")
    cup = next(entry for entry in photographs() if entry.category == "cup")
    inside = cv2.erode(cup.mask().astype(np.uint8), np.ones((15, 15)))
    batch = channels(cup.image(), inside.astype(np.int8), rgb=True, likelihood=True)[None]
    monkeypatch.setattr(tiles, "WHOLE", inside.size // 2)
    whole = predict(model, batch) >= 0.5
    shared = predict_in_tiles(model, batch, side=160, margin=64) >= 0.5
    own_averages(monkeypatch)
    own = predict_in_tiles(model, batch, side=160, margin=64) >= 0.5
    assert 0.1 < whole.float().mean() < 0.3
    assert (shared != whole).float().mean() < 0.01
    assert (own != whole).float().mean() > 2 * (shared != whole).float().mean()


def test_a_network_is_afterwards_as_it_was():
    model, image = network("group"), picture()
    before = predict(model, image)
    predict_in_tiles(model, image, side=64, margin=32)
    assert torch.equal(predict(model, image), before)
    with pytest.raises(ValueError, match="expected an image of shape"):
        predict_in_tiles(model, picture(channels=3), side=64, margin=32)
    assert torch.equal(predict(model, image), before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_only_large_pictures_are_cut_and_an_ensemble_is_averaged(monkeypatch):
    models, calls = [network(), network("group")], []
    image = picture(160, 96)

    def in_tiles(model, batch):
        calls.append(model)
        return predict_in_tiles(model, batch, side=64, margin=32)

    monkeypatch.setattr(base, "predict_in_tiles", in_tiles)
    whole = mean_probability(models, image)
    assert calls == []
    monkeypatch.setattr(base, "WHOLE", 160 * 96 - 1)
    torch.testing.assert_close(mean_probability(models, image), whole, atol=1e-4, rtol=0)
    assert calls == models


def test_a_photograph_at_its_own_size_is_cut_and_a_shrunken_one_is_not(monkeypatch):
    cut = []
    monkeypatch.setattr(base, "WHOLE", 100 * 100)
    monkeypatch.setattr(
        base, "predict_in_tiles", lambda model, batch: cut.append(batch.shape) or predict_in_tiles(model, batch)
    )
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 2), np.uint8)
    assert probability([network()], image).shape == (120, 90)
    assert cut == [(1, 2, 120, 90)]
    assert probability([network()], image, size=96).shape == (120, 90)
    assert len(cut) == 1
