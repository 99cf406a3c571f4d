"""Rows of the scribble report: folds, what a network is given and asked, what a run measures, masks for files."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from by_hand import box, overlap, rng, store_challenge, store_coco, two_colours
from PIL import Image
from torch import nn

import seglib.rows
from seglib import experiment, weights
from seglib.__main__ import main
from seglib.data import coco
from seglib.data.challenge import Scribbled, write_scribble
from seglib.data.datasets import channel_statistics
from seglib.files import shipped
from seglib.metrics import boundary_iou
from seglib.prediction import predict_files
from seglib.reports.base import Splits
from seglib.reports.scribbles import report, scribbles
from seglib.reports.scribbles.baselines import FROM_STROKES
from seglib.reports.scribbles.scribbles import fill_in, network_input
from seglib.rows import ConfigError, load_row

SCENES = {"data.scenes": 10, "data.width": 64, "data.height": 32}  # drawn once, as `generated_scribbles` keeps them
TINY = SCENES | {"data.run_folds": 1, "training.epochs": 1, "training.batch_size": 4}
METRICS = {
    *("mean_iou", "iou", "iou_background", "dice", "pixel_accuracy", "mean_iou_pooled", "iou_pooled"),
    *("boundary_iou", "hausdorff_95", "hausdorff_95_infinite"),
}
OF_NETWORKS = METRICS | {"calibration_error"} | {f"mean_iou_strokes_{share}%" for share in (0, 10, 25, 50)}
SIZE = (40, 60)  # of photographs that are made by hand


@pytest.fixture(scope="module", autouse=True)
def _with_a_small_network(tmp_path_factory, one_thread):
    """The shipped rows, and some with a network that is trained in a moment; in one thread no sum changes its order."""
    content = yaml.safe_load((shipped("configs") / "scribbles.yaml").read_text(encoding="utf-8"))
    rows, network = content["rows"], {"widths": [8, 16], "in_channels": 4, "out_channels": 1, "normalize": True}
    rows["tiny"] = {"title": "A small network", "model": network}
    rows["first"] = rows["tiny"] | {
        "quick": {  # an override does not reach the row that another starts from
            "data": {"width": 64, "height": 32, "scenes": 10, "folds": 3, "run_folds": 2},
            "training": {"epochs": 1, "batch_size": 4},
        }
    }
    rows["then"] = rows["first"] | {"start": "first", "data": {"extra": ["coco-unlabelled"]}}
    rows["scenes-first"] = rows["first"] | {"data": {"real": False, "run_folds": 1}}
    rows["scenes-then"] = rows["first"] | {"start": "scenes-first"}
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "configs").mkdir()
    (folder / "configs" / "scribbles.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seglib.rows.shipped", lambda name: folder / name)
        seglib.rows._read.cache_clear()
        yield
    seglib.rows._read.cache_clear()


@pytest.fixture(scope="module")
def drawn():
    return report.generated_scribbles(10, 0)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return experiment.run("scribbles", "tiny", overrides=TINY, out=tmp_path_factory.mktemp("run") / "results")


def changed(name, **changes):
    """A row with other data, and a network for it."""
    channels = {"model.in_channels": 4 + len(changes["clues"])} if "clues" in changes else {}
    return load_row(
        "scribbles", name, overrides=SCENES | channels | {f"data.{key}": value for key, value in changes.items()}
    )


def folds(name="report", folder=None, seed=0, **changes):
    return experiment.make_folds(changed(name, **changes), seed, folder)


def mean_iou(mask, truth):
    return (overlap(mask, truth) + overlap(~mask, ~truth)) / 2


def photograph(seed=0, size=SIZE):
    """A bright object on a dark ground, its mask, and a stroke on either."""
    mask, strokes = np.zeros(size, bool), np.zeros(size, np.int8)
    mask[size[0] // 4 : -size[0] // 3, size[1] // 5 : -size[1] // 4 - seed] = True
    strokes[size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    strokes[2, 3:-3] = -1
    return two_colours(mask, (200, 150, 60), (40, 80, 110), 10, seed), mask, strokes


def network(seed=0):
    """An untrained network of the tiny row."""
    torch.manual_seed(seed)
    return experiment.make_model(load_row("scribbles", "tiny")).eval()


def settings(**changes):
    return changed("tiny", **changes).data


# --- folds ---


def test_every_photograph_is_in_one_validation_part_and_not_in_that_fold_s_training_part(drawn):
    found = folds()
    assert len(found) == 5
    assert sorted(name for fold in found for name in fold.validation.names) == sorted(drawn.names)
    for i, fold in enumerate(found):
        assert not set(fold.train.names) & set(fold.validation.names)
        assert set(fold.train.names) | set(fold.validation.names) == set(drawn.names)
        assert (len(fold.train), len(fold.validation)) == (8, 2)
        assert fold.description == (
            f"generated scenes at 64×32, fold {i + 1} of 5, stratified by the object's share: 8 for training, 2 for "
            "validation, seed 0"
        )
        for part in (fold.train, fold.validation):  # and what stands under a name is that photograph
            for name, mask in zip(part.names, part.data.masks):
                assert np.array_equal(mask, drawn.masks[drawn.names.index(name)])


def test_a_network_sees_the_row_s_size_and_is_measured_at_the_photograph_s():
    (fold, *_) = folds(run_folds=1)
    for part in (fold.train, fold.validation):
        image, target = part[0]
        assert (image.shape, target.shape) == ((4, 32, 64), (1, 32, 64))
        assert {mask.shape for mask in part.data.masks} == {(375, 500)}
    clues = folds(run_folds=1, clues=["geodesic", "likelihood"])[0]
    assert clues.train[0][0].shape == clues.validation[0][0].shape == (6, 32, 64)


def test_training_parts_alone_are_augmented_and_drawn_on_anew(drawn):
    (fold, *_) = folds(run_folds=1, augment="high", synthetic=1.0)
    items = []
    for part in (fold.train, fold.validation):
        for epoch in (0, 1):
            part.set_epoch(epoch)
            items.append(part[0])
    assert not torch.equal(items[0][0], items[1][0])
    assert torch.equal(items[2][0], items[3][0])
    i = drawn.names.index(fold.validation.names[0])
    strokes = scribbles.resized_labels(drawn.scribbles[i], (32, 64))
    assert np.array_equal(items[2][0][3].numpy(), strokes)


def test_run_folds_are_the_first_of_all_and_depend_on_the_seed_and_not_on_the_row():
    names = [fold.validation.names for fold in folds()]
    for found, count in ((folds(run_folds=1), 1), (folds(run_folds=3), 3), (folds("tiny"), 5), (folds("nearest"), 5)):
        assert [fold.validation.names for fold in found] == names[:count]


def test_limit_keeps_some_of_each_training_part():
    some = folds(limit=3)
    for whole, fold in zip(folds(), some, strict=True):
        assert len(fold.train) == 3
        assert set(fold.train.names) < set(whole.train.names)
        assert fold.validation.names == whole.validation.names
        assert ": 3 for training, 2 for validation" in fold.description
    assert len({tuple(sorted(fold.train.names)) for fold in some}) > 1


def test_extra_scenes_go_into_training_parts_alone(monkeypatch, drawn):
    """And they are others than those that are held out."""
    asked = []

    def fake(count, seed):
        asked.append((count, seed))
        other = drawn.take(range(3))
        return drawn if seed == 0 else Scribbled(other.images, other.scribbles, other.masks, ["x", "y", "z"])

    monkeypatch.setattr(report, "generated_scribbles", fake)
    every = folds()
    asked.clear()
    for whole, fold in zip(every, folds(extra=["scenes"], limit=4), strict=True):
        assert fold.train.names[4:] == ["x", "y", "z"]
        assert len(fold.train.data.images) == len(fold.train.data.masks) == len(fold.train.data.scribbles) == 7
        assert fold.validation.names == whole.validation.names
        assert "4 and 3 generated scenes for training, 2 for" in fold.description
    assert [count for count, _ in asked] == [10, 10]
    assert len({seed for _, seed in asked}) == 2
    assert folds(extra=["coco"])[0].train.names == every[0].train.names  # no folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder of real data with six photographs of the challenge and three of COCO."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(6):
        picture, mask, strokes = photograph(i)
        store_challenge(folder, f"2008_00000{i}", picture, strokes, mask)
    coco_of(folder, IMAGES)
    return folder


def test_with_real_data_the_folds_are_the_challenge_s_and_coco_goes_into_training_parts_alone(real):
    plain = folds(folder=real, folds=3)
    assert sorted(name for fold in plain for name in fold.validation.names) == [f"2008_00000{i}" for i in range(6)]
    assert plain[0].description.startswith("the scribble challenge at 64×32, fold 1 of 3, ")
    assert all(name.startswith("scene-") for name in folds(folder=real, real=False)[0].validation.names)
    tasks = ["3-dining table", "5-banana", "5-traffic light", *(f"8-{name}" for name in ("banana", "dog", "person"))]
    for extra, more, what in (
        ("coco", ["3", "8"], "2 photographs of COCO"),
        ("coco-categories", tasks, "6 categories in photographs of COCO"),
    ):
        for one, other in zip(plain, folds(folder=real, folds=3, extra=[extra]), strict=True):
            assert other.train.names == [*one.train.names, *(f"{0:011d}{name}" for name in more)]
            assert len(other.train) == 4 + len(more)
            assert other.validation.names == one.validation.names
            assert f"4 and {what} for training, 2 for validation" in other.description


def test_photographs_without_masks_wait_for_a_network_that_finds_them(real):
    for one, other in zip(folds("first", folder=real), folds("then", folder=real)):
        assert other.train.names == one.train.names
        assert other.validation.names == one.validation.names
        assert other.unlabelled.names == ["000000000003", "000000000008"]
        said = "4 and, with the masks that the starting network finds, 2 photographs of COCO for training, 2 for"
        assert said in other.description
        assert one.unlabelled is None
    assert folds("then")[0].unlabelled is None  # no folder
    with pytest.raises(ConfigError, match="coco-unlabelled needs a row to start from"):
        folds("first", extra=["coco-unlabelled"])


def test_results_on_real_data_are_called_so(real):
    for called, changes in (
        ("scribbles", {}),
        ("scribbles", {"data.extra": ["scenes"]}),
        ("scribbles+COCO", {"data.extra": ["coco-categories", "coco"]}),
        ("embedded+COCO", {"data.extra": ["coco-categories"], "data.real": False}),
        ("embedded", {"data.real": False}),
    ):
        row = load_row("scribbles", "report", overrides=changes)
        assert (experiment.data_source(row, real), experiment.data_source(row, None)) == (called, "embedded")


def test_a_row_starts_from_a_network_that_knows_none_of_its_scenes(real, tmp_path):
    """Where scenes stand in for the challenge's photographs, the first network is trained on others."""
    for folder, seed in ((None, 3000), (real, 0)):
        outcome = experiment.run("scribbles", "scenes-then", data=folder, overrides={"data.run_folds": 1}, out=tmp_path)
        assert all(history for history in outcome.histories)
        (first,) = tmp_path.glob(f"scribbles/scenes-first.quick.seed{seed}.json")
        assert json.loads(first.read_text())["seed"] == seed
    assert len(list(tmp_path.glob("scribbles/scenes-first*"))) == 2


