"""What a notebook builds and the package has does the same: outputs, and gradients where there are any.

A cell's tag `twin=NAME` says that the package has a twin of what it defines; `own=NAME`, that it has none. Every twin
is compared here, and the first lesson's network is trained from its own cells alone.
"""

import ast
import contextlib
import copy
import io
import re
from functools import cache
from pathlib import Path
from types import FunctionType

import albumentations as A
import cv2
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import seglib
from seglib import losses, metrics, muon, results
from seglib.data.datasets import flips_and_quarter_turns
from seglib.models.blocks import (
    AttentionGate,
    ConvBlock,
    ResidualBlock,
    SqueezeExcitation,
    batch_norm,
    initialize_kaiming,
)
from seglib.reports.denoising import baselines, shapes
from seglib.reports.face_masks import baselines as face_baselines
from seglib.reports.face_masks import faces

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [*sorted(ROOT.glob("notebooks/*.ipynb")), *sorted(ROOT.glob("notebooks/further/*.ipynb"))]


@cache
def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def tagged(cell, kind: str) -> list[str]:
    """The names that a cell's tags KIND=NAME give."""
    return [tag.partition("=")[2] for tag in cell.metadata.get("tags", []) if tag.startswith(f"{kind}=")]


def imports(path: Path) -> str:
    """What the set-up cell imports, without what it does."""
    tree = ast.parse(code_cells(path)[0].source)
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))


@cache
def built(path: Path) -> dict:
    """The names that a notebook's cells define, as they are when all of them have run."""
    scope: dict = {}
    exec(imports(path), scope)
    for cell in code_cells(path):
        if tagged(cell, "twin") or tagged(cell, "own"):
            tree = ast.parse(cell.source)
            kept = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
            exec(compile(ast.Module(kept, []), f"{path.name}: {cell.id}", "exec"), scope)
    return scope


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_masks(count: int = 60) -> list:
    """Pairs of masks of many sizes and densities, some of them empty or full."""
    generator = rng()
    drawn = [
        generator.random((2, *generator.integers(1, 9, 2))) < generator.choice([0, 0.3, 0.7, 1]) for _ in range(count)
    ]
    return [*drawn, np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)]


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    for module in (ours, theirs):
        torch.manual_seed(1)
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():  # running variances stay above 0
                tensor.copy_(torch.rand(tensor.shape, dtype=tensor.dtype) + 0.1)
    assert [t.shape for t in ours.state_dict().values()] == [t.shape for t in theirs.state_dict().values()]


def same_module(ours: nn.Module, theirs: nn.Module, *shape: int) -> None:
    """Outputs, gradients of the input and of all parameters, and running averages, in both modes."""
    same_weights(ours.double(), theirs.double())
    for training in (True, False):
        found = []
        for module in (ours, theirs):
            x = torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.double, requires_grad=True)
            answer = module.train(training)(x)
            module.zero_grad()
            (answer * torch.linspace(-1, 1, answer.numel(), dtype=torch.double).view_as(answer)).sum().backward()
            found.append([answer, x.grad, *(p.grad for p in module.parameters()), *module.buffers()])
        for one, two in zip(*found, strict=True):
            assert torch.allclose(one, two.view_as(one), rtol=1e-9, atol=1e-9)


def same_loss(ours, theirs) -> None:
    found = []
    for loss in (ours, theirs):
        z = 3 * torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))
        z.requires_grad_(True)
        t = (torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.3).float()
        t[2] = 0  # one without an object
        value = loss(z, t)
        value.backward()
        found.append((value, z.grad))
    for one, two in zip(*found):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)


def twin_iou(scope):
    for prediction, truth in random_masks():
        assert scope["iou"](prediction, truth) == pytest.approx(metrics.iou(prediction, truth))


def twin_dice(scope):
    for prediction, truth in random_masks():
        assert scope["dice"](prediction, truth) == pytest.approx(metrics.dice(prediction, truth))


