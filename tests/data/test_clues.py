"""Clues from a picture and a hint: colour likelihood and geodesic distances."""

import heapq

import cv2
import numpy as np
import pytest
from scipy import ndimage

from seglib.data.clues import colour_likelihood, geodesic_distance


def rng(seed=0):
    return np.random.default_rng(seed)


def likelihood_by_hand(image, hint, bins):
    """Bayes' rule, pixel by pixel: how many of the object's pixels, and of the background's, have its colour."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    cell = np.floor(lab / (256 / bins))
    outside = hint < 0 if (hint < 0).any() else hint <= 0
    found = np.full(hint.shape, 0.5)
    for y, x in np.ndindex(hint.shape):
        same = (cell == cell[y, x]).all(axis=2)
        object_, ground = (same[part].mean() if part.any() else 0 for part in (hint > 0, outside))
        if object_ + ground:
            found[y, x] = object_ / (object_ + ground)
    return found


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), (-1, 0, 1), (0,), (-1, 0)])
def test_the_colour_likelihood_is_bayes_rule(values):
    image = rng(3).integers(0, 256, (11, 17, 3), np.uint8) // 128 * 127
    image[:, :9] = (120, 30, 40)
    hint = rng(4).choice(values, (11, 17)).astype(np.int8)
    found = colour_likelihood(image, hint, smooth=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, likelihood_by_hand(image, hint, 16), atol=2e-4)


def test_the_colour_likelihood_spreads_to_colours_alike():
    image = np.zeros((4, 30, 3), np.uint8)
    image[:, :10], image[:, 10:20], image[:, 20:] = (200, 40, 40), (235, 60, 40), (20, 60, 200)
    hint = np.zeros((4, 30), np.int8)
    hint[:, :10], hint[:, 25:] = 1, -1
    seen, alike, other = (colour_likelihood(image, hint)[0, x] for x in (0, 15, 22))
    assert seen > 0.9
    assert alike > 0.9
    assert other < 0.1
    assert colour_likelihood(image, hint, smooth=0)[0, 15] == pytest.approx(0.5)  # a colour that nobody pointed at
    hint[:, 25:] = 0  # without a word about the background it is all the rest
    found = colour_likelihood(image, hint)
    assert found[0, 0] > 0.85
    assert found[0, 15] < 0.5


def dijkstra_by_hand(image, seeds, sensitivity):
    """With a heap, pixel by pixel."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(float) / 100
    found = np.full(seeds.shape, np.inf)
    heap = [(0.0, int(y), int(x)) for y, x in np.argwhere(seeds)]
    while heap:
        far, y, x = heapq.heappop(heap)
        if far >= found[y, x]:
            continue
        found[y, x] = far
        for dy, dx in np.ndindex(3, 3):
            v, u = y + dy - 1, x + dx - 1
            if (v, u) != (y, x) and 0 <= v < seeds.shape[0] and 0 <= u < seeds.shape[1]:
                change = ((lab[v, u] - lab[y, x]) ** 2).sum()
                step = np.sqrt((dy - 1) ** 2 + (dx - 1) ** 2 + sensitivity**2 * change)
                heapq.heappush(heap, (far + step, v, u))
    return found


@pytest.mark.parametrize("sensitivity", [0, 7, 400])
@pytest.mark.parametrize("size", [(9, 14), (14, 9), (1, 8), (8, 1), (1, 1)])
def test_geodesic_distances_are_dijkstra_s(size, sensitivity):
    image = rng(1).integers(0, 256, (*size, 3), np.uint8)
    seeds = rng(2).random(size) < 0.1
    seeds[0, 0] = True
    found = geodesic_distance(image, seeds, sensitivity)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dijkstra_by_hand(image, seeds, sensitivity), rtol=1e-5, atol=1e-4)


def test_without_edges_the_distance_is_that_of_a_king_on_a_board():
    seeds = np.zeros((20, 31), bool)
    seeds[5, 7] = True
    found = geodesic_distance(np.full((20, 31, 3), 90, np.uint8), seeds)
    down, across = np.abs(np.mgrid[:20, :31] - np.array([5, 7])[:, None, None])
    np.testing.assert_allclose(found, abs(down - across) + np.sqrt(2) * np.minimum(down, across), rtol=1e-6)
    assert (found >= ndimage.distance_transform_edt(~seeds) - 1e-5).all()


def test_an_edge_is_far_to_cross_and_near_to_walk_round():
    image = np.zeros((21, 30, 3), np.uint8)
    image[:, 15] = 255  # a white wall between two black rooms
    seeds = np.zeros((21, 30), bool)
    seeds[10, 5] = True
    walled = geodesic_distance(image, seeds)
    assert walled[10, 14] < 10
    assert walled[10, 16] > 2 * 400
    image[0, 15] = 0  # a door
    assert geodesic_distance(image, seeds)[10, 16] == pytest.approx(11 * np.sqrt(2) + 9)


def test_without_a_seed_everything_is_infinitely_far():
    assert np.isinf(geodesic_distance(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), bool))).all()
