"""Drawn scenes in COCO's format: the embedded data of the refinement and the scribble reports.

A scene is a ground with clutter and a handful of objects, one before the other, each with its own surface, lit from
one side and throwing a shadow. What is annotated of an object is what can be seen of it. Surfaces are crops of
photographs that come with scikit-image and Matplotlib, none of them among the course's test photographs, and
procedural patterns.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import platformdirs
from pycocotools import mask as rle
from scipy import ndimage
from skimage.measure import find_contours

from ..files import write_whole
from . import textures

CATEGORIES = ("ball", "ring", "mug", "bottle", "book", "leaf", "animal", "stone")
SHAPES = ((3, 4), (4, 3), (2, 3), (3, 2), (1, 1))  # height : width, in the shares that COCO has about
SHAPE_SHARE = (0.5, 0.2, 0.18, 0.07, 0.05)
MIN_AREA = 0.0015  # of the scene; what shows less of itself is not annotated, as in COCO
Outline = list[tuple[np.ndarray, bool]]  # polygons (N, 2), each filled (True) or cut out (False), one after the other


def generated(count: int, longest: int, seed: int) -> tuple[Path, Path]:
    """The folder of images and the file of instances of generated scenes; made once and kept in the user's cache, or
    where that cannot be written to, with a warning, in the temporary folder.

    Args:
        count: how many scenes.
        longest: their longest side, in pixels.
        seed: the same one gives the same scenes.
    """
    # What another version of this package drew is another data set.
    sources = b"".join(Path(file).read_bytes() for file in (__file__, textures.__file__))
    digest = hashlib.sha256(sources).hexdigest()[:12]
    name = Path(f"scenes-{digest}") / f"{count}x{longest}.seed{seed}"
    folder = platformdirs.user_cache_path("seglib") / name
    if not folder.is_dir():
        folder = _writable(folder.parents[1]) / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            write_scenes(Path(temporary) / "scenes", count, longest, seed)
            try:
                (Path(temporary) / "scenes").rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder / "images", folder / "annotations" / "instances.json"


def _writable(cache: Path) -> Path:
    """The cache, or where it cannot be written to, a folder of this user's in the temporary folder."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        other = Path(tempfile.gettempdir()) / f"seglib-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        warnings.warn(
            f"{cache} cannot be written to ({error.strerror}), so drawn scenes are kept in {other}; the variable "
            "XDG_CACHE_HOME names another place",
            stacklevel=3,
        )
        return other


