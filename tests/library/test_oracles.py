"""Every loss and metric against evidence from outside: other libraries, the formulas in NumPy, numbers worked by hand.

On random input and on the awkward: one pixel, nothing, everything, objects at the image's edge, an absent class,
ignored pixels, halves and doubles, and tensors that lie in memory in another order.
"""

import math

import cv2
import monai.losses
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import torchmetrics
import torchmetrics.functional.classification as peer
from monai.losses import DiceLoss, FocalLoss, MaskedLoss, TverskyLoss
from monai.metrics import DiceMetric, compute_hausdorff_distance, compute_iou
from pycocotools import mask as coco
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.spatial import distance as distances
from scipy.special import expit, log_expit, log_softmax, softmax
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries
from torchmetrics.functional.segmentation import hausdorff_distance as torchmetrics_hausdorff
from torchmetrics.functional.segmentation import mean_iou as torchmetrics_mean_iou
from torchvision.ops import sigmoid_focal_loss

from seglib.losses import (
    LOSSES,
    bce_loss,
    boundary_loss,
    cross_entropy_loss,
    dice_loss,
    focal_loss,
    iou_loss,
    signed_distance,
    sobel_boundary_loss,
)
from seglib.metrics import (
    BinaryMetrics,
    ClassMetrics,
    boundary_iou,
    class_ious,
    confusion_matrix,
    dice,
    hausdorff,
    iou,
    mean_iou,
    pixel_accuracy,
    reliability,
)

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::seglib.losses.TargetWarning"),  # in the case where the object is ignored
]

BINARY = [name for name in LOSSES if name != "ce"]
OF_CLASSES = [name for name in LOSSES if name != "bce"]


def drawn(*shape, seed=0):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hidden(target, share=0.3):
    return target.masked_fill(torch.rand(target.shape, generator=torch.Generator().manual_seed(9)) < share, 255)


def binary_cases():
    """Logits and targets (N, 1, H, W) by the name of what is awkward about them."""
    some = (drawn(2, 1, 5, 8, seed=1) > 0.5).double()
    zeros = torch.zeros(1, 1, 5, 8).double()
    dot, edge = zeros.clone(), zeros.clone()
    dot[..., 3, 2] = 1
    edge[..., :2, 3:] = 1
    one_left_out = some.clone()
    one_left_out[1] = 255
    targets = {
        "random": some,
        "one pixel": dot,
        "empty": zeros,
        "full": zeros + 1,
        "at the edge": edge,
        "an image of one pixel, object": torch.ones(1, 1, 1, 1).double(),
        "an image of one pixel, background": torch.zeros(3, 1, 1, 1).double(),
        "a row": some[..., :1, :],
        "a column": some[..., :1],
        "ignored pixels": hidden(some),
        "the object is ignored": some.masked_fill(some == 1, 255),
        "one image is ignored": one_left_out,
        "all is ignored": zeros + 255,
    }
    return {name: (drawn(*target.shape), target) for name, target in targets.items()}


def class_cases():
    """Logits (N, 4, H, W) and targets (N, H, W); no image of "one class is absent" has class 2."""
    some = torch.randint(0, 4, (2, 5, 8), generator=torch.Generator().manual_seed(1))
    one_left_out = some.clone()
    one_left_out[1] = 255
    targets = {
        "random": some,
        "a batch of one": some[:1],
        "one class is absent": some.masked_fill(some == 2, 0),
        "nothing but one class": torch.full_like(some, 3),
        "one pixel of a class": torch.zeros_like(some).index_put_(
            tuple(torch.tensor([[1], [4], [0]])), torch.tensor(2)
        ),
        "an image of one pixel": some[:, :1, :1],
        "a row": some[:, :1],
        "a column": some[..., :1],
        "ignored pixels": hidden(some),
        "one image is ignored": one_left_out,
        "all is ignored": torch.full_like(some, 255),
    }
    return {name: (drawn(len(target), 4, *target.shape[1:]), target) for name, target in targets.items()}


CASES = {("binary", name): case for name, case in binary_cases().items()}
CASES |= {("classes", name): case for name, case in class_cases().items()}
LOSSES_AND_CASES = [(name, *case) for case in CASES for name in (BINARY if case[0] == "binary" else OF_CLASSES)]
every_loss_and_case = pytest.mark.parametrize(("name", "kind", "case"), LOSSES_AND_CASES)


# --- losses: the formulas, and their gradients worked out by hand, in NumPy ---


