"""Runs of the face-mask report: folds, what they leave behind, real data, pre-training, and a run that was killed."""

import gc
import inspect
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from by_hand import two_colours

import seglib.rows
from seglib import experiment, results
from seglib.__main__ import main
from seglib.data.datasets import SegmentationDataset
from seglib.files import shipped
from seglib.metrics import boundary_iou, hausdorff
from seglib.reports.face_masks import faces, report
from seglib.rows import ConfigError, load_row
from seglib.training import evaluate
from seglib.weights import load_file, metadata

DATA = {"data.size": 32, "data.count": 18}
TINY = DATA | {
    "model.widths": [4, 8],
    "training.batch_size": 4,
    "training.epochs": 2,
    "training.learning_rate": 0.03,
}
all_frames = report.test_frames.__wrapped__


def few_frames(size, seed, two_people):
    pairs = faces.generate(2, size, seed + report.TEST_SEED, two_people)
    return SegmentationDataset(pairs.images, pairs.masks)


@pytest.fixture(scope="module", autouse=True)
def _quickly(one_thread):
    """Each set of faces is drawn once, and few to test with; one thread, so that no sum changes its order."""
    gc.freeze()  # accelerate collects garbage after each training, which takes long in a large process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "generate", cache(faces.generate))
        patch.setattr(report, "test_frames", few_frames)
        yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, _quickly):
    folder = tmp_path_factory.mktemp("run")
    return experiment.run("face_masks", "model-2", overrides=TINY, seed=3, out=folder / "results")


def run_folder(outcome):
    return outcome.path.parents[2] / "runs" / "face_masks" / outcome.path.stem


