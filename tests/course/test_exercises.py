"""Self-checks of the exercises tell typical wrong answers what is wrong. Solutions and stubs: test_notebooks.py."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.graph import MCP, MCP_Geometric

from seglib.course.exercises import CHECKS, check

CROSS = ndimage.generate_binary_structure(2, 1)
SQUARE = np.ones((3, 3))


def soft_iou(p, target, union=lambda p, t, overlap: p + t - overlap, axes=(1, 2, 3)):
    overlap = (p * target).sum(axes)
    return (1 - overlap / union(p.sum(axes), target.sum(axes), overlap)).mean()


def gated(x, g, w_x, w_g, psi, inside=torch.relu):
    inner = inside(torch.einsum("kc,nchw->nkhw", w_x, x) + torch.einsum("kc,nchw->nkhw", w_g, g))
    return torch.sigmoid(torch.einsum("k,nkhw->nhw", psi, inner))[:, None]


def eroded(mask, width, neighbours=SQUARE, outside=0):
    return ndimage.binary_erosion(mask, neighbours, iterations=width, border_value=outside)


def largest(prediction, truth, neighbours=CROSS, missed=1):
    found = []
    for sign, wrong in ((missed, truth & ~prediction), (-missed, prediction & ~truth)):
        labels, count = ndimage.label(wrong, neighbours)
        found += [((labels == k).sum(), sign, labels == k) for k in range(1, count + 1)]
    _, sign, region = max(found, key=lambda entry: entry[0])
    return region, sign


def signed(mask, on_the_border=1, distance=ndimage.distance_transform_edt):
    return np.where(mask, on_the_border - distance(mask), distance(~mask))


def recoded(picture, allowed=(0, 1, 255), message="got {}"):
    for number in set(np.unique(picture).tolist()) - set(allowed):
        raise ValueError(message.format(number))
    return np.select([picture == 0, picture == 1], [-1, 1], 0)


def recoded_in_place(picture):
    answer = recoded(picture)
    picture[:] = 0
    return answer


def paths(costs, seeds, kind=MCP_Geometric, diagonal=False):
    return kind(costs, fully_connected=diagonal).find_costs(np.argwhere(seeds))[0]


def mean_of_ious(confusion, classes=slice(1, None)):
    with np.errstate(invalid="ignore"):
        right = np.diag(confusion)
        return np.mean((right / (confusion.sum(0) + confusion.sum(1) - right))[classes])


def without_unlabelled(confusion):
    return np.vstack([0 * confusion[:1], confusion[1:]])


def drawn(ids, names, share, seed):
    return np.isin(ids, np.random.default_rng(seed).permutation(names)[: round(share * len(names))])


def drawn_rows(ids, share, seed):
    return np.random.default_rng(seed).random(len(ids)) < share


def grown(labels, smooth, shifted=lambda padded: padded, choose=lambda votes: votes.argmax(0) + 1):
    padded = np.pad(labels, 1)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    votes = np.stack([(shifted(around) == number).sum(0) for number in range(1, labels.max() + 1)])
    return np.where((labels == 0) & smooth & (votes.max(0) > 0), choose(votes), labels)


def grown_round(labels, smooth):
    around = [np.roll(labels, step, axis) for axis in (0, 1) for step in (-1, 1)]
    return grown(labels, smooth, shifted=lambda _: np.stack(around))


WRONG = [  # the exercise, a wrong answer, and of the explanation the words that matter
    ("soft_iou_loss", lambda logits, t: soft_iou(logits, t), "perfect prediction should have a loss of 0"),
    ("soft_iou_loss", lambda logits, t: soft_iou(logits.sigmoid(), t, lambda p, t, _: (p + t) / 2), "the loss is 2/3"),
    ("soft_iou_loss", lambda logits, t: soft_iou(logits.sigmoid(), t, axes=(0, 1, 2, 3)), "average over the images"),
    ("soft_iou_loss", lambda logits, t: 1 - soft_iou(logits.sigmoid(), t), "perfect prediction should have a loss"),
    ("best_threshold", lambda probabilities, truths: 0.5, "Average the IoU over images, not over pixels"),
    ("best_threshold", lambda probabilities, truths: 50, "a probability between 0 and 1, yours is 50"),
    ("receptive_field", lambda levels: 1 + 4 * levels, "a step is as long as the poolings before it made it"),
    ("guess_polarity", lambda mask: mask, "lower half and the middle third"),
    ("guess_polarity", lambda mask: mask if mask.mean() < 0.5 else ~mask, "lower half and the middle third"),
    ("guess_polarity", lambda mask: mask.astype(int), "Return a boolean mask"),
    ("guess_polarity", lambda mask: ndimage.binary_opening(mask, SQUARE) ^ np.eye(*mask.shape, dtype=bool), "or its"),
    ("confidence_interval", lambda v: 1.96 * np.std(v, ddof=1) / len(v) ** 0.5, "Student's distribution"),
    ("confidence_interval", lambda v: 4.3027 * np.std(v) / len(v) ** 0.5, "divided by n − 1"),
    ("gate", lambda *given: gated(*given), "The output has the skip's shape (2, 4, 5, 7), yours (2, 1, 5, 7)"),
    ("gate", lambda x, *rest: x * gated(x, *rest, inside=torch.sigmoid), "apply a ReLU, weigh the three numbers"),
    ("contour", lambda mask, width: ndimage.binary_dilation(mask, SQUARE, width) ^ mask, "lies inside the mask"),
    ("contour", lambda mask, width: mask & ~eroded(mask, 1), "2 wide, has 36 pixels, yours 22"),
    ("contour", lambda mask, width: mask & ~eroded(mask, width, CROSS), "yours 21. An erosion looks at all eight"),
    ("contour", lambda mask, width: mask & ~eroded(mask, width, outside=1), "outside is background"),
    ("contour", lambda mask, width: (mask & ~eroded(mask, width))[1:-1], "Expected the mask's shape (9, 12)"),
    ("largest_error", lambda *given: largest(*given, missed=-1), "1 is a missed object"),
    ("largest_error", lambda *given: largest(*given, neighbours=SQUARE), "four neighbours, not eight"),
    ("largest_error", lambda p, t: (p ^ t, largest(p, t)[1]), "only the larger connected piece counts"),
    ("distance_map", lambda mask: signed(mask, 0), "On the object's own border it is 0"),
    ("distance_map", lambda mask: signed(mask, 1, lambda m: ndimage.distance_transform_cdt(m)), "straight distance"),
    ("distance_map", lambda mask: signed(mask), "Without an object φ is 0 everywhere"),
    ("encode", lambda picture: np.select([picture == 0, picture == 1], [255, 1], 0).astype(np.uint8), "wraps around"),
    ("encode", lambda picture: picture.astype(int) - 1, "yours became [-1, 0, 254]"),
    ("encode", lambda picture: recoded(picture, allowed=range(256)), "A 2 in the file is a mistake"),
    ("encode", lambda picture: recoded(picture, message="a wrong file"), "for a 2 should name it, yours says: a wrong"),
    ("encode", recoded_in_place, "changes the picture that it is given"),
    ("optimism", lambda scores: scores.mean(1).max() - scores.mean(), "0.6 − (0.4 + 0.1 + 0.5) / 3 = 0.2667"),
    ("cheapest_paths", lambda *given: paths(*given, kind=MCP), "At the seed the cost is 0, yours is 1.00"),
    ("cheapest_paths", lambda *given: paths(*given, diagonal=True), "Are there diagonal steps?"),
    ("cheapest_paths", lambda *given: paths(*given), "A path pays for each pixel that it enters"),
    ("cheapest_paths", lambda costs, seeds: ndimage.distance_transform_cdt(~seeds, "taxicab"), "Around the wall"),
    ("mean_iou_of", mean_of_ious, "pixels that nobody labelled as false positives"),
    ("mean_iou_of", lambda m: mean_of_ious(without_unlabelled(m), slice(None)), "class 0 is not in the mean"),
    ("mean_iou_of", lambda m: mean_of_ious(m[1:, 1:], slice(None)), "taken for background are missed"),
    ("mean_iou_of", lambda m: mean_of_ious(without_unlabelled(m)), "left out of the mean, yours gives nan"),
    ("hold_out", drawn_rows, "photographs are on both sides"),
    ("hold_out", lambda ids, share, seed: drawn(ids, np.unique(ids), 2 * share, seed), "yours has 0.5"),
    ("hold_out", lambda ids, share, seed: drawn(ids, np.unique(ids), share, 0), "Another seed should give other rows"),
    ("hold_out", lambda ids, share, seed: drawn(ids, np.unique(ids), share, None), "The same seed"),
    ("hold_out", lambda ids, share, seed: drawn(ids, list(dict.fromkeys(ids)), share, seed), "sort the ids first"),
    ("grow", lambda *given: grown(*given, choose=lambda v: len(v) - v[::-1].argmax(0)), "the lower number wins"),
    ("grow", lambda labels, smooth: grown(grown(labels, smooth), smooth), "twice a step"),
    ("grow", lambda labels, smooth: grown(labels, True), "Where the picture is not smooth, nothing grows"),
    ("grow", grown_round, "On a random picture yours differs"),
]


@pytest.mark.parametrize(("name", "wrong", "words"), WRONG, ids=[f"{name}: {words}" for name, _, words in WRONG])
def test_a_wrong_answer_is_told_what_is_wrong(name, wrong, words, capsys):
    def answer(*arguments):
        return wrong(*arguments)

    answer.__name__ = name
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not right yet. ")
    assert words in said


def test_every_check_has_been_given_a_wrong_answer():
    assert {name for name, *_ in WRONG} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_forgotten_return_is_named(name, capsys):
    def answer(*arguments):
        sum(map(len, arguments[:0]))

    answer.__name__ = name
    assert not check(answer)
    assert capsys.readouterr().out.startswith(f"{name}: not right yet. It returns None")
