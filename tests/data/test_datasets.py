"""The checked dataset and its augmentation, which must move image and mask together and be the same for everyone."""

import re

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.data import DataLoader

from seglib.data.coco import photograph_augmentation
from seglib.data.datasets import SegmentationDataset, channel_statistics, flips_and_quarter_turns
from seglib.losses import bce_loss
from seglib.models.unet import UNet
from seglib.training import evaluate, fit, mixed_sizes

# No two of its eight symmetries are equal.
MARK = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], np.uint8)


def symmetries(array):
    """All flips and quarter turns of a square array."""
    return [np.rot90(flipped, turns) for flipped in (array, array.T) for turns in range(4)]


def augmented_pairs(n=6, size=8, seed=0):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (n, size, size), np.uint8)
    return SegmentationDataset(images, images > 127, augment=flips_and_quarter_turns(), seed=seed)


def same(items, others):
    return all(torch.equal(a, b) for item, other in zip(items, others) for a, b in zip(item, other))


# --- what an item is ---


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 51, 255], [102, 0, 153]], np.uint8), [[[0, 0.2, 1], [0.4, 0, 0.6]]]),
        (np.array([[0, 0.2, 1], [0.4, 0, 0.6]]), [[[0, 0.2, 1], [0.4, 0, 0.6]]]),
        (np.array([[[0, 255], [51, 0], [255, 0]], [[0, 0], [0, 0], [0, 102]]], np.uint8), None),
    ],
)
def test_items(image, expected):
    mask = np.array([[0, 1, 1], [0, 0, 1]])
    item, target = SegmentationDataset([image], [mask])[0]
    if expected is None:  # two channels, which come first
        expected = [[[0, 0.2, 1], [0, 0, 0]], [[1, 0, 0], [0, 0, 0.4]]]
    assert item.dtype == target.dtype == torch.float32
    torch.testing.assert_close(item, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(target, torch.tensor(mask[None], dtype=torch.float32))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_pairs_of_different_sizes_and_masks_of_any_type(dtype):
    masks = [np.ones((4, 7), dtype), np.array([[0, 1, 0], [1, 1, 0]], dtype)]
    data = SegmentationDataset([np.zeros(mask.shape) for mask in masks], masks)
    assert len(data) == 2
    assert data[0][1].shape == (1, 4, 7)
    assert torch.equal(data[1][1], torch.tensor([[[0.0, 1, 0], [1, 1, 0]]]))


def test_a_cube_is_a_picture_too():
    item, target = SegmentationDataset([np.ones((3, 3, 3), np.uint8)], [MARK])[0]
    assert item.shape == (3, 3, 3)
    assert torch.equal(target[0], torch.from_numpy(MARK).float())


def test_pairs_have_names():
    images = masks = np.zeros((2, 3, 4), np.uint8)
    assert SegmentationDataset(images, masks).names == ["00000", "00001"]
    assert SegmentationDataset(images, masks, names=("a", "b")).names == ["a", "b"]


# --- lists of one's own ---


def of_widths(*widths, dtype=np.uint8, height=32):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (height, width), np.uint8) for width in widths]
    masks = [(image > 127).astype(np.uint8) for image in images]
    return [image if dtype == np.uint8 else (image / 255).astype(dtype) for image in images], masks


@pytest.mark.parametrize("augment", [None, flips_and_quarter_turns()])
def test_pictures_of_several_sizes_are_learned_from_and_measured(augment):
    data = SegmentationDataset(*of_widths(*[32, 36, 40] * 5), augment=augment)
    assert data.sizes == [(32, 32), (32, 36), (32, 40)] * 5
    assert mixed_sizes(data)
    model = UNet(1, 1, [4, 8])
    history = fit(model, bce_loss, data, data, epochs=2, batch_size=8, learning_rate=0.01)
    assert history[-1]["images"] == evaluate(model, data)["images"] == 15
    assert not mixed_sizes(SegmentationDataset(*of_widths(36, 36)))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.longdouble])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_floats_of_any_type_are_augmented_as_float32(dtype, colours):
    rng = np.random.default_rng(0)
    stack = rng.random((8, 32, 40, *colours)).astype(dtype)
    masks = (stack.reshape(8, 32, 40, -1)[..., 0] > 0.5).astype(np.uint8)
    kind = photograph_augmentation() if colours else flips_and_quarter_turns()
    for images in (stack, list(stack)):
        data = SegmentationDataset(images, masks, augment=kind)
        assert isinstance(data.images, type(images))
        assert all(image.dtype == np.float32 for image in data.images)
        np.testing.assert_array_equal(np.stack(data.images), stack.astype(np.float32))
        for epoch in range(3):
            data.set_epoch(epoch)
            assert all(torch.isfinite(data[i][0]).all() for i in range(8))
    assert stack.dtype == dtype  # the caller's are not touched


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_needs_no_other_type_is_not_copied(dtype):
    images, masks = of_widths(32, 36, dtype=dtype)
    data = SegmentationDataset(images, masks)
    assert data.images is images
    assert data.masks is masks
    stack = np.stack(of_widths(32, 32, dtype=dtype)[0])
    assert SegmentationDataset(stack, stack > 0.5).images is stack
    mixed = SegmentationDataset([images[0], images[1].astype(np.float64) / 255], masks)
    assert mixed.images[0] is images[0]


