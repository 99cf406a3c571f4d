import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from seglib import figures
from seglib.config import load_row
from seglib.experiment import build_model


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
    history = [
        {
            "epoch": e,
            "loss": 1 / e,
            "iou": 0.1 * e,
            "dice": 0.2 * e,
            "val_loss": 2 / e,
            "val_iou": 0.15 * e,
            "val_dice": 0.25 * e,
        }
        for e in (1, 2, 3)
    ]
    axes = figures.curves(history, {"iou": 0.4}).axes
    assert [axis.get_title() for axis in axes] == ["loss", "IoU", "Dice"]
    assert list(axes[1].lines[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.3])
    assert list(axes[1].lines[1].get_ydata()) == pytest.approx([0.15, 0.3, 0.45])
    assert list(axes[1].lines[2].get_ydata()) == [0.4, 0.4]
    assert len(axes[0].lines) == len(axes[2].lines) == 2


def test_dots_stand_from_worst_to_best():
    axis = figures.dots({"b": 0.5, "a": 0.9, "c": 0.1}, {"a": 0.1}, xlabel="IoU", lines={"bar": 0.3}).axes[0]
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
    panels = figures.uncertainty(picture, picture > 0.5, picture, 1 - picture).axes[:4]
    np.testing.assert_array_equal(panels[3].images[0].get_array(), 1 - picture)
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
    assert sorted(text for text in texts if "\n" in text) == sorted([*stages, *stages[:-1], "1\n96×64"])
    assert {text for text in texts if text and "\n" not in text} == said
    assert texts.count("× α") == (len(widths) - 1 if "× α" in said else 0)
    assert len(drawn.axes[0].patches) >= 2 * len(widths)
    assert not model.encoder[0]._forward_hooks


def test_strokes_are_drawn_with_a_rim_that_tells_them_from_any_picture():
    image = np.full((40, 60, 3), 90, np.uint8)
    hint = np.zeros((40, 60), np.int8)
    hint[10, 10:30], hint[30, 20:50] = 1, -1
    drawn = figures.strokes(image, hint)
    assert (drawn[hint > 0] == 255).all()
    assert (drawn[hint < 0] == [213, 94, 0]).all()
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
    assert [text.get_text()[:8] for text in drawn.legends[0].texts] == ["reported", "measured"]
