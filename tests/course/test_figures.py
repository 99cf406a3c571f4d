import inspect
import warnings
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from skimage.color import deltaE_ciede2000, rgb2lab

from seglib.course import figures
from seglib.experiment import build_model
from seglib.rows import load_row


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_errors_have_the_colours_that_the_legend_says():
    prediction, truth = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    picture = figures.error_map(prediction, truth)
    colours = [matplotlib.colors.to_hex(pixel) for pixel in picture[0]]
    assert colours == ["#ffffff", figures.FALSE_POSITIVE.lower(), figures.FALSE_NEGATIVE.lower(), "#000000"]
    drawn = figures.errors([prediction], [truth], {"network": [prediction]}, ["one"])
    legend = {
        text.get_text(): patch.get_facecolor()
        for text, patch in zip(drawn.legends[0].texts, drawn.legends[0].legend_handles)
    }
    assert matplotlib.colors.to_hex(legend["false positive"]) == figures.FALSE_POSITIVE.lower()
    assert matplotlib.colors.to_hex(legend["false negative"]) == figures.FALSE_NEGATIVE.lower()
    assert [axis.get_ylabel() for axis in drawn.axes] == ["input", "truth", "network"]
    np.testing.assert_array_equal(drawn.axes[2].images[0].get_array(), picture)


def test_curves_draw_training_validation_and_the_reported_line():
    slopes = {"iou": 0.1, "dice": 0.2, "val_iou": 0.15, "val_dice": 0.25}
    history = [
        {"epoch": e, "loss": 1 / e, "val_loss": 2 / e} | {name: slope * e for name, slope in slopes.items()}
        for e in (1, 2, 3)
    ]
    axes = figures.curves(history, {"iou": 0.4}).axes
    assert [axis.get_title() for axis in axes] == ["loss", "IoU", "Dice"]
    assert list(axes[1].lines[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.3])
    assert list(axes[1].lines[1].get_ydata()) == pytest.approx([0.15, 0.3, 0.45])
    assert list(axes[1].lines[2].get_ydata()) == [0.4, 0.4]
    assert len(axes[0].lines) == len(axes[2].lines) == 2


def test_dots_stand_from_worst_to_best():
    marks = {"bar": 0.3, "reported": 0.4}
    axis = figures.dots({"b": 0.5, "a": 0.9, "c": 0.1}, {"a": 0.1}, xlabel="IoU", lines=marks).axes[0]
    assert {line.get_label(): line.get_xdata()[0] for line in axis.lines if line.get_label() in marks} == marks
    (reported,) = (line for line in axis.lines if line.get_label() == "reported")
    assert (reported.get_color(), reported.get_linestyle()) == ("black", ":")  # as in `curves`
    assert [label.get_text() for label in axis.get_yticklabels()] == ["c", "b", "a"]
    assert list(axis.lines[0].get_xdata()) == [0.1, 0.5, 0.9]


def test_histogram_shares_sum_to_those_of_the_classes():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    truths = (images >= 192).astype(np.uint8)
    steps = dict(zip(("foreground", "background"), figures.histogram(images, truths).axes[0].patches[::-1]))
    assert [patch.get_label() for patch in steps.values()] == list(steps)
    for name, share in {"background": 0.75, "foreground": 0.25}.items():
        heights = steps[name].get_xy()[1:-1:2, 1]  # an outline goes along each bin's upper edge and down at the end
        assert heights.sum() == pytest.approx(share)


