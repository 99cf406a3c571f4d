"""Rows: every shipped one is valid, layers lie on each other in order, and a mistake is named with the right word."""

import typing
from dataclasses import asdict

import pytest
import yaml

from seglib import experiment, losses, training
from seglib import rows as rows_of_files
from seglib.data import strokes
from seglib.data.seeded import FROM_HINT
from seglib.files import shipped
from seglib.metrics import BinaryMetrics, ClassMetrics
from seglib.models import blocks, library
from seglib.reports import find_report, keys, reports
from seglib.reports.denoising import shapes
from seglib.reports.denoising.baselines import FILTERS
from seglib.reports.denoising.report import Baseline as denoising_baseline
from seglib.reports.neural_segmentello.report import Baseline as hint_baseline
from seglib.reports.neural_segmentello.report import Brush
from seglib.reports.scribbles import scribbles
from seglib.reports.scribbles.baselines import FROM_STROKES
from seglib.reports.scribbles.report import Baseline as stroke_baseline
from seglib.reports.scribbles.report import Scribbles
from seglib.rows import (
    SCALES,
    ConfigError,
    Sweep,
    differences,
    load_row,
    load_rows,
    load_sweep,
    parse_override,
    row_names,
)
from seglib.sweep import cells

RANGES = ("base", "contrast", "blur_sigma", "gaussian_sigma", "salt_pepper")
NOISE = {"blur_probability": 0} | {name: [0, 0] for name in RANGES}
DEFAULTS = {
    "data": {"size": 16, "count": 20, "held_out": 0.2, "augment": "none", "noise": NOISE},
    "model": {"in_channels": 1, "out_channels": 1, "widths": [8, 16]},
    "loss": {"bce": 1},
    "training": {"epochs": 1, "batch_size": 2, "learning_rate": 0.1},
}


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """Writes configuration files by hand, in place of those that are shipped."""
    monkeypatch.setattr(rows_of_files, "shipped", lambda folder: tmp_path / folder)
    monkeypatch.setattr(rows_of_files, "reports", lambda: [*reports(), "hand"])
    monkeypatch.setattr(rows_of_files, "find_report", lambda name: find_report("denoising"))
    (tmp_path / "configs").mkdir()

    def write(text="", **content):
        (tmp_path / "configs" / "hand.yaml").write_text(text or yaml.safe_dump(content), encoding="utf-8")
        rows_of_files._read.cache_clear()

    yield write
    rows_of_files._read.cache_clear()


def refused(*arguments, words=(), load=load_row):
    """The message with which a row is refused; the words are in it."""
    with pytest.raises(ConfigError) as error:
        load(*arguments)
    for word in words:
        assert word in str(error.value)
    return str(error.value)


def flat(mapping, prefix=""):
    """{"a": {"b": 1}} → {"a.b": 1}"""
    found = {}
    for key, value in mapping.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def recipe(report, name, scale="full"):
    return flat(load_row(report, name, scale).recipe())


# --- what is shipped: that rows are those which results were recorded with, test_results.py says ---


@pytest.mark.parametrize(
    ("report", "name", "scale"),
    [(report, name, scale) for report in reports() for name in row_names(report) for scale in SCALES],
)
def test_every_row_is_valid_at_both_scales(report, name, scale):
    row = load_row(report, name, scale)
    assert (row.report, row.name, row.scale) == (report, name, scale)
    network = [row.model, row.loss, row.training]
    assert all(network) if row.baseline is None else not any(network)


@pytest.mark.parametrize("report", reports())
def test_labels_are_short_and_tell_rows_apart(report):
    labels = [row.label for row in load_rows(report)]
    assert len(set(labels)) == len(labels)
    assert all(0 < len(label) <= 40 for label in labels)
    assert not any("_" in label for label in labels)


def test_the_differences_of_two_rows_are_all_settings_that_are_not_the_same_in_both():
    one, same, other = (load_row("face_masks", name) for name in ("model-2", "model-2", "wider"))
    assert differences(one, same) == {}
    assert differences(one, other) == {"model.widths": ([48, 96, 192, 384], [64, 128, 256, 512])}
    changed = load_row("face_masks", "model-2", "quick", {"loss.dice": 0.5, "training.epochs": 3})
    assert differences(changed, one) == {"loss.dice": (0.5, 0.3), "training.epochs": (3, 9)}
    baseline = differences(one, load_row("face_masks", "otsu"))  # it has no network, and the network no method
    assert baseline["training.epochs"] == (9, None)
    assert baseline["baseline.method"] == (None, "otsu")


def test_noise_is_drawn_anew_in_one_way():
    both = {"data.progressive_epochs": 2, "data.fresh_epochs": 3}
    with pytest.raises(ConfigError, match="expected progressive_epochs or fresh_epochs, got 2 and 3"):
        load_row("denoising", "report", "quick", both)


