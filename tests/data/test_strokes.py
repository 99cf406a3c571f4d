"""Simulated hints: rough masks, brush strokes and corrections, whatever the mask."""

import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt, distance_transform_edt, gaussian_filter, label

from seglib import metrics
from seglib.data import challenge, strokes
from seglib.data.coco import find_coco, largest, read_coco
from seglib.data.strokes import (
    CAREFUL,
    HASTY,
    MIN_PIXELS,
    SIMULATORS,
    THIN,
    Hand,
    brush_stroke,
    coarse_mask,
    correction,
    long_strokes,
    parts_of,
    random_corrections,
    random_path,
    scribble,
    shortened,
)

REAL = os.environ.get("SEGLIB_DATA")
EIGHT = np.ones((3, 3))
SEEDS = st.integers(0, 2**31)
SCALES = st.sampled_from([0.15, 0.4, 1.0])
HANDS = {"careful": CAREFUL, "thin": THIN, "hasty": HASTY}


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth(seed, height, width, softness, share):
    """Hills of noise cut at a height: `share` of the picture, rounder the larger `softness` is; 0 is plain noise."""
    hills = gaussian_filter(rng(seed).standard_normal((height, width)), softness, mode="reflect")
    return hills > np.quantile(hills, 1 - share)


@st.composite
def masks(draw, most=60, softness=(0, 0.7, 2, 6), shares=(0, 0.98)):
    """bool (H, W), from nothing to nearly everything."""
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    return smooth(draw(SEEDS), height, width, draw(st.sampled_from(softness)), draw(st.floats(*shares)))


@st.composite
def pairs(draw):
    """Two masks of one size."""
    one = draw(masks())
    return one, smooth(draw(SEEDS), *one.shape, draw(st.sampled_from((0, 1, 4))), draw(st.floats(0, 0.98)))


def disc(height, width, y, x, radius):
    yy, xx = np.mgrid[:height, :width]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def drawn(draw, *pictures, seed, scale=1.0):
    """A hint, of which is checked what holds for every kind."""
    before = [picture.copy() for picture in pictures]
    hint = draw(*pictures, rng(seed), scale)
    assert hint.shape == pictures[-1].shape
    assert hint.dtype == np.int8
    assert set(np.unique(hint)) <= {-1, 0, 1}
    assert all(map(np.array_equal, pictures, before))
    assert np.array_equal(hint, draw(*pictures, rng(seed), scale))
    return hint


# --- rough masks ---


@settings(max_examples=60, deadline=None)
@given(mask=masks(most=160, softness=(0, 3, 12, 25)), seed=SEEDS, scale=SCALES)
def test_a_rough_mask_is_the_mask_or_less_but_for_filled_corners(mask, seed, scale):
    """A blur with σ ≤ 12 px cut at ½ reaches points whose distance d to the mask has exp(−d²/2σ²) ≥ ½: d ≤ 14.1 px."""
    hint = drawn(coarse_mask, mask, seed=seed, scale=scale)
    assert hint.min() == 0
    if hint.any():
        assert hint.sum() >= MIN_PIXELS * scale**2
        assert distance_transform_edt(~mask)[hint > 0].max() <= 14.2 * scale + 1.5


def test_bites_are_taken_from_the_border_and_not_from_the_core_and_thin_parts_are_lost():
    mask = disc(260, 500, 130, 150, 115)
    thin = mask.copy()
    thin[126:134, 250:490] = True
    hints = [coarse_mask(mask, rng(seed)) > 0 for seed in range(10)]
    assert len({hint.tobytes() for hint in hints}) == 10
    for seed, hint in enumerate(hints):
        assert (mask & ~hint).sum() > 300
        # A band of 40 px, discs of half of it, a blur that rounds off.
        assert hint[disc(260, 500, 130, 150, 115 - 65)].all()
        assert not coarse_mask(thin, rng(seed))[:, 290:].any()
    grown = []
    for seed in range(30):
        mask = smooth(seed, 240, 330, 30, 0.4)
        grown.append(((coarse_mask(mask, rng(seed)) > 0) & ~mask).sum() / mask.sum())
    assert 0 < np.mean(grown) < 0.02


