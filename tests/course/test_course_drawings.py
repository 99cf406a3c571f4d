import inspect
from collections import Counter
from itertools import combinations, pairwise

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP, ASPPPooling
from torch import nn

from seglib.course import drawings, figures
from seglib.models import blocks
from seglib.models.library import DeepLabV3Plus


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def zeros(*shape):
    return torch.zeros(1, *shape)


def texts(figure):
    """How often each text stands in a drawing."""
    return Counter(text.get_text() for text in figure.axes[0].texts if text.get_text())


def sizes(figure):
    """How often each size C × H × W stands in a drawing, whatever else stands with it."""
    lines = [line.removeprefix("to ") for text in texts(figure).elements() for line in text.split("\n")]
    return Counter(line for line in lines if " × " in line and line.replace(" × ", "").isdigit())


def size(*shape):
    return " × ".join(map(str, shape))


class Learners(nn.Sequential):
    def __init__(self, before, after):
        super().__init__(
            *(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()),
        )


# --- sizes and names ---


@pytest.mark.parametrize(("before", "after"), [(1, 16), (5, 48)])
def test_a_block_says_what_comes_out_of_each_layer_and_its_parameters(before, after):
    module = blocks.ConvBlock(before, after, blocks.group_norm, extra=blocks.SqueezeExcitation)
    drawn = texts(drawings.block(module, zeros(before, 20, 28), "the title"))
    first, second, norm = 9 * before * after + after, 9 * after * after + after, 2 * after
    excitation = 8 * after + 8 + 8 * after + after  # eight units within
    assert drawn == Counter(
        {
            **dict.fromkeys(["the title", "output (C × H × W)", "parameters", "together", "input"], 1),
            **{"3×3 convolution": 2, "group normalisation": 2, "ReLU": 2, "squeeze-and-excitation": 1},
            **{size(before, 20, 28): 1, size(after, 20, 28): 7},
            **{f"{first:,}": 1, f"{second:,}": 1, str(norm): 2, "0": 2, f"{excitation:,}": 1},
            f"{first + second + 2 * norm + excitation:,}": 1,
        }
    )


