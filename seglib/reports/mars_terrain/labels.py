"""Class labels that people made: what is in them, which pictures do not belong, which masks fit badly, and mending.

Pictures are uint8 (N, H, W), labels uint8 (N, H, W) with 0 where nobody labelled, as in `mars`.
"""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np

UNLABELLED = 0
SHARED_BY = 5  # pictures with one mask, before it is suspicious
CORNERS = 16  # of a mask's outline: rectangles and straight horizons have fewer, and what people draw has more
APART = 1.0  # standard deviations of all pictures, by which the suspicious ones lie apart on average


def class_shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of all pixels that each class has: float64 (classes,), together 1."""
    return np.bincount(labels.ravel(), minlength=num_classes) / labels.size


def duplicates(pictures: np.ndarray) -> list[np.ndarray]:
    """Groups of two or more equal pictures: the indices of each, in order."""
    groups = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[picture.tobytes()].append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def find_outliers(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pictures that do not belong: many that share one mask by no honest chance, bool (N,).

    A mask is suspicious where at least five different pictures have it and its outline has 16 corners or more: people
    often give many pictures one plain mask, such as soil everywhere, but no two draw the same winding line. Its
    pictures are outliers where they also look different from the others: by mean, spread, darkest or brightest values
    or the strength of their edges they lie a standard deviation apart, on average. (Pictures of one robot arm may share
    its outline, and look like all others.)
    """
    outliers = np.zeros(len(images), bool)
    looks = _looks(images)
    spread = looks.std(0) + 1e-9
    for group in duplicates(labels):
        different = len({images[i].tobytes() for i in group})
        if different < SHARED_BY or _corners(labels[group[0]]) < CORNERS:
            continue
        others = np.setdiff1d(np.arange(len(images)), group)
        apart = abs(looks[group].mean(0) - looks[others].mean(0)) / spread if others.size else np.zeros(1)
        outliers[group] = apart.max() >= APART
    return outliers


def _looks(images: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, 5 % and 95 % quantile, and mean gradient of each picture: (N, 5)."""
    values = images.reshape(len(images), -1).astype(np.float32)
    edges = [edge_strength(image).mean() for image in images]
    return np.stack([values.mean(1), values.std(1), *np.quantile(values, (0.05, 0.95), axis=1), edges], axis=1)


def _corners(labels: np.ndarray) -> int:
    """How often three of four neighbouring pixels, but not the fourth, share a class: an outline's corners."""
    four = np.stack([labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]])
    alike = sum((four == one).sum(0) == 3 for one in four)
    return int((alike > 0).sum())


def edge_strength(image: np.ndarray) -> np.ndarray:
    """The magnitude of a picture's gradient, after a little smoothing: float32 (H, W)."""
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.sqrt(across**2 + down**2)


def border_disagreement(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How badly masks' borders disagree with the edges in their pictures, float64 (N,): 0 well, 1 badly, ½ by chance.

    Of each pixel at a border between two classes, how many of the picture's pixels have a stronger edge nearby (within
    two pixels: nobody draws more exactly), as a share; the mean over them. Borders of what nobody labelled do not
    count, for they follow distances and doubts and not edges. A mask without a border gives 0: nothing is wrong there.
    """
    scores = np.zeros(len(images))
    for i, (image, mask) in enumerate(zip(images, labels)):
        border = np.zeros(mask.shape, bool)
        across = (mask[:, 1:] != mask[:, :-1]) & (mask[:, 1:] != UNLABELLED) & (mask[:, :-1] != UNLABELLED)
        down = (mask[1:] != mask[:-1]) & (mask[1:] != UNLABELLED) & (mask[:-1] != UNLABELLED)
        border[:, 1:] |= across
        border[1:] |= down
        if border.any():
            nearby = cv2.dilate(edge_strength(image), np.ones((5, 5), np.uint8))
            stronger = nearby.size - np.searchsorted(np.sort(nearby.ravel()), nearby[border], side="right")
            scores[i] = stronger.mean() / nearby.size
    return scores


def worst(scores: np.ndarray, share: float) -> np.ndarray:
    """The `share` of all with the highest scores, bool (N,); of equal ones the first. A score of 0 is never bad."""
    order = np.argsort(-scores, kind="stable")[: round(share * len(scores))]
    bad = np.zeros(len(scores), bool)
    bad[order] = scores[order] > 0
    return bad


def improve_labels(
    images: np.ndarray, labels: np.ndarray, radius: int = 3, threshold: int = 20, iterations: int = 3
) -> np.ndarray:
    """Lets labelled areas grow where the picture is smooth (the report's algorithm, as far as it is described).

    A pixel is smooth where the picture's values within `radius` of it differ by less than `threshold`. In each
    iteration every smooth pixel with a class votes for it within that circle. A pixel takes the class with the most
    votes where it has more than the pixel's own (of equal ones the lower number); what nobody labelled has no votes.
    The result does not depend on an order of pixels.

    Args:
        images, labels: see above.
        radius: in pixels.
        threshold: of the values 0 to 255.
        iterations: how often.

    Returns:
        New labels, uint8 (N, H, W).
    """
    circle = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.stack([_grown(*pair, circle, threshold, iterations) for pair in zip(images, labels)])


def _grown(image: np.ndarray, labels: np.ndarray, circle: np.ndarray, threshold: int, iterations: int) -> np.ndarray:
    smooth = cv2.dilate(image, circle).astype(int) - cv2.erode(image, circle) < threshold
    classes = np.unique(labels[labels != UNLABELLED])
    if not classes.size or not smooth.any():
        return labels.copy()
    kernel, labels = circle.astype(np.float32), labels.copy()
    for _ in range(iterations):
        votes = np.stack(
            [
                cv2.filter2D(((labels == one) & smooth).astype(np.float32), -1, kernel, borderType=cv2.BORDER_CONSTANT)
                for one in classes
            ]
        ).round()
        own = np.where(labels == UNLABELLED, 0, np.take_along_axis(votes, _index(classes, labels)[None], 0)[0])
        best = votes.argmax(0)
        labels = np.where(votes.max(0) > own, classes[best], labels)
    return labels


def _index(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where in `classes` each label stands; of the unlabelled ones, anywhere."""
    return np.searchsorted(classes, labels).clip(max=len(classes) - 1)
