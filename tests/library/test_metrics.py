"""Metrics against loops over pixels, torchmetrics, and properties that hold for any masks."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from scipy.spatial.distance import cdist
from torchmetrics import JaccardIndex

from seglib.metrics import (
    BinaryMetrics,
    boundary_iou,
    boundary_metrics,
    dice,
    hausdorff,
    iou,
    mask_metrics,
    mean_iou,
    mean_metrics,
    pixel_accuracy,
    reliability,
)

METRICS = [iou, dice, pixel_accuracy]
OUTLINES = [boundary_iou, hausdorff]


def by_loop(prediction, target):
    """IoU, Dice and pixel accuracy from pixels counted one at a time."""
    tp = fp = fn = tn = 0
    for p, t in zip(np.ravel(prediction).tolist(), np.ravel(target).tolist()):
        tp += p == 1 and t == 1
        fp += p == 1 and t == 0
        fn += p == 0 and t == 1
        tn += p == 0 and t == 0
    empty = tp + fp + fn == 0
    return {
        "iou": 1.0 if empty else tp / (tp + fp + fn),
        "dice": 1.0 if empty else 2 * tp / (2 * tp + fp + fn),
        "mean_iou": ((1.0 if empty else tp / (tp + fp + fn)) + (tn / (tn + fp + fn) if tn + fp + fn else 1.0)) / 2,
        "pixel_accuracy": (tp + tn) / (tp + fp + fn + tn),
    }


masks = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_equal_to_loops_over_pixels(pair):
    expected = by_loop(*pair)
    for metric in METRICS:
        assert metric(*pair) == pytest.approx(expected[metric.__name__], abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_properties_of_any_two_masks(pair):
    prediction, target = pair
    for metric in METRICS:
        value = metric(prediction, target)
        assert 0 <= value <= 1
        assert value == metric(target, prediction)
        assert value == metric(prediction[:, ::-1], target[:, ::-1]) == metric(prediction[::-1].T, target[::-1].T)
        assert metric(target, target) == 1
    assert (iou(prediction, target) == 1) == np.array_equal(prediction, target)
    overlap = iou(prediction, target)
    assert dice(prediction, target) == pytest.approx(2 * overlap / (1 + overlap))


@pytest.mark.parametrize("metric", METRICS)
def test_numpy_and_torch_of_any_type(metric):
    prediction, target = np.array([[1, 1, 0], [0, 0, 1]]), np.array([[1, 0, 0], [0, 1, 1]])
    expected = {"iou": 2 / 4, "dice": 4 / 6, "pixel_accuracy": 4 / 6}[metric.__name__]
    for dtype in (bool, np.uint8, np.int64, np.float32):
        arrays = prediction.astype(dtype), target.astype(dtype)
        tensors = tuple(map(torch.tensor, arrays))
        for pair in (arrays, tensors, (arrays[0], tensors[1])):
            assert metric(*pair) == pytest.approx(expected)
            assert type(metric(*pair)) is float
    assert metric(torch.tensor(prediction, dtype=torch.float32, requires_grad=True), target) == pytest.approx(expected)


def test_empty_masks():
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert iou(empty, empty) == dice(empty, empty) == pixel_accuracy(empty, empty) == 1
    for pair in ((empty, full), (full, empty)):
        assert iou(*pair) == dice(*pair) == pixel_accuracy(*pair) == 0


def test_pixel_accuracy_of_labels():
    assert pixel_accuracy([[0, 1, 2], [7, 7, 7]], [[0, 2, 2], [7, 7, 1]]) == pytest.approx(4 / 6)


@pytest.mark.parametrize("metric", METRICS + OUTLINES)
@pytest.mark.parametrize("shape", [(3, 2), (1, 2, 3), (6,)])
def test_shapes_that_differ(metric, shape):
    with pytest.raises(ValueError, match=re.escape(f"one shape (H, W), got (2, 3) and {shape}")):
        metric(np.zeros((2, 3), bool), np.zeros(shape, bool))


@pytest.mark.parametrize("metric", METRICS + OUTLINES)
@pytest.mark.parametrize("shape", [(0, 3), (2, 2, 3), (4,)])
def test_arrays_that_are_no_masks(metric, shape):
    with pytest.raises(ValueError, match="expected prediction and target"):
        metric(np.zeros(shape, bool), np.zeros(shape, bool))


@pytest.mark.parametrize("metric", [iou, dice, *OUTLINES])
@pytest.mark.parametrize("value", [255, 0.5, -1, math.nan])
def test_values_other_than_zero_and_one(metric, value):
    good, bad = np.array([[0, 1, 1]]), np.array([[0, 0, value]])
    with pytest.raises(ValueError, match=rf"expected prediction values 0 and 1 .*{value}"):
        metric(bad, good)
    with pytest.raises(ValueError, match=rf"expected target values 0 and 1 .*{value}"):
        metric(good, torch.tensor(bad))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_pixel_accuracy_of_a_mask_and_one_of_0_and_255_is_refused(dtype):
    mask = np.random.default_rng(0).random((9, 16)) < 0.4
    for one in (mask, mask.astype(dtype)):
        assert pixel_accuracy(one, mask) == pixel_accuracy(one, mask.astype(dtype)) == 1
        for pair in ((one, 255 * mask.astype(dtype)), (255 * mask.astype(dtype), one)):
            with pytest.raises(ValueError, match=r"values 0 and 1 \(or bool\), got \[0.*255.*compare a 0/255 mask"):
                pixel_accuracy(*pair)
    assert pixel_accuracy(255 * mask.astype(dtype), 255 * mask.astype(dtype)) == 1  # labels as good as any
    assert pixel_accuracy(np.array([[0, 1, 2]]), np.array([[0, 255, 2]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf, -0.1])
def test_pixel_accuracy_of_what_is_no_label(value):
    labels = np.array([[0.0, 1, 1]])
    for pair in ((np.array([[0, 1, value]]), labels), (labels, torch.tensor([[0, 1, value]]))):
        with pytest.raises(
            ValueError, match=r"that are labels \(whole numbers or bool\), got .*with a threshold first"
        ):
            pixel_accuracy(*pair)


# --- outlines ---


def eroded(mask, cross=False):
    """What is left of a mask whose every pixel needs its eight neighbours, or four; outside is background."""
    height, width = mask.shape
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if not cross or i == 0 or j == 0]

    def inside(y, x):
        return 0 <= y < height and 0 <= x < width and bool(mask[y, x])

    return np.array([[all(inside(y + i, x + j) for i, j in steps) for x in range(width)] for y in range(height)])


def boundary_iou_by_loop(prediction, target, width=None):
    height, across = target.shape
    contours = []
    for mask in (prediction, target):
        core = mask
        for _ in range(max(1, round(0.02 * math.sqrt(height**2 + across**2))) if width is None else width):
            core = eroded(core)
        contours.append(mask & ~core)
    return by_loop(*contours)["iou"]


def hausdorff_by_pairs(prediction, target, percentile=100, boundary=True):
    """The larger of both directions' percentiles, from the distances of all pairs of points."""
    points = [np.argwhere(mask & ~eroded(mask, cross=True) if boundary else mask) for mask in (prediction, target)]
    if not all(map(len, points)):
        return math.inf if any(map(len, points)) else 0.0
    distances = cdist(*points)
    return max(np.percentile(distances.min(axis), percentile) for axis in (0, 1))