def test_rows_come_in_the_files_order():
    for report in reports():
        written = list(yaml.safe_load((shipped("configs") / f"{report}.yaml").read_text("utf-8"))["rows"])
        assert row_names(report) == [row.name for row in load_rows(report)] == written


SEGMENTELLO = {  # Table 1 of the report: pixel accuracy, IoU, boundary IoU, Hausdorff distance, a checkpoint's MB
    "tiny16-32_bce-dice": (0.9839, 0.8609, 0.1566, 43.10, 1.40),
    "res16-32_bce-dice": (0.9840, 0.8611, 0.1581, 42.73, 1.40),
    "tiny16-128_bce-dice": (0.9833, 0.8528, 0.1485, 46.29, 22.34),
    "res16-128_bce-dice": (0.9830, 0.8534, 0.1416, 43.64, 22.34),
    "tiny16-128_bce-dice-bound": (0.9864, 0.8796, 0.2207, 40.66, 22.34),
    "res16-128_bce-dice-bound": (0.9857, 0.8749, 0.2082, 42.17, 22.34),
    "res32-256_bce-dice-bound": (0.9859, 0.8654, 0.2040, 43.03, 88.97),
    "attn32-256_bce-dice-bound": (0.9866, 0.8792, 0.2210, 40.77, 90.04),
}
COLUMNS = ("pixel_accuracy", "iou", "boundary_iou_1px", "hausdorff_all", "checkpoint_mib")
REPORTED = {
    ("denoising", "report"): {"iou": 0.909, "dice": 0.952, "bce": 0.033},
    ("face_masks", "model-2"): {"iou": 0.6896, "dice": 0.8080, "parameters": 9_800_000},
    ("face_masks", "model-3"): {"iou": 0.7955, "dice": 0.8858, "parameters": 31_200_000},
    ("scribbles", "report"): {"mean_iou": 0.8758, "iou_background": 0.9215, "iou": 0.7923},
    **{("neural_segmentello", name): dict(zip(COLUMNS, numbers)) for name, numbers in SEGMENTELLO.items()},
}
SPREAD = {
    ("face_masks", "model-2"): {"iou": 0.04, "dice": 0.03},
    ("face_masks", "model-3"): {"iou": 0.03, "dice": 0.02},
    ("scribbles", "report"): {"mean_iou": 0.0169},
}


def test_reported_numbers_are_those_of_the_reports():
    """Of the Mars report, see its own tests; of the face masks' baselines the report has only a sentence."""
    rows = {(report, row.name): row for report in reports() if report != "mars_terrain" for row in load_rows(report)}
    found = {name: row.reported for name, row in rows.items() if row.reported and not row.baseline}
    assert found == REPORTED
    assert {
        name: row.reported_spread for name, row in rows.items() if name in REPORTED and row.reported_spread
    } == SPREAD
    assert {name for (_, name), row in rows.items() if row.reported and row.baseline} == {
        *("otsu", "otsu-better-polarity", "region-based")
    }
    assert all(sum(row.best for row in load_rows(report)) == 1 for report in reports())


FACES = {"data.size": 128, "data.folds": 3, "loss.bce": 0.7, "loss.dice": 0.3}
REFINEMENT = {
    **{"model.in_channels": 3, "model.norm": "group", "model.block": "double", "data.training": 900},
    **{"training.optimizer": "adam", "training.learning_rate": 0.001, "training.epochs": 50, "training.batch_size": 1},
    **{"training.monitor": "loss", "training.patience": 5, "data.validation": 100, "data.objects": "largest"},
}
STATED = {  # what the reports say of how their networks were made
    ("denoising", "report"): {
        **{"data.size": 128, "data.count": 2500, "data.held_out": 0.2},
        **{"training.epochs": 50, "training.batch_size": 32, "training.schedule": "plateau"},
    },
    ("face_masks", "model-2"): FACES
    | {"model.widths": [48, 96, 192, 384], "model.skip": "attention", "model.init": "kaiming", "training.epochs": 30},
    ("face_masks", "model-3"): FACES
    | {"model.widths": [64, 128, 256, 512], "model.decoder_block": "residual", "model.init": "pytorch"}
    | {"training.epochs": 100, "training.schedule": "plateau"},
    ("scribbles", "report"): {
        **{"model.encoder": "efficientnet-b2", "model.attention": "scse", "model.dropout": 0.2},
        **{"data.width": 480, "data.height": 352, "data.folds": 5, "data.augment": "low", "data.synthetic": 0.5},
        **{"loss.iou": 1, "loss.bce": 0.2, "loss.positive_weight": 3, "training.optimizer": "adamw"},
        **{"training.batch_size": 8, "training.learning_rate": 0.005, "training.schedule": "cosine"},
    },
    ("neural_segmentello", "kervadec"): {"loss.boundary": 1, "loss.boundary_growth": 0.01},  # a hundredth an epoch
}
for _name in SEGMENTELLO:
    _network, *_, _parts = _name.replace("_", "-", 1).partition("-bce-")
    _kind = _network.rstrip("0123456789-")
    _weights = (0.4, 0.4, 0.2) if _parts == "dice-bound" else (0.5, 0.5, 0)
    _first, _last = map(int, _network.removeprefix(_kind).split("-"))
    STATED["neural_segmentello", _name] = REFINEMENT | {
        "model.widths": [width for width in (16, 32, 64, 128, 256, 512) if _first <= width <= 2 * _last],
        "model.refine": _kind == "res",
        "model.skip": "attention" if _kind == "attn" else "concatenate",
        **dict(zip(("loss.bce", "loss.dice", "loss.sobel_boundary"), _weights)),
    }


