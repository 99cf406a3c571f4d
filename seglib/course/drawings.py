"""Drawings of architectures and procedures. Each function returns a Matplotlib figure and shows nothing itself.

Sizes are what a module's parts return when it is run once; none is typed. Colours are those of `figures`: blue for
convolutions and encoders, green for upsampling and decoders, red for what weights features, orange for outputs. The
words say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise, zip_longest
from textwrap import fill
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.textpath import TextPath
from torch import Tensor, nn

from ..models import blocks
from .figures import BLUE, GREEN, ORANGE, RED, strokes

GREY, LINE = "0.5", "0.25"
LETTERS = 9  # points
Shape = tuple[int, ...]

# --- what is drawn with; the unit is the inch, so that boxes can be made for their letters ---


def _extent(text: str, letters: float = LETTERS) -> tuple[float, float]:
    """Width and height of text; on a screen, letters are up to 6 % wider than their outlines."""
    lines = text.split("\n")
    outlines = [TextPath((0, 0), line, size=letters).get_extents() for line in lines if line]
    return 1.06 * max((outline.width for outline in outlines), default=0) / 72, 1.35 * len(lines) * letters / 72


def _label(said: str | Shape) -> str:
    return said if isinstance(said, str) else " × ".join(map(str, said))


class _Box(NamedTuple):
    """A rectangle around (x, y); a point, if nothing else is said."""

    x: float
    y: float
    width: float = 0
    height: float = 0

    def side(self, right: int, up: int) -> tuple[float, float]:
        """The middle of a side: (1, 0) is the right one, (0, -1) the lower one; of a corner, (1, 1)."""
        return self.x + right * self.width / 2, self.y + up * self.height / 2


class _Step(NamedTuple):
    """A box to come: its text and the size of what comes out. `maps` are drawn as such, not as a box."""

    text: str
    colour: str
    out: Shape = ()
    maps: bool = False


class _Sheet:
    """A drawing, at the end as large as what was put on it."""

    def __init__(self):
        self.figure = plt.figure()
        self.axis = self.figure.add_axes((0, 0, 1, 1))
        self.covered: list[_Box] = []

    def finish(self, title: str = "") -> Figure:
        low = np.min([box.side(-1, -1) for box in self.covered], axis=0) - 0.08
        high = np.max([box.side(1, 1) for box in self.covered], axis=0) + 0.08
        if title:
            self.text((low[0] + high[0]) / 2, high[1] + 0.15, title, letters=LETTERS + 2)
            return self.finish()  # a title may be wider than all the rest
        self.figure.set_size_inches(high - low)
        self.axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        self.axis.axis("off")
        return self.figure

    def text(self, x: float, y: float, said: str | Shape, align="center", *, letters=LETTERS, **style) -> None:
        width, height = _extent(_label(said), letters)
        self.covered.append(_Box(x + {"left": width / 2, "right": -width / 2, "center": 0}[align], y, width, height))
        style |= {"ha": align, "va": "center", "zorder": 5, "linespacing": 1.2, "fontsize": letters}
        self.axis.text(x, y, _label(said), **style)

    def frame(self, box: _Box, colour: str, **style) -> _Box:
        """An empty box."""
        self.covered.append(box)
        pale = [0.82 + 0.18 * part for part in to_rgb(colour)]
        style = {"facecolor": pale, "edgecolor": colour, "lw": 1.2, "zorder": 3} | style
        self.axis.add_patch(Rectangle(box.side(-1, -1), box.width, box.height, **style))
        return box

    def box(self, x: float, y: float, text: str, colour: str, width=0.0, height=0.0, rotation=0) -> _Box:
        """A box as large as its text, or larger; a circle around the single sign of a sum or product."""
        if len(text) == 1:
            self.axis.add_patch(Circle((x, y), 0.14, facecolor="white", edgecolor=colour, lw=1.2, zorder=3))
            self.text(x, y - 0.01, text, letters=LETTERS + 3)
            return _Box(x, y, 0.28, 0.28)
        self.text(x, y, text, rotation=rotation)
        across, up = np.add(_extent(text)[:: -1 if rotation else 1], (0.18, 0.14))
        return self.frame(_Box(x, y, max(width, across), max(height, up)), colour)

    def arrow(self, start: _Box, end: _Box, said: str | Shape = "", steep=False, ls="-", head=True) -> None:
        """An arrow, across and then up or down, or the other way round (`steep`). What is said of it stands above or
        right of its longest part."""
        right, up = np.sign(np.subtract(end[:2], start[:2]))
        points = [start.side(right, up), end.side(-right, -up)]
        if right and up:
            around = [start.side(0, up), (start.x, end.y), end.side(-right, 0)]
            points = around if steep else [start.side(right, 0), (end.x, start.y), end.side(0, -up)]
        (xa, ya), (xb, yb) = max(pairwise(points), key=lambda part: np.hypot(*np.subtract(*part)))
        if said and ya == yb:
            self.text((xa + xb) / 2, ya + 0.1, said)
        elif said:
            self.text(xa + 0.08, (ya + yb) / 2, said, "left")
        if head:  # a triangle, whose tip is the end
            way = np.sign(np.subtract(points[-1], points[-2]))
            points[-1] = tuple(points[-1] - 0.05 * way)
            turned = np.degrees(np.arctan2(way[1], way[0])) - 90
            self.axis.plot(*points[-1], marker=(3, 0, turned), color=LINE, ms=7, zorder=2)
        self.axis.plot(*zip(*points), color=LINE, lw=1.2, ls=ls, zorder=2)

    def link(self, *boxes: _Box) -> None:
        for before, after in pairwise(boxes):
            self.arrow(before, after)

    def fork(self, start: _Box, x: float, said: str | Shape = "") -> _Box:
        """A line to the right, and a dot where it divides."""
        self.arrow(start, _Box(x, start.y), said, head=False)
        self.axis.plot([x], [start.y], "o", color=LINE, ms=4, zorder=3)
        return _Box(x, start.y)

    def maps(self, x: float, y: float, step: _Step, cells: bool = False, beside: bool = False) -> _Box:
        """Feature maps: a pile of sheets, a single sheet if there is one channel, a column of cells if they are 1×1.

        `cells` shows every place instead. Name and size stand below, or `beside` on the right."""
        channels, rows, columns = step.out
        wide, high = (0.52 * side / max(rows, columns) for side in (columns, rows))
        pile = 3 if channels > 1 else 1
        if rows == columns == 1 and not cells:  # the channels are what there is to see
            wide, high, rows, pile = 0.14, 0.7, min(channels, 5), 1
        elif not cells:
            rows = columns = 1
        for shift in 0.05 * (np.arange(pile)[::-1] - pile // 2):
            front = self.frame(_Box(x + shift, y + shift, wide, high), step.colour)
        (left, low), (right, top) = front.side(-1, -1), front.side(1, 1)
        style = {"color": step.colour, "lw": 0.8, "zorder": 3}
        self.axis.hlines(np.linspace(low, top, rows + 1)[1:-1], left, right, **style)
        self.axis.vlines(np.linspace(left, right, columns + 1)[1:-1], low, top, **style)
        box = _Box(x, y, wide + 0.05 * (pile - 1), high + 0.05 * (pile - 1))
        said = f"{step.text}\n{_label(step.out)}".strip()
        place = (box.side(1, 0)[0] + 0.08, y) if beside else (x, box.side(0, -1)[1] - 0.05 - _extent(said)[1] / 2)
        self.text(*place, said, "left" if beside else "center")
        return box

    def row(self, start: _Box, size: Shape, *steps: _Step, at: Sequence[float] = (), up: bool = False) -> list[_Box]:
        """Boxes from left to right, the first ones where `at` says, or from below `up`. Arrows say the size of what
        goes along, but not to maps, which say it themselves; `size` is what leaves `start`."""
        boxes, edge = [], start.side(1, 0)[0]
        for step, x in zip_longest(steps, at):
            said = "" if step.maps else _label(size)
            text, pad = (f"{step.text}\n{_label(step.out)}", 0.06) if step.maps else (step.text, 0.18)
            wide, high = np.add(_extent(text), (pad, 0.14))
            gap = _extent(said)[0] + 0.15 if said else 0.12 if step.maps else 0.25
            x = start.x if up else x or edge + gap + wide / 2
            y = start.side(0, 1)[1] + 0.36 + high / 2 if up else start.y
            box = self.maps(x, y, step, beside=up) if step.maps else self.box(x, y, step.text, step.colour)
            self.arrow(start, box, said)
            boxes.append(box)
            start, size, edge = box, () if step.maps else step.out, x + wide / 2
        return boxes


# --- what is known of a module ---


def _run(module: nn.Module, kind: type, *inputs: Tensor) -> tuple[dict, dict]:
    """Runs a module of this kind once. Returns the shape (C, H, W) of what came into each of its parts, and a list of
    those that it returned, one a call; for an encoder's features, a list of shapes."""
    if not isinstance(module, kind):
        raise TypeError(f"expected a module of type {kind.__name__}, got {type(module).__name__}")
    for x in inputs:
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise ValueError(f"expected inputs of shape (N, C, H, W), got {tuple(getattr(x, 'shape', ())) or x!r}")
    into, out = {}, {part: [] for part in module.modules()}

    def shape(value):
        return tuple(value.shape[1:]) if isinstance(value, Tensor) else [shape(part) for part in value]

    def look(part, given, returned):
        into[part] = shape(given[0])
        out[part].append(shape(returned))

    with torch.no_grad(), ExitStack() as after:
        for part in out:
            after.callback(setattr, part, "training", part.training)  # a network in mid-training goes on training
            after.callback(part.register_forward_hook(look).remove)
        module.eval()(*inputs)
    return into, out


