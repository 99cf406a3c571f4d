import json

import pytest
import torch

import seglib
from seglib import experiment
from seglib.__main__ import main
from seglib.rows import ConfigError, load_row
from seglib.training import evaluate
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
