"""Drawings are still those that recorded results were measured on: whoever changes one has to measure again.

Each picture is summed up by three numbers: its mean, and its means weighted by how far down and how far to the right a
pixel lies. They hold to half a thousandth, for releases of OpenCV round a drawing's edges in different ways.
"""

import numpy as np
import pytest

from seglib.data import face_drawing, scenes, shapes, strokes, terrain


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


def rows():
    drawn = terrain.generate(8, seed=3, aliens=2)
    return drawn.images, drawn.labels, drawn.clean


def objects_of_a_scene():
    _, objects = scenes.draw_scene(96, 128, np.random.default_rng(5))
    return [mask for _, mask, _ in objects]


DRAWINGS = {
    "shapes": lambda: shapes.make_pairs(24, 48, 0),
    "coarse masks": lambda: [of_strokes(strokes.coarse_mask)],
    "brush strokes": lambda: [of_strokes(strokes.brush_stroke)],
    "corrections": lambda: [of_strokes(corrected)],
    "scribbles": lambda: [of_strokes(strokes.scribble)],
    "long strokes": lambda: [of_strokes(lambda mask, rng, scale: strokes.long_strokes([mask], rng, scale))],
    "shortened strokes": lambda: [of_strokes(shortened)],
    "terrain": rows,
    "faces": lambda: [*zip(*(face_drawing.draw_face(np.random.default_rng(seed), 1 + seed % 2) for seed in range(6)))],
    "scenes": lambda: [[scenes.draw_scene(96, 128, np.random.default_rng(seed))[0] for seed in range(6)]],
    "objects of a scene": lambda: [objects_of_a_scene()],
}


def summary(drawing):
    """Mean, and means weighted by row and by column (from 0 to 1), of arrays (N, H, W) or (N, H, W, 3)."""
    sums = []
    for stack in drawing:
        stack = np.asarray(stack, float)
        stack = stack.mean(3) if stack.ndim == 4 else stack
        down, right = (np.linspace(0, 1, length) for length in stack.shape[1:])
        sums += [stack.mean(), (stack * down[:, None]).mean(), (stack * right).mean()]
    return sums


RECORDED = {
    "shapes": [85.0076, 42.72705, 43.16309, 0.1260489, 0.06382209, 0.07069112],
    "coarse masks": [0.223941, 0.1302398, 0.09450171],
    "brush strokes": [0.1155469, 0.06496557, 0.04577683],
    "corrections": [0.2100174, 0.1227503, 0.0871625],
    "scribbles": [-0.001605903, -0.002875088, 0.001714874],
    "long strokes": [-0.004592014, 0.002999387, -0.003019687],
    "shortened strokes": [-0.001380208, 0.0007859185, -0.001146871],
    "terrain": [52.18302, 25.19808, 25.98308, 1.269385, 0.7332704, 0.6124075, 1.32937, 0.7674551, 0.6400285],
    "faces": [110.4888, 58.30353, 54.83023, 0.2502925, 0.1680124, 0.1227387],
    "scenes": [116.5287, 60.35552, 59.02678],
    "objects of a scene": [0.04933268, 0.02454084, 0.02417748],
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_the_one_that_results_were_measured_on(name):
    assert summary(DRAWINGS[name]()) == pytest.approx(RECORDED[name], rel=5e-4)
