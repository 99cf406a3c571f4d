"""Drawn terrain: as much of each class and as many mistakes as meant, and not too easy."""

import numpy as np
import pytest

from seglib.data import mars, terrain
from seglib.data.labels import class_shares


@pytest.fixture(scope="module")
def rows():
    return terrain.generate(400, seed=1)


def test_the_same_seed_gives_the_same_rows_and_more_begin_alike(rows):
    fewer = terrain.generate(21, seed=1)
    for name, column in vars(fewer).items():
        assert (column == getattr(rows, name)[:21]).all(), name
    assert (terrain.generate(20, seed=2).images != rows.images[:20]).any()


def test_shapes_and_values(rows):
    assert rows.images.shape == rows.labels.shape == rows.clean.shape == (400, *mars.SIZE)
    assert rows.images.dtype == rows.labels.dtype == rows.clean.dtype == np.uint8
    mars.check_labels(rows.labels, "labels")
    mars.check_labels(rows.clean, "clean")
    assert np.unique(rows.ids, return_counts=True)[1].tolist() == [2] * 200
    assert 50 < rows.images.mean() < 80  # as dark as the rovers' pictures, whose mean is 64
    assert rows.images.std(axis=(1, 2)).min() > 2


def test_class_shares_are_near_the_real_ones(rows):
    shares = class_shares(rows.labels, 5)
    assert shares[:4].tolist() == pytest.approx([0.23, 0.29, 0.38, 0.09], abs=0.05)
    assert 0.002 < shares[4] < 0.01


def test_labels_have_mistakes(rows):
    both = (rows.labels > 0) & (rows.clean > 0)
    assert 0.9 < (rows.labels == rows.clean)[both].mean() < 0.97
    assert 0.78 < (rows.labels == rows.clean).mean() < 0.92
    rocks = rows.clean == 4
    assert 0.3 < (rows.labels == 4)[rocks].mean() < 0.75  # a third of the rocks is missed, and outlines are coarse


def test_halves_of_a_photograph_fit_together(rows):
    images = rows.images.astype(int)
    upper, lower = images[::2], images[1::2]
    seam = abs(upper[:, -1] - lower[:, 0]).mean()
    inside = abs(np.diff(upper, axis=1)).mean()
    assert seam < 1.3 * inside
    assert seam < 0.5 * abs(upper[:, -1] - np.roll(lower[:, 0], 1, axis=0)).mean()


def test_the_sky_is_above(rows):
    background = rows.clean[::2] == 0
    sky = background[:, 0].mean(1) > 0.99
    assert 0.2 < sky.mean() < 0.6
    # Under an unbroken sky the ground begins somewhere, and above it there is nothing else.
    tops = background[sky].mean(2)
    assert (np.diff(tops, axis=1).max(1) < 0.35).mean() > 0.9


def test_brightness_does_not_tell_the_classes_apart(rows):
    values, truth = rows.images.ravel().astype(float), rows.clean.ravel()
    means = np.array([values[truth == kind].mean() for kind in (1, 2, 3)])
    ground = (truth > 0) & (truth < 4)
    nearest = abs(values[ground, None] - means).argmin(1) + 1
    balanced = np.mean([(nearest == kind)[truth[ground] == kind].mean() for kind in (1, 2, 3)])
    assert balanced < 0.5


def test_aliens_share_a_mask_and_nothing_else():
    rows = terrain.generate(60, seed=1, aliens=7)
    aliens = np.char.startswith(rows.ids, "alien")
    assert aliens.sum() == 7
    assert len(rows) == 67
    assert (rows.labels[aliens] == terrain.alien_mask()).all()
    assert (rows.clean[aliens] == terrain.alien_mask()).all()
    assert len({picture.tobytes() for picture in rows.images[aliens]}) == 7
    assert not (rows.labels[~aliens] == terrain.alien_mask()).all(axis=(1, 2)).any()
    plain = terrain.generate(60, seed=1)
    assert (rows.images[~aliens] == plain.images).all()
    assert (rows.ids[~aliens] == plain.ids).all()
    places = np.flatnonzero(aliens)
    assert places.min() < 30 < places.max()


@pytest.mark.parametrize(("count", "aliens"), [(0, 0), (-1, 0), (5, -1)])
def test_numbers_that_make_no_sense(count, aliens):
    with pytest.raises(ValueError, match="expected at least one row"):
        terrain.generate(count, 0, aliens)
