"""From a photograph and a hint to a mask: what networks see, what comes back, and the rows that do it."""

import json
import os
import random
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import platformdirs
import pytest
import torch
from by_hand import disc, rng, smooth_picture, store_challenge, store_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from scipy import ndimage
from torch import nn

from seglib import experiment, metrics
from seglib.data import coco, strokes
from seglib.data.clues import colour_likelihood
from seglib.data.coco import Object, largest, read_coco
from seglib.data.datasets import EpochDataset
from seglib.data.seeded import FROM_HINT
from seglib.reports.neural_segmentello.refinement import (
    BrushDataset,
    channels,
    interact,
    refine,
    resized,
    scale_to,
    strokes_to_reach,
    window,
)
from seglib.reports.neural_segmentello.report import Brush
from seglib.rows import load_row

REAL = os.environ.get("SEGLIB_DATA")
LUMA = (0.299, 0.587, 0.114)  # OpenCV's weights of red, green and blue


def brush(longest=None, **changes):
    return Brush(longest=longest, scenes=2, scene_size=64, training=9, validation=1, **changes)


def blob(seed, height, width, softness=14, share=0.4):
    """A large shape without symmetry."""
    hills = ndimage.gaussian_filter(rng(seed).standard_normal((height, width)), softness, mode="reflect")
    return hills > np.quantile(hills, 1 - share)


# --- what a network sees ---


@pytest.mark.parametrize("size", [(5, 9), (17, 8), (1, 7), (1, 1)])  # the last of one colour, without a gradient
@pytest.mark.parametrize("rgb", [False, True])
def test_channels_by_hand(size, rgb):
    image = rng(1).integers(0, 256, (*size, 3), np.uint8)
    hint = rng(2).integers(-1, 2, size).astype(np.int8)
    found = channels(image, hint, rgb)
    assert (found.shape, found.dtype) == ((5 if rgb else 3, *size), torch.float32)
    grey = image @ np.array(LUMA) / 255
    gradient = np.hypot(*(ndimage.sobel(grey, axis, mode="mirror") for axis in (0, 1)))
    gradient /= gradient.max() or 1
    colours = image.transpose(2, 0, 1) / 255 if rgb else grey[None]
    np.testing.assert_array_equal(found[0], hint)
    np.testing.assert_allclose(found[1:-1], colours, atol=1e-6 if rgb else 1 / 255)
    np.testing.assert_allclose(found[-1], gradient, atol=0.03)  # the grey values are rounded to whole ones
    if not rgb:  # and that of what is seen
        gradient = np.hypot(*(ndimage.sobel(found[1].double().numpy(), axis, mode="mirror") for axis in (0, 1)))
        np.testing.assert_allclose(found[2], gradient / (gradient.max() or 1), atol=1e-5)
    assert found[-1].max() == (1 if gradient.any() else 0)


def test_the_same_picture_has_the_same_channels_bit_for_bit():
    image, hint, kept = smooth_picture(96, 130), np.zeros((96, 130), np.int8), []
    first = channels(image, hint)
    for size in range(300):
        kept.append(np.zeros(7 * size + 1))  # moves what is allocated next
        assert torch.equal(channels(image.copy(), hint), first)


@pytest.mark.parametrize("rgb", [False, True])
def test_the_colour_likelihood_is_the_last_channel(rgb):
    image, hint = smooth_picture(20, 30), np.zeros((20, 30), np.int8)
    hint[5:9, 7:20] = 1
    hint[12:14, 3:6] = -1  # a correction changes no colour's odds
    without, found = channels(image, hint, rgb), channels(image, hint, rgb, likelihood=True)
    assert torch.equal(found[:-1], without)
    np.testing.assert_array_equal(found[-1], colour_likelihood(image, (hint > 0).astype(np.int8)))


# --- the part that a hint is about ---


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    margin=st.floats(0, 2),
)
def test_the_window_holds_the_hint_and_grows_with_the_margin(size, count, seed, margin):
    hint = np.where(rng(seed).random(size) < 0.2, -1, 0).astype(np.int8)
    hint.flat[rng(seed + 1).integers(hint.size, size=count)] = 1
    part = window(hint, margin)
    assert (hint[part] > 0).sum() == (hint > 0).sum()
    for one, outer, length in zip(part, window(hint, margin + 0.5), size):
        (start, stop, _), (before, after, _) = one.indices(length), outer.indices(length)
        assert (one.start, outer.start) == (start, before)  # no negative numbers
        assert 0 <= before <= start < stop <= after <= length
    assert window(np.maximum(hint, 0), margin) == part  # what is background does not count


