"""The homework's file, splits by photograph, the data set and the submission."""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib.data.images import DataError
from seglib.reports.mars_terrain import mars

REAL = Path(os.environ.get("SEGLIB_DATA") or "nowhere")


def rows(count=6, height=4, width=9, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, 256, (count, height, width)), rng.integers(0, 5, (count, height, width))], 1)


def terrain_of(count, *size, seed=0):
    images, labels = rows(count, *size, seed=seed).astype(np.uint8).transpose(1, 0, 2, 3)
    return mars.Terrain(images, labels, np.arange(count).astype(str))


def write(path, **changes):
    arrays = {"training_set": rows().astype(np.uint8), "ids": np.array(["a", "a", "b", "b", "c", "d"])} | changes
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_the_homework_s_rows(tmp_path):
    (tmp_path / "mars").mkdir()
    path = write(tmp_path / "mars" / "mars_for_students.npz", test_set=rows()[:3, 0].astype(np.uint8))
    for place in (path, tmp_path):
        terrain = mars.read_homework(place)
        assert (terrain.images == rows()[:, 0]).all()
        assert (terrain.labels == rows()[:, 1]).all()
        assert terrain.images.dtype == terrain.labels.dtype == np.uint8
        assert terrain.ids.tolist() == ["a", "a", "b", "b", "c", "d"]
        assert terrain.clean is None
    assert (mars.read_test_set(path) == rows()[:3, 0]).all()