def rectangle(height, width, rows, columns):
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def disc(height, width, radius):
    y, x = np.mgrid[:height, :width]
    return (y - height // 2) ** 2 + (x - width // 2) ** 2 <= radius**2


larger_masks = hnp.array_shapes(min_dims=2, max_dims=2, max_side=11).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(bool, shape) | hnp.arrays(bool, shape, fill=st.just(True))] * 2)
)
percentiles = st.sampled_from([0, 50, 95, 100]) | st.floats(0, 100)


@settings(max_examples=60, deadline=None)
@given(larger_masks, st.none() | st.integers(1, 4))
def test_boundary_iou_equals_erosion_by_loop(pair, width):
    assert boundary_iou(*pair, width=width) == pytest.approx(boundary_iou_by_loop(*pair, width))


@pytest.mark.parametrize(("size", "width"), [((5, 8), 1), ((30, 40), 1), ((74, 100), 2), ((75, 101), 3)])
def test_contours_are_a_50th_of_the_diagonal_wide(size, width):
    """Diagonals of 9.4, 50, 124.4 and 125.8 pixels: 0.19, 1, 2.49 and 2.52."""
    one, other = disc(*size, size[0] // 3), np.roll(disc(*size, size[0] // 3 + 1), 1, axis=1)
    values = [boundary_iou(one, other, width=d) for d in range(1, 6)]
    assert boundary_iou(one, other) == values[width - 1] == pytest.approx(boundary_iou_by_loop(one, other))
    if size[0] >= 30:
        assert len(set(values)) == 5
        assert boundary_iou(one, other, dilation_ratio=4.4 / math.hypot(*size)) == values[3]


def test_boundary_iou_of_nested_rectangles_by_hand():
    """Contours two wide are the layers 0 and 1, and 1 and 2, of a 10×14 image; layer k has 44 − 8k pixels."""
    whole, inner = np.ones((10, 14), bool), rectangle(10, 14, (1, 9), (1, 13))
    assert boundary_iou(whole, inner, width=2) == pytest.approx(36 / (44 + 36 + 28))
    assert boundary_iou(whole, inner) == boundary_iou(whole, inner, width=1) == 0


def test_boundary_iou_with_wide_contours_is_iou():
    pair = rectangle(20, 30, (0, 13), (2, 9)), disc(20, 30, 9)
    assert boundary_iou(*pair, width=15) == iou(*pair)


def test_the_same_error_weighs_more_on_the_outline():
    one, other = disc(60, 80, 20), disc(60, 80, 22)
    assert 0 < boundary_iou(one, other) < iou(one, other) / 2


@settings(max_examples=100, deadline=None)
@given(larger_masks, percentiles, st.booleans())
def test_hausdorff_equals_distances_of_all_pairs(pair, percentile, boundary):
    expected = hausdorff_by_pairs(*pair, percentile, boundary)
    assert hausdorff(*pair, percentile, boundary) == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), percentiles, st.booleans())
