"""Self-checks of the notebooks' exercises: `check(function)` says what is right or wrong about a solution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..models.unet import UNet


def check(solution: Callable) -> bool:
    """Runs the check that belongs to a function's name, and prints what it found. True where the solution is right.

    Raises:
        KeyError: there is no exercise of that name.
    """
    name = solution.__name__
    if name not in CHECKS:
        raise KeyError(f"no exercise {name!r}; there are {', '.join(CHECKS)}")

    def answering(*arguments):
        answer = solution(*arguments)
        assert answer is not None, "It returns None, as a function does that ends without `return` and what it found."
        return answer

    try:
        CHECKS[name](answering)
    except NotImplementedError:
        print(f"{name}: not solved yet. Replace the line that raises, and run the cell again.")
    except AssertionError as error:
        print(f"{name}: not right yet. {error}")
    except Exception as error:  # whatever a learner's code may raise
        print(f"{name}: it stopped with {type(error).__name__}: {error}")
    else:
        print(f"{name}: correct.")
        return True
    return False


def soft_iou_loss(solution: Callable) -> None:
    """1 − Σpt / (Σp + Σt − Σpt) an image, averaged over the batch."""
    sure = torch.tensor([[[[20.0, -20.0], [20.0, -20.0]]]])
    target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    perfect = float(solution(sure, target))
    assert abs(perfect) < 1e-4, f"A perfect prediction should have a loss of 0, yours gives {perfect:.4f}."
    wrong = float(solution(-sure, target))
    assert abs(wrong - 1) < 1e-4, (
        f"A prediction that is wrong everywhere should have a loss of 1, yours gives {wrong:.4f}."
    )
    half = float(solution(torch.zeros_like(sure), target))
    # p = 1/2 on four pixels, two of them foreground: 1 − 1 / (2 + 2 − 1).
    assert abs(half - 2 / 3) < 1e-4, (
        f"With p = ½ everywhere and half of the pixels foreground the loss is 2/3, yours gives {half:.4f}. "
        "Did you apply the sigmoid, and subtract the overlap from the union?"
    )
    pair = float(solution(torch.cat([sure, -sure]), torch.cat([target, target])))
    assert abs(pair - 0.5) < 1e-4, (
        f"One perfect and one wholly wrong image should average to 0.5, yours gives {pair:.4f}. "
        "Sum over the pixels of each image, then average over the images."
    )


def best_threshold(solution: Callable) -> None:
    """The probability cut with the highest mean IoU over a set."""
    rng = np.random.default_rng(7)
    truths = rng.random((6, 12, 9)) < 0.3
    for shift in (-0.25, 0.0, 0.2):
        probabilities = np.clip(0.25 * truths + 0.3 + shift + 0.15 * rng.standard_normal(truths.shape), 0, 1)

        def mean_iou(cut, probabilities=probabilities):
            masks = probabilities >= cut
            return np.mean((masks & truths).sum((1, 2)) / (masks | truths).sum((1, 2)))

        grid = np.arange(0.05, 1.0, 0.05)
        best = max(map(mean_iou, grid))
        answer = float(solution(probabilities, truths))
        assert 0 < answer < 1, f"A threshold is a probability between 0 and 1, yours is {answer}."
        reached = mean_iou(answer)
        assert reached >= best - 1e-9, (
            f"Your threshold {answer:.2f} gives a mean IoU of {reached:.4f}; the best of 0.05 … 0.95 gives {best:.4f}. "
            "Average the IoU over images, not over pixels; a pixel whose probability equals the cut is foreground."
        )


def receptive_field(solution: Callable) -> None:
    """Side in pixels of the square of input pixels that one bottleneck unit of the U-Net sees."""
    for levels in (1, 2, 3, 4):
        answer, expected = solution(levels), measured_receptive_field(levels)
        assert answer == expected, (
            f"With {levels} levels a bottleneck unit sees {expected} × {expected} pixels, yours says {answer}. "
            "A 3×3 convolution adds two steps, a 2×2 pooling one; a step is as long as the poolings before it made it."
        )


def measured_receptive_field(levels: int) -> int:
    """The same by experiment: how many columns of an image, brightened one at a time, change a bottleneck unit."""
    network = UNet(1, 1, [2] * levels).double().eval()
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)  # all weights positive, so that no path cancels another
    width, height = 16 * 2**levels, 2**levels
    columns = torch.arange(width)
    images = torch.ones(width + 1, 1, height, width, dtype=torch.float64)  # the last one stays as it is
    images[columns, 0, :, columns] += 1
    with torch.no_grad():
        features = images
        for level, stage in enumerate(network.encoder):
            features = stage(features if level == 0 else network.pool(features))
    unit = features[:, 0, 0, features.shape[-1] // 2]
    return int((unit[:-1] != unit[-1]).sum())


def guess_polarity(solution: Callable) -> None:
    """A threshold's mask or its complement, whichever fills more of the frame's lower middle."""
    height, width = 40, 30
    low = np.zeros((height, width), bool)
    low[22:38, 6:24] = True
    ring = np.ones((height, width), bool)
    ring[20:, 10:20] = False
    close = np.ones((height, width), bool)  # a mask may fill most of the frame
    close[:8] = False
    for mask in (low, ring, close):
        for given in (mask, ~mask):
            answer = np.asarray(solution(given))
            assert (answer.shape, answer.dtype) == (given.shape, bool), (
                f"Return a boolean mask of shape {given.shape}, yours is {answer.dtype} of shape {answer.shape}."
            )
            assert (answer == given).all() or (answer == ~given).all(), (
                "Return either the mask as it was given or its complement, pixel for pixel."
            )
            middle = answer[height // 2 :, width // 3 : width - width // 3]
            assert middle.mean() > 0.5, (
                "In the frame's lower middle, where a mask is to be expected, most of your answer is background. "
                "Look at the lower half and the middle third, and turn the mask round where less than half is set."
            )


def confidence_interval(solution: Callable) -> None:
    """Half of the 95 % t-interval of a mean."""
    # The 97.5 % quantiles of Student's t with 2 and 4 degrees of freedom are 4.3027 and 2.7764 (any table).
    for values, quantile in (([0.78, 0.80, 0.82], 4.3027), ([0.7, 0.8, 0.9, 0.8, 0.8], 2.7764)):
        expected = quantile * np.std(values, ddof=1) / np.sqrt(len(values))
        answer = float(solution(values))
        assert abs(answer - expected) < 1e-3, (
            f"For {values} half of the interval is {expected:.4f}, yours is {answer:.4f}. It is t · s / √n, with s the "
            "sample standard deviation (divided by n − 1) and t the 97.5 % quantile of Student's distribution with "
            "n − 1 degrees of freedom."
        )


def gate(solution: Callable) -> None:
    """α·x with α = σ(ψ·ReLU(W_x x + W_g g)), 1×1 convolutions given as matrices."""
    generator = torch.Generator().manual_seed(5)
    x, g = torch.randn(2, 2, 4, 5, 7, generator=generator)
    w_x, w_g = torch.randn(2, 3, 4, generator=generator)
    psi = torch.randn(3, generator=generator)
    answer = solution(x, g, w_x, w_g, psi)
    assert answer.shape == x.shape, f"The output has the skip's shape {tuple(x.shape)}, yours {tuple(answer.shape)}."
    expected = torch.empty_like(x)
    for n in range(2):
        for i in range(5):
            for j in range(7):
                inner = (w_x @ x[n, :, i, j] + w_g @ g[n, :, i, j]).clamp(min=0)
                expected[n, :, i, j] = x[n, :, i, j] * torch.sigmoid(psi @ inner)
    assert torch.allclose(answer, expected, atol=1e-5), (
        "The values differ. At each pixel: add W_x x and W_g g (each maps 4 channels to 3), apply a ReLU, weigh the "
        "three numbers with ψ, apply a sigmoid, and multiply all channels of x by the result."
    )


def contour(solution: Callable) -> None:
    """What `width` erosions with 3×3 ones take from a mask."""
    mask = np.zeros((9, 12), bool)
    mask[2:8, 3:10] = True
    for width, expected in ((1, 22), (2, 36), (3, 42)):
        found = np.asarray(solution(mask.copy(), width))
        assert found.shape == mask.shape, f"Expected the mask's shape {mask.shape}, yours has {found.shape}."
        assert not (found & ~mask).any(), "An inner contour lies inside the mask; yours leaves it."
        count = int(found.sum())
        assert count == expected, (
            f"The contour of a 6×7 rectangle, {width} wide, has {expected} pixels, yours {count}. "
            "It is what that many erosions take away."
        )
    corner = mask.copy()
    corner[2:4, 7:10] = False
    count = int(np.asarray(solution(corner.copy(), 1)).sum())
    assert count == 22, (
        f"The contour of an L, a 6×7 rectangle without a corner, has 22 pixels, yours {count}. "
        "An erosion looks at all eight neighbours, also at those across the inner corner: is yours a cross?"
    )
    edge = np.ones((6, 8), bool)
    count = int(np.asarray(solution(edge.copy(), 1)).sum())
    assert count == 24, (
        f"A mask that fills a 6×8 image has a contour of 24 pixels at the image's edge, yours {count}: outside is "
        "background. Pad the mask first, or say so to the erosion (border_value, borderValue)."
    )


def largest_error(solution: Callable) -> None:
    """The largest connected error and its sign."""
    truth = np.zeros((10, 14), bool)
    truth[2:8, 2:8] = True
    missed, false = truth.copy(), truth.copy()
    missed[2:5, 2:5] = False
    false[0:2, 9:13] = True
    for prediction, sign, pixels in ((missed, 1, 9), (false, -1, 8), (missed | false, -1, 8)):
        region, found = solution(prediction.copy(), truth.copy())
        assert found == sign, f"Here the largest error has the sign {sign}, yours says {found}: 1 is a missed object."
        count = int(np.asarray(region).sum())
        assert count == pixels, f"Here the largest error has {pixels} pixels, yours {count}."
    both = missed.copy()
    both[0:2, 9:13] = True
    region, found = solution(both, truth)
    assert found == 1, "Nine missed pixels are more than eight false ones, but yours chose the latter."
    assert int(np.asarray(region).sum()) == 9, (
        "Errors of both kinds at once: only the larger connected piece counts, not all errors of its kind."
    )
    diagonal = truth.copy()
    diagonal[2, 2] = diagonal[3, 3] = False
    assert int(np.asarray(solution(diagonal, truth)[0]).sum()) == 1, (
        "Two pixels that touch at a corner only are two errors: four neighbours, not eight."
    )


def distance_map(solution: Callable) -> None:
    """Kervadec's φ of one mask."""
    mask = np.zeros((5, 9), bool)
    mask[2, 2:7] = True
    found = np.asarray(solution(mask.copy()), float)
    assert found.shape == mask.shape, f"Expected a map of the mask's shape {mask.shape}, yours has {found.shape}."
    assert abs(found[0, 4] - 2) < 1e-9, f"Two rows above the object φ is 2, yours {found[0, 4]:.3f}."
    assert abs(found[0, 0] - 8**0.5) < 1e-9, (
        f"Two rows and two columns away φ is √8, the straight distance; yours {found[0, 0]:.3f}."
    )
    thick = np.zeros((9, 11), bool)
    thick[1:8, 2:9] = True
    found = np.asarray(solution(thick.copy()), float)
    assert abs(found[4, 5] + 3) < 1e-9, (
        f"In the middle of a 7×7 square the background is 4 away, so φ is −3; yours {found[4, 5]:.3f}. "
        "On the object's own border it is 0."
    )
    assert not np.asarray(solution(np.zeros((4, 6), bool)), float).any(), "Without an object φ is 0 everywhere."