@pytest.mark.parametrize(("report", "name"), STATED)
def test_rows_are_as_the_reports_say(report, name):
    found = recipe(report, name)
    assert {key: found[key] for key in STATED[report, name]} == STATED[report, name]


def test_what_else_the_reports_say():
    rows = load_rows("denoising")
    assert {row.loss.bce for row in rows if row.loss} == {0, 0.3, 0.5, 0.7, 1}
    assert all(row.loss.bce + row.loss.dice == pytest.approx(1) for row in rows if row.loss)
    # 16,000 steps: 182 of 228 photographs are in a training part.
    training = load_row("scribbles", "report", "full").training
    assert training.epochs * -(-182 // training.batch_size) == pytest.approx(16000, rel=0.02)
    assert load_row("denoising", "report").data.noise.model_dump() == asdict(shapes.Noise())
    for scale in SCALES:  # few images are trained on for as many steps
        base = load_row("neural_segmentello", "tiny16-128_bce-dice-bound", scale).training
        for count in (50, 150):
            row = load_row("neural_segmentello", f"images-{count}", scale)
            assert row.data.limit == count
            assert row.training.epochs * count == pytest.approx(354 * base.epochs, rel=0.03)


@pytest.mark.parametrize(
    ("report", "names", "changed"),
    [
        ("neural_segmentello", list(SEGMENTELLO), {"data.longest", "data.scenes", "data.scene_size"}),
        ("scribbles", ["report"], {"data.width", "data.height", "data.scenes"}),
    ],
)
def test_quick_runs_are_on_fewer_and_smaller_pictures_for_fewer_epochs_and_no_different_otherwise(
    report, names, changed
):
    for name in names:
        quick, full = recipe(report, name, "quick"), recipe(report, name)
        assert {key for key in full if quick[key] != full[key]} == changed | {"scale", "training.epochs"}


@pytest.mark.parametrize(
    ("report", "network", "baselines"),
    [
        ("neural_segmentello", "tiny16-32_bce-dice", list(FROM_HINT)),
        ("scribbles", "report", list(FROM_STROKES)),
    ],
)
def test_baselines_are_called_by_their_methods_and_measured_on_the_very_data_of_the_networks(
    report, network, baselines
):
    for scale in SCALES:
        data = load_row(report, network, scale).data
        rows = {row.name: row for row in load_rows(report, scale) if row.baseline}
        assert {name: row.baseline.method for name, row in rows.items()} == dict(zip(baselines, baselines))
        for row in rows.values():  # they are not trained
            trained = {"augment": "low", "synthetic": 0.5} if report == "scribbles" else {}
            assert row.data.model_copy(update=trained) == data


FEWER = {"data.limit", "training.epochs", "training.patience"}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("wider", {"model.widths"}),
        ("no-gates", {"model.skip"}),
        ("residual-decoder", {"model.decoder_block"}),
        ("pytorch-init", {"model.init"}),
        ("stronger-augmentation", {"data.augment"}),
        ("weight-decay", {"training.weight_decay"}),
        ("plateau", {"training.schedule"}),
        ("longer", {"training.epochs"}),
        ("image-only-rotation", {"data.augment"}),
        ("single-people", {"data.real", "data.two_people"}),
        ("two-people", {"data.real", "data.two_people"}),
        ("residual-blocks", {"model.block"}),
        ("rgb", {"data.rgb", "model.in_channels"}),
        ("batch-8", {"training.batch_size", "training.learning_rate"}),
        ("fresh-strokes", {"data.fresh"}),
        ("all-objects", {"data.objects", "training.epochs"}),
        ("augmented", {"data.augment"}),
        ("object-view", {"data.view"}),
        ("images-50", FEWER),
        ("images-150", FEWER),
        ("likelihood", {"data.likelihood", "model.in_channels"}),
        ("muon", {f"training.{key}" for key in "optimizer schedule learning_rate batch_size monitor patience".split()}),
        (
            "kervadec",
            {f"loss.{key}" for key in keys.Loss.model_fields if "bound" in key or key in ("bce", "dice")}
            | {"training.monitor"},
        ),
    ],
)
def test_an_ablation_changes_one_thing(name, changed):
    """Of the face masks' model 2, to that of model 3; or of the rough masks' networks without anything special."""
    faces = name in row_names("face_masks")
    report, base = ("face_masks", "model-2") if faces else ("neural_segmentello", "tiny16-128_bce-dice-bound")
    for scale in SCALES:
        two, row = recipe(report, base, scale), recipe(report, name, scale)
        assert {key for key in two if two[key] != row[key]} == changed
        (key, *others) = changed
        if faces and not others and name != "image-only-rotation":
            assert row[key] == recipe(report, "model-3", scale)[key]