@example(221, 99, True)  # between two pixels, of which one alone is farther than all of the other mask
@example(326, 95, True)
def test_hausdorff_of_large_rounded_objects_equals_distances_of_all_pixels(seed, percentile, boundary):
    """Where outlines are short beside the image, most distances are only bounded."""
    rng = np.random.default_rng(seed)
    level, blur = rng.uniform(0.5, 2), rng.uniform(4, 12)
    hills = gaussian_filter(rng.normal(size=(2, 120, 170)), (0, blur, blur))
    hills[1] = hills[0] + rng.uniform(0, 1.5) * hills[1]
    masks = hills > level * hills[0].std()
    masks[:, 60, 80] = True
    points = [mask & ~binary_erosion(mask) if boundary else mask for mask in masks]
    directed = [
        np.percentile(distance_transform_edt(~goal)[start], percentile) for start, goal in (points, points[::-1])
    ]
    assert hausdorff(*masks, percentile, boundary) == pytest.approx(max(directed))


@pytest.mark.parametrize("side", [1, 2, 6])
def test_hausdorff_of_two_squares_shifted_by_3_and_4(side):
    """The corner that lies farthest away is 5 pixels from the other square's."""
    one, other = (rectangle(20, 30, (5 + y, 5 + y + side), (7 + x, 7 + x + side)) for y, x in ((0, 0), (3, 4)))
    assert hausdorff(one, other) == hausdorff(one, other, boundary=False) == 5


def test_hausdorff_of_a_disc_within_a_disc():
    inner, outer = disc(61, 81, 8), disc(61, 81, 25)
    for options in ({}, {"percentile": 95}, {"boundary": False}):
        assert hausdorff(inner, outer, **options) == pytest.approx(17, abs=1)
    assert hausdorff(disc(61, 81, 0), outer) == 25


def test_hausdorff_percentiles_are_of_the_worse_direction():
    """From a row of 21 pixels to its first one it is 0 to 20 pixels; the way back, of no length, is not pooled in."""
    row, dot = rectangle(5, 30, (2, 3), (4, 25)), rectangle(5, 30, (2, 3), (4, 5))
    for percentile, expected in ((100, 20), (95, 19), (50, 10), (47.5, 9.5), (0, 0)):
        assert hausdorff(row, dot, percentile) == hausdorff(dot, row, percentile) == pytest.approx(expected)


def test_hausdorff_at_the_images_border():
    """The outside is background: the boundary of a full mask is the image's frame."""
    full, dot = np.ones((7, 11), bool), rectangle(7, 11, (3, 4), (5, 6))
    assert hausdorff(full, dot) == math.hypot(3, 5)
    # From the middle it is three pixels to the frame, and from one pixel of a frame to another one none.
    assert hausdorff(full, rectangle(7, 11, (1, 6), (1, 10))) == pytest.approx(math.sqrt(2))
    assert hausdorff(full, full, boundary=False) == hausdorff(full, full) == 0


def test_only_the_outline_counts_unless_all_pixels_should():
    ring, filled = disc(31, 41, 12) & ~disc(31, 41, 9), disc(31, 41, 12)
    assert hausdorff(ring, filled) == pytest.approx(3, abs=1)  # the ring's inner edge from its outer one
    assert hausdorff(ring, filled, boundary=False) == pytest.approx(10, abs=1)  # the middle from the ring
    assert hausdorff(ring, filled, boundary=False) == hausdorff_by_pairs(ring, filled, boundary=False)


def test_outlines_of_empty_and_one_pixel_masks():
    empty = np.zeros((6, 9), bool)
    dots = [rectangle(6, 9, (y, y + 1), (x, x + 1)) for y, x in ((0, 0), (5, 8), (3, 4))]
    for options in ({}, {"percentile": 95}, {"boundary": False}):
        assert hausdorff(empty, empty, **options) == 0
        for dot in dots:
            assert hausdorff(dot, empty, **options) == hausdorff(empty, dot, **options) == math.inf
            assert hausdorff(dot, dot, **options) == 0
        assert hausdorff(dots[0], dots[1], **options) == math.hypot(5, 8)
        assert hausdorff(dots[0], dots[2], **options) == 5
    assert boundary_iou(empty, empty) == 1
    for dot in dots:
        assert boundary_iou(dot, empty) == boundary_iou(empty, dot) == 0
        assert boundary_iou(dot, dot) == 1
    assert boundary_iou(dots[0], dots[1]) == 0
    one = np.ones((1, 1), bool)
    assert (boundary_iou(one, one), hausdorff(one, one)) == (1, 0)
    assert (boundary_iou(one, ~one), hausdorff(one, ~one)) == (0, math.inf)


