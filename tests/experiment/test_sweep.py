"""Sweeps: each cell is run once, what is there is kept, and a mistake is told before any work."""

import json

import pytest
import torch
import yaml

import seglib.rows
from seglib import experiment, sweep
from seglib.rows import ConfigError, load_row, load_sweep
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
        "plain": {"row": "otsu", "axes": {"pairs": {"as it is": {}, "11": {"data.count": 11}}}},
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
        patch.setattr("seglib.rows.shipped", lambda name: folder / name)
        seglib.rows._read.cache_clear()
        yield
    seglib.rows._read.cache_clear()
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


def records(name, out):
    """What the sweep's file holds."""
    return sweep.read_records("denoising", name, out)


def record(cell, seed=0, **content):
    """A result as a cell's run leaves it."""
    about = {"row": cell.row, "scale": "quick", "data": "embedded", "seed": seed, "overrides": dict(cell.overrides)}
    return about | content


def leave(result, out, name):
    """Leaves a result where a cell's run does, as if the sweep had been cut off then."""
    path = out.parent / "runs/denoising/sweeps" / name / "0123" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    return path


def test_every_cell_is_run_once_and_is_a_line_of_the_table(tmp_path, runs):
    found = run_sweep("denoising", "networks", seed=3, out=tmp_path / "results")
    rates = {"low": 0.001, "high": 0.1}
    bce = {"cross-entropy": 1, "both": 0.5}
    assert [(line["loss"], line["rate"]) for line in found] == [(loss, rate) for loss in bce for rate in rates]
    assert len(runs) == 4
    results = records("networks", tmp_path / "results")
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
        assert result["labels"] == {axis: line[axis] for axis in ("loss", "rate")}
        assert {"run", "history", "config", "parameters", "split"} <= set(result)  # all that a run's file has
        assert (result["seed"], result["scale"], result["config"]["training"]["epochs"]) == (3, "quick", 1)
        assert set(line) == {"loss", "rate", "metrics"}  # no folds, no spread
    assert len({line["metrics"]["bce"] for line in found}) == 4
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("lock")]
    assert written == [tmp_path / "results/denoising/sweeps/networks.json"]  # neither networks nor checkpoints are left
    before = written[0].stat().st_mtime_ns
    assert run_sweep("denoising", "networks", seed=3, out=tmp_path / "results") == found
    assert len(runs) == 4
    assert written[0].stat().st_mtime_ns == before


def test_an_axis_may_be_of_rows(tmp_path, runs):
    found = run_sweep("denoising", "rows", out=tmp_path / "results")
    assert runs == 2 * [{"training.epochs": 1}]
    for line, row, result in zip(found, ("report", "other"), records("rows", tmp_path / "results"), strict=True):
        assert result["row"] == row
        assert line == {"row": {"report": "a", "other": "b"}[row], "metrics": result["metrics"]}


def test_a_cell_that_is_a_plain_row_is_that_row_s_own_result(tmp_path, runs):
    out = tmp_path / "results"
    found = run_sweep("denoising", "plain", out=out)
    assert runs == [{}, {"data.count": 11}]
    own = json.loads((out / "denoising/otsu.quick.seed0.json").read_text())
    assert found[0] == {"pairs": "as it is", "metrics": own["metrics"]}
    reference, changed = records("plain", out)
    about = {"row": "otsu", "scale": "quick", "data": "embedded", "seed": 0, "result": "otsu.quick.seed0.json"}
    assert reference == {"labels": {"pairs": "as it is"}} | about
    assert changed["metrics"] == found[1]["metrics"]
    # What was run as a row need not be run for the sweep, nor the other way round.
    runs.clear()
    assert run_sweep("denoising", "plain", out=out) == found
    experiment.run("denoising", "otsu", seed=1, out=out, overrides={})
    assert len(run_sweep("denoising", "plain", out=out, seed=1)) == 2
    assert runs == [{}, {"data.count": 11}]
    assert [one["seed"] for one in records("plain", out)] == [0, 0, 1, 1]


def test_a_missing_result_is_run_again_alone(tmp_path, runs):
    out = tmp_path / "results"
    whole = run_sweep("denoising", "counts", out=out)
    assert counts(runs) == [10, 11, 12, 13]
    before = records("counts", out)
    left = {"report": "denoising", "sweep": "counts", "results": before[:2] + before[3:]}
    sweep.sweep_path("denoising", "counts", out).write_text(json.dumps(left))
    found = table("denoising", "counts", "embedded", out=out)
    assert [line["pairs"] for line in found] == ["10", "11", "13"]
    runs.clear()
    assert run_sweep("denoising", "counts", out=out) == whole
    assert counts(runs) == [12]
    assert [one["labels"]["pairs"] for one in records("counts", out)] == ["10", "11", "12", "13"]  # the sweep's order