def test_the_window_by_hand():
    hint = np.zeros((100, 200), np.int8)
    hint[40:60, 80:120] = 1
    hint[0, 0] = -1
    # A margin of 21: a quarter of 40, and a twentieth of √(100² + 200²) = 223.6.
    assert window(hint, 0) == (slice(40, 60), slice(80, 120))
    assert window(hint) == (slice(19, 81), slice(59, 141))
    assert window(hint, 0.5) == (slice(29, 71), slice(69, 131))
    assert hint[window(hint, 3)].shape == (100, 168)
    # A hint without foreground is about the whole photograph.
    assert window(0 * hint) == window(0 * hint - 1) == (slice(0, 100), slice(0, 200))


@pytest.mark.parametrize(
    ("size", "longest", "view", "expected"),
    [
        ((480, 640), None, "photograph", 1),
        ((480, 640), None, "object", 1),
        ((480, 640), 320, "photograph", 0.5),
        ((480, 640), 160, "object", 0.25),
        ((40, 80), 128, "photograph", 1),
        ((40, 80), 128, "object", 1.6),
        ((10, 20), 128, "object", 2),
    ],
)
def test_views_are_shrunk_and_small_objects_enlarged(size, longest, view, expected):
    assert scale_to(size, brush(longest, view=view)) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.1, 0.37, 1, 1.6])
def test_resized_masks_keep_their_values(scale):
    hint = rng(0).integers(-1, 2, (31, 57)).astype(np.int8)
    found = resized(hint, scale, nearest=True)
    assert (found.shape, found.dtype) == ((round(31 * scale), round(57 * scale)), np.int8)
    assert set(np.unique(found)) <= {-1, 0, 1}
    assert resized(smooth_picture(31, 57), scale).shape == (round(31 * scale), round(57 * scale), 3)
    assert resized(hint, 0.001, nearest=True).shape == (1, 1)


def centre(mask):
    """Centre of gravity in pixels' widths from the picture's corner."""
    return np.argwhere(mask).mean(0) + 0.5


@pytest.mark.parametrize("scale", [0.2, 0.25, 0.4, 0.5])
def test_reduced_masks_stay_where_the_picture_is(scale):
    mask = disc(200, 300, 90, 160, 70)
    picture = as_image(mask)
    shrunk = resized(mask.astype(np.uint8), scale, nearest=True) > 0
    smooth = np.array(ndimage.center_of_mass(resized(picture, scale)[..., 0].astype(float))) + 0.5
    np.testing.assert_allclose(smooth, scale * centre(mask), atol=0.06)
    # Of an even number of pixels none is the middle one: half a pixel of the larger picture remains.
    np.testing.assert_allclose(centre(shrunk), scale * centre(mask), atol=0.06 + 0.5 * scale)


def test_shrunk_pictures_are_averaged():
    picture = rng(0).integers(0, 256, (20, 36, 3), np.uint8)
    np.testing.assert_allclose(resized(picture, 0.5), picture.reshape(10, 2, 18, 2, 3).mean((1, 3)), atol=1)


# --- refine ---


class Stub(nn.Module):
    """Logits from the hint channel, and the shapes that it was shown."""

    def __init__(self, logits=lambda hint: 20 * hint - 10):
        super().__init__()
        self.unused, self.logits, self.shapes = nn.Parameter(torch.zeros(1)), logits, []

    def forward(self, batch):
        self.shapes.append(tuple(batch.shape))
        return self.logits(batch[:, :1])


@pytest.mark.parametrize("view", ["photograph", "object"])
@pytest.mark.parametrize("rgb", [False, True])
def test_a_network_that_repeats_the_hint_gives_the_hint(view, rgb):
    hint = blob(1, 90, 140).astype(np.int8)
    hint[:, :5] = -1
    stub = Stub()
    found = refine([stub], smooth_picture(90, 140), hint, brush(view=view, rgb=rgb))
    assert (found.shape, found.dtype) == ((90, 140), np.float32)
    assert np.array_equal(found >= 0.5, hint > 0)
    assert stub.shapes == [(1, 5 if rgb else 3, *hint[window(hint)].shape)] or view == "photograph"
    np.testing.assert_allclose(found[hint > 0], 1, atol=1e-3)
    assert found[hint <= 0].max() < 1e-3


