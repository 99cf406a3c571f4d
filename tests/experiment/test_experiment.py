import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import seglib
from seglib import experiment, weights
from seglib.__main__ import main
from seglib.data.images import DataError
from seglib.items import digest
from seglib.reports import find_report
from seglib.rows import ConfigError, load_row
from seglib.training import OtherRun, evaluate
from seglib.weights import load_file

TINY = {"data.count": 40, "data.size": 16, "model.widths": [4, 8], "training.epochs": 2, "training.learning_rate": 0.03}


@pytest.fixture(autouse=True)
def without_real_data(monkeypatch):
    monkeypatch.delenv("SEGLIB_DATA", raising=False)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SEGLIB_DATA", raising=False)
        return experiment.run("denoising", "report", overrides=TINY, seed=3, out=folder / "results")


def test_a_result_file_holds_what_it_takes_to_believe_it(outcome):
    result = json.loads(outcome.path.read_text())
    assert {"report", "row", "scale", "data", "seed", "parameters", "metrics", "config", "run"} <= result.keys()
    assert (result["report"], result["row"], result["scale"], result["seed"]) == ("denoising", "report", "quick", 3)
    assert result["overrides"] == TINY
    assert result["config"]["training"]["epochs"] == 2
    assert {"seconds", "hardware", "versions", "commit"} <= result["run"].keys()
    assert result["run"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert [row["epoch"] for row in result["history"]] == [1, 2]
    assert result["parameters"] == sum(p.numel() for p in outcome.model.parameters())
    assert "8 validation pairs" in result["split"]


def test_its_metrics_are_those_of_the_weights_that_were_kept(outcome):
    again = evaluate(outcome.model, outcome.data[0].validation)
    for name in ("iou", "dice", "bce", "iou_pooled", "pixel_accuracy"):
        assert outcome.result["metrics"][name] == pytest.approx(again[name])
    kept = load_file(outcome.path.parents[2] / "runs/denoising" / outcome.path.stem / "best.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in outcome.model.state_dict().items())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result_and_another_another(outcome, tmp_path):
    same = experiment.run("denoising", "report", overrides=TINY, seed=3, out=tmp_path / "results")
    assert same.result["metrics"] == outcome.result["metrics"]
    other = experiment.run("denoising", "report", overrides=TINY, seed=4, out=tmp_path / "results")
    assert other.result["metrics"] != outcome.result["metrics"]


def test_training_and_validation_part_share_no_pair():
    data = experiment.make_data(load_row("denoising", "report", overrides={"data.count": 50}), seed=0)
    assert (len(data.train), len(data.validation)) == (40, 10)
    train = {mask.tobytes() for mask in data.train.masks}
    assert not train & {mask.tobytes() for mask in data.validation.masks}


def test_a_finished_run_is_not_trained_again(outcome):
    calls = []
    options = {"overrides": TINY, "seed": 3, "out": outcome.path.parents[1], "on_epoch": calls.append}
    assert experiment.run("denoising", "report", **options).result["metrics"] == outcome.result["metrics"]
    assert calls == []
    experiment.run("denoising", "report", **options, fresh=True)
    assert len(calls) == 2


# --- results that belong to other data ---

SMALL = {"model.widths": [4, 8], "training.epochs": 1, "data.width": 32, "data.height": 16}


def terrain(folder, count=40, seed=0):
    """Real data for the Mars report, two rows to a photograph; and what to write them anew with."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (count, 2, 64, 128), np.uint8)
    rows[:, 1] = rng.integers(0, 5, (count, 8, 16)).repeat(8, 1).repeat(8, 2)
    path = folder / "mars" / "mars_for_students.npz"
    path.parent.mkdir(parents=True)

    def write():
        np.savez(path, training_set=rows, ids=np.array([f"sol {i // 2}" for i in range(count)]))

    write()
    return rows, write


def run_terrain(tmp_path, data="a", **options):
    options = {"overrides": SMALL, "out": tmp_path / "results"} | options
    return experiment.run("mars_terrain", "baseline", data=tmp_path / data, **options)


def left(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def measured(tmp_path):
    """A finished run on a folder of real data, with what to change them with."""
    rows, write = terrain(tmp_path / "a")
    outcome = run_terrain(tmp_path)
    assert run_terrain(tmp_path).result["metrics"] == outcome.result["metrics"]  # and the same is taken up
    return outcome, rows, write


def test_other_data_are_refused_before_the_old_result_is_gone(measured, tmp_path, capsys):
    terrain(tmp_path / "b", seed=1)
    before = left(tmp_path)
    with pytest.raises(OtherRun, match=r"the training data: \d+ items in both, with other content.*--fresh, or --out"):
        run_terrain(tmp_path, "b")
    arguments = [argument for key, value in SMALL.items() for argument in ("--set", f"{key}={value}")]
    command = ["run", "mars_terrain", "baseline", "--data", str(tmp_path / "b"), *arguments]
    assert main([*command, "--out", str(tmp_path / "results")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("seglib run: ")
    assert told.rstrip().endswith("(`seglib run mars_terrain baseline`: --fresh, or --out in another folder)")
    assert left(tmp_path) == before

    fresh = run_terrain(tmp_path, "b", fresh=True)
    assert fresh.result["metrics"] == run_terrain(tmp_path, "b", out=tmp_path / "other/results").result["metrics"]
    assert fresh.result["metrics"] != measured[0].result["metrics"]
    with pytest.raises(OtherRun):
        run_terrain(tmp_path, "a")


def test_a_fresh_start_removes_nothing_before_its_data_are_there(measured, tmp_path):
    before = left(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such file"):
        run_terrain(tmp_path, "empty", fresh=True)
    assert left(tmp_path) == before


def test_photographs_that_are_added_are_refused(measured, tmp_path):
    shutil.rmtree(tmp_path / "a")
    terrain(tmp_path / "a", count=50)
    with pytest.raises(
        OtherRun, match=r"the training data: 28 items there, 36 here; the validation data: 4 items in both"
    ):
        run_terrain(tmp_path)


def test_data_that_differ_in_the_measured_part_alone_are_refused(measured, tmp_path):
    outcome, rows, write = measured
    truth = outcome.data[0].test.terrain.labels[0]
    (index,) = [i for i, row in enumerate(rows) if np.array_equal(row[1], truth)]
    rows[index, 1, 63, 127] = (rows[index, 1, 63, 127] + 1) % 5  # a pixel that the network's size leaves out
    write()
    with pytest.raises(OtherRun, match=r"\(test part: 8 items \(\w{8}\) there, 8 items \(\w{8}\) here\); give"):
        run_terrain(tmp_path)


def test_other_weights_to_start_from_are_refused(outcome, tmp_path, monkeypatch):
    place, options = outcome.place / "best.safetensors", {"overrides": TINY, "out": tmp_path / "results"}
    monkeypatch.setattr(experiment, "_run_start", lambda *_, **__: outcome)
    monkeypatch.setattr(experiment, "starting_points", lambda *_: [place])
    found = experiment.run("denoising", "report", **options)
    for words in ("a", "b", "c"):  # the same weights, in a file that is written anew
        weights.save(outcome.model, place, {"a": words, "b": words, "c": words})
        assert experiment.run("denoising", "report", **options).result["metrics"] == found.result["metrics"]
    place = shutil.copy(found.place / "best.safetensors", tmp_path)
    monkeypatch.setattr(experiment, "starting_points", lambda *_: [tmp_path / "best.safetensors"])
    with pytest.raises(OtherRun, match=r"\(weights at the start: \w{8} there, \w{8} here\)"):
        experiment.run("denoising", "report", **options)


DRAWN = {
    "denoising": ("report", {"data.count": 10, "data.size": 16}),
    "face_masks": ("model-2", {"data.count": 6, "data.size": 32}),
    "neural_segmentello": ("own-size", {"data.scenes": 8, "data.scene_size": 128, "data.longest": 64}),
    "scribbles": ("ours", {"data.scenes": 6, "data.width": 64, "data.height": 32, "data.folds": 2}),
    "mars_terrain": ("ours", {"data.count": 20, "data.aliens": 0}),
}


@pytest.mark.parametrize("report", DRAWN)
def test_a_report_s_data_are_told_apart_by_what_they_hold(report):
    """Made once more they are the same, in any epoch; of another seed they are not."""
    name, changes = DRAWN[report]
    row = load_row(report, name, overrides=changes)
    data, again = (find_report(report).folds(row, seed, None)[0] for seed in (0, 0))
    other = find_report(report).folds(row, 1, None)[0]
    for part in ("train", "validation", "test"):
        if getattr(data, part) is not None:
            getattr(again, part).set_epoch(3)
            same = digest(getattr(data, part))
            assert digest(getattr(again, part)) == same
            assert digest(getattr(other, part)) != same
    assert digest(data.train) != digest(data.validation)


def test_masks_at_their_own_size_belong_to_a_data_set():
    name, changes = DRAWN["scribbles"]
    data = find_report("scribbles").folds(load_row("scribbles", name, overrides=changes), 0, None)[0].validation
    for changed in (data.data.masks[0], data.scribbles[0], data.images[0], data.masks[0]):
        before, value = digest(data), changed.flat[0]
        changed.flat[0] = not value
        assert digest(data) != before
        changed.flat[0] = value
        assert digest(data) == before


def test_of_photographs_the_file_s_ends_and_size_belong_to_a_data_set(tmp_path):
    name, changes = DRAWN["neural_segmentello"]
    row = load_row("neural_segmentello", name, overrides=changes)
    data = find_report("neural_segmentello").folds(row, 0, None)[0].train
    moved = []
    for entry in data.objects:
        content = entry.path.read_bytes() + bytes(100_000)
        (tmp_path / entry.path.name).write_bytes(content)
        moved.append(replace(entry, path=tmp_path / entry.path.name))
    data.objects, path = moved, moved[0].path
    same = digest(data)
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    data.objects = [replace(entry, path=tmp_path / "elsewhere" / entry.path.name) for entry in moved]
    assert digest(data) == same  # wherever they lie
    data.objects, content = moved, path.read_bytes()
    for changed in (b"x" + content[1:], content[:-1] + b"x", content[:50_000] + content[50_001:]):
        path.write_bytes(changed)
        assert digest(data) != same
    path.write_bytes(content)
    assert digest(data) == same
    for changes in ({"segmentation": [[0, 0, 9, 0, 9, 9]]}, {"category": "another"}, {"annotation_id": 99}):
        data.objects = [replace(moved[0], **changes), *moved[1:]]
        assert digest(data) != same


def test_a_baseline_beats_nothing_but_noise(tmp_path):
    found = {
        name: experiment.run("denoising", name, overrides={"data.count": 60}, out=tmp_path / "results").result
        for name in ("otsu", "otsu-gaussian")
    }
    assert 0.2 < found["otsu"]["metrics"]["iou"] < 0.5
    assert found["otsu-gaussian"]["metrics"]["iou"] > found["otsu"]["metrics"]["iou"] + 0.2
    assert "bce" not in found["otsu"]["metrics"]
    assert found["otsu-gaussian"]["strength"] in (1.0, 1.5, 2.0)
    assert found["otsu"]["parameters"] == 0


def test_build_model_is_the_row_s_network():
    assert sum(p.numel() for p in seglib.build_model("denoising", "report").parameters()) == 483_153
    assert seglib.build_model("denoising", "report")(torch.zeros(1, 1, 48, 65)).shape == (1, 1, 48, 65)
    with pytest.raises(ConfigError, match="did you mean 'report'"):
        seglib.build_model("denoising", "reprot")
    with pytest.raises(ConfigError, match="classical baseline"):
        seglib.build_model("denoising", "otsu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.epoch=3"], "unknown key 'training.epoch', did you mean 'epochs'"),
        (["--set", "training.epochs=three"], "training.epochs"),
        (["--set", "nonsense"], "expected key=value"),
        (["--data", "/nowhere/at/all"], "expected a folder with the real data sets, got '/nowhere/at/all'"),
        (["--out", "file/results"], "file"),  # which cannot be written
    ],
)
def test_a_mistake_is_told_before_any_work(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "make_folds", lambda *_: pytest.fail("work was begun"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert main(["run", "denoising", "report", "--out", str(tmp_path / "results"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_results_may_go_into_the_working_folder(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["run", "denoising", "otsu", "--set", "data.count=10", "--set", "data.size=16", "--out", "."]) == 0
    assert list(folder.glob("denoising/otsu.quick.seed0.*.json"))


def test_a_full_disk_at_the_end_leaves_the_checkpoints(tmp_path, capsys, monkeypatch):
    def full(path, write, what="file"):
        raise OSError(28, f"cannot write the {what}: No space left on device", str(path))

    monkeypatch.setattr("seglib.results.write_whole", full)
    changes = [argument for key, value in TINY.items() for argument in ("--set", f"{key}={value}")]
    assert main(["run", "denoising", "report", "--out", str(tmp_path / "results"), *changes]) == 1
    assert "cannot write the result: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.glob("results/denoising/*"))
    assert list(tmp_path.glob("runs/denoising/*/checkpoints/epoch-0002.pt"))


def test_rows_as_json(capsys):
    assert main(["rows", "denoising", "--json"]) == 0
    rows = {entry["row"]: entry for entry in json.loads(capsys.readouterr().out)}
    report = rows["report"]
    assert report["reported"] == {"iou": 0.909, "dice": 0.952, "bce": 0.033}
    assert report["parameters"] == 483_153
    assert report["measured"]["iou"] >= 0.909
    assert report["scale"] == "full"
    assert sum(entry.get("best", False) for entry in rows.values()) == 1