def twin_otsu(scope):
    pictures, _ = shapes.make_pairs(40, 48, seed=3)
    for picture in [*pictures, np.array([[7, 7, 9]], np.uint8), rng().integers(0, 3, (5, 8)).astype(np.uint8) * 100]:
        assert np.array_equal(picture > scope["otsu"](picture), baselines.segment(picture, "none", 0))


def twin_flip_and_turn(scope):
    picture = torch.arange(9.0).view(1, 1, 3, 3)
    theirs, augment = set(), flips_and_quarter_turns()
    augment.set_random_seed(0)
    for _ in range(200):
        theirs.add(augment(image=picture[0, 0].numpy()[..., None])["image"].tobytes())
    torch.manual_seed(0)
    ours = set()
    for _ in range(200):
        image, mask = scope["flip_and_turn"](picture.repeat(2, 1, 1, 1), -picture.repeat(2, 1, 1, 1))
        assert torch.equal(image, -mask)
        ours.add(image[1, 0].numpy().tobytes())
    assert ours == theirs
    assert len(ours) == 8


def twin_block(scope):
    same_module(scope["Block"](3, 8), ConvBlock(3, 8, batch_norm), 2, 3, 6, 10)


def twin_tiny_unet(scope):
    widths = [4, 8, 16]
    same_module(scope["TinyUNet"](widths), seglib.UNet(1, 1, widths), 2, 1, 8, 12)


def twin_bce_loss(scope):
    same_loss(scope["bce_loss"], losses.bce_loss)


def twin_dice_loss(scope):
    same_loss(scope["dice_loss"], losses.dice_loss)


def some_pairs(count: int = 12):
    images, masks = shapes.make_pairs(count, 16, seed=0)
    return torch.from_numpy(images)[:, None] / 255, torch.from_numpy(masks)[:, None].float()


def twin_evaluate(scope):
    torch.manual_seed(0)
    network, (images, masks) = seglib.UNet(1, 1, [4, 8]), some_pairs(230)
    masks[3] = 0
    network(images)  # running averages of its own
    found = seglib.evaluate(network, TensorDataset(images, masks))
    assert scope["evaluate"](network, images, masks) == pytest.approx(found["iou"], abs=1e-6)
    assert 0 < found["iou"] < 1


def twin_training_loop(scope):
    """With all pairs in one batch and no augmentation there is no chance in it: the same losses, IoUs and weights.

    (With batch normalisation, Adam would move the biases before it by rounding errors.)
    """
    loop = scope["training_loop"]
    plain = dict(loop.__globals__) | {"flip_and_turn": lambda image, mask: (image, mask)}
    loop = FunctionType(loop.__code__, plain, "training_loop", loop.__defaults__)
    loss = losses.weighted_sum({"bce": 0.7, "dice": 0.3})
    pairs, said, last = some_pairs(), io.StringIO(), []
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    theirs = copy.deepcopy(ours)
    with contextlib.redirect_stdout(said):
        loop(ours, loss, pairs, pairs, epochs=4, rate=0.01, batch_size=12)
    history = seglib.fit(
        *(theirs, loss, TensorDataset(*pairs), TensorDataset(*pairs)),
        **{"epochs": 4, "batch_size": 12, "learning_rate": 0.01, "schedule": "one-cycle"},
        on_epoch=lambda epoch: last.append(copy.deepcopy(theirs.state_dict())),
    )
    for one, two in zip(ours.state_dict().values(), last[-1].values(), strict=True):
        assert torch.allclose(one, two, atol=2e-3)  # a fifth of one of Adam's steps
    told = [float(number) for number in re.findall(r"(?:loss|IoU) ([\d.]+)", said.getvalue())]
    assert told == pytest.approx([e[key] for e in history for key in ("loss", "val_iou")], abs=2e-3)


def twin_one_cycle(scope):
    for steps, top in ((168, 0.03), (10, 1.0), (7, 0.2)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], top)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, top, total_steps=steps)
        rates = []
        for step in range(steps):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            if step + 1 < steps:
                schedule.step()
        assert [scope["one_cycle"](step, steps, top) for step in range(steps)] == pytest.approx(rates, rel=1e-6)