def test_rows_with_and_without_pre_training_differ_in_nothing_else():
    for scale, count in ((scale, count) for scale in SCALES for count in ("", "-10", "-50")):
        with_it, without = (
            load_row("face_masks", f"{name}{count}", scale).recipe() for name in ("pretrained", "from-scratch")
        )
        assert with_it | {"start": None} == without
        start = load_row("face_masks", with_it["start"], scale)
        assert start.recipe()["model"] == with_it["model"]
        assert start.data.size == with_it["data"]["size"]
        assert start.start is None


# --- layers ---

LAYERS = {
    "defaults": DEFAULTS,
    "scales": {
        "quick": {
            "training": {"epochs": 20, "batch_size": 20, "learning_rate": 20, "weight_decay": 20},
            "data": {"count": 200},
        },
        "full": {"training": {"epochs": 21}, "data": {"count": 210}},
    },
    "rows": {
        "row": {
            "title": "A row",
            "data": {"size": 32},
            "training": {"batch_size": 30, "learning_rate": 30, "weight_decay": 30, "plateau_patience": 30},
            "quick": {"training": {"learning_rate": 40, "weight_decay": 40, "plateau_patience": 40}},
            "full": {"training": {"weight_decay": 41, "plateau_patience": 41}},
        },
        "plain": {"title": "Another row", "reported": {"iou": 0.5}, "best": True},
        "baseline": {"title": "No network", "baseline": {"filter": "median"}},
    },
}


def test_later_layers_lie_on_earlier_ones(configs):
    """Each key is set in one layer more than the one before it, to ten times the layer's number."""
    configs(**LAYERS)
    row = load_row("hand", "row", "quick", {"training.plateau_patience": 50, "model.dropout": 0.5})
    assert row.training.optimizer == "adam"
    assert row.training.epochs == 20  # the scale on the defaults' 1
    assert row.training.batch_size == 30  # the row on both
    assert row.training.learning_rate == row.training.weight_decay == 40  # the row's scale on all three
    assert row.training.plateau_patience == 50  # an override on all four
    assert (row.data.size, row.data.count, row.data.augment) == (32, 200, "none")
    assert (row.model.dropout, row.model.widths) == (0.5, [8, 16])
    row = load_row("hand", "baseline", "full")  # which has no network
    assert (row.data.count, row.baseline.filter) == (210, "median")
    assert row.model is row.loss is row.training is None


def test_scales_do_not_leak_into_each_other(configs):
    configs(**LAYERS)
    for _ in range(2):  # nor does reading a row change what the next one starts from
        training = load_row("hand", "row", "full").training
        assert (training.epochs, training.learning_rate, training.weight_decay) == (21, 30, 41)
        plain = load_row("hand", "plain", "quick", {"loss.dice": 2})
        assert (plain.training.epochs, plain.training.learning_rate, plain.data.size) == (20, 20, 16)
        assert (plain.loss.bce, plain.loss.dice) == (1, 2)
    assert load_row("hand", "plain").loss.dice == 0


def test_recipe_is_what_determines_the_result(configs):
    configs(**LAYERS | {"rows": LAYERS["rows"] | {"other": {"title": "Alike"}}})
    assert load_row("hand", "plain").recipe() == load_row("hand", "other").recipe()
    changed = load_row("hand", "plain", overrides={"training.epochs": 2}).recipe()
    assert changed != load_row("hand", "plain").recipe()
    assert changed["training"]["epochs"] == 2


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("denoisng", "report"), ["denoisng", "did you mean 'denoising'"]),
        (("denoising", "reprot"), ["configs/denoising.yaml", "'reprot'", "did you mean 'report'", "otsu-median"]),
        (("denoising", "report", "quik"), ["scale", "'quik'", "did you mean 'quick'"]),
    ],
)
def test_unknown_names(arguments, named):
    refused(*arguments, words=named)


