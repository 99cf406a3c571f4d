"""Two processes, each with its share of the images, against one that sees them all.

`test_training` has two processes measure objects in validation. Here are classes, ignored pixels, the totals that
are summed while they train, outlines, and the gradients of every loss.
"""

import os
from functools import partial

import numpy as np
import pytest
import torch
from accelerate.utils import gather_object
from torch import distributed, multiprocessing, nn
from torch.utils.data import TensorDataset

from seglib.losses import LOSSES, bce_loss, cross_entropy_loss
from seglib.metrics import BinaryMetrics, ClassMetrics, mask_metrics, mean_metrics
from seglib.training import evaluate, fit, make_accelerator, unwrap

pytestmark = pytest.mark.slow

NAMES = ("soil", "bedrock", "sand", "big rock")
# Means over images, or over pixels, of which every image has as many.
MEANS = {("binary", name): loss for name, loss in LOSSES.items() if name != "ce"}
MEANS |= {("classes", name): loss for name, loss in LOSSES.items() if name != "bce"}
# The exception: a mean weighted by the pixels' classes, which divides by the weights of all images of a batch.
WEIGHTED = partial(cross_entropy_loss, class_weights=[0.1, 1.0, 5.0, 2.0])


def of_classes():
    return ClassMetrics(NAMES, unlabelled=0)


