"""A network that plays along: what it sees after each stroke, what becomes of it, and the games that it learns from."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from by_hand import disc, rng, smooth_picture, store_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seglib import experiment
from seglib.data import coco, strokes
from seglib.metrics import iou
from seglib.reports.neural_segmentello.play import look, move, resampled, seen, square
from seglib.reports.neural_segmentello.refinement import PlayDataset, interact, refine
from seglib.reports.neural_segmentello.report import LARGE, Brush


def brush(longest=48, **changes):
    return Brush(longest=longest, scenes=2, scene_size=64, training=9, validation=1, **({"rounds": 3} | changes))


class Player(nn.Module):
    """A network whose logits are a formula of what it sees; remembers that."""

    def __init__(self, formula):
        super().__init__()
        self.formula, self.seen = formula, []
        self.placeholder = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        self.seen.append(batch)
        return self.formula(batch) + 0 * self.placeholder


def believer():
    """Believes strokes, else the mask so far."""
    return Player(lambda batch: 20 * batch[:, :1] + 12 * (batch[:, 1:2] - 0.5))


# --- where it looks ---


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    margin=st.floats(0, 3),
)
def test_the_square_holds_all_pixels_lies_inside_and_is_square_where_there_is_room(size, count, seed, margin):
    about = np.zeros(size, bool)
    about.flat[rng(seed).integers(about.size, size=count)] = True
    rows, columns = square(about, margin)
    assert about[rows, columns].sum() == about.sum()
    lengths = [part.stop - part.start for part in (rows, columns)]
    for part, length in zip((rows, columns), size):
        assert 0 <= part.start < part.stop <= length
    ys, xs = np.nonzero(about)
    longer = max(np.ptp(ys), np.ptp(xs)) + 1
    side = longer + 2 * (margin * (0.25 * longer + 0.05 * np.hypot(*size)))
    for found, length in zip(lengths, size):
        assert found == pytest.approx(min(side, length), abs=1.01)
    if max(lengths) < min(size):
        assert lengths[0] == lengths[1]


def test_the_square_by_hand():
    about = np.zeros((100, 200), bool)
    about[40:60, 100:110] = True  # 20 long; the diagonal is 223.6, so 5 + 11.18 = 16 more on each side
    assert square(about) == (slice(24, 76), slice(79, 131))
    about[:] = False
    about[0:20, 190:200] = True  # in a corner it is moved inwards
    assert square(about) == (slice(0, 52), slice(148, 200))
    about[:] = False
    about[10:90, 5] = True  # and is no higher than the photograph
    assert square(about) == (slice(0, 100), slice(0, 142))
    assert square(np.zeros((30, 40), bool)) == (slice(0, 30), slice(0, 40))


@settings(max_examples=60, deadline=None)
@given(
    old=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    new=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
)
def test_resampling_keeps_what_is_even_and_stays_within_the_values(old, new, seed):
    plane = torch.from_numpy(rng(seed).random((2, *old), np.float32))
    plane[1] = 0.3
    found = resampled(plane, new)
    assert found.shape == (2, *new)
    torch.testing.assert_close(found[1], torch.full(new, 0.3))
    assert plane[0].min() - 1e-6 <= found[0].min()
    assert found[0].max() <= plane[0].max() + 1e-6


def test_a_thin_stroke_is_not_lost_where_nearest_neighbours_would_lose_it():
    hint = torch.zeros(1, 90, 90)
    hint[0, :, 40] = 1  # a pixel wide, reduced to a third
    assert (resampled(hint, (30, 30)).sum(2) > 0.25).all()


# --- what it sees ---


def test_what_it_sees_by_hand():
    """A view of the network's own size is not resampled."""
    image, hint = smooth_picture(48, 48), np.zeros((48, 48), np.int8)
    hint[10:14, 5:40], hint[30:33, 20:25] = 1, -1
    mask = rng(1).random((48, 48), np.float32)
    mask[0, 0] = mask[-1, -1] = 1  # from corner to corner
    view, part = seen(image, hint, mask, 48)
    assert part == (slice(0, 48), slice(0, 48))
    assert (view.shape, view.dtype) == ((6, 48, 48), torch.float32)
    np.testing.assert_array_equal(view[0], hint)
    np.testing.assert_array_equal(view[1], mask)
    np.testing.assert_allclose(view[2:5], image.transpose(2, 0, 1) / 255, atol=1e-6)
    assert view[5][hint > 0].mean() > 0.6  # where the stroke is, colours are likely
    assert view[5][hint > 0].mean() > view[5][hint <= 0].mean()
    assert not seen(image, hint, None, 48)[0][1].any()


