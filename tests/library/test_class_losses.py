"""Losses for many classes, against PyTorch, segmentation_models_pytorch, loops over the formulas and closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seglib.losses import (
    bce_loss,
    boundary_loss,
    cross_entropy_loss,
    dice_loss,
    distance_boundary_loss,
    focal_loss,
    iou_loss,
    signed_distance,
    sobel_boundary_loss,
    weighted_sum,
)

EVERY = [cross_entropy_loss, focal_loss, dice_loss, iou_loss, sobel_boundary_loss, distance_boundary_loss]


def batch(shape=(2, 4, 5, 8), ignored=0.2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=dtype) * 2
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    hidden = torch.rand(target.shape, generator=generator) < ignored
    return logits, target.masked_fill(hidden, 255)


def pixels(logits, target):
    """(probabilities of the classes, true class) of each pixel that counts."""
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    for n, y, x in zip(*np.nonzero(target.numpy() != 255)):
        yield p[n, :, y, x], int(target[n, y, x])


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 3.0, 8.0], [1e-3, 3e-4, 2e-3, 1e-4]])
def test_cross_entropy_is_pytorch_s(weights):
    logits, target = batch()
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(logits, target, weight, ignore_index=255)
    assert cross_entropy_loss(logits, target, weights).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_focal_loss_of_a_sum_has_gamma_2_if_nothing_else_is_said():
    logits, target = batch()
    torch.testing.assert_close(weighted_sum({"focal": 1.0})(logits, target), focal_loss(logits, target, 2.0))


def test_focal_loss_of_one_pixel():
    logits, target = torch.zeros(1, 4, 1, 2), torch.tensor([[[2, 255]]])
    assert focal_loss(logits, target, 1.0).item() == pytest.approx(0.75 * math.log(4))


def test_focal_loss_without_focus_is_cross_entropy():
    logits, target = batch()
    torch.testing.assert_close(focal_loss(logits, target, 0.0), cross_entropy_loss(logits, target))
    binary, truth = torch.randn(2, 1, 5, 8), (torch.rand(2, 1, 5, 8) < 0.4).float()
    torch.testing.assert_close(focal_loss(binary, truth, 0.0), bce_loss(binary, truth))


def test_two_classes_are_the_binary_case():
    binary, truth = torch.randn(3, 1, 5, 8).double(), (torch.rand(3, 1, 5, 8) < 0.4).double()
    two, classes = torch.cat([torch.zeros_like(binary), binary], 1), truth[:, 0].long()
    torch.testing.assert_close(cross_entropy_loss(two, classes), bce_loss(binary, truth))
    torch.testing.assert_close(focal_loss(two, classes), focal_loss(binary, truth))
    # Of the two classes, one is the object and the other what is left.
    both = (dice_loss(binary, truth) + dice_loss(-binary, 1 - truth)) / 2
    torch.testing.assert_close(dice_loss(two, classes), both)


def test_a_class_that_is_absent_still_has_a_gradient():
    """The library's leaves such a class out; ours asks for less of it."""
    target = torch.zeros(1, 5, 8, dtype=torch.int64)
    logits = torch.zeros(1, 3, 5, 8, requires_grad=True)
    dice_loss(logits, target).backward()
    assert (logits.grad[:, 1:] > 0).all()
    assert (logits.grad[:, 0] < 0).all()


def test_boundary_loss_by_a_loop_over_all_pixels():
    logits, target = batch(ignored=0.0)
    probability, total = logits.softmax(1), 0.0
    for n, k, y, x in np.ndindex(2, 4, 5, 8):
        own = (target[n] == k).numpy()
        others = np.nonzero(own != own[y, x])
        far = min(math.hypot(y - a, x - b) for a, b in zip(*others))
        total += probability[n, k, y, x].item() * (1 - far if own[y, x] else far)
    assert distance_boundary_loss(logits, target).item() == pytest.approx(total / logits.numel())


def test_boundary_loss_is_a_mean_over_the_pixels_that_count():
    logits, target = batch()
    each = torch.stack([torch.where(target == 255, 255, (target == k).long()) for k in range(4)], 1)
    maps = signed_distance(each).double()
    assert not maps[:, 0][target == 255].any()
    expected = (logits.softmax(1) * maps).sum() / (4 * (target != 255).sum())
    torch.testing.assert_close(distance_boundary_loss(logits, target), expected)
    torch.testing.assert_close(boundary_loss(logits, maps), (logits.softmax(1) * maps).mean())


@pytest.mark.parametrize("loss", EVERY)
def test_ignored_pixels_do_not_matter(loss):
    logits, target = batch()
    other = logits + 5 * torch.randn_like(logits) * (target == 255)[:, None]
    torch.testing.assert_close(loss(other, target), loss(logits, target))
    for there in (float("nan"), float("inf")):
        other = logits.masked_fill((target == 255)[:, None], there).requires_grad_()
        value = loss(other, target)
        value.backward()
        assert value.item() == loss(logits, target).item()
        assert other.grad.isfinite().all()


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("target", [torch.zeros(2, 5, 7), torch.zeros(1, 5, 8), torch.zeros(2, 1, 5, 8)])
def test_targets_that_do_not_fit(loss, target):
    with pytest.raises(ValueError, match="expected"):
        loss(torch.zeros(2, 3, 5, 8), target.long())