@pytest.mark.parametrize("longest", [64, 80, 100])
@pytest.mark.parametrize("view", ["photograph", "object"])
@pytest.mark.parametrize("size", [(180, 120), (90, 200)])
def test_at_another_size_it_gives_much_the_same(view, longest, size):
    hint = disc(*size, size[0] // 2, size[1] // 2, 30).astype(np.int8)
    stub = Stub()
    found = refine([stub], smooth_picture(*size), hint, brush(longest, view=view))
    assert found.shape == size
    assert metrics.iou(found >= 0.5, hint > 0) > 0.9
    ((count, _, *seen),) = stub.shapes
    assert count == 1
    assert max(seen) == longest
    part = hint[window(hint)].shape if view == "object" else size
    assert seen[0] / seen[1] == pytest.approx(part[0] / part[1], rel=0.05)


def test_small_objects_are_enlarged_at_most_twice():
    hint, stub = disc(120, 150, 40, 60, 6).astype(np.int8), Stub()
    found = refine([stub], smooth_picture(120, 150), hint, brush(400, view="object"))
    assert metrics.iou(found >= 0.5, hint > 0) > 0.9
    refine([stub], smooth_picture(120, 150), hint, brush(400))
    assert stub.shapes == [(1, 3, *(2 * length for length in hint[window(hint)].shape)), (1, 3, 120, 150)]


def test_outside_the_view_there_is_nothing():
    hint, picture = disc(120, 200, 60, 40, 15).astype(np.int8), smooth_picture(120, 200)
    everywhere, value = Stub(lambda hint: torch.zeros_like(hint) + 3), torch.sigmoid(torch.tensor(3.0))
    inside = np.zeros((120, 200), bool)
    inside[window(hint)] = True
    assert 0 < inside.sum() < 0.5 * inside.size
    for longest in (None, 40):
        found = refine([everywhere], picture, hint, brush(longest, view="object"))
        assert not found[~inside].any()
        np.testing.assert_allclose(found[inside], value, atol=1e-6)
        np.testing.assert_allclose(refine([everywhere], picture, hint, brush(longest)), value, atol=1e-6)
    found = refine([everywhere], picture, 0 * hint, brush(view="object"))
    np.testing.assert_allclose(found, value, atol=1e-6)  # without a hint the view is the whole photograph


def test_a_hint_of_another_size_is_refused():
    for shape in ((70, 50), (49, 70), (50, 71), (1, 1)):
        with pytest.raises(ValueError, match=rf"expected a hint of the image's size \(50, 70\), got \({shape[0]}, "):
            refine([Stub()], smooth_picture(50, 70), np.ones(shape, np.int8), brush())


def test_networks_see_what_they_were_trained_on(objects):
    """The input of an item is what `refine` shows for the same photograph and hint."""
    for view, longest in (("photograph", None), ("object", None), ("object", 80)):
        data = BrushDataset(objects[:1], brush(longest, view=view), scale=0.4)
        seen, stub = [], Stub()
        stub.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0][0]))
        image, hint, _ = data.at_own_size(0)
        refine([stub], image, hint, data.config)
        assert close(seen[0], data[0][0])


# --- the data set ---


def write_object(folder, number, mask, image=None, seed=0):
    """A photograph on disk, and an object in it."""
    path = Path(folder) / f"{number:03d}.png"
    image = smooth_picture(*mask.shape, seed) if image is None else image
    cv2.imwrite(str(path), image[..., ::-1])
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    segmentation = {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}
    return Object(path, number, 10 * number, "cup", mask.shape, float(mask.sum()), 0, 1, segmentation)


SIZES = [(96, 130), (140, 90), (75, 76), (60, 144)]
MASKS = [disc(*SIZES[0], 50, 60, 30), blob(2, *SIZES[1]), disc(*SIZES[2], 60, 20, 28), blob(3, *SIZES[3])]


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    return [write_object(folder, i + 1, mask, seed=i) for i, mask in enumerate(MASKS)]