def _count(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


# What layers are called, by their classes' names, so that a learner's own squeeze-and-excitation is called so as well.
KNOWN = """
Conv2d: convolution, ConvTranspose2d: transposed convolution, MaxPool2d: max pooling, AvgPool2d: average pooling,
AdaptiveAvgPool2d: global average pooling, BatchNorm2d: batch normalisation, GroupNorm: group normalisation,
Sigmoid: sigmoid σ, Dropout: dropout, Dropout2d: dropout of channels, Identity: identity,
PyramidPooling: pyramid pooling, SqueezeExcitation: squeeze-and-excitation, ConcurrentSqueezeExcitation: scSE,
ResidualBlock: residual block
"""
NAMES = dict(pair.split(": ") for pair in KNOWN.strip().replace(",\n", ", ").split(", "))


def _name(layer: nn.Module) -> str:
    """What a layer is called; its class where that is not known."""
    if isinstance(layer, nn.Upsample):
        return f"{layer.mode} upsampling" + (f" ×{layer.scale_factor:g}" if layer.scale_factor else "")
    kind = next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in NAMES), "")
    name, size = NAMES.get(kind, type(layer).__name__), getattr(layer, "kernel_size", None)
    if kind == "AdaptiveAvgPool2d" and layer.output_size not in (1, (1, 1)):
        name = "adaptive average pooling"
    if 1 < getattr(layer, "groups", 0) == layer.in_channels:
        name = f"depthwise {name}"
    if size:
        name = f"{size}×{size} {name}" if isinstance(size, int) else f"{size[0]}×{size[1]} {name}"
    if kind == "Conv2d":  # of poolings and transposed convolutions, the stride is the kernel's size
        more = {"stride": layer.stride[0], "dilation": layer.dilation[0]}
        name += "".join(f", {what} {number}" for what, number in more.items() if number > 1)
    return name