# --- what tells it from others ---


def test_a_digest_is_that_of_names_images_and_masks():
    images, masks = of_widths(32, 36, 40)
    data = SegmentationDataset(images, masks)
    same = data.digest()
    assert SegmentationDataset([image.copy() for image in images], [mask.copy() for mask in masks]).digest() == same
    turns = [SegmentationDataset(images, masks, augment=flips_and_quarter_turns(), seed=seed) for seed in (0, 0, 5)]
    turned = [one.digest() for one in turns]
    assert turned[0] == turned[1]
    assert len({same, *turned}) == 3
    for epoch in range(3):
        data.set_epoch(epoch)
        assert data.digest() == same
    for change in ("image", "mask", "name", "order", "one less", "float"):
        pictures, truths, names = [image.copy() for image in images], [mask.copy() for mask in masks], list(data.names)
        if change == "image":
            pictures[2][31, 39] ^= 1
        elif change == "mask":
            truths[2][31, 39] ^= 1
        elif change == "name":
            names[2] = "another"
        elif change == "order":
            pictures, truths = pictures[::-1], truths[::-1]
        elif change == "float":
            pictures = [image / 255 for image in pictures]
        else:
            pictures, truths, names = pictures[:2], truths[:2], names[:2]
        assert SegmentationDataset(pictures, truths, names=names).digest() != same, change


# --- statistics ---


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_channel_statistics_are_those_of_all_pixels(channels, dtype):
    """Of pictures of several sizes, brighter and darker ones; one of them is larger and counts for more."""
    rng = np.random.default_rng(0)
    sizes = [(4, 7), (9, 5), (30, 50)]
    pictures = [np.sqrt(rng.random((*size, *channels))) * (1 + i) / 3 for i, size in enumerate(sizes)]
    images = [(255 * p).astype(np.uint8) if dtype == np.uint8 else p.astype(dtype) for p in pictures]
    pixels = np.concatenate([image.reshape(-1, *(channels or (1,))) for image in images]).astype(np.float64)
    pixels /= 255 if dtype == np.uint8 else 1
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float64
    assert mean.shape == std.shape == (channels or (1,))
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-9)


def test_channel_statistics_of_a_stack_and_of_constant_channels():
    stack = np.full((5, 4, 6, 3), [0, 51, 255], np.uint8)
    mean, std = channel_statistics(stack)
    np.testing.assert_allclose(mean, [0, 0.2, 1])
    np.testing.assert_allclose(std, 0, atol=1e-7)


# --- what is refused ---

IMAGE, MASK = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)


