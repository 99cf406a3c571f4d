"""Inspecting and mending labels, against brute force, hand-drawn cases, drawn terrain and the real rows."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from seglib.reports.mars_terrain import labels as inspection
from seglib.reports.mars_terrain import mars, terrain

REAL = Path(os.environ.get("SEGLIB_DATA") or "nowhere")


@pytest.fixture(scope="module")
def drawn():
    return terrain.generate(90, seed=3, aliens=8)


def test_class_shares():
    labels = np.array([[[0, 1, 1], [2, 2, 2]], [[1, 1, 1], [0, 0, 2]]], np.uint8)
    assert inspection.class_shares(labels, 4).tolist() == [3 / 12, 5 / 12, 4 / 12, 0]


def test_duplicates():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (7, 3, 5), np.uint8)
    pictures[4], pictures[6], pictures[5] = pictures[1], pictures[1], pictures[2]
    assert [group.tolist() for group in inspection.duplicates(pictures)] == [[1, 4, 6], [2, 5]]
    assert inspection.duplicates(pictures[:3]) == []


def test_the_outliers_are_the_aliens(drawn):
    aliens = np.char.startswith(drawn.ids, "alien")
    assert aliens.sum() == 8
    assert (inspection.find_outliers(drawn.images, drawn.labels) == aliens).all()


def test_what_is_no_outlier(drawn):
    ground = drawn.take(~np.char.startswith(drawn.ids, "alien"))
    images, labels = ground.images[:60].copy(), ground.labels[:60].copy()
    labels[:20] = 2  # many share a plain mask
    assert not inspection.find_outliers(images, labels).any()
    labels[20:24] = terrain.alien_mask()  # four are too few
    images[20:24] = 255 - images[20:24]
    assert not inspection.find_outliers(images, labels).any()
    labels[20:30] = terrain.alien_mask()  # ten that look like all others: the outline of a robot's arm
    images[20:30] = ground.images[20:30]
    assert not inspection.find_outliers(images, labels).any()
    images[20:30] = ground.images[20]  # one picture ten times is a duplicate
    assert not inspection.find_outliers(images, labels).any()


@pytest.mark.skipif(not (REAL / mars.HOMEWORK).is_file(), reason="no real rows at hand, see SEGLIB_DATA")
def test_real_rows_have_none_and_aliens_among_them_are_found():
    rows = mars.read_homework(REAL)
    assert max(len(group) for group in inspection.duplicates(rows.labels)) > 40
    assert not inspection.find_outliers(rows.images, rows.labels).any()
    rng = np.random.default_rng(0)
    images = np.concatenate([rows.images[:2505], [terrain.draw_alien(rng) for _ in range(110)]])
    labels = np.concatenate([rows.labels[:2505], [terrain.alien_mask()] * 110])
    assert np.flatnonzero(inspection.find_outliers(images, labels)).tolist() == list(range(2505, 2615))


def test_corners_by_hand():
    labels = np.zeros((8, 12), np.uint8)
    assert inspection._corners(labels) == 0
    labels[4:] = 1  # a straight horizon
    assert inspection._corners(labels) == 0
    labels[2:6, 3:7] = 2  # a rectangle across it has its four, and two where it meets the horizon are of three classes
    assert inspection._corners(labels) == 4


def disagreement_by_hand(image, labels):
    """For each border pixel, the share of all pixels with a stronger edge within two pixels of them; the mean."""
    edges = inspection.edge_strength(image)
    height, width = labels.shape
    nearby = np.array(
        [[edges[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].max() for x in range(width)] for y in range(height)]
    )
    found = []
    for y, x in np.ndindex(labels.shape):
        before = [labels[y - 1, x]] * (y > 0) + [labels[y, x - 1]] * (x > 0)
        if labels[y, x] and any(other and other != labels[y, x] for other in before):
            found.append((nearby > nearby[y, x]).mean())
    return np.mean(found) if found else 0.0


def test_disagreement_by_a_loop(drawn):
    small = [cv2.resize(picture, (23, 14), interpolation=cv2.INTER_AREA) for picture in drawn.images[:12]]
    masks = np.stack([labels[:14, :23] for labels in drawn.labels[:12]])
    masks[0], masks[1, :, 11:] = 0, 3
    scores = inspection.border_disagreement(np.stack(small), masks)
    assert scores.tolist() == pytest.approx([disagreement_by_hand(*pair) for pair in zip(small, masks)])
    assert scores[0] == 0


def test_a_border_on_an_edge_agrees_and_one_beside_it_does_not():
    image = np.full((20, 40), 60, np.uint8)
    image[:, 20:] = 160
    labels = np.ones((2, 20, 40), np.uint8)
    labels[0, :, 20:] = labels[1, :, 30:] = 2
    good, bad = inspection.border_disagreement(np.stack([image] * 2), labels)
    assert good == 0
    assert bad > 0.1


def test_the_worst():
    scores = np.array([0.3, 0.0, 0.9, 0.3, 0.5, 0.0])
    assert np.flatnonzero(inspection.worst(scores, 0.5)).tolist() == [0, 2, 4]  # of the two of 0.3, the first
    assert np.flatnonzero(inspection.worst(scores, 1.0)).tolist() == [0, 2, 3, 4]  # nothing to complain about
    assert not inspection.worst(scores, 0.0).any()


def grown_by_loops(image, labels, radius, threshold, iterations):
    """`improve_labels`, pixel by pixel."""
    circle = np.argwhere(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, 2 * [2 * radius + 1])) - radius
    near = {
        place: [tuple(other) for other in circle + place if (other >= 0).all() and (other < labels.shape).all()]
        for place in np.ndindex(labels.shape)
    }
    smooth = {place for place in near if np.ptp([int(image[other]) for other in near[place]]) < threshold}
    for _ in range(iterations):
        new = labels.copy()
        for place in near:
            votes = Counter(labels[other] for other in near[place] if labels[other] and other in smooth)
            most = max(votes.values(), default=0)
            if most > votes[labels[place]]:
                new[place] = min(k for k, count in votes.items() if count == most)
        labels = new
    return labels


@pytest.mark.parametrize(("radius", "threshold", "iterations"), [(1, 30, 2), (3, 60, 1), (2, 256, 3)])
def test_growing_by_loops(drawn, radius, threshold, iterations):
    images = np.stack([cv2.resize(image, (19, 12)) for image in drawn.images[:6]])
    labels = np.random.default_rng(0).integers(0, 5, (6, 12, 19)).astype(np.uint8)
    labels[:3] = np.stack([mask[20:32, 40:59] for mask in drawn.labels[20:23]])
    before = labels.copy()
    found = inspection.improve_labels(images, labels, radius, threshold, iterations)
    assert (labels == before).all()
    for image, mask, answer in zip(images, labels, found):
        assert (answer == grown_by_loops(image, mask, radius, threshold, iterations)).all()


def test_growing_follows_the_picture():
    labels = np.zeros((1, 30, 60), np.uint8)
    labels[0, 10:20, 20:30] = 3
    flat = np.full((1, 30, 60), 90, np.uint8)
    for iterations in (1, 2, 3):
        grown = inspection.improve_labels(flat, labels, radius=3, iterations=iterations)[0]
        reach = 3 * iterations
        assert (grown[15] == 3).sum() == 10 + 2 * reach
        assert (grown[:, 25] == 3).sum() == min(30, 10 + 2 * reach)
    rough = np.random.default_rng(0).integers(0, 256, (1, 30, 60), np.uint8)
    assert (inspection.improve_labels(rough, labels) == labels).all()
    edge = flat.copy()
    edge[..., 33:] = 200
    grown = inspection.improve_labels(edge, labels, radius=3, iterations=5)[0]
    assert not grown[:, 33:].any()  # never across an edge
    assert (grown[15, 10:30] == 3).all()


def test_growing_gains_labels_that_are_right(drawn):
    ground = drawn.take(~np.char.startswith(drawn.ids, "alien"))
    known = ground.clean > 0
    improved = inspection.improve_labels(ground.images, ground.labels)
    more = (improved > 0)[known].mean() - (ground.labels > 0)[known].mean()
    assert more > 0.02
    assert (improved == ground.clean)[known].mean() > (ground.labels == ground.clean)[known].mean() + 0.02
    assert (inspection.improve_labels(ground.images, ground.labels) == improved).all()