def tiny_folds(seed=3, folder=None, name="model-2", **changes):
    row = load_row("face_masks", name, overrides=DATA | {f"data.{key}": value for key, value in changes.items()})
    return experiment.make_folds(row, seed, folder)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def masks_by_hand(model, images):
    batch = torch.tensor(np.stack(images) / 255, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        return (model.eval()(batch)[:, 0] >= 0).numpy()


# --- a run of three folds ---


def test_metrics_are_mean_and_standard_deviation_over_the_folds(outcome):
    result = json.loads(outcome.path.read_text())
    assert len(result["folds"]) == len(outcome.models) == len(outcome.data) == len(outcome.histories) == 3
    names = {"iou", "dice", "bce", "boundary_iou", "hausdorff_95_infinite", "iou_one_person", "iou_two_people"}
    assert names <= result["metrics"].keys() == result["spread"].keys()
    for name, value in result["metrics"].items():
        values = [fold["metrics"][name] for fold in result["folds"]]
        assert value == pytest.approx(statistics.mean(values))
        assert result["spread"][name] == pytest.approx(statistics.stdev(values))
    assert result["spread"]["iou"] > 0
    assert (result["data"], result["seed"], result["overrides"]) == ("embedded", 3, TINY)
    assert result["parameters"] == sum(p.numel() for p in outcome.model.parameters())
    assert result["run"]["seconds"] == pytest.approx(sum(h[-1]["seconds"] for h in outcome.histories), abs=0.1)
    for i, fold in enumerate(result["folds"]):
        assert f"fold {i + 1} of 3: 12 for training, 6 for validation, seed 3" in fold["split"]
        assert "metrics over the 6 validation pairs" in fold["split"]
        assert [row["epoch"] for row in fold["history"]] == [1, 2]
        best = fold["history"][fold["best_epoch"] - 1]
        assert best["val_iou"] == max(row["val_iou"] for row in fold["history"])


def test_a_fold_s_metrics_are_those_of_its_network_on_its_validation_part(outcome):
    for model, data, fold in zip(outcome.models, outcome.data, outcome.result["folds"]):
        again = evaluate(model, data.validation)
        for name in ("iou", "dice", "bce", "iou_pooled", "pixel_accuracy"):
            assert fold["metrics"][name] == pytest.approx(again[name])
        pairs = list(zip(masks_by_hand(model, data.validation.images), data.validation.masks))
        assert fold["metrics"]["boundary_iou"] == pytest.approx(np.mean([boundary_iou(*pair) for pair in pairs]))
        distances = np.array([hausdorff(*pair, 95) for pair in pairs])
        assert fold["metrics"]["hausdorff_95_infinite"] == np.mean(np.isinf(distances))
        assert fold["metrics"]["hausdorff_95"] == pytest.approx(distances[np.isfinite(distances)].mean())
        assert fold["foreground_share"] == pytest.approx(np.mean([mask.mean() for _, mask in pairs]))
        for name, two_people in (("iou_one_person", 0.0), ("iou_two_people", 1.0)):
            assert fold["metrics"][name] == pytest.approx(evaluate(model, few_frames(32, 3, two_people))["iou"])


def test_validation_parts_share_nothing_and_cover_everything(outcome):
    names = [fold.validation.names for fold in outcome.data]
    assert sorted(name for part in names for name in part) == [f"generated-3-{i:05d}" for i in range(18)]
    for fold in outcome.data:
        assert not set(fold.train.names) & set(fold.validation.names)
        assert len(fold.train) + len(fold.validation) == 18
        assert len({image.tobytes() for part in (fold.train, fold.validation) for image in part.images}) == 18
    assert json.loads((run_folder(outcome) / "folds.json").read_text()) == names


def test_the_run_folder_holds_network_checkpoints_and_predictions_of_each_fold(outcome):
    folder = run_folder(outcome)
    assert sorted(path.name for path in folder.iterdir()) == ["fold0", "fold1", "fold2", "folds.json"]
    row = load_row("face_masks", "model-2", overrides=TINY)
    for i, data in enumerate(outcome.data):
        fold = folder / f"fold{i}"
        assert sorted(path.name for path in fold.iterdir()) == ["best.safetensors", "checkpoints", "predictions"]
        assert {path.name for path in (fold / "checkpoints").iterdir()} == {"epoch-0001.pt", "epoch-0002.pt"}
        model = experiment.make_model(row)
        model.load_state_dict(load_file(fold / "best.safetensors"))
        assert same(model.state_dict(), outcome.models[i].state_dict())
        about = {"report": "face_masks", "row": "model-2", "scale": "quick", "seed": "3", "fold": str(i), "size": "32"}
        assert metadata(fold / "best.safetensors") == about | {"result": outcome.path.name}
        assert {path.name for path in (fold / "predictions").iterdir()} == {f"{n}.png" for n in data.validation.names}
        for name, mask in zip(data.validation.names, masks_by_hand(model, data.validation.images)):
            found = cv2.imread(str(fold / "predictions" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            assert found.dtype == np.uint8
            assert np.array_equal(found, 255 * mask)
    assert not same(outcome.models[0].state_dict(), outcome.models[1].state_dict())


def test_images_are_normalised_by_the_training_part_alone(outcome):
    for model, data in zip(outcome.models, outcome.data):
        own, other = (part.images.reshape(-1, 3) / 255 for part in (data.train, data.validation))
        np.testing.assert_allclose(model[0].mean, own.mean(0), rtol=1e-5)
        np.testing.assert_allclose(model[0].std, own.std(0), rtol=1e-5)
        assert np.abs(other.mean(0) - own.mean(0)).max() > 1e-3
        assert np.abs(np.concatenate([own, other]).mean(0) - own.mean(0)).max() > 1e-4


def test_a_metric_that_only_some_folds_have():
    """A network that finds nothing in a whole fold has no finite distance there; the others' numbers must remain."""
    found = [{"metrics": {"iou": iou}} for iou in (0.5, 0.1, 0.3)]
    for some in ([0], [1, 2]):
        part = [
            {"metrics": one["metrics"] | ({"hausdorff_95": 7.0} if i in some else {})} for i, one in enumerate(found)
        ]
        result = experiment.over_folds(part)
        assert result["metrics"] == pytest.approx({"iou": 0.3})
        assert result["spread"] == pytest.approx({"iou": 0.2})


# --- the data of folds ---


def test_only_training_parts_are_augmented():
    assert all(fold.train.augment is not None and fold.validation.augment is None for fold in tiny_folds())
    assert tiny_folds(augment="none")[0].train.augment is None


def test_run_folds_are_the_first_of_all():
    every = [(fold.train.names, fold.validation.names) for fold in tiny_folds()]
    for count in (1, 2, 3):
        assert [(fold.train.names, fold.validation.names) for fold in tiny_folds(run_folds=count)] == every[:count]
    data, first = experiment.make_data(load_row("face_masks", "model-2", overrides=DATA), 3), tiny_folds()[0]
    assert (data.train.names, data.validation.names) == every[0]
    assert np.array_equal(data.validation.images, first.validation.images)
    assert data.description == first.description


def test_a_run_of_one_fold_has_the_place_and_the_metrics_to_itself(outcome, tmp_path):
    changes = TINY | {"data.run_folds": 1}
    one = experiment.run("face_masks", "model-2", overrides=changes, seed=3, out=tmp_path / "results")
    assert "folds" not in one.result
    assert "fold 1 of 3" in one.result["split"]
    assert one.result["metrics"] == pytest.approx(outcome.result["folds"][0]["metrics"])
    assert sorted(p.name for p in run_folder(one).iterdir()) == ["best.safetensors", "checkpoints", "predictions"]


def test_limit_keeps_some_of_each_training_part():
    every, some = tiny_folds(), tiny_folds(limit=5)
    for few, fold in zip(some, every):
        assert len(few.train) == len(set(few.train.names)) == 5
        assert few.validation.names == fold.validation.names
        kept = dict(zip(fold.train.names, fold.train.images))
        assert all(np.array_equal(kept[name], image) for name, image in zip(few.train.names, few.train.images))
        assert "5 for training, 6 for validation" in few.description
    assert [few.train.names for few in tiny_folds(limit=5)] == [few.train.names for few in some]
    assert sorted(tiny_folds(limit=100)[0].train.names) == sorted(every[0].train.names)
    # Five at random: not the first ones of all folds.
    assert any(few.train.names != fold.train.names[:5] for few, fold in zip(some, every))


def test_extra_faces_go_into_training_parts_alone():
    plain, more = tiny_folds(), tiny_folds(extra=["generated"])
    for one, other in zip(plain, more):
        assert other.train.names[:12] == one.train.names
        assert len(other.train) == 12 + 18
        assert other.validation.names == one.validation.names
        known = {image.tobytes() for fold in plain for image in fold.validation.images}
        assert not known & {image.tobytes() for image in other.train.images[12:]}
        assert "12 and 18 generated faces for training, 6 for validation" in other.description
    assert len(tiny_folds(limit=5, extra=["generated"])[0].train) == 5 + 18


def test_frames_to_test_with_are_new(monkeypatch):
    """Neither a row's own frames nor its extra ones, of this seed or of those that are in use beside it."""
    asked = []

    def generate(count, size, seed, two_people):
        asked.append((seed, count, two_people))
        blank = np.zeros((count, size, size), np.uint8)
        return faces.Pairs(np.stack([blank] * 3, axis=-1), blank, [str(i) for i in range(count)])

    monkeypatch.setattr(faces, "generate", generate)
    monkeypatch.setattr(report, "generated_faces", generate)  # the same, but for what it remembers
    for seed in range(10):
        tiny_folds(seed=seed, extra=["generated"])
    trained_on = {seed for seed, *_ in asked}
    assert len(trained_on) == 20
    asked.clear()
    for seed in range(10):
        assert len(all_frames(8, seed, 1.0)) == 100
    assert {(count, two_people) for _, count, two_people in asked} == {(100, 1.0)}
    assert not trained_on & {seed for seed, *_ in asked}


# --- real data ---


def write_pairs(folder, images, masks, names, suffix):
    for path in (folder / images, folder / masks):
        path.mkdir(parents=True)
    for i, name in enumerate(names):
        mask = np.zeros((60 + 3 * i, 50 + i), np.uint8)
        mask[mask.shape[0] // 2 : -5, 8:-8] = 1
        cv2.imwrite(str(folder / images / f"{name}.jpg"), two_colours(mask, 190, 60, 10, seed=i))
        cv2.imwrite(str(folder / masks / f"{name}{suffix}"), 255 * mask)


PEOPLE = [f"facemask_{name}_{i}_0" for name in ("anna", "bert", "carl", "dora") for i in range(3)]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder of real data with MFSD and MaskedFaceNet, of 12 and 5 pictures."""
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "mfsd/MSFD/1", "face_crop", "face_crop_segmentation", PEOPLE, ".jpg")
    write_pairs(folder / "masked_face_net", "image", "mask", [f"{i:05d}" for i in range(5)], ".png")
    return folder


def test_with_real_data_the_folds_are_mfsd_s_and_share_no_person(real):
    folds = tiny_folds(folder=real)
    assert sorted(name for fold in folds for name in fold.validation.names) == sorted(PEOPLE)
    for fold in folds:
        people = [{name.split("_")[1] for name in part.names} for part in (fold.train, fold.validation)]
        assert not people[0] & people[1]
        assert fold.description.startswith("MFSD crops of 32×32")
    generated = tiny_folds(folder=real, name="two-people", count=6)
    assert all(name.startswith("generated") for fold in generated for name in fold.validation.names)
    more = tiny_folds(folder=real, extra=["masked-face-net"])[0]
    assert more.train.names[-5:] == [f"{i:05d}" for i in range(5)]
    assert more.validation.names == folds[0].validation.names
    assert "and 5 of MaskedFaceNet for training" in more.description
    assert tiny_folds(extra=["masked-face-net"])[0].train.names == tiny_folds()[0].train.names  # no folder


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_results_on_real_data_are_called_so(real, tmp_path, monkeypatch, by):
    if by == "environment":
        monkeypatch.setenv("SEGLIB_DATA", str(real))
    folder = real if by == "argument" else None
    found = experiment.run("face_masks", "otsu", data=folder, overrides=DATA, out=tmp_path / "results")
    assert found.path.name == "otsu.quick.seed0.MFSD.data.count=18.data.size=32.json"
    assert json.loads(found.path.read_text())["data"] == "MFSD"
    assert {name for fold in found.data for name in fold.validation.names} == set(PEOPLE)
    for row, there in (("two-people", real), ("model-2", None)):
        assert experiment.data_source(load_row("face_masks", row), there) == "embedded"


@pytest.mark.parametrize(
    ("row", "missing"), [("model-2", "mfsd/MSFD/1/face_crop"), ("pretraining", "masked_face_net/image")]
)
def test_a_folder_without_the_data_set_is_told_and_nothing_written(row, missing, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "results"), "--set", "data.count=10"]
    assert main(["run", "face_masks", row, *arguments]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "data" / missing) in said
    assert "https://" in said  # where to get it
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_reproduce_with_real_data_runs_what_was_only_run_without(real, tmp_path, capsys, monkeypatch):
    run = []
    monkeypatch.setattr(experiment, "run", lambda report, name, **_: run.append(name))
    monkeypatch.setattr(results, "root", lambda: tmp_path)

    def result(row, data):
        results.write(results.result_path("face_masks", row, "full", 0, {}, None, data), {})

    result("model-2", "embedded")  # MFSD is still to be run
    result("model-3", "MFSD")  # done
    result("two-people", "embedded")  # done: it never takes MFSD
    monkeypatch.setenv("SEGLIB_DATA", str(real))
    assert main(["reproduce", "face_masks"]) == 0
    assert ("model-2" in run, "model-3" in run, "two-people" in run) == (True, False, False)


# --- pre-training ---


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The shipped rows with tiny networks and data; an override does not reach the row that another starts from."""
    content = yaml.safe_load((shipped("configs") / "face_masks.yaml").read_text(encoding="utf-8"))
    for name, count in (("pretraining", 10), ("pretrained", 9), ("from-scratch", 9)):
        row = content["rows"][name]
        row["model"] = {"widths": [4, 8]}
        folds = {} if name == "pretraining" else {"folds": 2}
        row["quick"] = {"data": {"size": 32, "count": count} | folds, "training": {"epochs": 2, "batch_size": 4}}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "face_masks.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr("seglib.rows.shipped", lambda folder: tmp_path / folder)
    seglib.rows._read.cache_clear()
    yield tmp_path / "results"
    seglib.rows._read.cache_clear()


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.slow
def test_a_row_starts_from_the_network_of_another_which_is_trained_first(small):
    epochs = []
    still = {"training.learning_rate": 1e-12}
    tuned = experiment.run("face_masks", "pretrained", overrides=still, out=small, on_epoch=epochs.append)
    assert [row["epoch"] for row in epochs] == 3 * [1, 2]  # pre-training has one fold, the row two
    # Not those drawn faces that stand in for real ones.
    first = small.parent / "runs/face_masks/pretraining.quick.seed3000"
    assert (small / "face_masks/pretraining.quick.seed3000.json").is_file()
    kept = load_file(first / "best.safetensors")
    for model in tuned.models:
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), kept[name], atol=1e-5, rtol=0)
        # Images are normalised as the network learned to see them.
        assert torch.equal(model[0].mean, kept["0.mean"])
        assert torch.equal(model[0].std, kept["0.std"])
    fresh = experiment.run("face_masks", "from-scratch", overrides=still | {"data.run_folds": 1}, out=small)
    assert (parameters(fresh.model) - parameters(tuned.model)).abs().max() > 1e-3

    epochs.clear()
    trained = experiment.run("face_masks", "pretrained", out=small, on_epoch=epochs.append)
    assert [row["epoch"] for row in epochs] == 2 * [1, 2]  # what was trained once is not trained again
    assert (parameters(trained.model) - parameters(tuned.model)).abs().max() > 1e-3


def test_pre_training_with_a_data_set_is_another_than_without(small, real):
    """MaskedFaceNet is there or not; a network that never saw it must not pass for one that did."""
    experiment.run("face_masks", "pretraining", out=small)
    later = experiment.run("face_masks", "pretraining", data=real, out=small)
    assert "5 of MaskedFaceNet" in later.result["split"]
    alone = experiment.run("face_masks", "pretraining", data=real, out=small.parent / "alone" / "results")
    assert same(later.model.state_dict(), alone.model.state_dict())


# --- classical baselines ---


def test_baselines_on_generated_faces(tmp_path):
    plain, better, regions = (
        experiment.run("face_masks", name, overrides=DATA, seed=3, out=tmp_path / "results")
        for name in ("otsu", "otsu-better-polarity", "region-based")
    )
    for one, other in zip(plain.result["folds"], better.result["folds"]):
        assert other["metrics"]["iou"] >= one["metrics"]["iou"]
    assert better.result["metrics"]["iou"] > plain.result["metrics"]["iou"] > 0
    assert regions.result["metrics"]["iou"] > 0.3
    assert regions.result["folds"][2]["settings"].keys() == {"sigma", "seed_height", "seed_radius"}
    for outcome in (plain, better, regions):
        assert len(outcome.result["folds"]) == 3
        assert outcome.models == 3 * [None]
        assert outcome.result["parameters"] == 0
        assert "bce" not in outcome.result["metrics"]
        assert {"boundary_iou", "hausdorff_95_infinite"} <= outcome.result["metrics"].keys()
        assert outcome.result["run"]["precision"] is None
        assert json.loads(outcome.path.read_text()) == outcome.result
        assert not list(run_folder(outcome).glob("fold*/*"))


# --- killed, and with workers ---

FEW = (
    """
import os, signal, sys
from pathlib import Path
from seglib.__main__ import main
from seglib.reports.face_masks import faces, report
from seglib.data.datasets import SegmentationDataset

"""
    + inspect.getsource(few_frames)
    + "report.test_frames = few_frames\n"
)
KILL = """
whole, seen = SegmentationDataset.__getitem__, []
runs = Path(sys.argv[sys.argv.index("--out") + 1]).parent / "runs"

def item(self, index):
    if self.augment is not None and list(runs.glob("face_masks/*/fold1/checkpoints/epoch-0001.pt")):
        seen.append(index)
        if len(seen) == 7:  # of the 12 in the second fold's second epoch
            os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, index)

SegmentationDataset.__getitem__ = item
"""


def run_program(folder: Path, program: str) -> subprocess.CompletedProcess:
    changes = [argument for key, value in TINY.items() for argument in ("--set", f"{key}={value}")]
    command = [sys.executable, "-c", program + "sys.exit(main(sys.argv[1:]))"]
    return subprocess.run(
        [*command, "run", "face_masks", "model-2", "--seed", "3", "--out", str(folder / "results"), *changes],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )


def without_times(result):
    for fold in result["folds"]:
        for row in fold["history"]:
            del row["seconds"]
    return {key: value for key, value in result.items() if key != "run"}


@pytest.mark.slow
def test_a_run_killed_in_the_second_fold_goes_on_to_the_same_folds_metrics_and_weights(outcome, tmp_path):
    killed = run_program(tmp_path, FEW + KILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (place,) = filter(Path.is_dir, (tmp_path / "runs/face_masks").iterdir())  # beside the lock of the killed one
    assert place.name == run_folder(outcome).name
    assert not list(tmp_path.glob("results/face_masks/*"))
    assert {path.name for path in place.glob("fold*/checkpoints/*.pt")} == {"epoch-0001.pt", "epoch-0002.pt"}
    assert [path.parent.name for path in place.glob("fold*/best.safetensors")] == ["fold0"]
    first = {path: path.stat().st_mtime_ns for path in place.glob("fold0/checkpoints/*.pt")}

    resumed = run_program(tmp_path, FEW)
    assert resumed.returncode == 0, resumed.stderr
    assert re.findall(r"^epoch (\d+)", resumed.stdout, re.MULTILINE) == ["2", "1", "2"]  # nothing of the first fold
    assert {path: path.stat().st_mtime_ns for path in place.glob("fold0/checkpoints/*.pt")} == first
    assert (place / "folds.json").read_bytes() == (run_folder(outcome) / "folds.json").read_bytes()
    result = json.loads((tmp_path / "results/face_masks" / outcome.path.name).read_text())
    assert without_times(result) == without_times(json.loads(outcome.path.read_text()))
    for fold in ("fold0", "fold1", "fold2"):
        here, there = (folder / fold for folder in (place, run_folder(outcome)))
        assert same(*(load_file(folder / "best.safetensors") for folder in (here, there)))
        for path in (here / "predictions").iterdir():
            assert path.read_bytes() == (there / "predictions" / path.name).read_bytes()


def test_a_network_that_its_start_does_not_fit_is_told_before_any_work(small, monkeypatch):
    monkeypatch.setattr(experiment, "make_folds", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(ConfigError, match="'pretrained' starts from 'pretraining'"):
        experiment.run("face_masks", "pretrained", overrides={"model.widths": [4, 16]}, out=small)