def write_scenes(folder: str | Path, count: int, longest: int, seed: int) -> None:
    """Draws scenes into a new folder: `images/*.jpg` and `annotations/instances.json` in COCO's format.

    Outlines without holes are polygons, those with holes run lengths; some scenes have a crowd of pebbles.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for image_id in range(1, count + 1):
        rng = np.random.default_rng([seed, image_id])
        high, wide = SHAPES[rng.choice(len(SHAPES), p=SHAPE_SHARE)]
        unit = longest * rng.uniform(0.85, 1) / max(high, wide)
        picture, objects = draw_scene(round(high * unit), round(wide * unit), rng)
        height, width = picture.shape[:2]
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / "images" / name).write_bytes(encoded)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width, "license": 1})
        for category, mask, crowd in objects:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": CATEGORIES.index(category) + 1}
                | describe(mask, crowd)
            )
    dataset = {
        "info": {"description": "Drawn scenes", "version": "1.0"},
        "licenses": [{"id": 1, "name": "As the course", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "supercategory": "thing"} for i, name in enumerate(CATEGORIES, 1)],
    }
    text = json.dumps(dataset)
    write_whole(folder / "annotations" / "instances.json", lambda file: file.write(text.encode()), "annotations")


def describe(mask: np.ndarray, crowd: bool = False) -> dict:
    """`segmentation`, `area`, `bbox` and `iscrowd` of a mask (H, W), as COCO's files have them.

    Polygons where they say what the mask is, else (holes, crowds, pieces too thin for a polygon) run lengths.
    """
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    about = {"area": float(rle.area(encoded)), "bbox": rle.toBbox(encoded).tolist(), "iscrowd": int(crowd)}
    if not crowd and ndimage.binary_fill_holes(mask).sum() == mask.sum():
        # Contours run between the centres of pixels, and COCO's coordinates put the centre of the first at 0.5; so
        # the half that padding moves them by is the half that COCO does.
        contours = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
        polygons = [(contour[:-1, ::-1] - 0.5).ravel().tolist() for contour in contours if len(contour) > 4]
        drawn = rle.merge(rle.frPyObjects(polygons, *mask.shape))
        if rle.iou([drawn], [encoded], [0])[0, 0] > 0.98:
            return {"segmentation": polygons} | about
    counts = {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}
    return {"segmentation": counts} | about


def draw_scene(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """Draws a scene.

    Returns:
        The picture, uint8 RGB (H, W, 3), and for each annotated object its category, its visible mask (bool, H, W) and
        whether it is a crowd.
    """
    light = rng.uniform(0.25, np.pi - 0.25)  # direction it comes from, 0 is the right, π/2 straight above
    light = np.array([np.cos(light), -np.sin(light)])
    canvas = _ground(height, width, rng)
    _add_clutter(canvas, rng)
    objects: list[list] = []
    size = np.hypot(height, width)
    if rng.random() < 0.1:
        objects.append(["stone", _pebbles(canvas, rng, light), True])
    count = int(rng.integers(2, 8))
    # The far ones come first, and are smaller.
    for depth in np.sort(rng.random(count)):
        category = CATEGORIES[rng.integers(len(CATEGORIES))]
        reach = size * rng.uniform(0.05, 0.14) * (0.6 + 1.2 * depth)
        centre = np.array([rng.uniform(0.05, 0.95) * width, (0.3 + 0.5 * depth + rng.normal(0, 0.12)) * height])
        mask = _draw_object(canvas, category, centre, reach, rng, light)
        for other in objects:
            other[1] = other[1] & ~mask
        objects.append([category, mask, False])
    picture = textures.as_photographed(canvas, rng)
    return picture, [entry for entry in objects if entry[1].sum() >= MIN_AREA * height * width]


def _draw_object(canvas, category: str, centre, reach: float, rng: np.random.Generator, light) -> np.ndarray:
    """Draws an object and its shadow onto a canvas, and returns its mask."""
    height, width = canvas.shape[:2]
    outline = OUTLINES[category](rng)
    angle = rng.normal(0, 0.25) if category in ("mug", "bottle", "animal") else rng.uniform(0, 2 * np.pi)
    stretch = np.diag(rng.uniform(0.8, 1.25, 2))
    if rng.random() < 0.5:
        stretch[0] *= -1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ stretch * reach
    placed = [(polygon @ turn.T + centre, filled) for polygon, filled in outline]
    margin = 6 + 0.5 * reach
    corners = np.concatenate([polygon for polygon, _ in placed])
    low = np.maximum(np.floor(corners.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0) + margin), (width, height)).astype(int)
    mask = np.zeros((height, width), bool)
    if (high - low < 4).any():
        return mask
    where = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    for polygon, filled in placed:
        cv2.fillPoly(where, [np.round((polygon - low) * 16).astype(np.int32)], float(filled), cv2.LINE_8, 4)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    mask[low[1] : high[1], low[0] : high[0]] = where > 0
    # The shadow falls away from the light, soft, onto what was drawn before.
    shift = np.float32([[1, 0, -light[0] * reach * 0.25], [0, 1, -light[1] * reach * 0.18]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(where, shift, where.shape[::-1]), (0, 0), 1 + 0.06 * reach)
    part *= 1 - rng.uniform(0.15, 0.6) * shadow[..., None]
    surface = _surface(*where.shape, rng)
    lit = surface * _shading(where, light, rng)[..., None]
    alpha = cv2.GaussianBlur(where, (0, 0), 0.6)[..., None]
    part += alpha * (np.clip(lit, 0, 1) - part)
    return mask


def _shading(where: np.ndarray, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How bright a mask would be if it were inflated like a cushion: Lambert's law on its slopes, and a highlight."""
    depth = cv2.distanceTransform((where > 0).astype(np.uint8), cv2.DIST_L2, 3)
    relief = np.sqrt(np.minimum(depth, reach := max(2.0, depth.max() * rng.uniform(0.3, 1.0)))) * np.sqrt(reach)
    relief = cv2.GaussianBlur(relief, (0, 0), max(0.5, reach / 8))
    dy, dx = np.gradient(relief)
    up = 1 / np.sqrt(dx**2 + dy**2 + 1)
    towards = np.clip((-dx * light[0] - dy * light[1]) * up * 0.7 + up * 0.7, 0, 1)
    ambient = rng.uniform(0.35, 0.8)
    return ambient + (1 - ambient) * 1.2 * towards + rng.choice([0, 0.5]) * towards**20


