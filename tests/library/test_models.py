"""The U-Net and its parts against known parameter counts and formulas written out with plain tensor operations."""

from itertools import product

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import seglib
from seglib.data.datasets import channel_statistics, to_tensor
from seglib.experiment import make_model
from seglib.models.blocks import (
    BLOCKS,
    BOTTLENECKS,
    NORMS,
    SKIPS,
    UPS,
    AttentionGate,
    AttentionOnlySkip,
    AttentionSkip,
    FeatureGate,
    GatedAddSkip,
    GatedConcatenateSkip,
    GridAverage,
    NearestUp,
    Normalize,
    NoSkip,
    PyramidPooling,
    ResidualBlock,
    SqueezeExcitation,
    initialize_kaiming,
)
from seglib.models.unet import UNet
from seglib.rows import load_row

COMBINATIONS = list(product(BLOCKS, SKIPS, NORMS))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randomise(module):
    """Gives every parameter and running statistic a value that matters, and puts the module in evaluation mode."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.3)
    return module.eval()


def normalise(x, norm):
    """Batch norm in evaluation mode, or group norm, from the module's numbers."""
    if isinstance(norm, nn.BatchNorm2d):
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias)


def parts(module):
    """The convolutions and the normalisations of a module, each in order."""
    found = list(module.modules())
    return (
        [m for m in found if isinstance(m, nn.Conv2d)],
        [m for m in found if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)],
    )


def squeeze_excitation(x, w1, w2):
    """x · σ(W₂ ReLU(W₁ mean(x))), as matrix products."""
    mean = x.mean((2, 3))
    hidden = torch.relu(mean @ w1.weight[:, :, 0, 0].T + w1.bias)
    return x * torch.sigmoid(hidden @ w2.weight[:, :, 0, 0].T + w2.bias)[:, :, None, None]


def attention_gate(x, g, gate):
    """α·x, α = σ(ψ(ReLU(W_x x + W_g g))), each 1×1 convolution followed by a normalisation."""
    convolutions, norms = parts(gate)
    from_x, from_g, psi = (
        lambda y, conv=conv, norm=norm: normalise(F.conv2d(y, conv.weight, conv.bias), norm)
        for conv, norm in zip(convolutions, norms)
    )
    return x * torch.sigmoid(psi(torch.relu(from_x(x) + from_g(g))))


def residual_block(x, module):
    """ReLU(F(x) + x), F two normalised 3×3 convolutions; x normalised behind a 1×1 one where its channels change."""
    (one, two, *shortcut), (norm_one, norm_two, *norm_shortcut) = parts(module)
    y = torch.relu(normalise(F.conv2d(x, one.weight, one.bias, padding=1), norm_one))
    y = normalise(F.conv2d(y, two.weight, two.bias, padding=1), norm_two)
    for conv, norm in zip(shortcut, norm_shortcut):
        x = normalise(F.conv2d(x, conv.weight, conv.bias), norm)
    return torch.relu(y + x)


def unet(x, model):
    """A U-Net's forward pass written out, for sizes that need no padding."""

    def block(x, module):
        if any(isinstance(part, ResidualBlock) for part in module.modules()):
            return residual_block(x, module)
        convolutions, norms = parts(module)
        for conv, norm in zip(convolutions, norms):  # squeeze-and-excitation's two convolutions, behind, have no norm
            x = torch.relu(normalise(F.conv2d(x, conv.weight, conv.bias, padding=1), norm))
        behind = convolutions[len(norms) :]
        return squeeze_excitation(x, *behind) if behind else x

    def stage_of(x, stage):
        for part in stage:
            if isinstance(part, SqueezeExcitation):
                x = squeeze_excitation(x, *parts(part)[0])
            else:
                x = pyramid_pooling(x, part) if isinstance(part, PyramidPooling) else block(x, part)
        return x

    def joined(skip, feature, x):
        """What a decoder's block is given."""
        if isinstance(skip, NoSkip):
            return x
        convolutions = parts(skip)[0]
        if isinstance(skip, GatedAddSkip):
            return gated_add(feature, x, *convolutions)
        if isinstance(skip, AttentionOnlySkip):
            return torch.cat([attention_gate(feature, x, skip), feature], dim=1)
        if isinstance(skip, AttentionSkip):
            feature = attention_gate(feature, x, skip)
        elif isinstance(skip, GatedConcatenateSkip):
            feature = feature_gate(feature, x, *convolutions)
        return torch.cat([feature, x], dim=1)

    features = []
    for level, stage in enumerate(model.encoder):
        x = stage_of(x if level == 0 else F.max_pool2d(x, 2), stage)
        features.append(x)
    for up, skip, stage, feature in zip(model.up, model.skips, model.decoder, features[-2::-1]):
        if isinstance(up, nn.ConvTranspose2d):
            x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)
        elif isinstance(up, NearestUp):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        else:
            x = bilinear(x, 2 * x.shape[2], 2 * x.shape[3])
        x = block(joined(skip, feature, x), stage)
    return F.conv2d(x, model.head.weight, model.head.bias)