MISTAKES = {
    ("denoising", "report"): [
        ("training.epohcs", 3, ["did you mean 'epochs'", "known: epochs, batch_size"]),
        ("trainig.epochs", 3, ["'trainig'", "did you mean 'training'"]),
        ("data.noise.salt", 0.1, ["data.noise", "did you mean 'salt_pepper'"]),
        ("model.depth", 3, ["model.depth", "known: in_channels"]),
        ("training.epochs", "three", ["training.epochs", "valid integer", "'three'"]),
        ("training.epochs", 2.5, ["valid integer", "2.5"]),
        ("training.epochs", 0, ["greater than or equal to 1", "got 0"]),
        ("training.learning_rate", -1, ["greater than 0", "got -1"]),
        ("training.learning_rate", float("nan"), ["greater than 0", "nan"]),
        ("training.schedule", "cosin", ["'plateau'", "'cosin'"]),
        ("training", 3, ["training", "got 3"]),
        ("model.widths", [], ["model.widths", "at least 1 item", "[]"]),
        ("model.widths", [8, "x"], ["model.widths.1", "'x'"]),
        ("data.noise.base", [0.4, 0.1], ["low <= high", "(0.4, 0.1)"]),
        ("data.noise.base", [0.4], ["data.noise.base"]),
        *(
            (f"data.noise.{name}", [0, 8], [name, "less than or equal to 1", "got 8"])
            for name in RANGES
            if "blur" not in name
        ),
        ("data.noise.blur_sigma", [-1, 1], ["greater than or equal to 0", "got -1"]),
        ("data.noise.blur_probability", 2, ["less than or equal to 1", "got 2"]),
        ("loss.bce", -1, ["greater than or equal to 0"]),
        ("baseline", {"filter": "mean"}, ["baseline.filter", "'median'", "'mean'"]),
        # A key below a key that holds a value, not a mapping.
        ("training.epochs.more", 3, ["training.epochs"]),
        ("model.widths.0", 3, ["model.widths"]),
    ],
    ("face_masks", "model-2"): [
        ("data.noise", {}, ["'data.noise'", "known: size, count, two_people"]),
        ("data.fold", 3, ["did you mean 'folds'"]),
        ("data.folds", 1, ["greater than or equal to 2", "got 1"]),
        ("data.run_folds", 0, ["greater than or equal to 1", "got 0"]),
        ("data.limit", 0, ["greater than or equal to 1", "got 0"]),
        ("data.two_people", 1.5, ["less than or equal to 1", "got 1.5"]),
        ("data.extra", ["faces"], ["data.extra.0", "'masked-face-net'", "'faces'"]),
        ("data.augment", "flips-and-quarter-turns", ["'faces-weak'"]),
        ("model.decoder_block", "residal", ["'residual'", "'residal'"]),
        ("model.init", "he", ["'kaiming'", "'he'"]),
        ("model.in_channels", 1, ["model.in_channels: the data has 3 channels, got 1"]),
        ("baseline", {"filter": "median"}, ["unknown key 'baseline.filter'", "known: method"]),
        ("baseline", {"method": "otsu"}, ["a baseline, or model, loss and training"]),
    ],
    ("neural_segmentello", "tiny16-32_bce-dice"): [
        ("data.longest", 8, ["greater than or equal to 16", "got 8"]),
        ("data.size", 64, ["'data.size'", "known: longest, scenes"]),
        ("data.hints", [], ["data.hints", "at least 1 item"]),
        ("data.hints", ["scribble"], ["data.hints.0", "'brush'", "'scribble'"]),
        ("data.view", "window", ["'object'", "'window'"]),
        ("data.augment", "faces-weak", ["'photographs'", "'faces-weak'"]),
        ("data.corrections", -1, ["greater than or equal to 0", "got -1"]),
        ("data.rgb", True, ["model.in_channels: the data has 5 channels, got 3"]),
        ("data.likelihood", True, ["model.in_channels: the data has 4 channels, got 3"]),
        ("loss.boundary_growth", 2, ["less than or equal to 1", "got 2"]),
        ("loss.sobel", 1, ["did you mean 'sobel_boundary'"]),
        ("model.refine", "mask", ["model.refine", "'mask'"]),
        ("baseline", {"method": "otsu"}, ["baseline.method", "'random-walker'", "'otsu'"]),
    ],
    ("scribbles", "report"): [
        ("data.width", 100, ["data.width", "multiple of 16", "got 100"]),
        ("data.height", 375, ["data.height", "multiple of 16", "got 375"]),
        ("data.height", 16, ["data.height", "greater than or equal to 32", "got 16"]),
        ("data.scenes", 1, ["data.scenes", "greater than or equal to 2", "got 1"]),
        ("data.folds", 1, ["data.folds", "got 1"]),
        ("data.synthetic", 1.5, ["data.synthetic", "got 1.5"]),
        ("data.augment", "lo", ["data.augment", "'low'", "'lo'"]),
        ("data.extra", ["voc"], ["data.extra.0", "'coco'", "'coco-categories'", "'coco-unlabelled'", "'voc'"]),
        ("data.clues", ["distance"], ["data.clues.0", "'geodesic'", "'distance'"]),
        ("data.clues", ["likelihood", "geodesic"], ["model.in_channels: the data has 6 channels, got 4"]),
        ("loss.positive_wieght", 3, ["did you mean 'positive_weight'"]),
        ("loss.positive_weight", 0, ["loss.positive_weight", "greater than 0", "got 0"]),
        ("training.monitor", "mean_iuo", ["training.monitor", "'mean_iou'", "'mean_iuo'"]),
        ("baseline", {"method": "hint"}, ["baseline.method", "'nearest'", "'hint'"]),
        ("model.dropuot", 0.1, ["unknown key 'model.dropuot', did you mean 'dropout'?; known: encoder, in_channels"]),
        ("model.widths", [8, 16], ["unknown key 'model.widths'", "known: encoder, in_channels"]),
        ("model.encoder", "resnet19", ["model.encoder: ", "'tu-resnet18'", "'resnet19'"]),
        ("model.dropout", 1, ["model.dropout: ", "less than 1", "got 1"]),
        ("model.in_channels", 0, ["model.in_channels: ", "got 0"]),
        ("model.attention", "se", ["model.attention: ", "'scse'", "'se'"]),
        ("model", None, ["a baseline, or model, loss and training"]),
    ],
}


