"""Losses against values worked by hand, loops written from the formulas, and other libraries."""

import warnings
from math import exp, hypot, log, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib import losses
from seglib.losses import (
    TargetWarning,
    bce_loss,
    boundary_loss,
    dice_loss,
    distance_boundary_loss,
    iou_loss,
    signed_distance,
    sobel_boundary_loss,
    weighted_sum,
)

# Where chance ignored every object.
pytestmark = pytest.mark.filterwarnings("ignore::seglib.losses.TargetWarning")

LN3 = log(3)  # the logit of probability 3/4


def images(*pixels):
    """A batch (N, 1, H, W) in float64 from nested lists."""
    return torch.tensor(pixels, dtype=torch.float64)[:, None]


def random_batch(shape, seed=0, spread=3.0):
    """Logits and a 0/1 target, (N, 1, H, W) in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(shape, generator=generator) < 0.4).double()


def bce_by_loop(logits, target, positive_weight=1):
    terms = []
    for x, t in zip(logits.flatten().tolist(), target.flatten().tolist()):
        p = 1 / (1 + exp(-x))
        terms.append(-(positive_weight * t * log(p) + (1 - t) * log(1 - p)))
    return sum(terms) / len(terms)


def dice_by_loop(logits, target, smooth):
    losses = []
    for image, truth in zip(logits, target):
        overlap = total = 0.0
        for x, t in zip(image.flatten().tolist(), truth.flatten().tolist()):
            p = 1 / (1 + exp(-x))
            overlap += p * t
            total += p + t
        losses.append(1 - (2 * overlap + smooth) / (total + smooth))
    return sum(losses) / len(losses)


def iou_by_loop(logits, target, smooth):
    losses = []
    for image, truth in zip(logits, target):
        overlap = union = 0.0
        for x, t in zip(image.flatten().tolist(), truth.flatten().tolist()):
            p = 1 / (1 + exp(-x))
            overlap += p * t
            union += p + t - p * t
        losses.append(1 - (overlap + smooth) / (union + smooth))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("logits", "target", "expected"),
    [
        (images([[0.0, 0, 0], [0, 0, 0]]), images([[1.0, 0, 1], [0, 0, 0]]), log(2)),
        (images([[LN3, LN3, LN3]]), images([[1.0, 1, 0]]), (2 * log(4 / 3) + log(4)) / 3),
        (images([[LN3, -LN3]]), images([[0.5, 0.5]]), (log(4 / 3) + log(4)) / 2),  # a soft target
        (images([[1e4, -1e4]]), images([[0.0, 0.0]]), 5e3),  # where log(1 − p) alone would be −∞
    ],
)
def test_bce_by_hand(logits, target, expected):
    assert bce_loss(logits, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("target", "smooth", "expected"),
    [
        # Six pixels of probability 1/2: Σp = 3.
        ([[1.0, 0, 1], [0, 0, 0]], 1, 1 - (2 * 1 + 1) / (3 + 2 + 1)),
        ([[1.0, 0, 1], [0, 0, 0]], 4, 1 - (2 * 1 + 4) / (3 + 2 + 4)),
        ([[0.0, 0, 0], [0, 0, 0]], 1, 1 - 1 / (3 + 1)),
        ([[1.0, 1, 1], [1, 1, 1]], 1, 1 - (2 * 3 + 1) / (3 + 6 + 1)),
    ],
)
def test_dice_by_hand(target, smooth, expected):
    assert dice_loss(torch.zeros(1, 1, 2, 3).double(), images(target), smooth).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "smooth", "expected"),
    [
        # Likewise: Σ(p + t − pt) = 3 + Σt / 2.
        ([[1.0, 0, 1], [0, 0, 0]], 1, 1 - (1 + 1) / (4 + 1)),
        ([[1.0, 0, 1], [0, 0, 0]], 4, 1 - (1 + 4) / (4 + 4)),
        ([[0.0, 0, 0], [0, 0, 0]], 1, 1 - 1 / (3 + 1)),
        ([[1.0, 1, 1], [1, 1, 1]], 1, 1 - (3 + 1) / (6 + 1)),
        ([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], 1, 1 - (1.5 + 1) / (4.5 + 1)),  # a soft target
    ],
)
def test_iou_by_hand(target, smooth, expected):
    assert iou_loss(torch.zeros(1, 1, 2, 3).double(), images(target), smooth).item() == pytest.approx(expected)


@pytest.mark.parametrize("smooth", [0.1, 1, 10])
def test_iou_of_the_mask_itself_is_nothing_and_of_the_rest_nearly_everything(smooth):
    _, target = random_batch((2, 1, 7, 10))
    logits = (2 * target - 1) * 200
    assert iou_loss(logits, target, smooth).item() == pytest.approx(0, abs=1e-12)
    assert iou_loss(-logits, target, smooth).item() == pytest.approx(1 - smooth / (70 + smooth))


@pytest.mark.parametrize(
    ("loss", "values", "pooled"),
    [(dice_loss, (0.5, 0.75), 1 - (2 * 1 + 1) / (6 + 2 + 1)), (iou_loss, (0.6, 0.75), 1 - (1 + 1) / (7 + 1))],
)
def test_overlaps_are_averaged_over_images_not_pooled(loss, values, pooled):
    logits = torch.zeros(2, 1, 2, 3).double()
    target = images([[1, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]])
    assert loss(logits, target).item() == pytest.approx(sum(values) / 2)
    assert loss(logits, target).item() != pytest.approx(pooled)


shapes = st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999), smooth=st.floats(0.1, 10))
def test_losses_of_regions_equal_loops_written_from_the_formulas(shape, seed, smooth):
    logits, target = random_batch(shape, seed)
    assert bce_loss(logits, target).item() == pytest.approx(bce_by_loop(logits, target), rel=1e-9)
    assert dice_loss(logits, target, smooth).item() == pytest.approx(dice_by_loop(logits, target, smooth), rel=1e-9)
    assert iou_loss(logits, target, smooth).item() == pytest.approx(iou_by_loop(logits, target, smooth), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999))
def test_iou_and_dice_rank_predictions_alike(shape, seed):
    """I = D / (2 − D), of each image; `smooth` is as good as 0."""
    logits, target = random_batch((1, *shape[1:]), seed)
    soft_dice, soft_iou = (1 - loss(logits, target, smooth=1e-12).item() for loss in (dice_loss, iou_loss))
    if target.any():
        assert soft_iou == pytest.approx(soft_dice / (2 - soft_dice), abs=1e-9)
        assert soft_iou <= soft_dice + 1e-12


@pytest.mark.parametrize("loss", [bce_loss, dice_loss, iou_loss])
def test_empty_target_is_finite_and_pushes_every_probability_down(loss):
    logits = torch.full((2, 1, 3, 5), 2.0, requires_grad=True)
    value = loss(logits, torch.zeros(2, 1, 3, 5))
    value.backward()
    assert torch.isfinite(value)
    assert (logits.grad > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    # Half of 256 × 256 pixels are foreground, and every probability is ½.
    ("loss", "expected"),
    [
        (bce_loss, log(2)),
        (dice_loss, 1 - (2**15 + 1) / (2**16 + 1)),
        (iou_loss, 1 - (2**14 + 1) / (3 * 2**14 + 1)),
    ],
)
def test_half_precision_logits_under_autocast(loss, expected, dtype):
    target = torch.zeros(2, 1, 256, 256)
    target[..., :128] = 1
    with torch.autocast("cpu", dtype=dtype):
        value = loss(torch.zeros(2, 1, 256, 256, dtype=dtype), target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("loss", "parts"), [(dice_loss, 2), (iou_loss, 1)])
def test_overlaps_do_not_overflow_in_float16(loss, parts):
    logits = torch.full((2, 1, 256, 256), 10.0, dtype=torch.float16, requires_grad=True)
    target = torch.ones_like(logits)
    assert torch.sigmoid(logits).sum((1, 2, 3)).isinf().all()  # what happens without care
    with torch.autocast("cpu", dtype=torch.float16):
        value = loss(logits, target)
    value.backward()
    p = 1 / (1 + exp(-10))
    total = {2: p + 1, 1: 1}[parts]  # of a pixel: p + t, and p + t − pt
    assert value.item() == pytest.approx(1 - (parts * 2**16 * p + 1) / (2**16 * total + 1), abs=1e-6)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_targets_of_any_type(dtype):
    logits, target = random_batch((2, 1, 4, 7))
    for loss in (bce_loss, dice_loss, iou_loss):
        assert loss(logits, target.to(dtype)).item() == pytest.approx(loss(logits, target).item())


def test_weighted_sum_is_the_hand_weighted_sum():
    logits, target = random_batch((2, 1, 5, 8))
    bce, dice, iou = bce_by_loop(logits, target), dice_by_loop(logits, target, 1), iou_by_loop(logits, target, 1)
    assert weighted_sum({"bce": 0.7, "dice": 0.3})(logits, target).item() == pytest.approx(0.7 * bce + 0.3 * dice)
    assert weighted_sum({"iou": 1.0, "bce": 0.2})(logits, target).item() == pytest.approx(iou + 0.2 * bce)


def test_a_loss_of_weight_zero_is_not_computed(monkeypatch):
    def forbidden(logits, target):
        raise AssertionError("computed")

    monkeypatch.setitem(losses.LOSSES, "dice", forbidden)
    logits, target = random_batch((2, 1, 5, 8))
    value = weighted_sum({"bce": 2.0, "dice": 0.0})(logits, target).item()
    assert value == pytest.approx(2 * bce_by_loop(logits, target))


@pytest.mark.parametrize(
    "weights",
    [{"bce": 1.0, "dyce": 1.0}, {"bce": 1.0, "dice": -0.5}, {"bce": 0.0, "dice": 0.0}, {"bce": float("nan")}, {}],
)
def test_weights_that_make_no_loss(weights):
    with pytest.raises(
        ValueError,
        match=r"expected weights of at least 0.* among bce, ce, focal, dice, iou, sobel_boundary, boundary; got",
    ) as error:
        weighted_sum(weights)
    assert str(weights) in str(error.value)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss, iou_loss])
def test_shapes_that_differ(loss):
    with pytest.raises(ValueError, match=r"got \(2, 1, 3, 4\) and torch.float32 \(2, 3, 4\)"):
        loss(torch.zeros(2, 1, 3, 4), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("loss", [bce_loss, dice_loss, iou_loss])
@pytest.mark.parametrize(
    ("value", "came"), [(254, "0 to 254"), (-1, "-1 to 0"), (float("nan"), "nan"), (1.5, "0 to 1.5")]
)
def test_targets_outside_zero_and_one(loss, value, came):
    target = torch.zeros(2, 1, 3, 4)
    target[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=rf"expected target values in \[0, 1\], or 255 .*, got .*{came}.*by 255"):
        loss(torch.zeros(2, 1, 3, 4), target)


# --- how much the object's pixels count in cross-entropy ---


@pytest.mark.parametrize("weight", [0.25, 1, 3, 3.8])
@pytest.mark.parametrize("soft", [False, True])
def test_weighted_bce_equals_torch_and_a_loop(weight, soft):
    logits, target = random_batch((3, 1, 5, 8))
    if soft:
        target = torch.rand(target.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    value = bce_loss(logits, target, positive_weight=weight).item()
    peer = F.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(weight))
    assert value == pytest.approx(peer.item(), rel=1e-6)
    assert value == pytest.approx(bce_by_loop(logits, target, weight), rel=1e-9)


def test_weighted_bce_by_hand():
    """A mean over pixels, not over weights: twice log 4 at weight 3, and once."""
    logits, target = images([[-LN3, LN3, -LN3]]), images([[1.0, 0, 0]])
    assert bce_loss(logits, target, 3).item() == pytest.approx((3 * log(4) + log(4) + log(4 / 3)) / 3)
    assert bce_loss(logits, target).item() == pytest.approx((log(4) + log(4) + log(4 / 3)) / 3)
    empty = torch.zeros_like(target)  # nothing in it to weigh
    assert bce_loss(logits, empty, 3).item() == bce_loss(logits, empty).item()


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(st.integers(1, 7), st.integers(1, 7)), seed=st.integers(0, 999), weight=st.floats(0.1, 9))
def test_weighted_bce_is_that_of_the_pixels_that_are_left(shape, seed, weight):
    logits, target = with_ignored((2, 1, *shape), seed)
    left = target != 255
    expected = bce_by_loop(logits[left], target[left], weight) if left.any() else 0
    assert bce_loss(logits, target, weight).item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weighted_bce_of_half_precision_logits(dtype):
    target = torch.zeros(2, 1, 256, 192)
    target[..., :64] = 1  # a third
    with torch.autocast("cpu", dtype=dtype):
        value = bce_loss(torch.zeros(2, 1, 256, 192, dtype=dtype), target, 3.8)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(log(2) * (3.8 + 2) / 3, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in losses.LOSSES if name != "ce"])
def test_a_positive_weight_changes_cross_entropy_alone(name):
    logits, target = random_batch((2, 1, 5, 8))
    plain, weighted = (weighted_sum({name: 0.7}, positive_weight=w)(logits, target).item() for w in (1.0, 3.0))
    if name == "bce":
        assert weighted == pytest.approx(0.7 * bce_by_loop(logits, target, 3))
    else:
        assert weighted == plain
    assert weighted_sum({name: 0.7})(logits, target).item() == pytest.approx(plain)


def test_a_sum_with_a_positive_weight():
    logits, target = random_batch((2, 1, 5, 8))
    loss = weighted_sum({"iou": 1.0, "bce": 0.2}, positive_weight=3)
    expected = iou_by_loop(logits, target, 1) + 0.2 * bce_by_loop(logits, target, 3)
    assert loss(logits, target).item() == pytest.approx(expected)
    # Two losses with weights of their own do not see each other's.
    other = weighted_sum({"bce": 1.0}, positive_weight=0.5)
    assert other(logits, target).item() == pytest.approx(bce_by_loop(logits, target, 0.5))
    assert loss(logits, target).item() == pytest.approx(expected)


# --- pixels that are ignored ---

EVERY = [loss for name, loss in losses.LOSSES.items() if name != "ce"]  # which is for classes: test_class_losses
FRAME = (2, 1, 1, 3)  # columns on the left and right, rows above and below


def framed(logits, target):
    """An image within a larger one, where logits are large and the target is 255."""
    around = F.pad(torch.zeros_like(target), FRAME, value=1) == 1
    larger = torch.linspace(-9, 7, around.numel(), dtype=logits.dtype).view(around.shape)
    return torch.where(around, larger, F.pad(logits, FRAME)), F.pad(target, FRAME, value=255), around


def with_ignored(shape, seed=0, share=0.2):
    """As `random_batch`, with some targets 255."""
    logits, target = random_batch(shape, seed)
    return logits, target.masked_fill(torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1)) < share, 255)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss, iou_loss, sobel_boundary_loss])
def test_an_ignored_frame_changes_neither_value_nor_gradient(loss):
    logits, target = random_batch((2, 1, 5, 8))
    larger, padded, around = framed(logits, target)
    values = [loss(x.requires_grad_(), t) for x, t in ((logits, target), (larger, padded))]
    assert values[1].item() == pytest.approx(values[0].item(), rel=1e-12)
    for value in values:
        value.backward()
    torch.testing.assert_close(larger.grad[~around], logits.grad.flatten())
    assert not larger.grad[around].any()


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999))
def test_losses_of_regions_are_those_of_the_pixels_that_are_left(shape, seed):
    """None asks where in an image a pixel lies."""
    logits, target = with_ignored((1, *shape[1:]), seed)
    left = target != 255
    for loss, by_loop in (
        (bce_loss, bce_by_loop),
        (dice_loss, lambda x, t: dice_by_loop(x[None], t[None], 1)),
        (iou_loss, lambda x, t: iou_by_loop(x[None], t[None], 1)),
    ):
        expected = by_loop(logits[left], target[left]) if left.any() else 0
        assert loss(logits, target).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_images_of_two_sizes_in_one_batch():
    """Cross-entropy is a mean over pixels, 6 and 20 of them; Dice one over images."""
    small, large = random_batch((1, 1, 2, 3)), random_batch((1, 1, 4, 5), seed=1)
    room = (0, 2, 0, 2)
    logits = torch.cat([F.pad(small[0], room), large[0]])
    target = torch.cat([F.pad(small[1], room, value=255), large[1]])
    bce, dice = ([by_loop(*pair) for pair in (small, large)] for by_loop in (bce_by_loop, dice_loss))
    assert bce_loss(logits, target).item() == pytest.approx((6 * bce[0] + 20 * bce[1]) / 26)
    assert dice_loss(logits, target).item() == pytest.approx((dice[0].item() + dice[1].item()) / 2)


@pytest.mark.parametrize("loss", EVERY)
def test_what_is_predicted_at_ignored_pixels_does_not_matter(loss):
    logits, target = with_ignored((2, 1, 7, 10))
    ignored = target == 255
    value = loss(logits.requires_grad_(), target)
    value.backward()
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].any()
    for there in (50, torch.nan, torch.inf, -torch.inf):
        other = logits.detach().masked_fill(ignored, there).requires_grad_()
        loss(other, target).backward()
        assert loss(other, target).item() == value.item()
        assert torch.equal(other.grad, logits.grad)
    for dtype in (torch.uint8, torch.int64, torch.float32):
        assert loss(logits, target.to(dtype)).item() == pytest.approx(value.item())


@pytest.mark.parametrize("loss", EVERY)
def test_a_batch_without_a_pixel_is_refused(loss):
    with pytest.raises(ValueError, match=r"expected at least one pixel, got a target of shape \(0, 1, 4, 4\)"):
        loss(torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 4, 4))


@pytest.mark.parametrize("loss", EVERY)
def test_an_image_that_is_ignored_altogether(loss):
    logits = torch.full((1, 1, 5, 8), 3.0, requires_grad=True)
    value = loss(logits, torch.full((1, 1, 5, 8), 255.0))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def undivided(value=255.0):
    """A mask with an object of a quarter of the pixels, whose value is 255 where it should be 1."""
    target = torch.zeros(2, 1, 8, 12)
    target[..., 2:6, 3:9] = value
    return target


@pytest.mark.parametrize("loss", [*EVERY, weighted_sum({"bce": 0.5, "dice": 0.5})])
def test_a_mask_of_0_and_255_is_warned_of(loss):
    logits = torch.full((2, 1, 8, 12), -10.0)
    with pytest.warns(TargetWarning, match="holds 0 and 255, which is ignored, but no 1: divide a 0/255 mask by 255"):
        loss(logits, undivided())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            loss(logits, undivided())
    assert len(caught) == 1


def test_what_such_a_mask_would_cost():
    logits = torch.full((2, 1, 8, 12), -10.0)
    assert bce_loss(logits, undivided(1.0)).item() == pytest.approx(2.5, abs=1e-3)
    with pytest.warns(TargetWarning):
        assert bce_loss(logits, undivided()).item() < 1e-4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", EVERY)
def test_what_is_not_warned_of(loss):
    """Objects beside what is ignored; all ignored; and empty pictures that `pad_batch` padded, also a batch of them."""
    logits, target = random_batch((2, 1, 8, 12))
    some = undivided()
    some[0, 0, 0, 0] = 1
    empty = F.pad(torch.zeros(2, 1, 5, 7), (0, 5, 0, 3), value=255)
    for good in (target, some, torch.full_like(target, 255), torch.zeros_like(target), empty):
        loss(logits, good)


@pytest.mark.parametrize("loss", [dice_loss, iou_loss])
@pytest.mark.parametrize("smooth", [-1, -1e-9, float("nan"), float("inf")])
def test_a_smoothing_that_there_is_not(loss, smooth):
    with pytest.raises(ValueError, match=f"expected smooth of at least 0 pixels, got {smooth}"):
        loss(*random_batch((1, 1, 3, 4)), smooth=smooth)


@pytest.mark.parametrize(("loss", "by_loop"), [(dice_loss, dice_by_loop), (iou_loss, iou_by_loop)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_without_smoothing(loss, by_loop, dtype):
    """Of nothing and nothing the loss is 0, of nothing and something 1, and else what the formula says."""
    logits, target = (tensor.to(dtype) for tensor in random_batch((2, 1, 5, 8)))
    assert loss(logits, target, smooth=0.0).item() == pytest.approx(by_loop(logits, target, 0), rel=1e-5)
    empty = torch.zeros_like(target)
    assert loss(logits, empty, smooth=0.0).item() == 1
    for logit in (-1e4, -90.0, -100.0, -700.0):  # also where the probability is as good as none
        certain = torch.full_like(logits, logit).requires_grad_()
        value = loss(certain, empty, smooth=0.0)
        value.backward()
        assert value.item() in (0, 1)
        assert certain.grad.isfinite().all()
    assert value.item() == (0 if dtype == torch.float32 else 1)  # e⁻⁷⁰⁰ is above 0 in float64
    ignored = loss(logits.requires_grad_(), torch.full_like(target, 255), smooth=0.0)
    ignored.backward()
    assert (ignored.item(), logits.grad.any().item()) == (0, False)


# --- outlines ---


def sobel_by_loop(logits, target):
    """From nine neighbours a pixel; what is ignored, or outside the image, is 0 and has no gradient of its own."""
    weights, found = {-1: 1, 0: 2, 1: 1}, []
    for x, t in zip(logits[:, 0].numpy(), target[:, 0].numpy()):
        p = np.pad(np.where(t == 255, 0, 1 / (1 + np.exp(-x))), 1)
        edge = np.pad(np.where(t == 255, 0, t), 1)

        def magnitude(image, row, column):
            across = sum(w * (image[row + i, column + 1] - image[row + i, column - 1]) for i, w in weights.items())
            down = sum(w * (image[row + 1, column + i] - image[row - 1, column + i]) for i, w in weights.items())
            return sqrt(across**2 + down**2 + 1e-8)

        for row in range(1, t.shape[0] + 1):
            for column in range(1, t.shape[1] + 1):
                if t[row - 1, column - 1] != 255:
                    found.append((magnitude(p, row, column) - magnitude(edge, row, column)) ** 2)
    return sum(found) / len(found) if found else 0.0


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999), share=st.sampled_from([0, 0.03, 0.3]))
def test_sobel_loss_equals_a_loop_over_neighbours(shape, seed, share):
    logits, target = with_ignored(shape, seed, share)
    assert sobel_boundary_loss(logits, target).item() == pytest.approx(sobel_by_loop(logits, target), rel=1e-9)


def test_sobel_loss_of_a_bright_pixel_by_hand():
    """Gradients 2, 0 and −2 beside none; 10⁻⁴ is what the root makes of none."""
    logits, target = images([[-1e4, 1e4, -1e4]]), images([[0.0, 0, 0]])
    assert sobel_boundary_loss(logits, target).item() == pytest.approx(2 * (sqrt(4 + 1e-8) - 1e-4) ** 2 / 3)
    # Standing upright, it is the same; in a corner, the gradients (2, 0), (0, 2) and (1, 1) are around it.
    assert sobel_boundary_loss(logits.mT, target.mT).item() == pytest.approx(2 * (sqrt(4 + 1e-8) - 1e-4) ** 2 / 3)
    logits, target = torch.full((1, 1, 4, 6), -1e4).double(), torch.zeros(1, 1, 4, 6).double()
    logits[..., 0, 0] = 1e4
    assert sobel_boundary_loss(logits, target).item() == pytest.approx((4 + 4 + 2) / 24, rel=1e-3)


def test_sobel_loss_knows_no_inside_away_from_the_image_s_edge():
    inner, target = random_batch((2, 1, 6, 9))
    # Without an edge there: a probability of 0 all around, three pixels wide.
    logits, target = F.pad(inner, (3,) * 4, value=-1e4), F.pad(target, (3,) * 4)
    value = sobel_boundary_loss(logits, target)
    inside_out = sobel_boundary_loss(-logits, 1 - target)
    # What is turned inside out has an outline at the image's edge, and so has its target: the same.
    assert value > 0.1
    assert inside_out.item() == pytest.approx(value.item(), rel=1e-9)
    # Against the target as it was there is only that outline too much.
    frame = sobel_boundary_loss(torch.full_like(logits, 1e4), torch.zeros_like(target))
    assert sobel_boundary_loss(-logits, target).item() == pytest.approx((value + frame).item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sobel_loss_of_the_mask_itself_is_nothing(dtype):
    _, target = random_batch((2, 1, 7, 10))
    logits = ((2 * target - 1) * 200).to(dtype)
    assert sobel_boundary_loss(logits, target).item() == pytest.approx(0, abs=1e-12)
    assert sobel_boundary_loss(-logits.roll(1, -1), target).item() > 1


def phi_by_pairs(mask):
    """φ of a mask (H, W) from the distances of all pairs; what is ignored is neither object nor background."""
    places = {label: [tuple(place) for place in np.argwhere(mask == label)] for label in (0, 1)}
    phi = np.zeros(mask.shape)
    for label, other, distance in ((0, 1, lambda d: d), (1, 0, lambda d: 1 - d)):
        for row, column in places[label] if places[other] else ():
            phi[row, column] = distance(min(hypot(row - y, column - x) for y, x in places[other]))
    return phi


def boundary_by_pairs(logits, target):
    phi = np.stack([phi_by_pairs(mask) for mask in target[:, 0].numpy()])
    return float(np.mean(phi / (1 + np.exp(-logits[:, 0].numpy()))))


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999), share=st.sampled_from([0.1, 0.5, 0.9]))
def test_signed_distance_equals_distances_of_all_pairs(shape, seed, share):
    target = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share).double()
    found = signed_distance(target)
    assert (found.shape, found.dtype) == (target.shape, torch.float32)
    expected = np.stack([phi_by_pairs(mask) for mask in target[:, 0].numpy()])[:, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    logits, _ = random_batch(shape, seed)
    value = distance_boundary_loss(logits, target).item()
    assert value == pytest.approx(boundary_by_pairs(logits, target), rel=1e-5, abs=1e-6)


def test_signed_distance_by_hand():
    row = [0.0, 0, 1, 1, 1, 1, 1, 0]
    assert signed_distance(images([row])).flatten().tolist() == [2, 1, 0, -1, -2, -1, 0, 1]
    for value in (0.0, 1.0):  # no object, or nothing but
        assert not signed_distance(torch.full((2, 1, 3, 5), value)).any()
    # The batch's images do not see each other.
    two = signed_distance(images([row], [[0.0] * 8]))
    assert two[0].any()
    assert not two[1].any()


@pytest.mark.parametrize("place", [(0, 0), (2, 4), (4, 8)])
def test_boundary_loss_of_an_object_of_one_pixel(place):
    """φ is the distance to it, and 0 on it."""
    target = torch.zeros(1, 1, 5, 9).double()
    target[0, 0, *place] = 1
    distances = [hypot(y - place[0], x - place[1]) for y in range(5) for x in range(9)]
    value = distance_boundary_loss(torch.full_like(target, LN3), target).item()
    assert value == pytest.approx(0.75 * sum(distances) / 45, rel=1e-6)


def test_boundary_loss_is_the_mean_of_probability_times_distance():
    logits, _ = random_batch((2, 1, 4, 7))
    phi = torch.arange(-20.0, 36).view(2, 1, 4, 7)
    expected = sum(f / (1 + exp(-x)) for x, f in zip(logits.flatten().tolist(), phi.flatten().tolist())) / 56
    assert boundary_loss(logits, phi).item() == pytest.approx(expected)
    half = boundary_loss(logits.half(), phi.half())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected, rel=1e-2)
    with pytest.raises(ValueError, match=r"one shape, got \(2, 1, 4, 7\) and \(2, 4, 7\)"):
        boundary_loss(logits, phi[:, 0])


def test_boundary_loss_prefers_the_object_to_less_and_more_of_it():
    target = torch.zeros(1, 1, 20, 30).double()
    target[..., 5:15, 8:24] = 1
    less, more = (torch.zeros_like(target) for _ in range(2))
    less[..., 8:12, 12:20] = 1
    more[..., 2:18, 4:28] = 1
    value, *others = (distance_boundary_loss((2 * mask - 1) * 30, target) for mask in (target, less, more, 0 * target))
    assert all(value < other for other in others)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boundary_loss_of_half_precision_logits_is_that_of_their_values(dtype):
    logits = torch.linspace(-3, 3, 20).view(1, 1, 4, 5).to(dtype)
    distances = torch.linspace(-2, 2, 20).view(1, 1, 4, 5).to(dtype)
    assert torch.equal(boundary_loss(logits, distances), boundary_loss(logits.float(), distances.float()))


def test_distance_boundary_loss_of_two_pixels_with_one_ignored():
    """Of three pixels one is object, one background at distance 1 and one ignored: p of the second, halved."""
    logits, target = torch.tensor([[[[0.3, -0.2, 9]]]]), torch.tensor([[[[1.0, 0, 255]]]])
    assert distance_boundary_loss(logits, target).item() == pytest.approx(torch.sigmoid(logits[0, 0, 0, 1]).item() / 2)


def test_ignored_pixels_do_not_weigh_in_the_boundary_loss():
    """φ is 0 on them, and outside the object it is the distance to the object as before."""
    target = images([[0.0, 0, 0, 0, 0, 1, 0, 0, 0]])
    some = target.clone()
    some[..., [1, 2, 8]] = 255
    assert signed_distance(target).flatten().tolist() == [5, 4, 3, 2, 1, 0, 1, 2, 3]
    assert signed_distance(some).flatten().tolist() == [5, 0, 0, 2, 1, 0, 1, 2, 0]


@pytest.mark.parametrize("row", [[1.0, 1, 1, 1], [0.0, 0, 1, 1, 1]])
def test_padding_is_no_background_to_be_distant_from(row):
    """[1, 1, 1, 1, 255] should be as flat as [1, 1, 1, 1], which has no background."""
    alone, padded = (signed_distance(images([values])).flatten().tolist() for values in (row, [*row, 255.0, 255.0]))
    assert padded == [*alone, 0, 0]


def test_boundary_loss_is_a_mean_over_the_pixels_that_count():
    logits, target = random_batch((1, 1, 9, 12))
    target[..., [0, -1], :] = 0  # background all around, so that distances are the same with a frame
    target[..., [0, -1]] = 0
    larger, padded, _ = framed(logits, target)
    value = distance_boundary_loss(logits, target).item()
    assert distance_boundary_loss(larger, padded).item() == pytest.approx(value)


# --- a growing weight ---


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.3), (1, 0.6), (2, 0.9), (3, 1.0), (40, 1.0)])
def test_the_boundary_loss_takes_over_from_the_others(epoch, share):
    logits, target = random_batch((2, 1, 5, 8))
    loss = weighted_sum({"bce": 0.5, "dice": 0.25, "boundary": 2.0}, boundary_growth=0.3)
    regions = 0.5 * bce_by_loop(logits, target) + 0.25 * dice_by_loop(logits, target, 1)
    outline = 2 * boundary_by_pairs(logits, target)
    if epoch:  # counted from 0, and where it starts
        loss.set_epoch(epoch)
    assert loss(logits, target).item() == pytest.approx((1 - share) * regions + share * outline, rel=1e-5)
    loss.set_epoch(0)  # looking at a later epoch changes nothing for good
    assert loss(logits, target).item() == pytest.approx(0.7 * regions + 0.3 * outline, rel=1e-5)


def test_without_growth_weights_stay():
    logits, target = random_batch((2, 1, 5, 8))
    loss = weighted_sum({"bce": 0.4, "dice": 0.4, "sobel_boundary": 0.2, "boundary": 0.0})
    regions = bce_by_loop(logits, target) + dice_by_loop(logits, target, 1)
    for epoch in (0, 30):
        loss.set_epoch(epoch)
        expected = 0.4 * regions + 0.2 * sobel_by_loop(logits, target)
        assert loss(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", EVERY)
def test_every_loss_in_half_precision(loss):
    logits, target = with_ignored((2, 1, 6, 9))
    value = loss(logits.float(), target)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=dtype):
            half = loss(logits.to(dtype), target)
        assert half.dtype == torch.float32
        assert half.item() == pytest.approx(value.item(), rel=0.02, abs=0.005)