def encode(solution: Callable) -> None:
    """0, 1 and 255 of a scribble's file as −1, 1 and 0."""
    picture = np.array([[0, 1, 255], [255, 1, 0]], np.uint8)
    wanted = np.array([[-1, 1, 0], [0, 1, -1]])
    answer = np.asarray(solution(picture))
    assert answer.shape == wanted.shape, f"Expected shape {wanted.shape}, yours is {answer.shape}."
    assert not np.issubdtype(answer.dtype, np.unsignedinteger), (
        f"Your numbers are {answer.dtype}, which has no −1: it wraps around."
    )
    assert (answer == wanted).all(), f"0, 1 and 255 should become −1, 1 and 0, yours became {answer[0].tolist()}."
    assert (picture == [[0, 1, 255], [255, 1, 0]]).all(), "Your function changes the picture that it is given."
    for number in (2, 254, 128):
        said = None
        try:
            solution(np.array([[0, 1], [255, number]], np.uint8))
        except ValueError as error:
            said = str(error)
        assert said is not None, f"A {number} in the file is a mistake, and yours lets it pass."
        assert str(number) in said, f"The error for a {number} should name it, yours says: {said}"


def optimism(solution: Callable) -> None:
    """How much better the best looks where it was chosen, leaving out one photograph at a time."""
    by_hand = np.array([[0.9, 0.1, 0.5], [0.4, 0.6, 0.8]])
    # Without the first the second is best, and scores 0.4 there; without the second the first, 0.1; without the third
    # both have 0.5, and the first of them 0.5. The best by all is the second: 0.6.
    answer = float(solution(by_hand))
    assert abs(answer - (0.6 - np.mean([0.4, 0.1, 0.5]))) < 1e-9, (
        f"For [[0.9, 0.1, 0.5], [0.4, 0.6, 0.8]] it is 0.6 − (0.4 + 0.1 + 0.5) / 3 = 0.2667, yours is {answer:.4f}. "
        "Of two that are equally good, take the first."
    )
    scores = np.random.default_rng(3).normal(0.8, 0.1, (12, 30))
    means = scores.mean(1)
    outside = [scores[np.delete(scores, k, 1).mean(1).argmax(), k] for k in range(30)]
    answer = float(solution(scores))
    assert abs(answer - (means.max() - np.mean(outside))) < 1e-9, (
        f"For 12 configurations on 30 photographs it is {means.max() - np.mean(outside):.4f}, yours is {answer:.4f}."
    )
    one = float(solution(scores[:1]))
    assert abs(one) < 1e-9, f"With nothing to choose from there is no optimism, yours is {one:.4f}."


