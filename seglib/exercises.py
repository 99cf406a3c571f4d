"""Self-checks of the notebooks' exercises: `check(function)` says what is right or wrong about a solution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .models.unet import UNet


def check(solution: Callable) -> bool:
    """Runs the check that belongs to a function's name, and prints what it found. True where the solution is right.

    Raises:
        KeyError: there is no exercise of that name.
    """
    name = solution.__name__
    if name not in CHECKS:
        raise KeyError(f"no exercise {name!r}; there are {', '.join(CHECKS)}")
    try:
        CHECKS[name](solution)
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


CHECKS = {function.__name__: function for function in (soft_iou_loss, best_threshold, receptive_field)}