def feature_gate(skip, up, conv):
    """α·x, α = σ(W [x, g] + b), as the sum of W's two halves."""
    weight, channels = conv.weight[:, :, 0, 0], skip.shape[1]
    from_skip = torch.einsum("oc,nchw->nohw", weight[:, :channels], skip)
    from_up = torch.einsum("oc,nchw->nohw", weight[:, channels:], up)
    return skip * torch.sigmoid(from_skip + from_up + conv.bias[:, None, None])


def gated_add(skip, up, gate, project=None):
    """α·x + g, g behind a 1×1 convolution where it has other channels than x."""
    return feature_gate(skip, up, gate) + (F.conv2d(up, project.weight, project.bias) if project else up)


def bilinear(x, height, width):
    """Interpolated between the cells' centres, and constant beyond the outermost ones: a matrix for each axis."""

    def matrix(cells, length):
        place = ((torch.arange(length, dtype=x.dtype) + 0.5) * cells / length - 0.5).clamp(0, cells - 1)
        return (1 - (place[:, None] - torch.arange(cells)).abs()).clamp(min=0)

    return matrix(x.shape[2], height) @ x @ matrix(x.shape[3], width).T


def pyramid_pooling(x, module):
    """Means over 1, 2 × 2, 3 × 3 and 6 × 6 cells, each cell's borders rounded outwards, beside the features."""
    convolutions, (norm,) = parts(module)
    height, width = x.shape[2:]
    joined = [x]
    for cells, conv in zip((1, 2, 3, 6), convolutions):
        edges = [
            [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)] for length in (height, width)
        ]
        means = torch.stack(
            [torch.stack([x[:, :, a:b, c:d].mean((2, 3)) for c, d in edges[1]], -1) for a, b in edges[0]], -2
        )
        reduced = torch.relu(F.conv2d(means, conv.weight, conv.bias))
        joined.append(bilinear(reduced, height, width))
    join = convolutions[-1]
    return torch.relu(normalise(F.conv2d(torch.cat(joined, 1), join.weight, join.bias, padding=1), norm))


@pytest.mark.parametrize(
    ("expected", "widths", "options"),
    [
        (7_702_977, [64, 128, 256, 512], {}),
        (31_043_521, [64, 128, 256, 512, 1024], {}),
        (4_334_929, [48, 96, 192, 384], {}),
        (117_681, [16, 32, 64], {"norm": "group"}),
        (1_944_049, [16, 32, 64, 128, 256], {"norm": "group"}),
        (7_765_985, [32, 64, 128, 256, 512], {"norm": "group"}),
        (7_854_717, [32, 64, 128, 256, 512], {"norm": "group", "skip": "attention"}),
    ],
)
def test_parameter_counts_of_the_reports(expected, widths, options):
    with torch.device("meta"):
        model = UNet(3, 1, widths, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("expected", "row", "overrides"),
    [
        (4_384_498, "model-2", {}),
        (4_334_929, "model-2", {"model.skip": "concatenate"}),
        (4_334_929, "no-gates", {}),
        (7_876_353, "model-3", {}),
        (7_702_977, "model-3", {"model.decoder_block": None}),
    ],
)
def test_parameter_counts_of_the_face_mask_rows(expected, row, overrides):
    with torch.device("meta"):
        model = make_model(load_row("face_masks", row, overrides=overrides))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("tiny16-32_bce-dice", 117_681),
        ("res16-32_bce-dice", 117_681),
        ("tiny16-128_bce-dice", 1_944_049),
        ("res16-128_bce-dice", 1_944_049),
        ("tiny16-128_bce-dice-bound", 1_944_049),
        ("res16-128_bce-dice-bound", 1_944_049),
        ("res32-256_bce-dice-bound", 7_765_985),
        ("attn32-256_bce-dice-bound", 7_854_717),
    ],
)
def test_parameter_counts_of_the_neural_segmentello_rows(row, expected):
    with torch.device("meta"):
        model = seglib.build_model("neural_segmentello", row)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model.refine == row.startswith("res")
    assert model(torch.zeros(1, 3, 33, 50, device="meta")).shape == (1, 1, 33, 50)


def test_build_model_is_the_face_mask_row_s_network():
    model = seglib.build_model("face_masks", "model-2").eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_384_498
    assert model(torch.rand(1, 3, 20, 28)).shape == (1, 1, 20, 28)


def test_parameter_count_with_residual_blocks_in_the_decoder():
    """By hand: convolution k²·in·out + out, normalisation 2·out."""
    encoder = (9 * 1 * 4 + 4 + 8) + (9 * 4 * 4 + 4 + 8) + (9 * 4 * 8 + 8 + 16) + (9 * 8 * 8 + 8 + 16)
    up, head = 4 * 8 * 4 + 4, 4 + 1
    decoder = (9 * 8 * 4 + 4 + 8) + (9 * 4 * 4 + 4 + 8)
    shortcut = 8 * 4 + 4 + 8
    plain, residual, both = (
        sum(parameter.numel() for parameter in UNet(1, 1, [4, 8], **blocks).parameters())
        for blocks in ({}, {"decoder_block": "residual"}, {"block": "residual"})
    )
    assert plain == encoder + up + decoder + head
    assert residual == plain + shortcut
    assert both == residual + (1 * 4 + 4 + 8) + (4 * 8 + 8 + 16)