def cheapest_paths(solution: Callable) -> None:
    """Dijkstra's distances on a grid where entering a pixel costs something."""
    flat = np.ones((4, 6))
    seeds = np.zeros((4, 6), bool)
    seeds[1, 2] = True
    y, x = np.indices(flat.shape)
    answer = np.asarray(solution(flat, seeds), float)
    assert answer.shape == flat.shape, f"Expected shape {flat.shape}, yours is {answer.shape}."
    assert answer[1, 2] == 0, f"At the seed the cost is 0, yours is {answer[1, 2]:.2f}."
    assert np.allclose(answer, abs(y - 1) + abs(x - 2)), (
        "Where each pixel costs 1, four neighbours give |Δy| + |Δx|; yours differ. Are there diagonal steps?"
    )
    wall = np.ones((5, 7))
    wall[:4, 3] = 50
    seeds = np.zeros((5, 7), bool)
    seeds[0, 0] = True
    answer = np.asarray(solution(wall, seeds), float)
    assert answer[0, 6] == 14, (
        f"Around the wall, through the gap at its foot, it is 14 to the other corner; yours is {answer[0, 6]:.2f}."
    )
    rng = np.random.default_rng(5)
    costs, seeds = rng.uniform(0.1, 3, (9, 13)), rng.random((9, 13)) < 0.03
    seeds[4, 4] = True
    wanted = np.where(seeds, 0.0, np.inf)
    for _ in range(costs.size):
        padded = np.pad(wanted, 1, constant_values=np.inf)
        around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        wanted = np.minimum(wanted, np.min(around, 0) + costs)
    answer = np.asarray(solution(costs, seeds), float)
    assert np.allclose(answer, wanted), (
        f"On a grid of random costs yours is off by up to {np.abs(answer - wanted).max():.2f}. A path pays for each "
        "pixel that it enters, and nothing for the seed."
    )