@settings(max_examples=60, deadline=None)
@given(larger_masks, percentiles)
def test_properties_of_any_two_outlines(pair, percentile):
    prediction, target = pair
    for metric in (boundary_iou, hausdorff, lambda p, t: hausdorff(p, t, percentile)):
        value = metric(prediction, target)
        assert value >= 0
        assert value == metric(target, prediction)
        assert value == metric(prediction[:, ::-1], target[:, ::-1]) == metric(prediction[::-1].T, target[::-1].T)
    assert boundary_iou(*pair) <= 1
    assert boundary_iou(target, target) == 1
    assert hausdorff(target, target, percentile) == 0
    assert hausdorff(*pair, percentile) <= hausdorff(*pair)
    assert hausdorff(*pair) in (0, math.inf) or hausdorff(*pair) <= math.hypot(*target.shape)
    padded = [np.pad(mask, ((1, 2), (3, 0))) for mask in pair]  # what lies outside is background already
    assert hausdorff(*padded, percentile) == pytest.approx(hausdorff(*pair, percentile))
    assert boundary_iou(*padded, width=2) == boundary_iou(*pair, width=2)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(bool, (3, 5, 8)))
def test_hausdorff_obeys_the_triangle_inequality(three):
    assume(three.any((1, 2)).all())
    a, b, c = three
    assert hausdorff(a, c) <= hausdorff(a, b) + hausdorff(b, c) + 1e-9


@pytest.mark.parametrize(("metric", "expected"), [(boundary_iou, 4 / 12), (hausdorff, 1)])
def test_outlines_from_numpy_and_torch_of_any_type(metric, expected):
    """Rings of 8 pixels around 3×3, shifted by one column: they share two pixels above and two below."""
    prediction, target = rectangle(6, 9, (1, 4), (2, 5)), rectangle(6, 9, (1, 4), (3, 6))
    for dtype in (bool, np.uint8, np.int64, np.float32):
        arrays = prediction.astype(dtype), target.astype(dtype)
        tensors = tuple(map(torch.tensor, arrays))
        for pair in (arrays, tensors, (arrays[0], tensors[1])):
            assert metric(*pair) == pytest.approx(expected)
            assert type(metric(*pair)) is float


def test_contour_widths_and_percentiles_that_do_not_exist():
    mask = np.ones((4, 6), bool)
    for width in (0, -2):
        with pytest.raises(ValueError, match=f"a contour width of at least 1 pixel, got {width}"):
            boundary_iou(mask, mask, width=width)
    for width in (1.5, 2.0, math.nan, "2"):
        with pytest.raises(ValueError, match=f"a contour width in whole pixels, got {width!r}"):
            boundary_iou(mask, mask, width=width)
    for dtype in (np.int64, np.uint8):
        assert boundary_iou(disc(20, 30, 7), disc(20, 30, 8), width=dtype(2)) == boundary_iou(
            disc(20, 30, 7), disc(20, 30, 8), width=2
        )
    for percentile in (-1, 100.5, math.nan):
        with pytest.raises(ValueError, match=f"a percentile from 0 to 100, got {percentile}"):
            hausdorff(mask, mask, percentile)


def test_boundary_metrics_are_means_over_the_pairs():
    """An exact hit, both empty, one missed, and a row of 21 pixels of which one was found: 95 % are 19 away."""
    empty, dot, row = (rectangle(5, 30, (2, 3), (4, stop)) for stop in (4, 5, 25))
    pairs = [(row, row), (empty, empty), (dot, empty), (row, dot)]
    found = boundary_metrics(iter(pairs))
    assert found == pytest.approx(
        {"boundary_iou": (1 + 1 + 0 + 1 / 21) / 4, "hausdorff_95": 19 / 3, "hausdorff_95_infinite": 1 / 4}
    )
    assert {type(value) for value in found.values()} == {float}


def test_boundary_metrics_without_a_finite_distance():
    empty, dot = np.zeros((5, 8), bool), rectangle(5, 8, (2, 3), (4, 5))
    found = boundary_metrics([(empty, dot), (dot, empty)])
    assert found == {"boundary_iou": 0, "hausdorff_95_infinite": 1}


def contour_within(mask, width=1):
    """The pixels of a mask that have a background pixel of the image at most `width` rows and columns away."""
    height, across = mask.shape
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        rows, columns = range(max(0, y - width), y + width + 1), range(max(0, x - width), x + width + 1)
        found[y, x] = any(not mask[i, j] for i in rows for j in columns if i < height and j < across)
    return found


@settings(max_examples=60, deadline=None)
@given(larger_masks, st.integers(1, 3))
def test_boundary_iou_without_padding_equals_a_loop_over_neighbours(pair, width):
    expected = by_loop(*(contour_within(mask, width) for mask in pair))["iou"]
    assert boundary_iou(*pair, width=width, pad=False) == pytest.approx(expected)