def test_fewer_than_50_pixels_are_no_hint_but_where_pixels_are_larger():
    for mask in (np.ones((7, 7), bool), np.ones((49, 1), bool), disc(40, 50, 20, 25, 3)):
        assert not any(coarse_mask(mask, rng(seed)).any() for seed in range(20))
    mask = disc(40, 50, 20, 25, 5)
    sizes = [coarse_mask(mask, rng(seed), 0.15).sum() for seed in range(60)]
    assert any(MIN_PIXELS * 0.15**2 < size < MIN_PIXELS * 0.15 for size in sizes)


@pytest.mark.parametrize("kind", SIMULATORS)
def test_no_object_no_hint(kind):
    assert not drawn(SIMULATORS[kind], np.zeros((30, 70), bool), seed=0).any()


@pytest.mark.parametrize("kind", SIMULATORS)
def test_where_an_object_stands_in_the_picture_does_not_matter(kind):
    mask = disc(130, 150, 60, 70, 45) | disc(130, 150, 80, 100, 30)
    placed = np.zeros((500, 600), bool)
    placed[200:330, 300:450] = mask
    alone = np.pad(mask, 60)
    hint = SIMULATORS[kind](placed, rng(5))
    assert hint.any()
    assert np.array_equal(hint[140:390, 240:510], SIMULATORS[kind](alone, rng(5)))


def test_half_the_pixels_and_half_the_scale_make_as_rough_a_mask():
    halves = [smooth(seed, 120, 165, 22, 0.35) for seed in range(30)]
    wholes = [np.kron(half, np.ones((2, 2), bool)) for half in halves]

    def roughness(masks, scale):
        return np.mean([metrics.iou(coarse_mask(mask, rng(i), scale) > 0, mask) for i, mask in enumerate(masks)])

    whole = roughness(wholes, 1.0)
    assert 0.5 < whole < 0.9
    assert roughness(halves, 0.5) == pytest.approx(whole, abs=0.02)
    assert roughness(halves, 1.0) < whole - 0.05  # what forgetting the scale would give


# --- strokes ---


@settings(max_examples=100, deadline=None)
@given(mask=masks(), seed=SEEDS, scale=SCALES)
def test_a_stroke_is_one_piece_inside_the_object(mask, seed, scale):
    hint = drawn(brush_stroke, mask, seed=seed, scale=scale)
    assert hint.min() == 0
    assert not (hint > 0)[~mask].any()
    assert label(hint, EIGHT)[1] == (1 if mask.any() else 0)


def test_a_stroke_is_thick_and_long_but_does_not_fill_the_object_and_shrinks_with_the_scale():
    mask = disc(300, 400, 150, 200, 140)
    strokes = [brush_stroke(mask, rng(seed)) > 0 for seed in range(10)]
    assert len({stroke.tobytes() for stroke in strokes}) == 10
    assert all(0.03 < stroke.sum() / mask.sum() < 0.9 for stroke in strokes)

    def thick(strokes):
        return [distance_transform_edt(np.pad(stroke, 1)).max() for stroke in strokes]

    assert min(thick(strokes)) >= 7
    half, quarter = (np.mean(thick(brush_stroke(mask, rng(s), scale) for s in range(10))) for scale in (0.5, 0.25))
    assert np.mean(thick(strokes)) > 1.4 * half > 1.4 * 1.4 * quarter


# --- paths ---


def test_hands_differ_in_how_thick_and_how_long_they_draw():
    mask = disc(400, 500, 200, 250, 150)
    areas = {
        name: np.mean([np.count_nonzero(brush_stroke(mask, rng(i), 1.0, hand)) for i in range(20)])
        for name, hand in HANDS.items()
    }
    assert areas["hasty"] < areas["thin"] < areas["careful"]


@pytest.mark.parametrize("name", HANDS)
def test_a_hand_that_does_not_stray_stays_inside_and_one_that_does_is_near(name):
    """Thirty first strokes and corrections in a narrow object."""
    mask, outside = disc(200, 300, 100, 150, 90) & ~disc(200, 300, 100, 150, 70), 0
    for i in range(30):
        first = brush_stroke(mask, rng(i), 1.0, HANDS[name])
        after = correction(first, np.zeros_like(mask), mask, rng(i), 1.0, HANDS[name])
        for hint in (first, after):
            assert hint.any()
            far = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)[hint != 0]
            outside += np.count_nonzero(far)
            assert far.max() <= (25 if HANDS[name].strays else 0)
    assert (outside > 0) == HANDS[name].strays