def mean_iou_of(solution: Callable) -> None:
    """Mean IoU from a confusion matrix, without the pixels that nobody labelled (class 0)."""
    by_hand = np.array([[50, 5, 5], [1, 6, 3], [2, 2, 16]])
    # Class 1: 6 of 10 are found, 2 of class 2 are taken for it: 6 / 12. Class 2: 16 of 20, and 3: 16 / 23.
    wanted = (6 / 12 + 16 / 23) / 2
    answer = float(solution(by_hand))
    counted = (6 / 17 + 16 / 28) / 2
    assert abs(answer - counted) > 1e-9, (
        "You count pixels that nobody labelled as false positives. Their row, the first one, does not count here."
    )
    assert abs(answer - wanted) < 1e-9, (
        f"For [[50, 5, 5], [1, 6, 3], [2, 2, 16]] it is (6/12 + 16/23) / 2 = {wanted:.4f}, yours is {answer:.4f}. "
        "Labelled pixels that are taken for background are missed, and class 0 is not in the mean."
    )
    absent = np.array([[9, 0, 0, 4], [0, 8, 0, 2], [0, 0, 0, 0], [0, 0, 0, 10]])
    answer = float(solution(absent))
    assert abs(answer - (8 / 10 + 10 / 12) / 2) < 1e-9, (
        f"A class that is neither there nor predicted (here class 2) is left out of the mean, yours gives {answer:.4f}."
    )
    assert by_hand.sum() == 90, "Your function changes the matrix that it is given."


