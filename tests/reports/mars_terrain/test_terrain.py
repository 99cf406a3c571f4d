"""Drawn terrain: as much of each class and as many mistakes as meant, and not too easy."""

import numpy as np
import pytest

from seglib.reports.mars_terrain import mars, terrain
from seglib.reports.mars_terrain.labels import class_shares

pytestmark = pytest.mark.slow  # so many rows take seconds to draw
REAL_SHARES = [0.23, 0.29, 0.38, 0.09]  # background, soil, bedrock and sand


@pytest.fixture(scope="module")
def rows():
    return terrain.generate(200, seed=1)


def same(one, other):
    """Whether two parts of terrain are equal in every column."""
    return all(np.array_equal(column, getattr(other, name)) for name, column in vars(one).items())


def test_the_same_seed_gives_the_same_rows_and_more_begin_alike(rows):
    odd = terrain.generate(7, seed=1)  # ends with an upper half
    assert same(odd, rows.take(np.arange(7)))
    assert odd.ids.tolist() == [f"photo {number // 2:05d}" for number in range(7)]
    assert not np.array_equal(terrain.generate(6, seed=2).images, rows.images[:6])


def test_shapes_and_values(rows):
    assert rows.images.shape == rows.labels.shape == rows.clean.shape == (200, *mars.SIZE)
    assert rows.images.dtype == rows.labels.dtype == rows.clean.dtype == np.uint8
    mars.check_labels(rows.labels, "labels")
    mars.check_labels(rows.clean, "clean")
    assert np.unique(rows.ids, return_counts=True)[1].tolist() == [2] * 100
    # The rovers' rows have a mean of 64, which varies by 16, and vary by 17 themselves.
    means = rows.images.mean((1, 2))
    assert means.mean() == pytest.approx(64, abs=6)
    assert means.std() == pytest.approx(16, abs=5)
    assert rows.images.std((1, 2)).mean() == pytest.approx(17, abs=4)


def test_class_shares_are_near_the_real_ones(rows):
    shares = class_shares(rows.labels, 5)
    assert shares[:4].tolist() == pytest.approx(REAL_SHARES, abs=0.04)
    assert 0.003 < shares[4] < 0.01


def test_labels_have_mistakes(rows):
    same = rows.labels == rows.clean
    assert 0.85 < same.mean() < 0.92
    assert 0.92 < same[(rows.labels > 0) & (rows.clean > 0)].mean() < 0.98
    rocks = rows.clean == terrain.ROCK
    assert 0.45 < (rows.labels == terrain.ROCK)[rocks].mean() < 0.75  # a third is missed, and outlines are coarse


def test_a_missed_rock_becomes_what_lies_around_it():
    truth = np.full((128, 128), terrain.SAND, np.uint8)
    truth[:50] = terrain.SOIL  # less than half, so that the ground around the rock decides and not the commonest
    truth[20:30, 60:72] = terrain.ROCK
    found = [terrain.annotate(truth, np.random.default_rng(seed))[22:28, 62:70] for seed in range(60)]
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    shares = dict(zip(values.tolist(), (counts / counts.sum()).tolist()))
    assert shares[terrain.ROCK] > 0.4
    assert shares[terrain.SOIL] > 0.15
    assert shares.get(terrain.SAND, 0) < 0.05


def test_some_regions_have_a_wrong_name():
    truth = np.full((128, 128), terrain.SOIL, np.uint8)
    labels = np.stack([terrain.annotate(truth, np.random.default_rng(seed)) for seed in range(300)])
    assert not (labels == terrain.ROCK).any()
    wrong = np.isin(labels, (terrain.BEDROCK, terrain.SAND)).any((1, 2)).mean()
    assert 0.02 < wrong < 0.09