@pytest.mark.parametrize(
    ("report", "row", "key", "value", "named"),
    [(*place, *mistake) for place, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_a_mistake_in_a_row_is_explained_by_file_row_key_and_value(report, row, key, value, named):
    words = [f"configs/{report}.yaml, row {row!r}: ", *named]
    message = refused(report, row, "quick", {key: value}, words=words)
    assert "UNet" not in message  # what a class is called, nobody wrote
    assert len(message.splitlines()) == 1 + (value == {"filter": "median"})  # where the method is missing as well


@pytest.mark.parametrize("value", [3, "tu-resnet18", [8, 16]])
def test_a_network_that_is_no_mapping(value):
    refused("scribbles", "report", "quick", {"model": value}, words=["row 'report': model: ", ", got "])


def test_a_network_sees_as_many_channels_as_its_data_has():
    load_row("neural_segmentello", "rgb", overrides={"data.likelihood": True, "model.in_channels": 6})
    load_row("scribbles", "report", overrides={"data.clues": ["likelihood", "geodesic"], "model.in_channels": 6})


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"widhts": [8]}, ["unknown key 'model.widhts', did you mean 'widths'", "known: in_channels, out_channels"]),
        ({"attention": "scse"}, ["unknown key 'model.attention'", "known: in_channels, out_channels, widths"]),
        ({"norm": "layer"}, ["model.norm: ", "'group'", "'layer'"]),
        ({"encodr": "tu-resnet18"}, ["unknown key 'model.encodr'", "known: in_channels, out_channels, widths"]),
    ],
)
def test_a_scribble_row_may_have_a_plain_u_net_with_keys_of_its_own(configs, monkeypatch, model, named):
    monkeypatch.setattr(rows_of_files, "find_report", lambda name: find_report("scribbles"))
    unet = {"in_channels": 4, "out_channels": 1, "widths": [8, 16]}
    defaults = DEFAULTS | {"data": {"width": 64, "height": 32, "scenes": 10, "folds": 2}, "model": unet}
    configs(defaults=defaults, rows={"row": {"title": "A"}, "wrong": {"title": "A", "model": model}})
    row = load_row("hand", "row")
    assert isinstance(row.model, keys.UNet)
    assert row.model.widths == [8, 16]
    assert "UNet" not in refused("hand", "wrong", words=["configs/hand.yaml", "'wrong'", *named])


def test_overrides_that_contradict_each_other():
    refused("denoising", "report", "quick", {"training": 3, "training.epochs": 3}, words=["training"])


def test_two_mistakes_are_both_named():
    message = refused("denoising", "report", "quick", {"training.epohcs": 3, "model.dropout": 2})
    assert len(message.splitlines()) == 2