def test_without_padding_there_is_no_contour_at_the_image_s_edge():
    """Rectangles on the left edge, one a column wider: each has one upright contour there, and three more beside."""
    one, other = rectangle(8, 12, (0, 8), (0, 4)), rectangle(8, 12, (0, 8), (0, 5))
    assert boundary_iou(one, other, width=1, pad=False) == 0
    assert boundary_iou(one, other, width=1) == pytest.approx((2 * 4 + 6) / (2 * 4 + 6 + 6 + 8))
    # The whole image has no contour at all, which is that of an empty mask.
    full = np.ones((8, 12), bool)
    assert boundary_iou(full, ~full, width=1, pad=False) == 1
    assert boundary_iou(full, one, width=1, pad=False) == 0
    # Away from the edge it is all the same.
    pair = disc(30, 40, 9), np.roll(disc(30, 40, 10), 1, axis=1)
    assert boundary_iou(*pair, width=2, pad=False) == boundary_iou(*pair, width=2)


MASK_METRICS = {
    "iou": iou,
    "dice": dice,
    "pixel_accuracy": pixel_accuracy,
    "boundary_iou": boundary_iou,
    "boundary_iou_1px": lambda p, t: by_loop(contour_within(p), contour_within(t))["iou"],
    "hausdorff": hausdorff,
    "hausdorff_95": lambda p, t: hausdorff_by_pairs(p, t, 95),
    "hausdorff_all": lambda p, t: hausdorff_by_pairs(p, t, boundary=False),
}


def laid_out(mask):
    """The same values in other orders in memory, by name: of an array or a tensor. Torch has no negative strides."""
    if isinstance(mask, torch.Tensor):
        larger = mask.repeat_interleave(3, 0).repeat_interleave(2, 1)
        return {"strided": larger[::3, ::2], "transposed": mask.T.contiguous().T}
    larger = np.repeat(np.repeat(mask, 3, axis=0), 2, axis=1)
    backwards = np.ascontiguousarray(mask[::-1, ::-1])[::-1, ::-1]
    return {"strided": larger[::3, ::2], "negatively strided": backwards, "Fortran": np.asfortranarray(mask)}


def contiguous(mask):
    return mask.is_contiguous() if isinstance(mask, torch.Tensor) else mask.flags.c_contiguous


ANY_PAIRS = {
    "noise": tuple(np.random.default_rng(0).random((2, 19, 31)) < 0.3),
    "large rounded objects": (disc(120, 170, 31), np.roll(disc(120, 170, 33), 5, axis=1)),
    "at the edge": (rectangle(20, 30, (0, 8), (0, 9)), rectangle(20, 30, (0, 7), (2, 12))),
    "one empty": (np.zeros((6, 9), bool), disc(6, 9, 2)),
}


