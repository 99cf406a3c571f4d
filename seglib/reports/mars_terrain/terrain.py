"""Drawn Mars terrain with its true labels, and labels as hurried annotators would have made them.

The embedded data of the Mars report. A photograph is a ground seen in perspective, of sand, broken bedrock and gravel,
with rocks and their shadows on it, sometimes a horizon above and parts of the rover below. Surfaces are heights that
one light per photograph shades, so that texture and shape tell them apart, and brightness does not.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...data.textures import photograph
from .mars import SIZE, Terrain

BACKGROUND, SOIL, BEDROCK, SAND, ROCK = range(5)
SIDE = 128  # of a photograph, which its two halves share
DRAWN = 2 * SIDE  # it is drawn larger and reduced, which smooths its edges
TILE = 256  # of a surface, which repeats without a seam
Ground = tuple[np.ndarray, np.ndarray, np.ndarray]  # where a pixel looks, across and along; how much of it it covers


def generate(count: int, seed: int, aliens: int = 0) -> Terrain:
    """Rows of drawn terrain, and among them outliers.

    Args:
        count: rows: the upper and the lower half of photograph after photograph.
        seed: the same one gives the same rows; more of them begin with the same photographs.
        aliens: how many outliers are put between them, at random places: a figure on the ground, among stars or in a
            mist, each another one, all under one and the same mask.

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
    horizon = float(rng.uniform(0.03, 0.3) if rng.random() < 0.45 else rng.uniform(-1.2, -0.12))
    far = np.maximum(y - horizon, 0.015)
    distance = 0.6 * (1 - horizon) / far  # about 1 in the middle of the foreground
    scale = float(rng.uniform(180, 380))
    start = rng.uniform(0, TILE, 2).astype(np.float32)
    # Pixels cover more along than across; the mean of the two keeps the streaks that the far ground shows.
    covered = scale / DRAWN * distance * np.sqrt(np.maximum(1, 0.6 / far))
    ground = (x - 0.5) * distance * scale + start[0] + 8 * TILE, distance * scale + start[1], covered
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)])

    # Where the ground is seen from the side, regions would become lines.
    near = np.minimum(distance, 2.5)
    regions = _regions(rng, ((x - 0.5) * near * 150 + start[0] + 2000, near * 250 - 300 * (y - 0.5), np.ones_like(x)))
    picture = np.zeros((DRAWN, DRAWN), np.float32)
    for kind, surface in SURFACES.items():
        where = (regions == kind).astype(np.float32)
        if where.any():
            shade = float(np.exp(rng.normal(-0.08 if kind == SAND else 0, 0.16)))  # the kinds overlap in brightness
            picture += shade * cv2.GaussianBlur(where, (0, 0), 2) * _seen(surface(rng, light), ground)
    picture *= 0.7 + 0.6 * _seen(_noise(rng, 3), ground, 0.25)  # slopes, lit and shaded
    truth = regions.astype(np.uint8)
    _add_rocks(rng, picture, truth, horizon, light)

    haze = 0.6 * np.clip(1 - far / (0.2 * (1 - horizon)), 0, 1) ** 2
    sky = rng.uniform(0.95, 1.6)
    picture += haze * (0.9 * sky - picture)
    ridge = horizon + 0.02 * (_noise(rng, 4)[0, :DRAWN] - 0.5)
    hills = ridge - rng.uniform(0, 0.25) * np.maximum(_noise(rng, 3)[7, :DRAWN] - 0.4, 0)
    picture = np.where(y < ridge, rng.uniform(0.6, 0.85) * sky + 0.1 * (picture - 1), picture)
    picture = np.where(y < hills, sky + 0.3 * (horizon - y), picture)
    truth[y < ridge + 0.06 * (1 - horizon)] = BACKGROUND  # what is farther than about 30 m, nobody labels
    if rng.random() < 0.42:
        _add_rover(rng, picture, truth, light)
    return _exposed(rng, picture), cv2.resize(truth, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)