def test_chains_in_chains_are_drawn_layer_by_layer():
    relu = nn.ReLU()
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2), relu, nn.Conv2d(4, 6, (1, 3)), relu),
        nn.Sequential(nn.MaxPool2d(2), nn.Dropout2d(), nn.Dropout(), nn.Tanh()),
        nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.Upsample(scale_factor=2, mode="bilinear")
        ),
        nn.Sequential(nn.ConvTranspose2d(6, 3, 2, stride=2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
    )
    axis = drawings.block(module, zeros(2, 16, 20)).axes[0]
    down = [text.get_text() for text in sorted(axis.texts, key=lambda text: -text.get_position()[1]) if text.get_text()]
    shapes = [text for text in down if text[0].isdigit() and " × " in text]
    assert [text.get_text() for text in axis.texts if text.get_position()[0] == 0] == [
        *("input", "3×3 convolution, stride 2, dilation 2", "ReLU", "1×3 convolution", "ReLU", "2×2 max pooling"),
        *("dropout of channels", "dropout", "Tanh", "3×3 depthwise convolution", "bilinear upsampling ×2"),
        *("2×2 transposed convolution", "adaptive average pooling", "global average pooling"),
    ]
    assert shapes == [
        *(size(2, 16, 20), size(4, 8, 10), size(4, 8, 10), size(6, 8, 8), size(6, 8, 8)),
        *([size(6, 4, 4)] * 5 + [size(6, 8, 8), size(3, 16, 16), size(3, 2, 2), size(3, 1, 1)]),
    ]


def test_a_chain_that_does_more_is_refused_and_within_another_is_one_layer():
    with pytest.raises(ValueError, match="layers that follow one another; ASPPPooling has a forward of its own"):
        drawings.block(ASPPPooling(4, 4).eval(), zeros(4, 5, 7))
    drawn = texts(drawings.block(nn.Sequential(ASPPPooling(4, 6)), zeros(4, 5, 7)))
    assert drawn["ASPPPooling"] == drawn[size(6, 5, 7)] == 1


@pytest.mark.parametrize(("before", "after", "shortcut"), [(16, 24, 16 * 24 + 24 + 2 * 24), (16, 16, 0)])
def test_a_residual_block_shows_the_shortcut(before, after, shortcut):
    figure = drawings.residual_block(blocks.ResidualBlock(before, after, blocks.batch_norm), zeros(before, 10, 12))
    drawn = texts(figure)
    first, second = 9 * before * after + after, 9 * after * after + after
    layers = "1×1 convolution\nbatch normalisation" if shortcut else "identity"
    assert drawn[f"shortcut:\n{layers}\n{shortcut} parameters"] == 1
    assert drawn["+"] == 1
    assert drawn[f"{first + second + 4 * after + shortcut:,}"] == 1
    # Of each of five layers, the shortcut, the sum and the last ReLU.
    assert sizes(figure) == Counter([size(before, 10, 12)]) + Counter({size(after, 10, 12): 8})
    boxes = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    (plus_x, plus_y), (x, y) = boxes["+"], next(at for said, at in boxes.items() if said.startswith("shortcut"))
    assert x < plus_x
    assert plus_y < y


@pytest.mark.parametrize(("channels", "gating"), [(64, 128), (48, 16)])
def test_an_attention_gate_has_a_map_of_one_channel(channels, gating):
    gate = blocks.AttentionGate(channels, blocks.group_norm, gating)
    figure = drawings.attention_gate(gate, zeros(channels, 12, 20), zeros(gating, 12, 20))
    # x comes in, goes into W_x and into the product, and comes out; α is computed and drawn.
    expected = {size(channels, 12, 20): 4, size(gating, 12, 20): 1, size(channels // 2, 12, 20): 4, size(1, 12, 20): 2}
    assert sizes(figure) == Counter(expected)
    drawn = texts(figure)
    assert drawn["+"] == drawn["×"] == drawn["sigmoid σ"] == drawn["ReLU"] == 1
    said = [f"{name}: 1×1 convolution\ngroup normalisation" for name in ("$W_x$", "$W_g$", "ψ")]
    assert [drawn[text] for text in said] == [1, 1, 1]
    assert drawn[f"weights α\n{size(1, 12, 20)}"] == 1
    red = [patch for patch in figure.axes[0].patches if colour_of(patch) == figures.RED]
    assert sum(isinstance(patch, Rectangle) for patch in red) == 2  # the sigmoid and a single sheet


def colour_of(patch):
    return matplotlib.colors.to_hex(patch.get_edgecolor()).upper()


@pytest.mark.parametrize(("channels", "inner"), [(64, 8), (320, 20)])
def test_squeeze_and_excitation_goes_through_a_value_a_channel(channels, inner):
    x, vector, hidden = size(channels, 12, 20), size(channels, 1, 1), size(inner, 1, 1)
    module = blocks.SqueezeExcitation(channels)
    # What is squeezed, excited, and its weights; x comes in, goes into the product and comes out.
    expected = Counter({vector: 3, hidden: 1, x: 3})
    figure = drawings.squeeze_excitation(module, zeros(channels, 12, 20))
    assert sizes(figure) == expected
    assert texts(figure)["×"] == 1
    figure = drawings.scse(blocks.ConcurrentSqueezeExcitation(channels), zeros(channels, 12, 20))
    assert sizes(figure) == expected + Counter({size(1, 12, 20): 2})
    assert texts(figure)["×"] == 2
    assert texts(figure)["+"] == 1


@pytest.mark.parametrize("channels", [128, 24])
def test_a_pyramid_shows_its_four_grids(channels):
    figure = drawings.pyramid(blocks.PyramidPooling(channels, blocks.batch_norm), zeros(channels, 9, 12))
    quarter = channels // 4
    expected = Counter({size(channels, 9, 12): 3, size(quarter, 9, 12): 4, size(2 * channels, 9, 12): 1})
    for cells in (1, 2, 3, 6):
        expected += Counter({size(channels, cells, cells): 1, size(quarter, cells, cells): 1})
    assert sizes(figure) == expected
    lines = [len(lines.get_segments()) for lines in figure.axes[0].collections]
    assert sorted(filter(None, lines)) == [1, 1, 2, 2, 5, 5]  # between two, three and six cells, both ways


@pytest.mark.parametrize("separable", [True, False])
def test_aspp_shows_to_scale_how_far_its_filters_reach(separable):
    rates = (2, 5, 9)
    figure = drawings.aspp(ASPP(40, 24, rates, separable, 0.5), zeros(40, 8, 12))
    expected = {size(40, 8, 12): 1, size(24, 8, 12): 6, size(120, 8, 12): 1, size(40, 1, 1): 1}
    assert sizes(figure) == Counter(expected)
    said = "\n\n".join(texts(figure))
    kind = "3×3 depthwise convolution" if separable else "3×3 convolution"
    assert [f"{kind},\ndilation {rate}\n" in said for rate in rates] == [True] * 3
    axis = figure.axes[0]
    dots = [line.get_xydata() for line in axis.lines if line.get_color() == "black"]
    maps = [patch for patch in axis.patches if patch.get_linewidth() == 0.8]
    scale = maps[0].get_width() / 12
    assert [patch.get_height() / scale for patch in maps] == pytest.approx([8] * 5)
    assert [len(places) for places in dots] == [1, 9, 9, 9]
    for places, patch in zip(dots, maps):
        assert places.mean(axis=0) == pytest.approx(patch.get_bbox().get_points().mean(axis=0))
    for places, rate in zip(dots[1:], rates):
        assert np.ptp(places, axis=0) / scale == pytest.approx([2 * rate] * 2)


@pytest.mark.parametrize("channels", [(3, 5), (1, 2)])
def test_deeplab_meets_its_skip_at_a_quarter_of_the_size(channels):
    model = DeepLabV3Plus(*channels)
    figure = drawings.deeplab(model, zeros(channels[0], 64, 96))
    deep, low, logits = size(512, 4, 6), size(64, 16, 24), size(channels[1], 16, 24)  # ResNet-18, strides 16 and 4
    expected = {size(channels[0], 64, 96): 1, deep: 1, low: 1, size(256, 4, 6): 1, size(48, 16, 24): 1}
    expected |= {size(256, 16, 24): 2, size(304, 16, 24): 1, logits: 1, size(channels[1], 64, 96): 1}
    assert sizes(figure) == Counter(expected)
    drawn = texts(figure)
    assert drawn["bilinear upsampling ×4"] == 2
    assert drawn["encoder:\nfirst stages\n(stride 4)"] == drawn["encoder:\nlast stages\n(stride 16)"] == 1
    assert texts(drawings.deeplab(model.network, zeros(channels[0], 64, 96))) == drawn


def test_drawing_leaves_a_network_as_it_was():
    module = Learners(3, 8).train()
    module[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    drawings.block(module, torch.rand(2, 3, 8, 8))
    assert [layer.training for layer in module] == [True, False, True, True, True, True]
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with pytest.raises(RuntimeError):  # what PyTorch says of wrong channels; the hooks are gone all the same
        drawings.block(module, zeros(4, 8, 8))
    assert not any(part._forward_hooks for part in module.modules())
    assert module.training


MODULES = {
    "block": (nn.Sequential, 1),
    "residual_block": (blocks.ResidualBlock, 1),
    "attention_gate": (blocks.AttentionGate, 2),
    "squeeze_excitation": (blocks.SqueezeExcitation, 1),
    "scse": (blocks.ConcurrentSqueezeExcitation, 1),
    "pyramid": (blocks.PyramidPooling, 1),
    "aspp": (ASPP, 1),
    "deeplab": (None, 1),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_wrong_module_is_named(name):
    kind, inputs = MODULES[name]
    wanted = kind.__name__ if kind else "DeepLabV3Plus"
    with pytest.raises(TypeError, match=f"expected a module of type {wanted}, got Conv2d"):
        getattr(drawings, name)(nn.Conv2d(1, 1, 1), *[zeros(1, 4, 6)] * inputs)


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), got \(3, 8, 8\)"):
        drawings.block(Learners(3, 8), torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), got 'photograph'"):
        drawings.block(Learners(3, 8), "photograph")
    for k in (1, 9):
        with pytest.raises(ValueError, match=f"expected 2 to 8 folds, got {k}"):
            drawings.folds(k)


# --- procedures ---


@pytest.mark.parametrize("k", [2, 5, 8])
def test_each_part_is_held_out_once(k):
    axis = drawings.folds(k).axes[0]
    places = {text.get_text(): text.get_position() for text in axis.texts}
    held = [text.get_position() for text in axis.texts if text.get_text() == "held out"]
    crossings = [(places[f"part {n + 1}"][0], places[f"fold {n + 1}"][1]) for n in range(k)]
    np.testing.assert_allclose(sorted(held), crossings)
    cells = [patch for patch in axis.patches if patch.get_height() == 0.34 and patch.get_width() < 1]
    assert Counter(map(colour_of, cells)) == {figures.ORANGE: k, figures.BLUE: k * (k - 1)}
    orange = [patch for patch in cells if colour_of(patch) == figures.ORANGE]
    np.testing.assert_allclose([np.add(patch.get_xy(), (patch.get_width() / 2, 0.17)) for patch in orange], crossings)
    said = " ".join(places).replace("\n", " ")
    assert f"mean of the {k} probabilities" in said
    assert all(f"network {n + 1}" in places and f"$p_{n + 1}$" in places for n in range(k))
    measured = " ".join(texts(drawings.folds(k, ensemble=False))).replace("\n", " ")
    assert f"mean of the {k} scores" in measured
    assert f"score on part {k}" in measured
    assert "$p" not in measured


def test_the_loop_of_strokes_comes_back_to_the_network():
    axis = drawings.strokes_loop().axes[0]
    places = {text.get_text(): text.get_position() for text in axis.texts}
    boxes = {name: boxes_around(axis, places[name])[0] for name in ("network", "user compares mask\nand photograph")}
    correction = max(axis.patches, key=lambda patch: -patch.get_y()).get_bbox()
    ways = [(line.get_xydata()[0], line.get_xydata()[-1]) for line in axis.lines if len(line.get_xdata()) > 1]

    def joined(start, end):
        return any(near(start, first) and near(end, last) for first, last in ways)

    network, user = boxes.values()
    mask = next(image for image in axis.images if image.get_array().ndim == 2).get_extent()
    mask = Bbox.from_extents(mask[0], mask[2], mask[1], mask[3])
    assert joined(network, mask)
    assert joined(mask, user)
    assert joined(user, correction)
    assert joined(correction, network)
    assert not joined(network, user)


def boxes_around(axis, point):
    boxes = [patch.get_bbox() for patch in axis.patches if isinstance(patch, Rectangle)]
    return [box for box in boxes if box.contains(*point)]


def near(box, point):
    return box.padded(0.06).contains(*point)


# --- legibility ---

DRAWN = {
    "aspp": lambda: drawings.aspp(ASPP(512, 256, (12, 24, 36), True, 0.5), zeros(512, 16, 24)),
    "attention_gate": lambda: drawings.attention_gate(
        blocks.AttentionGate(256, blocks.group_norm, 512), zeros(256, 128, 160), zeros(512, 128, 160)
    ),
    "block": lambda: drawings.block(Learners(1, 16), zeros(1, 48, 64), "One level of the encoder, and a long title"),
    "deeplab": lambda: drawings.deeplab(DeepLabV3Plus(3, 5), zeros(3, 128, 192)),
    "folds": lambda: drawings.folds(8),
    "pyramid": lambda: drawings.pyramid(blocks.PyramidPooling(256, blocks.group_norm), zeros(256, 16, 24)),
    "residual_block": lambda: drawings.residual_block(
        blocks.ResidualBlock(64, 128, blocks.batch_norm), zeros(64, 128, 160)
    ),
    "scse": lambda: drawings.scse(blocks.ConcurrentSqueezeExcitation(512), zeros(512, 32, 48)),
    "squeeze_excitation": lambda: drawings.squeeze_excitation(blocks.SqueezeExcitation(64), zeros(64, 32, 48)),
    "strokes_loop": lambda: drawings.strokes_loop(),
}
MORE = {
    "identity": lambda: drawings.residual_block(blocks.ResidualBlock(32, 32, blocks.group_norm), zeros(32, 64, 96)),
    "ensembles of 2": lambda: drawings.folds(2),
    "5 scores": lambda: drawings.folds(5, ensemble=False),
    "8 scores": lambda: drawings.folds(8, ensemble=False),
    "near filters": lambda: drawings.aspp(ASPP(64, 32, (1, 2, 3), False, 0.5), zeros(64, 32, 24)),
    "three levels": lambda: drawings.block(
        blocks.ConvBlock(3, 32, blocks.group_norm, convolutions=3, extra=blocks.SqueezeExcitation), zeros(3, 256, 256)
    ),
}


def test_every_function_that_draws_is_drawn():
    functions = inspect.getmembers(drawings, inspect.isfunction)
    own = [name for name, f in functions if f.__module__ == drawings.__name__ and not name.startswith("_")]
    assert own == list(DRAWN)


def overlap(a, b, by=0.0):
    """Whether two boxes share more than `by` inches both ways."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > by and min(a.y1, b.y1) - max(a.y0, b.y0) > by


@pytest.mark.parametrize("dpi", [72, 100])
@pytest.mark.parametrize("name", [*DRAWN, *MORE])
def test_nothing_stands_on_what_is_to_be_read(name, dpi):
    figure = (DRAWN | MORE)[name]()
    figure.set_dpi(dpi)
    axis = figure.axes[0]
    assert figure.get_size_inches()[0] <= figures.WIDEST
    shown = [text for text in axis.texts if text.get_text()]
    assert min(text.get_fontsize() for text in shown) >= 8
    inches = axis.transData.inverted()
    written = [(text.get_text(), text.get_window_extent().transformed(inches)) for text in shown]
    page = Bbox.from_extents(axis.get_xlim()[0], axis.get_ylim()[0], axis.get_xlim()[1], axis.get_ylim()[1])
    assert [text for text, box in written if not (page.contains(*box.min) and page.contains(*box.max))] == []
    assert [(a, b) for (a, one), (b, other) in combinations(written, 2) if overlap(one, other)] == []
    boxes = [patch.get_window_extent().transformed(inches) for patch in axis.patches]
    assert len(boxes) > 4
    for text, box in written:  # each is within a box or outside
        assert all(not overlap(box, b) or (b.contains(*box.min) and b.contains(*box.max)) for b in boxes), text
    ways = [line.get_xydata() for line in axis.lines if len(line.get_xdata()) > 1 and line.get_linestyle() != "None"]
    parts = [Bbox([np.minimum(a, b), np.maximum(a, b)]) for way in ways for a, b in pairwise(way)]
    assert all(min(part.width, part.height) < 1e-9 for part in parts)  # across or down, and so each is its own box
    filled = [patch for patch in axis.patches if isinstance(patch, Rectangle) and patch.get_facecolor()[3]]
    solid = [patch.get_bbox().padded(-0.06) for patch in filled]  # arrows may end at their borders
    for part in parts:
        assert [text for text, box in written if overlap(part.padded(0.005), box)] == []
        assert not any(overlap(part.padded(0.001), box) for box in solid)
    across, down = ([part for part in parts if getattr(part, side) < 1e-9] for side in ("height", "width"))
    crossing = [
        (a, b) for a in across for b in down if a.x0 + 1e-6 < b.x0 < a.x1 - 1e-6 and b.y0 + 1e-6 < a.y0 < b.y1 - 1e-6
    ]
    assert crossing == []
    dots = [line.get_xydata() for line in axis.lines if line.get_linestyle() == "None"]
    for places in dots:
        assert [text for text, box in written for place in places if box.padded(0.02).contains(*place)] == []