def test_a_missing_key_is_named(configs):
    configs(defaults={"model": DEFAULTS["model"]}, rows={"bare": {"title": "Bare"}})
    refused("hand", "bare", words=["configs/hand.yaml, row 'bare': data: Field required"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rows: [", "not valid YAML"),
        *(
            (text, "a mapping with the keys defaults, scales, rows")
            for text in ("# nothing", "- a\n- b", "defaults: {}", "rows: [row]")
        ),
        ("rows: {row: {title: A}}\ndefault: {}", "unknown key 'default', did you mean 'defaults'"),
    ],
)
def test_mistakes_in_a_file(configs, text, named):
    configs(text)
    refused("hand", "row", words=["configs/hand.yaml", named])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rows": {"row": {"title": "A", "titel": "B"}}}, ["'titel'", "did you mean 'title'"]),
        ({"rows": {"row": {"title": "A", "quik": {"title": "B"}}}}, ["'quik'", "did you mean 'quick'"]),
        ({"rows": {"row": {"title": "A", "quick": {"titel": "B"}}}}, ["'titel'", "did you mean 'title'"]),
        ({"scales": {"quik": {"training": {"epochs": 3}}}}, ["quik", "did you mean 'quick'"]),
        ({"scales": {"quick": {"trainig": {"epochs": 3}}}}, ["'trainig'", "did you mean 'training'"]),
        # A value where a mapping is meant.
        ({"rows": {"row": "a title"}}, ["row"]),
        ({"rows": {"row": {"title": "A", "quick": 3}}}, ["quick"]),
        ({"scales": {"quick": 3}}, ["quick"]),
        ({"scales": 3}, ["scales"]),
        ({"defaults": 3}, ["defaults"]),
    ],
)
def test_mistakes_in_a_layer(configs, changes, named):
    configs(**{"defaults": DEFAULTS, "rows": {"row": {"title": "A"}}} | changes)
    refused("hand", "row", words=["configs/hand.yaml", *named])


# --- overrides on the command line ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=3", ("training.epochs", 3)),
        ("training.learning_rate=0.01", ("training.learning_rate", 0.01)),
        ("model.widths=[8, 16]", ("model.widths", [8, 16])),
        ("data.augment=none", ("data.augment", "none")),
        ("training.patience=null", ("training.patience", None)),
        ("training.channels_last=false", ("training.channels_last", False)),
        ("title=a=b", ("title", "a=b")),
    ],
)
def test_overrides(text, expected):
    assert parse_override(text) == expected


def test_a_learning_rate_in_scientific_notation():
    """YAML 1.1 takes 1e-3, without a point, for a text."""
    row = load_row("denoising", "report", "quick", dict([parse_override("training.learning_rate=1e-3")]))
    assert row.training.learning_rate == 0.001


@pytest.mark.parametrize("text", ["training.epochs", "=3", "model.widths=[8, 16", "a={"])
def test_overrides_that_cannot_be_read(text):
    refused(text, words=["--set", text], load=parse_override)


def test_what_may_be_chosen_exists():
    def choices(model, field):
        annotation = model.model_fields[field].annotation
        literals = [option for option in typing.get_args(annotation) if typing.get_origin(option) is typing.Literal]
        return {name for literal in literals or [annotation] for name in typing.get_args(literal)}

    for model, field, known in [
        *((keys.UNet, field, blocks.BLOCKS) for field in ("block", "decoder_block")),
        *((keys.UNet, "norm", blocks.NORMS), (keys.UNet, "skip", blocks.SKIPS), (keys.UNet, "up", blocks.UPS)),
        (keys.UNet, "bottleneck", blocks.BOTTLENECKS),
        (keys.LibraryNetwork, "network", library.NETWORKS.keys() - {"encoder-unet"}),
        (keys.Training, "optimizer", training.OPTIMIZERS),
        (keys.Training, "schedule", training.SCHEDULES),
        (Brush, "hints", strokes.SIMULATORS),
        (Scribbles, "clues", scribbles.CLUES),
        (denoising_baseline, "filter", FILTERS),
        (hint_baseline, "method", FROM_HINT),
        (stroke_baseline, "method", FROM_STROKES),
    ]:
        assert choices(model, field) == set(known), (model, field)
    for report in map(find_report, set(reports()) - {"scribbles"}):  # whose levels depend on the size
        data = report.row_type.model_fields["data"].annotation
        assert choices(data, "augment") == set(report.augmentations)
    assert set(keys.Loss.model_fields) == {*losses.LOSSES, *experiment.LOSS_OPTIONS}
    known = typing.get_args(keys.Training.model_fields["monitor"].annotation)  # what is measured
    assert len(set(known)) == len(known)
    assert set(known) == {"loss", *BinaryMetrics.NAMES, *ClassMetrics(()).NAMES}


# --- sweeps ---


def test_the_sweep_of_the_issue():
    sweep = load_sweep("scribbles", "ablation")
    found = list(cells(sweep))
    rows = [load_row("scribbles", sweep.row, "quick", cell.overrides) for cell in found]
    assert len({tuple(cell.labels.values()) for cell in found}) == len(found) == 2 * 3 * 4 * 3
    assert {
        (row.loss.iou, row.loss.dice, row.data.augment, row.loss.positive_weight, row.training.batch_size)
        for row in rows
    } == {
        (iou, 1 - iou, augment, weight, batch)
        for iou in (0, 1)
        for augment in ("low", "medium", "high")
        for weight in (1, 2, 3, 3.8)
        for batch in (6, 8, 12)
    }
    for row in rows:  # all else is alike
        assert (row.data.width, row.data.height, row.data.run_folds, row.training.epochs) == (128, 96, 1, 6)
        assert row.loss.bce == 0.2
        assert row.model == load_row("scribbles", "report").model