def test_parameter_count_of_the_library_network():
    with torch.device("meta"):
        model = smp.Unet(
            "efficientnet-b2", encoder_weights=None, in_channels=4, classes=1, decoder_attention_type="scse"
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_103_645


def test_parameter_count_of_squeeze_excitation():
    """2 levels of widths 16 and 32, by hand: C·h + h and h·C + C a block, with h = 8, the least."""
    plain, excited = (UNet(1, 1, [16, 32], block=block) for block in ("double", "double-se"))
    extra = 2 * (16 * 8 + 8 + 8 * 16 + 16) + (32 * 8 + 8 + 8 * 32 + 32)
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (plain, excited)]
    assert count[1] - count[0] == extra


@pytest.mark.parametrize(("block", "skip", "norm"), COMBINATIONS)
def test_every_parameter_receives_a_gradient(block, skip, norm):
    model = UNet(2, 3, [16, 32, 48], block=block, skip=skip, norm=norm, dropout=0.2)
    for module in model.modules():
        if isinstance(module, SqueezeExcitation):  # its hidden units may start dead, behind their ReLU
            nn.init.ones_(parts(module)[0][0].bias)
    logits = model(torch.randn(3, 2, 20, 28))
    assert logits.shape == (3, 3, 20, 28)
    (logits * torch.randn_like(logits)).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    zero = [name for name, p in model.named_parameters() if p.ndim == 4 and not p.grad.any()]
    assert not missing
    assert not zero


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 21), st.integers(1, 21), st.sampled_from(COMBINATIONS))
def test_logits_have_the_images_size(height, width, combination):
    block, skip, norm = combination
    model = UNet(1, 2, [16, 16, 16, 16], block=block, skip=skip, norm=norm).eval()
    logits = model(torch.rand(2, 1, height, width))
    assert logits.shape == (2, 2, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2)])
@pytest.mark.parametrize("widths", [[8], [8, 8], [8, 8, 8, 8, 8]])
def test_tiny_images(size, widths):
    assert UNet(3, 1, widths).eval()(torch.rand(1, 3, *size)).shape == (1, 1, *size)


@pytest.mark.parametrize(("block", "skip", "norm"), COMBINATIONS)
def test_forward_equals_the_formula(block, skip, norm):
    """Without padding where the size is a multiple of 4; else of the image with its last row and column repeated."""
    model = randomise(UNet(2, 3, [16, 32, 48], block=block, skip=skip, norm=norm, dropout=0.5)).double()
    image = torch.randn(2, 2, 12, 20).double()
    torch.testing.assert_close(model(image), unet(image, model))
    odd = image[..., :9, :18]
    padded = torch.from_numpy(np.pad(odd.numpy(), ((0, 0), (0, 0), (0, 3), (0, 2)), mode="edge"))
    torch.testing.assert_close(model(odd), unet(padded, model)[..., :9, :18])


@pytest.mark.parametrize("decoder_block", BLOCKS)
@pytest.mark.parametrize("block", BLOCKS)
def test_the_decoder_may_have_other_blocks(block, decoder_block):
    model = randomise(UNet(2, 3, [16, 32, 48], block=block, decoder_block=decoder_block)).double()
    image = torch.randn(2, 2, 12, 20).double()
    torch.testing.assert_close(model(image), unet(image, model))
    kinds = dict.fromkeys(BLOCKS, ()) | dict.fromkeys(("double-se", "triple-se"), (SqueezeExcitation,))
    kinds["residual"] = (ResidualBlock,)
    for part, name in ((model.encoder, block), (model.decoder, decoder_block)):
        found = {type(module) for module in part.modules()} & {SqueezeExcitation, ResidualBlock}
        assert found == set(kinds[name])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("channels", [(16, 16), (8, 24), (24, 8)])
def test_residual_block_equals_the_formula(channels, norm):
    block = randomise(ResidualBlock(*channels, NORMS[norm])).double()
    x = torch.randn(2, channels[0], 5, 7).double()
    torch.testing.assert_close(block(x), residual_block(x, block))


def test_residual_block_s_shortcut_is_a_1x1_convolution_only_where_channels_change():
    assert isinstance(ResidualBlock(16, 16, NORMS["batch"]).shortcut, nn.Identity)
    shortcut, _ = parts(ResidualBlock(8, 16, NORMS["batch"]).shortcut)
    assert [tuple(conv.weight.shape) for conv in shortcut] == [(16, 8, 1, 1)]
    block = ResidualBlock(16, 16, NORMS["batch"]).eval()
    nn.init.zeros_(block.residual[-1].weight)  # the last normalisation now gives 0, so that x alone is left
    x = torch.randn(2, 16, 5, 7)
    kept = x.clone()
    torch.testing.assert_close(block(x), x.clamp(min=0))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("channels", [(8, 8), (8, 16)])