@pytest.mark.parametrize("pair", ANY_PAIRS.values(), ids=ANY_PAIRS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"])
def test_no_metric_depends_on_type_or_order_in_memory(pair, dtype):
    expected = mask_metrics(*pair)
    tensors = [torch.tensor(mask).to(getattr(torch, dtype)) for mask in pair]
    given = {"a tensor": tensors}
    if dtype != "bfloat16":  # which NumPy has not
        given["an array"] = [mask.astype(dtype) for mask in pair]
    for masks in given.values():
        assert mask_metrics(*masks) == expected
        for one, other in zip(*(laid_out(mask).values() for mask in masks)):
            assert not contiguous(one)
            assert mask_metrics(one, other) == mask_metrics(one, masks[1]) == expected
            if "int" in dtype or dtype == "bool":
                assert mean_iou(one, other, 2) == mean_iou(*pair, 2)


def test_mean_metrics_are_the_means_of_the_single_ones():
    """Of images of several sizes, one pair of which has no prediction and one neither."""
    whole = rectangle(20, 31, (0, 20), (3, 20)), rectangle(20, 31, (2, 17), (0, 22))
    ring = disc(60, 80, 15) & ~disc(60, 80, 9)
    ring[30, 64] = True  # astray, which 95 % forgive
    pairs = [whole, (disc(33, 25, 8), disc(33, 25, 11)), (ring, disc(60, 80, 16))]
    missed = np.zeros((9, 14), bool), disc(9, 14, 3)
    nothing = np.zeros((7, 5), bool), np.zeros((7, 5), bool)
    single = [mask_metrics(*pair) for pair in [*pairs, missed, nothing]]
    found = mean_metrics(single)
    expected = {"hausdorff_infinite": 1 / 5, "images": 5}
    for name, metric in MASK_METRICS.items():
        values = [metric(*pair) for pair in [*pairs, missed, nothing]]
        assert [one[name] for one in single] == pytest.approx(values)
        if name.startswith("hausdorff"):
            assert values[3] == math.inf
            del values[3]
        expected[name] = sum(values) / len(values)
    assert found == pytest.approx(expected)
    assert len({round(found[name], 6) for name in MASK_METRICS}) == 8  # none stands in for another
    assert {type(value) for name, value in found.items() if name != "images"} == {float}
    assert json.loads(json.dumps(found)) == found


def test_mean_metrics_of_one_are_its_own():
    wedge, bar = np.tri(90, 120, -2, dtype=bool), rectangle(90, 120, (0, 90), (0, 3))
    one = mask_metrics(wedge, bar)
    assert mean_metrics([one]) == one | {"hausdorff_infinite": 0, "images": 1}
    assert hausdorff(wedge, bar, 92) < one["hausdorff_95"] == hausdorff(wedge, bar, 95) < hausdorff(wedge, bar, 96)


def test_mean_metrics_without_a_finite_distance():
    empty, dot = np.zeros((5, 8), bool), rectangle(5, 8, (2, 3), (4, 5))
    found = mean_metrics([mask_metrics(*pair) for pair in ((empty, dot), (dot, empty))])
    zero = {"iou": 0, "dice": 0, "pixel_accuracy": 39 / 40, "boundary_iou": 0, "boundary_iou_1px": 0}
    assert found == pytest.approx(zero | {"hausdorff_infinite": 1, "images": 2})


# --- streaming ---


def random_batch(n, height, width, seed=0):
    """Logits and 0/1 targets (N, 1, H, W), some pairs of them empty."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 2, (n, 1, height, width))
    target = (rng.random((n, 1, height, width)) < 0.4).astype(np.float32)
    logits[::4], target[::4] = -abs(logits[::4]) - 0.1, 0
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(target)


def measure(*batches):
    metrics = BinaryMetrics()
    for logits, target in batches:
        metrics.update(BinaryMetrics.count(logits, target))
    return metrics.compute()


def expected_of(pairs):
    """What BinaryMetrics should give, from logits and targets (1, H, W) one image at a time, in float64."""
    images = [by_loop(logits >= 0, target) for logits, target in pairs]
    pooled = by_loop(
        np.concatenate([np.ravel(logits >= 0) for logits, _ in pairs]),
        np.concatenate([np.ravel(target) for _, target in pairs]),
    )
    p = [1 / (1 + np.exp(-logits.double().numpy())) for logits, _ in pairs]
    bce = [np.mean(-np.log(np.where(target == 1, q, 1 - q))) for q, (_, target) in zip(p, pairs)]
    return {name: np.mean([image[name] for image in images]) for name in images[0]} | {
        "iou_pooled": pooled["iou"],
        "dice_pooled": pooled["dice"],
        "mean_iou_pooled": pooled["mean_iou"],
        "bce": np.mean(bce),
        "images": len(pairs),
    }


def test_set_equals_its_images():
    logits, target = random_batch(9, 5, 11)
    assert measure((logits, target)) == pytest.approx(expected_of(list(zip(logits, target))), rel=1e-6)


def test_images_of_different_sizes_count_the_same():
    batches = [random_batch(3, 4, 9, seed=1), random_batch(2, 13, 2, seed=2)]
    pairs = [pair for batch in batches for pair in zip(*batch)]
    assert measure(*batches) == pytest.approx(expected_of(pairs), rel=1e-6)


def test_mean_iou_equals_torchmetrics():
    """Their mean over the two classes leaves out one that nobody sees; then the other is found whole, and so is it."""
    sets = [random_batch(5, 6, 11), random_batch(4, 9, 4, seed=1)]
    sets += [(torch.full((1, 1, 3, 5), value), torch.full((1, 1, 3, 5), float(value > 0))) for value in (2.0, -2.0)]
    some = torch.Generator().manual_seed(2)
    sets += [(x, t.masked_fill(torch.rand(t.shape, generator=some) < 0.3, 255)) for x, t in sets[:2]]

    def jaccard():
        return JaccardIndex(task="multiclass", num_classes=2, average="macro", ignore_index=255)

    each, pooled = [], jaccard()
    for logits, target in sets:
        for prediction, truth in zip((logits >= 0).int(), target.int()):
            each.append(jaccard()(prediction, truth).item())
            pooled.update(prediction, truth)
    found = measure(*sets)
    assert found["images"] == len(each) == 20
    assert found["mean_iou"] == pytest.approx(np.mean(each), rel=1e-6)
    assert found["mean_iou_pooled"] == pytest.approx(pooled.compute().item(), rel=1e-6)


def test_mean_iou_does_not_tell_object_from_background():
    logits, target = random_batch(9, 5, 11)
    found, inside_out = measure((logits, target)), measure((-logits, 1 - target))
    for name in ("mean_iou", "mean_iou_pooled"):
        assert inside_out[name] == pytest.approx(found[name])
    # The mean of what each of the two is called alone.
    assert found["mean_iou"] == pytest.approx((found["iou"] + inside_out["iou"]) / 2)
    assert found["mean_iou_pooled"] == pytest.approx((found["iou_pooled"] + inside_out["iou_pooled"]) / 2)


@pytest.mark.parametrize(("logit", "truth", "expected"), [(3.0, 1.0, 1), (-3.0, 0.0, 1), (3.0, 0.0, 0), (-3.0, 1.0, 0)])
def test_mean_iou_of_empty_and_full_masks(logit, truth, expected):
    found = measure((torch.full((2, 1, 3, 5), logit), torch.full((2, 1, 3, 5), truth)))
    assert found["mean_iou"] == found["mean_iou_pooled"] == expected


def test_nothing_but_background_gets_half_of_the_mean_iou():
    """As many do for a small object: 1 − share for the background, and nothing for the object."""
    target = torch.zeros(1, 1, 4, 10)
    target[..., :2, :5] = 1
    found = measure((torch.full((1, 1, 4, 10), -1.0), target))
    assert found["mean_iou"] == found["mean_iou_pooled"] == pytest.approx((0 + 30 / 40) / 2)


def test_averaged_and_pooled_by_hand():
    """One pixel found of one, and none of four: the mean of 1 and 0 beside one of five."""
    logits = torch.tensor([[[1.0, -1, -1], [-1, -1, -1]], [[-1.0, -1, -1], [-1, -1, -1]]])[:, None]
    target = torch.tensor([[[1.0, 0, 0], [0, 0, 0]], [[1.0, 1, 1], [1, 0, 0]]])[:, None]
    result = measure((logits, target))
    assert result["iou"] == result["dice"] == 1 / 2
    assert result["iou_pooled"] == pytest.approx(1 / 5)
    assert result["dice_pooled"] == pytest.approx(2 / 6)
    assert result["mean_iou"] == pytest.approx((1 / 2 + (1 + 2 / 6) / 2) / 2)  # background: 5 of 5, and 2 of 6
    assert result["mean_iou_pooled"] == pytest.approx((1 / 5 + 7 / 11) / 2)
    assert result["pixel_accuracy"] == pytest.approx((6 + 2) / 12)
    wrong, right = math.log1p(math.e), math.log1p(1 / math.e)
    assert result["bce"] == pytest.approx((8 * right + 4 * wrong) / 12)


def test_a_logit_of_zero_is_foreground():
    assert measure((torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3)))["iou"] == 1


def test_pairs_that_are_all_empty():
    result = measure((torch.full((2, 1, 2, 3), -9.0), torch.zeros(2, 1, 2, 3)))
    assert result["iou"] == result["dice"] == result["iou_pooled"] == result["dice_pooled"] == 1


def test_memory_stays_constant():
    metrics, sizes = BinaryMetrics(), set()
    for seed in range(20):
        metrics.update(BinaryMetrics.count(*random_batch(8, 6, 9, seed)))
        held = [value for value in vars(metrics).values() if isinstance(value, torch.Tensor)]
        sizes.add((len(vars(metrics)), len(held), *(tensor.numel() for tensor in held)))
    assert len(sizes) == 1
    assert sum(tensor.numel() for tensor in held) <= 16


def test_pooled_counts_stay_exact_beyond_float32():
    metrics = BinaryMetrics()
    metrics.update(torch.tensor([[2.0**24, 0, 0, 0, 0, 0]]))
    metrics.update(torch.tensor([[1.0, 0, 1, 0, 0, 0]]))
    assert metrics.compute()["iou_pooled"] == (2**24 + 1) / (2**24 + 2)
    pixels = 4097**2  # of one image, of which float32 would lose the last
    counts = BinaryMetrics.count(torch.ones(1, 1, 4097, 4097), torch.ones(1, 1, 4097, 4097))
    assert counts[0, :4].tolist() == [pixels, 0, 0, 0]


def test_half_precision_logits():
    logits, target = torch.full((1, 1, 300, 400), 5.0, dtype=torch.float16), torch.ones(1, 1, 300, 400)
    result = measure((logits, target))
    assert result["bce"] == pytest.approx(math.log1p(math.exp(-5)), rel=1e-4)
    assert result["iou_pooled"] == 1


def test_no_image_has_no_metrics():
    with pytest.raises(ValueError, match="at least one image"):
        BinaryMetrics().compute()


def test_an_empty_batch_has_no_metrics():
    metrics = BinaryMetrics()
    metrics.update(BinaryMetrics.count(torch.zeros(0, 1, 4, 6), torch.zeros(0, 1, 4, 6)))
    with pytest.raises(ValueError, match="at least one image"):
        metrics.compute()


@pytest.mark.parametrize(
    ("logits", "target"),
    [((2, 1, 4, 6), (2, 1, 6, 4)), ((2, 3, 4, 6), (2, 3, 4, 6)), ((2, 4, 6), (2, 4, 6)), ((2, 1, 4, 6), (2, 4, 6))],
)
def test_batches_of_the_wrong_shape(logits, target):
    with pytest.raises(ValueError, match=r"expected .* \(N, 1, H, W\), got .* and "):
        BinaryMetrics.count(torch.zeros(logits), torch.zeros(target))


def padded_to(pair, height, width):
    """A pair (1, H, W) in a larger image, where the logits say foreground and the target is 255."""
    room = (0, width - pair[0].shape[2], 0, height - pair[0].shape[1])
    return torch.nn.functional.pad(pair[0], room, value=5), torch.nn.functional.pad(pair[1], room, value=255)


def test_ignored_pixels_do_not_count():
    """A batch of images of three sizes, padded to the largest, is measured as each of them alone."""
    batches = [random_batch(2, *size, seed) for seed, size in enumerate([(4, 9), (7, 3), (6, 8)])]
    pairs = [pair for batch in batches for pair in zip(*batch)]
    logits, target = (torch.stack(column) for column in zip(*(padded_to(pair, 7, 9) for pair in pairs)))
    assert (target == 255).any()
    for dtype in (torch.float32, torch.uint8, torch.int64):
        assert measure((logits, target.to(dtype))) == pytest.approx(expected_of(pairs), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0.05, 0.9))
def test_any_pixels_may_be_ignored(seed, share):
    logits, target = random_batch(3, 5, 8, seed)
    ignored = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < share
    assume(not ignored.flatten(1).all(1).any())
    assume((target[~ignored] == 1).any())  # else it would be taken for a set of 0 and 255
    left = [(x[~gone][None, None], t[~gone][None, None]) for x, t, gone in zip(logits, target, ignored)]
    expected = expected_of([(x[0], t[0]) for x, t in left])
    assert measure((logits, target.masked_fill(ignored, 255))) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_logits_at_ignored_pixels_may_be_anything():
    logits, target = torch.randn(2, 1, 4, 6), torch.randint(0, 2, (2, 1, 4, 6)).float()
    ignored = torch.rand(target.shape) < 0.3
    target = target.masked_fill(ignored, 255)
    for there in (torch.nan, torch.inf):
        assert measure((logits.masked_fill(ignored, there), target)) == measure((logits, target))


def test_an_image_that_is_ignored_altogether_is_finite():
    logits, target = torch.full((1, 1, 4, 6), 3.0), torch.full((1, 1, 4, 6), 255.0)
    assert BinaryMetrics.count(logits, target).tolist() == [[0, 0, 0, 0, 0, 0]]
    found = measure((logits, target))
    assert found == {name: 1 for name in BinaryMetrics.NAMES} | {"bce": 0, "images": 1}


def test_a_set_of_masks_of_0_and_255_has_no_metrics():
    """Its objects are ignored, and a network that finds nothing would have an IoU of 1."""
    logits, target = torch.full((4, 1, 6, 9), -10.0), 255 * random_batch(4, 6, 9)[1]
    assert target.any()
    meter = BinaryMetrics()
    meter.update(meter.count(logits, target))
    with pytest.raises(ValueError, match=r"got only 0 and 255 in all 4 images; divide a 0/255 mask by 255"):
        meter.compute()
    with pytest.raises(ValueError, match="divide a 0/255 mask"):
        measure((logits, target.byte()), (logits, torch.zeros_like(target)))  # also with some that are empty
    meter.update(meter.count(logits[:1], torch.ones(1, 1, 6, 9)))  # one object, and the others are what is ignored
    assert meter.compute()["images"] == 5


def test_a_padded_picture_without_an_object_is_measured():
    """As `pad_batch` pads, on the right and at the bottom: of such pixels there is no doubt what they are."""
    logits, target = torch.full((2, 1, 4, 6), -10.0), torch.zeros(2, 1, 4, 6)
    room = [(0, 3, 0, 2), (0, 3, 0, 0), (0, 0, 0, 2)]
    batches = [(F.pad(logits, more, value=5), F.pad(target, more, value=255)) for more in room]
    assert measure(*batches) == pytest.approx(measure((logits, target)) | {"images": 6})
    for more in ((3, 0, 0, 0), (0, 0, 2, 0)):
        with pytest.raises(ValueError, match="divide a 0/255 mask"):
            measure((F.pad(logits, more), F.pad(target, more, value=255)))


@pytest.mark.parametrize(("value", "came"), [(7, "0 to 7"), (math.nan, "nan"), (-1, "-1 to 0"), (254, "0 to 254")])
def test_targets_that_are_no_masks_are_not_counted(value, came):
    target = torch.zeros(2, 1, 4, 6)
    target[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=rf"expected target values in \[0, 1\], or 255 .*, got .*{came}.*by 255"):
        BinaryMetrics.count(torch.zeros(2, 1, 4, 6), target)


def test_bins_without_pixels_are_left_out_and_a_certain_pixel_is_in_the_last():
    predicted, observed, error = reliability(np.array([0.05, 0.15, 0.89, 0.92, 1.0]), np.array([0, 1, 1, 1, 0]))
    assert predicted == pytest.approx([0.05, 0.15, 0.89, 0.96])
    assert observed == pytest.approx([0, 1, 1, 0.5])
    assert error == pytest.approx((0.05 + 0.85 + 0.11 + 2 * 0.46) / 5)


def test_counting_a_batch_never_waits_for_the_device():
    """On the meta device there are no values: whoever asks for one, as a copy to the host does, gets an error."""
    metrics = BinaryMetrics()
    for _ in range(2):
        logits, target = (torch.empty(3, 1, 8, 12, device="meta") for _ in range(2))
        metrics.update(metrics.count(logits, target))
    assert metrics.totals.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        metrics.compute()
