"""Every network that a row of a report trains: shapes, gradients, modes, memory layouts and files; and the hand-built
ones in other runtimes (ONNX, `torch.compile`), whose kernels and graphs are not those of PyTorch's own forward pass."""

import json
import math
import os
import shutil
import sysconfig
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seglib import weights
from seglib.experiment import make_model
from seglib.export import to_onnx
from seglib.models.blocks import BLOCKS, BOTTLENECKS, NORMS, SKIPS, UPS, Normalize
from seglib.models.unet import UNet
from seglib.rows import load_rows, reports

pytestmark = pytest.mark.usefixtures("one_thread")


def rows_with_networks():
    """The first row of each network, by report and name: rows that differ only in data or training share one."""
    found = {}
    for row in (row for report in reports() for row in load_rows(report) if row.model):
        found.setdefault(json.dumps([type(row.model).__name__, row.model.model_dump()], sort_keys=True), row)
    return {f"{row.report}/{row.name}": row for row in found.values()}


ROWS = rows_with_networks()


def build(row, seed=0):
    """A row's network with other statistics of images than 0 and 1, in evaluation mode."""
    torch.manual_seed(seed)
    model = make_model(row)
    for module in model.modules():
        if isinstance(module, Normalize):
            module.set(torch.full((row.model.in_channels,), 0.4), torch.full((row.model.in_channels,), 0.25))
    return model.eval()


@pytest.fixture(scope="module", params=ROWS)
def network(request):
    """A row and its network, which a test leaves as it was."""
    row = ROWS[request.param]
    return row, build(row)


def pictures(row, count, height, width, seed=0):
    return torch.rand(count, row.model.in_channels, height, width, generator=torch.Generator().manual_seed(seed))


def classes_of(row):
    return getattr(row.model, "out_channels", 1)  # networks on an encoder are for one object


def changes_in_training(module):
    """Modules that are to do another thing in training: batch statistics, dropout, and whole branches left out.

    `MBConvBlock`, of segmentation_models_pytorch's EfficientNet, leaves its branch out itself.
    """
    return isinstance(module, nn.BatchNorm2d | nn.Dropout | nn.Dropout2d) or type(module).__name__ in (
        "DropPath",
        "MBConvBlock",
    )


def test_there_are_networks_of_every_kind():
    kinds = {type(row.model).__name__ for row in ROWS.values()}
    assert kinds == {"UNet", "EncoderUNet", "LibraryNetwork"}
    assert {row.report for row in ROWS.values()} == set(reports())


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (7, 2), (33, 17)])
def test_logits_have_the_pictures_size_and_the_rows_channels(network, size):
    row, model = network
    logits = model(pictures(row, 2, *size))
    assert logits.shape == (2, classes_of(row), *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@torch.no_grad()
def test_evaluation_is_deterministic_and_changes_nothing_and_sees_each_picture_alone(network):
    row, model = network
    images = pictures(row, 3, 21, 34)
    before, kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}, images.clone()
    logits = model(images)
    assert torch.equal(model(images), logits)
    assert torch.equal(images, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    scale = logits.std().item()
    for image, expected in zip(images.split(1), logits.split(1)):
        torch.testing.assert_close(model(image), expected, rtol=1e-3, atol=1e-3 * scale)


@torch.no_grad()
def test_logits_do_not_depend_on_the_order_in_memory(network):
    row, model = network
    images = pictures(row, 2, 21, 34)
    logits = model(images)
    turned = images.transpose(0, 3).contiguous().transpose(0, 3)
    for other in (images.to(memory_format=torch.channels_last), turned):
        assert torch.equal(other, images)
        torch.testing.assert_close(model(other), logits, rtol=1e-3, atol=1e-3 * logits.std().item())


@pytest.mark.slow
@torch.no_grad()
def test_training_differs_by_batch_norm_and_dropout_alone(network):
    """With these in evaluation mode, all that is left in training mode gives the same to the last bit; with them in
    training mode, something else, where there are any."""
    row, model = network
    images = pictures(row, 2, 33, 40)
    logits = model(images)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changing = [module for module in model.modules() if changes_in_training(module)]
    try:
        model.train()
        for module in changing:
            module.eval()
        assert torch.equal(model(images), logits)
        model.train()
        assert torch.equal(model(images), logits) == (not changing)
    finally:
        model.load_state_dict(state)
        model.eval()
    assert torch.equal(model(images), logits)


@pytest.mark.slow
def test_every_trainable_parameter_receives_a_finite_gradient(network):
    """From a batch of two; and in the hand-built networks every convolution's weights one that is not nothing."""
    row, model = network
    hand_built = any(isinstance(module, UNet) for module in model.modules())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        torch.manual_seed(0)
        logits = model.train()(pictures(row, 2, 40, 56))
        (logits * torch.randn_like(logits)).sum().backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
            assert parameter.grad is None or not hand_built or parameter.ndim < 4 or parameter.grad.any(), name
    finally:
        model.zero_grad()
        model.load_state_dict(state)
        model.eval()


@pytest.mark.slow
@torch.no_grad()
def test_what_was_saved_and_loaded_gives_the_same_to_the_last_bit(network, tmp_path):
    row, model = network
    images, path = pictures(row, 2, 21, 34), tmp_path / "network.safetensors"
    other = build(row, seed=1)
    assert not torch.equal(other(images), model(images))
    weights.save(model, path)
    weights.load(other, path)
    path.unlink()
    assert torch.equal(other(images), model(images))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


# --- the hand-built networks elsewhere: every part at least once ---


CONFIGURATIONS = [
    {"dropout": 0.3},
    {"block": "double-se", "skip": "attention", "up": "nearest", "bottleneck": "se", "norm": "group"},
    {"block": "triple", "skip": "gated-add", "up": "bilinear", "bottleneck": "se-pyramid"},
    {"block": "triple-se", "skip": "gated-concatenate", "norm": "group", "refine": True},
    {"block": "residual", "decoder_block": "double", "skip": "none", "up": "bilinear"},
    {"skip": "attention-only", "dropout": 0.2},
]
PARTS = {"block": BLOCKS, "skip": SKIPS, "up": UPS, "bottleneck": BOTTLENECKS, "norm": NORMS}
DEFAULTS = {"block": "double", "skip": "concatenate", "up": "transposed", "bottleneck": "plain", "norm": "batch"}
every_part = pytest.mark.parametrize("options", CONFIGURATIONS, ids=lambda options: options.get("block", "double"))


def tiny(options):
    """A small U-Net whose statistics are not those of the start."""
    torch.manual_seed(0)
    model = UNet(2, 3, [16, 32], **options)
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(4, 2, 16, 24))
    return model.eval()