def test_without_strokes_the_mask_says_what_the_object_s_colours_are():
    truth = disc(60, 60, 30, 30, 20)
    image = np.where(truth[..., None], (200, 60, 50), (30, 90, 200)).astype(np.uint8)
    rough = disc(60, 60, 30, 30, 9).astype(np.float32)
    view, (rows, columns) = seen(image, np.zeros((60, 60), np.int8), rough, 60)
    likely = resampled(view[5:], (rows.stop - rows.start, columns.stop - columns.start))[0] > 0.5
    assert iou(likely.numpy(), truth[rows, columns]) > 0.95


def test_a_first_stroke_is_seen_with_more_around_it():
    image, hint = smooth_picture(200, 300), disc(200, 300, 100, 150, 8).astype(np.int8)
    _, (first, _) = seen(image, hint, None, 32)
    _, (later, _) = seen(image, hint, np.zeros((200, 300), np.float32), 32)
    assert first.stop - first.start > 1.5 * (later.stop - later.start)


# --- a move ---


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), logit=st.sampled_from([-30.0, 30.0]))
def test_strokes_are_honoured_whatever_the_network_says(seed, logit):
    image = smooth_picture(40, 60)
    hint = np.where(rng(seed).random((40, 60)) < 0.05, rng(seed + 1).choice([-1, 1], (40, 60)), 0).astype(np.int8)
    found = move([Player(lambda batch: 0 * batch[:, :1] + logit)], image, hint, None, brush())
    assert (found.shape, found.dtype) == ((40, 60), np.float32)
    assert (found[hint > 0] == 1).all()
    assert (found[hint < 0] == 0).all()


def test_it_looks_twice_at_a_first_stroke_and_then_once():
    image, hint = smooth_picture(80, 120), disc(80, 120, 40, 60, 10).astype(np.int8)
    player = believer()
    found = move([player], image, hint, None, brush())
    assert len(player.seen) == 2
    assert not player.seen[0][0, 1].any()
    assert player.seen[1][0, 1].any()  # its own first answer
    again = move([player], image, hint, found, brush())
    assert len(player.seen) == 3
    assert again.shape == (80, 120)
    once = look([believer()], image, hint, None, brush())
    assert iou(once >= 0.5, hint > 0) > 0.8


def test_an_ensemble_says_the_mean():
    image, hint = smooth_picture(40, 40), disc(40, 40, 20, 20, 5).astype(np.int8)
    yes, no = (Player(lambda batch, v=value: 0 * batch[:, :1] + v) for value in (40.0, -40.0))
    found = look([yes, no], image, hint, None, brush())
    inside = found[(found > 0) & (hint == 0)]
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)


def test_a_rough_mask_that_is_refined_is_the_mask_so_far_and_no_stroke():
    image, rough = smooth_picture(60, 80), disc(60, 80, 30, 40, 15).astype(np.int8)
    rough[0, :5] = -1
    player = believer()
    found = refine([player], image, rough, brush())
    ((batch,),) = [player.seen]
    assert batch[0, 0].max() <= 0
    assert batch[0, 1].max() == 1
    assert iou(found >= 0.5, rough > 0) > 0.9


# --- a user ---


def test_a_user_plays_with_it_and_each_mask_goes_into_the_next():
    truth, image = disc(60, 90, 28, 40, 19), smooth_picture(60, 90)
    player = believer()
    steps = list(interact([player], image, truth, brush(90), 5, rng(3), 0.3))
    assert len(player.seen) == 6
    for (_, before), batch in zip(steps, player.seen[2:]):
        share = before.mean() * before.size
        assert batch[0, 1].max() > 0.9
        assert share > 0
    wrong = [(mask != truth).sum() for _, mask in steps]
    assert all(after < before for before, after in pairwise(wrong))  # it believes, and forgets nothing


@pytest.mark.parametrize("rounds", [0, 3])
def test_from_a_rough_mask_the_first_step_is_before_any_stroke(rounds):
    truth, image = disc(60, 90, 28, 40, 19), smooth_picture(60, 90)
    rough = disc(60, 90, 28, 40, 12).astype(np.int8)
    obedient = Player(lambda batch: 20 * batch[:, :1] + (12 * (batch[:, 1:2] - 0.5) if rounds else -1))
    steps = list(interact([obedient], image, truth, brush(90, rounds=rounds), 3, rng(3), 0.3, rough=rough))
    assert len(steps) == 4
    assert iou(steps[0][1], rough > 0) > 0.9
    first, second = steps[0][0], steps[1][0]
    assert first.any() == (rounds == 0)  # to a network that plays along it is no stroke
    assert (second != first).any()


def test_another_hand_draws_with_its_own_brush():
    truth, image = disc(120, 160, 60, 80, 40), smooth_picture(120, 160)
    careful, hasty = (
        next(interact([believer()], image, truth, brush(160), 1, rng(3), 1.0, hand))[0]
        for hand in (strokes.CAREFUL, strokes.HASTY)
    )
    assert 0 < (hasty > 0).sum() < (careful > 0).sum()