def close(one, other):
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-6, rtol=0)


def same(items, others):
    return all(close(a, b) for item, other in zip(items, others) for a, b in zip(item, other))


def changed(items, others):
    """Whether each input differs from the other's."""
    return [not close(item[0], other[0]) for item, other in zip(items, others)]


CONFIGS = {
    "rough": {},
    "reduced": {"longest": 64},
    "object": {"view": "object"},
    "object, reduced": {"view": "object", "longest": 56, "rgb": True},
    "interactive": {"hints": ["coarse", "brush"], "corrections": 3, "view": "object", "longest": 64},
}


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_items_depend_on_seed_epoch_and_index_alone(objects, name, fresh, augment):
    def make(seed=3):
        pipeline = coco.photograph_augmentation() if augment else None
        return BrushDataset(objects, brush(**CONFIGS[name]), augment=pipeline, seed=seed, fresh=fresh, scale=0.25)

    data, again, other = make(), make(), make(seed=4)
    assert len(data) == 4
    first = [data[i] for i in range(4)]
    assert same(first, [again[i] for i in reversed(range(4))][::-1])
    data.set_epoch(1)
    assert changed(first, [data[i] for i in range(4)]) == [fresh or augment] * 4
    data.set_epoch(0)
    np.random.seed(1)  # noqa: NPY002 — the global state must not matter
    assert same(first, [data[i] for i in range(4)])
    assert all(changed(first, [other[i] for i in range(4)]))


@pytest.mark.parametrize("name", CONFIGS)
def test_items_are_as_documented_and_of_the_sizes_that_are_told(objects, name):
    data = BrushDataset(objects, brush(**CONFIGS[name]), seed=1, scale=0.25)
    assert data.names == [f"00{i}_{10 * i}" for i in range(1, 5)]
    assert len(data.sizes) == len(data)
    for i, size in enumerate(data.sizes):
        image, mask = data[i]
        assert tuple(image.shape) == (5 if CONFIGS[name].get("rgb") else 3, *size)
        assert tuple(mask.shape) == (1, *size)
        assert image.dtype == mask.dtype == torch.float32
        assert set(mask.unique().tolist()) == {0, 1}
        assert set(image[0].unique().tolist()) <= {-1, 0, 1}
        assert 0 <= image[1:].min() <= image[1:].max() <= 1
    if longest := CONFIGS[name].get("longest"):
        assert all(max(size) <= longest for size in data.sizes)


def test_the_view_s_margin_is_the_row_s(objects):
    for margin in (0.5, 2.0):
        data = BrushDataset(objects, brush(view="object", margin=margin))
        for index in range(len(data)):
            photograph, hint, _ = data.at_own_size(index)
            part = window(hint, margin)
            assert tuple(data[index][0].shape[1:]) == data.sizes[index] == hint[part].shape
            seen = refine([nn.Conv2d(3, 1, 1)], photograph, hint, data.config) > 0
            assert seen[part].all()
            assert seen.sum() == hint[part].size


def test_sizes_of_a_very_long_photograph_are_those_of_the_item(tmp_path):
    mask = np.zeros((3, 400), bool)
    mask[:, 50:350] = True
    data = BrushDataset([write_object(tmp_path, 1, mask)], brush(64, hints=["brush"]))
    assert [tuple(data[0][1].shape[1:])] == data.sizes


def test_a_whole_photograph_comes_with_the_object_s_mask(objects):
    data = BrushDataset(objects, brush(), scale=0.25)
    for i, entry in enumerate(objects):
        image, mask = data[i]
        assert np.array_equal(mask[0] == 1, MASKS[i])
        assert close(image, channels(entry.image(), image[0].numpy()))
        assert (image[0] > 0).any()
    for _ in range(2):  # they can be asked for twice
        assert all(map(np.array_equal, data.masks, MASKS))