def _surface(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """What something is made of: a photograph's texture, a pattern or hardly anything; float32 (H, W, 3)."""
    dark, bright = np.sort([_colour(rng), _colour(rng)], axis=0).astype(np.float32)
    kind = rng.choice(["texture", "duotone", "stripes", "checks", "plain"], p=[0.25, 0.3, 0.15, 0.1, 0.2])
    if kind == "texture":
        return textures.texture(rng, height, width, textures.SURFACES) * (0.4 + 0.6 * bright)
    if kind == "plain":
        grain = cv2.resize(rng.random((5, 5), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        level = 0.5 + 0.15 * (grain - 0.5)
    elif kind == "duotone":
        level = textures.texture(rng, height, width, textures.SURFACES).mean(-1)
        level = (level - level.min()) / max(1e-3, float(np.ptp(level)))
    else:
        yy, xx = np.mgrid[:height, :width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.08, 0.35) * max(height, width)
        along, across = xx * np.cos(angle) + yy * np.sin(angle), yy * np.cos(angle) - xx * np.sin(angle)
        waves = np.sin(2 * np.pi * along / period)
        if kind == "checks":
            waves = waves * np.sin(2 * np.pi * across / period)
        level = 0.5 + 0.5 * np.clip(waves * rng.uniform(1, 6), -1, 1)
    return dark + (bright - dark) * level[..., None]


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Red, green and blue in [0, 1], seldom as loud as three independent numbers would be."""
    return np.clip(rng.random() + rng.beta(1, 2) * (rng.random(3) - 0.5) * 1.8, 0, 1)


def _ground(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A wall and a floor, or only one of them, with light that falls off: float32 (H, W, 3)."""
    canvas = _surface(height, width, rng)
    if rng.random() < 0.7:
        edge = height * rng.uniform(0.15, 0.6) + np.arange(width) * rng.normal(0, 0.05)
        floor = np.arange(height)[:, None] > edge
        canvas = np.where(floor[..., None], _surface(height, width, rng), canvas)
    if rng.random() < 0.5:  # out of focus behind the objects
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 0.01 * max(height, width)))
    corners = rng.uniform(0.55, 1.15, (2, 2)).astype(np.float32)
    return np.clip(canvas * cv2.resize(corners, (width, height))[..., None], 0, 1).astype(np.float32)


def _add_clutter(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Cables, cracks, twigs and patches that nobody annotates, drawn onto a ground."""
    height, width = canvas.shape[:2]
    size = max(height, width)
    for _ in range(rng.poisson(rng.choice([1, 6, 18]))):
        colour = _colour(rng).tolist()
        start = rng.random(2) * (width, height)
        if rng.random() < 0.5:
            steps = rng.normal(0, 0.02 * size, (12, 2)).cumsum(0) + np.linspace(0, 1, 12)[:, None] * rng.normal(
                0, 0.2 * size, 2
            )
            points = np.round(start + steps).astype(np.int32)
            cv2.polylines(canvas, [points], False, colour, max(1, round(rng.uniform(0.002, 0.009) * size)), cv2.LINE_AA)
        else:
            blob = start + _blob(rng, 0.3) * rng.uniform(0.01, 0.07) * size
            cv2.fillPoly(canvas, [np.round(blob).astype(np.int32)], colour, cv2.LINE_AA)


def _pebbles(canvas: np.ndarray, rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """A heap of small stones; nobody would outline them one by one."""
    height, width = canvas.shape[:2]
    size, centre = np.hypot(height, width), rng.uniform(0.2, 0.8, 2) * (width, height)
    mask = np.zeros((height, width), bool)
    for _ in range(12):
        where = centre + rng.normal(0, 0.06 * size, 2)
        mask |= _draw_object(canvas, "stone", where, size * rng.uniform(0.012, 0.025), rng, light)
    return mask


def _smooth(points: np.ndarray, rounds: int = 3) -> np.ndarray:
    """A closed polygon with its corners cut off again and again (Chaikin 1974): (N, 2) → (N · 2^rounds, 2)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([rx * np.cos(t), ry * np.sin(t)], 1) @ np.array([[c, s], [-s, c]]) + (x, y)


def _blob(rng: np.random.Generator, roughness: float) -> np.ndarray:
    """A closed curve around the origin, about 1 away from it."""
    corners = int(rng.integers(7, 13))
    t = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    return _smooth((1 + rng.uniform(-roughness, roughness, corners))[:, None] * np.stack([np.cos(t), np.sin(t)], 1))


def _limb(start, end, thick: float, thin: float) -> np.ndarray:
    """A tapering bar from one point to another."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    across = np.array([[0, -1], [1, 0]]) @ (end - start) / np.hypot(*(end - start))
    return _smooth(
        np.array([start + across * thick, end + across * thin, end - across * thin, start - across * thick]), 2
    )


# Outlines, about 1 in radius, x to the right and y down.


def _ball(rng) -> Outline:
    return [(_ellipse(0, 0, 1, rng.uniform(0.9, 1)), True)]


def _ring(rng) -> Outline:
    hole = rng.uniform(0.35, 0.72)
    return [(_blob(rng, 0.05), True), (_ellipse(*rng.normal(0, 0.04, 2), hole, hole), False)]


def _mug(rng) -> Outline:
    top, bottom, handle = rng.uniform(0.55, 0.75), rng.uniform(0.45, 0.7), rng.uniform(0.3, 0.45)
    side = rng.uniform(0.55, 0.7)
    ring = [(_ellipse(side, 0, handle, 0.5), True), (_ellipse(side, 0, handle * 0.6, 0.32), False)]
    body = np.array([[-top, -0.8], [top, -0.8], [bottom, 0.85], [-bottom, 0.85]])
    return [*ring, (_smooth(np.repeat(body, 2, axis=0), 3), True), (_ellipse(0, -0.75, top * 0.95, 0.14), True)]


def _bottle(rng) -> Outline:
    neck, belly = rng.uniform(0.1, 0.18), rng.uniform(0.3, 0.45)
    y = np.array([-1.2, -1.0, -0.75, -0.45, -0.2, 0.5, 1.1, 1.15])
    x = np.array(
        [
            neck * 1.2,
            neck,
            neck,
            belly * rng.uniform(0.5, 0.8),
            belly,
            belly * rng.uniform(0.85, 1.1),
            belly,
            belly * 0.8,
        ]
    )
    side = np.stack([x, y], 1)
    return [(_smooth(np.concatenate([side, side[::-1] * (-1, 1)]), 2), True)]


def _book(rng) -> Outline:
    tall = rng.uniform(0.9, 1.2)
    corners = np.array([[-0.75, -tall], [0.75, -tall], [0.75, tall], [-0.75, tall]]) * 0.85
    return [(corners + rng.uniform(-0.2, 0.2, (4, 2)), True)]


def _leaf(rng) -> Outline:
    t = np.linspace(0, np.pi, 30)
    bend, wide, teeth = rng.uniform(-0.25, 0.25), rng.uniform(0.3, 0.6), rng.choice([0, 0.06])
    x = np.cos(t)
    half = wide * np.sin(t) ** rng.uniform(0.8, 1.4) * (1 + teeth * np.sin(12 * t))
    middle = bend * np.sin(t) ** 2
    blade = np.concatenate([np.stack([x, middle + half], 1), np.stack([x, middle - half], 1)[::-1]])
    return [(blade, True), (_limb((-0.95, 0), (-1.5, rng.normal(0, 0.2)), 0.05, 0.03), True)]


def _animal(rng) -> Outline:
    long, deep, leg = rng.uniform(0.7, 0.95), rng.uniform(0.3, 0.45), rng.uniform(0.35, 0.8)
    head = np.array([long + rng.uniform(0.0, 0.25), -rng.uniform(0.2, 0.8)])
    size = rng.uniform(0.2, 0.32)
    outline = [(_ellipse(0, 0, long, deep), True), (_limb((long * 0.6, -0.1), head, deep * 0.6, size * 0.7), True)]
    outline += [(_ellipse(*head, size * 1.2, size, rng.normal(0, 0.4)), True)]
    for ear in rng.uniform(-0.9, 0.1, 2):
        tip = head + size * rng.uniform(1.4, 2.2) * np.array([np.sin(ear), -np.cos(ear)])
        outline.append((_limb(head, tip, size * 0.5, size * 0.12), True))
    for x in (-0.75, -0.5, 0.45, 0.7):
        foot = x * long + rng.normal(0, 0.1)
        outline.append((_limb((x * long, 0.1), (foot, deep + leg), 0.12, rng.uniform(0.05, 0.09)), True))
    tail = np.array([-long - rng.uniform(0.2, 0.6), rng.uniform(-0.7, 0.4)])
    return [*outline, (_limb((-long * 0.9, -0.1), tail, 0.08, 0.04), True)]


def _stone(rng) -> Outline:
    return [(_blob(rng, 0.25), True)]


OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "ball": _ball,
    "ring": _ring,
    "mug": _mug,
    "bottle": _bottle,
    "book": _book,
    "leaf": _leaf,
    "animal": _animal,
    "stone": _stone,
}