# --- COCO's photographs ---

BOXES = {
    "dog": (10, 5, 20, 25),
    "person": (35, 10, 20, 20),
    "banana": (5, 20, 15, 15),
    "dining table": (40, 20, 15, 18),
    "dog:second": (20, 15, 25, 20),  # overlaps the first
    "dog:small": (50, 2, 5, 4),  # 20 of 2,400 pixels
    "person:small": (2, 33, 5, 4),
    "person:just": (30, 33, 6, 4),
}
IMAGES = {  # by id: what is in each
    8: ["banana", "dog", "person"],
    5: ["banana", "traffic light"],  # neither is a category of Pascal VOC's
    3: ["dining table", "crowd"],
}


def part(name):
    """The mask of one thing, by its name in BOXES; of what is not there a small one, and a crowd is all over."""
    x, y, width, height = (0, 0, SIZE[1], SIZE[0]) if name == "crowd" else BOXES.get(name, (2, 2, 12, 12))
    return box(*SIZE, (y, y + height), (x, x + width))


def coco_of(folder, contents):
    photographs = {}
    for number, names in contents.items():
        things = [("person" if n == "crowd" else n.partition(":")[0], part(n), n == "crowd") for n in names]
        photographs[number] = rng(number).integers(0, 256, (*SIZE, 3), np.uint8), things
    store_coco(folder, "val2017", photographs)


