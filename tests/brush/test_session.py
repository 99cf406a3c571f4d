"""Strokes as hints, and the masks that a network makes of them."""

from itertools import pairwise

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seglib.brush import session
from seglib.brush.session import Session, Stroke, rasterise, reduced

COORDINATE = st.floats(-10, 50, allow_nan=False)
STROKE = st.builds(
    lambda sign, width, points: Stroke(sign=sign, width=width, points=tuple(points)),
    st.sampled_from([1, -1]),
    st.floats(0.5, 20),
    st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=4),
)


def stroke(sign: int, *points, width: float = 10.0) -> Stroke:
    return Stroke(sign=sign, width=width, points=points)


def distance(x: float, y: float, points) -> float:
    """From a point to the nearest of a line, tried at many places along it."""
    segments = list(pairwise(points)) or [(points[0], points[0])]
    share = np.linspace(0, 1, 4001)
    return min(np.hypot(a[0] + share * (b[0] - a[0]) - x, a[1] + share * (b[1] - a[1]) - y).min() for a, b in segments)


@settings(max_examples=25, deadline=None)
@given(STROKE)
def test_a_stroke_is_what_is_near_its_line(one):
    hint, radius = rasterise([one], (17, 23)), max(session.LEAST_RADIUS, one.width / 2)
    for row, column in np.ndindex(hint.shape):
        away = distance(column + 0.5, row + 0.5, one.points)
        if abs(away - radius) > 0.02:  # nearer, the many places are too few to tell
            assert hint[row, column] == (one.sign if away < radius else 0)


def test_a_dot_is_a_disc_drawn_by_hand():
    assert rasterise([stroke(1, (2.5, 2.5), width=3)], (5, 6)).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_of_two_strokes_the_later_one_counts():
    across, down = stroke(1, (0, 4), (12, 4), width=2), stroke(-1, (6, 0), (6, 8), width=2)
    assert rasterise([across, down], (8, 12))[4, 6] == -1
    assert rasterise([down, across], (8, 12))[4, 6] == 1


@given(st.lists(STROKE, max_size=3), st.sampled_from([1, 2, 4]))
@settings(max_examples=25, deadline=None)
def test_strokes_lie_where_they_were_drawn_at_any_scale(strokes, factor):
    """A hint of a picture that was enlarged is that of strokes that were."""
    least = 2 * session.LEAST_RADIUS
    larger = [
        Stroke(sign=s.sign, width=max(least, s.width * factor), points=[(x * factor, y * factor) for x, y in s.points])
        for s in strokes
    ]
    wide = [s.model_copy(update={"width": max(least / factor, s.width)}) for s in strokes]
    size = (11 * factor, 13 * factor)
    assert np.array_equal(rasterise(wide, size, (factor, factor)), rasterise(larger, size))


def test_a_stroke_onto_a_hint_is_the_same_as_all_at_once():
    strokes = [stroke(1, (0, 4), (12, 4), width=2), stroke(-1, (6, 0), (6, 8), width=2), stroke(1, (3, 3))]
    hint = None
    for one in strokes:
        before, hint = hint, rasterise([one], (8, 12), onto=hint)
        assert before is None or (before != hint).any()  # it was left as it is
    assert np.array_equal(hint, rasterise(strokes, (8, 12)))


def test_a_stroke_however_thin_leaves_no_gap():
    hint = rasterise([stroke(1, (1.0, 2.0), (60.0, 37.0), width=0.01)], (40, 64))
    assert (hint[2:37].sum(1) > 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sign": 0},
        {"width": 0},
        {"width": float("inf")},
        {"points": []},
        {"points": [[float("nan"), 1]]},
        {"points": [[1]]},
        {"points": [[1, 1e9]]},
        {"colour": "red"},
    ],
)
def test_what_is_no_stroke_is_refused(wrong):
    with pytest.raises(ValidationError):
        Stroke(**({"sign": 1, "width": 3, "points": [[1, 2]]} | wrong))


# --- masks ---


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.coffee()[:300, 100:500])


@pytest.fixture(scope="module")
def strokes() -> list[Stroke]:
    return [
        stroke(1, (150, 100), (220, 120), (260, 90), width=24),
        stroke(-1, (20, 280), (120, 285), width=14),
        stroke(1, (180, 200), (230, 210), width=20),
        stroke(-1, (330, 60), (380, 200), width=9),
    ]


def test_the_mask_is_as_the_strokes_say_and_a_function_of_them_alone(coffee, strokes):
    straight, wandering = Session(coffee), Session(coffee)
    for count in (1, 3, 2, 4, 0, 2):  # undone, drawn again, cleared
        mask = wandering.mask(strokes[:count])
        hint = rasterise(strokes[:count], mask.shape)
        assert mask.shape == coffee.shape[:2]
        assert mask[hint > 0].all()
        assert not mask[hint < 0].any()
    assert np.array_equal(wandering.mask(strokes), straight.mask(strokes))
    assert not straight.mask([]).any()
    assert straight.mask(strokes[:1]).mean() < 0.9


def test_one_more_stroke_costs_one_look_and_undoing_none(coffee, strokes):
    looks = []

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image):
            looks.append(image.shape)
            return image[:, 1:2] * 8 - 4 + image[:, :1] * 8

    found = Session(coffee, Counting())
    for count, expected in ((1, 2), (2, 3), (3, 4), (2, 4), (1, 4), (0, 4), (1, 6)):
        found.probability(strokes[:count])
        assert len(looks) == expected
    assert set(looks) == {(1, 6, 256, 256)}


def test_only_so_many_masks_are_kept_and_the_result_is_the_same(coffee, strokes, monkeypatch):
    few, all_of_them = Session(coffee), Session(coffee)
    monkeypatch.setattr(session, "KEPT", 1)
    few.probability(strokes)
    assert sum(found is not None for *_, found in few._states) == 1
    again = few.probability(strokes[:2])
    monkeypatch.undo()
    assert np.array_equal(again, all_of_them.probability(strokes[:2]))


def test_a_large_photograph_is_worked_on_reduced_and_its_mask_is_whole(coffee):
    large = np.repeat(np.repeat(coffee, 4, 0), 4, 1)
    found = Session(large)
    assert found.picture.shape == (768, 1024, 3)
    drawn = [stroke(1, (600, 400), (880, 480), (1040, 360), width=96), stroke(-1, (1400, 100), (1404, 160), width=1)]
    mask = found.mask(drawn)
    assert mask.shape == (1200, 1600)
    hint = rasterise(drawn, mask.shape)
    assert mask[hint > 0].all()
    assert not mask[hint < 0].any()


def test_a_mean_of_whole_blocks_is_kept_by_reducing():
    """Of a picture without detail nothing is lost, and its mean stays."""
    grey = np.full((2000, 1500, 3), 77, np.uint8)
    assert np.array_equal(reduced(grey), np.full((1024, 768, 3), 77, np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (2048, 1024, 3), dtype=np.uint8)
    assert reduced(noise).mean() == pytest.approx(noise.mean(), abs=0.3)
    small = noise[:100, :90]
    assert reduced(small) is small


@pytest.mark.parametrize("image", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 3))])
def test_what_is_no_photograph_is_refused(image):
    with pytest.raises(ValueError, match=r"expected a photograph, uint8 \(H, W, 3\), got"):
        Session(image)
