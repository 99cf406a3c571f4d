"""Metrics against loops over pixels, torchmetrics, and properties that hold for any masks."""

import math
import re

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seglib.metrics import BinaryMetrics, dice, iou, pixel_accuracy

METRICS = [iou, dice, pixel_accuracy]


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


def test_equal_to_torchmetrics():
    rng = np.random.default_rng(0)
    prediction, target = rng.random((2, 19, 31)) < 0.3
    tensors = torch.tensor(prediction).int(), torch.tensor(target).int()
    assert iou(prediction, target) == pytest.approx(peer.binary_jaccard_index(*tensors).item())
    assert dice(prediction, target) == pytest.approx(peer.binary_f1_score(*tensors).item())
    assert pixel_accuracy(prediction, target) == pytest.approx(peer.binary_accuracy(*tensors).item())


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


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(3, 2), (1, 2, 3), (6,)])
def test_shapes_that_differ(metric, shape):
    with pytest.raises(ValueError, match=re.escape(f"one shape (H, W), got (2, 3) and {shape}")):
        metric(np.zeros((2, 3), bool), np.zeros(shape, bool))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 2, 3), (4,)])
def test_arrays_that_are_no_masks(metric, shape):
    with pytest.raises(ValueError, match="expected prediction and target"):
        metric(np.zeros(shape, bool), np.zeros(shape, bool))


@pytest.mark.parametrize("metric", [iou, dice])
@pytest.mark.parametrize("value", [255, 0.5, -1, math.nan])
def test_values_other_than_zero_and_one(metric, value):
    good, bad = np.array([[0, 1, 1]]), np.array([[0, 0, value]])
    with pytest.raises(ValueError, match=rf"expected prediction values 0 and 1 .*{value}"):
        metric(bad, good)
    with pytest.raises(ValueError, match=rf"expected target values 0 and 1 .*{value}"):
        metric(good, torch.tensor(bad))


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


def test_averaged_and_pooled_by_hand():
    """One pixel found of one, and none of four: the mean of 1 and 0 beside one of five."""
    logits = torch.tensor([[[1.0, -1, -1], [-1, -1, -1]], [[-1.0, -1, -1], [-1, -1, -1]]])[:, None]
    target = torch.tensor([[[1.0, 0, 0], [0, 0, 0]], [[1.0, 1, 1], [1, 0, 0]]])[:, None]
    result = measure((logits, target))
    assert result["iou"] == result["dice"] == 1 / 2
    assert result["iou_pooled"] == pytest.approx(1 / 5)
    assert result["dice_pooled"] == pytest.approx(2 / 6)
    assert result["pixel_accuracy"] == pytest.approx((6 + 2) / 12)
    wrong, right = math.log1p(math.e), math.log1p(1 / math.e)
    assert result["bce"] == pytest.approx((8 * right + 4 * wrong) / 12)


def test_a_logit_of_zero_is_foreground():
    assert measure((torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3)))["iou"] == 1


def test_pairs_that_are_all_empty():
    result = measure((torch.full((2, 1, 2, 3), -9.0), torch.zeros(2, 1, 2, 3)))
    assert result["iou"] == result["dice"] == result["iou_pooled"] == result["dice_pooled"] == 1


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 11), unique=True).map(sorted), seed=st.integers(0, 99))
def test_any_split_into_batches_gives_the_same(cuts, seed):
    logits, target = random_batch(12, 3, 5, seed)
    sizes = np.diff([0, *cuts, 12]).tolist()
    assert measure(*zip(logits.split(sizes), target.split(sizes))) == pytest.approx(measure((logits, target)))


@settings(max_examples=30, deadline=None)
@given(owners=st.lists(st.integers(0, 1), min_size=8, max_size=8))
def test_counts_gathered_from_two_processes_give_the_same(owners):
    assume(0 < sum(owners) < 8)
    logits, target = random_batch(8, 3, 5)
    owners = torch.tensor(owners)
    gathered = torch.cat([BinaryMetrics.count(logits[owners == rank], target[owners == rank]) for rank in (0, 1)])
    metrics = BinaryMetrics()
    metrics.update(gathered)
    assert metrics.compute() == pytest.approx(measure((logits, target)))


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
    metrics.update(torch.tensor([[2.0**24, 0, 0, 0, 0]]))
    metrics.update(torch.tensor([[1.0, 0, 1, 0, 0]]))
    assert metrics.compute()["iou_pooled"] == (2**24 + 1) / (2**24 + 2)


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
