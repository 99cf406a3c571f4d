"""A small Mars row from data to result, and label pictures from `predict`."""

import json

import cv2
import numpy as np
import pytest

from seglib import experiment, weights
from seglib.__main__ import main
from seglib.metrics import mean_iou
from seglib.prediction import shipped_weights
from seglib.reports.mars_terrain import mars, terrain
from seglib.reports.mars_terrain.report import classify
from seglib.rows import ConfigError, load_row

TINY = {"data.count": 40, "data.aliens": 6, "data.width": 32, "data.height": 16}
TRAINED = TINY | {"training.epochs": 1, "training.batch_size": 8, "training.precision": "float32"}


def test_a_row_on_drawn_terrain(tmp_path):
    overrides = TRAINED | {"model.widths": [4, 8], "data.augment": "terrain"}
    outcome = experiment.run("mars_terrain", "baseline", overrides=overrides, out=tmp_path / "results")
    result = json.loads(outcome.path.read_text())
    (data,) = outcome.data
    train, test = data.train.terrain, data.test.terrain
    sides = [set(part.terrain.ids) for part in (data.train, data.validation, data.test)]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert not any(name.startswith("alien") for side in sides for name in side)
    assert len(train) + len(data.validation.terrain) + len(test) == 40
    assert "outliers" in result["split"]
    assert np.sum(result["confusion"]) == test.labels.size
    folder = experiment.run_folder(outcome.path) / "predictions"
    written = np.stack([cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in data.test.names])
    for key, truth in (("mean_iou", test.labels), ("mean_iou_clean", test.clean)):
        by_hand = mean_iou(written.reshape(-1, 128), truth.reshape(-1, 128), 5, ignore_index=0, exclude=(0,))
        assert result["metrics"][key] == pytest.approx(by_hand)
    assert 0 < result["metrics"]["mean_iou_error"] < 0.3


def test_what_the_training_part_holds():
    def made(**changes):
        changes = {f"data.{key}": value for key, value in changes.items()}
        return experiment.make_data(load_row("mars_terrain", "baseline", overrides=TINY | changes), 0)

    def training(**changes):
        data = made(**changes)
        assert (data.test.terrain.labels == plain.test.terrain.labels).all()  # the others stay as they are
        assert len(data.train) == len(data.train.terrain)
        return data.train.terrain

    plain = made()
    before = training()
    assert (training(labels="clean").labels == before.clean).all()
    improved = training(labels="improved")
    assert (improved.labels != before.labels).any()
    assert (improved.images == before.images).all()
    assert any(name.startswith("alien") for name in training(remove_outliers=False).ids)
    assert len(training(drop_worst=0.2)) < len(before)
    some, every = (set(rows.ids) for rows in (training(share=0.3), before))
    assert some < every
    assert abs(len(some) - 0.3 * len(every)) <= 1
    assert len(made(copies=3).train) == 3 * len(before)
    assert not (made(background="ignored").train[0][1] == 0).any()


def test_clean_labels_of_real_rows_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.labels: only generated terrain"):
        experiment.make_data(load_row("mars_terrain", "baseline", overrides={"data.labels": "clean"}), 0, tmp_path)


def test_averaging_with_mirror_images_makes_them_mirror_images():
    config = load_row("mars_terrain", "ours").data
    model = experiment.make_model(load_row("mars_terrain", "ours")).eval()
    images = terrain.generate(2, 0).images
    found = classify([model], images, config)
    assert found.shape == (2, 5, 64, 128)
    assert found.sum(1) == pytest.approx(np.ones((2, 64, 128)), abs=1e-5)
    assert not found[:, 0].any()  # the background cannot be predicted
    turned = classify([model], np.ascontiguousarray(images[:, :, ::-1]), config)
    assert turned[..., ::-1] == pytest.approx(found, abs=1e-4)
    high = classify([model], np.zeros((1, 300, 100), np.uint8), config)
    assert high.shape == (1, 5, 300, 100)


def test_predict_writes_labels(tmp_path, capsys):
    """The shipped network on drawn terrain: pictures, an npz, the homework's file, and the competition's."""
    rows = terrain.generate(4, seed=8)
    cv2.imwrite(str(tmp_path / "one.png"), rows.images[0])
    np.savez(tmp_path / "stack.npz", images=rows.images)
    homework = np.stack([rows.images, rows.labels], 1)
    np.savez(tmp_path / "homework.npz", test_set=rows.images[2:], training_set=homework)
    np.savez(tmp_path / "training.npz", training_set=homework, ids=rows.ids)
    files = [str(tmp_path / name) for name in ("one.png", "stack.npz", "homework.npz", "training.npz")]
    assert main(["predict", "mars_terrain", "ours", *files, "--out", str(tmp_path / "out")]) == 0
    found = {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "out").iterdir()}
    counts = {"stack": 4, "homework": 2, "training": 4}
    assert set(found) == {"one", *(f"{name}_{i:05d}" for name, count in counts.items() for i in range(count))}
    for labels in found.values():
        assert (labels.shape, labels.dtype) == (mars.SIZE, np.uint8)
        assert set(np.unique(labels)) <= {1, 2, 3, 4}
    assert (found["one"] == found["stack_00000"]).all()
    assert (found["homework_00000"] == found["stack_00002"]).all()

    submission = tmp_path / "submission.csv"
    command = ["predict", "mars_terrain", "ours", files[2], "--out", str(tmp_path / "out"), "--submission"]
    assert main([*command, str(submission)]) == 0
    lines = submission.read_text().splitlines()
    assert len(lines) == 3
    assert lines[2].split(",")[1:] == list(map(str, found["homework_00001"].ravel()))
    missing = [*command, str(tmp_path / "none.csv")]
    missing.insert(3, str(tmp_path / "missing.png"))
    assert main(missing) == 1
    assert not (tmp_path / "none.csv").exists()
    assert "not written, for 1 of its pictures are missing" in capsys.readouterr().err


def test_masks_are_no_submission(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((20, 30), np.uint8))
    arguments = [str(tmp_path / "one.png"), "--out", str(tmp_path), "--submission", str(tmp_path / "x.csv")]
    assert main(["predict", "denoising", "report", *arguments]) == 1
    assert "class labels" in capsys.readouterr().err


def test_the_shipped_weights_are_those_of_the_result():
    (path,) = shipped_weights("mars_terrain", "ours")
    about = weights.metadata(path)
    assert (about["row"], about["size"]) == ("ours", "128x64")
    model = experiment.build_model("mars_terrain", "ours")
    weights.load(model, path)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
