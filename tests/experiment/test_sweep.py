"""Sweeps: each cell is run once, what is there is kept, and a mistake is told before any work."""

import json

import pytest
import torch
import yaml

from seglib import config, experiment, results, sweep
from seglib.config import ConfigError, load_row, load_sweep
from seglib.sweep import cells, run_sweep, table

RANGES = ("base", "contrast", "blur_sigma", "gaussian_sigma", "salt_pepper")
NOISE = {"blur_probability": 0} | {name: [0, 0.2] for name in RANGES}
CONTENT = {
    "defaults": {
        "data": {"size": 16, "count": 10, "held_out": 0.2, "augment": "none", "noise": NOISE},
        "model": {"in_channels": 1, "out_channels": 1, "widths": [4, 8]},
        "loss": {"bce": 1},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01},
    },
    "rows": {
        "report": {"title": "A network", "best": True},
        "other": {"title": "Another", "model": {"in_channels": 1, "out_channels": 1, "widths": [4, 6, 8]}},
        "otsu": {"title": "None", "baseline": {"filter": "none"}},
    },
    "sweeps": {
        "networks": {
            "row": "report",
            "changes": {"training.epochs": 1},
            "axes": {
                "loss": {"cross-entropy": {"loss.bce": 1}, "both": {"loss.bce": 0.5, "loss.dice": 0.5}},
                "rate": {"low": {"training.learning_rate": 0.001}, "high": {"training.learning_rate": 0.1}},
            },
        },
        # Without training a cell takes no time.
        "counts": {"row": "otsu", "axes": {"pairs": {str(n): {"data.count": n} for n in (10, 11, 12, 13)}}},
        "rows": {"row": "report", "changes": {"training.epochs": 1}, "axes": {"row": {"a": {}, "b": {"row": "other"}}}},
        "broken": {"row": "otsu", "axes": {"pairs": {"10": {"data.count": 10}, "none": {"data.cuont": 11}}}},
        "lost": {"row": "osu", "axes": {"pairs": {"10": {"data.count": 10}}}},
    },
}


@pytest.fixture(scope="module", autouse=True)
def _by_hand(tmp_path_factory):
    """The denoising report's file is one that is written here."""
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "configs").mkdir()
    (folder / "configs" / "denoising.yaml").write_text(yaml.safe_dump(CONTENT, sort_keys=False), encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for networks this small, threads only wait for each other
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SEGLIB_DATA", raising=False)
        patch.setattr(config, "shipped", lambda name: folder / name)
        config._read.cache_clear()
        yield
    config._read.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def runs(monkeypatch):
    """The overrides of all runs, in order."""
    found, run = [], experiment.run

    def watched(*arguments, **options):
        found.append(options["overrides"])
        return run(*arguments, **options)

    monkeypatch.setattr(experiment, "run", watched)
    return found


def counts(runs):
    return [overrides["data.count"] for overrides in runs]


def files(folder):
    return sorted(folder.glob("denoising/*.json"))


def test_every_cell_is_run_once_and_is_a_line_of_the_table(tmp_path, runs):
    found = run_sweep("denoising", "networks", seed=3, out=tmp_path / "results")
    rates = {"low": 0.001, "high": 0.1}
    bce = {"cross-entropy": 1, "both": 0.5}
    assert [(line["loss"], line["rate"]) for line in found] == [(loss, rate) for loss in bce for rate in rates]
    assert len(runs) == 4
    results = [json.loads(path.read_text()) for path in files(tmp_path / "results")]
    assert len(results) == 4
    for line, overrides in zip(found, runs):
        (result,) = (
            result
            for result in results
            if result["config"]["training"]["learning_rate"] == rates[line["rate"]]
            and result["config"]["loss"]["bce"] == bce[line["loss"]]
        )
        assert line["metrics"] == result["metrics"]
        assert result["overrides"] == overrides
        assert (result["seed"], result["scale"], result["config"]["training"]["epochs"]) == (3, "quick", 1)
        assert set(line) == {"loss", "rate", "metrics"}  # no folds, no spread
    assert len({line["metrics"]["bce"] for line in found}) == 4
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path / "results")}
    assert run_sweep("denoising", "networks", seed=3, out=tmp_path / "results") == found
    assert len(runs) == 4
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path / "results")} == before


def test_an_axis_may_be_of_rows(tmp_path, runs):
    found = run_sweep("denoising", "rows", out=tmp_path)
    assert runs == 2 * [{"training.epochs": 1}]
    for line, row in zip(found, ("report", "other")):
        (path,) = tmp_path.glob(f"denoising/{row}.*.json")
        assert line == {"row": {"report": "a", "other": "b"}[row], "metrics": json.loads(path.read_text())["metrics"]}


def test_a_missing_result_is_run_again_alone(tmp_path, runs):
    whole = run_sweep("denoising", "counts", out=tmp_path)
    assert counts(runs) == [10, 11, 12, 13]
    (tmp_path / "denoising" / "otsu.quick.seed0.data.count=12.json").unlink()
    found = table("denoising", "counts", "embedded", out=tmp_path)
    assert [line["pairs"] for line in found] == ["10", "11", "13"]
    runs.clear()
    assert run_sweep("denoising", "counts", out=tmp_path) == whole
    assert counts(runs) == [12]


