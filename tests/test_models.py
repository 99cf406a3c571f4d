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
from seglib.config import load_row
from seglib.data.common import channel_statistics, to_tensor
from seglib.experiment import make_model
from seglib.models.blocks import (
    BLOCKS,
    BOTTLENECKS,
    NORMS,
    SKIPS,
    UPS,
    AttentionGate,
    AttentionSkip,
    FeatureGate,
    GatedAddSkip,
    NearestUp,
    Normalize,
    NoSkip,
    PyramidPooling,
    ResidualBlock,
    SqueezeExcitation,
    initialize_kaiming,
)
from seglib.models.unet import UNet

COMBINATIONS = list(product(BLOCKS, SKIPS, NORMS))


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
        if isinstance(skip, AttentionSkip):
            feature = attention_gate(feature, x, skip)
        elif convolutions:
            both = torch.cat([feature, x], dim=1)
            feature = feature * torch.sigmoid(F.conv2d(both, convolutions[0].weight, convolutions[0].bias))
        if isinstance(skip, GatedAddSkip):
            return feature + (F.conv2d(x, convolutions[1].weight, convolutions[1].bias) if convolutions[1:] else x)
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
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
        x = block(joined(skip, feature, x), stage)
    return F.conv2d(x, model.head.weight, model.head.bias)


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
        grown = torch.relu(F.conv2d(means, conv.weight, conv.bias))
        joined.append(F.interpolate(grown, (height, width), mode="bilinear"))
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
    assert AttentionGate(1, NORMS["batch"])(x, g).shape == (2, 1, 5, 7)


@pytest.mark.parametrize(("skip", "reaches"), [("concatenate", True), ("attention", True), ("none", False)])
def test_what_the_skip_carries(skip, reaches):
    """With the last upsampling cut, the image can reach the logits through the uppermost skip alone."""
    model = UNet(1, 1, [16, 16, 16], skip=skip).eval()
    nn.init.zeros_(model.up[-1].weight)
    one, other = model(torch.rand(2, 1, 12, 20))
    assert torch.equal(one, other) != reaches


@pytest.mark.parametrize(("skip", "used"), [("concatenate", True), ("attention", True), ("none", False)])
@pytest.mark.parametrize("level", [0, 1])
def test_changing_one_skip_feature(skip, used, level):
    model = UNet(1, 1, [16, 16, 16], skip=skip).eval()
    image = torch.rand(1, 1, 12, 20)
    before = model(image)
    model.skips[level].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1, inputs[1]))
    assert torch.equal(model(image), before) != used


def test_dropout_drops_whole_channels_in_the_deeper_levels_while_training():
    # Batch norm centres every channel, so that ReLU alone empties none.
    model = UNet(1, 1, [64, 64, 64, 64], norm="batch", dropout=0.5)
    dropped = {}
    for level, stage in enumerate(model.encoder):
        stage.register_forward_hook(
            lambda module, inputs, output, level=level: dropped.update({level: (output == 0).all(-1).all(-1)})
        )
    image = torch.rand(8, 1, 40, 48)
    assert not torch.equal(model(image), model(image))
    assert not dropped[0].any()
    assert not dropped[1].any()
    for level in (2, 3):
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


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 50)])
@pytest.mark.parametrize("up", UPS)
def test_any_size_and_a_batch_of_one(up, size):
    model = UNet(1, 5, [8, 16, 24], up=up, skip="gated-add", bottleneck="se-pyramid", norm="group")
    logits = model.train()(torch.rand(1, 1, *size))
    assert logits.shape == (1, 5, *size)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


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
    with torch.device("meta"):
        models = [UNet(1, 5, widths, block="triple", up=up) for up in ("transposed", "nearest")]
    assert [sum(p.numel() for p in model.parameters()) for model in models] == [transposed, nearest]
    # By hand: three 3×3 convolutions a block with bias and two numbers of normalisation for each of their channels.
    below, expected = 1, 5 * (widths[0] + 1)
    for width in widths:
        expected += 9 * width * (below + 2 * width) + 9 * width
        below = width
    for deep, width in zip(widths[1:], widths):
        expected += 9 * width * (deep + width + 2 * width) + 9 * width
    assert expected == nearest


def test_a_feature_gate_weighs_every_feature_and_place():
    gate = FeatureGate(8, 12)
    skip, up = torch.rand(2, 8, 5, 7) + 0.1, torch.randn(2, 12, 5, 7)
    alpha = gate(skip, up) / skip
    assert ((alpha > 0) & (alpha < 1)).all()
    assert alpha.std(dim=1).min() > 0
    assert alpha.flatten(2).std(dim=2).min() > 0


def test_pyramid_pooling_sees_the_whole_picture():
    module = PyramidPooling(8, NORMS["group"]).eval()
    x = torch.randn(1, 8, 12, 20)
    changed = x.clone()
    changed[..., 0, 0] += 5
    assert (module(changed) - module(x))[..., -1, -1].abs().max() > 0