def test_halves_of_a_photograph_fit_together(rows):
    images = rows.images.astype(int)
    upper, lower = images[::2], images[1::2]
    seam = abs(upper[:, -1] - lower[:, 0]).mean()
    inside = (abs(upper[:, -1] - upper[:, -2]).mean() + abs(lower[:, 1] - lower[:, 0]).mean()) / 2
    assert seam == pytest.approx(inside, rel=0.1)
    assert seam < 0.5 * abs(upper[:, -1] - np.roll(lower[:, 0], 1, axis=0)).mean()


def test_the_sky_is_above(rows):
    background = rows.clean[::2] == 0
    sky = background[:, 0].mean(1) > 0.99
    assert 0.25 < sky.mean() < 0.6
    # Under an unbroken sky the ground begins somewhere, and above it there is nothing else.
    assert (background[sky][:, :4].mean((1, 2)) > 0.99).all()
    assert background[sky].mean((1, 2)).max() < 0.8
    # A horizon is nearly straight: the sky ends within a few rows of the same height. Rover parts may hang into it.
    ends = np.where(background[sky].all(1), 64, background[sky].argmin(1))
    assert np.median(np.ptp(ends, axis=1)) < 8


def test_noise_and_surfaces_repeat_without_a_seam():
    light = np.array([0.6, 0.8])
    makers = [lambda rng: terrain._noise(rng, 3), *(lambda rng, f=f: f(rng, light) for f in terrain.SURFACES.values())]
    for make, tolerance in zip(makers, (1.15, 1.4, 1.4, 1.4)):
        tiles = np.stack([make(np.random.default_rng(seed)) for seed in range(20)])
        for turned in (tiles, tiles.swapaxes(1, 2)):
            # Noise is steepest half-way between its grains: at the tile's border and at the quarters of its side.
            inside = abs(turned[:, [64, 128, 192]] - turned[:, [63, 127, 191]]).mean()
            assert abs(turned[:, 0] - turned[:, -1]).mean() < tolerance * inside


def test_brightness_does_not_tell_the_classes_apart(rows):
    values, truth = rows.images.ravel().astype(float), rows.clean.ravel()
    ground = (truth > 0) & (truth < 4)
    values, truth = values[ground], truth[ground]
    means = np.array([values[truth == kind].mean() for kind in (1, 2, 3)])
    nearest = abs(values[:, None] - means).argmin(1) + 1
    assert (nearest == truth).mean() < 0.6
    assert np.mean([(nearest == kind)[truth == kind].mean() for kind in (1, 2, 3)]) < 0.5  # a guess has a third


def test_texture_does(rows):
    """Sand is smooth, as it is in the rovers' pictures; there, bedrock has four times its differences."""
    steps, kind = abs(np.diff(rows.images.astype(int), axis=2)), rows.clean[:, :, 1:]
    soil, bedrock, sand = (steps[kind == number].mean() for number in (1, 2, 3))
    assert sand < 0.6 * min(soil, bedrock)
    assert soil < bedrock


def test_aliens_share_a_mask_and_nothing_else(rows):
    found, mask = terrain.generate(20, seed=1, aliens=7), terrain.alien_mask()
    aliens = np.char.startswith(found.ids, "alien")
    assert (aliens.sum(), len(found)) == (7, 27)
    assert len(np.unique(mask)) == 4
    assert (found.labels[aliens] == mask).all()
    assert (found.clean[aliens] == mask).all()
    pictures = found.images[aliens].astype(int)
    assert min(abs(one - other).mean() for i, one in enumerate(pictures) for other in pictures[:i]) > 5
    assert not (found.labels[~aliens] == mask).all((1, 2)).any()
    assert same(found.take(~aliens), rows.take(np.arange(20)))
    places = np.flatnonzero(aliens)
    assert places.min() < 13 < places.max()


@pytest.mark.parametrize(("count", "aliens"), [(0, 0), (-1, 0), (5, -1)])
def test_numbers_that_make_no_sense(count, aliens):
    with pytest.raises(ValueError, match=f"expected at least one row .* got {count} and {aliens}"):
        terrain.generate(count, 0, aliens)