def hold_out(solution: Callable) -> None:
    """Rows for the test, whole photographs only."""
    rng = np.random.default_rng(4)
    ids = np.array([f"photo {number}" for number in rng.integers(0, 60, 100)])
    chosen = np.asarray(solution(ids, 0.25, 0))
    assert (chosen.dtype, chosen.shape) == (bool, ids.shape), (
        f"Expected a bool for each of {len(ids)} rows, got {chosen.dtype} {chosen.shape}."
    )
    torn = set(ids[chosen]) & set(ids[~chosen])
    assert not torn, f"{len(torn)} photographs are on both sides, such as {min(torn)}. Draw ids, and not rows."
    names = len(set(ids))
    share = len(set(ids[chosen])) / names
    assert abs(share - 0.25) <= 1 / names, f"A quarter of the photographs was asked for, yours has {share:.2f}."
    assert (chosen == np.asarray(solution(ids, 0.25, 0))).all(), "The same seed should give the same rows."
    assert (chosen != np.asarray(solution(ids, 0.25, 1))).any(), "Another seed should give other rows."
    shuffled = rng.permutation(len(ids))
    assert (np.asarray(solution(ids[shuffled], 0.25, 0)) == chosen[shuffled]).all(), (
        "Which photographs are drawn should not depend on the order of the rows: sort the ids first (np.unique does)."
    )


def grow(solution: Callable) -> None:
    """One step of growing: an unlabelled smooth pixel takes the class that most of its four neighbours have."""
    labels = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 2, 0], [0, 0, 0, 2, 0]])
    smooth = np.ones(labels.shape, bool)
    wanted = np.array([[0, 1, 0, 2, 0], [1, 1, 1, 2, 2], [0, 1, 2, 2, 2]])
    answer = np.asarray(solution(labels, smooth))
    assert answer.shape == wanted.shape, f"Expected shape {wanted.shape}, yours is {answer.shape}."
    assert (labels == [[0, 0, 0, 0, 0], [0, 1, 0, 2, 0], [0, 0, 0, 2, 0]]).all(), "Your function changes its input."
    assert answer[1, 2] == 1, (
        f"Between a 1 and a 2 with one neighbour each, the lower number wins; yours has {answer[1, 2]}."
    )
    assert answer[0, 0] == 0, (
        "A corner without a labelled neighbour stays 0: do areas grow diagonally, or twice a step?"
    )
    assert (answer == wanted).all(), f"Expected {wanted.tolist()}, yours is {answer.tolist()}."
    rough = smooth.copy()
    rough[1, 2] = False
    assert np.asarray(solution(labels, rough))[1, 2] == 0, "Where the picture is not smooth, nothing grows."
    rng = np.random.default_rng(6)
    labels, smooth = rng.integers(0, 4, (9, 13)), rng.random((9, 13)) < 0.7
    padded = np.pad(labels, 1)
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    counts = np.stack([(around == number).sum(0) for number in (1, 2, 3)])
    wanted = np.where((labels == 0) & smooth & (counts.max(0) > 0), counts.argmax(0) + 1, labels)
    differ = int((np.asarray(solution(labels, smooth)) != wanted).sum())
    assert not differ, f"On a random picture yours differs at {differ} of {labels.size} pixels. What is labelled stays."


CHECKS = {
    function.__name__: function
    for function in (
        soft_iou_loss,
        best_threshold,
        receptive_field,
        guess_polarity,
        confidence_interval,
        gate,
        contour,
        largest_error,
        distance_map,
        encode,
        optimism,
        cheapest_paths,
        mean_iou_of,
        hold_out,
        grow,
    )
}