def test_a_hand_wobbles_as_far_as_it_says():
    """A path without width along a straight line, by a hand of given wobble."""
    path = np.stack([np.arange(4000.0), np.full(4000, 100.0)], -1)
    canvas = np.zeros((200, 4000), bool)
    drawn = strokes._paint(path, 1, canvas, rng(0), Hand(wobble=6.0, strays=True), 1.0)
    ys, _ = np.nonzero(drawn)
    assert ys.std() == pytest.approx(6.0, rel=0.15)


@settings(max_examples=150, deadline=None)
@given(region=masks(), seed=SEEDS, length=st.floats(0, 120), step=st.floats(0.3, 9))
def test_a_path_stays_inside(region, seed, length, step):
    if not region.any():
        return
    path = random_path(region, rng(seed), length, step)
    assert path.ndim == 2
    assert path.shape[1] == 2
    assert 1 <= len(path) <= int(length / step) + 1
    between = (path[1:] + path[:-1]) / 2
    x, y = np.round(np.concatenate([path, between])).astype(int).T
    assert min(x.min(), y.min()) >= 0
    assert x.max() < region.shape[1]
    assert y.max() < region.shape[0]
    assert region[y, x].all()
    np.testing.assert_allclose(np.hypot(*np.diff(path, axis=0).T), step, rtol=1e-9)


@pytest.mark.parametrize("turn", range(4))
def test_a_path_and_a_stroke_may_run_along_the_picture_s_edge(turn):
    edge = np.zeros((90, 120), bool)
    edge[0] = True
    edge = np.rot90(edge, turn)
    assert max(len(random_path(edge, rng(seed), length=20, step=1)) for seed in range(10)) > 5
    assert (scribble(edge, rng(), 0.3) > 0).sum() > 40


@pytest.mark.parametrize("seed", range(10))
def test_with_room_a_path_has_its_full_length_and_turns_gently(seed):
    path = random_path(np.ones((400, 500), bool), rng(seed), length=100, step=4)
    assert len(path) == 26
    middle = np.abs(path - (250, 200)).max(1) < 100
    heading = np.unwrap(np.arctan2(*np.diff(path, axis=0).T[::-1]))
    turns = np.diff(heading)[middle[:-2]]
    assert (np.abs(turns) < 1.6).all()


# --- corrections ---


def wrong_areas(prediction, truth):
    """Every connected wrong area with its sign, by SciPy; the four neighbours are connected."""
    areas = []
    for sign, wrong in ((1, truth & ~prediction), (-1, prediction & ~truth)):
        labels, count = label(wrong)
        areas += [(sign, labels == i) for i in range(1, count + 1)]
    return areas


@settings(max_examples=100, deadline=None)
@given(both=pairs(), seed=SEEDS, scale=SCALES, before=st.booleans())
def test_a_correction_touches_only_the_largest_wrong_area(both, seed, scale, before):
    prediction, truth = both
    hint = rng(seed).integers(-1, 2, truth.shape).astype(np.int8) * before
    new = drawn(correction, hint, prediction, truth, seed=seed, scale=scale)
    assert new is not hint
    areas = wrong_areas(prediction, truth)
    if not areas:
        assert np.array_equal(new, hint)
        return
    most = max(area.sum() for _, area in areas)
    fitting = [
        sign
        for sign, area in areas
        if area.sum() == most and np.array_equal(new[~area], hint[~area]) and (new[area] == sign).any()
    ]
    assert fitting
    if not before:
        assert set(np.unique(new)) - {0} in [{sign} for sign in fitting]


@pytest.mark.parametrize("missed", [True, False])
@pytest.mark.parametrize("before", [0, 1])
def test_the_sign_says_what_was_wrong_whatever_was_said_before(missed, before):
    small, large = disc(60, 90, 30, 40, 10), disc(60, 90, 30, 40, 25)
    prediction, truth = (small, large) if missed else (large, small)
    said = before * (-1 if missed else 1)
    new = correction(np.full((60, 90), said, np.int8), prediction, truth, rng(1))
    assert set(np.unique(new)) == {said, 1 if missed else -1}
    assert (new[small] == said).all()
    assert (new[~large] == said).all()