def twin_orthogonalize(scope):
    for shape in ((4, 9), (16, 144), (5, 5)):
        matrix = torch.from_numpy(rng().standard_normal(shape))
        (theirs,) = muon.orthogonalize([matrix])
        assert torch.allclose(scope["orthogonalize"](matrix), theirs, atol=1e-5)


def twin_muon_step(scope):
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(8, 4, 3, 3, generator=generator)
    theirs, momentum = nn.Parameter(ours.clone()), torch.zeros_like(ours)
    optimizer = muon.Muon([theirs], lr=0.03)
    for _ in range(4):
        theirs.grad = torch.randn(8, 4, 3, 3, generator=generator)
        ours, momentum = scope["muon_step"](ours, theirs.grad, momentum, 0.03)
        optimizer.step()
        assert torch.allclose(ours, theirs, atol=1e-5)


def twin_inside(scope):
    theirs = shapes.polygons(30, 40, rng(5))
    for vertices, mask in zip(shapes.polygon_vertices(30, 40, rng(5)), theirs):
        assert np.array_equal(scope["inside"](vertices, 40), mask)


def twin_reliability(scope):
    probabilities = rng(1).random((4, 6, 7)) ** 3
    truths = rng(2).random((4, 6, 7)) < probabilities**2
    probabilities[0, 0, :2] = 0, 1
    for one, two in zip(scope["reliability"](probabilities, truths), metrics.reliability(probabilities, truths)):
        assert np.allclose(one, two)


def twin_gate(scope):
    same_module(scope["Gate"](16), SqueezeExcitation(16), 2, 16, 5, 7)


# --- notebook 2 ---


def twin_otsu_of_a_face(scope):
    for picture in faces.generate(30, 48, seed=3).images:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        assert np.array_equal(scope["otsu"](grey), face_baselines.otsu(picture))


def twin_split_people(scope):
    for seed in range(20):
        people = rng(seed).choice(["anna", "bo", "chen", "dana", "eve"], 30).tolist()
        names = [f"facemask_{person}_0_0_{i}" for i, person in enumerate(people)]
        folds = 2 + seed % 3
        theirs = faces.split_folds(names, folds, seed)
        ours = scope["split_people"](people, folds, seed)
        assert [sorted(part) for part in ours] == [part.tolist() for part in theirs]


def twin_turn(scope):
    pairs = faces.generate(1, 48, seed=3)
    picture, mask = pairs.images[0][:, 5:], pairs.masks[0][:, 5:]
    for degrees in (-10, 3, 15):
        both = A.Compose([A.Rotate((degrees, degrees), border_mode=cv2.BORDER_REFLECT_101, p=1)])
        theirs = both(image=picture, mask=mask)
        assert np.array_equal(scope["turn"](picture, degrees, cv2.INTER_LINEAR), theirs["image"])
        assert np.array_equal(scope["turn"](mask, degrees, cv2.INTER_NEAREST), theirs["mask"])
        ours = scope["augment"](picture, mask, degrees, bug=True)
        assert np.array_equal(ours[0], faces.RotateImageOnly().apply(picture, degrees))
        assert ours[1] is mask


class Gated(nn.Module):
    """A gate of one input, whose channels are those of the skip and then those of the gating signal."""

    def __init__(self, gate: nn.Module):
        super().__init__()
        self.gate = gate

    def forward(self, x):
        return self.gate(*x.chunk(2, dim=1))


def twin_attention_gate(scope):
    same_module(Gated(scope["Gate"](6)), Gated(AttentionGate(6, batch_norm)), 2, 12, 5, 7)


def twin_residual(scope):
    for before in (4, 6):
        same_module(scope["Residual"](before, 4), ResidualBlock(before, 4, batch_norm), 2, before, 5, 7)


def twin_kaiming(scope):
    drawn = []
    for initialize in (scope["kaiming"], initialize_kaiming):
        layer = nn.Conv2d(3, 5, 3)
        torch.manual_seed(0)
        initialize(layer)
        drawn.append(layer)
    assert torch.allclose(drawn[0].weight, drawn[1].weight)
    assert torch.equal(drawn[0].bias, drawn[1].bias)