def test_the_other_pictures_show_what_they_are_given():
    picture = np.linspace(0, 1, 20).reshape(4, 5)
    gallery = figures.gallery({"row": [picture, picture]}, ["one", "two"])
    assert [axis.get_title() for axis in gallery.axes] == ["one", "two"]
    np.testing.assert_array_equal(gallery.axes[1].images[0].get_array(), picture)
    wide = figures.gallery({"low": [picture[:2, :4]] * 3, "square": [picture[:, :4]] * 3}, scale=2)
    assert wide.get_size_inches() == pytest.approx((3 * 2 + 0.6, 2 * (0.5 + 1) + 0.2))  # rows as high as their pictures
    named = figures.name_colours(figures.gallery({"row": [picture]}, scale=3), {"black": "#000000"})
    assert named.get_size_inches() == pytest.approx((3 + 0.6, 3 * 4 / 5 + 0.2 + 0.35))  # the picture keeps its size
    uneven = figures.gallery({"two": [picture] * 2, "one": [picture]})
    assert [axis.axison for axis in uneven.axes] == [True, True, True, False]
    answers = np.stack([np.full((2, 3), 0.2), np.array([[0.2, 0.9, 0.9], [0.9, 0.4, 0.2]])])
    panels = figures.uncertainty(picture[:2, :3], np.array([[0, 0, 1], [1, 0, 1]]), answers).axes[:5]
    np.testing.assert_allclose(panels[3].images[0].get_array(), answers.std(0))
    shown = panels[4].images[0].get_array()
    right, differing, agreeing = shown[0, 0], shown[0, 1], shown[1, 2]
    np.testing.assert_allclose([right, differing], [[0] * 3, [0.7] * 3])
    assert agreeing.tolist() == pytest.approx([0xD5 / 255, 0x5E / 255, 0])
    sweep = figures.robustness({"σ": ([0, 1], {"net": [0.9, 0.5]})}, {"σ": (0.2, 0.4)})
    assert list(sweep.axes[0].lines[0].get_ydata()) == [0.9, 0.5]
    drawn = figures.reliability({"net": (np.array([0.1, 0.9]), np.array([0.2, 0.8]))}).axes[0]
    assert list(drawn.lines[1].get_ydata()) == [0.2, 0.8]


def test_histograms_of_sizes_mark_mean_and_median():
    widths, heights = np.array([100, 200, 900]), np.array([50, 60, 70])
    drawn = figures.size_histograms({"before": (widths, heights), "after": (widths[:2], heights[:2])})
    assert len(drawn.axes) == 4
    first = drawn.axes[0]
    assert [line.get_xdata()[0] for line in first.lines] == [400, 200]
    assert [line.get_linestyle() for line in first.lines] == ["--", "-"]
    assert [text.get_text() for text in first.get_legend().texts] == ["mean 400", "median 200"]
    assert sum(patch.get_height() for patch in first.patches) == pytest.approx(1)
    edges = [[patch.get_x() for patch in axis.patches] for axis in drawn.axes]
    assert edges[0] == edges[2] != edges[1] == edges[3]
    assert drawn.axes[0].get_ylim() == drawn.axes[2].get_ylim()
    assert drawn.axes[3].get_title() == "after: height"


def test_outlines_lie_over_their_photographs():
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)
    mask[5:15, 8:20] = True
    drawn = figures.outlines([image] * 3, [[mask], [mask, ~mask], []], ["a", "b", "c"], columns=2)
    assert len(drawn.axes) == 4
    assert [axis.get_title() for axis in drawn.axes] == ["a", "b", "c", ""]
    assert [len(axis.collections) for axis in drawn.axes] == [2, 4, 0, 0]  # a white line under each coloured one
    (left, top), (right, bottom) = (
        f(drawn.axes[0].collections[1].get_paths()[0].vertices, axis=0) for f in (np.min, np.max)
    )
    assert (left, top, right, bottom) == (7.5, 4.5, 19.5, 14.5)


def test_where_a_network_finds_nothing_or_everything_there_is_no_outline():
    empty = np.zeros((6, 8), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures.outlines([np.zeros((6, 8, 3))], [[empty, ~empty, MASK]])
    assert len(drawn.axes[0].collections) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("tiny16-32_bce-dice", set()),
        ("res16-32_bce-dice", {"+ rough mask"}),
        ("attn32-256_bce-dice-bound", {"× α"}),
    ],
)
def test_a_network_is_drawn_from_what_happens_in_it(row, said):
    model = build_model("neural_segmentello", row)
    drawn = figures.network(model, torch.zeros(1, 3, 64, 96), "title")
    texts = [text.get_text() for text in drawn.axes[0].texts]
    widths = load_row("neural_segmentello", row).model.widths
    stages = [f"{width}\n{96 >> level}×{64 >> level}" for level, width in enumerate(widths)]
    assert sorted(text for text in texts if "\n" in text) == sorted(["3\n96×64", *stages, *stages[:-1], "1\n96×64"])
    assert {text for text in texts if text and "\n" not in text} == said
    assert texts.count("× α") == (len(widths) - 1 if "× α" in said else 0)
    assert len(drawn.axes[0].patches) >= 2 * len(widths) + 1
    assert not model.encoder[0]._forward_hooks


