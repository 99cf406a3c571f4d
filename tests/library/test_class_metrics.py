"""Metrics for many classes, against torchmetrics, sets of pixels and cases counted by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seglib.metrics import ClassMetrics, class_ious, confusion_matrix, mean_iou

NAMES = ("background", "soil", "bedrock", "sand", "big rock")
LABELS = arrays.arrays(np.uint8, (4, 7), elements=st.integers(0, 4))


def by_sets(prediction, target, classes, ignore_index, exclude):
    """Mean IoU of sets of pixels."""
    places = [place for place in np.ndindex(target.shape) if target[place] != ignore_index]
    found = []
    for k in set(range(classes)) - set(exclude):
        said, true = ({place for place in places if labels[place] == k} for labels in (prediction, target))
        if said | true:
            found.append(len(said & true) / len(said | true))
    return np.mean(found) if found else math.nan


@settings(max_examples=60, deadline=None)
@given(LABELS, LABELS, st.sampled_from([None, 0, 3]), st.sampled_from([(), (0,), (0, 4)]))
def test_mean_iou_is_that_of_sets_of_pixels(prediction, target, ignored, exclude):
    expected = by_sets(prediction, target, 5, ignored, exclude)
    assert mean_iou(prediction, target, 5, ignored, exclude) == pytest.approx(expected, nan_ok=True)
    as_tensors = mean_iou(torch.from_numpy(prediction), torch.from_numpy(target), 5, ignored, exclude)
    assert as_tensors == pytest.approx(expected, nan_ok=True)


def test_two_means_by_hand():
    truth = np.array([[0, 0, 1, 1], [0, 1, 1, 2]])
    said = np.array([[1, 1, 1, 1], [0, 1, 2, 2]])
    assert mean_iou(said, truth, 5, ignore_index=0, exclude=(0,)) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert mean_iou(said, truth, 5, exclude=(0,)) == pytest.approx((3 / 6 + 1 / 2) / 2)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.uint32, np.uint64])
def test_labels_of_any_integers(dtype):
    said, truth = np.random.default_rng(0).integers(0, 2, (2, 9, 13))
    expected = confusion_matrix(said, truth, 2)
    for pair in ((said.astype(dtype), truth.astype(dtype)), (said, truth.astype(dtype)), (said.astype(dtype), truth)):
        found = confusion_matrix(*pair, 2, ignore_index=255)
        assert found.dtype == np.int64
        assert (found == expected).all()
    tensors = [torch.from_numpy(labels.astype(dtype)) for labels in (said, truth)]
    assert mean_iou(*tensors, 2) == mean_iou(said, truth, 2)


def test_an_absent_class_is_nan_and_left_out():
    assert class_ious(np.diag([3, 0, 2])).tolist()[::2] == [1, 1]
    assert math.isnan(class_ious(np.diag([3, 0, 2]))[1])
    assert mean_iou(np.ones((2, 3), int), np.ones((2, 3), int), 4) == 1
    assert math.isnan(mean_iou(np.zeros((2, 3), int), np.zeros((2, 3), int), 4, ignore_index=0, exclude=(0,)))
    assert math.isnan(mean_iou(np.zeros((2, 3), int), np.zeros((2, 3), int), 4, exclude=(0, 1, 2, 3)))


@pytest.mark.parametrize(
    ("said", "truth", "options", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), {}, "one shape"),
        (np.full((2, 3), 5), np.zeros((2, 3), int), {}, "prediction labels from 0 to 4, got 5"),
        (np.zeros((2, 3), int), np.full((2, 3), 255), {}, "target labels from 0 to 4, got 255"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), {}, "prediction labels that are integers, got float64"),
        (np.zeros((2, 3), int), np.zeros((2, 3), int), {"exclude": (5,)}, "classes to exclude"),
    ],
)
def test_what_cannot_be_compared(said, truth, options, message):
    with pytest.raises(ValueError, match=message):
        mean_iou(said, truth, 5, **options)


def counted(logits, target, unlabelled=0, parts=((0, 3), (3, 4), (4, 6))):
    meter = ClassMetrics(NAMES, unlabelled)
    for start, end in parts:
        meter.update(meter.count(logits[start:end], target[start:end]))
    return meter


@pytest.fixture
def some():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 5, 7, 10, generator=generator)
    target = torch.randint(0, 5, (6, 7, 10), generator=generator)
    return logits, target


def test_streaming_equals_all_at_once(some):
    logits, target = some
    found, confusion = counted(*some).compute(), counted(*some).confusion
    said, truth = logits.argmax(1).reshape(-1, 10).numpy(), target.reshape(-1, 10).numpy()
    assert (confusion == confusion_matrix(said, truth, 5)).all()
    assert found["mean_iou"] == pytest.approx(mean_iou(said, truth, 5, ignore_index=0, exclude=(0,)))
    assert found["mean_iou_all_pixels"] == pytest.approx(mean_iou(said, truth, 5, exclude=(0,)))
    assert found["pixel_accuracy"] == pytest.approx((said == truth).mean())
    assert found["pixel_accuracy_labelled"] == pytest.approx((said == truth)[truth > 0].mean())
    each = torch.nn.functional.cross_entropy(logits, target, reduction="none").mean((1, 2))
    assert found["ce"] == pytest.approx(each.mean().item(), rel=1e-5)
    assert found["images"] == 6
    ious = class_ious(confusion_matrix(said, truth, 5, ignore_index=0))
    assert [found[f"iou_{name}"] for name in ("soil", "bedrock", "sand", "big_rock")] == pytest.approx(ious[1:])


def test_ignored_pixels_count_nowhere(some):
    logits, target = some
    hidden = torch.rand(target.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    meter = counted(logits, target.masked_fill(hidden, 255))
    assert (
        meter.confusion
        == confusion_matrix(
            *(np.where(hidden, 0, labels).reshape(-1, 10) for labels in (logits.argmax(1).numpy(), target.numpy())), 5
        )
        - np.diag([hidden.sum().item(), 0, 0, 0, 0])
    ).all()
    nothing = ClassMetrics(NAMES, 0)
    nothing.update(nothing.count(logits, torch.full_like(target, 255)))
    assert math.isnan(nothing.compute()["mean_iou"])
    assert math.isnan(nothing.compute()["pixel_accuracy"])
    assert nothing.compute()["ce"] == 0


def test_half_precision_and_large_counts(some):
    logits, target = some
    assert counted(logits.bfloat16(), target).compute()["mean_iou"] > 0
    meter = ClassMetrics(NAMES, 0)
    row = torch.zeros(1, 26)
    row[0, 6] = 2.0**23
    for _ in range(40):  # beyond what float32 counts by ones
        meter.update(row)
    row[0, 6] = 1
    meter.update(row)
    assert meter.confusion[1, 1] == 40 * 2**23 + 1


@pytest.mark.slow
def test_every_pixel_of_a_large_image_counts():
    one, side = ClassMetrics(("a", "b")), 4097  # an image of which float32 could not count the last pixel
    target = torch.zeros(1, side, side, dtype=torch.uint8)
    one.update(one.count(torch.zeros(1, 2, 1, 1).expand(1, 2, side, side), target))
    assert one.confusion.tolist() == [[side**2, 0], [0, 0]]


def test_cross_entropy_is_each_image_s_own_mean_however_much_is_ignored(some):
    """Of six images one is ignored but for a pixel, and one altogether, which counts as 0."""
    logits, target = some
    target = target.clone()
    target[0, :4] = target[1] = target[2].view(-1)[1:] = 255
    each = [
        torch.nn.functional.cross_entropy(logits[[i]], target[[i]], ignore_index=255).item() for i in (0, 2, 3, 4, 5)
    ]
    assert counted(logits, target).compute()["ce"] == pytest.approx(sum(each) / 6, rel=1e-5)


def test_logits_at_ignored_pixels_may_be_anything(some):
    logits, target = some
    target = target.clone()
    target[:, :2] = 255
    for there in (torch.nan, torch.inf):
        other = logits.masked_fill((target == 255)[:, None], there)
        assert counted(other, target).compute() == counted(logits, target).compute()


def test_a_target_is_of_any_integers(some):
    logits, target = some
    assert counted(logits, target.to(torch.uint8)).compute() == counted(logits, target).compute()


def test_names_are_metrics(some):
    found = counted(*some).compute()
    assert set(ClassMetrics(NAMES, 0).NAMES) <= set(found)


def test_what_cannot_be_counted(some):
    logits, target = some
    with pytest.raises(ValueError, match=r"expected logits \(N, 5, H, W\)"):
        ClassMetrics(NAMES).count(logits[:, :4], target)
    with pytest.raises(ValueError, match=r"expected logits \(N, 5, H, W\)"):
        ClassMetrics(NAMES).count(logits, target[:, None])
    with pytest.raises(ValueError, match="classes from 0 to 4, or 255 where it is ignored, got 0 to 7"):
        ClassMetrics(NAMES).count(logits, torch.where(target == 4, 7, target))
    empty = ClassMetrics(NAMES)
    for _ in range(2):
        with pytest.raises(ValueError, match="at least one image"):
            empty.compute()
        empty.update(empty.count(logits[:0], target[:0]))


@pytest.mark.parametrize("names", [("a b", "a_b"), ("soil", "rock", "soil")])
def test_classes_of_one_name(names):
    with pytest.raises(ValueError, match="expected names that differ, also with _ for each space, got "):
        ClassMetrics(names)


@pytest.mark.parametrize("unlabelled", [5, -1, 255])
def test_an_unlabelled_class_that_there_is_not(unlabelled):
    with pytest.raises(ValueError, match=f"expected unlabelled from 0 to 4, or None, got {unlabelled}"):
        ClassMetrics(NAMES, unlabelled)


def test_counting_a_batch_never_waits_for_the_device():
    """As in test_metrics.py: the meta device has no values to look at."""
    metrics = ClassMetrics(["a", "b", "c"], unlabelled=0)
    for _ in range(2):
        logits = torch.empty(3, 3, 8, 12, device="meta")
        target = torch.empty(3, 8, 12, dtype=torch.int64, device="meta")
        metrics.update(metrics.count(logits, target))
    assert metrics.totals.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        metrics.compute()