def twin_epochs_run(scope):
    pairs, loss = TensorDataset(*some_pairs()), losses.weighted_sum({"bce": 1.0})
    for patience in (1, 2, 4):
        runs = []
        for allowed in (None, patience):
            torch.manual_seed(0)
            network = nn.Conv2d(1, 1, 3, padding=1)  # at this rate it sways
            options = {"epochs": 12, "batch_size": 4, "learning_rate": 0.5, "patience": allowed}
            runs.append(seglib.fit(network, loss, pairs, pairs, **options))
        everything, stopped = ([epoch["val_iou"] for epoch in run] for run in runs)
        assert everything[: len(stopped)] == stopped
        assert scope["epochs_run"](everything, patience) == len(stopped)
    assert len(stopped) < 12


def twin_boundary_iou(scope):
    for prediction, truth in [*random_masks(), *(np.pad(pair, ((0, 0), (9, 50), (20, 3))) for pair in random_masks())]:
        assert scope["boundary_iou"](prediction, truth) == pytest.approx(metrics.boundary_iou(prediction, truth))


def twin_hd95(scope):
    for prediction, truth in random_masks():
        if prediction.any() and truth.any():
            assert scope["hd95"](prediction, truth) == pytest.approx(metrics.hausdorff(prediction, truth, 95))


def twin_gain_over(scope):
    for metric, level in (("iou", 0.99), ("boundary_iou", 0.95)):
        theirs = results.interval("face_masks", "no-gates", "model-2", metric, folds=3, confidence=level)
        assert scope["gain_over"]("model-2", "no-gates", metric, level) == pytest.approx(theirs)


TWINS = {
    "01_denoising": {
        "iou": twin_iou,
        "dice": twin_dice,
        "otsu": twin_otsu,
        "flip_and_turn": twin_flip_and_turn,
        "Block": twin_block,
        "TinyUNet": twin_tiny_unet,
        "bce_loss": twin_bce_loss,
        "dice_loss": twin_dice_loss,
        "evaluate": twin_evaluate,
        "training_loop": twin_training_loop,
    },
    "fast_training": {
        "one_cycle": twin_one_cycle,
        "orthogonalize": twin_orthogonalize,
        "muon_step": twin_muon_step,
        "inside": twin_inside,
    },
    "beyond_denoising": {"reliability": twin_reliability, "Gate": twin_gate},
    "02_face_masks": {
        "otsu": twin_otsu_of_a_face,
        "split_people": twin_split_people,
        "turn": twin_turn,
        "Gate": twin_attention_gate,
        "Residual": twin_residual,
        "kaiming": twin_kaiming,
        "epochs_run": twin_epochs_run,
        "boundary_iou": twin_boundary_iou,
        "hd95": twin_hd95,
        "gain_over": twin_gain_over,
    },
}
MARKED = [(path, name) for path in NOTEBOOKS for cell in code_cells(path) for name in tagged(cell, "twin")]


@pytest.mark.parametrize(("path", "name"), MARKED, ids=[f"{path.stem}-{name}" for path, name in MARKED])
def test_a_twin_does_what_the_package_does(path, name):
    assert name in TWINS.get(path.stem, {}), f"{path.name}: nothing here compares {name}"
    TWINS[path.stem][name](built(path))


def test_every_comparison_is_of_something_that_a_notebook_marks():
    marked = {(path.stem, name) for path, name in MARKED}
    assert marked == {(stem, name) for stem, twins in TWINS.items() for name in twins}