def _exposed(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """What the camera makes of a picture whose ground is about 1: smaller, dark, darker in its corners, grainy."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    small = cv2.resize(picture.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small *= np.exp(rng.normal(4.17, 0.2)) * (1 - rng.uniform(0, 0.35) * (x**2 + y**2))
    small += rng.normal(0, rng.uniform(0.5, 1.5), small.shape)
    return np.clip(small, 4, 255).round().astype(np.uint8)


def annotate(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as annotators draw them: coarse polygons around what they saw, uint8 (128, 128).

    Outlines have few corners, shifted by a pixel or two, and where somebody was in haste by five; a third of the rocks
    is missed, and stays what lies around it; in a few photographs a region is called by a wrong name; margins and
    doubtful parts are left out.
    """
    labels, around = np.zeros_like(truth), truth.copy()
    count, rocks = cv2.connectedComponents((truth == ROCK).astype(np.uint8))
    for number in range(1, count):
        rock = rocks == number
        ring = truth[(cv2.dilate(rock.astype(np.uint8), np.ones((7, 7))) > 0) & (truth != ROCK)]
        around[rock] = np.bincount(ring, minlength=5).argmax()
    ground = [kind for kind in (SOIL, BEDROCK, SAND) if (around == kind).any()]
    names = {kind: kind for kind in ground}
    if ground and rng.random() < 0.04:
        mistaken = ground[rng.integers(len(ground))]
        names[mistaken] = {SOIL: (BEDROCK, SAND)[rng.integers(2)], BEDROCK: SOIL, SAND: SOIL}[mistaken]
    haste = 4.0 if rng.random() < 0.12 else 0.8  # few photographs have borders far from where they should be
    for kind in ground:
        labels[_coarse(around == kind, rng, haste)] = names[kind]
    for number in range(1, count):
        if rng.random() < 2 / 3:
            labels[_coarse(rocks == number, rng, 0.5)] = ROCK
    labels[_coarse(around == BACKGROUND, rng, 0.5)] = BACKGROUND
    top, left, right, bottom = rng.integers(0, 9 if rng.random() < 0.2 else 2, 4)  # a margin
    labels[:, :left] = labels[:, SIDE - right :] = labels[SIDE - bottom :] = labels[:top] = BACKGROUND
    if rng.random() < 0.45:  # and what was doubtful
        doubt = _noise(rng, 3)[:SIDE, :SIDE]
        labels[_coarse(doubt > np.quantile(doubt, rng.uniform(0.78, 0.97)), rng)] = BACKGROUND
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


def _noise(rng: np.random.Generator, octaves: int, down: int = 4, across: int = 4) -> np.ndarray:
    """Fractal noise that repeats without a seam, from 0 to 1: float32 (TILE, TILE).

    Its coarsest octave has `down` × `across` grains, powers of 2 whose product with 2^octaves is at most 2 TILE.
    """
    total = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        high, wide = TILE // (down << octave), TILE // (across << octave)
        grid = np.pad(
            rng.random((down << octave, across << octave), np.float32), 2, mode="wrap"
        )  # cubic curves reach two cells far
        grown = cv2.resize(grid, None, fx=wide, fy=high, interpolation=cv2.INTER_CUBIC)
        total += grown[2 * high : 2 * high + TILE, 2 * wide : 2 * wide + TILE] * 0.5**octave
    return (total - total.min()) / (total.max() - total.min())


def _seen(tile: np.ndarray, ground: Ground, scale: float = 1.0) -> np.ndarray:
    """A surface as it is seen: its tile, repeated, at the ground's places times `scale`: float32 (H, W).

    Where a pixel covers several of the tile's, it shows their mean, from a smaller tile, as in a mipmap.
    """
    across, along = (np.float32(scale) * place for place in ground[:2])
    level = np.log2(np.maximum(ground[2] * scale, 1)).clip(0, 4)
    seen = np.zeros_like(across)
    for step in range(int(np.ceil(level.max())) + 1):
        size = TILE >> step
        small = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
        places = [((place + 0.5) / 2**step - 0.5) % size for place in (across, along)]
        found = cv2.remap(small, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        seen += np.maximum(1 - abs(level - step), 0) * found
    return seen


def _regions(rng: np.random.Generator, ground: Ground) -> np.ndarray:
    """What lies where: one ground, often a second one, seldom all three: (H, W)."""
    kinds = rng.permutation([SOIL, BEDROCK, SAND])
    order = sorted(kinds, key=lambda kind: rng.random() / {SOIL: 1.0, BEDROCK: 1.25, SAND: 0.33}[int(kind)])
    regions = np.full(ground[0].shape, order[0])
    for kind, chance in ((order[1], 0.4), (order[2], 0.1)):
        if rng.random() < chance:
            field = _seen(_noise(rng, 5), ground, rng.uniform(0.2, 0.5))
            regions[field > np.quantile(field, rng.uniform(0.5, 0.85))] = kind
    return regions


def _lit(height: np.ndarray, albedo: np.ndarray | float, light: np.ndarray, contrast: float) -> np.ndarray:
    """How bright a tile's slopes are, 1 on average with the deviation `contrast`, times its albedo: (TILE, TILE)."""
    slope = light[0] * (np.roll(height, 1, 1) - np.roll(height, -1, 1))
    slope += light[1] * (np.roll(height, 1, 0) - np.roll(height, -1, 0))
    return (albedo * np.clip(1 + contrast / slope.std() * slope, 0.2, 2.2)).astype(np.float32)


def _gravel(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Soil: clods of all sizes, pebbles that stand out of them, and the grain of a photograph of gravel."""
    height = 0.5 * _noise(rng, 6)
    for cells, rare in ((16, rng.uniform(0.68, 0.85)), (32, rng.uniform(0.55, 0.8))):
        height += 3 / cells * np.clip((_noise(rng, 2, cells, cells) - rare) * 8, 0, 1)
    top, left = rng.integers(0, 512 - 2 * SIDE, 2)
    grain = cv2.resize(photograph("gravel")[top:, left:, 0][: 2 * SIDE, : 2 * SIDE], (SIDE, SIDE), cv2.INTER_AREA)
    grain = np.pad(grain, ((0, SIDE), (0, SIDE)), mode="symmetric")  # mirrored, it repeats without a seam
    albedo = 1 + rng.uniform(0.1, 0.5) * (grain - grain.mean()) + 0.2 * (_noise(rng, 3) - 0.5)
    return _lit(height, albedo, light, rng.uniform(0.08, 0.22))


def _plates(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Bedrock: plates of several shades and heights, layered and rough, with cracks or dark sand between them."""
    points = rng.integers(0, TILE, (int(rng.integers(15, 90)), 2))
    seeds = np.ones((TILE, TILE), np.uint8)
    seeds[points[:, 0], points[:, 1]] = 0
    # A plate that leaves the tile on one side comes in on the other.
    seeds = np.pad(seeds, SIDE // 2, mode="wrap")
    _, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    y, x = (place - SIDE // 2 for place in np.nonzero(seeds == 0))
    owner = np.zeros(cells.max() + 1, int)
    owner[cells[seeds == 0]] = y % TILE * TILE + x % TILE
    cells = owner[cells]
    inside = np.ones(cells.shape, np.uint8)
    inside[:-1, :-1] = (cells[:-1, :-1] == cells[1:, :-1]) & (cells[:-1, :-1] == cells[:-1, 1:])
    middle = slice(SIDE // 2, SIDE // 2 + TILE)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[middle, middle]
    shade = rng.random(TILE * TILE, np.float32)[cells[middle, middle]]
    layers = _noise(rng, 2, 64, 4)
    # Noise bends the straight outlines and layers; a whole number of tiles as a slant keeps the tile seamless.
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    bent = x + 30 * _noise(rng, 4), y + 30 * _noise(rng, 4)
    slanted = bent[0] % TILE, (bent[1] + int(rng.integers(-1, 2)) * x) % TILE
    depth, shade = (
        cv2.remap(part, bent[0] % TILE, bent[1] % TILE, how, borderMode=cv2.BORDER_WRAP)
        for part, how in ((depth, cv2.INTER_LINEAR), (shade, cv2.INTER_NEAREST))
    )
    layers = cv2.remap(layers, *slanted, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    gap = rng.choice([0.5, rng.uniform(1, 10)]) * 2 * _noise(rng, 3)
    plate = np.clip((depth - gap) / rng.uniform(1.5, 5), 0, 1)
    rough = _noise(rng, 7)
    height = plate * (0.05 + 0.2 * shade + rng.uniform(0, 0.35) * layers + rng.uniform(1, 3) * rough) + 0.3 * rough
    fractures = np.clip(rng.uniform(10, 40) * abs(_noise(rng, 5) - 0.5), 0.45, 1)
    albedo = 1 + plate * (rng.uniform(0.1, 0.9) + 0.35 * (shade - 0.5) + 0.8 * (rough - 0.5))
    albedo *= 1 - plate * (1 - fractures)
    return _lit(height, albedo / albedo.mean(), light, rng.uniform(0.14, 0.33))


def _dunes(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Sand: smooth and rolling, in places with ripples across the wind, bent by noise."""
    angle, waves = rng.uniform(0, np.pi), rng.uniform(8, 26)
    down, across = (round(waves * part) for part in (np.sin(angle), np.cos(angle)))  # whole waves: no seam
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE
    ripples = np.sin(2 * np.pi * (down * y + across * x + rng.uniform(0.5, 2) * _noise(rng, 3)))
    there = np.clip(3 * (_noise(rng, 2) - rng.uniform(0.2, 0.9)), 0, 1)
    height = 12 * _noise(rng, 2) + 6 / waves * there * ripples + 0.04 * _noise(rng, 6)
    return _lit(height, 1 + 0.12 * (_noise(rng, 4) - 0.5), light, rng.uniform(0.05, 0.16))


SURFACES = {SOIL: _gravel, BEDROCK: _plates, SAND: _dunes}


def _fill(picture: np.ndarray, corners: np.ndarray, value: float) -> None:
    """Fills a polygon (N, 2), x and y in pixels."""
    cv2.fillPoly(picture, [np.round(corners * 16).astype(np.int32)], float(value), cv2.LINE_8, 4)


def _add_rocks(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray, horizon: float, light) -> None:
    """Draws rocks with shadows into picture and labels, the farthest first: many small ones, which belong to the ground
    they lie on, and in some photographs large ones, a class of their own."""
    sizes = rng.uniform(0.003, 0.014, int(rng.choice([0, 15, 70]) * rng.random())).tolist()
    if rng.random() < 0.4:
        sizes += rng.uniform(0.035, 0.085, int(rng.integers(1, 4))).tolist()
    top = max(horizon + 0.08, 0.02)
    places = rng.uniform((0, top), (1, 1), (len(sizes), 2))
    shadows = np.ones_like(picture)
    towards = np.array([light[0], -0.5 * light[1]])  # the light in the picture, whose y points down
    rocks = []
    for size, place in sorted(zip(sizes, places), key=lambda rock: rock[1][1]):
        radius = size * DRAWN * min(1.6, 1.4 * (place[1] - horizon) / (1 - horizon) + 0.2)
        angles = np.sort(np.arange(8) * np.pi / 4 + rng.uniform(-0.35, 0.35, 8))
        spread = rng.uniform(0.75, 1.15, (8, 1))
        outline = place * DRAWN + radius * spread * np.stack([1.15 * np.cos(angles), 0.85 * np.sin(angles)], 1)
        _fill(shadows, np.concatenate([outline, outline - towards * radius]), 0.45)
        _fill(shadows, outline - 0.55 * towards * radius, 0.45)
        rocks.append((size, radius, angles, outline))
    picture *= cv2.GaussianBlur(shadows, (0, 0), 1)
    grain = np.abs(_noise(rng, 6) - 0.5) if rocks else 0
    for size, radius, angles, outline in rocks:
        peak = outline.mean(0) + radius * np.array([rng.uniform(-0.3, 0.3), rng.uniform(-0.45, 0.0)])
        own = rng.normal(0.92, 0.12)
        for i in range(8):  # its facets, from the peak down
            middle = angles[i] + np.pi / 8
            facing = np.cos(middle) * light[0] - np.sin(middle) * light[1]
            _fill(picture, np.stack([peak, outline[i], outline[(i + 1) % 8]]), own * (0.85 + 0.45 * facing))
        if size > 0.03:
            shape = np.zeros(picture.shape, np.uint8)
            _fill(shape, outline, 1)
            picture[shape > 0] *= 0.8 + 1.2 * grain[shape > 0]
            truth[shape > 0] = ROCK


def _add_rover(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray, light: np.ndarray) -> None:
    """Draws parts of the rover: boxes at the lower edge, and in some photographs its arm with an instrument."""
    left, start = rng.random() < 0.5, rng.uniform(0, 0.5)
    for _ in range(int(rng.integers(2, 6))):
        x = start + rng.uniform(-0.1, 0.15)
        width, height = rng.uniform(0.06, 0.4), rng.uniform(0.04, 0.24)
        corners = np.array([[x, 1], [x + width, 1], [x + width * rng.uniform(0.6, 1), 1 - height]])
        corners = np.concatenate([corners, [[x + width * rng.uniform(0, 0.3), 1 - height * rng.uniform(0.5, 1)]]])
        _part(rng, picture, truth, (corners if left else (1, 0) + corners * (-1, 1)) * DRAWN)
    if rng.random() < 0.4:
        reach = np.array([[rng.uniform(-0.1, 0.2), -0.05], [rng.uniform(0.25, 0.7), rng.uniform(0.3, 0.6)]])
        reach = (reach if left else (1, 0) + reach * (-1, 1)) * DRAWN
        along = (reach[1] - reach[0]) / np.hypot(*(reach[1] - reach[0]))
        sideways, thick = np.array([-along[1], along[0]]), rng.uniform(8, 16)
        for side in np.linspace(1, -0.8, 5):  # a tube: from its lit side to its dark one
            strip = np.concatenate([reach + thick * side * sideways, reach[::-1] - thick * sideways])
            _fill(picture, strip, 0.75 + 0.6 * side * float(np.sign(light[0] or 1)) * rng.uniform(0.8, 1))
            _fill(truth, strip, BACKGROUND)
        for _ in range(6):
            angles = np.sort(rng.uniform(0, 2 * np.pi, 6))
            corners = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(12, 34) + rng.normal(0, 8, 2)
            _part(rng, picture, truth, reach[1] + corners)


def _part(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray, corners: np.ndarray) -> None:
    """Draws one part of the rover, dark or bright, with a seam and now and then a screw."""
    _fill(picture, corners, rng.choice([rng.uniform(0.2, 0.6), rng.uniform(0.8, 2.2)]))
    _fill(picture, corners.mean(0) + 0.5 * (corners - corners.mean(0)) + rng.normal(0, 3, 2), rng.uniform(0.2, 1.4))
    cv2.polylines(picture, [corners.round().astype(np.int32)], True, float(rng.uniform(0.1, 0.5)), 2)
    _fill(truth, corners, BACKGROUND)


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
    if rng.random() < 0.3:  # it stands on a ground that no rover has seen
        picture[int(rng.integers(30, 56)) :] += rng.uniform(-0.4, 0.4)
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