def with_one(value, dtype=float):
    array = np.zeros((4, 6), dtype)
    array[1, 2] = value
    return array


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ([], [], "at least one pair of image and mask, got an empty data set"),
        ([IMAGE, IMAGE], [MASK], "as many masks as images, got 2 images and 1 masks"),
        ([IMAGE, IMAGE], [MASK, MASK.T], "pair 1: expected a mask of the image's size (4, 6), got one of shape (6, 4)"),
        ([IMAGE], [MASK[..., None]], "pair 0: expected a mask of the image's size (4, 6), got one of shape (4, 6, 1)"),
        ([IMAGE, IMAGE], [MASK, with_one(255, np.uint8)], "pair 1: expected mask values 0 and 1, got [0, 255]"),
        ([IMAGE], [with_one(255, np.uint8)], "divide a 0/255 mask by 255"),
        ([IMAGE], [with_one(0.5)], "pair 0: expected mask values 0 and 1, got [0.0, 0.5]"),
        ([IMAGE], [with_one(np.nan)], "pair 0: expected mask values 0 and 1, got [0.0, nan]"),
        ([IMAGE, with_one(np.nan)], [MASK, MASK], "pair 1: expected a uint8 image, or finite floats in [0, 1]"),
        ([with_one(np.inf)], [MASK], "pair 0: expected a uint8 image, or finite floats in [0, 1]"),
        ([with_one(1.5)], [MASK], "got float64 values from 0.0 to 1.5"),
        ([with_one(-0.5)], [MASK], "got float64 values from -0.5 to 0.0"),
        ([with_one(200, np.int64)], [MASK], "got int64 values from 0 to 200"),
        ([IMAGE], [MASK[..., None]], "got one of shape (4, 6, 1); mask[..., 0] is its first channel"),
        ([IMAGE], [cv2.cvtColor(MASK, cv2.COLOR_GRAY2RGB)], "got one of shape (4, 6, 3); mask[..., 0] is its first"),
        ([IMAGE], [MASK[None]], "pair 0: expected a mask of the image's size (4, 6), got one of shape (1, 4, 6)"),
        (
            [IMAGE, IMAGE],
            [MASK, Image.fromarray(MASK)],
            "pair 1: expected mask as a NumPy array, got a PIL image; np.arr",
        ),
        ([Image.fromarray(IMAGE)], [MASK], "pair 0: expected image as a NumPy array, got a PIL image; np.array(image)"),
        ([IMAGE.tolist()], [MASK], "pair 0: expected image as a NumPy array, got a list of 4; np.array(image)"),
        ([IMAGE], [MASK.tolist()], "pair 0: expected mask as a NumPy array, got a list of 4; np.array(mask)"),
        ([torch.zeros(4, 6)], [MASK], "expected image as a NumPy array, got a tensor float32 (4, 6); np.array(image)"),
        ([np.zeros((3, 4, 6))], [MASK], "(H, W, C), got one of shape (3, 4, 6); image.transpose(1, 2, 0) puts"),
        ([IMAGE[None, ..., None]], [MASK], "expected an image (H, W) or (H, W, C), got one of shape (1, 4, 6, 1)"),
        ([IMAGE[:0]], [MASK[:0]], "expected an image (H, W) or (H, W, C), got one of shape (0, 6)"),
    ],
)
def test_bad_pairs_are_named(images, masks, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SegmentationDataset(images, masks)


# --- augmentation ---


@pytest.mark.parametrize("augment", [None, flips_and_quarter_turns()])
@settings(max_examples=30, deadline=None)
@given(
    mask=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)),
    seed=st.integers(0, 2**31),
)
def test_every_augmentation_moves_image_and_mask_together(augment, mask, seed):
    """With the mask for an image, the two must still agree afterwards."""
    image, target = SegmentationDataset([255 * mask], [mask], augment=augment, seed=seed)[0]
    assert torch.equal(image, target)
    assert set(target.unique().tolist()) <= {0, 1}


def test_flips_and_quarter_turns_reach_all_eight_equally_often():
    data = SegmentationDataset([MARK] * 800, [MARK] * 800, augment=flips_and_quarter_turns())
    known = [symmetry.tobytes() for symmetry in symmetries(MARK)]
    assert len(set(known)) == 8
    seen = [known.index(target[0].numpy().astype(np.uint8).tobytes()) for _, target in data]
    assert np.bincount(seen, minlength=8).min() > 70
    assert np.bincount(seen, minlength=8).max() < 130


def test_without_augmentation_items_stay_as_they_are():
    data = SegmentationDataset([255 * MARK] * 20, [MARK] * 20)
    for epoch in range(3):
        data.set_epoch(epoch)
        assert all(np.array_equal(target[0], MARK) for _, target in data)


def test_augmentation_depends_on_seed_epoch_and_index():
    """One pair, over and over: an item that did not depend on one of the three would repeat the others' turns."""
    turned = {}
    for seed in (0, 1):
        data = SegmentationDataset([MARK] * 40, [MARK] * 40, augment=flips_and_quarter_turns(), seed=seed)
        for epoch in (0, 1):
            data.set_epoch(epoch)
            assert data.epoch == epoch
            turned[seed, epoch] = [data[i][1].numpy().tobytes() for i in range(40)]
    assert all(len(set(items)) == 8 for items in turned.values())  # the index matters
    assert len({tuple(items) for items in turned.values()}) == 4  # and so do seed and epoch


def test_augmentation_does_not_depend_on_the_order_of_access():
    forwards, backwards = augmented_pairs(), augmented_pairs()
    items = [forwards[i] for i in range(6)]
    assert same(items, [backwards[i] for i in reversed(range(6))][::-1])
    assert same(items, [forwards[i] for i in range(6)])  # and asking again changes nothing
    np.random.seed(1)  # noqa: NPY002 — the global state must not matter
    torch.manual_seed(1)
    assert same(items, [forwards[i] for i in range(6)])


@pytest.mark.parametrize("persistent", [False, True])
def test_loader_workers_see_the_epoch_and_make_no_difference(persistent):
    data, alone = augmented_pairs(), augmented_pairs()
    loader = DataLoader(data, 2, num_workers=2, persistent_workers=persistent)
    epochs = []
    for epoch in range(3):
        data.set_epoch(epoch)
        alone.set_epoch(epoch)
        images, masks = (torch.cat(batches) for batches in zip(*loader))
        assert same(zip(images, masks), [alone[i] for i in range(6)])
        epochs.append(images)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])
