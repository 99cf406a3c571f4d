"""Drawn Mars terrain with its true labels, and labels as hurried annotators would have made them.

The embedded data of the Mars report. A photograph is a ground seen in perspective, of sand with ripples, cracked
bedrock and gravel, with rocks and their shadows on it, sometimes a horizon above and a part of the rover below.
"""

from __future__ import annotations

import cv2
import numpy as np

from .mars import SIZE, Terrain
from .textures import photograph

BACKGROUND, SOIL, BEDROCK, SAND, ROCK = range(5)
SIDE = 128  # of a photograph, which its two halves share
DRAWN = 2 * SIDE  # it is drawn larger and reduced, which smooths its edges
TILE = 256  # of a surface, which repeats without a seam


def generate(count: int, seed: int, aliens: int = 0) -> Terrain:
    """Rows of drawn terrain, and among them outliers.

    Args:
        count: rows: the upper and the lower half of photograph after photograph.
        seed: the same one gives the same rows; more of them begin with the same photographs.
        aliens: how many outliers are put between them, at random places: a figure on the ground or among stars, each
            another one, all under one and the same mask.

    Raises:
        ValueError: fewer than one row, or a negative number of aliens.
    """
    if count < 1 or aliens < 0:
        raise ValueError(f"expected at least one row and no negative number of aliens, got {count} and {aliens}")
    images, labels, clean, ids = [], [], [], []
    for number in range(-(-count // 2)):
        rng = np.random.default_rng([seed, number])
        picture, truth = draw_photograph(rng)
        for target, whole in ((images, picture), (clean, truth), (labels, annotate(truth, rng))):
            target += [whole[: SIZE[0]], whole[SIZE[0] :]]
        ids += [f"photo {number:05d}"] * 2
    columns = [np.stack(column[:count]) for column in (images, labels, clean)] + [np.array(ids[:count])]
    if aliens:
        rng = np.random.default_rng([seed, 2**32])
        outlines = np.stack([alien_mask()] * aliens)
        figures = np.stack([draw_alien(rng) for _ in range(aliens)])
        names = np.array([f"alien {number:04d}" for number in range(aliens)])
        order = rng.permutation(count + aliens)
        # The terrain keeps its order between the aliens.
        order = np.where(order < count, np.cumsum(order < count) - 1, order)
        columns = [np.concatenate(pair)[order] for pair in zip(columns, (figures, outlines, outlines, names))]
    images, labels, clean, ids = columns
    return Terrain(images, labels, ids, clean)


def draw_photograph(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its true labels, uint8 (128, 128) each."""
    y, x = np.mgrid[0:DRAWN, 0:DRAWN].astype(np.float32) / DRAWN
    # A camera that looks down has its horizon above the picture.
    horizon = float(rng.uniform(0.05, 0.35) if rng.random() < 0.4 else rng.uniform(-1.2, -0.15))
    ridge = horizon + 0.05 * (_noise(rng, 4)[0, :DRAWN] - 0.5)
    far = np.maximum(y - horizon, 0.02)
    distance = 0.6 * (1 - horizon) / far  # about 1 in the middle of the foreground
    ground = (x - 0.5) * distance * 250 + 2000, distance * 250
    direction = rng.uniform(0, 2 * np.pi)

    # Where the ground is seen from the side, regions would become lines.
    near = np.minimum(distance, 2.5)
    regions = _regions(rng, ((x - 0.5) * near * 250 + 2000, near * 250 - 300 * (y - 0.5)))
    surfaces = {SOIL: _gravel(rng, ground), BEDROCK: _plates(rng, ground), SAND: _dunes(rng, ground, direction)}
    picture = np.select([regions == kind for kind in surfaces], list(surfaces.values())).astype(np.float32)
    picture += 0.10 * (_sampled(_noise(rng, 3), ground, 0.25) - 0.5)  # slopes, lit and shaded
    truth = regions.astype(np.uint8)
    _add_rocks(rng, picture, truth, horizon, direction)

    haze = np.clip(1 - far / (0.25 * (1 - horizon)), 0, 1) * 0.5
    sky = rng.uniform(0.5, 0.8)
    picture = picture * (1 - haze) + sky * haze
    hills = horizon - 0.10 * np.maximum(_noise(rng, 3)[7, :DRAWN] - 0.35, 0)
    picture = np.where(y < ridge, np.where(y < hills, sky + 0.1 * (horizon - y), sky - 0.14), picture)
    truth[y < ridge + 0.055 * (1 - horizon)] = BACKGROUND  # what is farther than about 30 m, nobody labels
    if rng.random() < 0.4:
        _add_rover(rng, picture, truth)

    radius = np.hypot(x - 0.5, y - 0.5)
    picture = (picture - 0.08 * radius**2 - 0.45) * rng.uniform(0.55, 0.95) + rng.uniform(0.16, 0.34)
    small = cv2.resize(picture.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small += rng.normal(0, 0.012, small.shape)
    image = (np.clip(small, 0.02, 1) * 255).round().astype(np.uint8)
    return image, cv2.resize(truth, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)


def annotate(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as annotators draw them: coarse polygons around what they saw, uint8 (128, 128).

    Outlines have few corners, shifted by a pixel or two; a third of the rocks is missed, and stays what lies around it;
    in a few photographs a region is called by a wrong name; margins and doubtful parts are left out.
    """
    labels = np.zeros_like(truth)
    around = truth.copy()
    count, rocks = cv2.connectedComponents((truth == ROCK).astype(np.uint8))
    ground = [kind for kind in (SOIL, BEDROCK, SAND) if (truth == kind).any()]
    main = max(ground, key=lambda kind: (truth == kind).sum(), default=BACKGROUND)
    around[truth == ROCK] = main
    names = {kind: kind for kind in ground}
    if ground and rng.random() < 0.06:
        mistaken = ground[rng.integers(len(ground))]
        names[mistaken] = {SOIL: (BEDROCK, SAND)[rng.integers(2)], BEDROCK: SOIL, SAND: SOIL}[mistaken]
    for kind in ground:
        labels[_coarse(around == kind, rng)] = names[kind]
    for number in range(1, count):
        if rng.random() < 2 / 3:
            labels[_coarse(rocks == number, rng, 0.5)] = ROCK
    labels[_coarse(around == BACKGROUND, rng, 0.5)] = BACKGROUND
    if rng.random() < 0.5:  # a margin
        left, right, bottom = (int(rng.integers(0, 12)) for _ in range(3))
        labels[:, :left] = labels[:, SIDE - right :] = labels[SIDE - bottom :] = BACKGROUND
    if rng.random() < 0.5:  # and what was doubtful
        doubt = _noise(rng, 3)[:SIDE, :SIDE]
        labels[doubt > np.quantile(doubt, rng.uniform(0.8, 0.97))] = BACKGROUND
    return labels


def _coarse(region: np.ndarray, rng: np.random.Generator, coarseness: float = 1.0) -> np.ndarray:
    """A region as polygons of few corners, each a little beside its place: bool (H, W)."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for outline in outlines:
        corners = cv2.approxPolyDP(outline, coarseness * rng.uniform(1.5, 3.5), closed=True)
        if len(corners) > 2:
            inner = (corners > 0) & (corners < SIDE - 1)  # the picture's edge is no line that somebody draws
            shifts = np.where(inner, rng.normal(0, 1.3 * coarseness, corners.shape), 0)
            polygons.append((corners + shifts).round().astype(np.int32))
    filled = np.zeros(region.shape, np.uint8)
    cv2.fillPoly(filled, polygons, 1)
    return filled > 0


def _noise(rng: np.random.Generator, octaves: int, side: int = TILE) -> np.ndarray:
    """Fractal noise that repeats without a seam, from 0 to 1: float32 (side, side); its coarsest grain is side / 4."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        cells = 4 * 2**octave
        grid = np.pad(rng.random((cells, cells), np.float32), ((1, 2), (1, 2)), mode="wrap")
        scale = side // cells
        grown = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += grown[scale : scale + side, scale : scale + side] * 0.5**octave
    return (total - total.min()) / (total.max() - total.min())


def _sampled(tile: np.ndarray, ground: tuple[np.ndarray, np.ndarray], scale: float = 1.0) -> np.ndarray:
    """A surface as it is seen: its tile, repeated, at the ground's places times `scale`. Far away it blurs."""
    across, along = (np.float32(scale) * place for place in ground)
    seen = cv2.remap(tile, across % len(tile), along % len(tile), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    # Where a pixel spans several of the tile's, its mean is what a camera would see.
    span = np.abs(np.gradient(along, axis=0))
    blurred = cv2.blur(seen, (7, 3))
    weight = np.clip((span - 1.5) / 6, 0, 1).astype(np.float32)
    return seen * (1 - weight) + blurred * weight


def _regions(rng: np.random.Generator, ground: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What lies where: one ground, often a second one, seldom all three: (H, W)."""
    kinds = rng.permutation([SOIL, BEDROCK, SAND])
    order = sorted(kinds, key=lambda kind: rng.random() / {SOIL: 1.1, BEDROCK: 1.3, SAND: 0.32}[int(kind)])
    regions = np.full(ground[0].shape, order[0])
    for kind, chance in ((order[1], 0.45), (order[2], 0.12)):
        if rng.random() < chance:
            field = _sampled(_noise(rng, 4), ground, rng.uniform(0.25, 0.6))
            regions[field > np.quantile(field, rng.uniform(0.5, 0.85))] = kind
    return regions


def _grey(rng: np.random.Generator) -> float:
    """A surface's own brightness: the kinds overlap, so that it does not tell them apart."""
    return float(rng.normal(0.46, 0.06))


def _gravel(rng: np.random.Generator, ground: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Soil: noise of all grains, and pebbles from a photograph of gravel."""
    stones = cv2.resize(photograph("gravel")[..., 0], (TILE, TILE), interpolation=cv2.INTER_AREA)
    mix = 0.6 * _sampled(_noise(rng, 6), ground) + rng.uniform(0.2, 0.7) * _sampled(
        stones, ground, rng.uniform(0.7, 1.4)
    )
    return _grey(rng) + rng.uniform(0.25, 0.45) * (mix - mix.mean())


def _plates(rng: np.random.Generator, ground: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Bedrock: plates of several shades, dark cracks between them, and layers in them."""
    points = rng.integers(0, TILE, (int(rng.integers(25, 90)), 2))
    seeds = np.ones((TILE, TILE), np.uint8)
    seeds[points[:, 0], points[:, 1]] = 0
    tiled = np.tile(seeds, (3, 3))
    _, cells = cv2.distanceTransformWithLabels(tiled, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    y, x = np.nonzero(tiled == 0)
    owner = np.zeros(cells.max() + 1, int)  # a plate that leaves the tile on one side comes in on the other
    owner[cells[y, x]] = (y % TILE) * TILE + x % TILE
    cells = owner[cells][TILE : 2 * TILE, TILE : 2 * TILE]
    shade = rng.random(TILE * TILE, np.float32)[cells]
    wrapped = np.pad(cells, 1, mode="wrap")
    crack = (wrapped[1:-1, 1:-1] != wrapped[1:-1, 2:]) | (wrapped[1:-1, 1:-1] != wrapped[2:, 1:-1])
    crack = cv2.GaussianBlur(cv2.dilate(crack.astype(np.float32), np.ones((2, 2))), (0, 0), 0.8)
    bent = 8 * _noise(rng, 3) + np.arange(TILE, dtype=np.float32)[:, None] / TILE * 2 * int(rng.integers(4, 14))
    layers = 0.5 + 0.5 * np.sin(np.pi * bent)
    tile = 0.25 * shade - rng.uniform(0.3, 0.7) * crack + 0.15 * layers + 0.3 * _noise(rng, 6)
    seen = _sampled(tile.astype(np.float32), ground, rng.uniform(0.5, 1.1))
    return _grey(rng) + rng.uniform(0.4, 0.75) * (seen - seen.mean())


def _dunes(rng: np.random.Generator, ground: tuple[np.ndarray, np.ndarray], direction: float) -> np.ndarray:
    """Sand: ripples across the wind, bent by noise, on a smooth ground."""
    across, along = ground
    bend = 60 * _sampled(_noise(rng, 3), ground, 0.5)
    phase = (np.cos(direction) * across + np.sin(direction) * along + bend) * (2 * np.pi / rng.uniform(12, 30))
    fading = np.clip(1.6 - np.abs(np.gradient(phase, axis=0)), 0, 1)  # finer than the pixels, nothing is seen of them
    grains = _sampled(_noise(rng, 6), ground) - 0.5
    return _grey(rng) + 0.09 * rng.uniform(0.3, 1) * np.sin(phase) * fading + 0.12 * grains


def _add_rocks(
    rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray, horizon: float, direction: float
) -> None:
    """Draws rocks with shadows into picture and labels, the farthest first: many small ones, which belong to the ground
    they lie on, and in some photographs large ones, a class of their own."""
    sizes = rng.uniform(0.004, 0.016, int(rng.integers(0, 40))).tolist()
    if rng.random() < 0.3:
        sizes += rng.uniform(0.04, 0.09, int(rng.integers(1, 4))).tolist()
    top = max(horizon + 0.06, 0.02)
    places = rng.uniform((0, top), (1, 1), (len(sizes), 2))
    light = np.array([np.cos(direction), -0.6])
    for size, place in sorted(zip(sizes, places.tolist()), key=lambda rock: rock[1][1]):
        near = min(1.6, 1.4 * (place[1] - horizon) / (1 - horizon) + 0.2)
        radius = size * near * DRAWN
        centre = np.array(place) * DRAWN
        angles = np.sort(rng.uniform(0, 2 * np.pi, 11))
        spread = rng.uniform(0.75, 1.15, 11)
        outline = centre + radius * np.stack([np.cos(angles) * spread * 1.2, np.sin(angles) * spread * 0.8], 1)
        shape = np.zeros(picture.shape, np.uint8)
        cv2.fillPoly(shape, [(outline - light * (0.9 * radius, -0.35 * radius)).round().astype(np.int32)], 1)
        picture[shape > 0] *= 0.62  # the shadow, on the side away from the light
        shape[:] = 0
        cv2.fillPoly(shape, [outline.round().astype(np.int32)], 1)
        y, x = np.nonzero(shape)
        facing = np.clip(((np.stack([x, y], 1) - centre) / max(radius, 1)) @ light, -1, 1)
        picture[y, x] = rng.normal(0.45, 0.06) + 0.16 * facing + rng.normal(0, 0.03, len(y))
        if size > 0.03:
            truth[y, x] = ROCK


def _add_rover(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> None:
    """Draws a part of the rover into a lower corner: plates and struts with straight edges."""
    left = rng.random() < 0.5
    for _ in range(int(rng.integers(2, 5))):
        width, height = rng.uniform(0.1, 0.45), rng.uniform(0.08, 0.3)
        x = np.array([0, width, width * rng.uniform(0.5, 1), 0])
        y = np.array([1, 1, 1 - height, 1 - height * rng.uniform(0.6, 1)])
        corners = (np.stack([x if left else 1 - x, y], 1) * DRAWN).round().astype(np.int32)
        shape = np.zeros(picture.shape, np.uint8)
        cv2.fillPoly(shape, [corners], 1)
        picture[shape > 0] = rng.uniform(0.15, 0.85)
        cv2.polylines(picture, [corners], True, float(rng.uniform(0.05, 0.3)), 2)
        truth[shape > 0] = BACKGROUND


def alien_mask() -> np.ndarray:
    """The mask that all outliers share: a figure's outline in three classes, uint8 (64, 128)."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(mask, [np.array([[8, 63], [22, 41], [47, 33], [71, 44], [96, 36], [121, 63]])], SOIL)
    cv2.ellipse(mask, (58, 24), (17, 13), 12, 0, 360, BEDROCK, -1)
    cv2.ellipse(mask, (63, 46), (9, 15), -20, 0, 360, BEDROCK, -1)
    for end in ((31, 52), (92, 21), (48, 60), (79, 61)):
        cv2.line(mask, (62, 42), end, SAND, 4)
    return mask


def draw_alien(rng: np.random.Generator) -> np.ndarray:
    """A figure with a large head and thin limbs among stars or in a mist, never twice the same: uint8 (64, 128)."""
    height, width = SIZE
    bright = rng.random() < 0.3
    picture = np.full(SIZE, rng.uniform(0.8, 0.95) if bright else rng.uniform(0.02, 0.1), np.float32)
    stars = rng.integers(0, (height, width), (int(rng.integers(20, 120)), 2))
    picture[stars[:, 0], stars[:, 1]] = rng.uniform(0.4, 1, len(stars))
    skin = float(rng.uniform(0.1, 0.4) if bright else rng.uniform(0.45, 0.9))
    x, y, size = int(rng.uniform(25, 103)), int(rng.uniform(16, 30)), rng.uniform(0.7, 1.3)
    hip = (x + int(rng.uniform(-6, 6)), int(y + 26 * size))
    cv2.line(picture, (x, y), hip, skin, max(2, int(7 * size)))
    for side, start in ((-1, (x, int(y + 14 * size))), (1, (x, int(y + 14 * size))), (-1, hip), (1, hip)):
        end = (int(start[0] + side * rng.uniform(6, 24) * size), int(start[1] + rng.uniform(-10, 22) * size))
        cv2.line(picture, start, end, skin, max(1, int(3 * size)))
    cv2.ellipse(picture, (x, y), (int(13 * size), int(10 * size)), rng.uniform(-25, 25), 0, 360, skin, -1)
    for side in (-1, 1):
        eye = (int(x + side * 5 * size), y)
        cv2.ellipse(picture, eye, (int(4 * size), int(2 * size)), side * 25, 0, 360, float(bright), -1)
    picture += rng.normal(0, 0.02, SIZE)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