WRONG = [  # of the notebook's code what is replaced, and by what; the twin that must notice
    ("01_denoising", "iou", "else 1.0", "else 0.0"),
    ("01_denoising", "dice", "2 * overlap", "overlap"),
    ("01_denoising", "otsu", "difference**2", "difference"),
    ("01_denoising", "flip_and_turn", "randint(4, ())", "randint(3, ())"),
    ("01_denoising", "flip_and_turn", "pair[:, 1:]", "mask"),
    ("01_denoising", "Block", "nn.ReLU()", "nn.Identity()"),
    ("01_denoising", "TinyUNet", "[skip, up(x)]", "[up(x), skip]"),
    ("01_denoising", "bce_loss", "(1 - t)", "t"),
    ("01_denoising", "dice_loss", "(1, 2, 3)", "(0, 1, 2, 3)"),
    ("01_denoising", "evaluate", "network.eval()", "network.train()"),
    ("01_denoising", "training_loop", "optimizer.zero_grad()", "pass"),
    ("01_denoising", "training_loop", "schedule.step()", "pass"),
    ("01_denoising", "training_loop", "Adam(", "SGD("),
    ("fast_training", "one_cycle", "top / 25,", "top / 10,"),
    ("fast_training", "orthogonalize", "range(5)", "range(4)"),
    ("fast_training", "muon_step", "0.2 *", "0.3 *"),
    ("fast_training", "inside", "(ay <= y)", "(ay < y)"),
    ("beyond_denoising", "reliability", "counts[filled] *", ""),
    ("beyond_denoising", "Gate", "torch.sigmoid", "torch.tanh"),
    ("02_face_masks", "otsu", "** 2", ""),
    ("02_face_masks", "split_people", "reverse=True", "reverse=False"),
    ("02_face_masks", "turn", "width / 2 - 0.5", "width / 2"),
    ("02_face_masks", "turn", "flags=interpolation", "flags=cv2.INTER_LINEAR"),
    ("02_face_masks", "Gate", "(x) + self", "(x) * self"),
    ("02_face_masks", "Residual", " + self.shortcut(x)", ""),
    ("02_face_masks", "kaiming", "(2 / inputs)", "(1 / inputs)"),
    ("02_face_masks", "epochs_run", ">= patience", "> patience"),
    ("02_face_masks", "boundary_iou", "np.pad(mask, 1)", "np.pad(mask, 1, 'edge')"),
    ("02_face_masks", "hd95", "max(np", "min(np"),
    ("02_face_masks", "gain_over", "1 / 2", "0"),
]


@pytest.mark.parametrize(("stem", "name", "old", "new"), WRONG)
def test_a_fault_in_the_notebook_is_noticed(stem, name, old, new):
    (path,) = (path for path in NOTEBOOKS if path.stem == stem)
    scope = dict(built(path))
    (cell,) = (cell for cell in code_cells(path) if name in tagged(cell, "twin"))
    assert old in cell.source
    tree = ast.parse(cell.source.replace(old, new))
    (node,) = (node for node in tree.body if getattr(node, "name", None) == name)
    exec(compile(ast.Module([node], []), name, "exec"), scope)
    with pytest.raises((AssertionError, RuntimeError, ValueError, IndexError)):
        TWINS[stem][name](scope)


# --- the first lesson's own network ---


@pytest.mark.slow
def test_who_copies_the_first_lesson_s_own_cells_has_a_network_above_0_88(monkeypatch, capsys):
    path = NOTEBOOKS[0]
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    scope: dict = {}
    foreign = [line for line in imports(path).splitlines() if "seglib" not in line]
    data_and_figures = ["from seglib.course import figures", "from seglib.reports.denoising import shapes"]
    exec("\n".join(foreign + data_and_figures), scope)
    own = [cell for cell in code_cells(path) if "by-hand" in cell.metadata.get("tags", [])]
    for cell in own:
        assert "seglib" not in cell.source
        exec(compile(cell.source, f"{path.name}: {cell.id}", "exec"), scope)
    assert "epoch 2" in capsys.readouterr().out
    images, masks = shapes.make_pairs(300, 64, seed=7)  # that it has not seen
    network = scope["network"].eval()
    with torch.no_grad():
        found = network(torch.from_numpy(images)[:, None] / 255)[:, 0].numpy() > 0
    overlap = (found & (masks == 1)).sum((1, 2)) / (found | (masks == 1)).sum((1, 2))
    assert overlap.mean() > 0.88
    names = {type(module).__module__.split(".")[0] for module in network.modules()}
    assert "seglib" not in names
