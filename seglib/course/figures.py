"""Every picture that the notebooks draw. Each function returns a Matplotlib figure and shows nothing itself.

Colours: the Okabe and Ito (2008) palette, which colour-blind readers can tell apart, and grey or perceptually uniform
maps for images. Line style repeats what colour says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from skimage.exposure import rescale_intensity
from torch import Tensor, nn

from ..models.blocks import AttentionSkip

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
STYLES = [
    (BLUE, "-", "o"),
    (ORANGE, "--", "s"),
    (GREEN, "-.", "^"),
    (RED, ":", "D"),
    (PURPLE, "-", "v"),
    ("0.2", "--", "x"),
]
FALSE_POSITIVE, FALSE_NEGATIVE = ORANGE, BLUE
ERRORS = {"hit": "white", "false positive": FALSE_POSITIVE, "false negative": FALSE_NEGATIVE}
STROKES = {"stroke on the object": "white", "stroke on the background": PURPLE}
REPORTED = {"color": "black", "ls": ":"}  # of a line at a number that a report gives
WIDEST = 10.0  # inches of a gallery: a notebook's column shows no more, and shrinks the letters of what is wider
CLASS_COLOURS = ("#000000", ORANGE, BLUE, "#F0E442", PURPLE)  # of class labels, from 0 on


def _styled(axis, named: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draws named curves (x, y), each in a style of its own.

    Raises:
        ValueError: more curves than there are styles to tell them apart.
    """
    if len(named) > len(STYLES):
        raise ValueError(f"expected at most {len(STYLES)} curves in one panel, got {len(named)}: {', '.join(named)}")
    for (name, (x, y)), (colour, style, marker) in zip(named.items(), STYLES):
        some = max(1, len(x) // 12)  # more markers would hide the line's style
        axis.plot(x, y, color=colour, ls=style, marker=marker, ms=4, markevery=some, label=name)


def curves(history: Sequence[Mapping], reported: Mapping[str, float] | None = None) -> Figure:
    """Loss, IoU and Dice against the epoch, training and validation (the report's figure 1); `reported` as lines."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axis, name, label in zip(axes, ("loss", "iou", "dice"), ("loss", "IoU", "Dice")):
        axis.plot(epochs, [row[name] for row in history], color=ORANGE, ls="--", marker="s", ms=3, label="training")
        axis.plot(epochs, [row[f"val_{name}"] for row in history], color=BLUE, marker="o", ms=3, label="validation")
        if reported and name in reported:
            axis.axhline(reported[name], label=f"reported: {reported[name]}", **REPORTED)
        axis.set(xlabel="epoch", ylabel=label, title=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    return figure


def _bytes(colour: str) -> list[int]:
    """A colour's red, green and blue, 0 to 255."""
    return [round(255 * part) for part in to_rgb(colour)]


def error_map(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """An RGB picture (H, W, 3) of a mask's errors: hits white, misses blue, false alarms orange, the rest black."""
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    picture = np.zeros((*truth.shape, 3))
    picture[prediction & truth] = 1
    for where, colour in ((prediction & ~truth, FALSE_POSITIVE), (~prediction & truth, FALSE_NEGATIVE)):
        picture[where] = to_rgb(colour)
    return picture


def errors(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    titles: Sequence[str],
    scale: float = 1.6,
) -> Figure:
    """One column an image, `scale` inches wide: input, truth, and the errors of each named prediction (figure 2)."""
    rows = {"input": images, "truth": [truth > 0 for truth in truths]}
    for name, masks in predictions.items():
        rows[name] = [error_map(*pair) for pair in zip(masks, truths)]
    return name_colours(gallery(rows, titles, scale), ERRORS)


def _show(axis, picture: np.ndarray, pixels: float) -> None:
    """Grey values as they are: black is 0 and white is 255 or 1, whatever the picture's own range.

    What has more columns than there are `pixels` is averaged, so that thin parts do not vanish."""
    interpolation = "nearest" if picture.shape[1] <= pixels else "antialiased"
    axis.imshow(picture, cmap="gray", interpolation=interpolation, vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)


def stretched(picture: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """A grey picture with the contrast at which its textures can be seen: from its 1st percentile, black, to its
    99th, white, or from those of the picture `like`; uint8."""
    low, high = np.percentile(picture if like is None else like, (1, 99))
    return rescale_intensity(picture, (low, high), (0, 255)).astype(np.uint8)


def gallery(rows: Mapping[str, Sequence[np.ndarray]], titles: Sequence[str] = (), scale: float = 1.5) -> Figure:
    """Rows of small pictures, each row named on the left; `titles` stand above the columns.

    A picture is 8-bit, or a mask or float with 1 as white. Columns are `scale` inches wide, or less where all would
    be wider than `WIDEST`, rows as high as needed.
    """
    columns = max(map(len, rows.values()))
    scale = min(scale, WIDEST / columns)
    heights = [max(picture.shape[0] / picture.shape[1] for picture in pictures) for pictures in rows.values()]
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(scale * columns + 0.6, scale * sum(heights) + 0.2),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for line, (name, pictures) in zip(axes, rows.items()):
        line[0].set_ylabel(name)
        for axis in line[len(pictures) :]:
            axis.axis("off")
        for axis, picture in zip(line, pictures):
            _show(axis, picture, scale * figure.dpi)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure


def coloured(labels: np.ndarray, picture: np.ndarray | None = None) -> np.ndarray:
    """Class labels (H, W) in `CLASS_COLOURS`, mixed half and half with a grey picture where one is given: uint8
    (H, W, 3)."""
    palette = np.array([_bytes(colour) for colour in CLASS_COLOURS], np.uint8)
    colours = palette[labels]
    return colours if picture is None else (colours // 2 + picture[..., None] // 2).astype(np.uint8)


def name_colours(figure: Figure, colours: Mapping[str, str | tuple]) -> Figure:
    """Puts a legend of named colours below a figure, which grows by its height; returns the figure."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.35)
    handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(colours), frameon=False)
    return figure


def name_classes(figure: Figure, names: Sequence[str], mixed: bool = False) -> Figure:
    """`name_colours` for class labels, as they look when `mixed` with a picture if that is how they are drawn."""
    colours = CLASS_COLOURS
    if mixed:
        colours = [tuple((part + 0.5) / 2 for part in to_rgb(colour)) for colour in colours]
    return name_colours(figure, dict(zip(names, colours)))


def confusion(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Confusion matrices side by side: of each true class (down) the share that is taken for each class (across)."""
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(4.6 * len(matrices), 4.2), layout="constrained", squeeze=False
    )
    for axis, (title, matrix) in zip(axes[0], matrices.items()):
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        shown = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            axis.text(j, i, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.5 else "white")
        ticks = {"xticks": range(len(names)), "yticks": range(len(names)), "yticklabels": names}
        axis.set(**ticks, xlabel="predicted", ylabel="truth", title=title)
        axis.set_xticklabels(names, rotation=30, ha="right")
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the true class")
    return figure


def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], *, xlabel: str, ylabel: str, title: str = "", axis=None
) -> Figure:
    """At most six named curves over one x, told apart by colour, line style and marker."""
    if axis is None:
        _, axis = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    _styled(axis, {name: (x, y) for name, y in series.items()})
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return axis.figure


def robustness(
    sweeps: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[float]]]], trained: Mapping[str, tuple]
) -> Figure:
    """Mean IoU against the strength of each kind of noise; the range met in training is shaded."""
    size = (3.8 * len(sweeps), 3.4)
    figure, axes = plt.subplots(1, len(sweeps), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for axis, (label, (levels, series)) in zip(axes[0], sweeps.items()):
        axis.axvspan(*trained[label], color="0.9", label="met in training")
        lines(levels, series, xlabel=label, ylabel="mean IoU", axis=axis)
        axis.label_outer()
    for axis in axes[0, 1:]:
        axis.get_legend().remove()
    axes[0, 0].legend(frameon=False, loc="lower left")
    return figure


def reliability(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Reliability diagram: the share of foreground among pixels of a probability; curves are (predicted, observed)."""
    figure, axis = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", lw=1, label="perfect calibration")
    _styled(axis, curves)
    axis.set(xlabel="predicted probability of foreground", ylabel="share that is foreground", aspect="equal")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def uncertainty(image: np.ndarray, truth: np.ndarray, answers: np.ndarray) -> Figure:
    """Input and truth (H, W), then of several probabilities of every pixel (K, H, W) their mean, their standard
    deviation, and where the mean is wrong: red where all answers are, grey where they differ."""
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.8), layout="constrained")
    mean, masks = answers.mean(0), answers >= 0.5
    wrong = (mean >= 0.5) != (truth > 0)
    errors = np.zeros((*truth.shape, 3))
    errors[wrong], errors[wrong & (masks == masks[:1]).all(0)] = to_rgb("0.7"), to_rgb(RED)
    panels = [
        (image, "input", "gray", None),
        (truth, "truth", "gray", None),
        (mean, "mean probability", "cividis", 1),
        (answers.std(0), "standard deviation", "cividis", None),
        (errors, "errors; red: all agree", None, None),
    ]
    for axis, (panel, title, cmap, highest) in zip(axes, panels):
        shown = axis.imshow(panel, cmap=cmap, vmin=0, vmax=highest, interpolation="nearest")
        axis.set(xticks=[], yticks=[], title=title)
        if cmap == "cividis":
            figure.colorbar(shown, ax=axis, shrink=0.8)
    return figure


def dots(
    values: Mapping[str, float], spreads: Mapping[str, float], *, xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """A dot for each value, from best to worst, with its spread where that is not 0; `lines` are named marks."""
    names = sorted(values, key=values.get)
    figure, axis = plt.subplots(figsize=(8, 0.32 * len(names) + 1), layout="constrained")
    axis.errorbar(
        [values[name] for name in names],
        range(len(names)),
        xerr=[spreads.get(name, 0) for name in names],
        fmt="o",
        color=BLUE,
        capsize=3,
    )
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel)
    for (name, value), (colour, style, _) in zip((lines or {}).items(), STYLES[1:]):
        look = REPORTED if name.startswith("reported") else {"color": colour, "ls": style}
        axis.axvline(value, label=name, **look)
    axis.grid(alpha=0.3, axis="x")
    if lines:
        figure.legend(frameon=False, loc="outside lower center", ncols=len(lines))
    return figure


def overview(panels: Mapping[str, Sequence[tuple[str, float | None, float | None]]]) -> Figure:
    """A panel for each report: of every row (its name) the reported number, hollow, and the measured one, filled.

    All have one scale, up to 1, so that distances can be compared."""
    least = min(value for rows in panels.values() for _, *both in rows for value in both if value is not None)
    heights = [len(rows) for rows in panels.values()]
    figure = plt.figure(figsize=(12, 0.2 * max(sum(heights) - max(heights), max(heights)) + 2), layout="constrained")
    # The longest panel has a column of its own.
    longest = heights.index(max(heights))
    others = [i for i in range(len(panels)) if i != longest]
    grid = figure.add_gridspec(1, 2)
    places = dict(zip(others, grid[0].subgridspec(len(others), 1, height_ratios=[heights[i] + 1.5 for i in others])))
    places[longest] = grid[1]
    for number, (title, rows) in enumerate(panels.items()):
        axis = figure.add_subplot(places[number])
        for y, (_, reported, ours) in enumerate(rows):
            both = [value for value in (reported, ours) if value is not None]
            axis.plot(both, [y] * len(both), color="0.7", zorder=1)
            if reported is not None:
                axis.scatter(reported, y, s=45, facecolors="white", edgecolors=ORANGE, linewidths=1.6, zorder=2)
            if ours is not None:
                axis.scatter(ours, y, s=45, color=BLUE, zorder=3)
        axis.set(
            yticks=range(len(rows)),
            yticklabels=[name for name, _, _ in rows],
            title=title,
            xlim=(0.9 * least, 1),
            ylim=(len(rows) - 0.5, -0.5),
        )
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    style = {"marker": "o", "ls": "", "ms": 7}
    handles = [
        Line2D([], [], markerfacecolor="white", markeredgecolor=ORANGE, markeredgewidth=1.6, label="reported", **style),
        Line2D([], [], color=BLUE, label="measured here (IoU; of the scribbles and of Mars the mean IoU)", **style),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def histogram(images: np.ndarray, truths: np.ndarray) -> Figure:
    """Intensities of foreground and background pixels of 8-bit pictures, as shares of all pixels."""
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    bins = np.arange(0, 257, 4)
    for name, value, colour, style in (("background", 0, BLUE, "-"), ("foreground", 1, ORANGE, "--")):
        intensities = images[truths == value]
        weights = np.full(len(intensities), 1 / images.size)
        axis.hist(intensities, bins, weights=weights, histtype="step", color=colour, ls=style, lw=1.5, label=name)
    axis.set(xlabel="intensity (8 bit)", ylabel="share of all pixels", yscale="log")
    axis.legend(frameon=False)
    return figure


def size_histograms(sizes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """How wide and high the images of data sets are, as shares, each named one a line: mean dashed, median solid
    (figure 1)."""
    figure, axes = plt.subplots(
        len(sizes), 2, figsize=(9, 2.6 * len(sizes)), sharex="col", sharey="col", layout="constrained", squeeze=False
    )
    # The same bins and heights for all, so that bars can be compared from line to line.
    bins = [np.histogram_bin_edges(np.concatenate(lengths), 12) for lengths in zip(*sizes.values())]
    for line, (name, pair) in zip(axes, sizes.items()):
        for axis, lengths, label, edges in zip(line, pair, ("width", "height"), bins):
            axis.hist(lengths, edges, weights=np.full(len(lengths), 1 / len(lengths)), color=SKY)
            axis.axvline(np.mean(lengths), color=RED, ls="--", label=f"mean {np.mean(lengths):.0f}")
            axis.axvline(np.median(lengths), color=GREEN, label=f"median {np.median(lengths):.0f}")
            axis.set(ylabel="share of images", title=f"{name}: {label}")
            axis.legend(frameon=False)
    for axis in axes[-1]:
        axis.set_xlabel("pixels")
    return figure


def strokes(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """A photograph with strokes drawn on it: the object's white, the background's purple, rimmed (`STROKES`).

    Args:
        image: uint8 RGB (H, W, 3).
        hint: (H, W) of −1, 0 and 1.

    Returns:
        uint8 (H, W, 3).
    """
    picture = image.copy()
    width = max(1, round(max(hint.shape) / 200))
    for sign in (-1, 1):
        rim = cv2.dilate((hint == sign).astype(np.uint8), np.ones((2 * width + 1,) * 2, np.uint8)) > 0
        picture[rim] = 255 if sign < 0 else 0
    picture[hint < 0], picture[hint > 0] = _bytes(PURPLE), 255
    return picture


def outlines(
    images: Sequence[np.ndarray],
    masks: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    columns: int = 6,
    scale: float = 2.1,
) -> Figure:
    """Photographs with the outlines of masks drawn over them, each mask of an image in another colour; columns are
    `scale` inches wide."""
    rows = -(-len(images) // columns)
    size = (scale * columns, (scale - 0.2) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, own in zip(axes.flat, images, masks):
        axis.imshow(image)
        for mask, (colour, style, _) in zip(own, cycle(STYLES)):
            if 0 < np.mean(mask) < 1:  # else there is no outline, of which Matplotlib would warn
                axis.contour(mask, [0.5], colors="white", linewidths=2.4)
                axis.contour(mask, [0.5], colors=colour, linestyles=style, linewidths=1.4)
    for axis, title in zip(axes.flat, titles):
        axis.set_title(title, fontsize=9)
    return figure


def network(model: nn.Module, image: Tensor, title: str = "") -> Figure:
    """A U-Net drawn from what happens in it: every stage as a bar, as high as its maps and as wide as its channels.

    Args:
        model: a `seglib.models.unet.UNet`.
        image: an input for it (1, C, H, W); it is run once, and the shapes of what its stages return are drawn.
    """
    shapes: dict[nn.Module | str, tuple] = {}
    stages = [*model.encoder, *model.decoder, model.head]
    hooks = [
        stage.register_forward_hook(lambda m, _, out: shapes.update({m: tuple(out.shape[1:])})) for stage in stages
    ]
    with torch.no_grad():
        model.eval()(image)
    for hook in hooks:
        hook.remove()
    levels = len(model.encoder)
    shapes["input"] = tuple(image.shape[1:])
    stages = ["input", *stages]
    depths = [0, *range(levels), *range(levels - 2, -1, -1), 0]
    colours = ["0.6"] + [BLUE] * levels + [GREEN] * (levels - 1) + [ORANGE]
    figure, axis = plt.subplots(figsize=(9, 0.75 * levels + 1.2), layout="constrained")
    places, x = {}, 0.0
    tallest = shapes[model.encoder[0]][1]
    for stage, depth, colour in zip(stages, depths, colours):
        channels, height, width = shapes[stage]
        wide, high = 0.12 + 0.055 * channels**0.5, 0.8 * (height / tallest) ** 0.5
        axis.add_patch(Rectangle((x, -depth - high / 2), wide, high, color=colour, alpha=0.85))
        axis.annotate(
            f"{channels}\n{width}×{height}", (x + wide / 2, -depth - high / 2 - 0.04), ha="center", va="top", fontsize=9
        )
        places[stage] = (x, x + wide, -depth, high)
        x += wide + (0.9 if depth == 0 else 0.55)  # the widest labels stand side by side at the end
    arrow = {"arrowstyle": "->", "color": "0.35"}
    for before, after in pairwise(stages):
        axis.annotate(
            "", (places[after][0], places[after][2]), (places[before][1], places[before][2]), arrowprops=arrow
        )
    gated = isinstance(model.skips[0], AttentionSkip) if levels > 1 else False
    for stage, skip in zip(model.encoder, reversed(model.decoder)):
        (_, start, y, high), end = places[stage], places[skip][0]
        y += 0.3 * high
        axis.annotate("", (end, y), (start, y), arrowprops=arrow | {"ls": "--"})
        if gated:
            axis.text(
                (start + end) / 2,
                y,
                "× α",
                ha="center",
                va="center",
                fontsize=9,
                color=RED,
                backgroundcolor="white",
            )
    if model.refine:
        bow = arrow | {"connectionstyle": "arc3,rad=-0.12", "color": RED}
        axis.annotate("", (places[model.head][1], 0.45), (0, 0.45), arrowprops=bow)
        axis.text(x / 2, 0.45 + 0.078 * x, "+ rough mask", ha="center", color=RED, fontsize=9)
    axis.set(xlim=(-0.4, x), ylim=(-levels + 0.1, 0.7 + (0.1 * x if model.refine else 0)), title=title)
    axis.axis("off")
    legend = [
        Patch(color="0.6", label="input"),
        Patch(color=BLUE, label="encoder"),
        Patch(color=GREEN, label="decoder"),
        Patch(color=ORANGE, label="logits"),
        Line2D([], [], color=arrow["color"], label="next stage"),
        Line2D([], [], color=arrow["color"], ls="--", label="skip"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False)
    return figure
