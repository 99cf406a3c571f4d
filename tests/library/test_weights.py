"""Weights files: what is saved is what is loaded, and a file that cannot be used says why."""

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from seglib import weights
from seglib.models.unet import UNet
from seglib.weights import WeightsError


def network(seed=0, widths=(8, 16), **options):
    torch.manual_seed(seed)
    model = UNet(1, 1, widths, **options)
    with torch.no_grad():
        model.train()(torch.rand(4, 1, 12, 20))  # running statistics that are not the initial ones
    return model.eval()


IMAGE = torch.rand(2, 1, 9, 14, generator=torch.Generator().manual_seed(0))


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    saved, loaded = network(0), network(1)
    weights.save(saved, path, {"row": "report"})
    assert not torch.equal(saved(IMAGE), loaded(IMAGE))
    weights.load(loaded, path)
    assert torch.equal(saved(IMAGE), loaded(IMAGE))
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"row": "report"}


def test_memory_format_makes_no_difference(tmp_path):
    saved, loaded = network(0), network(1)
    before = saved(IMAGE)
    weights.save(saved.to(memory_format=torch.channels_last), tmp_path / "model.safetensors")
    weights.load(loaded, tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded(IMAGE), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    halves = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network(0).state_dict().items()
    }
    save_file(halves, tmp_path / "half.safetensors")
    model = network(1)
    weights.load(model, tmp_path / "half.safetensors")
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.float32 if halves[name].is_floating_point() else torch.int64)
        assert torch.equal(tensor, halves[name].to(tensor.dtype))


@pytest.mark.parametrize(
    ("other", "options"),
    [((8, 24), {}), ((8, 16, 32), {}), ((8,), {}), ((8, 16), {"skip": "none"}), ((8, 16), {"block": "double-se"})],
)
def test_weights_of_another_network(tmp_path, other, options):
    path, model = tmp_path / "other.safetensors", network(0)
    before = model(IMAGE)
    weights.save(network(1, other, **options), path)
    with pytest.raises(WeightsError, match=re.escape(str(path)) + r" holds the weights of another network: \w+\.") as e:
        weights.load(model, path)
    assert re.search(r"should be (\(.*\)|nothing), the file has (\(.*\)|nothing)$", str(e.value))
    assert torch.equal(model(IMAGE), before)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x89PNG\r\n\x1a\n" + bytes(100), "cut", "folder"])
def test_files_that_hold_no_weights(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        weights.save(network(), path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(f"{path}: expected a safetensors file of weights")):
        weights.load(network(), path)


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=re.escape(f"{tmp_path / 'none'}: ")):
        weights.load(network(), tmp_path / "none")