def test_a_cell_that_fails_stops_the_sweep_and_the_next_call_goes_on(tmp_path, monkeypatch):
    asked, run = [], experiment.run

    def failing(*arguments, **options):
        asked.append(options["overrides"]["data.count"])
        if asked == [10, 11, 12]:
            raise RuntimeError("out of luck")
        return run(*arguments, **options)

    monkeypatch.setattr(experiment, "run", failing)
    out = tmp_path / "results"
    with pytest.raises(RuntimeError, match="out of luck"):
        run_sweep("denoising", "counts", out=out)
    assert [line["pairs"] for line in table("denoising", "counts", "embedded", out=out)] == ["10", "11"]
    assert len(run_sweep("denoising", "counts", out=out)) == 4
    assert asked == [10, 11, 12, 12, 13]


def test_scales_and_seeds_have_results_of_their_own(tmp_path, runs):
    out = tmp_path / "results"
    for options in ({}, {"seed": 1}, {"scale": "full"}):
        assert len(run_sweep("denoising", "counts", out=out, **options)) == 4
    assert len(runs) == len(records("counts", out)) == 12
    assert table("denoising", "counts", "embedded", out=out, seed=2) == []


def test_a_result_that_nobody_moved_any_more_is_taken_up_by_the_next_call(tmp_path, runs):
    """Whoever moves results may be killed between two, or the file not be written: nothing that is done is lost."""
    out = tmp_path / "results"
    cell = list(cells(load_sweep("denoising", "counts")))[1]
    path = leave(record(cell, metrics={"iou": 0.25}), out, "counts")
    found = run_sweep("denoising", "counts", out=out)
    assert counts(runs) == [10, 12, 13]
    assert found[1] == {"pairs": "11", "metrics": {"iou": 0.25}}
    assert not path.parent.exists()


def test_a_record_whose_combination_the_sweep_no_longer_has_is_kept(tmp_path, runs):
    out = tmp_path / "results"
    cell = sweep.Cell({"pairs": "99"}, "otsu", {"data.count": 99})
    leave(record(cell, metrics={"iou": 0.25}), out, "counts")
    assert [line["pairs"] for line in run_sweep("denoising", "counts", out=out)] == ["10", "11", "12", "13"]
    assert records("counts", out)[-1] == {"labels": {}} | record(cell, metrics={"iou": 0.25})


def test_a_table_gives_the_spread_over_folds(tmp_path):
    cell = list(cells(load_sweep("denoising", "counts")))[2]
    result = record(cell, metrics={"iou": 0.5}, spread={"iou": 0.1}, folds=[])
    path = sweep.sweep_path("denoising", "counts", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"results": [{"labels": dict(cell.labels)} | result]}))
    assert table("denoising", "counts", "embedded", out=tmp_path) == [
        {"pairs": "12", "metrics": {"iou": 0.5}, "spread": {"iou": 0.1}}
    ]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("broken", {}, ConfigError, r"row 'otsu': unknown key 'data\.cuont', did you mean 'count'"),
        ("lost", {}, ConfigError, r"no row 'osu', did you mean 'otsu'"),
        (
            "count",
            {},
            ConfigError,
            r"no sweep 'count', did you mean 'counts'\?; it has networks, counts, plain, rows, broken",
        ),
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
        monkeypatch.setitem(sweep.RUNNERS, name, lambda *arguments: given.append(arguments) or ())
    out = tmp_path / "results"
    cell = list(cells(load_sweep("denoising", "counts")))[2]
    leave(record(cell, metrics={}), out, "counts")
    options = {"data": None, "out": out}
    assert len(run_sweep("denoising", "counts", jobs=3, **options)) == 1
    assert len(run_sweep("denoising", "counts", backend="ray", gpus=0.25, **options)) == 1
    for (jobs_of, jobs, gpus), expected in zip(given, [(3, 0), (1, 0.25)], strict=True):
        assert (jobs, gpus) == expected
        places = [job[-1] for job in jobs_of]
        assert len({place.parent for place in places}) == 1
        assert len(set(places)) == 3
        assert [job[:-1] for job in jobs_of] == [
            ("denoising", "otsu", "quick", 0, None, out, {"data.count": n}) for n in (10, 11, 13)
        ]


@pytest.mark.slow
def test_cells_in_processes_of_their_own(tmp_path):
    """Which know the shipped file alone."""
    counts = (10, 11, 12)
    changes = ({"data.count": count, "data.size": 16} for count in counts)
    jobs = [
        ("denoising", "otsu", "quick", 0, None, tmp_path, one, tmp_path / str(one["data.count"])) for one in changes
    ]
    assert len(list(sweep.RUNNERS["joblib"](jobs, 2, 0))) == 3
    for count in counts:
        assert json.loads((tmp_path / f"{count}/result.json").read_text())["config"]["data"]["count"] == count


def test_every_backend_is_there():
    assert set(sweep.RUNNERS) == set(sweep.BACKENDS)


def test_overrides_of_a_cell_are_those_of_its_row():
    mine = load_sweep("denoising", "networks")
    for cell in cells(mine):
        row = load_row("denoising", mine.row, "quick", cell.overrides)
        assert row.training.epochs == 1
        assert row.loss.dice == (0.5 if cell.labels["loss"] == "both" else 0)