class Formulas:
    """Each loss's value, and its gradient by the logits, in float64.

    The gradient goes through the probabilities: with g = ∂L/∂p it is g p (1 − p), or of a softmax p_k (g_k − Σ g p).
    """

    def __init__(self, logits, target):
        x, target = logits.double().numpy(), target.numpy()
        self.binary = target.ndim == 4
        labels = target if self.binary else target[:, None]
        self.valid = np.broadcast_to(labels != 255, x.shape)
        self.t = (labels == 1 if self.binary else labels == np.arange(x.shape[1])[:, None, None]).astype(float)
        self.p = expit(x) if self.binary else softmax(x, axis=1)
        self.log_p = log_expit(x) if self.binary else log_softmax(x, axis=1)
        self.log_rest = log_expit(-x)
        self.entries = max(1, self.valid.sum())
        self.pixels = max(1, self.valid[:, 0].sum())

    def _from_probability(self, g):
        g = np.where(self.valid, g, 0)
        return g * self.p * (1 - self.p) if self.binary else self.p * (g - (g * self.p).sum(1, keepdims=True))

    def bce(self):
        each = np.where(self.t == 1, self.log_p, self.log_rest)
        return -each[self.valid].sum() / self.pixels, (self.p - self.t) * self.valid / self.pixels

    def ce(self):
        return -(self.t * self.log_p).sum() / self.pixels, (self.p - self.t) * self.valid / self.pixels

    def focal(self):
        if self.binary:
            true, log, sign = (
                np.where(self.t == 1, self.p, 1 - self.p),
                np.where(self.t == 1, self.log_p, self.log_rest),
                2 * self.t - 1,
            )
            there = self.valid
        else:
            true, log, sign, there = self.p, self.log_p, 1, self.t == 1
        value = np.where(there, -((1 - true) ** 2) * log, 0).sum() / self.pixels
        slope = np.where(there, sign * (2 * (1 - true) * log - (1 - true) ** 2 / true), 0) / self.pixels
        return value, self._from_probability(slope)

    def _overlaps(self):
        def total(a):
            return (a * self.valid).sum((2, 3), keepdims=True)

        return total(self.p * self.t), total(self.p), total(self.t), self.p.shape[0] * self.p.shape[1]

    def dice(self):
        overlap, said, true, count = self._overlaps()
        above, below = 2 * overlap + 1, said + true + 1
        return (1 - above / below).mean(), self._from_probability((above - 2 * self.t * below) / below**2 / count)

    def iou(self):
        overlap, said, true, count = self._overlaps()
        above, below = overlap + 1, said + true - overlap + 1
        slope = (above * (1 - self.t) - self.t * below) / below**2 / count
        return (1 - above / below).mean(), self._from_probability(slope)

    def sobel_boundary(self):
        """Sobel by OpenCV; its adjoint, that a gradient needs, by SciPy."""
        kernel, value, slope = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]), 0.0, np.zeros_like(self.p)
        for place in np.ndindex(self.p.shape[:2]):
            of_both = []
            for image in (self.p[place] * self.valid[place], self.t[place]):
                image = np.ascontiguousarray(image)
                gradient = [cv2.Sobel(image, cv2.CV_64F, *d, borderType=cv2.BORDER_CONSTANT) for d in ((1, 0), (0, 1))]
                of_both.append((np.sqrt(gradient[0] ** 2 + gradient[1] ** 2 + 1e-8), *gradient))
            (said, across, down), (true, *_) = of_both
            difference = np.where(self.valid[place], said - true, 0)
            value += (difference**2).sum() / self.entries
            for direction, weights in ((across, kernel), (down, kernel.T)):
                pull = 2 * difference * direction / said / self.entries
                slope[place] += ndimage.convolve(pull, weights, mode="constant")
        return value, self._from_probability(slope)

    def boundary(self):
        """Distances by OpenCV."""
        phi = np.zeros_like(self.p)
        for place in np.ndindex(self.p.shape[:2]):
            inside = self.valid[place] & (self.t[place] == 1)
            outside = self.valid[place] & (self.t[place] == 0)
            if inside.any() and outside.any():
                to_object, to_rest = (
                    cv2.distanceTransform((~goal).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                    for goal in (inside, outside)
                )
                phi[place] = np.where(inside, 1 - to_rest, to_object * outside)
        return (phi * self.p).sum() / self.entries, self._from_probability(phi / self.entries)


@every_loss_and_case
def test_every_loss_is_its_formula_and_so_is_its_gradient(name, kind, case):
    logits, target = CASES[kind, case]
    expected, slope = getattr(Formulas(logits, target), name)()
    logits = logits.clone().requires_grad_()
    value = LOSSES[name](logits, target)
    value.backward()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(logits.grad.numpy(), slope, rtol=1e-6, atol=1e-9)


@every_loss_and_case
def test_every_gradient_is_that_of_finite_differences(name, kind, case):
    logits, target = CASES[kind, case]
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, target), logits.clone().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("case", ["random", "ignored pixels", "all is ignored"])
@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("binary", lambda x, t: bce_loss(x, t, 3.5)),
        ("binary", lambda x, t: focal_loss(x, t, 0.5)),
        ("classes", lambda x, t: focal_loss(x, t, 3.0)),
        ("classes", lambda x, t: cross_entropy_loss(x, t, [0.0, 0.5, 2.0, 9.0])),
        ("classes", lambda x, t: dice_loss(x, t, 0.1)),
        ("classes", lambda x, t: iou_loss(x, t, 30.0)),
    ],
)
def test_gradients_of_losses_with_other_options_are_those_of_finite_differences(kind, loss, case):
    logits, target = CASES[kind, case]
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.clone().requires_grad_())