@pytest.mark.parametrize("name", CONFIGS)
def test_at_their_own_size(objects, name):
    data = BrushDataset(objects, brush(**CONFIGS[name]), seed=5, scale=0.25)
    for i, entry in enumerate(objects):
        image, hint, mask = data.at_own_size(i)
        assert np.array_equal(image, entry.image())
        assert np.array_equal(mask, MASKS[i])
        assert mask.dtype == bool
        assert (hint.shape, hint.dtype) == (mask.shape, np.int8)
        assert (hint > 0).any()
        if data.config.longest is None:
            part = hint[window(hint)] if data.config.view == "object" else hint
            assert np.array_equal(data[i][0][0], part)


def test_the_object_view_shows_the_object(objects):
    whole, near = (BrushDataset(objects, brush(view=view), scale=0.25) for view in ("photograph", "object"))
    for i in range(4):
        part = window(whole[i][0][0].numpy())
        assert torch.equal(near[i][1], whole[i][1][:, *part])
        assert torch.equal(near[i][0][:2], whole[i][0][:2, *part])


def test_fresh_views_differ_in_their_margin(objects):
    data = BrushDataset(objects[:1], brush(view="object"), fresh=True, scale=0.25)
    shapes = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        image, mask = data[0]
        assert image.shape[1:] == mask.shape[1:]
        shapes.add(tuple(mask.shape))
    assert len(shapes) > 6


def test_reduced_photographs_have_hints_of_their_size(objects):
    """Strokes shrink with the photograph: the share of the picture that a hint covers stays much the same."""
    whole, reduced = (
        np.mean([(image[0] > 0).float().mean() / mask.mean() for image, mask in first_items(objects, 25, 0.4, longest)])
        for longest in (None, 72)
    )
    assert 0.5 < whole < 0.95
    assert reduced == pytest.approx(whole, abs=0.05)


def first_items(objects, count, scale, longest=None, **changes):
    """The first object's item, for so many seeds."""
    return [BrushDataset(objects[:1], brush(longest, **changes), seed=s, scale=scale)[0] for s in range(count)]


def test_hints_are_of_the_kinds_that_are_asked_for(objects):
    coarse, brushed, either = (
        [metrics.iou(image[0].numpy() > 0, MASKS[0]) for image, _ in first_items(objects, 30, 0.25, hints=hints)]
        for hints in (["coarse"], ["brush"], ["coarse", "brush"])
    )
    assert min(coarse) > max(0.5, np.median(brushed))
    assert np.std(either) > np.std(coarse)
    corrected = [image[0].numpy() for image, _ in first_items(objects, 30, 0.25, corrections=4)]
    assert 0.3 < np.mean([(hint < 0).any() for hint in corrected]) < 0.95
    assert not any(MASKS[0][hint < 0].any() for hint in corrected)


def test_objects_that_are_too_small_are_left_out(objects, tmp_path):
    tiny = write_object(tmp_path, 9, disc(60, 90, 30, 40, 3))
    with_tiny = [tiny, *objects[:2], tiny]
    data = BrushDataset(with_tiny, brush(), scale=0.25)
    assert data.objects == objects[:2]
    assert data.names == ["001_10", "002_20"]
    assert len(data) == len(data.sizes) == len(list(data.masks)) == 2
    assert len(BrushDataset(with_tiny, brush(hints=["brush"]), scale=0.25)) == 4  # a stroke finds room
    for few in ([tiny, tiny], []):
        with pytest.raises(ValueError, match=f"expected an object that is large enough .* got none among {len(few)}"):
            BrushDataset(few, brush())


# --- augmentation ---


def as_image(mask):
    return np.stack([255 * mask.astype(np.uint8)] * 3, axis=-1)


def disagreement(image, mask, slack=2):
    """How many pixels of an augmented picture of a mask are on the wrong side, those near its outline left out."""
    grey = image.astype(float).mean(-1)
    found = grey > (grey.min() + grey.max()) / 2
    near = ndimage.binary_dilation(mask, iterations=slack) & ~ndimage.binary_erosion(
        mask, iterations=slack, border_value=1
    )
    return ((found != mask) & ~near).sum(), near.mean()