def test_every_parameter_of_a_residual_block_receives_a_gradient(channels):
    block = ResidualBlock(*channels, NORMS["group"])
    x = torch.randn(3, 8, 5, 7, requires_grad=True)
    y = block(x)
    (y * torch.randn_like(y)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())
    assert x.grad.any()


@pytest.mark.parametrize("norm", NORMS)
def test_attention_gate_equals_the_formula(norm):
    gate = randomise(AttentionGate(16, NORMS[norm])).double()
    x, g = torch.randn(2, 2, 16, 5, 7).double()
    torch.testing.assert_close(gate(x, g), attention_gate(x, g, gate))
    assert [conv.weight.shape[:2] for conv in parts(gate)[0]] == [(8, 16), (8, 16), (1, 8)]  # half the skip's width


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("gating_channels", [8, 40])
def test_attention_gate_s_signal_may_have_other_channels(gating_channels, norm):
    gate = randomise(AttentionGate(16, NORMS[norm], gating_channels)).double()
    x, g = (torch.randn(2, channels, 5, 7).double() for channels in (16, gating_channels))
    torch.testing.assert_close(gate(x, g), attention_gate(x, g, gate))
    assert [conv.weight.shape[:2] for conv in parts(gate)[0]] == [(8, 16), (8, gating_channels), (1, 8)]


def test_attention_gate_weighs_pixels_not_channels():
    gate = AttentionGate(16, NORMS["batch"]).eval()
    x, g = torch.rand(2, 2, 16, 5, 7) + 0.1
    alpha = gate(x, g) / x
    assert ((alpha > 0) & (alpha < 1)).all()
    torch.testing.assert_close(alpha, alpha[:, :1].expand_as(alpha))


@pytest.mark.parametrize("channels", [1, 3, 16, 40])
def test_squeeze_excitation_equals_the_formula(channels):
    module = randomise(SqueezeExcitation(channels)).double()
    x = torch.randn(2, channels, 5, 7).double()
    torch.testing.assert_close(module(x), squeeze_excitation(x, *parts(module)[0]))


@pytest.mark.parametrize(("channels", "hidden"), [(1, 8), (16, 8), (128, 8), (160, 10), (256, 16)])
def test_squeeze_excitation_has_a_width_of_at_least_eight(channels, hidden):
    assert [conv.out_channels for conv in parts(SqueezeExcitation(channels))[0]] == [hidden, channels]


def test_attention_gate_of_one_channel():
    """Half of one channel is none, and a layer needs at least one unit."""
    x, g = torch.rand(2, 2, 1, 5, 7)
    gate = AttentionGate(1, NORMS["batch"])
    assert gate(x, g).shape == (2, 1, 5, 7)
    assert [count for name, count in gate.named_buffers() if name.endswith("batches_tracked")] == [1, 1, 1]  # ψ's, too
    assert gate.psi[0].in_channels == 1


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("skip", SKIPS)
def test_what_the_skip_carries(skip, up):
    """With the last upsampling cut, the image can reach the logits through the uppermost skip alone."""
    model = UNet(1, 1, [16, 16, 16], skip=skip, up=up).eval()
    model.up[-1].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    one, other = model(torch.rand(2, 1, 12, 20))
    assert torch.equal(one, other) == (skip == "none")


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("level", [0, 1])
def test_changing_one_skip_feature(skip, level):
    model = UNet(1, 1, [16, 16, 16], skip=skip).eval()
    image = torch.rand(1, 1, 12, 20)
    before = model(image)
    model.skips[level].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1, inputs[1]))
    assert torch.equal(model(image), before) == (skip == "none")


@pytest.mark.parametrize(("levels", "shallow"), [(4, 2), (5, 3)])
def test_dropout_drops_whole_channels_in_the_deeper_levels_while_training(levels, shallow):
    # Batch norm centres every channel, so that ReLU alone empties none.
    model = UNet(1, 1, [64] * levels, norm="batch", dropout=0.5)
    dropped = {}
    for level, stage in enumerate(model.encoder):
        stage.register_forward_hook(
            lambda module, inputs, output, level=level: dropped.update({level: (output == 0).all(-1).all(-1)})
        )
    image = torch.rand(8, 1, 48, 64)
    assert not torch.equal(model(image), model(image))
    assert not any(dropped[level].any() for level in range(shallow))
    for level in range(shallow, levels):
        assert dropped[level].float().mean().item() == pytest.approx(0.5, abs=0.1)
    model.eval()
    assert torch.equal(model(image), model(image))


def test_without_dropout_training_mode_is_deterministic():
    model, image = UNet(1, 1, [8, 16]), torch.rand(2, 1, 12, 20)
    assert torch.equal(model(image), model(image))