# --- the games that it learns from ---

MASKS = {1: disc(96, 130, 50, 60, 30), 2: disc(140, 90, 60, 40, 33), 3: disc(75, 76, 60, 20, 28)}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    store_coco(folder, "val2017", {k: (smooth_picture(*m.shape, k), [("cup", m, False)]) for k, m in MASKS.items()})
    return coco.read_coco(*coco.find_coco(folder)[0])


def games(objects, player=None, seed=3, **changes):
    options = {"hints": ["coarse", "brush", "thin"], "fresh": True} | changes
    data = PlayDataset(objects, brush(**options), seed=seed, fresh=options["fresh"], scale=0.25)
    data.player = player
    return data


def test_items_are_as_documented(objects):
    data = games(objects, believer())
    data.set_epoch(7)
    assert data.sizes == []
    for i in range(len(objects)):
        view, mask = data[i]
        assert (view.shape, view.dtype) == ((6, 48, 48), torch.float32)
        assert (mask.shape, mask.dtype) == ((1, 48, 48), torch.float32)
        assert set(mask.unique().tolist()) <= {0, 1}
        assert mask.any()


def test_items_depend_on_seed_epoch_index_and_player_alone(objects):
    data, again, other = (games(objects, believer(), seed) for seed in (3, 3, 4))
    kept = []
    for epoch in range(6):
        for one in (data, again, other):
            one.set_epoch(epoch)
        items = [data[i] for i in range(3)]
        assert all(torch.equal(a, b) for i in (2, 0, 1) for a, b in zip(items[i], again[i]))
        assert not any(torch.equal(items[i][0], other[i][0]) for i in range(3))
        kept.append(items[0][0])
    assert not any(torch.equal(a, b) for a, b in pairwise(kept))


def test_games_become_longer_and_no_longer_than_they_may(objects):
    looks = {}
    for epoch in (0, 1, 9):
        counts = []
        for seed in range(40):
            player = believer()
            data = games(objects[:1], player, seed)
            data.set_epoch(epoch)
            data[0]
            counts.append(len(player.seen))
        looks[epoch] = counts
    assert set(looks[0]) == {0}
    assert set(looks[1]) == {0, 1}
    assert set(looks[9]) == {0, 1, 2, 3}
    assert 10 <= looks[9].count(0) <= 32  # a third, and a quarter of the others


def test_what_is_learned_from_has_the_player_s_own_mask_and_a_user_s_correction(objects):
    """A player who takes all for the object is told where there is background."""
    greedy, found = Player(lambda batch: 0 * batch[:, :1] + 9.0), []
    for seed in range(30):
        data = games(objects[:1], greedy, seed, hints=["brush"])
        data.set_epoch(9)
        view, _ = data[0]
        if view[1].any():
            found.append((view[0].min().item(), view[1].max().item()))
    assert len(found) > 8
    assert all(most > 0.99 for _, most in found)
    assert sum(least < -0.5 for least, _ in found) > 0.5 * len(found)


def test_to_be_measured_it_looks_once_at_a_first_stroke_of_a_careful_hand(objects):
    player = believer()
    data = games(objects, player, hints=["coarse"], fresh=False)
    for epoch in (0, 5):
        data.set_epoch(epoch)
        view, _ = data[0]
        assert view[0].max() > 0.9
        assert not view[1].any()
    assert not player.seen
    _, hint, truth = data.at_own_size(0)
    assert iou(hint > 0, truth) > 0.5  # the report's rough mask


def test_a_row_that_plays_along_is_trained_and_measured(tmp_path):
    """By its own command, with the network that is being trained as the player."""
    dot, photographs = disc(200, 260, 12, 12, 10), {}
    for k in range(1, 9):
        cup = disc(200, 260, 100, 120 + k, 80)
        photographs[k] = (smooth_picture(200, 260, k), [("cup", cup, False), ("dot", dot, False)])
    store_coco(tmp_path, "val2017", photographs)
    changes = {
        "data.training": 6, "data.validation": 2, "data.longest": 32, "data.extra": [], "training.epochs": 2,
        "training.precision": "float32", "model.widths": [8, 8],
    }  # fmt: skip
    outcome = experiment.run("neural_segmentello", "playing", data=tmp_path, overrides=changes, out=tmp_path / "out")
    assert outcome.data[0].train.player is outcome.model
    assert len(outcome.data[0].train) == 6  # the dots are less than a hundredth of the photograph
    assert dot.mean() < LARGE
    found = outcome.result["metrics"]
    assert {"iou", "iou_after_1", "iou_after_8", "strokes_to_90"} <= found.keys()
    assert 0 < found["iou"] <= 1