def _colour(layer: nn.Module) -> str:
    if isinstance(layer, (nn.Upsample, nn.ConvTranspose2d)):
        return GREEN
    if _name(layer) in ("sigmoid σ", "squeeze-and-excitation", "scSE"):
        return RED
    return BLUE if any(isinstance(part, nn.Conv2d) for part in layer.modules()) else GREY


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a chain, and of chains in it; of a module that does something else, itself."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return [layer for part in module for layer in _layers(part)]
    return [module]


def _names(*modules: nn.Module, narrow: bool = False) -> str:
    """The names of layers, one a line; `narrow` puts a word or two in a line."""
    names = [_name(layer) for module in modules for layer in _layers(module)]
    return "\n".join(fill(name, 14, break_on_hyphens=False) if narrow else name for name in names)


# --- the drawings ---


def _chain(sheet: _Sheet, module: nn.Module, layers: nn.Module, size: Shape, out: dict, *end: _Step) -> list[_Box]:
    """Layers of a module from the top down; right of them the size of what each returns, and parameters."""
    calls = {layer: iter(out[layer]) for layer in _layers(layers)}  # a layer may be called twice
    rows = [(_Step("input", GREY, size), "")]
    rows += [(_Step(_name(f), _colour(f), next(calls[f])), _count(f)) for f in _layers(layers)]
    rows += [(step, "0") for step in end]
    heads = "output (C × H × W)", "parameters"
    width = max(_extent(step.text)[0] for step, _ in rows) + 0.3
    middle = width / 2 + 0.3 + _extent(heads[0])[0] / 2
    right = middle + 0.3 + _extent(heads[0])[0] / 2 + _extent(heads[1])[0]
    boxes = [sheet.box(0, -0.6 * place, step.text, step.colour, width) for place, (step, _) in enumerate(rows)]
    last = boxes[-1].y - 0.45
    table = [(0.36, *heads), *((box.y, step.out, count) for box, (step, count) in zip(boxes, rows))]
    for y, left, number in [*table, (last, "together", _count(module))]:
        sheet.text(middle, y, left, color="0.4" if y > 0 else "black")
        sheet.text(right, y, number, "right", color="0.4" if y > 0 else "black")
    sheet.axis.hlines(last + 0.17, middle - _extent(heads[0])[0] / 2, right, color=LINE, lw=0.8)
    sheet.link(*boxes)
    return boxes