@pytest.mark.parametrize("shape", [(2, 1, 8, 12), (2, 4, 8, 12), (3, 8, 12)])
def test_image_of_the_wrong_shape(shape):
    model = UNet(3, 1, [8, 16])
    with pytest.raises(ValueError, match=r"expected an image of shape \(N, 3, H, W\), got \("):
        model(torch.zeros(shape))


# --- normalisation of the image ---


def normalizer(mean, std):
    module = Normalize(len(mean))
    module.set(mean, std)
    return module


def test_normalize_equals_the_formula():
    mean, std = np.array([0.4, 0.1, 0.7]), np.array([0.2, 0.05, 0.3])
    x = torch.rand(2, 3, 5, 7)
    expected = np.stack([(x[:, c].numpy() - mean[c]) / std[c] for c in range(3)], axis=1)
    np.testing.assert_allclose(normalizer(mean, std)(x), expected, rtol=1e-5)
    assert torch.equal(Normalize(3)(x), x)  # before it was given any numbers


def test_normalized_images_have_mean_0_and_standard_deviation_1():
    rng = np.random.default_rng(0)
    images = rng.normal([60, 120, 200], [5, 30, 15], (6, 9, 14, 3)).clip(0, 255).astype(np.uint8)
    module = normalizer(*channel_statistics(images))
    y = module(torch.stack([to_tensor(image) for image in images]))
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_channels_behind_those_that_were_measured_stay_as_they_are():
    """Strokes, behind red, green and blue: −1, 0 and 1 are what they are."""
    module, x = Normalize(5), torch.rand(2, 5, 6, 9)
    mean, std = np.array([0.4, 0.1, 0.7]), np.array([0.2, 0.05, 0.0])
    module.set(mean, std)
    torch.testing.assert_close(module(x)[:, :3], normalizer(mean, std)(x[:, :3]))
    assert torch.equal(module(x)[:, 3:], x[:, 3:])
    assert module.mean.dtype == module.std.dtype == torch.float32
    module.set(np.zeros(5), np.full(5, 2.0))  # all of them may be measured
    assert torch.equal(module(x), x / 2)


def test_a_constant_channel_stays_finite():
    images = np.full((2, 4, 6, 3), [0, 77, 255], np.uint8)
    y = normalizer(*channel_statistics(images))(torch.stack([to_tensor(image) for image in images]))
    torch.testing.assert_close(y, torch.zeros(2, 3, 4, 6), atol=1e-3, rtol=0)


def test_a_constant_channel_is_only_centred():
    """Whatever it holds in another image: a value 0.25 above the mean stays 0.25 above 0."""
    y = normalizer(np.array([0.5, 0.5]), np.array([0.0, 0.1]))(torch.full((1, 2, 2, 3), 0.75))
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([0.25, 2.5]))


def test_the_statistics_travel_with_the_weights():
    row = load_row("face_masks", "model-2", overrides={"model.widths": [4, 8]})
    one, other = make_model(row).eval(), make_model(row).eval()
    one[0].set(np.array([0.4, 0.1, 0.7]), np.array([0.2, 0.05, 0.3]))
    state = one.state_dict()
    assert {"0.mean", "0.std"} <= state.keys()
    assert not {"0.mean", "0.std"} & dict(one.named_parameters()).keys()  # no optimizer changes them
    other.load_state_dict(state)
    image = torch.rand(1, 3, 6, 10)
    assert torch.equal(one(image), other(image))
    plain = make_model(load_row("face_masks", "model-2", overrides={"model.normalize": False}))
    assert not any(isinstance(module, Normalize) for module in plain.modules())


def test_normalize_works_in_bf16_autocast():
    mean, std = np.array([0.4, 0.1, 0.7]), np.array([0.2, 0.05, 0.0])
    model = nn.Sequential(normalizer(mean, std), UNet(3, 1, [4, 8])).eval()
    image = torch.rand(2, 3, 6, 10)
    image[:, 2] = 0.7
    expected, wanted = model[0](image), model(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model[0](image).float(), expected, atol=0.05, rtol=0.02)
        torch.testing.assert_close(model(image).float(), wanted, atol=0.1, rtol=0.1)


# --- initialisation ---


def spread(weight):
    """Variance times the number of weights that one output sums over (torch takes it for that)."""
    return weight.var().item() * weight[0].numel()


def test_kaiming_weights_have_a_variance_of_2_by_fan_in():
    plain = nn.Conv2d(40, 60, 3)
    assert spread(plain.weight) == pytest.approx(1 / 3, rel=0.05)  # PyTorch's own: a sixth
    model = UNet(3, 1, [48, 96, 192], skip="attention", decoder_block="residual")
    initialize_kaiming(model)
    large = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000]
    assert {conv.kernel_size for conv in large} == {(1, 1), (3, 3)}
    for conv in large:
        assert conv.in_channels * conv.kernel_size[0] ** 2 == conv.weight[0].numel()
        assert spread(conv.weight) == pytest.approx(2, rel=0.1)
        assert conv.weight.mean().item() == pytest.approx(0, abs=0.1 * conv.weight.std().item())
    every = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert not any(conv.bias.any() for conv in every)