def test_the_configurations_have_every_part():
    for key, table in PARTS.items():
        assert {options.get(key, DEFAULTS[key]) for options in CONFIGURATIONS} == set(table), key


def rows_with_u_nets():
    """The first row of each combination of parts, by report and name. Depth, widths and channels make no other
    operations in a file, nor does dropout, which is for training."""
    found = {}
    for row in (row for row in ROWS.values() if type(row.model).__name__ == "UNet"):
        parts = row.model.model_dump(include={*PARTS, "decoder_block", "refine", "normalize"})
        found.setdefault(json.dumps(parts, sort_keys=True), row)
    return {f"{row.report}/{row.name}": row for row in found.values()}


def check_onnx(model, in_channels, path):
    """ONNX Runtime says what PyTorch says of images of any size, odd, tiny and several at a time, from a file that
    ONNX's own checker accepts."""
    to_onnx(model, in_channels, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(entry.name, len(entry.shape)) for entry in session.get_inputs()] == [("image", 4)]
    assert [entry.name for entry in session.get_outputs()] == ["logits"]
    for size in ((1, 33, 18), (3, 8, 24), (2, 1, 1), (1, 5, 70)):
        image = torch.randn(size[0], in_channels, *size[1:])
        with torch.no_grad():
            expected = model(image)
        (found,) = session.run(None, {"image": image.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__ < "2.7", reason="PyTorch before 2.7 cannot export every network")
@every_part
def test_onnx_runtime_gives_what_pytorch_gives(options, tmp_path):
    check_onnx(tiny(options), 2, tmp_path / "network.onnx")


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__ < "2.7", reason="PyTorch before 2.7 cannot export every network")
@pytest.mark.parametrize("row", rows_with_u_nets().values(), ids=rows_with_u_nets())
def test_onnx_runtime_gives_what_pytorch_gives_of_every_row_s_network(row, tmp_path):
    """At three levels of few channels, so that no file takes long."""
    small = row.model_copy(update={"model": row.model.model_copy(update={"widths": [16, 32, 48]})})
    check_onnx(build(small), small.model.in_channels, tmp_path / "network.onnx")


def check_compiled(options, **how):
    """Traced whole, without falling back to Python, with the gradients that PyTorch's own backward pass gives."""
    torch.compiler.reset()
    model, image = tiny(options), torch.randn(2, 2, 13, 22)
    compiled = torch.compile(model, fullgraph=True, **how)
    expected = model(image)
    found = compiled(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    parameters = list(model.parameters())
    slopes = [torch.autograd.grad(logits.square().mean(), parameters) for logits in (found, expected)]
    for one, other in zip(*slopes):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.slow
@every_part
def test_a_compiled_network_gives_the_same_and_learns_the_same(options):
    check_compiled(options, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")) or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="needs a C++ compiler and Python's headers",
)
def test_a_network_compiled_to_machine_code_gives_the_same_and_learns_the_same(tmp_path, monkeypatch):
    """By `torch.compile` as a user calls it, which writes C++ for the processor; the plain U-Net alone, for it takes
    long."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # neither from an earlier run nor left for a later one
    check_compiled({})


# --- parts of the library's networks, against their papers ---


def learnt(module, seed=0):
    """The module in float64 with numbers that matter, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3)
            if "var" in name:
                tensor.abs_().add_(0.5)
    return module.eval()


