"""What must hold for any input: of losses, metrics, and metrics of sets.

No value is expected here but what another order, place, name or split of the same pixels gives.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seglib.losses import LOSSES, boundary_loss, cross_entropy_loss, focal_loss, signed_distance, weighted_sum
from seglib.metrics import (
    BinaryMetrics,
    ClassMetrics,
    boundary_iou,
    class_ious,
    confusion_matrix,
    dice,
    hausdorff,
    iou,
    mean_iou,
    pixel_accuracy,
    reliability,
)

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::seglib.losses.TargetWarning"),  # where chance ignored every object
]

BINARY = [name for name in LOSSES if name != "ce"]
OF_CLASSES = [name for name in LOSSES if name != "bce"]
# Losses that never ask where a pixel lies, and of those the ones that are means over pixels.
OF_REGIONS, OF_PIXELS = ("bce", "ce", "focal", "dice", "iou"), ("bce", "ce", "focal")
CLASSES = 4

some = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31 - 1)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7))
shares = st.sampled_from([0.0, 0.2, 0.8])


def batch(kind, size, seed, ignored=0.0):
    """Logits and targets, float64: binary ones, or of classes."""
    generator = torch.Generator().manual_seed(seed)
    count, *shape = size
    channels = 1 if kind == "binary" else CLASSES
    logits = 2 * torch.randn(count, channels, *shape, generator=generator, dtype=torch.float64)
    if kind == "binary":
        target = (torch.rand(count, 1, *shape, generator=generator) < 0.4).double()
    else:
        target = torch.randint(0, CLASSES, (count, *shape), generator=generator)
    return logits, target.masked_fill(torch.rand(target.shape, generator=generator) < ignored, 255)


def losses_of(kind):
    return {name: LOSSES[name] for name in (BINARY if kind == "binary" else OF_CLASSES)}


def close(value):
    return pytest.approx(value.item(), rel=1e-6, abs=1e-9)


kinds = pytest.mark.parametrize("kind", ["binary", "classes"])


# --- losses ---


@kinds
@some
@given(size=sizes, seed=seeds, ignored=shares, order=st.permutations(range(3)))
def test_no_loss_depends_on_the_order_or_the_orientation_of_images(kind, size, seed, ignored, order):
    logits, target = batch(kind, size, seed, ignored)
    order = [n for n in order if n < size[0]]
    for name, loss in losses_of(kind).items():
        value = close(loss(logits, target))
        assert loss(logits[order], target[order]).item() == value, name
        assert loss(logits.flip(-1), target.flip(-1)).item() == value, name
        assert loss(logits.flip(-2), target.flip(-2)).item() == value, name
        assert loss(logits.mT, target.mT).item() == value, name


@kinds
@some
@given(size=sizes, seed=seeds, ignored=shares)
def test_losses_of_regions_do_not_depend_on_where_a_pixel_lies(kind, size, seed, ignored):
    logits, target = batch(kind, size, seed, ignored)
    order = torch.randperm(size[1] * size[2], generator=torch.Generator().manual_seed(seed))
    moved = [tensor.flatten(-2)[..., order].view(tensor.shape) for tensor in (logits, target)]
    for name in OF_REGIONS:
        if name in losses_of(kind):
            assert LOSSES[name](*moved).item() == close(LOSSES[name](logits, target)), name


@kinds
@some
@given(size=sizes, seed=seeds)
def test_a_loss_of_a_batch_is_the_mean_of_its_images(kind, size, seed):
    logits, target = batch(kind, size, seed)
    for name, loss in losses_of(kind).items():
        each = torch.stack([loss(*pair) for pair in zip(logits.split(1), target.split(1))])
        assert loss(logits, target).item() == close(each.mean()), name


@some
@given(size=sizes, seed=seeds, place=st.tuples(st.integers(1, 4), st.integers(1, 5)))
def test_losses_of_outlines_do_not_depend_on_where_the_object_lies(size, seed, place):
    """Nor does any other: in a larger picture of certain background, a pixel from its edge, where the outside ends."""
    logits, target = batch("binary", size, seed)
    larger = []
    for top, left in ((1, 1), place):
        room = (left, 6 - left, top, 5 - top)
        larger.append((F.pad(logits, room, value=-1e3), F.pad(target, room)))
    for name, loss in losses_of("binary").items():
        assert loss(*larger[0]).item() == close(loss(*larger[1])), name


@some
@given(size=sizes, seed=seeds, ignored=shares, order=st.permutations(range(CLASSES)))
def test_no_loss_depends_on_the_classes_numbers(size, seed, ignored, order):
    logits, target = batch("classes", size, seed, ignored)
    renamed = torch.full_like(target, 255)
    for new, old in enumerate(order):
        renamed[target == old] = new
    for name, loss in losses_of("classes").items():
        assert loss(logits[:, order], renamed).item() == close(loss(logits, target)), name
    weights = [0.5, 1.0, 2.0, 5.0]
    value = cross_entropy_loss(logits[:, order], renamed, [weights[old] for old in order])
    assert value.item() == close(cross_entropy_loss(logits, target, weights))


@some
@given(size=sizes, seed=seeds, ignored=shares)
def test_what_all_classes_logits_have_in_common_does_not_matter(size, seed, ignored):
    """Softmax is of differences."""
    logits, target = batch("classes", size, seed, ignored)
    common = 9 * torch.randn(size[0], 1, *size[1:], generator=torch.Generator().manual_seed(seed)).double()
    for name, loss in losses_of("classes").items():
        assert loss(logits + common, target).item() == close(loss(logits, target)), name


@kinds
@some
@given(size=sizes, seed=seeds, ignored=shares)
def test_losses_are_bounded_by_each_other(kind, size, seed, ignored):
    logits, target = batch(kind, size, seed, ignored)
    found = {name: loss(logits, target).item() for name, loss in losses_of(kind).items()}
    entropy = found["bce" if kind == "binary" else "ce"]
    assert 0 <= focal_loss(logits, target, 3.0).item() <= found["focal"] <= focal_loss(logits, target, 1.0).item()
    assert found["focal"] <= entropy + 1e-12
    assert 0 <= found["dice"] <= found["iou"] < 1
    assert found["sobel_boundary"] >= 0
    to_object = signed_distance(target).abs().max().item() if kind == "binary" else math.hypot(*size[1:])
    assert abs(found["boundary"]) <= to_object + 1e-9


@kinds
@some
@given(size=sizes, seed=seeds, step=st.floats(0.01, 4))
def test_no_loss_of_regions_grows_where_a_pixel_gets_better(kind, size, seed, step):
    """One logit after the other is moved towards the truth, and each time all of them fall."""
    logits, target = batch(kind, size, seed)
    logits /= 2  # so that nowhere a loss is too small already
    towards = 2 * target - 1 if kind == "binary" else F.one_hot(target, CLASSES).permute(0, 3, 1, 2).double()
    order = torch.randperm(target.numel(), generator=torch.Generator().manual_seed(seed))[:6]
    for name in OF_REGIONS:
        if name in losses_of(kind):
            better, values = logits.clone(), [LOSSES[name](logits, target).item()]
            for place in order.tolist():
                at = np.unravel_index(place, (size[0], *size[1:]))
                better[at[0], :, *at[1:]] += step * towards[at[0], :, *at[1:]]
                values.append(LOSSES[name](better, target).item())
            assert all(after < before for before, after in pairwise(values)), name


@kinds
@some
@given(size=sizes, seed=seeds, ignored=shares, share=st.floats(0, 1))
def test_cross_entropy_is_convex(kind, size, seed, ignored, share):
    """Between two predictions it lies below the straight line."""
    one, target = batch(kind, size, seed, ignored)
    other = batch(kind, size, seed + 1)[0]
    loss = losses_of(kind)["bce" if kind == "binary" else "ce"]
    line = share * loss(one, target).item() + (1 - share) * loss(other, target).item()
    assert loss(share * one + (1 - share) * other, target).item() <= line + 1e-9


@some
@given(size=sizes, seed=seeds, ignored=shares)
def test_object_and_background_change_places(size, seed, ignored):
    logits, target = batch("binary", size, seed, ignored)
    inside_out = torch.where(target == 255, 255, 1 - target)
    for name in ("bce", "focal"):
        assert LOSSES[name](-logits, inside_out).item() == close(LOSSES[name](logits, target)), name
    # Of a distance map, 1 less the other's.
    phi, other = signed_distance(target), signed_distance(inside_out)
    both = ((target == 1).any((2, 3)) & (target == 0).any((2, 3)))[..., None, None] & (target != 255)
    torch.testing.assert_close(other, torch.where(both, 1 - phi, 0))


@some
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_a_distance_map_changes_by_at_most_a_pixel_from_one_to_the_next(mask):
    phi = signed_distance(torch.from_numpy(mask).double()[None, None])[0, 0]
    assert all(phi.diff(dim=axis).abs().le(1 + 1e-5).all() for axis in (0, 1))
    if mask.any() and not mask.all():
        assert ((phi.numpy() > 0) == ~mask).all()


@some
@given(size=sizes, seed=seeds, weight=st.floats(-3, 3))
def test_the_boundary_loss_is_linear_in_the_distance_map(size, seed, weight):
    logits, _ = batch("classes", size, seed)
    one, other = batch("classes", size, seed + 1)[0], batch("classes", size, seed + 2)[0]
    sum_of_both = boundary_loss(logits, one) + weight * boundary_loss(logits, other)
    assert boundary_loss(logits, one + weight * other).item() == close(sum_of_both)


@kinds
@some
@given(size=sizes, seed=seeds, ignored=shares, weights=st.lists(st.floats(0.01, 5), min_size=6, max_size=6))
def test_a_sum_of_losses_and_its_gradient_are_the_weighted_ones(kind, size, seed, ignored, weights):
    logits, target = batch(kind, size, seed, ignored)
    named = dict(zip(losses_of(kind), weights))
    logits.requires_grad_()
    value = weighted_sum(named)(logits, target)
    single = {name: LOSSES[name](logits, target) for name in named}
    assert value.item() == close(sum(weight * single[name] for name, weight in named.items()))
    (slope,) = torch.autograd.grad(value, logits)
    slopes = {name: torch.autograd.grad(loss, logits)[0] for name, loss in single.items()}
    torch.testing.assert_close(slope, sum(weight * slopes[name] for name, weight in named.items()))


# --- metrics of one mask ---


shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
pairs = shapes.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))


@some
@given(pair=pairs, seed=seeds)
def test_overlaps_grow_with_every_pixel_that_is_put_right(pair, seed):
    """In any order, until they are 1."""
    prediction, target = pair[0].copy(), pair[1]
    wrong = np.argwhere(prediction != target)
    values = {metric: [metric(prediction, target)] for metric in (iou, dice, pixel_accuracy)}
    for place in np.random.default_rng(seed).permutation(wrong):
        prediction[tuple(place)] ^= True
        for metric, found in values.items():
            found.append(metric(prediction, target))
    for metric, found in values.items():
        assert found[-1] == 1
        assert all(before <= after for before, after in pairwise(found)), metric
        if metric is pixel_accuracy:
            assert np.diff(found) == pytest.approx(1 / target.size)


@some
@given(pair=pairs, seed=seeds)
def test_overlaps_do_not_depend_on_where_a_pixel_lies(pair, seed):
    order = np.random.default_rng(seed).permutation(pair[0].size)
    moved = [mask.ravel()[order].reshape(mask.T.shape) for mask in pair]
    for metric in (iou, dice, pixel_accuracy):
        assert metric(*moved) == metric(*pair)
    assert pixel_accuracy(~pair[0], ~pair[1]) == pixel_accuracy(*pair)
    assert pixel_accuracy(~pair[0], pair[1]) == pytest.approx(1 - pixel_accuracy(*pair))


@some
@given(pair=pairs, copies=st.integers(2, 3), width=st.integers(1, 3))
def test_a_picture_of_several_copies_scores_as_each(pair, copies, width):
    """Side by side, with background between them."""
    apart = [np.pad(mask, 1) for mask in pair]
    several = [np.tile(mask, (1, copies)) for mask in apart]
    for metric in (iou, dice, pixel_accuracy, lambda p, t: boundary_iou(p, t, width=width)):
        assert metric(*several) == pytest.approx(metric(*apart))
    # The nearest point may be in a neighbouring copy, but never further.
    assert hausdorff(*several) <= hausdorff(*apart)


@some
@given(pair=pairs, step=st.integers(2, 4), percentile=st.floats(0, 100))
def test_points_that_are_spread_out_are_as_many_times_as_far_apart(pair, step, percentile):
    """Then each of them is its own boundary."""
    spread = [np.kron(mask, np.pad([[True]], ((0, step - 1), (0, step - 1)))) for mask in pair]
    expected = hausdorff(*pair, percentile, boundary=False) * step
    for boundary in (True, False):
        assert hausdorff(*spread, percentile, boundary) == pytest.approx(expected)


@some
@given(mask=hnp.arrays(bool, shapes), shift=st.tuples(st.integers(0, 4), st.integers(0, 4)), boundary=st.booleans())
def test_a_mask_is_no_further_from_its_shifted_self_than_the_shift(mask, shift, boundary):
    assume(mask.any())
    (down, across), room = shift, 4
    one = np.pad(mask, ((0, room), (0, room)))
    other = np.pad(mask, ((down, room - down), (across, room - across)))
    assert hausdorff(one, other, boundary=boundary) <= math.hypot(*shift) + 1e-9
    extent = np.argwhere(mask)
    if (extent.min(0) == extent.max(0)).all():  # one pixel is as far
        assert hausdorff(one, other, boundary=boundary) == pytest.approx(math.hypot(*shift))


@some
@given(nested=shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 3))))
def test_the_more_is_missing_the_further_away(nested):
    """Of nested masks A ⊂ B ⊂ C, C is at least as far from A as B is, and B as near to C; and overlaps the less."""
    a, b, c = (nested >= level for level in (3, 2, 1))
    assert hausdorff(a, b, boundary=False) <= hausdorff(a, c, boundary=False)
    assert hausdorff(b, c, boundary=False) <= hausdorff(a, c, boundary=False)
    for metric in (iou, dice, pixel_accuracy):
        assert metric(a, c) <= min(metric(b, c), metric(a, b))


@some
@given(pair=pairs, percentiles=st.lists(st.floats(0, 100), min_size=2, max_size=4), boundary=st.booleans())
def test_hausdorff_grows_with_the_percentile(pair, percentiles, boundary):
    found = [hausdorff(*pair, percentile, boundary) for percentile in sorted(percentiles)]
    assert all(before <= after + 1e-9 for before, after in pairwise(found))


@some
@given(pair=pairs, turn=st.integers(1, 3), width=st.none() | st.integers(1, 3))
def test_metrics_do_not_depend_on_orientation(pair, turn, width):
    turned = [np.rot90(mask, turn) for mask in pair]
    for pad in (True, False):
        assert boundary_iou(*turned, width=width, pad=pad) == boundary_iou(*pair, width=width, pad=pad)
    for percentile in (50, 95, 100):
        assert hausdorff(*turned, percentile) == pytest.approx(hausdorff(*pair, percentile))


# --- metrics of classes ---


maps = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.int64, shape, elements=st.integers(0, 3))] * 2))


@some
@given(pair=maps, order=st.permutations(range(CLASSES)), seed=seeds)
def test_a_confusion_matrix_is_of_the_classes_not_of_their_numbers(pair, order, seed):
    said, true = pair[0], np.where(np.random.default_rng(seed).random(pair[1].shape) < 0.2, 255, pair[1])
    names = np.arange(256)
    names[:CLASSES] = order  # class k is now called order[k]
    found, renamed = (confusion_matrix(*two, CLASSES, 255) for two in ((said, true), (names[said], names[true])))
    assert (renamed[np.ix_(order, order)] == found).all()
    np.testing.assert_array_equal(class_ious(renamed)[order], class_ious(found))
    values = [
        mean_iou(*two, CLASSES, 255, exclude=exclude)
        for two, exclude in (((said, true), (1,)), ((names[said], names[true]), (order[1],)))
    ]
    assert values[1] == pytest.approx(values[0], nan_ok=True)


@some
@given(pair=maps, seed=seeds)
def test_a_confusion_matrix_counts_every_pixel_once(pair, seed):
    said, true = pair
    found = confusion_matrix(said, true, CLASSES)
    assert (found.sum(1) == [(true == k).sum() for k in range(CLASSES)]).all()
    assert (found.sum(0) == [(said == k).sum() for k in range(CLASSES)]).all()
    assert np.trace(found) / found.sum() == pytest.approx(pixel_accuracy(said, true))
    assert (confusion_matrix(true, said, CLASSES) == found.T).all()
    rows = sum(confusion_matrix(said[i : i + 1], true[i : i + 1], CLASSES) for i in range(len(true)))
    assert (rows == found).all()
    for k in range(CLASSES):
        assert class_ious(found)[k] == pytest.approx(iou(said == k, true == k)) or not (found[k] + found[:, k]).any()


# --- metrics of sets ---


class_names = tuple("abcd")
cuts = st.lists(st.integers(1, 7), unique=True).map(sorted)


def measurable(target):
    """A target that a meter takes: not one that holds but 0 and 255, as a mask that was not divided by 255."""
    assume(target.ndim == 3 or (target == 1).any() or not (target == 255).any())
    return target


def metered(kind, *batches, unlabelled=None):
    meter = BinaryMetrics() if kind == "binary" else ClassMetrics(class_names, unlabelled)
    for pair in batches:
        meter.update(meter.count(*pair))
    return meter


def alike(found):
    return pytest.approx(found, rel=1e-6, nan_ok=True)


@kinds
@some
@given(cuts=cuts, seed=seeds, ignored=shares, order=st.permutations(range(8)), unlabelled=st.sampled_from([None, 0, 3]))
def test_a_set_is_measured_alike_in_any_split_and_order(kind, cuts, seed, ignored, order, unlabelled):
    """And so it is where each part has a meter of its own, and their totals are added."""
    logits, target = batch(kind, (8, 3, 5), seed, ignored)
    measurable(target)
    whole = metered(kind, (logits, target), unlabelled=unlabelled).compute()
    lengths = np.diff([0, *cuts, 8]).tolist()
    parts = list(zip(logits[order].split(lengths), target[order].split(lengths)))
    assert metered(kind, *parts, unlabelled=unlabelled).compute() == alike(whole)
    summed = metered(kind, unlabelled=unlabelled)
    summed.totals = sum(metered(kind, part, unlabelled=unlabelled).totals for part in parts)
    assert summed.compute() == alike(whole)


@some
@given(seed=seeds, ignored=shares, unlabelled=st.integers(0, CLASSES - 1))
def test_what_is_predicted_where_nobody_labelled_does_not_matter_to_the_labelled(seed, ignored, unlabelled):
    """As if those pixels were ignored; but in the means over all pixels they count."""
    logits, target = batch("classes", (3, 4, 6), seed, ignored)
    found = metered("classes", (logits, target), unlabelled=unlabelled).compute()
    ignoring = target.masked_fill(target == unlabelled, 255)
    alone = metered("classes", (logits, ignoring), unlabelled=unlabelled).compute()
    names = {name for name in alone if name.startswith("iou_")} | {"mean_iou", "pixel_accuracy_labelled"}
    assert {name: found[name] for name in names} == alike({name: alone[name] for name in names})
    assert f"iou_{class_names[unlabelled]}" not in found
    assert alone["mean_iou_all_pixels"] == alike(found["mean_iou"])
    assert found["mean_iou_all_pixels"] <= found["mean_iou"] or math.isnan(found["mean_iou"])


@kinds
@some
@given(seed=seeds, ignored=shares, scale=st.floats(0.01, 100))
def test_only_cross_entropy_asks_how_sure_a_prediction_is(kind, seed, ignored, scale):
    logits, target = batch(kind, (3, 4, 6), seed, ignored)
    measurable(target)
    found, scaled = (metered(kind, (x, target)).compute() for x in (logits, scale * logits))
    for name in ("bce", "ce"):
        found.pop(name, None)
        scaled.pop(name, None)
    assert scaled == alike(found)


@kinds
@some
@given(seed=seeds, ignored=shares, turn=st.integers(1, 3))
def test_metrics_of_sets_do_not_depend_on_orientation(kind, seed, ignored, turn):
    logits, target = batch(kind, (3, 4, 6), seed, ignored)
    measurable(target)
    turned = [tensor.rot90(turn, (-2, -1)) for tensor in (logits, target)]
    assert metered(kind, turned).compute() == alike(metered(kind, (logits, target)).compute())


@some
@given(seed=seeds, ignored=shares)
def test_two_classes_are_measured_as_object_and_background(seed, ignored):
    """Softmax of (0, x) is (1 − σ(x), σ(x)); both classes are in every set of six images."""
    logits, target = batch("binary", (6, 5, 8), seed, ignored)
    measurable(target)
    binary = metered("binary", (logits, target)).compute()
    meter = ClassMetrics(("background", "object"))
    meter.update(meter.count(torch.cat([torch.zeros_like(logits), logits], 1), target[:, 0].long()))
    found = meter.compute()
    assert found["iou_object"] == alike(binary["iou_pooled"])
    assert found["mean_iou"] == alike(binary["mean_iou_pooled"])
    assert found["ce"] == alike(binary["bce"])
    if not ignored:  # then every image has as many pixels
        assert found["pixel_accuracy"] == alike(binary["pixel_accuracy"])


@some
@given(seed=seeds, bins=st.integers(1, 12), share=st.floats(0, 1))
def test_calibration_does_not_depend_on_the_order_of_pixels(seed, bins, share):
    rng = np.random.default_rng(seed)
    probability, truth = rng.random(60), rng.random(60) < share
    predicted, observed, error = reliability(probability, truth, bins)
    order = rng.permutation(120) % 60  # each pixel twice
    again = reliability(probability[order], truth[order], bins)
    for found, expected in zip(again, (predicted, observed, error)):
        np.testing.assert_allclose(found, expected)
    assert 0 <= error <= 1
    assert len(predicted) == len(observed) <= bins
    assert (np.diff(predicted) > 0).all()
    # The overall difference is never more than the differences of the bins.
    assert abs(probability.mean() - truth.mean()) <= error + 1e-12