def test_kaiming_takes_the_outputs_of_a_transposed_convolution_for_its_inputs():
    """PyTorch's fan-in of weights (in, out, 2, 2) is 4·out. Each output sums over `in` products: twice as many here."""
    up = nn.ConvTranspose2d(192, 96, 2, stride=2)
    initialize_kaiming(up)
    assert up.weight.var().item() == pytest.approx(2 / (4 * 96), rel=0.05)
    assert not up.bias.any()


def test_kaiming_of_convolutions_without_a_bias():
    conv = nn.Conv2d(40, 60, 3, bias=False)
    initialize_kaiming(nn.Sequential(conv))
    assert spread(conv.weight) == pytest.approx(2, rel=0.1)


def test_kaiming_leaves_normalisation_alone():
    model = randomise(nn.Sequential(Normalize(3), UNet(3, 1, [8, 16], skip="attention")))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialize_kaiming(model)
    convolutions = {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != (name.rpartition(".")[0] in convolutions)


@pytest.mark.parametrize(("row", "expected"), [("model-2", 2), ("pytorch-init", 1 / 3), ("model-3", 1 / 3)])
def test_rows_start_from_the_weights_that_they_name(row, expected):
    bottleneck = parts(seglib.build_model("face_masks", row)[1].encoder[-1])[0][-1]
    assert spread(bottleneck.weight) == pytest.approx(expected, rel=0.02)


# --- refinement of a mask ---


@pytest.mark.parametrize("size", [(12, 20), (9, 18), (7, 13), (1, 5)])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_refine_adds_the_first_input_channel_to_the_logits(size, out_channels):
    plain, refined = (UNet(3, out_channels, [8, 16, 24], norm="group", refine=refine) for refine in (False, True))
    randomise(plain)
    refined.load_state_dict(plain.state_dict())  # the same names and shapes, so the same number of parameters
    refined.eval()
    image = torch.randn(2, 3, *size)
    kept = image.clone()
    assert torch.equal(refined(image), plain(image) + image[:, 0][:, None])
    assert not torch.equal(refined(image), plain(image))
    assert torch.equal(image, kept)


def test_a_refining_network_without_anything_to_say_gives_the_mask_back():
    model = UNet(3, 1, [8, 16], refine=True).eval()
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    image = torch.randn(2, 3, 7, 10)
    assert torch.equal(model(image), image[:, :1])
    assert not UNet(3, 1, [8, 16]).refine  # only where it is asked for


# --- upsampling, bottlenecks, gated skips ---


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("up", UPS)
def test_upsampling_skips_and_bottlenecks_equal_the_formula(up, skip, bottleneck):
    options = {"block": "triple-se", "up": up, "skip": skip, "bottleneck": bottleneck}
    model = randomise(UNet(2, 5, [8, 16, 24], **options)).double()
    image = torch.randn(2, 2, 12, 28).double()
    torch.testing.assert_close(model(image), unet(image, model))


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@pytest.mark.parametrize("up", UPS)
def test_every_parameter_of_the_new_parts_receives_a_gradient(up, bottleneck):
    """From a batch of one, too; that of 20 × 28 pixels leaves batch normalisation 5 × 7 in the bottleneck."""
    model = UNet(1, 5, [16, 32, 48], block="triple-se", skip="gated-add", up=up, bottleneck=bottleneck)
    for module in model.modules():
        if isinstance(module, SqueezeExcitation):  # its hidden units may start dead, behind their ReLU
            nn.init.ones_(parts(module)[0][0].bias)
        elif isinstance(module, PyramidPooling):
            for branch in module.branches:
                nn.init.ones_(branch[1].bias)
    logits = model.train()(torch.randn(1, 1, 20, 28))
    assert logits.shape == (1, 5, 20, 28)
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim != 4 or parameter.grad.any(), name


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 50)])
@pytest.mark.parametrize("up", UPS)
def test_any_size_and_a_batch_of_one(up, size):
    model = UNet(1, 5, [8, 16, 24], up=up, skip="gated-add", bottleneck="se-pyramid", norm="group")
    logits = model.train()(torch.rand(1, 1, *size))
    assert logits.shape == (1, 5, *size)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("widths", "transposed", "nearest"),
    [
        ([32, 64, 128], 707_941, 712_965),
        ([32, 64, 128, 256], 2_906_981, 2_928_261),
        ([64, 128, 256, 512], 11_613_893, 11_699_461),
        ([64, 128, 256, 512, 1024], 46_755_525, 47_102_725),
    ],
)
def test_parameter_counts_of_the_mars_baseline(widths, transposed, nearest):
    """By hand: a convolution has k²·in·out + out parameters and its normalisation 2·out; three of them are a block."""

    def block(before, width):
        return (9 * before * width + 3 * width) + 2 * (9 * width * width + 3 * width)

    encoder = sum(block(before, width) for before, width in zip([1, *widths], widths))
    steps, head = list(zip(widths[1:], widths)), widths[0] * 5 + 5
    by_hand = {
        "transposed": encoder + head + sum(4 * deep * w + w + block(w + w, w) for deep, w in steps),
        "nearest": encoder + head + sum(block(w + deep, w) for deep, w in steps),
    }
    by_hand["bilinear"] = by_hand["nearest"]
    assert (by_hand["transposed"], by_hand["nearest"]) == (transposed, nearest)
    for up, expected in by_hand.items():
        with torch.device("meta"):
            model = UNet(1, 5, widths, block="triple", up=up)
        assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({"bottleneck": "se"}, 32 * 8 + 8 + 8 * 32 + 32),
        # And four branches of 8 channels each, joined with the 32 by a 3×3 convolution that is normalised.
        ({"bottleneck": "se-pyramid"}, (32 * 8 + 8 + 8 * 32 + 32) + 4 * (32 * 8 + 8) + (9 * 64 * 32 + 32 + 64)),
        ({"skip": "gated-concatenate"}, (16 + 32) * 16 + 16),
        # The decoder's first convolution sees 16 channels, not 48, and another takes the 32 from below to those 16.
        ({"skip": "gated-add"}, (16 + 32) * 16 + 16 + (32 * 16 + 16) - 9 * 32 * 16),
        # Inner width 8: from the skip, from below, ψ, each with its normalisation.
        ({"skip": "attention"}, (16 * 8 + 8 + 16) + (32 * 8 + 8 + 16) + (8 + 1 + 2)),
        # The same gate; and the decoder's first convolution sees 2 · 16 channels, not 16 + 32.
        ({"skip": "attention-only"}, (16 * 8 + 8 + 16) + (32 * 8 + 8 + 16) + (8 + 1 + 2) - 9 * 16 * 16),
        ({"skip": "none"}, -9 * 16 * 16),
        # Both blocks, of 16 channels above and 32 below, and the decoder's: C·8 + 8 + 8·C + C.
        ({"block": "triple-se"}, 2 * (2 * 16 * 8 + 8 + 16) + (2 * 32 * 8 + 8 + 32)),
    ],
)
def test_parameter_counts_of_the_new_parts(options, extra):
    """What they add to two levels of widths 16 and 32 with `up=nearest`, by hand."""
    plain, other = (UNet(1, 1, [16, 32], **{"block": "triple", "up": "nearest"} | o) for o in ({}, options))
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (plain, other)]
    assert count[1] - count[0] == extra


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (4, 6)])
@pytest.mark.parametrize("channels", [(8, 4), (4, 8)])
def test_upsampling_equals_the_formulas(channels, size):
    x = torch.randn(2, channels[0], *size).double()
    transposed, nearest, bilinear_up = (UPS[name](*channels).double() for name in ("transposed", "nearest", "bilinear"))
    expected = torch.zeros(2, channels[1], 2 * size[0], 2 * size[1]).double()
    for i, j in product(range(2), range(2)):  # no two places of the input reach the same one of the output
        expected[:, :, i::2, j::2] = torch.einsum("co,nchw->nohw", transposed.weight[:, :, i, j], x)
    torch.testing.assert_close(transposed(x), expected + transposed.bias[:, None, None])
    expected = torch.empty(2, channels[0], 2 * size[0], 2 * size[1]).double()
    for i, j in product(range(2), range(2)):
        expected[:, :, i::2, j::2] = x
    assert torch.equal(nearest(x), expected)
    torch.testing.assert_close(bilinear_up(x), bilinear(x, 2 * size[0], 2 * size[1]))
    assert [up.out_channels for up in (transposed, nearest, bilinear_up)] == [channels[1], channels[0], channels[0]]
    assert not [*nearest.parameters(), *bilinear_up.parameters()]