def block(module: nn.Sequential, x: Tensor, title: str = "") -> Figure:
    """A chain of layers with an input x (N, C, H, W), from the top down: what each returns, and its parameters.

    Chains in the chain are drawn layer by layer.

    Raises:
        ValueError: the module has a `forward` of its own, which need not be a chain.
    """
    (_, out), sheet = _run(module, nn.Sequential, x), _Sheet()
    if type(module).forward is not nn.Sequential.forward:
        raise ValueError(f"expected layers that follow one another; {type(module).__name__} has a forward of its own")
    _chain(sheet, module, module, tuple(x.shape[1:]), out)
    return sheet.finish(title)


def residual_block(module: blocks.ResidualBlock, x: Tensor) -> Figure:
    """A residual block with an input x (N, C, H, W), from the top down: its layers, the shortcut around them, the sum
    and the last ReLU."""
    (_, out), sheet = _run(module, blocks.ResidualBlock, x), _Sheet()
    end = _Step("+", LINE, out[module.residual][0]), _Step("ReLU", GREY, out[module][0])
    first, *_, total, _ = _chain(sheet, module, module.residual, tuple(x.shape[1:]), out, *end)
    around = f"shortcut:\n{_names(module.shortcut)}\n{_count(module.shortcut)} parameters"
    size = out[module.shortcut][0]
    left = first.side(-1, 0)[0] - max(0.3 + _extent(around)[0] / 2, _extent(_label(size))[0] + 0.2 - first.width / 2)
    way = sheet.box(left, (first.y + total.y) / 2, around, _colour(module.shortcut))
    sheet.arrow(sheet.fork(_Box(0, first.side(0, -1)[1] - 0.08), 0), way)
    sheet.arrow(way, total, steep=True)
    sheet.text((left + total.side(-1, 0)[0]) / 2, total.y + 0.1, size)
    return sheet.finish()