@settings(max_examples=40, deadline=None)
@given(both=pairs(), seed=SEEDS)
def test_every_obeyed_correction_reduces_the_error(both, seed):
    prediction, truth, random = both[0].copy(), both[1], rng(seed)
    for _ in range(25):
        wrong = (prediction != truth).sum()
        stroke = correction(np.zeros(truth.shape, np.int8), prediction, truth, random)
        prediction[stroke != 0] = truth[stroke != 0]
        assert (prediction != truth).sum() < max(1, wrong)


@settings(max_examples=80, deadline=None)
@given(both=pairs(), count=st.integers(0, 5), seed=SEEDS, scale=SCALES)
def test_random_corrections_only_add_and_are_true(both, count, seed, scale):
    """Whatever was said before, right or wrong."""
    truth, said = both
    hint = (said * rng(seed).choice([-1, 1], truth.shape)).astype(np.int8)
    new = drawn(lambda a, b, *rest: random_corrections(a, b, count, *rest), hint, truth, seed=seed, scale=scale)
    added = np.where(hint == 0, new, 0)
    assert np.array_equal(new - added, hint)
    assert truth[added > 0].all()
    assert not truth[added < 0].any()
    if (added < 0).any():
        assert distance_transform_cdt(~truth, "chessboard")[added < 0].max() <= max(1, round(60 * scale))
    assert count or not added.any()


def test_random_corrections_say_both_and_each_is_a_stroke_more():
    truth = disc(200, 280, 100, 120, 70)
    hint = disc(200, 280, 100, 120, 20).astype(np.int8)
    more = [random_corrections(hint, truth, 1, rng(seed)) for seed in range(40)]
    changed = [set(np.unique(new[new != hint]).tolist()) for new in more]
    assert 10 < changed.count({1}) < 30
    assert changed.count({1}) + changed.count({-1}) == 40
    pixels = [
        np.mean([(random_corrections(hint, truth, count, rng(seed)) != hint).sum() for seed in range(20)])
        for count in (1, 2, 4)
    ]
    assert pixels == sorted(set(pixels))


@pytest.mark.parametrize(("scale", "reach"), [(1, 60), (0.5, 30), (0.005, 1)])
def test_random_corrections_reach_60_pixels_beside_the_object(scale, reach):
    truth = np.zeros((180, 200), bool)
    truth[80:100, 90:110] = True
    away = distance_transform_cdt(~truth, "chessboard")

    def stays_free(distance):
        """Whether nothing is drawn where only the pixels this far from the object are left."""
        hint = np.where(away == distance, 0, 1).astype(np.int8)
        return all(np.array_equal(random_corrections(hint, truth, 4, rng(seed), scale), hint) for seed in range(5))

    assert not stays_free(reach)
    assert stays_free(reach + 1)


def test_where_there_is_no_room_nothing_is_added_and_where_one_side_has_none_the_other_s_strokes_are():
    everywhere = np.ones((60, 80), bool)
    nothing = np.zeros((60, 80), np.int8)
    assert (random_corrections(nothing + 1, everywhere, 5, rng()) == 1).all()
    assert not random_corrections(nothing, ~everywhere, 5, rng()).any()
    assert all((random_corrections(nothing, everywhere, 8, rng(seed), 0.2) > 0).any() for seed in range(10))


# --- all of them ---


@pytest.mark.parametrize(
    "draw",
    [
        coarse_mask,
        brush_stroke,
        scribble,
        lambda mask, *rest: long_strokes([mask], *rest),
        lambda mask, *rest: correction(np.zeros(mask.shape, np.int8), ~mask, mask, *rest),
        lambda mask, *rest: random_corrections(np.zeros(mask.shape, np.int8), mask, 2, *rest),
    ],
)
def test_lengths_are_those_of_a_picture_of_full_size_where_no_scale_is_given(draw):
    mask = disc(300, 400, 150, 200, 90)
    hint = draw(mask, rng(1))
    assert hint.dtype == np.int8
    assert np.array_equal(hint, draw(mask, rng(1), 1.0))
    assert not np.array_equal(hint, draw(mask, rng(1), 0.5))