def test_strokes_are_drawn_with_a_rim_that_tells_them_from_any_picture():
    image = np.full((40, 60, 3), 90, np.uint8)
    hint = np.zeros((40, 60), np.int8)
    hint[10, 10:30], hint[30, 20:50] = 1, -1
    drawn = figures.strokes(image, hint)
    shown = {"stroke on the object": drawn[hint > 0], "stroke on the background": drawn[hint < 0]}
    for name, colour in figures.STROKES.items():
        assert (shown[name] == np.round(255 * np.array(to_rgb(colour)))).all()
    assert (drawn[9, 10:30] == 0).all()
    assert (drawn[31, 20:50] == 255).all()
    assert (drawn[:5] == 90).all()
    assert (image == 90).all()


def test_every_curve_is_drawn_and_has_a_style_of_its_own():
    count = len(figures.STYLES)
    series = {f"curve {k}": [k, k + 1] for k in range(count)}
    (axis,) = figures.lines([0, 1], series, xlabel="x", ylabel="y").axes
    assert [line.get_label() for line in axis.lines] == list(series)
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axis.lines}) == count
    with pytest.raises(ValueError, match=f"at most {count} curves in one panel, got {count + 1}: curve 0, .*one more"):
        figures.lines([0, 1], series | {"one more": [1, 2]}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="curves in one panel"):
        figures.reliability({str(k): ([0, 1], [0, 1]) for k in range(count + 1)})


def test_a_gallery_is_no_wider_than_a_notebook_and_loses_no_thin_parts():
    thin = np.zeros((600, 900))
    thin[:, ::9] = 1
    many = figures.gallery({"row": [thin] * 9}, scale=2)
    assert many.get_size_inches()[0] == pytest.approx(figures.WIDEST + 0.6)
    few = figures.gallery({"row": [thin[:9, :9]] * 2}, scale=2)
    # One column in nine: nearest neighbours of some 100 pixels would show some and lose others.
    assert {axis.images[0].get_interpolation() for axis in many.axes} == {"antialiased"}
    assert {axis.images[0].get_interpolation() for axis in few.axes} == {"nearest"}


def test_stretching_takes_the_first_and_the_last_percent_to_black_and_white():
    picture = np.arange(100, 201, dtype=np.uint8).reshape(1, 101)
    drawn = figures.stretched(picture)
    assert drawn.dtype == np.uint8
    assert drawn[0, [0, 1, 50, 99, 100]].tolist() == [0, 0, 127, 255, 255]
    darker = figures.stretched(picture // 2, like=picture)
    assert darker.max() == 0  # all of it below the other's first percentile


def test_the_legend_of_mixed_classes_has_the_colours_that_are_drawn():
    labels, grey = np.arange(3)[None], np.full((1, 3), 127, np.uint8)
    drawn = figures.name_classes(figures.gallery({"": [figures.coloured(labels, grey)]}), "abc", mixed=True)
    legend = [255 * np.array(patch.get_facecolor()[:3]) for patch in drawn.legends[0].legend_handles]
    np.testing.assert_allclose(legend, figures.coloured(labels, grey)[0], atol=1.5)


def test_overview_marks_reported_and_measured_numbers_in_one_panel_a_report():
    panels = {
        "A": [("one", 0.5, 0.6), ("two", None, 0.7), ("three", 0.4, None)],
        "B": [("only", 0.8, 0.9)],
        "C": [("first", 0.2, 0.3), ("second", 0.3, 0.2)],
    }
    drawn = figures.overview(panels)
    assert [axis.get_title() for axis in drawn.axes] == list(panels)
    for axis, rows in zip(drawn.axes, panels.values()):
        assert [label.get_text() for label in axis.get_yticklabels()] == [name for name, _, _ in rows]
        marks = {tuple(point) for shown in axis.collections for point in shown.get_offsets().tolist()}
        values = {(value, float(y)) for y, row in enumerate(rows) for value in row[1:] if value is not None}
        assert marks == values
        bottom, top = axis.get_ylim()
        assert bottom > top  # the first row is the upmost
    assert len({axis.get_xlim() for axis in drawn.axes}) == 1
    assert [text.get_text()[:8] for text in drawn.legends[0].texts] == ["reported", "measured"]


# --- legibility ---

# What dichromats see of linear RGB: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
# Color Vision Deficiency", IEEE TVCG 15(6), 2009, the matrices for severity 1.0 (doi 10.1109/TVCG.2009.113).
VISION = {
    "all colours": "1 0 0 0 1 0 0 0 1",
    "protanopia": "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998",
    "deuteranopia": "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881",
    "tritanopia": "1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602 0.004733 0.691367 0.303900",
}
VISION = {name: np.reshape(matrix.split(), (3, 3)).astype(float) for name, matrix in VISION.items()}


def nearest_pair(colours, vision):
    """The smallest CIEDE2000 distance between two of the colours, as they are seen, and which two."""
    encoded = np.array([to_rgb(colour) for colour in colours])
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.transpose(VISION[vision]), 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    seen = dict(zip(colours, rgb2lab(encoded[None])[0]))
    return min((float(deltaE_ciede2000(seen[a], seen[b])), a, b) for a, b in combinations(colours, 2))


def test_the_simulation_keeps_greys_and_finds_what_is_confused():
    for matrix in VISION.values():
        np.testing.assert_allclose(np.sum(matrix, 1), 1, atol=1e-5)
    for vision, pair in {"protanopia": "#8f4c00 #5f5f00", "deuteranopia": "#d62728 #8c7a27"}.items():
        assert nearest_pair(pair.split(), vision)[0] < 10 < nearest_pair(pair.split(), "all colours")[0]


# A difference of 2 is seen by who looks for it, one of 10 at a glance. Errors are told apart by nothing but colour, in
# areas of a few pixels; curves by line style and marker as well.
@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    ("colours", "apart"),
    [
        ([colour for colour, _, _ in figures.STYLES], 10),
        (["black", *figures.ERRORS.values()], 30),
        (["black", *{*figures.ERRORS.values(), *figures.STROKES.values()}], 10),  # white is what is right, in both
        (figures.CLASS_COLOURS, 10),
    ],
    ids=["curves", "errors", "errors and strokes", "classes"],
)
def test_colours_stay_apart_for_the_colour_blind(colours, apart, vision):
    distance, *pair = nearest_pair(colours, vision)
    assert distance >= apart, pair