@pytest.mark.parametrize("label", [3, 254, -1])
def test_labels_that_are_no_class(label):
    with pytest.raises(ValueError, match="expected classes from 0 to 2, or 255"):
        cross_entropy_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), label))


def test_cross_entropies_are_not_mixed_up():
    with pytest.raises(ValueError, match="expected a binary target"):
        bce_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected a target of classes"):
        cross_entropy_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="a weight for each of 3 classes"):
        cross_entropy_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), [1.0, 2.0])


def test_a_sum_hands_on_its_options():
    logits, target = batch()
    weights = [1.0, 0.5, 3.0, 8.0]
    loss = weighted_sum({"ce": 0.6, "dice": 0.2, "focal": 0.2}, focal_gamma=3.0, class_weights=weights)
    expected = 0.6 * cross_entropy_loss(logits, target, weights) + 0.2 * dice_loss(logits, target)
    torch.testing.assert_close(loss(logits, target), expected + 0.2 * focal_loss(logits, target, 3.0))


@pytest.mark.parametrize("loss", EVERY)
def test_a_float_target_is_a_binary_one(loss):
    logits = torch.zeros(2, 3, 4, 5)
    for target in (torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5)):
        with pytest.raises(ValueError, match="expected"):
            loss(logits, target)
    with pytest.raises(ValueError, match="of two or more classes"):  # not one that is inverted
        distance_boundary_loss(logits[:, :1], torch.ones(2, 4, 5, dtype=torch.int64))


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_a_target_is_of_any_integers(loss, dtype):
    logits, target = batch()
    assert torch.equal(loss(logits, target.to(dtype)), loss(logits, target))


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_focal_loss_of_what_is_certain_has_a_gradient(gamma):
    logits = torch.tensor([[200.0], [0.0]])[None, ..., None].requires_grad_()
    loss = focal_loss(logits, torch.zeros(1, 1, 1, dtype=torch.int64), gamma)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


EXTREMES = {
    "far apart": [3e38, -3e38, 0.0],
    "a class is switched off": [0.5, -math.inf, 1.5],
    "all but one are": [0.5, -math.inf, -math.inf],
}


@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("logits", EXTREMES.values(), ids=EXTREMES)
def test_logits_at_which_another_class_has_no_probability(logits, gamma):
    """As PyTorch's own: 0 · log 0 is 0, in the value and in the gradient; also beside an ignored pixel."""
    target = torch.tensor([[[0, 255]]])
    ours, theirs = (torch.tensor(logits)[None, :, None, None].repeat(1, 1, 1, 2).requires_grad_() for _ in range(2))
    value = cross_entropy_loss(ours, target) if gamma is None else focal_loss(ours, target, gamma)
    value.backward()
    log = F.cross_entropy(theirs, target, ignore_index=255).neg()
    expected = -log if gamma is None else -((1 - log.exp()).clamp(min=1e-38) ** gamma) * log
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_certain_mistake_costs_without_end():
    logits = torch.tensor([3e38, -3e38])[None, :, None, None].requires_grad_()
    value = cross_entropy_loss(logits, torch.ones(1, 1, 1, dtype=torch.int64))
    value.backward()
    assert value.item() == math.inf
    assert logits.grad.flatten().tolist() == [1, -1]


def test_a_binary_logit_without_end_is_certain():
    logits, target = torch.tensor([[[[math.inf, -math.inf]]]]).requires_grad_(), torch.tensor([[[[1.0, 0]]]])
    value = focal_loss(logits, target)
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_focal_loss_near_certainty_keeps_its_digits():
    """Of two classes with logits x and 0, 1 − p = 1 / (1 + eˣ) and −log p = log(1 + e⁻ˣ), worked out in float64."""
    logits = torch.tensor([12.0, 0.0]).view(1, 2, 1, 1)
    expected = (1 / (1 + math.exp(12))) ** 2 * math.log1p(math.exp(-12))
    assert focal_loss(logits, torch.zeros(1, 1, 1, dtype=torch.int64)).item() == pytest.approx(expected, rel=1e-2)
    far = focal_loss(logits.double(), torch.zeros(1, 1, 1, dtype=torch.int64)).item()
    assert far == pytest.approx(expected, rel=1e-9)


def test_focal_loss_wants_no_negative_gamma():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        focal_loss(*batch(), gamma=-1)


@pytest.mark.parametrize("loss", EVERY)
def test_under_autocast_a_loss_is_the_same(loss):
    logits, target = batch(dtype=torch.float32)
    expected = loss(logits, target)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(logits, target), expected)