@pytest.mark.parametrize("name", coco.AUGMENTATIONS)
@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(40, 110), st.integers(40, 110)),
    shape=st.integers(0, 2**31),
    seed=st.integers(0, 2**31),
)
def test_every_augmentation_moves_image_and_mask_together(name, size, shape, seed):
    """With the mask for an image, the two must still agree afterwards."""
    mask = blob(shape, *size, softness=9).astype(np.uint8)
    data = EpochDataset(coco.AUGMENTATIONS[name](), seed)
    image, moved = data.augmented(as_image(mask), mask, index=0)
    assert image.shape == (*size, 3)
    assert moved.shape == size
    assert image.dtype == moved.dtype == np.uint8
    assert set(np.unique(moved)) <= {0, 1}
    if 0 < moved.mean() < 1:
        wrong, near = disagreement(image, moved == 1)
        assert wrong <= 0.002 * mask.size  # a tip may be lost where it is thinner than a pixel
        assert near < 0.9


def test_the_agreement_test_finds_a_picture_that_moves_alone():
    found = 0
    for seed in range(20):
        mask = blob(seed, 80, 110, softness=9).astype(np.uint8)
        pipeline = coco.photograph_augmentation()
        pipeline.set_random_state(rng(seed), random.Random(seed))
        found += disagreement(pipeline(image=as_image(mask))["image"], mask == 1)[0] > 0
    assert found > 12


@pytest.mark.parametrize("view", ["photograph", "object"])
def test_items_of_augmented_photographs_agree(tmp_path, view):
    entries = [write_object(tmp_path, i + 1, mask, as_image(mask)) for i, mask in enumerate(MASKS)]
    data = BrushDataset(
        entries, brush(view=view, rgb=True), augment=coco.photograph_augmentation(), seed=2, fresh=True, scale=0.25
    )
    seen = set()
    for epoch in range(6):
        data.set_epoch(epoch)
        for i in range(4):
            image, mask = (one.numpy() for one in data[i])
            seen.add(mask.tobytes())
            assert disagreement(image[1:4].transpose(1, 2, 0), mask[0] == 1)[0] == 0
            drawn = image[0] > 0  # and the hint is about the object as it stands now
            assert (drawn & (mask[0] == 0)).sum() <= 0.05 * max(1, drawn.sum()) + 5
    assert len(seen) > 20


def test_photographs_stay_upright():
    """Mirrored from left to right, never from top to bottom, and turned by little."""
    mask = np.zeros((90, 120), np.uint8)
    mask[5:25, 10:40] = 1
    corners = set()
    data = EpochDataset(coco.photograph_augmentation(), 0)
    for index in range(60):
        _, moved = data.augmented(as_image(mask), mask, index)
        y, x = ndimage.center_of_mass(moved)
        assert y < 40
        corners.add(bool(x > 60))
    assert corners == {False, True}


# --- rows ---

SMALL = {"data.scenes": 12, "data.scene_size": 96, "data.longest": 64, "data.training": 9, "data.validation": 3}
TINY = SMALL | {"training.epochs": 1, "training.precision": "float32"}
NAMES = {"iou", "dice", "pixel_accuracy", "boundary_iou", "boundary_iou_1px"}
NAMES |= {"hausdorff", "hausdorff_95", "hausdorff_all", "hausdorff_infinite"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Scenes are drawn once for all of these."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_cache_path", lambda *names: folder.joinpath(*names))
        yield folder