def pictures(kind, count, seed):
    """Images of noise and targets, of classes with ignored pixels, and no sand in the first four."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 6, 9, generator=generator)
    if kind == "binary":
        return TensorDataset(images, (torch.rand(images.shape, generator=generator) < 0.4).float())
    labels = torch.randint(0, 4, (count, 6, 9), generator=generator)
    labels[:4] = labels[:4].masked_fill(labels[:4] == 2, 1)
    return TensorDataset(images, labels.masked_fill(torch.rand(labels.shape, generator=generator) < 0.2, 255))


def network(kind):
    torch.manual_seed(0)
    return nn.Conv2d(1, 1 if kind == "binary" else len(NAMES), 3, padding=1)


def measure(batch_size):
    """Metrics of 11 images, and of epochs over 12 and 7 whose steps are too small to change a weight."""
    found = {}
    for kind, metrics, loss in (("binary", BinaryMetrics, bce_loss), ("classes", of_classes, cross_entropy_loss)):
        found[kind] = evaluate(network(kind), pictures(kind, 11, seed=1), metrics=metrics, batch_size=2)
        for count in (12, 7):
            (row,) = fit(
                network(kind),
                loss,
                pictures(kind, count, seed=2),
                pictures(kind, 11, seed=1),
                metrics=metrics,
                monitor="loss",
                epochs=1,
                batch_size=batch_size,
                learning_rate=1e-30,
            )
            found[f"{kind}, trained on {count}"] = {name: value for name, value in row.items() if name != "seconds"}
    return found


def gradients(part=slice(None)):
    """Of each loss by the weights, as a step of `fit` finds them, from ten images or some of them, in float64; no pixel
    is ignored."""
    found = {}
    for (kind, name), loss in (MEANS | {("classes", "weighted"): WEIGHTED}).items():
        images, target = pictures(kind, 10, seed=3)[part]
        accelerator, model = make_accelerator(), network(kind).double()
        shared = accelerator.prepare(model)  # without a name it would be gone before it averages
        accelerator.backward(loss(shared(images.double()), target.where(target != 255, 0)))
        unwrap(accelerator, model)
        found[f"{kind}, {name}"] = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return found


@torch.no_grad()
def outlines(part=slice(None)):
    """The metrics of 11 masks or some of them, one by one; in the first and in the last nothing is predicted."""
    images, target = pictures("binary", 11, seed=1)[:]
    predicted = network("binary")(images) >= 0
    predicted[[0, 10]] = False
    return [mask_metrics(p[0], t[0]) for p, t in zip(predicted[part], target[part])]


def one_of_two(rank, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # accelerate wants to see them; they meet by a file
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        meter = of_classes()  # all that a process needs to do itself: sum the totals
        images, labels = pictures("classes", 11, seed=1)[slice(0, 3) if rank == 0 else slice(3, 11)]
        with torch.no_grad():
            meter.update(meter.count(network("classes")(images), labels))
        distributed.all_reduce(meter.totals)
        found = {"summed": meter.compute(), **measure(batch_size=2)}
        found["gradients"] = gradients(slice(0, 5) if rank == 0 else slice(5, 10))
        found["outlines"] = mean_metrics(gather_object(outlines(slice(0, 3) if rank == 0 else slice(3, 11))))
        torch.save(found, f"{folder}/found{rank}.pt")
    finally:
        distributed.destroy_process_group()
    # PyTorch's own threads may abort a process while Python ends it: github.com/pytorch/pytorch/pull/179291
    os._exit(0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two processes measured, and one alone, with batches that are as large as both of theirs."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(one_of_two, (folder,), nprocs=2)
    return *(torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in (0, 1)), measure(batch_size=4)


@pytest.mark.parametrize("what", ["binary", "classes"])
def test_evaluation_shared_out_is_that_of_all_images(found, what):
    """Eleven images in batches of two: one process repeats an image, which must not count."""
    *shared, alone = (each[what] for each in found)
    assert alone["images"] == 11
    for each in shared:
        assert each == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("count", [12, 7])
@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_metrics_while_training_are_those_of_all_images(found, kind, count):
    """Of seven images in batches of two, one process repeats one, which counts in its step and not in the metrics."""
    *shared, alone = (dict(each[f"{kind}, trained on {count}"]) for each in found)
    losses = [each.pop("loss") for each in (*shared, alone)]
    assert losses[0] == losses[1]
    # Of classes, steps have means over as many pixels as are not ignored.
    if kind == "binary" and count == 12:
        assert losses[0] == pytest.approx(losses[2])
    assert (alone["images"], alone["val_images"]) == (count, 11)
    for each in shared:
        assert each == pytest.approx(alone, rel=1e-6)


def test_totals_of_unequal_shares_add_up_to_the_totals_of_all(found):
    """Three images here and eight there, one of the four classes missing in the first three."""
    images, labels = pictures("classes", 11, seed=1)[:]
    with torch.no_grad():
        prediction = network("classes")(images).argmax(1).numpy()
    counted = labels.numpy() != 255
    right = (prediction == labels.numpy())[counted].mean()
    for each in found[:2]:
        assert each["summed"] == pytest.approx(found[2]["classes"], rel=1e-6)
        assert each["summed"]["pixel_accuracy"] == pytest.approx(right)
    assert not (labels[:3] == 2).any()
    assert np.isfinite(found[0]["summed"]["iou_sand"])


@pytest.fixture(scope="module")
def together():
    """The gradients of one process that sees all images."""
    return gradients()


@pytest.mark.parametrize(("kind", "name"), MEANS)
def test_gradients_of_two_processes_are_those_of_one_with_twice_the_images(found, together, kind, name):
    expected = together[f"{kind}, {name}"]
    assert expected.any()
    for each in found[:2]:
        torch.testing.assert_close(each["gradients"][f"{kind}, {name}"], expected, rtol=1e-9, atol=1e-12)


def test_gradients_of_a_mean_weighted_by_classes_are_averaged_over_the_processes(found, together):
    """Each process divides by the weights of its own images: it is the mean of two means, not that of all images."""
    shares = [gradients(part)["classes, weighted"] for part in (slice(0, 5), slice(5, 10))]
    for each in found[:2]:
        torch.testing.assert_close(each["gradients"]["classes, weighted"], sum(shares) / 2, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(each["gradients"]["classes, weighted"], together["classes, weighted"], rtol=1e-3)


def test_outlines_gathered_from_two_processes_are_those_of_all_images(found):
    """From three images here and eight there, one of each without a distance."""
    expected = mean_metrics(outlines())
    assert (expected["images"], expected["hausdorff_infinite"]) == (11, pytest.approx(2 / 11))
    for each in found[:2]:
        assert each["outlines"] == pytest.approx(expected, rel=1e-12)
