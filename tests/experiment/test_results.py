"""Result files and the tables of reported beside measured numbers."""

import json
import math
import re
from pathlib import Path

import pytest

from seglib import experiment, results, sweep
from seglib.__main__ import main
from seglib.reports import find_report, reports
from seglib.results import measured, number, read, result_path, scoreboard, summary, write
from seglib.rows import load_row, load_rows

ROOT = Path(__file__).parents[2]


def result(row="report", seed=0, scale="quick", data="embedded", overrides=None, **metrics):
    about = {"report": "denoising", "row": row, "scale": scale, "data": data, "seed": seed}
    return about | {"overrides": overrides or {}, "parameters": 1000, "metrics": metrics or {"iou": 0.9}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of result files in place of the shipped one, and `save`, to put results there."""
    monkeypatch.setattr(results, "shipped", lambda name: tmp_path if name == "results" else pytest.fail(name))
    return tmp_path


def save(folder, *all_results):
    for r in all_results:
        write(result_path(r["report"], r["row"], r["scale"], r["seed"], r["overrides"], folder), r)


@pytest.mark.parametrize(
    ("overrides", "data", "name"),
    [
        ({}, [], "report.full.seed3.json"),
        ({"training.epochs": 2}, [], "report.full.seed3.training.epochs=2.json"),
        ({"b": 0.5, "a": "x"}, [], "report.full.seed3.a=x.b=0.5.json"),
        ({"a": "../../etc/x y"}, [], "report.full.seed3.a=.._.._etc_x_y.json"),
        ({}, ["embedded"], "report.full.seed3.json"),
        ({}, ["MFSD"], "report.full.seed3.MFSD.json"),
        ({"a": 1}, ["MFSD"], "report.full.seed3.MFSD.a=1.json"),
    ],
)
def test_where_a_result_goes(tmp_path, overrides, data, name):
    found = result_path("denoising", "report", "full", 3, overrides, tmp_path, *data)
    assert found == tmp_path / "denoising" / name


def test_overrides_have_files_of_their_own(tmp_path):
    changes = [{}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": "1/b"}, {"a": [1, 2]}, {"a": [1.2]}]
    assert len({result_path("r", "row", "quick", 0, change, tmp_path) for change in changes}) == len(changes)


def test_where_a_result_goes_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "root", lambda: tmp_path / "checkout")
    assert result_path("denoising", "a", "quick", 0, {}) == tmp_path / "checkout/results/denoising/a.quick.seed0.json"
    monkeypatch.setattr(results, "root", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert result_path("denoising", "a", "quick", 0, {}) == Path.cwd() / "results/denoising/a.quick.seed0.json"


def test_round_trip(folder):
    written = result(iou=0.123456789012345678, dice=1.0) | {"split": "64×64", "history": [{"epoch": 1}]}
    save(folder, written)
    assert read("denoising") == read("denoising", folder) == [written]
    assert "64×64" in next(folder.glob("denoising/*.json")).read_text(encoding="utf-8")
    assert read("scribbles") == []


def test_results_of_changed_rows_do_not_count(folder):
    save(folder, result(seed=0, iou=0.9), result(seed=0, overrides={"training.epochs": 1}, iou=0.1))
    assert len(list(folder.glob("denoising/*.json"))) == 2
    assert [r["metrics"]["iou"] for r in read("denoising")] == [0.9]
    assert summary("denoising")[0]["measured"]["metrics"] == {"iou": 0.9}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_cannot_hold_leaves_no_file(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "result.json", result(iou=value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"row": "report"}', b"[1]", b"null", b"\xff\xfe", b'{"overrides": {}}', "half"]
)
def test_a_damaged_file_is_named(folder, content):
    save(folder, result())
    path = folder / "denoising" / "report.quick.seed1.json"
    whole = json.dumps(result(seed=1)).encode()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a result file")):
        read("denoising")


def test_mean_and_spread_over_seeds_or_of_one_seed_over_its_folds():
    several = [result(seed=seed, iou=iou, dice=0.5) for seed, iou in ((2, 0.8), (0, 0.9), (1, 0.94))]
    mean = (0.8 + 0.9 + 0.94) / 3
    spread = math.sqrt(sum((x - mean) ** 2 for x in (0.8, 0.9, 0.94)) / 2)
    ours = measured([*several, result("other", iou=0.1)], "report")
    assert ours["metrics"] == pytest.approx({"iou": mean, "dice": 0.5})
    assert ours["spread"] == pytest.approx({"iou": spread, "dice": 0})
    assert (ours["seeds"], ours["scale"], ours["data"], ours["parameters"]) == ([0, 1, 2], "quick", "embedded", 1000)
    assert measured([result(iou=0.9)], "report")["spread"] == {}
    assert measured([result(iou=0.9) | {"spread": {"iou": 0.07}}], "report")["spread"] == {"iou": 0.07}
    folds = [entry | {"spread": {"iou": 0.07}} for entry in several]
    assert measured(folds, "report")["spread"]["iou"] == pytest.approx(spread)
    assert measured([result("other")], "report") is measured([], "report") is None


def test_a_metric_that_only_some_seeds_have_is_left_out():
    some, others = result(seed=0, iou=0.9, bce=0.1), result(seed=1, iou=0.8)
    for entries in ([some, others], [others, some]):
        assert measured(entries, "report")["metrics"] == pytest.approx({"iou": 0.85})


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([("quick", "embedded"), ("full", "embedded")], ("full", "embedded")),
        ([("quick", "real"), ("full", "embedded")], ("quick", "real")),
        ([("quick", "real"), ("full", "real"), ("full", "embedded")], ("full", "real")),
        ([("quick", "embedded")], ("quick", "embedded")),
    ],
)
def test_real_data_come_first_and_then_the_largest_scale(found, chosen):
    several = [result(seed=i, scale=scale, data=data, iou=i / 10) for i, (scale, data) in enumerate(found)]
    for ordered in (several, several[::-1]):
        ours = measured(ordered, "report")
        assert (ours["scale"], ours["data"]) == chosen
        assert ours["seeds"] == [found.index(chosen)]
        assert ours["metrics"] == {"iou": found.index(chosen) / 10}


def test_the_difference_of_two_rows_is_taken_seed_by_seed(folder):
    save(folder, *(result(seed=seed, iou=iou) for seed, iou in enumerate((0.8, 0.9, 0.7))))
    save(folder, *(result("other", seed=seed, iou=iou) for seed, iou in enumerate((0.7, 0.85))))
    save(folder, result("other", seed=2, scale="full", iou=0.1))
    gain, error, count = results.difference("denoising", "report", "other", "iou")
    assert (gain, count) == (pytest.approx(0.075), 2)
    assert error == pytest.approx(0.025)  # of 0.1 and 0.05: standard deviation 0.05 / √2, over √2
    assert results.difference("denoising", "other", "report", "iou")[0] == pytest.approx(-0.075)
    save(folder, result("third", seed=2, iou=0.6))
    assert results.difference("denoising", "report", "third", "iou") == (pytest.approx(0.1), None, 1)
    with pytest.raises(ValueError, match="other and third have no seed and fold in common at scale quick"):
        results.difference("denoising", "other", "third", "iou")


def test_the_difference_of_two_rows_is_taken_fold_by_fold(folder):
    folds = {"report": (0.8, 0.9, 0.7), "other": (0.7, 0.6)}
    for row, ious in folds.items():
        parts = [{"metrics": {"iou": iou}} for iou in ious]
        write(folder / "denoising" / f"{row}.json", result(row, data="MFSD", iou=0.5) | {"folds": parts})
    save(folder, result("other", seed=5, iou=0.0))  # on embedded data
    assert results.difference("denoising", "report", "other", "iou") == pytest.approx((0.2, 0.1, 2))


def test_the_interval_of_a_difference_is_student_s_and_wider_for_folds(folder):
    save(folder, *(result(seed=seed, iou=iou) for seed, iou in enumerate((0.81, 0.72, 0.93))))
    save(folder, *(result("other", seed=seed, iou=iou) for seed, iou in enumerate((0.8, 0.7, 0.9))))
    of_rows = ("denoising", "report", "other", "iou")
    # The differences are 0.01, 0.02 and 0.03, and 4.3027 and 9.9248 the quantiles for two degrees of freedom.
    assert results.interval(*of_rows) == pytest.approx((0.02, 4.3027 * 0.01 / 3**0.5, 3), rel=1e-4)
    assert results.interval(*of_rows, confidence=0.99)[1] == pytest.approx(9.9248 * 0.01 / 3**0.5, rel=1e-4)
    # In three folds half as many pictures are held out as train: s √(1/3 + 1/2).
    assert results.interval(*of_rows, folds=3)[1] == pytest.approx(4.3027 * 0.01 * (1 / 3 + 1 / 2) ** 0.5, rel=1e-4)
    with pytest.raises(ValueError, match=r"folds must be at least 2, or None .* got 1"):
        results.interval(*of_rows, folds=1)
    save(folder, result("third", seed=0, iou=0.5))
    with pytest.raises(ValueError, match="report and third have one difference at scale quick; an interval takes two"):
        results.interval("denoising", "report", "third", "iou")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.90914,), "0.9091"),
        ((0.90914, 0.00123), "0.9091 ± 0.0012"),
        ((1, 0.0), "1.0000 ± 0.0000"),
        ((0.0,), "0.0000"),
        ((None,), "–"),
        ((None, None), "–"),
    ],
)
def test_numbers(arguments, text):
    assert number(*arguments) == text


def cells(table, row):
    line = next(line for line in table.splitlines() if f"(`{row}`)" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_scoreboard_has_reported_beside_measured(folder):
    save(folder, result(seed=0, iou=0.91, dice=0.95, bce=0.05), result(seed=1, iou=0.93, dice=0.95, bce=0.05))
    save(folder, result("otsu", scale="full", iou=0.36, dice=0.5))
    table = scoreboard("denoising")
    head, rule, *lines = table.splitlines()
    assert head == (
        "| row | IoU reported | IoU ours | Dice reported | Dice ours | BCE reported | BCE ours | scale, seeds, data |"
    )
    assert {line.count("|") for line in (head, rule, *lines)} == {head.count("|")}
    assert [re.search(r"\(`(.*?)`\)", line)[1] for line in lines] == [row.name for row in load_rows("denoising")]
    assert cells(table, "report")[1:] == [
        *("0.9090", "0.9200 ± 0.0141"),
        *("0.9520", "0.9500 ± 0.0000"),
        *("0.0330", "0.0500 ± 0.0000"),
        "quick, 2, embedded",
    ]
    assert cells(table, "otsu")[1:] == ["–", "0.3600", "–", "0.5000", "–", "–", "full, 1, embedded"]
    assert cells(table, "fast")[1:] == 6 * ["–"] + ["not run"]


def test_scoreboard_has_real_data_before_embedded_and_the_spread_over_folds(folder):
    spread = {"spread": {"iou": 0.05, "dice": 0.04}, "parameters": 4_384_498}
    for r in (result(iou=0.6, dice=0.7), result(data="MFSD", iou=0.5, dice=0.6) | spread):
        write(result_path("face_masks", "model-2", "quick", 0, {}, folder, r["data"]), r | {"row": "model-2"})
    assert cells(scoreboard("face_masks"), "model-2")[1:] == [
        *("0.6896 ± 0.0400", "0.5000 ± 0.0500"),
        *("0.8080 ± 0.0300", "0.6000 ± 0.0400"),
        *("9,800,000", "4,384,498"),
        "quick, 1, MFSD",
    ]


def test_scoreboard_has_any_metric_and_a_checkpoint_s_size_and_a_line_for_each_scale(folder):
    save(folder, result(iou_horse=0.75) | {"parameters": 2**20}, result(scale="full", iou_horse=0.8))
    table = scoreboard("denoising", ["iou_horse", "checkpoint_mib"])
    quick, full = (cells(line, "report")[2:] for line in table.splitlines() if "(`report`)" in line)
    assert quick == ["0.7500", "–", "12.00", "quick, 1, embedded"]  # a weight and Adam's two averages, 4 bytes each
    assert full == ["0.8000", "–", "0.0114", "full, 1, embedded"]


def test_rows_as_json_and_as_a_table(folder, capsys):
    save(folder, result(seed=4, iou=0.9), result(seed=5, iou=0.8))
    assert main(["rows", "denoising", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table == experiment.rows_table("denoising")
    table = {entry["row"]: entry for entry in table}
    entry = table["report"]
    assert entry["measured"] == pytest.approx({"iou": 0.85})
    assert entry["reported"] == {"iou": 0.909, "dice": 0.952, "bce": 0.033}
    assert (entry["scale"], entry["data"], entry["seeds"]) == ("quick", "embedded", [4, 5])
    assert table["fast"]["measured"] is None
    assert table["otsu"]["parameters"] == 0
    assert table["report"]["parameters"] > table["no-skip"]["parameters"] > 0
    assert main(["rows", "denoising"]) == 0
    assert scoreboard("denoising") in capsys.readouterr().out


@pytest.mark.parametrize("report", reports())
def test_committed_results_are_of_the_rows_as_they_stand_now(report):
    files = {path: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "results" / report).rglob("*.json")}
    assert files
    for path, content in files.items():
        records = content["results"] if path.parent.name == "sweeps" else [content]
        for result in records:
            if "result" in result:  # a plain row of a sweep
                assert files[path.parents[1] / result["result"]]["row"] == result["row"]
            else:
                check_record(report, result, path)


def check_record(report, result, path):
    row = load_row(report, result["row"], result["scale"], result["overrides"])
    # Keys that came into the schema after a run have the value that it ran with for a default.
    names = {key: getattr(row, key) for key in ("report", "name", "title")}
    then = find_report(report).row_type.model_validate(result["config"] | names)
    assert then.recipe() == row.recipe(), f"{path.name}: the row has changed since it was run"
    assert not result["run"]["commit"].endswith("-dirty")


def test_every_cell_of_the_ablation_is_on_record_and_some_twice():
    cells = sweep.table("scribbles", "ablation", "scribbles")
    assert len(cells) == 72
    assert len({len(cell["photographs"]) for cell in cells}) == 1
    assert len(sweep.table("scribbles", "ablation", "scribbles", seed=1)) >= 6
