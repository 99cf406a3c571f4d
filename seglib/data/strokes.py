"""What a user draws on a photograph, simulated from the true mask: a rough mask, a brush stroke, a correction.

A hint is int8 (H, W): 1 where the user said "object", −1 where the user said "background", 0 elsewhere. Lengths are in
pixels of an image of about 640×480; `scale` is the side of the mask's pixels relative to those, 0.5 for a mask that
was halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from skimage.graph import MCP_Geometric

MIN_PIXELS = 50  # a rough mask of fewer (at scale 1) is no hint
MIN_PART = 1600  # pixels (at scale 1) of what gets a stroke of its own: half of such parts do in the scribble challenge
CANDIDATES = 24  # curves, of which the longest is drawn
SWING = 2.0  # points, by whose normal distribution the jumps of a wobbling hand are smoothed
THICKNESS = 5.8  # pixels (at scale 1) of a stroke


@dataclass(frozen=True)
class Hand:
    """How somebody draws; lengths in pixels at scale 1.

    Attributes:
        thickness: of a first stroke, from and to; never more than 1.2 times how deep the object is.
        length: of a first stroke, from and to, in half perimeters of the object's bounding box.
        correcting: how thick a correction is at most, from and to.
        wobble: how far the brush is off its path, as a standard deviation of x and of y.
        strays: where a stroke leaves what it is meant for it is seen to, and not cut off.
    """

    thickness: tuple[float, float] = (16, 40)
    length: tuple[float, float] = (0.5, 1.5)
    correcting: tuple[float, float] = (20, 20)
    wobble: float = 0.0
    strays: bool = False


CAREFUL = Hand()
THIN = Hand(thickness=(3, 16), length=(0.2, 1.0), correcting=(4, 20))
HASTY = Hand(thickness=(4, 10), length=(0.3, 0.8), correcting=(4, 8), wobble=4.0, strays=True)


def coarse_mask(mask: np.ndarray, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """A mask as a hasty user would fill it in: bites out of its border, thin parts lost, corners rounded.

    Erosion tells a band of 30 to 40 px along the border from the core; 2 to 6 discs with a radius of a quarter to a
    half of the band are rubbed out of it; an opening with an ellipse of half to all of its width, a Gaussian blur
    (σ 6 to 12 px) and a threshold of ½ smooth what remains (NeuralSegmentello, section 2.2; the numbers are those of
    its program).

    Args:
        mask: (H, W), bool.

    Returns:
        Hint (H, W) of 0 and 1; all 0 where fewer than 50 px remain.
    """
    hint = np.zeros(mask.shape, np.int8)
    if not mask.any():
        return hint
    window = _window(mask, round(40 * scale))
    mask, rough = mask[window], mask[window].astype(np.uint8)
    width = rng.uniform(30, 40) * scale
    band = mask & (_depth(mask) <= width)
    ys, xs = np.nonzero(band)
    discs = np.zeros(mask.shape, np.uint8)
    for _ in range(rng.integers(2, 7) if len(ys) else 0):
        k = rng.integers(len(ys))
        cv2.circle(discs, (int(xs[k]), int(ys[k])), round(rng.uniform(0.25, 0.5) * width), 1, -1)
    rough[band & (discs > 0)] = 0
    diameter = max(1, round(rng.uniform(0.5, 1) * width))
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    rough = cv2.morphologyEx(rough, cv2.MORPH_OPEN, ellipse).astype(np.float32)
    rough = cv2.GaussianBlur(rough, (0, 0), rng.uniform(6, 12) * scale) > 0.5
    if np.count_nonzero(rough) >= MIN_PIXELS * scale**2:
        hint[window] = rough
    return hint


def brush_stroke(mask: np.ndarray, rng: np.random.Generator, scale: float = 1.0, hand: Hand = CAREFUL) -> np.ndarray:
    """One stroke of a brush inside the object: a random path that turns away from its border.

    Args:
        mask: (H, W), bool.
        hand: who draws; by default a careful user with a thick brush.

    Returns:
        Hint (H, W) of 0 and 1; all 0 where there is no object.
    """
    hint = np.zeros(mask.shape, np.int8)
    if not mask.any():
        return hint
    window, box = _window(mask, 1 + _reach(hand, scale)), mask[_window(mask, 1)].shape
    depth = _depth(mask[window])
    thickness = min(rng.uniform(*hand.thickness) * scale, max(1.0, 1.2 * depth.max()))
    length = rng.uniform(*hand.length) * sum(box)
    path = random_path(depth >= thickness / 2, rng, length, step=thickness / 2)
    hint[window] = _paint(path, thickness, mask[window], rng, hand, scale)
    return hint


def correction(
    hint: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    rng: np.random.Generator,
    scale: float = 1.0,
    hand: Hand = CAREFUL,
) -> np.ndarray:
    """The hint after one more stroke, along the middle of the largest connected area that is wrong.

    Where an object's pixels were missed the stroke says 1, where background was taken for object −1.

    Args:
        hint: so far, (H, W) of −1, 0 and 1.
        prediction, truth: (H, W), bool.

    Returns:
        A new hint (H, W); an equal one where nothing is wrong.
    """
    largest = []
    for missed in (truth & ~prediction, prediction & ~truth):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(missed.astype(np.uint8), connectivity=4)
        stats[0, cv2.CC_STAT_AREA] = 0  # label 0 is what is not missed
        biggest = int(stats[:, cv2.CC_STAT_AREA].argmax())
        largest.append((int(stats[biggest, cv2.CC_STAT_AREA]), labels == biggest))
    sign = 1 if largest[0][0] >= largest[1][0] else -1
    area, wrong = max(largest, key=lambda entry: entry[0])
    return _add_stroke(hint, wrong, sign, rng, scale, hand) if area else hint.copy()


def random_corrections(
    hint: np.ndarray, truth: np.ndarray, count: int, rng: np.random.Generator, scale: float = 1.0
) -> np.ndarray:
    """A hint with `count` more strokes, as corrections to a prediction that is not known yet would be.

    Each says 1 on a part of the object that the hint leaves out, or −1 beside the object, at most 60 px away from it
    along rows and columns.

    Args and returns as for `correction`.
    """
    near = cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(60 * scale))) > 0
    for _ in range(count):
        sign = 1 if rng.random() < 0.5 else -1
        free = (truth if sign > 0 else near & ~truth) & (hint == 0)
        if not free.any():
            continue
        # An error is a piece of this, not all of it: what lies around a random point.
        ys, xs = np.nonzero(free)
        k, radius = rng.integers(len(ys)), round(rng.uniform(8, 60) * scale) + 1
        around = cv2.circle(np.zeros(truth.shape, np.uint8), (int(xs[k]), int(ys[k])), radius, 1, -1) > 0
        hint = _add_stroke(hint, free & around, sign, rng, scale)
    return hint


def scribble(mask: np.ndarray, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """A few thin strokes as the scribble challenge has them: one in each part of the object, one in the background.

    Closing joins what hardly comes apart; each connected part that is large enough, and in any case the largest, gets
    a curve inside it. Of the four regions left of, right of, above and below the object's bounding box, with a margin,
    one is drawn, the larger the likelier, and a curve in it (the scribble report's algorithm; its numbers are measured
    on the challenge's strokes, and its lines are curves there).

    Args:
        mask: (H, W), bool.

    Returns:
        Hint (H, W) of −1, 0 and 1. A side that has no room for a stroke has none.
    """
    hint = np.zeros(mask.shape, np.int8)
    diameter = 2 * round(4.5 * scale) + 1  # odd: with an even one, OpenCV's closing moves the mask
    closed = cv2.morphologyEx(
        mask.astype(np.uint8),
        cv2.MORPH_CLOSE,
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)),
    )
    count, parts, stats, _ = cv2.connectedComponentsWithStats(closed)
    enough = min(MIN_PART * scale**2, stats[1:, cv2.CC_STAT_AREA].max(initial=0))  # the largest part gets one anyway
    for part in range(1, count):
        if stats[part, cv2.CC_STAT_AREA] >= enough:
            hint[_curve((parts == part) & mask, rng, scale)] = 1
    left, top, width, height = cv2.boundingRect(closed)
    margin = round(10 * scale)
    regions = [
        (slice(None), slice(0, max(0, left - margin))),
        (slice(None), slice(left + width + margin, None)),
        (slice(0, max(0, top - margin)), slice(None)),
        (slice(top + height + margin, None), slice(None)),
    ]
    room = np.array([hint[region].size for region in regions], float)
    background = np.zeros(mask.shape, bool)
    if room.max() >= MIN_PART * scale**2:
        background[regions[rng.choice(4, p=room / room.sum())]] = True
    else:  # an object from edge to edge: wherever there is none of it
        background = cv2.dilate(closed, np.ones((3, 3), np.uint8), iterations=margin) == 0
    if np.count_nonzero(background) >= MIN_PART * scale**2:
        hint[_curve(background, rng, scale)] = -1
    return hint


def long_strokes(objects: Sequence[np.ndarray], rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """Strokes that are more like the scribble challenge's own than the report's algorithm draws (`scribble`).

    Each object that is large enough gets one, and in any case the largest; so does each large part of the background,
    also one that objects enclose. A stroke is a curve from the top of its region to the bottom where one fits, else
    the longest of some others, and keeps away from the region's edge and the picture's, in the background by a third
    of the greatest distance that there is. In the challenge the background's strokes lie 36 pixels from the picture's
    edge and 50 from the object on average, and a background pixel is 119 from them; here 36, 53 and 123; `scribble`'s
    are 162 away (`tests/test_strokes.py` measures it where there is real data).

    Args:
        objects: masks (H, W), bool, at least one.

    Returns:
        Hint (H, W) of −1, 0 and 1.
    """
    mask = np.logical_or.reduce(objects)
    hint = np.zeros(mask.shape, np.int8)
    regions = [(_largest_part(one), 1, 0.2) for one in objects if one.any()]
    enough = min(MIN_PART * scale**2, max((region.sum() for region, *_ in regions), default=0))
    count, parts = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    regions = [entry for entry in regions if entry[0].sum() >= enough]
    outside = (parts == part for part in range(1, count))
    regions += [(part, -1, 0.35) for part in outside if part.sum() >= 2 * MIN_PART * scale**2]
    for region, sign, away in regions:
        hint[_long_curve(region, rng, scale, away)] = sign
    return hint


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    """The connected parts (eight neighbours) of a mask (H, W)."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    return [parts == part for part in range(1, count)]


def _largest_part(mask: np.ndarray) -> np.ndarray:
    return max(parts_of(mask), key=np.count_nonzero)


def shortened(hint: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A hint whose strokes were broken off: of each connected one remains `share`, at least a pixel.

    What remains is a random point of the stroke and what can be reached from it along the stroke on the shortest ways.

    Args:
        hint: (H, W) of −1, 0 and 1.
        share: of a stroke's pixels, from 0 to 1.

    Returns:
        int8 (H, W).
    """
    shorter = np.zeros(hint.shape, np.int8)
    for sign in (-1, 1):
        count, parts = cv2.connectedComponents((hint == sign).astype(np.uint8))
        for part in range(1, count):
            stroke = parts == part
            points = np.argwhere(stroke)
            start = points[rng.integers(len(points))]
            far, _ = MCP_Geometric(np.where(stroke, 1.0, np.inf)).find_costs([start])
            kept = points[np.argsort(far[stroke], kind="stable")[: max(1, round(share * len(points)))]]
            shorter[tuple(kept.T)] = sign
    return shorter


def _curve(region: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """A smooth curve that stays inside a region that is not empty, of several the longest: bool (H, W)."""
    depth = _depth(region)
    inside = depth > min(THICKNESS * scale / 2, 0.7 * depth.max())
    ys, xs = np.nonzero(inside)
    start, end = rng.integers(len(ys), size=(CANDIDATES, 2)).T
    return _longest_curve(region, inside, np.stack([xs, ys], -1), start, end, rng, scale)


def _long_curve(region: np.ndarray, rng: np.random.Generator, scale: float, away: float) -> np.ndarray:
    """A curve through most of a region's height, `away` of its greatest depth from its edge and the picture's."""
    depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    inside = depth >= min(54 * scale, away * depth.max())
    ys, xs = np.nonzero(inside)  # from top to bottom
    ends = max(1, round(0.02 * len(ys)))
    start = np.concatenate([rng.integers(ends, size=40), rng.integers(len(ys), size=40)])
    end = np.concatenate([len(ys) - 1 - rng.integers(ends, size=40), rng.integers(len(ys), size=40)])
    return _longest_curve(region, inside, np.stack([xs, ys], -1), start, end, rng, scale)


def _longest_curve(region, inside, points, start, end, rng: np.random.Generator, scale: float) -> np.ndarray:
    """The longest of the curves from `points[start]` to `points[end]` that do not leave `inside`, drawn in `region`."""
    start, end = points[start].astype(float), points[end].astype(float)
    # A quadratic Bézier curve whose middle is off the straight line, by up to a third of its length.
    across = (end - start)[:, ::-1] * (-1, 1)
    control = (start + end) / 2 + across * rng.uniform(-0.6, 0.6, (len(start), 1))
    t = np.linspace(0, 1, 40)[:, None, None]
    curves = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end  # (40, candidates, 2)
    x, y = np.round(curves).astype(int).transpose(2, 0, 1)
    within = (x >= 0) & (y >= 0) & (x < region.shape[1]) & (y < region.shape[0])
    stays = (within & inside[np.where(within, y, 0), np.where(within, x, 0)]).all(0)
    length = np.hypot(*np.diff(curves, axis=0).transpose(2, 0, 1)).sum(0) * stays
    # Where none stays inside, a dot at the first one's start.
    best = int(length.argmax())
    path = curves[:, best] if stays[best] else start[:1]
    # OpenCV's lines are whole pixels thick, these not: drawn four times as large, and what is half covered counts.
    canvas = np.zeros((4 * region.shape[0], 4 * region.shape[1]), np.uint8)
    brush = max(1, round(4 * THICKNESS * scale) - 1)  # OpenCV draws one more
    path_at_4 = np.round(4 * path + 1.5).astype(np.int32)
    cv2.polylines(canvas, [path_at_4], False, 255, brush)
    cv2.circle(canvas, path_at_4[0].tolist(), brush // 2, 255, -1)  # a path may be a single point
    drawn = cv2.resize(canvas, region.shape[::-1], interpolation=cv2.INTER_AREA) >= 128
    x, y = np.round(path).astype(int).T
    drawn[y, x] = True  # even where it is thinner than a pixel
    return drawn & region


def _add_stroke(hint, where, sign: int, rng: np.random.Generator, scale: float, hand: Hand = CAREFUL) -> np.ndarray:
    """Draws along the middle of an area, as thick as it allows but not thicker than a brush."""
    hint, window, box = hint.copy(), _window(where, 1 + _reach(hand, scale)), where[_window(where, 1)].shape
    depth = _depth(where[window])
    low, high = hand.correcting
    thickness = min((rng.uniform(low, high) if low < high else high) * scale, max(1.0, depth.max()))
    inside = depth >= max(1.0, 0.6 * depth.max())
    path = random_path(inside, rng, length=0.7 * max(box), step=max(1.0, thickness / 2))
    hint[window][_paint(path, thickness, where[window], rng, hand, scale)] = sign
    return hint


def random_path(region: np.ndarray, rng: np.random.Generator, length: float, step: float) -> np.ndarray:
    """A smooth random path that does not leave a region: it turns away where its next step would.

    Args:
        region: (H, W), bool, with at least one pixel.
        length: of the path, in pixels; it ends earlier where it cannot go on.
        step: between two points, in pixels.

    Returns:
        Points (N, 2) as x and y, N ≥ 1, each inside the region, and so is the middle between two neighbours.
    """
    ys, xs = np.nonzero(region)
    k = rng.integers(len(ys))
    points, heading = [np.array([xs[k], ys[k]], float)], rng.uniform(0, 2 * np.pi)

    def inside(point) -> bool:
        x, y = np.round(point).astype(int)
        return 0 <= y < region.shape[0] and 0 <= x < region.shape[1] and bool(region[y, x])

    for _ in range(int(length / step)):
        heading += rng.normal(0, 0.3)
        for turn in np.array([0, 0.4, -0.4, 0.8, -0.8, 1.3, -1.3, 1.9, -1.9, 2.5, -2.5, np.pi]) * rng.choice([-1, 1]):
            move = step * np.array([np.cos(heading + turn), np.sin(heading + turn)])
            if inside(points[-1] + move) and inside(points[-1] + move / 2):
                heading += turn
                points.append(points[-1] + move)
                break
        else:
            break
    return np.array(points)


def _reach(hand: Hand, scale: float) -> int:
    """How far a hand may get out of what it paints, in pixels of the mask."""
    return round((3 * hand.wobble + max(hand.thickness)) * scale) if hand.strays else 0


def _paint(
    path: np.ndarray, thickness: float, region: np.ndarray, rng: np.random.Generator, hand: Hand, scale: float
) -> np.ndarray:
    """A path drawn with a round brush: bool of the region's shape, and cut off where a hand that does not stray would
    leave the region."""
    canvas = np.zeros(region.shape, np.uint8)
    if hand.wobble:  # a hand swings more slowly than from point to point
        around = round(4 * SWING)  # as far as the filter sees
        swing = rng.normal(size=(len(path) + 2 * around, 2))
        swing = gaussian_filter1d(swing, SWING, axis=0)[around : around + len(path)]
        path = path + hand.wobble * scale * np.sqrt(2 * SWING * np.sqrt(np.pi)) * swing
    points = np.round(path).astype(np.int32)
    cv2.polylines(canvas, [points], False, 1, max(1, round(thickness)))
    cv2.circle(canvas, points[0].tolist(), round(thickness / 2), 1, -1)  # a path may be a single point
    return canvas > 0 if hand.strays else (canvas > 0) & region


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel inside a mask to the nearest one outside; beyond the image's edge an object goes on."""
    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)), np.float32)
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty, `margin` pixels larger on each side, within the image."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(0, top - margin), min(mask.shape[0], top + height + margin))
    return rows, slice(max(0, left - margin), min(mask.shape[1], left + width + margin))


SIMULATORS = {"coarse": coarse_mask, "brush": brush_stroke, "thin": partial(brush_stroke, hand=THIN)}
