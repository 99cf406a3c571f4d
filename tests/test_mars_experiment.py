"""The Mars report's rows: what they are, a small one from data to result, and label pictures from `predict`."""

import json

import cv2
import numpy as np
import pytest
import torch

from seglib import experiment, weights
from seglib.__main__ import main
from seglib.config import ConfigError, load_row, load_rows
from seglib.data import mars, terrain
from seglib.metrics import mean_iou

# Table 1 of the report, in its order.
TABLE = {
    "baseline": 0.40351,
    "improved-masks": 0.39320,
    "bad-masks-removed": 0.38503,
    "augmentation": 0.49051,
    "larger": 0.51108,
    "attention": 0.50255,
    "deeplabv3-plus": 0.46136,
    "se": 0.51334,
    "larger-se": 0.53172,
    "gated-add": 0.48597,
    "gated-concatenate": 0.51401,
    "larger-se-pyramid": 0.50741,
    "flagship": 0.58062,
}
TINY = {
    "data.count": 40,
    "data.aliens": 6,
    "data.width": 32,
    "data.height": 16,
    "training.epochs": 1,
    "training.batch_size": 8,
    "training.precision": "float32",
}


def flat(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    return {key: one for name, item in value.items() for key, one in flat(item, f"{prefix}{name}.").items()}


def differences(one, other, scale="quick"):
    one, other = (flat(load_row("mars_terrain", name, scale).recipe()) for name in (one, other))
    return {key for key in one | other if one.get(key) != other.get(key)}


def test_the_table_s_rows_and_numbers():
    reported = {row.name: row.reported["mean_iou"] for row in load_rows("mars_terrain") if row.reported}
    assert list(reported.items()) == list(TABLE.items())


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_a_row_changes_what_it_says_and_nothing_else(scale):
    assert differences("baseline", "improved-masks", scale) == {"data.labels"}
    assert differences("baseline", "bad-masks-removed", scale) == {"data.drop_worst"}
    assert differences("baseline", "augmentation", scale) == {"data.augment"}
    assert differences("baseline", "baseline-bottleneck", scale) == {"model.widths"}
    assert differences("augmentation", "larger", scale) == {"model.widths"}
    for name in ("attention", "gated-add", "gated-concatenate"):
        assert differences("augmentation", name, scale) == {"model.skip"}
    assert differences("augmentation", "se", scale) == {"model.bottleneck"}
    assert differences("larger", "larger-se", scale) == {"model.bottleneck"}
    assert differences("larger-se", "larger-se-pyramid", scale) == {"model.bottleneck"}
    changed = differences("larger", "flagship", scale)
    assert {key for key in changed if not key.startswith("loss")} == {"model.block", "model.skip", "model.up"}
    for name in list(TABLE)[3:]:
        assert load_row("mars_terrain", name, scale).data.augment == "terrain"
        training = flat(load_row("mars_terrain", name, scale).recipe()["training"])
        assert training == flat(load_row("mars_terrain", "baseline", scale).recipe()["training"])


def test_the_flagship_s_weights_would_fit_into_24_megabytes():
    assert 2 * experiment.count_parameters(experiment.make_model(load_row("mars_terrain", "flagship"))) < 24e6


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.labels", "perfect"),
        ("data.held_out", [0.6, 0.2]),
        ("data.share", 0),
        ("data.background", "sky"),
        ("model.network", "segformer-b9"),
        ("model.up", "bicubic"),
        ("loss.class_weights", [1, 0, 1, 1, 1]),
        ("loss.focal_gamma", -1),
    ],
)
def test_values_that_make_no_sense(key, value):
    name = "segformer" if key == "model.network" else "baseline"
    with pytest.raises(ConfigError, match=key):
        load_row("mars_terrain", name, overrides={key: value})