def attention_gate(gate: blocks.AttentionGate, x: Tensor, g: Tensor) -> Figure:
    """An additive attention gate: a skip's features x (N, C, H, W) and the gating signal g (N, G, H, W) give a map α of
    one weight a place, with which x is multiplied."""
    (_, out), sheet = _run(gate, blocks.AttentionGate, x, g), _Sheet()
    size, inner = tuple(x.shape[1:]), out[gate.w_x][0]
    texts = [f"$W_{name}$: {_names(part)}" for name, part in (("x", gate.w_x), ("g", gate.w_g))]
    column = 0.92 + max(_extent(text)[0] for text in texts) / 2
    skip = sheet.maps(0, 3.0, _Step("x: skip", BLUE, size))
    signal = sheet.maps(0, 0, _Step("g: gating signal", GREEN, tuple(g.shape[1:])))
    upper, lower = (sheet.box(column, y, text, BLUE) for y, text in zip((2.1, 0), texts))
    total = sheet.box(column, 1.05, "+", LINE)
    fork = sheet.fork(skip, column)
    sheet.arrow(fork, upper, size)
    sheet.arrow(upper, total, inner)
    sheet.arrow(signal, lower)
    sheet.arrow(lower, total, out[gate.w_g][0])
    *layers, sigmoid = gate.psi
    psi = _Step(f"ψ: {_names(*layers)}", BLUE, out[layers[-1]][0])
    *_, last = sheet.row(total, inner, _Step("ReLU", GREY, inner), psi, _Step(_name(sigmoid), RED))
    alpha = sheet.maps(last.x, 1.95, _Step("weights α", RED, out[gate.psi][0]), beside=True)
    product = sheet.box(last.x, skip.y, "×", RED)
    sheet.link(last, alpha, product)
    sheet.arrow(fork, product, size)
    sheet.row(product, (), _Step("α · x", ORANGE, out[gate][0], maps=True))
    return sheet.finish()


def _channel_weights(sheet: _Sheet, module: blocks.SqueezeExcitation, out: dict, start: _Box) -> list[_Box]:
    """Channels' weights, computed in a row above `start`; returns the places of the sigmoid, the weights and ×."""
    pool, first, relu, second, sigmoid = module.excite
    pooled = sheet.box(start.x, start.y + 1.25, "squeeze:\n" + _name(pool).replace(" ", "\n"), GREY)
    sheet.arrow(start, pooled)
    inner = _Step(f"$W_1$: {_names(first, relu, narrow=True)}", BLUE, out[relu][0])
    outer = _Step(f"$W_2$: {_names(second, narrow=True)}", BLUE, out[second][0])
    return sheet.row(pooled, out[pool][0], inner, outer, *_weighing(sigmoid, out))[-3:]


def _weighing(sigmoid: nn.Module, out: dict) -> list[_Step]:
    return [
        _Step(_name(sigmoid).replace(" ", "\n"), RED),
        _Step("weights", RED, out[sigmoid][0], maps=True),
        _Step("×", RED),
    ]


def squeeze_excitation(module: blocks.SqueezeExcitation, x: Tensor) -> Figure:
    """Squeeze-and-excitation of an input x (N, C, H, W): a weight a channel, computed from all channels' means."""
    (_, out), sheet = _run(module, blocks.SqueezeExcitation, x), _Sheet()
    fork = sheet.fork(sheet.maps(0, 0, _Step("x", BLUE, tuple(x.shape[1:]))), 0.62)
    *_, product = _channel_weights(sheet, module, out, fork)
    sheet.arrow(fork, product, tuple(x.shape[1:]))
    sheet.row(product, (), _Step("weighted x", ORANGE, out[module][0], maps=True))
    return sheet.finish()