def test_a_cell_that_fails_stops_the_sweep_and_the_next_call_goes_on(tmp_path, monkeypatch):
    asked, run = [], experiment.run

    def failing(*arguments, **options):
        asked.append(options["overrides"]["data.count"])
        if asked == [10, 11, 12]:
            raise RuntimeError("out of luck")
        return run(*arguments, **options)

    monkeypatch.setattr(experiment, "run", failing)
    with pytest.raises(RuntimeError, match="out of luck"):
        run_sweep("denoising", "counts", out=tmp_path)
    assert [line["pairs"] for line in table("denoising", "counts", "embedded", out=tmp_path)] == ["10", "11"]
    assert len(run_sweep("denoising", "counts", out=tmp_path)) == 4
    assert asked == [10, 11, 12, 12, 13]


def test_scales_and_seeds_have_results_of_their_own(tmp_path, runs):
    for options in ({}, {"seed": 1}, {"scale": "full"}):
        assert len(run_sweep("denoising", "counts", out=tmp_path, **options)) == 4
    assert len(runs) == len(files(tmp_path)) == 12
    assert table("denoising", "counts", "embedded", out=tmp_path, seed=2) == []


def test_a_cell_s_result_is_where_a_run_of_its_row_leaves_it(tmp_path):
    mine = load_sweep("denoising", "counts")
    cell = list(cells(mine))[1]
    path = results.result_path("denoising", mine.row, "quick", 5, cell.overrides, tmp_path)
    outcome = experiment.run("denoising", "otsu", seed=5, overrides={"data.count": 11}, out=tmp_path)
    assert outcome.path == path
    assert table("denoising", "counts", "embedded", seed=5, out=tmp_path) == [
        {"pairs": "11", "metrics": outcome.result["metrics"]}
    ]


def test_a_table_gives_the_spread_over_folds(tmp_path):
    mine = load_sweep("denoising", "counts")
    cell = list(cells(mine))[2]
    path = results.result_path("denoising", mine.row, "quick", 0, cell.overrides, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"metrics": {"iou": 0.5}, "spread": {"iou": 0.1}, "folds": [], "seed": 0}))
    assert table("denoising", "counts", "embedded", out=tmp_path) == [
        {"pairs": "12", "metrics": {"iou": 0.5}, "spread": {"iou": 0.1}}
    ]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("broken", {}, ConfigError, r"row 'otsu': unknown key 'data\.cuont', did you mean 'count'"),
        ("lost", {}, ConfigError, r"no row 'osu', did you mean 'otsu'"),
        ("count", {}, ConfigError, r"no sweep 'count', did you mean 'counts'\?; it has networks, counts, rows, broken"),
        ("counts", {"scale": "quik"}, ConfigError, r"scale: .*, got 'quik', did you mean 'quick'"),
        ("counts", {"backend": "dask"}, ValueError, r"backend: expected joblib or ray, got 'dask'"),
        ("counts", {"gpus": 1}, ValueError, r"GPUs are shared out by Ray alone"),
        ("counts", {"gpus": 0.5, "backend": "joblib"}, ValueError, r"take backend 'ray'"),
    ],
)
def test_a_mistake_is_told_before_the_first_cell_is_run(tmp_path, runs, name, options, error, message):
    with pytest.raises(error, match=message):
        run_sweep("denoising", name, out=tmp_path / "results", **options)
    assert runs == []
    assert not (tmp_path / "results").exists()


def test_a_backend_is_given_what_is_left_to_do_and_how(tmp_path, monkeypatch):
    given = []
    for name in sweep.BACKENDS:
        monkeypatch.setitem(sweep.RUNNERS, name, lambda *arguments: given.append(arguments))
    experiment.run("denoising", "otsu", overrides={"data.count": 12}, out=tmp_path)
    options = {"data": None, "out": tmp_path}
    assert len(run_sweep("denoising", "counts", jobs=3, **options)) == 1
    assert len(run_sweep("denoising", "counts", backend="ray", gpus=0.25, **options)) == 1
    for (jobs_of, jobs, gpus), expected in zip(given, [(3, 0), (1, 0.25)], strict=True):
        assert (jobs, gpus) == expected
        assert jobs_of == [("denoising", "otsu", "quick", 0, None, tmp_path, {"data.count": n}) for n in (10, 11, 13)]


def test_cells_in_processes_of_their_own(tmp_path):
    """Which know the shipped file alone."""
    counts = (10, 11, 12)
    changes = ({"data.count": count, "data.size": 16} for count in counts)
    sweep.RUNNERS["joblib"]([("denoising", "otsu", "quick", 0, None, tmp_path, one) for one in changes], 2, 0)
    assert [json.loads(path.read_text())["config"]["data"]["count"] for path in files(tmp_path)] == [10, 11, 12]


def test_every_backend_is_there():
    assert set(sweep.RUNNERS) == set(sweep.BACKENDS)


def test_overrides_of_a_cell_are_those_of_its_row():
    mine = load_sweep("denoising", "networks")
    for cell in cells(mine):
        row = load_row("denoising", mine.row, "quick", cell.overrides)
        assert row.training.epochs == 1
        assert row.loss.dice == (0.5 if cell.labels["loss"] == "both" else 0)