@pytest.fixture(scope="module")
def outcome(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return experiment.run("neural_segmentello", "tiny16-32_bce-dice", overrides=TINY, seed=1, out=folder / "results")


def test_a_run_writes_all_metrics(outcome):
    result = json.loads(outcome.path.read_text())
    assert set(result["metrics"]) == NAMES | {"iou_logit_half"}
    assert all(np.isfinite(value) for value in result["metrics"].values())
    assert 0 < result["metrics"]["pixel_accuracy"] <= 1
    assert result["parameters"] == 117_681
    assert result["data"] == "embedded"
    assert "generated scenes" in result["split"]
    assert f"metrics over the {len(outcome.data[0].validation)} validation pairs" in result["split"]
    truths = list(outcome.data[0].validation.masks)
    assert result["foreground_share"] == pytest.approx(np.mean([mask.mean() for mask in truths]))


def test_no_image_is_in_both_parts(outcome):
    (data,) = outcome.data
    one, other = ({entry.image_id for entry in part.objects} for part in (data.train, data.validation))
    assert not one & other
    assert len(one) + len(other) <= 12
    assert len(other) == len(data.validation) <= 3  # the largest object of each
    assert len(one) == len(data.train) <= 9


def test_measured_and_written_are_the_masks_that_refine_gives_at_the_photographs_own_sizes(outcome):
    """And a logit of 0.5 is a probability of 0.62."""
    row = load_row("neural_segmentello", "tiny16-32_bce-dice", overrides=TINY)
    folder, validation = experiment.run_folder(outcome.path) / "predictions", outcome.data[0].validation
    assert {path.stem for path in folder.iterdir()} == set(validation.names)
    at_half, stricter = [], []
    for i, name in enumerate(validation.names):
        image, hint, truth = validation.at_own_size(i)
        probability = refine([outcome.model], image, hint, row.data)
        mask = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == validation.objects[i].size
        assert max(mask.shape) > 64
        assert np.array_equal(mask, 255 * (probability >= 0.5))
        at_half.append(metrics.iou(mask == 255, truth))
        stricter.append(metrics.iou(probability >= 0.62246, truth))
    assert outcome.result["metrics"]["iou"] == pytest.approx(np.mean(at_half))
    assert outcome.result["metrics"]["iou_logit_half"] == pytest.approx(np.mean(stricter))


@pytest.mark.parametrize("name", ["hint", "grabcut", "random-walker"])
def test_baselines_start_from_the_same_hints(outcome, name, tmp_path):
    found = experiment.run("neural_segmentello", name, overrides=SMALL, seed=1, out=tmp_path / "results").result
    assert set(found["metrics"]) == NAMES
    assert found["parameters"] == 0
    validation, scores = outcome.data[0].validation, []
    for i in range(len(validation)):
        image, hint, truth = validation.at_own_size(i)
        scores.append(metrics.iou(FROM_HINT[name](image, hint), truth))
    assert found["metrics"]["iou"] == pytest.approx(np.mean(scores))
    assert 0.3 < found["metrics"]["iou"] < 1


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder laid out as COCO 2017, train and validation part: two discs in each photograph, one of them larger."""
    folder = tmp_path_factory.mktemp("real")
    for part, numbers in (("train2017", range(1, 13)), ("val2017", range(101, 109))):
        photographs = {}
        for i in numbers:
            size = (150, 260) if i % 2 else (170, 230)
            balls = [("ball", disc(*size, 75, x, radius), False) for x, radius in ((60, 45), (170, 50 + i % 7))]
            photographs[i] = smooth_picture(*size, seed=i), balls
        store_coco(folder, part, photographs)
    return folder


BIG = {"data.training": 15, "data.validation": 5}


def parts(row, folder, **changes):
    found = load_row("neural_segmentello", row, overrides=SMALL | BIG | changes)
    return experiment.make_data(found, seed=2, folder=folder)


@pytest.mark.usefixtures("cache")
def test_both_parts_of_coco_are_used_where_they_are(real):
    data = parts("tiny16-32_bce-dice", real)
    assert data.description.startswith("COCO, ")
    used = {entry.path.parent.name for part in (data.train, data.validation) for entry in part.objects}
    assert used == {"train2017", "val2017"}
    assert data.train.scale == data.validation.scale == 1  # photographs of about 640×480
    embedded = parts("tiny16-32_bce-dice", real, **{"data.real": False})
    assert "generated scenes" in embedded.description
    assert embedded.train.scale == embedded.validation.scale == 0.15


def test_all_objects_or_the_largest(real):
    one, every = parts("tiny16-32_bce-dice", real), parts("all-objects", real)
    assert largest(every.train.objects) == one.train.objects
    assert len(one.train) == 15
    assert len(every.train) > 25
    assert every.validation.names == one.validation.names  # measured on the same


def test_a_limit_leaves_out_images_and_the_validation_part_alone(real):
    whole = parts("tiny16-32_bce-dice", real)
    for limit in (1, 4):
        some = parts("tiny16-32_bce-dice", real, **{"data.limit": limit})
        assert len(some.train) == limit
        assert set(some.train.names) < set(whole.train.names)
        assert some.validation.names == whole.validation.names


@pytest.mark.usefixtures("cache")
def test_further_photographs_are_for_training_alone(real, tmp_path):
    extra = {"data.extra": ["scribbles"]}
    with pytest.raises(coco.DataError, match=r"no photograph in .*scribbles"):
        parts("tiny16-32_bce-dice", real, **extra)
    folder = tmp_path / "both"
    shutil.copytree(real, folder)
    truth = disc(150, 200, 75, 60, 50) | disc(150, 200, 75, 160, 30)
    for name in ("2007_000001", "2007_000002"):
        store_challenge(folder, name, smooth_picture(150, 200), strokes.scribble(truth, rng(), 0.4), truth)
    alone, more = parts("tiny16-32_bce-dice", folder), parts("tiny16-32_bce-dice", folder, **extra)
    assert more.train.names[:-2] == alone.train.names
    assert more.train.names[-2:] == ["2007_000001_2007000001001", "2007_000002_2007000002001"]
    assert more.validation.names == alone.validation.names
    assert more.description.startswith("COCO and the scribble challenge, 17 objects in 17 images for training, 5 ")
    row = load_row("neural_segmentello", "tiny16-32_bce-dice", overrides=extra)
    assert experiment.data_source(row, folder) == "COCO+scribbles"
    assert experiment.data_source(row, None) == "embedded"
    embedded = [parts("tiny16-32_bce-dice", None, **change) for change in ({}, extra)]
    assert embedded[0].train.names == embedded[1].train.names


def test_whatever_it_is_trained_for_a_network_is_measured_on_rough_masks(real):
    data = parts("interactive", real, **{"data.hints": ["coarse", "brush"], "data.extra": []})
    for part, hints, corrections, training in (
        (data.train, ["coarse", "brush"], 4, True),
        (data.validation, ["coarse"], 0, False),
    ):
        assert (part.config.hints, part.config.corrections, part.config.view) == (hints, corrections, "object")
        assert (part.fresh, part.augment is not None) == (training, training)


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_real_photographs_at_their_own_size():
    objects = largest([entry for source in coco.find_coco(REAL) for entry in read_coco(*source)])[:12]
    for view in ("photograph", "object"):
        data, scores = BrushDataset(objects, brush(192, view=view)), []
        assert len(data) > 8
        for i in range(len(data)):
            image, hint, truth = data.at_own_size(i)
            assert image.shape[:2] == hint.shape == truth.shape == data.objects[i].size
            assert tuple(data[i][1].shape[1:]) == data.sizes[i]
            scores.append(metrics.iou(refine([Stub()], image, hint, data.config) >= 0.5, hint > 0))
        assert np.mean(scores) > 0.85


# --- a user who corrects ---


class Obedient(nn.Module):
    """A network that believes every stroke and nothing else, or, at 0, takes all for the object."""

    def __init__(self, unknown: float):
        super().__init__()
        self.unknown = nn.Parameter(torch.tensor(unknown))

    def forward(self, batch):
        hint = batch[:, :1]
        return torch.where(hint == 0, self.unknown, 20 * hint)


@pytest.mark.parametrize("unknown", [-9.0, 9.0])
def test_a_user_draws_once_and_then_corrects_what_is_most_wrong(unknown):
    truth = disc(60, 90, 28, 40, 19)
    image = smooth_picture(60, 90)
    steps = list(interact([Obedient(unknown)], image, truth, brush(None), 6, rng(3), 0.3))
    assert len(steps) == 6
    first, mask = steps[0]
    assert (first >= 0).all()
    assert not ((first > 0) & ~truth).any()
    wrong = [(mask != truth).sum() for _, mask in steps]
    assert all(after < before for before, after in pairwise(wrong))  # an obedient network gets better each time
    for (before, _), (after, mask) in pairwise(steps):
        new = (after != before) & (after != 0)
        assert new.any()
        assert (after[new] == (1 if unknown < 0 else -1)).all()
        assert (mask[new] == truth[new]).all()


def test_a_user_who_is_content_stops():
    ((_, mask),) = interact([Obedient(9.0)], smooth_picture(20, 30), np.ones((20, 30), bool), brush(None), 6, rng(0))
    assert mask.all()


@pytest.mark.parametrize(("ious", "strokes"), [([0.2, 0.8, 0.95, 0.7], 3), ([0.9], 1), ([0.1, 0.2], 3)])
def test_how_many_strokes_it_takes(ious, strokes):
    assert strokes_to_reach(ious, 0.9) == strokes