def scse(module: blocks.ConcurrentSqueezeExcitation, x: Tensor) -> Figure:
    """Concurrent squeeze-and-excitation (scSE) of an input x (N, C, H, W): above, x times a weight a channel; below, x
    times a weight a place; then the sum."""
    (_, out), sheet = _run(module, blocks.ConcurrentSqueezeExcitation, x), _Sheet()
    fork = sheet.fork(sheet.maps(0, 0, _Step("x", BLUE, tuple(x.shape[1:]))), 0.62)
    *columns, above = _channel_weights(sheet, module.channels, out, fork)
    convolution, sigmoid = module.places
    first = sheet.box(fork.x, -1.25, _names(convolution, narrow=True), BLUE)
    sheet.arrow(fork, first)
    places = [box.x for box in (*columns, above)]
    *_, below = sheet.row(first, out[convolution][0], *_weighing(sigmoid, out), at=places)
    second, total = sheet.fork(fork, above.x, tuple(x.shape[1:])), sheet.box(above.x + 0.4, 0, "+", LINE)
    for product in (above, below):
        sheet.link(second, product, total)
    sheet.row(total, (), _Step("weighted x", ORANGE, out[module][0], maps=True))
    return sheet.finish()


def _merge(sheet: _Sheet, ends: Sequence[tuple[_Box, Shape]], joined: Shape, last: nn.Module, out: Shape) -> None:
    """Joins branches, one an inch, each with its last box and size, and takes them through the last layers."""
    left = max(box.side(1, 0)[0] + _extent(_label(size))[0] for box, size in ends) + 0.2
    rows = len(ends) - 1
    join = sheet.box(left + 0.16, -rows / 2, "concatenation", GREY, 0.32, rows + 0.5, rotation=90)
    for place, (box, size) in enumerate(ends):
        sheet.arrow(box, _Box(join.x, -place, join.width), size, steep=True)
    sheet.row(join, joined, _Step(_names(last, narrow=True), BLUE), _Step("result", ORANGE, out, maps=True))


def pyramid(module: blocks.PyramidPooling, x: Tensor) -> Figure:
    """Pyramid pooling of an input x (N, C, H, W): averaged over grids of cells, each brought back to full size, and all
    joined with x."""
    (into, out), sheet = _run(module, blocks.PyramidPooling, x), _Sheet()
    size, joined, ends = tuple(x.shape[1:]), into[module.join], []
    fork = sheet.fork(sheet.maps(0, -2, _Step("x", BLUE, size)), 0.62)
    sheet.text(1.25, 0.5, "average pooling")
    for place, (average, *layers) in enumerate(module.branches):
        means = sheet.maps(1.25, -place, _Step("", BLUE, out[average][0]), cells=True)
        sheet.arrow(fork, means, steep=True)
        narrow = out[layers[-1]][0]
        steps = _Step(_names(*layers, narrow=True), BLUE, narrow), _Step("bilinear\nupsampling", GREEN)
        ends.append((sheet.row(means, (), *steps)[-1], (narrow[0], *joined[1:])))
    _merge(sheet, [*ends, (fork, size)], joined, module.join, out[module][0])
    return sheet.finish()


