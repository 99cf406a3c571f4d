"""Losses against values worked by hand, loops written from the formulas, and other libraries."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss

from seglib import losses
from seglib.losses import bce_loss, dice_loss, weighted_sum

LN3 = log(3)  # the logit of probability 3/4


def images(*pixels):
    """A batch (N, 1, H, W) in float64 from nested lists."""
    return torch.tensor(pixels, dtype=torch.float64)[:, None]


def random_batch(shape, seed=0, spread=3.0):
    """Logits and a 0/1 target, (N, 1, H, W) in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(shape, generator=generator) < 0.4).double()


def bce_by_loop(logits, target):
    terms = []
    for x, t in zip(logits.flatten().tolist(), target.flatten().tolist()):
        p = 1 / (1 + exp(-x))
        terms.append(-(t * log(p) + (1 - t) * log(1 - p)))
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


def test_dice_is_averaged_over_images_not_pooled():
    logits = torch.zeros(2, 1, 2, 3).double()
    target = images([[1, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]])
    pooled = 1 - (2 * 1 + 1) / (6 + 2 + 1)
    assert dice_loss(logits, target).item() == pytest.approx((0.5 + 0.75) / 2)
    assert dice_loss(logits, target).item() != pytest.approx(pooled)


shapes = st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 999), smooth=st.floats(0.1, 10))
def test_both_equal_loops_written_from_the_formulas(shape, seed, smooth):
    logits, target = random_batch(shape, seed)
    assert bce_loss(logits, target).item() == pytest.approx(bce_by_loop(logits, target), rel=1e-9)
    assert dice_loss(logits, target, smooth).item() == pytest.approx(dice_by_loop(logits, target, smooth), rel=1e-9)


def test_bce_equals_torch_on_probabilities():
    logits, target = random_batch((3, 1, 9, 14))
    assert bce_loss(logits, target).item() == pytest.approx(F.binary_cross_entropy(logits.sigmoid(), target).item())


def test_dice_equals_segmentation_models_pytorch():
    logits, target = random_batch((3, 1, 9, 14))
    # Theirs pools the batch and counts an empty image as 0, so the two agree image by image where there is an object;
    # and it is a Tversky loss, (TP + s) / (TP + FP/2 + FN/2 + s), so its s counts twice.
    peer = DiceLoss(mode="binary", smooth=0.5)
    expected = sum(peer(x[None], t[None]).item() for x, t in zip(logits, target)) / 3
    assert dice_loss(logits, target).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_empty_target_is_finite_and_pushes_every_probability_down(loss):
    logits = torch.full((2, 1, 3, 5), 2.0, requires_grad=True)
    value = loss(logits, torch.zeros(2, 1, 3, 5))
    value.backward()
    assert torch.isfinite(value)
    assert (logits.grad > 0).all()


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
@pytest.mark.parametrize("target", ["mixed", "empty", "full"])
def test_gradients(loss, target):
    logits, mixed = random_batch((2, 1, 3, 4))
    truth = {"mixed": mixed, "empty": torch.zeros_like(mixed), "full": torch.ones_like(mixed)}[target]
    assert torch.autograd.gradcheck(lambda x: loss(x, truth), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    # Half of 256 × 256 pixels are foreground, and every probability is ½.
    ("loss", "expected"),
    [(bce_loss, log(2)), (dice_loss, 1 - (2**15 + 1) / (2**16 + 1))],
)
def test_half_precision_logits_under_autocast(loss, expected, dtype):
    target = torch.zeros(2, 1, 256, 256)
    target[..., :128] = 1
    with torch.autocast("cpu", dtype=dtype):
        value = loss(torch.zeros(2, 1, 256, 256, dtype=dtype), target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_dice_does_not_overflow_in_float16():
    logits = torch.full((2, 1, 256, 256), 10.0, dtype=torch.float16, requires_grad=True)
    target = torch.ones_like(logits)
    assert torch.sigmoid(logits).sum((1, 2, 3)).isinf().all()  # what happens without care
    with torch.autocast("cpu", dtype=torch.float16):
        value = dice_loss(logits, target)
    value.backward()
    p = 1 / (1 + exp(-10))
    assert value.item() == pytest.approx(1 - (2 * 2**16 * p + 1) / (2**16 * (p + 1) + 1), abs=1e-6)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_targets_of_any_type(dtype):
    logits, target = random_batch((2, 1, 4, 7))
    for loss in (bce_loss, dice_loss):
        assert loss(logits, target.to(dtype)).item() == pytest.approx(loss(logits, target).item())


def test_weighted_sum_is_the_hand_weighted_sum():
    logits, target = random_batch((2, 1, 5, 8))
    expected = 0.7 * bce_by_loop(logits, target) + 0.3 * dice_by_loop(logits, target, 1)
    assert weighted_sum({"bce": 0.7, "dice": 0.3})(logits, target).item() == pytest.approx(expected)


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
    with pytest.raises(ValueError, match=r"expected weights of at least 0.* among bce, dice; got") as error:
        weighted_sum(weights)
    assert str(weights) in str(error.value)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_shapes_that_differ(loss):
    with pytest.raises(ValueError, match=r"one shape, got \(2, 1, 3, 4\) and \(2, 3, 4\)"):
        loss(torch.zeros(2, 1, 3, 4), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
@pytest.mark.parametrize(
    ("value", "came"), [(255, "0 to 255"), (-1, "-1 to 0"), (float("nan"), "nan"), (1.5, "0 to 1.5")]
)
def test_targets_outside_zero_and_one(loss, value, came):
    target = torch.zeros(2, 1, 3, 4)
    target[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=rf"expected target values in \[0, 1\], got .*{came}.*255"):
        loss(torch.zeros(2, 1, 3, 4), target)