def normalised(x, norm):
    shape = (1, -1, 1, 1)
    mean, var, scale, shift = (t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / (var + norm.eps).sqrt() * scale + shift


def atrous(x, weight, rate):
    """Σ over the 3 × 3 taps of w[i, j] · x shifted by `rate` times them, a channel at a time; outside, x is 0."""
    height, width = x.shape[2:]
    padded, total = F.pad(x, (rate,) * 4), 0
    for i in range(3):
        for j in range(3):
            there = padded[:, :, i * rate : i * rate + height, j * rate : j * rate + width]
            total = total + weight[:, 0, i, j].view(1, -1, 1, 1) * there
    return total


def mixed(x, weight):
    """A 1×1 convolution: at each place a product of matrices."""
    return torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x)


@torch.no_grad()
@pytest.mark.parametrize("size", [(2, 3), (16, 40), (1, 1)])
def test_aspp_is_the_paper_s_formula(size):
    """Chen et al. 2018, section 3: a 1×1 convolution, three separable ones of rates 12, 24 and 36 and the image's mean,
    each normalised and cut at 0, side by side, and another 1×1 convolution joins them."""
    (aspp,) = [m for m in build(ROWS["mars_terrain/deeplabv3-plus"]).modules() if type(m).__name__ == "ASPP"]
    x = torch.randn(2, 512, *size, generator=torch.Generator().manual_seed(1)).double()
    learnt(aspp)
    local, *far, pooled = aspp.convs
    branches = [normalised(mixed(x, local[0].weight), local[1]).clamp(min=0)]
    for rate, branch in zip((12, 24, 36), far):
        depthwise, pointwise = branch[0]
        branches.append(normalised(mixed(atrous(x, depthwise.weight, rate), pointwise.weight), branch[1]).clamp(min=0))
    mean = x.mean((2, 3), keepdim=True)
    branches.append(normalised(mixed(mean, pooled[1].weight), pooled[2]).clamp(min=0).expand(-1, -1, *size))
    joined = normalised(mixed(torch.cat(branches, 1), aspp.project[0].weight), aspp.project[1]).clamp(min=0)
    torch.testing.assert_close(aspp(x), joined)


@torch.no_grad()
def test_the_encoder_s_scse_is_the_paper_s_formula():
    """Roy et al. 2018: x̂_k = σ(W₁ δ(W₂ z))_k x_k with z the channels' means, and σ(w · x) x, summed."""
    model = build(ROWS["scribbles/resnet18"])
    found = [m for m in model.modules() if type(m).__name__ == "SCSEModule"]
    assert len(found) == 10
    for module in found:
        learnt(module)
        squeeze, excite, place = module.cSE[1], module.cSE[3], module.sSE[0]
        x = torch.randn(2, squeeze.in_channels, 3, 5, generator=torch.Generator().manual_seed(1)).double()
        hidden = (x.mean((2, 3)) @ squeeze.weight[:, :, 0, 0].T + squeeze.bias).clamp(min=0)
        channels = 1 / (1 + (-(hidden @ excite.weight[:, :, 0, 0].T + excite.bias)).exp())
        places = 1 / (1 + (-(mixed(x, place.weight) + place.bias)).exp())
        torch.testing.assert_close(module(x), x * channels[..., None, None] + x * places)


@torch.no_grad()
def test_segformer_s_attention_is_the_paper_s_formula():
    """Xie et al. 2021, eq. 1 and 2: softmax(Q Kᵀ / √d) V of each head, K and V from patches joined by a strided
    convolution and normalised; of the four stages with their heads and strides of 1, 2, 5, 8 and 8, 4, 2, 1."""
    model = build(ROWS["mars_terrain/segformer"])
    stages = {}
    for module in model.modules():
        if type(module).__name__ == "Attention":
            stages.setdefault((module.num_heads, module.sr_ratio), module)
    assert set(stages) == {(1, 8), (2, 4), (5, 2), (8, 1)}
    height, width = 8, 16
    for (heads, stride), module in stages.items():
        learnt(module)
        channels = module.q.in_features
        x = torch.randn(2, height * width, channels, generator=torch.Generator().manual_seed(1)).double()
        seen = x
        if stride > 1:
            grid = x.transpose(1, 2).view(2, channels, height // stride, stride, width // stride, stride)
            seen = torch.einsum("ocij,ncyixj->nyxo", module.sr.weight, grid).flatten(1, 2) + module.sr.bias
            centred = seen - seen.mean(-1, keepdim=True)
            seen = centred / (centred.square().mean(-1, keepdim=True) + module.norm.eps).sqrt()
            seen = seen * module.norm.weight + module.norm.bias
        query = x @ module.q.weight.T + module.q.bias
        key, value = (seen @ module.kv.weight.T + module.kv.bias).chunk(2, -1)
        outputs = []
        for q, k, v in zip(*(t.chunk(heads, -1) for t in (query, key, value))):
            likeness = (q @ k.transpose(1, 2)) / math.sqrt(channels // heads)
            share = (likeness - likeness.amax(-1, keepdim=True)).exp()
            outputs.append(share / share.sum(-1, keepdim=True) @ v)
        expected = torch.cat(outputs, -1) @ module.proj.weight.T + module.proj.bias
        torch.testing.assert_close(module(x, height, width), expected)