def _field(sheet: _Sheet, x: float, y: float, layer: nn.Module, size: Shape, scale: float) -> None:
    """The places that a filter reads, as dots to scale over the feature map; for a mean, all of the map."""
    reads = isinstance(layer, nn.Conv2d)
    box = _Box(x, y, scale * size[2], scale * size[1])
    sheet.frame(box, LINE, facecolor="white" if reads else LINE, lw=0.8, zorder=4)
    if reads:
        steps = [rate * (np.arange(n) - n // 2) for rate, n in zip(layer.dilation, layer.kernel_size)]
        down, across = (scale * places.ravel() for places in np.meshgrid(*steps))
        sheet.axis.plot(x + across, y + down, "o", color="black", ms=3, zorder=5)


def aspp(module: nn.Module, x: Tensor) -> Figure:
    """Atrous spatial pyramid pooling of an input x (N, C, H, W): filters that reach ever farther and the mean of all,
    joined and projected; in each box the places that its filter reads, to scale. The module is an `ASPP` of
    segmentation_models_pytorch's DeepLabV3 or DeepLabV3+."""
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP  # takes seconds, and not all need it

    (into, out), sheet = _run(module, ASPP, x), _Sheet()
    size, texts, ends = tuple(x.shape[1:]), [], []
    first = [next(part for part in branch.modules() if not list(part.children())) for branch in module.convs]
    for layer, branch in zip(first, module.convs):
        *names, norm, relu = _names(*branch).replace(", dilation", ",\ndilation").split("\n")
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            names.insert(1, f"to {_label(out[layer][0])}")
            relu += "\nbilinear upsampling"
        texts.append("\n".join([*names, f"{norm}, {relu}"]))
    reach = max(1 + 2 * layer.dilation[0] for layer in first if isinstance(layer, nn.Conv2d))
    width = max(_extent(text)[0] for text in texts) + 1.0
    fork = sheet.fork(sheet.maps(0, -2, _Step("x", BLUE, size)), 0.62)
    for place, (branch, layer, text) in enumerate(zip(module.convs, first, texts)):
        box = sheet.frame(_Box(0.85 + width / 2, -place, width, 0.9), _colour(layer))
        _field(sheet, box.side(-1, 0)[0] + 0.4, box.y, layer, size, 0.68 / max(reach, *size[1:]))
        sheet.text(box.x + 0.4, box.y, text)
        sheet.arrow(fork, box, steep=True)
        ends.append((box, out[branch][0]))
    note = "dots: where a filter reads, to scale with the feature map (rectangle; black: its mean); outside are zeros"
    sheet.text(-0.3, -4.65, note, "left", color="0.3")
    _merge(sheet, ends, into[module.project], module.project, out[module][0])
    return sheet.finish()


def deeplab(model: nn.Module, image: Tensor) -> Figure:
    """DeepLabV3+ with an image (N, C, H, W) as a U: down the encoder to the ASPP, up in two steps, one low-level skip.
    The model is a `seglib.models.library.DeepLabV3Plus` or segmentation_models_pytorch's own."""
    from segmentation_models_pytorch import DeepLabV3Plus

    network = getattr(model, "network", model)
    into, calls = _run(network, DeepLabV3Plus, image)
    sheet, decoder, head = _Sheet(), network.decoder, network.segmentation_head
    out = {part: shapes[0] for part, shapes in calls.items() if shapes}
    low, deep = out[network.encoder][2], out[network.encoder][-1]
    first, last = (f"(stride {into[network.encoder][2] // shape[2]})" for shape in (low, deep))
    up = sheet.box(6.4, 0.85, _name(decoder.up), GREEN)
    steps = [
        _Step("concatenation", GREY, into[decoder.block2]),
        _Step(_names(decoder.block2), GREEN, out[decoder.block2]),
        _Step(_names(head[0]), ORANGE, out[head[0]]),
        _Step(_names(head[1]), GREEN),
        _Step("logits", ORANGE, out[network], maps=True),
    ]
    join, *_, logits = sheet.row(up, out[decoder.up], *steps, up=True)
    given = sheet.maps(0, logits.y, _Step("image", GREY, tuple(image.shape[1:])), beside=True)
    shallow = sheet.box(0, (given.y + join.y) / 2, f"encoder:\nfirst stages\n{first}", BLUE, 1.3, 1.9)
    rest = sheet.box(0, up.y, f"encoder:\nlast stages\n{last}", BLUE, 1.3)
    pools = sheet.box(3, 0, _names(*decoder.aspp), BLUE)
    skip = sheet.box(3, join.y, f"low-level skip:\n{_names(decoder.block1)}", GREEN)
    sheet.link(given, shallow, rest)
    sheet.arrow(rest, pools, deep, steep=True)
    sheet.arrow(pools, up, out[decoder.aspp])
    sheet.arrow(sheet.fork(_Box(0, join.y), 0), skip, low, ls="--")
    sheet.arrow(skip, join, out[decoder.block1], ls="--")
    return sheet.finish()


def folds(k: int, ensemble: bool = True) -> Figure:
    """k-fold cross-validation, 2 to 8 folds: in each row another part is held out, and a network is trained on the
    rest. On the right the networks segment a new image together (`ensemble`), or are measured on what was held out."""
    if not 2 <= k <= 8:
        raise ValueError(f"expected 2 to 8 folds, got {k}")
    label, what = ("$p_{}$", "probabilities") if ensemble else ("score on part {}", "scores")
    sheet, wide, step, middle, column = _Sheet(), 0.6, -0.5, -0.25 * (k - 1), 0.6 * k + 0.8
    end = column + 1.1 + _extent(label.format(k))[0]
    what = f"mean{' ' if k > 4 else chr(10)}of the {k} {what}"
    mean = sheet.box(end, middle, what, GREEN, 0.3, 0.5 * k, rotation=90)
    for row in range(k):
        y = step * row
        sheet.text(-0.15, y, f"fold {row + 1}", "right")
        sheet.text(wide * (row + 0.5), 0.32, f"part {row + 1}", color="0.3")
        for part in range(k):
            sheet.frame(
                _Box(wide * (part + 0.5), y, wide, 0.34), ORANGE if part == row else BLUE, zorder=3 + (part == row)
            )
        sheet.text(wide * (row + 0.5), y, "held out")
        network = sheet.box(column, y, f"network {row + 1}", BLUE, 0.9)
        sheet.arrow(_Box(wide * k, y), network)
        sheet.arrow(network, _Box(end, y, mean.width), label.format(row + 1))
    sheet.text(
        0,
        min(step * k + 0.06, mean.side(0, -1)[1] - 0.13),
        "held out: measures the network; the other parts train it",
        "left",
        color="0.3",
    )
    if ensemble:
        networks = sheet.frame(_Box(column, middle, 1.1, 0.5 * k + 0.1), GREY, facecolor="none", ls="--")
        sheet.arrow(sheet.box(column, 0.9, "new image", GREY), networks)
        sheet.row(mean, (), _Step("threshold", GREY), _Step("mask", ORANGE))
    else:
        sheet.row(mean, (), _Step("estimate of\nthe quality on\nnew images", ORANGE))
    return sheet.finish()


def strokes_loop() -> Figure:
    """Interactive segmentation as a loop: from a photograph and first strokes the network draws a mask, the user
    corrects its largest error by a stroke, and the network draws the next mask."""
    sheet, (down, across) = _Sheet(), np.mgrid[:240, :320] / 4
    body, arm = (np.hypot((across - x) / a, (down - y) / b) < 1 for x, y, a, b in ((34, 32, 22, 17), (62, 20, 12, 6)))
    photograph = np.uint8((np.where(body | arm, 190, 90) + down / 3)[..., None] * np.array([0.85, 1, 0.75]))
    hint, correction = np.zeros((2, *body.shape), np.int8)
    hint[124:133, 88:192], hint[20:29, 32:280], correction[76:85, 216:288] = 1, -1, 1

    def picture(x: float, y: float, pixels: np.ndarray, name: str) -> _Box:
        box = sheet.frame(_Box(x, y, 1.2, 0.9), LINE, facecolor="none")
        (left, low), (right, top) = box.side(-1, -1), box.side(1, 1)
        sheet.axis.imshow(pixels, extent=(left, right, low, top), cmap="gray", aspect="auto")
        sheet.text(x, low - 0.06 - _extent(name)[1] / 2, name)
        return box

    given = picture(0, 1.9, photograph, "photograph")
    first = picture(0, 0.25, strokes(photograph, hint), "rough mask\nor first strokes")
    network = sheet.box(2.2, 1.08, "network", BLUE, 1.0, 0.6)
    user = sheet.box(6.2, 1.08, "user compares mask\nand photograph", GREY, 1.5, 0.6)
    fix = picture(6.2, -0.7, strokes(photograph, correction), "user draws a stroke\nat the largest error")
    for start, y in ((given, 1.18), (first, 0.98)):
        sheet.arrow(start, _Box(1.1, y), head=False)
        sheet.arrow(_Box(1.1, y), network._replace(y=y))
    sheet.link(network, picture(4.1, 1.08, body, "mask"), user)
    sheet.arrow(user, sheet.box(8.6, 1.08, "finished", ORANGE, 0, 0.6), "good enough")
    sheet.arrow(user, fix, "not yet")
    sheet.arrow(fix, network, "mask and all strokes so far")
    return sheet.finish()