def test_bilinear_upsampling_of_numbers_by_hand():
    """A quarter of a cell's distance beside each centre; at the border, the value of the border."""
    row = torch.tensor([0.0, 4.0, 12.0]).expand(1, 1, 1, 3)
    assert UPS["bilinear"](1, 1)(row)[0, 0].tolist() == [[0, 1, 3, 6, 10, 12]] * 2


@pytest.mark.parametrize("up_channels", [8, 12])
def test_gated_skips_equal_the_formulas(up_channels):
    skip, up = torch.randn(2, 8, 5, 7).double(), torch.randn(2, up_channels, 5, 7).double()
    gate = randomise(FeatureGate(8, up_channels)).double()
    torch.testing.assert_close(gate(skip, up), feature_gate(skip, up, *parts(gate)[0]))
    concatenated = randomise(GatedConcatenateSkip(8, up_channels, NORMS["batch"])).double()
    gated = feature_gate(skip, up, *parts(concatenated)[0])
    torch.testing.assert_close(concatenated(skip, up), torch.cat([gated, up], dim=1))
    added = randomise(GatedAddSkip(8, up_channels, NORMS["batch"])).double()
    assert len(parts(added)[0]) == (1 if up_channels == 8 else 2)  # projected only where the channels differ
    torch.testing.assert_close(added(skip, up), gated_add(skip, up, *parts(added)[0]))