TASKS = {  # photographs, and by what is found in them what its parts are: as one task each, and for each category one
    6: (["dog:small"], {}, {}),
    7: (["person:small", "dog:small"], {"": ["person:small", "dog:small"]}, {}),
    2: (
        ["dog", "person:small", "crowd", "banana", "dog:second"],
        {"": ["dog", "dog:second", "person:small"]},
        {"dog": ["dog", "dog:second"], "banana": ["banana"]},
    ),
    1: (["banana", "dining table"], {"": ["dining table"]}, {"dining table": ["dining table"], "banana": ["banana"]}),
    9: (["person:just"], {"": ["person:just"]}, {"person": ["person:just"]}),
}


@pytest.mark.parametrize("apart", [False, True])
def test_coco_s_masks_are_unions_that_are_large_enough(tmp_path, apart):
    """A hundredth of the photograph; and a crowd all over it is background."""
    coco_of(tmp_path, {number: names for number, (names, *_) in TASKS.items()})
    expected = {}
    for number, (_, *tasks) in TASKS.items():
        for category, parts in tasks[apart].items():
            expected[f"{number:012d}-{category}" if apart else f"{number:012d}"] = sum(map(part, parts)) > 0
    found = scribbles.from_coco(tmp_path, 0, apart)
    assert found.names == sorted(expected)
    for name, image, strokes, mask in zip(found.names, found.images, found.scribbles, found.masks):
        assert np.array_equal(mask, expected[name])
        assert mask.dtype == bool
        assert strokes.shape == SIZE
        path = tmp_path / "coco" / "val2017" / f"{name.partition('-')[0]}.jpg"
        assert np.array_equal(image, cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


@pytest.mark.parametrize("apart", [False, True])
def test_strokes_on_coco_s_objects_are_on_their_sides(real, apart):
    for seed in range(5):
        found = scribbles.from_coco(real, seed, apart)
        for strokes, mask in zip(found.scribbles, found.masks):
            assert strokes.dtype == np.int8
            assert (strokes == 1).any()
            assert mask[strokes == 1].all()
            assert not mask[strokes == -1].any()
        assert any((strokes == -1).any() for strokes in found.scribbles)
    again, other = (scribbles.from_coco(real, seed, apart).scribbles for seed in (4, 5))
    assert all(np.array_equal(one, two) for one, two in zip(again, found.scribbles))
    assert not all(np.array_equal(one, two) for one, two in zip(other, found.scribbles))


def test_pascal_voc_s_twenty_classes_are_coco_s_categories():
    assert len(set(scribbles.VOC_CATEGORIES)) == 20
    assert {entry.category for entry in coco.photographs()} & set(scribbles.VOC_CATEGORIES)  # spelt as COCO spells them


# --- filling in ---


def by_hand(model, picture, strokes, size):
    """Probabilities at height and width `size`, and brought back with PyTorch's interpolation in place of OpenCV's."""
    seen = np.array(Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS))
    drawn = cv2.resize(strokes.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    batch = np.concatenate([seen / np.float32(255), drawn[..., None]], axis=2).transpose(2, 0, 1)[None]
    with torch.no_grad():
        found = torch.sigmoid(model.eval()(torch.from_numpy(batch.astype(np.float32))))
    return nn.functional.interpolate(found, picture.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize("size", [SIZE, (90, 70), (33, 100)])
def test_what_is_filled_in_has_the_photograph_s_size(size):
    picture, _, strokes = photograph(size=size)
    found = fill_in([network()], picture, strokes, settings(width=64, height=32))
    assert (found.shape, found.dtype) == (size, np.float32)
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_allclose(found, by_hand(network(), picture, strokes, (32, 64)), atol=1e-4)


def test_views_are_averaged(monkeypatch):
    """A stand-in for a network that says how bright the left half is tells sizes and sides apart."""
    picture, _, strokes = photograph()
    seen = []

    def left_half(model, batch):
        seen.append(batch)
        return (batch[:, :1] * (torch.arange(batch.shape[-1]) < batch.shape[-1] // 2)).contiguous()

    monkeypatch.setattr("seglib.reports.base.predict", left_half)
    found = fill_in([None], picture, strokes, settings(width=64, height=32, used_at=[1, 1.5], mirrored=True))
    assert [tuple(batch.shape[-2:]) for batch in seen] == [(32, 64), (32, 64), (48, 96), (48, 96)]
    assert torch.equal(seen[1], seen[0].flip(-1))
    red = [cv2.resize(batch[0, 0].numpy(), strokes.shape[::-1], interpolation=cv2.INTER_LINEAR) for batch in seen[::2]]
    # The left half from the photograph itself, the right one from its mirror image: each in one view of two.
    inside = np.ones(strokes.shape, bool)
    inside[:, strokes.shape[1] // 2 - 3 : strokes.shape[1] // 2 + 3] = False
    np.testing.assert_allclose(found[inside], (sum(red) / 4)[inside], atol=1e-5)


def test_networks_see_the_row_s_size_and_clues(monkeypatch):
    picture, _, strokes = photograph()
    seen = []
    monkeypatch.setattr("seglib.reports.base.predict", lambda model, batch: seen.append(batch) or batch[:, :1])
    fill_in([None], picture, strokes, settings(width=96, height=64, clues=["likelihood"]))
    small = scribbles.resized(picture, (64, 96)), scribbles.resized_labels(strokes, (64, 96))
    assert seen[0].shape == (1, 5, 64, 96)
    assert torch.equal(seen[0][0], network_input(*small, ["likelihood"]))


def test_several_networks_give_the_mean_of_their_probabilities():
    picture, _, strokes = photograph()
    models, data = [network(seed) for seed in range(3)], settings(width=64, height=32)
    each = [fill_in([model], picture, strokes, data) for model in models]
    assert np.abs(each[0] - each[1]).max() > 0.01
    np.testing.assert_allclose(fill_in(models, picture, strokes, data), np.mean(each, axis=0), atol=1e-6)


# --- runs ---


def test_a_run_measures_its_network_at_the_photographs_own_size(outcome, drawn):
    result = json.loads(outcome.path.read_text())
    assert OF_NETWORKS - {"hausdorff_95"} <= result["metrics"].keys() <= OF_NETWORKS  # no finite one, no mean
    assert "metrics over the 2 validation pairs" in result["split"]
    assert (result["data"], result["best_epoch"], len(result["history"])) == ("embedded", 1, 1)
    assert result["parameters"] == sum(p.numel() for p in outcome.model.parameters())
    (fold,) = outcome.data
    masks, truths = [], []
    for name in fold.validation.names:
        i = drawn.names.index(name)
        masks.append(grey(experiment.run_folder(outcome.path) / "predictions" / f"{name}.png") > 0)
        truths.append(drawn.masks[i])
        expected = by_hand(outcome.model, drawn.images[i], drawn.scribbles[i], (32, 64))
        assert masks[-1].shape == (375, 500)
        clear = np.abs(expected - 0.5) > 1e-3
        assert np.array_equal(masks[-1][clear], (expected >= 0.5)[clear])
    pairs, found = list(zip(masks, truths)), result["metrics"]
    assert found["mean_iou"] == pytest.approx(np.mean([mean_iou(*pair) for pair in pairs]))
    assert found["iou"] == pytest.approx(np.mean([overlap(*pair) for pair in pairs]))
    assert found["iou_background"] == pytest.approx(np.mean([overlap(~one, ~other) for one, other in pairs]))
    assert found["pixel_accuracy"] == pytest.approx(np.mean([(one == other).mean() for one, other in pairs]))
    pooled = np.concatenate(masks), np.concatenate(truths)
    assert found["mean_iou_pooled"] == pytest.approx(mean_iou(*pooled))
    assert found["iou_pooled"] == pytest.approx(overlap(*pooled))
    assert found["boundary_iou"] == pytest.approx(np.mean([boundary_iou(*pair) for pair in pairs]))


@pytest.mark.parametrize("name", ["background", "nearest", "grabcut", "random-walker"])
def test_baselines_are_measured_as_the_networks_are(name, real, tmp_path):
    changes = {"data.folds": 3, "data.run_folds": 1}
    found = experiment.run("scribbles", name, data=real, overrides=changes, out=tmp_path)
    result, metrics = json.loads(found.path.read_text()), found.result["metrics"]
    assert metrics.keys() == METRICS - ({"hausdorff_95"} if name == "background" else set())
    assert (result["parameters"], result["history"], found.model) == (0, [], None)
    assert (result["data"], found.path.name.startswith(f"{name}.quick.seed0.scribbles.data")) == ("scribbles", True)
    held_out, method = found.data[0].validation.data, FROM_STROKES[name]
    pairs = [(method(*given), truth) for *given, truth in zip(held_out.images, held_out.scribbles, held_out.masks)]
    assert metrics["mean_iou"] == pytest.approx(np.mean([mean_iou(*pair) for pair in pairs]))
    assert metrics["iou"] == pytest.approx(np.mean([overlap(*pair) for pair in pairs]))
    if name == "background":
        assert (metrics["iou"], metrics["hausdorff_95_infinite"]) == (0, 1)
        assert metrics["mean_iou"] == pytest.approx(np.mean([1 - mask.mean() for mask in held_out.masks]) / 2)
    elif name != "nearest":
        assert metrics["mean_iou"] > 0.9


def test_the_report_s_row_runs_with_a_smaller_encoder(real, tmp_path):
    """With augmentation, generated strokes, the report's loss, AdamW and a cosine."""
    changes = {"model.encoder": "tu-resnet18", "data.folds": 3, "data.run_folds": 1, "training.epochs": 2}
    changes |= {"data.width": 64, "data.height": 32, "training.precision": "float32"}
    found = experiment.run("scribbles", "report", data=real, overrides=changes, out=tmp_path / "results")
    result = json.loads(found.path.read_text())
    assert OF_NETWORKS - {"hausdorff_95"} <= result["metrics"].keys() <= OF_NETWORKS
    assert result["data"] == "scribbles"
    # A step an epoch: half a wave of two.
    assert [row["learning_rate"] for row in result["history"]] == pytest.approx([0.005, 0.0025], rel=1e-4)
    assert all(np.isfinite([row["loss"], row["val_loss"]]).all() for row in result["history"])
    best = max(result["history"], key=lambda row: row["val_mean_iou"])
    assert result["best_epoch"] == best["epoch"]
    mean, std = channel_statistics(found.data[0].train.images)
    np.testing.assert_allclose(found.model[0].mean, [*mean, 0], rtol=1e-5)
    np.testing.assert_allclose(found.model[0].std, [*std, 1], rtol=1e-5)


# --- starting from another row's networks ---


def fake_folds(*parts):
    return [SimpleNamespace(train=SimpleNamespace(names=t), validation=SimpleNamespace(names=v)) for t, v in parts]


def starting_points(first, then):
    outcome = SimpleNamespace(place=Path("x/runs/scribbles/first"), data=fake_folds(*first))
    places = experiment.starting_points(outcome, fake_folds(*then))
    return [place.relative_to("x/runs/scribbles/first").as_posix() for place in places]


def held_out(*parts):
    """Folds of those parts: each is trained on the others."""
    return [([name for other in parts if other != part for name in other], list(part)) for part in parts]


def test_a_fold_starts_from_the_same_fold_s_network_or_from_an_only_one():
    three = [f"fold{i}/best.safetensors" for i in range(3)]
    for count in (1, 2, 3):
        assert starting_points(held_out("ab", "cd", "ef"), held_out("ab", "cd", "ef")[:count]) == three[:count]
    assert starting_points(held_out("xy", "z")[:1], held_out("ab", "cd", "ef")) == 3 * ["best.safetensors"]
    with pytest.raises(ConfigError, match=r"^3 folds cannot start from the networks of 2$"):
        starting_points(held_out("ab", "cd", "ef")[:2], held_out("ab", "cd", "ef"))


@pytest.mark.parametrize(
    ("first", "then", "fold", "count", "named"),
    [
        # An only network was trained on what other folds hold out.
        (held_out("ab", "cd", "ef")[:1], held_out("ab", "cd", "ef"), 1, 2, "c"),
        # The folds are not the same, or not in the same order.
        (held_out("ab", "cd", "ef"), held_out("ab", "ed", "cf"), 1, 1, "e"),
        (held_out("ab", "cd"), held_out("cd", "ab"), 0, 2, "c"),
        # One picture is enough.
        ([("xyzb", "a")], held_out("ab", "cd")[:1], 0, 1, "b"),
    ],
)
def test_a_network_that_was_trained_on_what_is_held_out_is_no_start(first, then, fold, count, named):
    message = rf"^fold {fold}: its starting network was trained on {count} of its validation pictures, such as {named};"
    with pytest.raises(ConfigError, match=message):
        starting_points(first, then)


def test_a_run_from_a_row_with_other_folds_is_refused(real, tmp_path):
    with pytest.raises(ConfigError, match=r"its starting network was trained on \d of its validation pictures"):
        experiment.run("scribbles", "then", data=real, overrides={"data.folds": 2}, out=tmp_path / "results")
    assert not list(tmp_path.glob("results/scribbles/then*"))


class Echo(nn.Module):
    """Finds the object where its strokes are, and nowhere else."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))  # which says on which device it is

    def forward(self, x):
        return torch.where(x[:, 3:4] > 0, 5.0, -5.0)


def some_photographs(count, name, size=SIZE):
    given = [photograph(i, size) for i in range(count)]
    images, masks, strokes = (list(column) for column in zip(*given))
    return Scribbled(images, strokes, masks, [f"{name}{i}" for i in range(count)])


@pytest.mark.parametrize("truth", [np.zeros, np.ones])
def test_photographs_without_masks_get_those_that_the_network_finds(truth):
    """Whatever the true ones are."""
    size = (48, 64)  # the photographs' and the network's, so that nothing is resized
    row = changed("tiny", height=size[0], width=size[1], synthetic=0.5, augment="low")
    one, other, unlabelled = (some_photographs(3, name, size) for name in ("known", "held-out", "new"))
    unlabelled.masks = [truth(size, bool) for _ in range(3)]
    train = scribbles.ScribbleDataset(one, size)
    before = Splits(train, scribbles.ScribbleDataset(other, size), "photographs", unlabelled)
    after = report.REPORT.prepared(Echo(), row, 7, before)
    assert after.train.names == ["known0", "known1", "known2", "new0", "new1", "new2"]
    assert (after.validation, after.description, after.unlabelled) == (before.validation, "photographs", None)
    found = after.train.data
    for i in range(3):
        assert np.array_equal(found.masks[i], one.masks[i])
        assert np.array_equal(found.masks[3 + i], unlabelled.scribbles[i] > 0)
        assert np.array_equal(found.images[3 + i], unlabelled.images[i])
        assert np.array_equal(found.scribbles[3 + i], unlabelled.scribbles[i])
        assert np.array_equal(after.train.masks[3 + i], unlabelled.scribbles[i] > 0)  # which items are made of
    assert (after.train.seed, after.train.synthetic) == (7, 0.5)
    assert after.train.augment is not None
    assert before.train.names == ["known0", "known1", "known2"]
    assert all((mask == truth(size, bool)).all() for mask in unlabelled.masks)


def test_found_masks_are_cut_at_one_half_and_have_their_photographs_sizes():
    known, new = some_photographs(2, "known"), some_photographs(1, "new", (75, 50))
    model, part = balanced(zip(new.images, new.scribbles), 0), scribbles.ScribbleDataset(known, (32, 64))
    found = report.REPORT.prepared(model, changed("tiny"), 0, Splits(part, part, "", new)).train.data.masks[2]
    expected = by_hand(model, new.images[0], new.scribbles[0], (32, 64))
    clear = np.abs(expected - 0.5) > 1e-3
    assert found.shape == (75, 50)
    assert np.array_equal(found[clear], (expected >= 0.5)[clear])


def test_self_training_learns_from_what_each_fold_s_own_network_finds(real, tmp_path, monkeypatch):
    trained, fit = [], experiment.fit

    def watched(model, loss, train, validation, **arguments):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        trained.append((start, train, validation))
        return fit(model, loss, train, validation, **arguments)

    monkeypatch.setattr(experiment, "fit", watched)
    outcome = experiment.run("scribbles", "then", data=real, out=tmp_path / "results")
    first, then = trained[:2], trained[2:]
    assert len(first) == len(then) == len(outcome.result["folds"]) == 2
    (place,) = tmp_path.glob("runs/scribbles/first*")
    unlabelled = scribbles.from_coco(real, 0)
    for i, ((_, known, known_held_out), (start, train, validation)) in enumerate(zip(first, then)):
        model = network()
        weights.load(model, place / f"fold{i}" / "best.safetensors")
        assert all(torch.equal(start[name], value) for name, value in model.state_dict().items())
        assert train.names == [*known.names, *unlabelled.names]
        assert validation.names == known_held_out.names
        assert not set(train.names) & set(validation.names)
        for mask, other in zip(train.data.masks, known.data.masks):
            assert np.array_equal(mask, other)
        for j, truth in enumerate(unlabelled.masks, len(known)):
            expected = by_hand(model, train.data.images[j], train.data.scribbles[j], (32, 64))
            clear = np.abs(expected - 0.5) > 1e-3
            assert np.array_equal(train.data.masks[j][clear], (expected >= 0.5)[clear])
            assert not np.array_equal(train.data.masks[j], truth)
        assert "2 photographs of COCO" in outcome.result["folds"][i]["split"]


# --- masks for files ---


def grey(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def given(tmp_path):
    """Two photographs of different sizes with strokes, as files."""
    (tmp_path / "hints").mkdir()
    found = {}
    for seed, (name, size) in enumerate({"wide": (40, 61), "high": (75, 50)}.items()):
        picture, _, strokes = photograph(seed, size)
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[..., ::-1])
        write_scribble(tmp_path / "hints" / f"{name}.png", strokes)
        found[name] = (picture, strokes)
    return found


def balanced(pictures, seed):
    """An untrained network that finds about half of the pictures."""
    model = network(seed)
    levels = [np.ravel(by_hand(model, *pair, (32, 64))) for pair in pictures]
    middle = float(np.median(np.concatenate(levels)))
    model[1].head.bias.data -= float(np.log(middle / (1 - middle)))
    return model


def test_the_folds_weights_are_an_ensemble_that_is_cut_at_one_half(given, tmp_path, capsys):
    models = [balanced(given.values(), seed) for seed in range(5)]
    files = [str(tmp_path / f"{i}.safetensors") for i in range(5)]
    for model, path in zip(models, files):
        weights.save(model, path, {"size": "64x32"})
    command = ["predict", "scribbles", "tiny", *(str(tmp_path / f"{name}.png") for name in given)]
    command += ["--out", str(tmp_path / "masks"), "--hints", str(tmp_path / "hints"), "--weights", *files]
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    for name, pair in given.items():
        mask, each = grey(tmp_path / "masks" / f"{name}.png"), [by_hand(model, *pair, (32, 64)) for model in models]
        expected = np.mean(each, axis=0)
        clear = np.abs(expected - 0.5) > 1e-3
        assert mask.shape == pair[1].shape
        assert np.array_equal(mask[clear], 255 * (expected >= 0.5)[clear])
        assert set(np.unique(mask)) == {0, 255}
        # No network alone says the same.
        assert all(((one >= 0.5) != (expected >= 0.5)).any() for one in each)


@pytest.mark.parametrize(("about", "size"), [({"size": "96x64"}, (64, 96)), ({}, (144, 192))])
def test_photographs_are_seen_at_the_size_that_the_weights_were_trained_at(given, tmp_path, monkeypatch, about, size):
    """The row is loaded at one scale, and the weights may be of another; those that say nothing have the row's."""
    seen = []
    monkeypatch.setattr("seglib.reports.base.predict", lambda model, batch: seen.append(batch.shape) or batch[:, :1])
    weights.save(network(), tmp_path / "model.safetensors", about)
    arguments = (tmp_path / "masks", [tmp_path / "model.safetensors"], tmp_path / "hints")
    assert predict_files(load_row("scribbles", "tiny"), [tmp_path / f"{name}.png" for name in given], *arguments) == []
    assert seen == [(1, 4, *size)] * 2


def test_a_trained_network_s_weights_find_in_files_what_the_run_found(outcome, drawn, tmp_path):
    place = experiment.run_folder(outcome.path)
    about = weights.metadata(place / "best.safetensors")
    assert (about["report"], about["row"], about["size"], about["fold"]) == ("scribbles", "tiny", "64x32", "0")
    (name, _) = outcome.data[0].validation.names
    i = drawn.names.index(name)
    cv2.imwrite(str(tmp_path / f"{name}.png"), drawn.images[i][..., ::-1])
    write_scribble(tmp_path / "hints" / f"{name}.png", drawn.scribbles[i])
    row = load_row("scribbles", "tiny")  # at its own size, not the one that was trained at
    arguments = (tmp_path / "masks", [place / "best.safetensors"], tmp_path / "hints")
    assert predict_files(row, [tmp_path / f"{name}.png"], *arguments) == []
    assert np.array_equal(grey(tmp_path / "masks" / f"{name}.png"), grey(place / "predictions" / f"{name}.png"))


BAD_SCRIBBLES = {  # what becomes of strokes on 75×50 pixels, as files have them
    "other values": (lambda strokes: strokes // 255 * 255 + 7 * (strokes == 0), r"255 \(unlabelled\), got also \[7\]"),
    "another size": (np.transpose, r"expected a hint of the image's size \(75, 50\), got \(50, 75\)"),
    "colours": (lambda strokes: np.dstack([strokes, strokes, 255 - strokes]), "of labels, got one with colours"),
}


@pytest.mark.parametrize("kind", BAD_SCRIBBLES)
def test_a_bad_scribble_fails_its_image_alone(given, tmp_path, capsys, kind):
    change, message = BAD_SCRIBBLES[kind]
    path = tmp_path / "hints" / "high.png"
    cv2.imwrite(str(path), change(grey(path)))
    weights.save(network(), tmp_path / "model.safetensors")
    images = [tmp_path / f"{name}.png" for name in ("high", "wide")]
    arguments = (tmp_path / "masks", [tmp_path / "model.safetensors"], tmp_path / "hints")
    assert predict_files(load_row("scribbles", "tiny"), images, *arguments) == [str(images[0])]
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"^{images[0]}: .*{message}.*; skipped$", said)
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["wide.png"]