def test_a_row_on_drawn_terrain(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGLIB_DATA", raising=False)
    overrides = TINY | {"model.widths": [4, 8], "data.augment": "terrain"}
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
    written = np.stack(
        [
            cv2.imread(str(experiment.run_folder(outcome.path) / "predictions" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            for name in data.test.names
        ]
    )
    for key, truth in (("mean_iou", test.labels), ("mean_iou_clean", test.clean)):
        by_hand = mean_iou(written.reshape(-1, 128), truth.reshape(-1, 128), 5, ignore_index=0, exclude=(0,))
        assert result["metrics"][key] == pytest.approx(by_hand)
    assert 0 < result["metrics"]["mean_iou_error"] < 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {"data.labels": "clean"},
        {"data.labels": "improved"},
        {"data.remove_outliers": False},
        {"data.drop_worst": 0.2},
        {"data.share": 0.3},
        {"data.copies": 3},
        {"data.background": "ignored"},
    ],
)
def test_what_the_training_part_holds(changes, monkeypatch):
    monkeypatch.delenv("SEGLIB_DATA", raising=False)
    plain, other = (
        experiment.make_data(load_row("mars_terrain", "baseline", overrides=TINY | more), 0) for more in ({}, changes)
    )
    (key,) = changes
    before, after = plain.train.terrain, other.train.terrain
    assert (plain.test.terrain.labels == other.test.terrain.labels).all()
    assert len(other.train) == len(after) * (3 if key == "data.copies" else 1)
    if key == "data.labels":
        assert (after.labels != before.labels).any()
        assert (after.images == before.images).all()
    if changes == {"data.labels": "clean"}:
        assert (after.labels == before.clean).all()
    if key == "data.remove_outliers":
        assert sum(name.startswith("alien") for name in after.ids) > 0
    if key == "data.drop_worst":
        assert len(after) < len(before)
    if key == "data.share":
        assert set(after.ids) < set(before.ids)
        assert abs(len(set(after.ids)) - 0.3 * len(set(before.ids))) <= 1
    if key == "data.background":
        assert not (other.train[0][1] == 0).any()


def test_clean_labels_of_real_rows_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.labels: only generated terrain"):
        experiment.make_data(load_row("mars_terrain", "baseline", overrides={"data.labels": "clean"}), 0, tmp_path)


def test_averaging_with_mirror_images_makes_them_mirror_images():
    config = load_row("mars_terrain", "ours").data
    model = experiment.make_model(load_row("mars_terrain", "ours")).eval()
    images = terrain.generate(2, 0).images
    found = experiment.classify([model], images, config)
    assert found.shape == (2, 5, 64, 128)
    assert found.sum(1) == pytest.approx(np.ones((2, 64, 128)), abs=1e-5)
    assert not found[:, 0].any()  # the background cannot be predicted
    turned = experiment.classify([model], np.ascontiguousarray(images[:, :, ::-1]), config)
    assert turned[..., ::-1] == pytest.approx(found, abs=1e-4)
    high = experiment.classify([model], np.zeros((1, 300, 100), np.uint8), config)
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
    stems = [
        f"{name}_{i:05d}" for name, count in (("stack", 4), ("homework", 2), ("training", 4)) for i in range(count)
    ]
    assert sorted(found) == sorted(["one", *stems])
    for labels in found.values():
        assert labels.shape == mars.SIZE
        assert labels.dtype == np.uint8
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
    (path,) = weights.shipped_weights("mars_terrain", "ours")
    about = weights.metadata(path)
    assert (about["row"], about["size"]) == ("ours", "128x64")
    model = experiment.build_model("mars_terrain", "ours")
    weights.load(model, path)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("name", ["deeplabv3-plus", "segformer"])
def test_library_networks(name):
    model = experiment.build_model("mars_terrain", name)
    torch.manual_seed(0)
    for size in ((1, 1), (33, 50)):
        assert model.eval()(torch.rand(2, 1, *size)).shape == (2, 5, *size)
    model.train()(torch.rand(1, 1, 37, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    expected = {"deeplabv3-plus": 12_324_053, "segformer": 3_712_293}
    assert experiment.count_parameters(model) == expected[name]