def test_without_ids_every_row_is_a_photograph(tmp_path):
    with pytest.warns(UserWarning, match="has no ids"):
        terrain = mars.read_homework(write(tmp_path / "x.npz", ids=None))
    assert len(set(terrain.ids)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training_set": None}, "expected an array training_set, got ids"),
        ({"training_set": rows()[:, 0]}, r"expected training_set of whole numbers \(N, 2, H, W\)"),
        ({"training_set": rows().astype(float)}, "whole numbers"),
        ({"training_set": rows()[:0]}, "whole numbers"),
        ({"training_set": rows() - 1}, "from 0 to 255"),
        ({"training_set": rows().astype(np.uint8) * np.array([1, 2], np.uint8)[:, None, None]}, "row 0: .*got also"),
        ({"ids": np.array(["a", "b"])}, "an id for each of 6 rows"),
        ({"training_set": np.array([{"a": 1}], dtype=object)}, "not a whole npz file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changes, message):
    path = write(tmp_path / "x.npz", **changes)
    with pytest.raises(DataError, match=message) as error:
        mars.read_homework(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("left", [0, 10, 0.5, 0.95])
def test_a_file_that_was_cut_short(tmp_path, left):
    path = write(tmp_path / "x.npz", training_set=rows(200, 16, 32).astype(np.uint8), ids=None)
    content = path.read_bytes()
    path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(DataError, match="cut short"):
        mars.read_homework(path)


def test_no_file_and_no_test_set(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        mars.read_homework(tmp_path)
    with pytest.raises(DataError, match=r"test_set \(N, H, W\), got training_set"):
        mars.read_test_set(write(tmp_path / "x.npz"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=80), st.integers(0, 5))
def test_no_photograph_is_on_two_sides(numbers, seed):
    ids = np.array([f"photo {number}" for number in numbers])
    if len(set(numbers)) < 3:
        with pytest.raises(ValueError, match="at least 3 photographs"):
            mars.split_by_id(ids, (0.7, 0.1, 0.2), seed)
        return
    parts = mars.split_by_id(ids, (0.7, 0.1, 0.2), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(ids)))
    sides = [set(ids[part]) for part in parts]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_parts_are_as_large_as_asked_for_and_depend_on_the_seed():
    ids = np.repeat([f"photo {number}" for number in range(500)], 2)
    parts = mars.split_by_id(ids, (0.7, 0.1, 0.2), 0)
    assert [len(part) for part in parts] == [700, 100, 200]
    again, other = mars.split_by_id(ids, (0.7, 0.1, 0.2), 0), mars.split_by_id(ids, (0.7, 0.1, 0.2), 1)
    assert all((one == two).all() for one, two in zip(parts, again))
    assert (parts[2] != other[2]).any()


def test_items_and_their_ignored_background():
    terrain = terrain_of(6)
    image, target = mars.TerrainDataset(terrain, (4, 9))[2]
    assert (image.shape, image.dtype) == ((1, 4, 9), torch.float32)
    assert (image[0].numpy() * 255).round().tolist() == terrain.images[2].tolist()
    assert target.dtype == torch.int64
    assert target.tolist() == terrain.labels[2].tolist()
    _, ignoring = mars.TerrainDataset(terrain, (4, 9), ignore_background=True)[2]
    assert ignoring.tolist() == np.where(terrain.labels[2] == 0, 255, terrain.labels[2].astype(int)).tolist()


def test_labels_are_reduced_without_being_mixed():
    terrain = terrain_of(3, 64, 128)
    terrain.labels[:] = np.where(terrain.labels > 2, 4, 0)
    small = mars.TerrainDataset(terrain, (32, 64))
    assert small.images.shape == small.labels.shape == (3, 32, 64)
    assert set(np.unique(small.labels)) == {0, 4}
    blocks = terrain.images[0].reshape(32, 2, 64, 2).mean((1, 3))
    assert abs(small.images[0] - blocks).max() <= 1


def test_pictures_that_were_augmented_in_advance():
    terrain = terrain_of(3, 16, 32)
    data = mars.TerrainDataset(terrain, (16, 32), augment=mars.AUGMENTATIONS["terrain"](), copies=4, seed=5)
    assert len(data) == 12
    first = [data[i] for i in range(12)]
    for i in range(3):  # the pictures themselves
        assert (first[i][0][0].numpy() * 255).round().tolist() == terrain.images[i].tolist()
    assert any(not torch.equal(first[i][0], first[i + 3][0]) for i in range(3))
    assert any(not torch.equal(first[i + 3][0], first[i + 6][0]) for i in range(3))
    data.set_epoch(7)
    assert all(torch.equal(one[0], data[i][0]) and torch.equal(one[1], data[i][1]) for i, one in enumerate(first))
    anew = mars.TerrainDataset(terrain, (16, 32), augment=mars.AUGMENTATIONS["terrain"](), seed=5)
    before = [anew[i][0] for i in range(3)]
    anew.set_epoch(7)
    assert any(not torch.equal(before[i], anew[i][0]) for i in range(3))


@pytest.mark.parametrize("name", mars.AUGMENTATIONS)
def test_augmentation_moves_picture_and_labels_together(name):
    labels = np.zeros((64, 128), np.uint8)
    labels[10:40, 20:70], labels[30:60, 80:110] = 1, 3
    picture = labels * 60 + 40
    terrain = mars.Terrain(picture[None], labels[None], np.array(["a"]))
    data = mars.TerrainDataset(terrain, (64, 128), augment=mars.AUGMENTATIONS[name](), seed=1)
    moved = False
    for epoch in range(20):
        data.set_epoch(epoch)
        image, target = data[0]
        values = [image[0][target == k].median().item() for k in (0, 1, 3)]
        assert values == sorted(values)
        assert set(target.unique().tolist()) <= {0, 1, 3}
        assert all((image[0] - value).abs()[target == k].median() < 0.02 for k, value in zip((0, 1, 3), values))
        moved |= not torch.equal(target, torch.from_numpy(labels.astype(np.int64)))
    assert moved


def test_only_turns_that_are_meant_put_the_sky_below():
    labels = np.repeat(np.array([0, 1], np.uint8), 32)[:, None].repeat(128, 1)
    terrain = mars.Terrain(labels[None] * 100, labels[None], np.array(["a"]))
    upside_down = {}
    for name, augment in mars.AUGMENTATIONS.items():
        data = mars.TerrainDataset(terrain, (64, 128), augment=augment(), seed=0)
        upside_down[name] = 0
        for epoch in range(20):
            data.set_epoch(epoch)
            target = data[0][1].float()
            upside_down[name] += (target[:32].mean() > target[32:].mean()).item()
    assert upside_down["mirror"] == upside_down["terrain"] == 0
    assert 4 < upside_down["flips-and-half-turns"] < 16


def test_submission(tmp_path):
    labels = rows(3, 4, 9)[:, 1].astype(np.uint8)
    path = mars.write_submission(tmp_path / "submission.csv", labels)
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["id", *map(str, range(36))]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    found = np.array([line[1:] for line in lines], int).reshape(3, 4, 9)
    assert (found == labels).all()
    with pytest.raises(ValueError, match="of one size"):
        mars.write_submission(path, [labels[0], labels[0].T])
    with pytest.raises(ValueError, match="none"):
        mars.write_submission(path, [])


def test_terrain_is_put_together_and_taken_apart():
    one, two = terrain_of(6), terrain_of(6, seed=1)
    both = one + two
    assert len(both) == 12
    assert (both.take([7, 0]).images == np.stack([two.images[1], one.images[0]])).all()
    assert both.take(both.ids == "3").labels.shape == (2, 4, 9)


@pytest.mark.skipif(not (REAL / mars.HOMEWORK).is_file(), reason="no real rows at hand, see SEGLIB_DATA")
def test_the_real_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        terrain = mars.read_homework(REAL)
    assert terrain.images.shape[1:] == mars.SIZE
    photographs, counts = np.unique(terrain.ids, return_counts=True)
    assert counts.max() <= 2
    # The upper half ends where the lower one begins.
    pairs = [np.flatnonzero(terrain.ids == name) for name in photographs[counts == 2][:50]]
    seam = np.mean([abs(terrain.images[i, -1].astype(int) - terrain.images[j, 0]).mean() for i, j in pairs])
    other = np.mean([abs(terrain.images[i, -1].astype(int) - terrain.images[j, -1]).mean() for i, j in pairs])
    assert seam < 0.5 * other