@pytest.mark.parametrize("report", reports())
def test_every_cell_of_every_sweep_is_valid_at_both_scales(report):
    content = yaml.safe_load((shipped("configs") / f"{report}.yaml").read_text("utf-8"))
    for name in content.get("sweeps", {}):
        sweep = load_sweep(report, name)
        for scale in SCALES:
            assert all(load_row(report, cell.row, scale, cell.overrides) for cell in cells(sweep))


def test_a_sweep_s_last_axis_changes_fastest():
    sweep = Sweep(
        row="report",
        changes={"training.epochs": 3, "loss.dice": 9},
        axes={"loss": {"a": {"loss.dice": 1}, "b": {"loss.bce": 1}}, "rate": {"1": {"x": 1}, "2": {"x": 2, "y": 3}}},
    )
    found = list(cells(sweep))
    assert [tuple(cell.labels.items()) for cell in found] == [
        (("loss", loss), ("rate", rate)) for loss in "ab" for rate in "12"
    ]
    # What an axis says lies on what all cells have.
    assert found[1].overrides == {"training.epochs": 3, "loss.dice": 1, "x": 2, "y": 3}
    assert found[2].overrides == {"training.epochs": 3, "loss.dice": 9, "loss.bce": 1, "x": 1}


def test_an_axis_may_choose_the_row():
    sweep = Sweep(row="a", axes={"network": {"a": {}, "b": {"row": "b"}}, "rate": {"1": {"x": 1}}})
    assert [(cell.row, cell.overrides) for cell in cells(sweep)] == [("a", {"x": 1}), ("b", {"x": 1})]


AXES = {"rate": {"a": {"training.learning_rate": 0.1}}}


@pytest.mark.parametrize(
    ("sweep", "named"),
    [
        ({"row": "row", "axis": AXES}, ["unknown key 'axis', did you mean 'axes'?; known: row, changes, axes"]),
        ({"row": "row", "axes": AXES, "quick": {}}, ["unknown key 'quick'", "known: row, changes, axes"]),
        ({"row": "row"}, ["axes: Field required"]),
        ({"axes": AXES}, ["row: Field required"]),
        ({"row": "row", "axes": {}}, ["axes: ", "at least 1 item"]),
        ({"row": "row", "axes": {"rate": {}}}, ["axes.rate: ", "at least 1 item"]),
        ({"row": "row", "axes": {"rate": {"a": 3}}}, ["axes.rate.a: ", "got 3"]),
        ({"row": 3, "axes": AXES}, ["row: ", "got 3"]),
        ("row", ["got 'row'"]),
    ],
)
def test_mistakes_in_a_sweep(configs, sweep, named):
    configs(defaults=DEFAULTS, rows={"row": {"title": "A"}}, sweeps={"mine": sweep})
    refused("hand", "mine", words=["configs/hand.yaml, sweep 'mine'", *named], load=load_sweep)


@pytest.mark.parametrize(
    ("sweeps", "named"),
    [
        ({"ablation": {"row": "row", "axes": AXES}}, "no sweep 'ablatoin', did you mean 'ablation'?; it has ablation"),
        ({"one": {}, "two": {}}, "no sweep 'ablatoin'; it has one, two"),
        ({}, "no sweep 'ablatoin'; it has none"),
        (None, "no sweep 'ablatoin'; it has none"),
        (3, "sweeps: expected a mapping, got 3"),
    ],
)
def test_unknown_sweeps(configs, sweeps, named):
    configs(defaults=DEFAULTS, rows={"row": {"title": "A"}}, sweeps=sweeps)
    assert refused("hand", "ablatoin", load=load_sweep) == f"configs/hand.yaml: {named}"


def test_a_sweep_of_an_unknown_report_or_of_one_without_any():
    refused("scribles", "ablation", words=["no report 'scribles', did you mean 'scribbles'"], load=load_sweep)
    words = ["configs/denoising.yaml: no sweep 'ablation'; it has none"]
    refused("denoising", "ablation", words=words, load=load_sweep)


def test_how_a_network_is_used_is_no_part_of_how_it_is_trained():
    plain = load_row("scribbles", "clues")
    use = {"data.used_at": [1.0, 2.0], "data.mirrored": True, "data.run_folds": 1}
    used = load_row("scribbles", "clues", overrides=use)
    smaller = load_row("scribbles", "clues", overrides={"data.width": 96})
    assert plain.recipe() != used.recipe()
    assert plain.training_recipe() == used.training_recipe()
    assert plain.training_recipe() != smaller.training_recipe()
    assert plain.training_recipe().keys() == plain.recipe().keys()
