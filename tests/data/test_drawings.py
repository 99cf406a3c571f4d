"""Drawings are still those that recorded results were measured on: whoever changes one has to measure again.

Each picture is summed up by four numbers: its mean, its standard deviation, and its means weighted by how far down and
how far to the right a pixel lies. They hold to two thousandths, for releases of OpenCV round a drawing's edges in
different ways. `python tests/data/test_drawings.py` writes those of today into tests/data/drawings.json.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from seglib.data import scenes, strokes
from seglib.reports.denoising import shapes
from seglib.reports.face_masks import face_drawing
from seglib.reports.mars_terrain import terrain


def object_with_a_hole():
    y, x = np.mgrid[:120, :160]
    body = ((y - 70) / 34) ** 2 + ((x - 60) / 42) ** 2 < 1
    arm = (abs(y - 40 - 0.2 * x) < 7) & (x > 60) & (x < 140)
    return (body | arm) & (np.hypot(y - 72, x - 52) > 9)


def of_strokes(draw, draws=6, scale=0.4):
    return [draw(object_with_a_hole(), np.random.default_rng(seed), scale) for seed in range(draws)]


def corrected(mask, rng, scale):
    return strokes.random_corrections(strokes.coarse_mask(mask, rng, scale), mask, 3, rng, scale)


def shortened(mask, rng, scale):
    return strokes.shortened(strokes.long_strokes([mask], rng, scale), 0.3, rng)


def terrain_rows():
    drawn = terrain.generate(8, seed=3, aliens=2)
    return [*drawn.images, *drawn.labels, *drawn.clean]


def surface(kind, seed):
    """A tile of ground by itself, before it is seen from a rover."""
    return terrain.SURFACES[kind](np.random.default_rng(seed), np.array([0.6, 0.8]))


def on_grey(draw, *arguments, seed):
    """One person, or a person's mask, that has room around it: the picture, and where things are."""
    rng = np.random.default_rng(seed)
    head = face_drawing.Head(128, 110, 70, 85, yaw=rng.uniform(-60, 60), pitch=rng.uniform(-8, 8))
    light = face_drawing.Light(np.array([0.6, -0.48, 0.64]), 0.5)
    return draw(np.full((256, 256, 3), 0.5, np.float32), head, light, rng, *arguments)


def scene(seed):
    picture, objects = scenes.draw_scene(96, 128, np.random.default_rng(seed))
    return [picture, *(mask for _, mask, _ in objects)]


def seeds(draw, count):
    """`draw`, which gives a list of pictures, for the first seeds."""
    return [picture for seed in range(count) for picture in draw(seed)]


DRAWINGS = {
    "shapes": lambda: [picture for stack in shapes.make_pairs(12, 48, 0) for picture in stack],
    "coarse masks": lambda: of_strokes(strokes.coarse_mask),
    "brush strokes": lambda: of_strokes(strokes.brush_stroke),
    "corrections": lambda: of_strokes(corrected),
    "scribbles": lambda: of_strokes(strokes.scribble),
    "long strokes": lambda: of_strokes(lambda mask, rng, scale: strokes.long_strokes([mask], rng, scale)),
    "shortened strokes": lambda: of_strokes(shortened),
    "terrain rows": terrain_rows,
    "terrain photographs": lambda: seeds(lambda seed: terrain.draw_photograph(np.random.default_rng(seed)), 12),
    "ground": lambda: [surface(kind, seed) for kind in terrain.SURFACES for seed in range(3)],
    "outliers": lambda: [terrain.alien_mask(), *seeds(lambda s: [terrain.draw_alien(np.random.default_rng(s))], 8)],
    "faces": lambda: seeds(lambda seed: face_drawing.draw_face(np.random.default_rng(seed), 1 + seed % 2), 8),
    "people": lambda: seeds(lambda seed: on_grey(face_drawing.draw_person, seed=seed), 12),
    "face masks": lambda: [
        picture
        for style in face_drawing.MASK_STYLES
        for picture in seeds(lambda seed, style=style: on_grey(face_drawing.draw_mask, style, seed=seed), 5)
    ],
    "scenes": lambda: seeds(scene, 8),
}


def summary(pictures):
    """Four numbers of each picture (H, W) or (H, W, 3)."""
    sums = []
    for picture in pictures:
        picture = np.asarray(picture, float)
        picture = picture.mean(2) if picture.ndim == 3 else picture
        down, right = (np.linspace(0, 1, length) for length in picture.shape)
        numbers = picture.mean(), picture.std(), (picture * down[:, None]).mean(), (picture * right).mean()
        sums.append([float(f"{number:.6g}") for number in numbers])
    return sums


RECORD = Path(__file__).with_name("drawings.json")


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_the_one_that_results_were_measured_on(name):
    found, recorded = summary(DRAWINGS[name]()), json.loads(RECORD.read_text())[name]
    assert len(found) == len(recorded)
    np.testing.assert_allclose(found, recorded, rtol=2e-3, atol=1e-9)


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(summary(draw()))}" for name, draw in DRAWINGS.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