# --- real data ---


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_rough_masks_of_real_objects_are_as_rough_as_the_report_s():
    """Untouched they score IoU 0.77, boundary IoU 0.17 and a Hausdorff distance of 42.7 px in the report's table."""
    objects = largest([one for source in find_coco(REAL) for one in read_coco(*source)])[:450]
    found = []
    for one in objects:
        mask = one.mask()
        hint = coarse_mask(mask, rng([0, one.annotation_id])) > 0
        if hint.any():
            found.append((hint, mask))
    assert len(found) > 0.85 * len(objects)
    assert np.mean([metrics.iou(*pair) for pair in found]) == pytest.approx(0.77, abs=0.06)
    edges = np.mean([metrics.boundary_iou(*pair, width=1, pad=False) for pair in found])
    assert edges == pytest.approx(0.17, abs=0.03)
    # The distance takes longer: of every third.
    assert np.mean([metrics.hausdorff(*pair, boundary=False) for pair in found[::3]]) == pytest.approx(42.7, abs=5)


# --- strokes that were broken off ---


def hooks():
    """A stroke bent back on itself, one of the background, and a dot."""
    hint = np.zeros((20, 30), np.int8)
    hint[3:5, 3:25] = hint[3:9, 23:25] = hint[7:9, 5:25] = 1  # two arms, two rows apart
    hint[14:17, 4:20] = -1
    hint[18, 27] = 1
    return hint


@given(share=st.floats(0, 1), seed=SEEDS)
@settings(max_examples=60)
def test_of_each_stroke_a_connected_share_remains(share, seed):
    hint = hooks()
    kept = shortened(hint, share, np.random.default_rng(seed))
    assert kept.dtype == np.int8
    assert ((kept == hint) | (kept == 0)).all()
    for sign in (-1, 1):
        strokes, count = label(hint == sign, EIGHT)
        for number in range(1, count + 1):
            stroke = strokes == number
            remains = stroke & (kept != 0)
            assert remains.sum() == max(1, round(share * stroke.sum()))
            assert label(remains, EIGHT)[1] == 1  # along the stroke, not across the gap between its arms


def test_a_whole_stroke_stays_and_its_part_depends_on_the_seed():
    hint = hooks()
    assert np.array_equal(shortened(hint, 1, np.random.default_rng(0)), hint)
    parts = [shortened(hint, 0.3, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])
    assert not shortened(np.zeros((4, 5), np.int8), 0.5, np.random.default_rng(0)).any()


# --- strokes like the challenge's own ---


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_each_object_and_the_background_get_a_stroke_that_stays_inside(seed):
    objects = np.zeros((2, 120, 160), bool)  # that touch
    objects[0, 30:100, 30:80] = objects[1, 30:100, 80:120] = True
    hint = drawn(lambda left, right, *rest: long_strokes([left, right], *rest), *objects, seed=seed, scale=0.3)
    for one in objects:
        assert label((hint > 0) & one, EIGHT)[1] == 1
    assert objects.any(0)[hint > 0].all()
    assert not objects.any(0)[hint < 0].any()
    assert label(hint < 0, EIGHT)[1] == 1
    ys, xs = np.nonzero(hint < 0)
    assert min(ys.min(), xs.min(), 119 - ys.max(), 159 - xs.max()) >= 5  # the background is at most 40 wide


def test_a_ring_s_hole_is_background_with_a_stroke_of_its_own():
    y, x = np.mgrid[:240, :320]
    distance = np.hypot(y - 120, x - 160)
    hint = long_strokes([(distance < 100) & (distance > 60)], np.random.default_rng(0), 0.5)
    assert (hint[distance <= 60] < 0).any()
    assert (hint[distance >= 100] < 0).any()


def test_of_an_object_that_comes_apart_the_largest_part_gets_the_stroke():
    small, large = disc(120, 160, 20, 25, 15), disc(120, 160, 70, 100, 40)
    for turn in (0, 2):  # whichever is met first
        hint = np.rot90(long_strokes([np.rot90(small | large, turn)], rng(), 0.3), turn)
        assert (hint[large] > 0).any()
        assert not (hint[small] > 0).any()