GREY, MASK = np.linspace(0, 1, 48).reshape(6, 8), np.eye(6, 8, dtype=bool)
EPOCH = {"epoch": 1} | {f"{part}{name}": 0.5 for part in ("", "val_") for name in ("loss", "iou", "dice")}
DRAWN = {
    "confusion": lambda: figures.confusion({"net": np.eye(3)}, ["soil", "sand", "rock"]),
    "curves": lambda: figures.curves([EPOCH], {"iou": 0.4}),
    "dots": lambda: figures.dots({"a": 0.9, "b": 0.5}, {}, xlabel="IoU", lines={"bar": 0.3}),
    "errors": lambda: figures.errors([GREY], [MASK], {"net": [MASK]}, ["one"]),
    "gallery": lambda: figures.gallery({"row": [GREY] * 3}, ["one", "two", "three"]),
    "histogram": lambda: figures.histogram(np.uint8(255 * GREY)[None], MASK[None]),
    "lines": lambda: figures.lines([0, 1], {"a": [0, 1]}, xlabel="x", ylabel="y", title="title"),
    "network": lambda: figures.network(
        build_model("neural_segmentello", "res16-32_bce-dice"), torch.zeros(1, 3, 32, 48), "title"
    ),
    "outlines": lambda: figures.outlines([np.zeros((6, 8, 3))], [[MASK]], ["one"]),
    "overview": lambda: figures.overview({name: [("row", 0.5, 0.6)] for name in "ABC"}),
    "reliability": lambda: figures.reliability({"net": ([0, 1], [0, 1])}),
    "robustness": lambda: figures.robustness({"σ": ([0, 1], {"net": [0.9, 0.5]})}, {"σ": (0.2, 0.4)}),
    "size_histograms": lambda: figures.size_histograms({"all": (np.arange(9), np.arange(9))}),
    "uncertainty": lambda: figures.uncertainty(GREY, MASK, np.stack([GREY, GREY])),
}


def test_every_function_that_draws_is_drawn():
    functions = inspect.getmembers(figures, inspect.isfunction)
    found = {name: list(f.__annotations__.items()) for name, f in functions if f.__module__ == figures.__name__}
    # Those that finish a given figure are called by others, or add a legend of the usual size.
    drawing = [name for name, of in found.items() if of and of[-1][1] == "Figure" and of[0] != ("figure", "Figure")]
    assert drawing == list(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_no_letters_are_smaller_than_8_points(name):
    figure = figures.name_classes(DRAWN[name](), ["soil", "sand"])
    figure.canvas.draw()  # ticks get their labels
    sizes = {text.get_text(): text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
    assert len(sizes) > 1
    assert {text: size for text, size in sizes.items() if size < 8} == {}