@pytest.mark.parametrize("case", ["random", "ignored pixels"])
@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_the_boundary_loss_s_gradient_is_that_of_finite_differences(kind, case):
    logits, _ = CASES[kind, case]
    phi = drawn(*logits.shape, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(boundary_loss, (logits.clone().requires_grad_(), phi))


ORDERS = ["channels last", "every other of a larger tensor", "batch innermost"]


def laid_out(tensor, order):
    """The same numbers, in memory one after the other in another way."""
    if order == "channels last":
        return tensor.clone(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.mT.contiguous().mT
    if order == "every other of a larger tensor":
        larger = tensor.repeat_interleave(2, -1).repeat_interleave(3, -2)
        larger[..., 1::2] += 1
        return larger[..., ::3, ::2]
    return tensor.flip(0).movedim(0, -1).contiguous().movedim(-1, 0).flip(0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@every_loss_and_case
def test_no_loss_depends_on_the_order_in_memory_nor_on_the_type_but_for_rounding(name, kind, case, dtype):
    """Value and gradient are those of the rounded logits, computed in float64; of halves the gradient is rounded once
    more. It does not matter how logits and target lie in memory."""
    logits, target = CASES[kind, case]
    logits = logits.to(dtype)
    expected, slope = getattr(Formulas(logits, target), name)()
    double = dtype == torch.float64
    rel, atol = (1e-6, 1e-9) if double else (1e-4, 1e-6)
    rtol = rel if double else max(2 * torch.finfo(dtype).eps, 1e-3)
    for turned, labels in [(logits.clone(), target), *((laid_out(logits, o), laid_out(target, o)) for o in ORDERS)]:
        assert torch.equal(turned, logits)
        assert torch.equal(labels, target)
        turned.requires_grad_()
        value = LOSSES[name](turned, labels)
        value.backward()
        assert (value.dtype, turned.grad.dtype) == (torch.promote_types(dtype, torch.float32), dtype)
        assert value.item() == pytest.approx(expected, rel=rel, abs=atol)
        np.testing.assert_allclose(turned.grad.double().numpy(), slope, rtol=rtol, atol=atol)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_orders_in_memory_are_not_the_usual_one(kind, order):
    """Of one channel, channels last and channels first are the same."""
    logits, target = (laid_out(tensor, order) for tensor in CASES[kind, "random"])
    assert logits.is_contiguous() == ((kind, order) == ("binary", "channels last"))
    assert not target.is_contiguous() or order == "channels last"


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_no_distance_map_depends_on_the_type_or_the_order_in_memory(dtype):
    target = CASES["binary", "ignored pixels"][1]
    expected = signed_distance(target)
    for given in (target.to(dtype), *(laid_out(target.to(dtype), order) for order in ORDERS)):
        assert given.dtype == dtype
        assert torch.equal(signed_distance(given), expected)


# --- losses: other libraries ---


def test_focal_loss_is_torchvision_s():
    """Theirs, without α, of the pixels that count alone."""
    for name in ("random", "full", "empty", "ignored pixels"):
        logits, target = CASES["binary", name]
        left = target != 255
        for gamma in (0.0, 1.0, 2.0, 3.5):
            theirs = sigmoid_focal_loss(logits[left], target[left], alpha=-1, gamma=gamma, reduction="mean")
            torch.testing.assert_close(focal_loss(logits, target, gamma), theirs)


@pytest.mark.parametrize("library", [smp.losses.DiceLoss, smp.losses.TverskyLoss])
def test_dice_is_segmentation_models_pytorch_s_with_ignored_pixels(library):
    """Image by image, as theirs pools a batch; their smoothing counts twice."""
    logits, target = CASES["binary", "ignored pixels"]
    each = [library("binary", smooth=0.5, ignore_index=255)(x[None], t[None]) for x, t in zip(logits, target)]
    torch.testing.assert_close(dice_loss(logits, target), torch.stack(each).mean())
    logits, target = CASES["classes", "ignored pixels"]
    each = [library("multiclass", smooth=0.5, ignore_index=255)(x[None], t[None]) for x, t in zip(logits, target)]
    torch.testing.assert_close(dice_loss(logits, target), torch.stack(each).mean())


def test_iou_loss_of_classes_is_segmentation_models_pytorch_s():
    """Theirs ignores nothing, and counts an absent class as found."""
    logits, target = CASES["classes", "random"]
    library = smp.losses.JaccardLoss("multiclass", smooth=1.0)
    assert all(set(labels.unique().tolist()) == {0, 1, 2, 3} for labels in target)
    each = [library(x[None], t[None]) for x, t in zip(logits, target)]
    torch.testing.assert_close(iou_loss(logits, target), torch.stack(each).mean())


MONAI = {  # overlaps in sums over p and t, with smoothing that in some counts twice or half
    "dice": [DiceLoss(smooth_nr=1, smooth_dr=1), TverskyLoss(alpha=0.5, beta=0.5, smooth_nr=0.5, smooth_dr=0.5)],
    "iou": [
        DiceLoss(jaccard=True, smooth_nr=2, smooth_dr=2),
        TverskyLoss(alpha=1.0, beta=1.0, smooth_nr=1, smooth_dr=1),
    ],
}
if hasattr(monai.losses, "BoundaryLoss"):  # older ones, which PyTorch 2.6 takes, have none
    MONAI["boundary"] = [monai.losses.BoundaryLoss()]


@pytest.mark.parametrize(
    ("name", "kind", "case"),
    # A pixel that MONAI's boundary loss is to ignore would be one of the background, to be distant from.
    [(name, *case) for case in CASES for name in MONAI if name != "boundary" or "ignored" not in case[1]],
)
def test_losses_of_regions_are_monai_s_and_so_are_their_gradients(name, kind, case):
    """Theirs take probabilities, and 0 for both at ignored pixels."""
    logits, target = CASES[kind, case]
    logits = logits.clone().requires_grad_()
    binary = kind == "binary"
    valid = (target if binary else target[:, None]) != 255
    each = target % 255 if binary else F.one_hot(target % 255, 4).movedim(-1, 1)  # masked below
    value = LOSSES[name](logits, target)
    slope = torch.autograd.grad(value, logits)[0]
    for loss in MONAI[name]:
        theirs = MaskedLoss(loss)(logits.sigmoid() if binary else logits.softmax(1), each.double(), valid.double())
        torch.testing.assert_close(value, theirs.double(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(slope, torch.autograd.grad(theirs, logits)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
@pytest.mark.parametrize(("kind", "case"), CASES)
def test_focal_loss_is_monai_s(kind, case, gamma):
    """Theirs in float32, of each pixel and class; ours is the sum over classes, averaged over the pixels that count."""
    logits, target = CASES[kind, case]
    if kind == "binary":
        theirs, valid = FocalLoss(gamma=gamma, reduction="none")(logits, target % 255), target != 255
    else:
        valid = (target != 255)[:, None]
        each = F.one_hot(target % 255, 4).movedim(-1, 1)
        theirs = FocalLoss(gamma=gamma, use_softmax=True, reduction="none")(logits, each)
    expected = (theirs * valid).sum().item() / max(1, valid.sum().item())
    assert focal_loss(logits, target, gamma).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0, 0.0]])
def test_cross_entropies_are_pytorch_s_of_the_pixels_that_count(weights):
    for name in ("random", "one class is absent", "an image of one pixel", "ignored pixels", "one image is ignored"):
        logits, target = CASES["classes", name]
        left = target != 255
        weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        theirs = F.nll_loss(logits.movedim(1, -1)[left].log_softmax(1), target[left], weight)
        if theirs.isfinite():  # a mean of nothing is not, nor one of weight 0
            torch.testing.assert_close(cross_entropy_loss(logits, target, weights), theirs)
        logits, target = CASES["binary", name if name in binary_cases() else "random"]
        left = target != 255
        theirs = smp.losses.SoftBCEWithLogitsLoss(ignore_index=None)(logits[left], target[left])
        torch.testing.assert_close(bce_loss(logits, target), theirs)


@pytest.mark.parametrize("loss", [dice_loss, iou_loss])
@pytest.mark.parametrize("size", [(3, 5), (1, 1)])
def test_an_empty_target_s_gradient_by_hand_where_the_library_has_none(loss, size):
    """1 − s / (Σp + s) has the slope s p (1 − p) / (Σp + s)²; segmentation_models_pytorch counts the image as 0."""
    logits, empty = torch.full((1, 1, *size), math.log(3), dtype=torch.float64), torch.zeros(1, 1, *size).double()
    total = 0.75 * size[0] * size[1]
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = loss(ours, empty, 2.0)
    value.backward()
    assert value.item() == pytest.approx(total / (total + 2))
    by_hand = 2 * 0.75 * 0.25 / (total + 2) ** 2
    torch.testing.assert_close(ours.grad, torch.full_like(logits, by_hand))
    if smp.__version__ == "0.6.0":
        library = {dice_loss: smp.losses.DiceLoss, iou_loss: smp.losses.JaccardLoss}[loss]
        library("binary", smooth=1.0)(theirs, empty).backward()
        assert not theirs.grad.any()


@pytest.mark.parametrize("size", [(6, 11), (9, 4), (1, 8)])
@pytest.mark.parametrize("start", [1, 3])
def test_half_an_image_has_a_ramp_for_its_distance_map(size, start):
    """Of what lies to the right of a line, φ is by how many columns a pixel lies to the left of the object's first."""
    target = torch.zeros(1, 1, *size).double()
    target[..., start:] = 1
    ramp = start - torch.arange(size[1], dtype=torch.float64).expand(1, 1, *size)
    torch.testing.assert_close(signed_distance(target).double(), ramp)
    torch.testing.assert_close(signed_distance(target.mT).double(), ramp.mT)
    mean = start - (size[1] - 1) / 2
    assert LOSSES["boundary"](torch.zeros_like(target), target).item() == pytest.approx(0.5 * mean)


def test_the_distance_map_of_a_large_picture_is_opencv_s():
    """Of a whole, a ring, stray pixels and a corner, 97 × 130."""
    y, x = np.mgrid[:97, :130]
    radius = np.hypot(y - 40, x - 60)
    mask = (radius < 30) & (radius > 12) | ((y > 80) & (x > 115)) | (np.random.default_rng(0).random(y.shape) < 0.002)
    to_object, to_rest = (
        cv2.distanceTransform(away.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for away in (~mask, mask)
    )
    found = signed_distance(torch.from_numpy(mask).double()[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, np.where(mask, 1 - to_rest, to_object), rtol=1e-5)


def test_the_sobel_loss_of_a_shifted_edge_by_hand():
    """An upright edge has the magnitude 4 in two columns; shifted by three, four columns differ by 4. The pictures'
    upper and lower ends cost the same at any height, so that ten more rows cost 10 · 4 · 4²."""

    def total(height):
        target = torch.zeros(1, 1, height, 12).double()
        target[..., 6:] = 1
        return (
            sobel_boundary_loss(1e4 * (2 * target.roll(-3, -1).index_fill(-1, torch.arange(9, 12), 1) - 1), target)
            * target.numel()
        )

    assert (total(40) - total(30)).item() == pytest.approx(10 * 4 * (math.sqrt(16 + 1e-8) - 1e-4) ** 2)


# --- metrics of one mask ---


def rectangle(shape, rows, columns):
    mask = np.zeros(shape, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def blobs(seed, shape=(61, 83), quantile=0.7):
    """Smooth random shapes, that touch the image's edges."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return noise > np.quantile(noise, quantile)


NOTHING, ALL = np.zeros((6, 9), bool), np.ones((6, 9), bool)
DOT, CORNER = rectangle((6, 9), (2, 3), (4, 5)), rectangle((6, 9), (5, 6), (8, 9))
MASKS = {
    "blobs": (blobs(0), blobs(1)),
    "a blob and its neighbourhood": (blobs(2), ndimage.binary_dilation(blobs(2), iterations=3)),
    "noise": tuple(np.random.default_rng(3).random((2, 19, 31)) < 0.3),
    "a tall picture": (blobs(4, (90, 14)), blobs(5, (90, 14))),
    "a row": tuple(np.random.default_rng(6).random((2, 1, 17)) < 0.5),
    "a column": tuple(np.random.default_rng(7).random((2, 17, 1)) < 0.5),
    "one pixel and another": (DOT, CORNER),
    "one pixel and all": (DOT, ALL),
    "all and all": (ALL, ALL),
    "an image of one pixel": (ALL[:1, :1], ALL[:1, :1]),
    "opposites": (blobs(8), ~blobs(8)),
    "at the edge": (rectangle((20, 30), (0, 8), (0, 9)), rectangle((20, 30), (0, 7), (2, 12))),
}
every_pair = pytest.mark.parametrize("pair", MASKS.values(), ids=MASKS)


@every_pair
def test_overlaps_are_those_of_four_libraries(pair):
    """torchmetrics, SciPy (as distances), segmentation_models_pytorch, and pycocotools from run lengths."""
    prediction, target = pair
    tensors = [torch.tensor(mask).int() for mask in pair]
    stats = smp.metrics.get_stats(*(t.long()[None, None] for t in tensors), mode="binary")
    lengths = [coco.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in pair]
    flat = [mask.ravel() for mask in pair]
    assert iou(*pair) == pytest.approx(peer.binary_jaccard_index(*tensors).item())
    assert iou(*pair) == pytest.approx(smp.metrics.iou_score(*stats).item())
    assert iou(*pair) == pytest.approx(1 - distances.jaccard(*flat))
    assert iou(*pair) == pytest.approx(coco.iou([lengths[0]], [lengths[1]], [0]).item())
    assert dice(*pair) == pytest.approx(peer.binary_f1_score(*tensors).item())
    assert dice(*pair) == pytest.approx(smp.metrics.f1_score(*stats).item())
    assert dice(*pair) == pytest.approx(1 - distances.dice(*flat))
    assert pixel_accuracy(*pair) == pytest.approx(peer.binary_accuracy(*tensors).item())
    assert pixel_accuracy(*pair) == pytest.approx(1 - distances.hamming(*flat))
    assert mean_iou(*(mask.astype(int) for mask in pair), 2) == pytest.approx(
        peer.multiclass_jaccard_index(*tensors, num_classes=2).item()
    )
    assert (prediction & target).any() or iou(*pair) == dice(*pair) == 0


@every_pair
@pytest.mark.parametrize("width", [None, 1, 3])
def test_boundary_iou_is_that_of_chessboard_distances_and_the_authors_program(pair, width):
    """What d erosions with 3×3 ones take away lies at most d king's moves from the background.

    And as in the authors' boundary-iou-api: a border of one pixel, `iterations` erosions, the border cut off.
    """
    height, across = pair[0].shape
    d = max(1, round(0.02 * math.sqrt(height**2 + across**2))) if width is None else width

    def near_the_background(mask):
        return mask & (ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1] <= d)

    def mask_to_boundary(mask):
        bordered = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(bordered, np.ones((3, 3), np.uint8), iterations=d)
        return (mask.astype(np.uint8) - eroded[1:-1, 1:-1]).astype(bool)

    for contour in (near_the_background, mask_to_boundary):
        one, other = map(contour, pair)
        expected = (one & other).sum() / (one | other).sum()
        assert boundary_iou(*pair, width=width) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0, 1, 2, 5])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_boundary_iou_of_a_shifted_rectangle_by_hand(d, shift):
    """A ring of width d around 20 × 30 has 20·30 − (20 − 2d)(30 − 2d) pixels. Of two, shifted along the rows, the upper
    and lower bands share d rows of 30 − shift columns each; of what is between, 20 − 2d rows high, the sides share
    d − shift columns each, and only where they still meet."""
    one, other = rectangle((40, 60), (10, 30), (10, 40)), rectangle((40, 60), (10, 30), (10 + shift, 40 + shift))
    ring = 20 * 30 - (20 - 2 * d) * (30 - 2 * d)
    shared = 2 * d * (30 - shift) + (20 - 2 * d) * 2 * max(0, d - shift)
    assert boundary_iou(one, other, width=d) == pytest.approx(shared / (2 * ring - shared))


@every_pair
@pytest.mark.parametrize("percentile", [100, 95, 50])
@pytest.mark.parametrize("boundary", [True, False])
def test_hausdorff_is_that_of_scipy_and_scikit_image(pair, percentile, boundary):
    """Boundaries by scikit-image, in a background that goes on; distances from SciPy's tree of points."""
    kept = [
        find_boundaries(np.pad(mask, 1), connectivity=1, mode="inner")[1:-1, 1:-1] if boundary else mask
        for mask in pair
    ]
    points = [np.argwhere(mask) for mask in kept]
    directed = [np.percentile(KDTree(b).query(a)[0], percentile) for a, b in (points, points[::-1])]
    found = hausdorff(*pair, percentile, boundary)
    assert found == pytest.approx(max(directed))
    if percentile == 100:
        assert found == pytest.approx(max(distances.directed_hausdorff(a, b)[0] for a, b in (points, points[::-1])))
        assert found == pytest.approx(hausdorff_distance(*kept))


def test_hausdorff_of_two_pixels_where_torchmetrics_is_wrong():
    """Sixteen columns apart, whatever the picture's shape; torchmetrics counts rows by the height."""
    one, other = rectangle((4, 20), (1, 2), (2, 3)), rectangle((4, 20), (1, 2), (18, 19))

    def theirs(*pair):
        tensors = (torch.tensor(mask)[None, None] for mask in pair)
        return torchmetrics_hausdorff(*tensors, num_classes=1, include_background=True).item()

    assert hausdorff(one, other) == hausdorff(one.T, other.T) == 16
    square = [np.pad(mask, ((0, 16), (0, 0))) for mask in (one, other)]
    assert hausdorff(*square) == pytest.approx(theirs(*square)) == 16
    if torchmetrics.__version__ == "1.9.0":
        assert theirs(one, other) == pytest.approx(math.hypot(2, 3))
        with pytest.raises(IndexError):
            theirs(one.T, other.T)


def by_monai(metric, prediction, target, **options):
    tensors = (torch.tensor(mask, dtype=torch.float32)[None, None] for mask in (prediction, target))
    return metric(*tensors, include_background=True, **options).item()


monai_s_own_warnings = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


@monai_s_own_warnings
@every_pair
@pytest.mark.parametrize("percentile", [100, 95, 50])
def test_hausdorff_is_monai_s(pair, percentile):
    """Like ours, theirs is the larger of both directions' percentiles, between pixels with a neighbour outside."""
    theirs = by_monai(compute_hausdorff_distance, *pair, percentile=percentile)
    assert hausdorff(*pair, percentile) == pytest.approx(theirs, rel=1e-6)


@monai_s_own_warnings
@pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class 0 is all 0")
@pytest.mark.parametrize("percentile", [100, 95])
def test_hausdorff_of_empty_masks_where_monai_has_no_number(percentile):
    """Ours: nothing is no distance from nothing, and infinitely far from something."""
    for pair, expected in (((NOTHING, NOTHING), 0), ((NOTHING, DOT), math.inf), ((DOT, NOTHING), math.inf)):
        assert hausdorff(*pair, percentile) == expected
        assert math.isnan(by_monai(compute_hausdorff_distance, *pair, percentile=percentile))


EMPTY = {
    "nothing and nothing": (NOTHING, NOTHING),
    "nothing and one pixel": (NOTHING, DOT),
    "one pixel and nothing": (DOT, NOTHING),
    "all and nothing": (ALL, NOTHING),
}


@pytest.mark.parametrize("pair", (MASKS | EMPTY).values(), ids=MASKS | EMPTY)
def test_overlaps_are_monai_s(pair):
    """Where the truth is empty too: told not to leave it out, theirs is 1 for an empty prediction, else 0."""
    prediction, target = (torch.tensor(mask, dtype=torch.float32)[None, None] for mask in pair)
    assert dice(*pair) == pytest.approx(DiceMetric(ignore_empty=False)(prediction, target).item())
    assert iou(*pair) == pytest.approx(by_monai(compute_iou, *pair, ignore_empty=False))
    if not target.any():
        assert dice(*pair) == iou(*pair) == (not prediction.any())
        assert DiceMetric()(prediction, target).isnan()
        assert math.isnan(by_monai(compute_iou, *pair))


@pytest.mark.parametrize("bins", [4, 10])
def test_reliability_is_that_of_numpy_s_histograms(bins):
    """With a bin that nothing falls into, and probabilities of 0 and 1."""
    rng = np.random.default_rng(0)
    probability = np.concatenate([rng.random(300) * 0.5, [0, 1, 1]]).reshape(3, 101)
    truth = rng.random((3, 101)) < probability
    count, edges = np.histogram(probability, bins, (0, 1))
    sums = [np.histogram(probability, edges, weights=w)[0] for w in (probability, truth.astype(float))]
    predicted, observed = (s[count > 0] / count[count > 0] for s in sums)
    found = reliability(probability, truth, bins)
    assert (count == 0).any()
    np.testing.assert_allclose(found[0], predicted)
    np.testing.assert_allclose(found[1], observed)
    assert found[2] == pytest.approx((abs(predicted - observed) * count[count > 0]).sum() / count.sum())


# --- metrics of classes ---


def labels(seed, classes=5, shape=(13, 22), absent=()):
    """Smooth regions of classes, without the absent ones."""
    there = [k for k in range(classes) if k not in absent]
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(len(there), *shape)), (0, 2, 2))
    return np.array(there)[noise.argmax(0)]


LABELS = {
    "regions": (labels(0), labels(1)),
    "one class is absent": (labels(2, absent=[3]), labels(3, absent=[3])),
    "one class is only said": (labels(4), labels(5, absent=[1])),
    "one class is only true": (labels(6, absent=[4]), labels(7)),
    "nothing but one class": (labels(8), np.full((13, 22), 2)),
    "one pixel": (np.full((1, 1), 4), np.full((1, 1), 4)),
    "a row": (labels(9, shape=(1, 40)), labels(10, shape=(1, 40))),
    "ignored pixels": (labels(11), np.where(blobs(12, (13, 22)), 255, labels(13))),
    "all but one is ignored": (labels(14), np.pad([[3]], ((4, 8), (20, 1)), constant_values=255)),
}


@pytest.mark.parametrize(("said", "true"), LABELS.values(), ids=LABELS)
def test_confusions_and_ious_are_those_of_two_libraries(said, true):
    """torchmetrics, and segmentation_models_pytorch's counts of each class; and pixels picked by class and counted."""
    found = confusion_matrix(said, true, 5, ignore_index=255)
    counted = true != 255
    by_hand = np.array([[(said[counted] == k)[true[counted] == t].sum() for k in range(5)] for t in range(5)])
    assert (found == by_hand).all()
    tensors = torch.from_numpy(said), torch.from_numpy(true)
    assert (found == peer.multiclass_confusion_matrix(*tensors, 5, ignore_index=255).numpy()).all()
    stats = smp.metrics.get_stats(
        *(t[None].long() for t in tensors), mode="multiclass", num_classes=5, ignore_index=255
    )
    tp, fp, fn, _ = (s[0].double() for s in stats)
    ious = class_ious(found)
    there = (tp + fp + fn > 0).numpy()
    np.testing.assert_allclose(ious[there], (tp / (tp + fp + fn)).numpy()[there])
    assert np.isnan(ious[~there]).all()
    theirs = peer.multiclass_jaccard_index(*tensors, num_classes=5, ignore_index=255).item()
    assert mean_iou(said, true, 5, ignore_index=255) == pytest.approx(theirs)
    if counted.all():
        each = torchmetrics_mean_iou(*(t[None] for t in tensors), 5, per_class=True, input_format="index")
        np.testing.assert_allclose(ious[there], each[0].numpy()[there], rtol=1e-6)


@pytest.mark.parametrize(("said", "true"), LABELS.values(), ids=LABELS)
def test_ious_of_classes_are_monai_s(said, true):
    """Of a class that is nowhere theirs is 1, and ours is left out of the mean: NaN."""
    ious = class_ious(confusion_matrix(said, true, 5, ignore_index=255))
    counted = true != 255
    each = [(chosen == np.arange(5)[:, None, None]) & counted for chosen in (said, true)]
    theirs = compute_iou(*(torch.from_numpy(k)[None].float() for k in each), ignore_empty=False)[0].numpy()
    absent = ~(each[0] | each[1]).any((1, 2))
    np.testing.assert_allclose(ious[~absent], theirs[~absent], rtol=1e-6)
    assert np.isnan(ious[absent]).all()
    assert (theirs[absent] == 1).all()


def test_class_ious_of_a_matrix_by_hand():
    """Of 3 classes and one that is nowhere: 5 / (5 + 3 + 1), 4 / (4 + 1 + 5), 0 / 7 …"""
    confusion = np.array([[5, 2, 1, 0], [1, 4, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(class_ious(confusion), [5 / 9, 4 / 10, 0, np.nan])


# --- metrics of sets ---


def streamed(meter, logits, target, sizes):
    for pair in zip(logits.split(sizes), target.split(sizes)):
        meter.update(meter.count(*pair))
    return meter.compute()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
def test_metrics_of_binary_sets_are_torchmetrics_and_segmentation_models_pytorch_s(dtype, order):
    """From probabilities at least ½, of pixels that are not ignored; one of six images is full and one empty."""
    logits = drawn(6, 1, 9, 14).to(dtype)
    target = hidden((drawn(6, 1, 9, 14, seed=1) > 0.5).double())
    target[1], target[2] = 1, 0
    logits[2] = -logits[2].abs() - 0.5
    found = streamed(BinaryMetrics(), laid_out(logits, order), laid_out(target, order), [2, 1, 3])
    said, true = (logits.double().sigmoid() >= 0.5).long(), target.long()
    stats = smp.metrics.get_stats(said[:, 0], true[:, 0], mode="multiclass", num_classes=2, ignore_index=255)
    counts = BinaryMetrics.count(logits, target)
    assert torch.equal(counts[:, :4], torch.stack([each[:, 1] for each in stats], 1).float())
    ious, dices, accuracies, losses = [], [], [], []
    for s, t, p in zip(said, true, logits.double().sigmoid()):
        ious.append(peer.binary_jaccard_index(s, t, ignore_index=255, zero_division=1.0).item())
        dices.append(peer.binary_f1_score(s, t, ignore_index=255, zero_division=1.0).item())
        accuracies.append(peer.binary_accuracy(s, t, ignore_index=255).item())
        losses.append(F.binary_cross_entropy(p[t != 255], t[t != 255].double()).item())
    assert found["iou"] == pytest.approx(np.mean(ious))
    assert found["dice"] == pytest.approx(np.mean(dices))
    assert found["pixel_accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["bce"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["iou_pooled"] == pytest.approx(peer.binary_jaccard_index(said, true, ignore_index=255).item())
    assert found["dice_pooled"] == pytest.approx(peer.binary_f1_score(said, true, ignore_index=255).item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
def test_metrics_of_sets_of_classes_are_torchmetrics_s(dtype, order):
    """With ignored pixels, and class 2 absent from truth and prediction."""
    logits = drawn(6, 5, 9, 14).to(dtype)
    logits[:, 2] = -20
    target = torch.randint(0, 5, (6, 9, 14), generator=torch.Generator().manual_seed(1))
    target = hidden(target.masked_fill(target == 2, 3))
    names = ("sky", "far soil", "ice", "sand", "rock")
    found = streamed(ClassMetrics(names), laid_out(logits, order), laid_out(target, order), [1, 4, 1])
    said, options = logits.double().argmax(1), {"num_classes": 5, "ignore_index": 255}
    theirs = peer.multiclass_jaccard_index(said, target, **options).item()
    assert found["mean_iou"] == found["mean_iou_all_pixels"] == pytest.approx(theirs)
    each = peer.multiclass_jaccard_index(said, target, average=None, **options).tolist()
    assert {k for k in found if k.startswith("iou_")} == {"iou_sky", "iou_far_soil", "iou_sand", "iou_rock"}
    assert [found[f"iou_{n}"] for n in ("sky", "far_soil", "sand", "rock")] == pytest.approx([*each[:2], *each[3:]])
    accuracy = peer.multiclass_accuracy(said, target, average="micro", **options).item()
    assert found["pixel_accuracy"] == found["pixel_accuracy_labelled"] == pytest.approx(accuracy)
    losses = [F.cross_entropy(x[None].double(), t[None], ignore_index=255).item() for x, t in zip(logits, target)]
    assert found["ce"] == pytest.approx(np.mean(losses), rel=1e-5)