@pytest.mark.parametrize("scale", [1, 0.5])
def test_1600_pixels_of_object_and_3200_of_background_get_a_stroke_of_their_own(scale):
    side = round(40 * scale)
    large, hole = np.zeros((2, 100, 140), bool)
    large[20:80, 20:80] = True
    for width in (side - 1, side):
        small = np.zeros((100, 140), bool)
        small[20 : 20 + side, 90 : 90 + width] = True
        assert (long_strokes([large, small], rng(), scale)[small] > 0).any() == (width == side)
        assert (long_strokes([small], rng(), scale)[small] > 0).any()  # where nothing is larger
    hole[10 : 10 + side, 10 : 10 + 2 * side] = True
    assert (long_strokes([~hole], rng(), scale)[hole] < 0).any()
    hole[10, 10] = False
    assert not (long_strokes([~hole], rng(), scale) < 0).any()


def test_without_an_object_all_strokes_are_the_background_s():
    assert set(np.unique(long_strokes([np.zeros((50, 60), bool)], rng(), 0.1))) == {-1, 0}


def test_a_diagonal_line_parts_the_background():
    line = np.eye(100, dtype=bool)
    hint = long_strokes([line], rng(), 0.2)
    assert (np.tril(hint, -1) < 0).any()
    assert (np.triu(hint, 1) < 0).any()


def test_in_a_large_region_a_stroke_keeps_54_pixels_from_the_edge():
    mask, scale = np.zeros((340, 440), bool), 0.5
    mask[20:320, 20:420] = True
    depth = distance_transform_edt(mask)
    nearest = min(depth[long_strokes([mask], rng(seed), scale) > 0].min() for seed in range(40))
    assert nearest == 54 * scale - 2  # the stroke is 5.8 · scale thick, two pixels to each side of its middle


# --- strokes where there is hardly room ---


def zigzag(width):
    """A path from edge to edge in which a straight line hardly fits."""
    region = np.zeros((90, 120), bool)
    for k, x in enumerate(range(5, 110, 10)):
        region[5:85, x : x + width] = True
        y = 5 if k % 2 else 85 - width
        region[y : y + width, x : min(x + 10, 110)] = True
    return region


@pytest.mark.parametrize("width", [1, 5])
def test_a_stroke_in_a_winding_part_is_one_piece_and_no_less_than_a_dot(width):
    region = zigzag(width)
    for seed in range(40):
        drawn = scribble(region, rng(seed)) > 0
        assert label(drawn, EIGHT)[1] == 1
        assert drawn.sum() >= 0.8 * width**2


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_long_strokes_lie_where_the_challenge_s_do():
    """Mean distances in pixels: stroke to edge of the picture, stroke to object, and background to its stroke."""
    data = challenge.read_challenge(REAL).take(range(0, 228, 3))

    def places(hint, mask):
        background = hint < 0
        ys, xs = np.nonzero(background)
        edge = min(ys.min(), xs.min(), 374 - ys.max(), 499 - xs.max())
        to_object = distance_transform_edt(~mask)[background].min()
        return edge, to_object, distance_transform_edt(~background)[~mask].mean()

    rng, scale = np.random.default_rng(0), 500 / 640
    found = {"real": data.scribbles}
    found["long"] = [long_strokes(parts_of(mask), rng, scale) for mask in data.masks]
    found["report"] = [scribble(mask, rng, scale) for mask in data.masks]
    mean = {
        name: np.mean([places(*pair) for pair in zip(hints, data.masks) if (pair[0] < 0).any()], 0)
        for name, hints in found.items()
    }
    assert mean["long"] == pytest.approx(mean["real"], abs=8)
    assert (abs(mean["report"] - mean["real"]) > abs(mean["long"] - mean["real"])).sum() >= 2
    assert mean["report"][2] > mean["real"][2] + 25
    # Dabs of paint: as many pixels as people leave, a tenth more or less.
    count = {name: np.mean([np.count_nonzero(hint) for hint in hints]) for name, hints in found.items()}
    assert count["long"] == pytest.approx(count["real"], rel=0.12)