@pytest.mark.parametrize("up_channels", [8, 24])
@pytest.mark.parametrize("skip", SKIPS)
def test_skips_say_how_many_channels_they_give(skip, up_channels):
    module = SKIPS[skip](16, up_channels, NORMS["batch"])
    given = module(torch.randn(2, 16, 5, 7), torch.randn(2, up_channels, 5, 7))
    assert given.shape == (2, module.out_channels, 5, 7)
    expected = {"gated-add": 16, "none": up_channels, "attention-only": 32}
    assert module.out_channels == expected.get(skip, 16 + up_channels)


def test_with_the_decoder_of_the_report_s_program_the_lower_levels_are_seen_through_the_gate_alone():
    skip, below, other = torch.randn(2, 8, 5, 7), *torch.randn(2, 2, 12, 5, 7)
    module = randomise(SKIPS["attention-only"](8, 12, NORMS["batch"])).eval()
    torch.testing.assert_close(module(skip, below), torch.cat([module.gate(skip, below), skip], dim=1))
    assert not torch.equal(module(skip, below), module(skip, other))
    nn.init.zeros_(module.gate.psi[0].weight)  # α no longer depends on anything
    assert torch.equal(module(skip, below), module(skip, other))


@pytest.mark.parametrize("skip", ["gated-add", "gated-concatenate"])
def test_a_gate_shuts_out_or_lets_through_what_its_weights_say(skip):
    """σ(−1000) = 0 and σ(1000) = 1: with the gate shut, an autoencoder is left; with it open, all of the encoder's."""
    model = UNet(1, 1, [16, 16, 16], skip=skip).eval()
    one, other = torch.rand(2, 1, 16, 12, 20)
    for module in model.skips:
        nn.init.zeros_(module.gate.weight[0].weight)
        nn.init.constant_(module.gate.weight[0].bias, -1000)
        assert torch.equal(module(one, other), module(-other, other))
        nn.init.constant_(module.gate.weight[0].bias, 1000)
        opened = one + other if skip == "gated-add" else torch.cat([one, other], dim=1)
        torch.testing.assert_close(module(one, other), opened)


def test_a_feature_gate_weighs_every_feature_and_place():
    gate = FeatureGate(8, 12)
    skip, up = torch.rand(2, 8, 5, 7) + 0.1, torch.randn(2, 12, 5, 7)
    alpha = gate(skip, up) / skip
    assert ((alpha > 0) & (alpha < 1)).all()
    assert alpha.std(dim=1).min() > 0
    assert alpha.flatten(2).std(dim=2).min() > 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 6), (5, 8), (13, 7)])
def test_pyramid_pooling_equals_the_formula(size, norm):
    """Also where there are fewer places than cells, and where the cells overlap because they do not divide them."""
    module = randomise(PyramidPooling(16, NORMS[norm])).double()
    x = torch.randn(2, 16, *size).double()
    torch.testing.assert_close(module(x), pyramid_pooling(x, module))
    shapes = [(4, 16, 1, 1)] * 4 + [(16, 32, 3, 3)]  # a quarter of the channels for each of four grids
    assert [tuple(conv.weight.shape) for conv in parts(module)[0]] == shapes


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_grid_average_is_pytorch_s_adaptive_pooling(cells):
    for size in ((1, 1), (1, 7), (6, 6), (5, 8), (13, 7), (4, 40)):
        x = torch.randn(2, 3, *size).double()
        torch.testing.assert_close(GridAverage(cells)(x), F.adaptive_avg_pool2d(x, cells))


def test_pyramid_pooling_of_fewer_than_four_channels():
    assert PyramidPooling(3, NORMS["batch"])(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5, 7)


def test_pyramid_pooling_sees_the_whole_picture():
    module = PyramidPooling(8, NORMS["group"]).eval()
    x = torch.randn(1, 8, 12, 20)
    changed = x.clone()
    changed[..., 0, 0] += 5
    assert (module(changed) - module(x))[..., -1, -1].abs().max() > 0


def test_bottlenecks_follow_the_lowest_block_alone():
    for name, kinds in {
        "plain": [],
        "se": [SqueezeExcitation],
        "se-pyramid": [SqueezeExcitation, PyramidPooling],
    }.items():
        model = UNet(1, 1, [8, 16, 24], bottleneck=name, dropout=0.1)
        assert [type(part) for part in model.encoder[-1][2:]] == kinds  # behind the block and its dropout
        found = [type(m) for m in model.modules() if isinstance(m, SqueezeExcitation | PyramidPooling)]
        assert found == kinds


def test_a_triple_block_has_three_convolutions():
    for name, convolutions in {"double": 2, "double-se": 4, "triple": 3, "triple-se": 5}.items():
        assert len(parts(BLOCKS[name](8, 16, NORMS["batch"]))[0]) == convolutions  # squeeze-and-excitation has two
