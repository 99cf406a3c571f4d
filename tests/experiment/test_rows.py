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
from seglib.rows import SCALES, ConfigError, Sweep, load_row, load_rows, load_sweep, parse_override, row_names
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


def message(error):
    return str(error.value)


# --- what is shipped ---


@pytest.mark.parametrize(
    ("report", "name", "scale"),
    [(report, name, scale) for report in reports() for name in row_names(report) for scale in SCALES],
)
def test_every_row_is_valid_at_both_scales(report, name, scale):
    row = load_row(report, name, scale)
    assert (row.report, row.name, row.scale) == (report, name, scale)
    network = [row.model, row.loss, row.training]
    assert all(network) if row.baseline is None else not any(network)


def test_rows_come_in_the_files_order():
    for report in reports():
        written = list(yaml.safe_load((shipped("configs") / f"{report}.yaml").read_text("utf-8"))["rows"])
        assert row_names(report) == [row.name for row in load_rows(report)] == written


def test_the_denoising_rows_of_the_issue():
    rows = {row.name: row for row in load_rows("denoising")}
    assert rows["report"].reported == {"iou": 0.909, "dice": 0.952, "bce": 0.033}
    assert {row.loss.bce for row in rows.values() if row.loss} == {0, 0.3, 0.5, 0.7, 1}
    assert all(row.loss.bce + row.loss.dice == pytest.approx(1) for row in rows.values() if row.loss)
    filters = {row.baseline.filter for row in rows.values() if row.baseline}
    assert filters == {"none", "gaussian", "median", "total-variation"}
    full = load_row("denoising", "report", "full")
    assert (full.data.size, full.data.count, full.data.held_out) == (128, 2500, 0.2)
    assert (full.training.epochs, full.training.batch_size, full.training.schedule) == (50, 32, "plateau")
    assert load_row("denoising", "report", "quick").data.size == 64


def test_the_face_mask_rows_of_the_issue():
    rows = {row.name: row for row in load_rows("face_masks", "full")}
    assert rows["model-2"].reported == {"iou": 0.6896, "dice": 0.8080, "parameters": 9_800_000}
    assert rows["model-2"].reported_spread == {"iou": 0.04, "dice": 0.03}
    assert rows["model-3"].reported == {"iou": 0.7955, "dice": 0.8858, "parameters": 31_200_000}
    assert rows["model-3"].reported_spread == {"iou": 0.03, "dice": 0.02}
    assert {name for name, row in rows.items() if row.reported} == {
        *("model-2", "model-3", "otsu", "otsu-better-polarity", "region-based")
    }
    for row in rows.values():
        assert (row.data.size, row.data.resize) == (128, 128)
        assert row.data.folds == (10 if row.name == "pretraining" else 3)
        if row.loss:
            assert (row.loss.bce, row.loss.dice) == (0.7, 0.3)
    two, three = rows["model-2"], rows["model-3"]
    assert (two.model.widths, two.model.skip, two.model.init) == ([48, 96, 192, 384], "attention", "kaiming")
    assert (three.model.widths, three.model.decoder_block, three.model.init) == (
        [64, 128, 256, 512],
        "residual",
        "pytorch",
    )
    assert (two.training.epochs, three.training.epochs) == (30, 100)
    assert three.training.schedule == "plateau"
    assert load_row("face_masks", "model-2").data.size == 64
    methods = {row.baseline.method for row in rows.values() if row.baseline}
    assert methods == {"otsu", "otsu-better-polarity", "region-based"}


# Table 1 of the report: pixel accuracy, IoU, boundary IoU and Hausdorff distance.
SEGMENTELLO = {
    "tiny16-32_bce-dice": (0.9839, 0.8609, 0.1566, 43.10),
    "res16-32_bce-dice": (0.9840, 0.8611, 0.1581, 42.73),
    "tiny16-128_bce-dice": (0.9833, 0.8528, 0.1485, 46.29),
    "res16-128_bce-dice": (0.9830, 0.8534, 0.1416, 43.64),
    "tiny16-128_bce-dice-bound": (0.9864, 0.8796, 0.2207, 40.66),
    "res16-128_bce-dice-bound": (0.9857, 0.8749, 0.2082, 42.17),
    "res32-256_bce-dice-bound": (0.9859, 0.8654, 0.2040, 43.03),
    "attn32-256_bce-dice-bound": (0.9866, 0.8792, 0.2210, 40.77),
}
SEGMENTELLO_WIDTHS = {
    "16-32": [16, 32, 64],
    "16-128": [16, 32, 64, 128, 256],
    "32-256": [32, 64, 128, 256, 512],
}
SEGMENTELLO_MEGABYTES = dict(zip(SEGMENTELLO, (1.40, 1.40, 22.34, 22.34, 22.34, 22.34, 88.97, 90.04)))


@pytest.mark.parametrize("name", SEGMENTELLO)
def test_the_neural_segmentello_rows_of_the_issue(name):
    row = load_row("neural_segmentello", name, "full")
    measured_as = ("pixel_accuracy", "iou", "boundary_iou_1px", "hausdorff_all")
    numbers = dict(zip(measured_as, SEGMENTELLO[name]))
    assert row.reported == numbers | {"checkpoint_mib": SEGMENTELLO_MEGABYTES[name]}
    network, *_, parts = name.replace("_", "-", 1).partition("-bce-")
    weights = (0.4, 0.4, 0.2) if parts == "dice-bound" else (0.5, 0.5, 0)
    assert (row.loss.bce, row.loss.dice, row.loss.sobel_boundary) == weights
    assert (row.loss.boundary, row.loss.boundary_growth) == (0, 0)
    kind = network.rstrip("0123456789-")
    model = row.model
    assert model.widths == SEGMENTELLO_WIDTHS[network.removeprefix(kind)]
    assert (model.in_channels, model.out_channels, model.norm, model.block) == (3, 1, "group", "double")
    assert (model.refine, model.skip) == (kind == "res", "attention" if kind == "attn" else "concatenate")
    training = row.training
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adam", 0.001, 0)
    assert (training.epochs, training.batch_size, training.schedule) == (50, 1, "constant")
    assert (training.monitor, training.patience) == ("loss", 5)
    data = row.data
    assert (data.longest, data.resize, data.training, data.validation) == (None, None, 900, 100)
    assert (data.real, data.limit, data.objects, data.view) == (True, None, "largest", "photograph")
    assert (data.hints, data.corrections, data.fresh, data.augment) == (["coarse"], 0, False, "none")
    assert (data.rgb, data.likelihood, data.extra) == (False, False, [])
    quick = flat(load_row("neural_segmentello", name, "quick").recipe())
    differs = {key for key, value in flat(row.recipe()).items() if quick[key] != value}
    assert differs == {"scale", "data.longest", "data.scenes", "data.scene_size", "training.epochs"}


def test_the_neural_segmentello_rows_that_need_no_training():
    rows = load_rows("neural_segmentello", "full")
    assert {row.name: row.baseline.method for row in rows if row.baseline} == {
        "hint": "hint",
        "grabcut": "grabcut",
        "random-walker": "random-walker",
    }
    assert {row.name for row in rows if row.reported} == set(SEGMENTELLO)
    assert sum(row.best for row in rows) == 1
    for scale in SCALES:  # on the very data of the networks
        for row in ("hint", "grabcut", "random-walker"):
            data = load_row("neural_segmentello", row, scale).data
            assert data == load_row("neural_segmentello", "tiny16-32_bce-dice", scale).data


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("residual-blocks", {"model.block"}),
        ("rgb", {"data.rgb", "model.in_channels"}),
        ("batch-8", {"training.batch_size", "training.learning_rate"}),
        ("fresh-strokes", {"data.fresh"}),
        ("all-objects", {"data.objects", "training.epochs"}),
        ("augmented", {"data.augment"}),
        ("object-view", {"data.view"}),
        ("images-50", {"data.limit", "training.epochs", "training.patience"}),
        ("images-150", {"data.limit", "training.epochs", "training.patience"}),
        ("likelihood", {"data.likelihood", "model.in_channels"}),
        (
            "muon",
            {f"training.{key}" for key in ("optimizer", "schedule", "learning_rate", "batch_size")}
            | {"training.monitor", "training.patience"},
        ),
        (
            "kervadec",
            {"loss.bce", "loss.dice", "loss.sobel_boundary", "loss.boundary", "loss.boundary_growth"}
            | {"training.monitor"},
        ),
    ],
)
def test_a_neural_segmentello_ablation_changes_one_thing(name, changed):
    for scale in SCALES:
        base, row = (
            flat(load_row("neural_segmentello", row, scale).recipe()) for row in ("tiny16-128_bce-dice-bound", name)
        )
        assert {key for key in base if base[key] != row[key]} == changed


def test_few_images_are_trained_on_for_as_many_steps():
    for scale in SCALES:
        base = load_row("neural_segmentello", "tiny16-128_bce-dice-bound", scale).training
        for count in (50, 150):
            row = load_row("neural_segmentello", f"images-{count}", scale)
            assert row.data.limit == count
            assert row.training.epochs * count == pytest.approx(354 * base.epochs, rel=0.03)


def test_kervadec_s_loss_takes_over_by_a_hundredth_an_epoch():
    loss = load_row("neural_segmentello", "kervadec", "full").loss
    assert loss.model_dump() == {"bce": 0.5, "dice": 0.5, "boundary": 1, "boundary_growth": 0.01} | {
        "iou": 0,
        "sobel_boundary": 0,
        "positive_weight": 1,
        "ce": 0,
        "focal": 0,
        "focal_gamma": 2,
        "class_weights": None,
    }


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data.longest", 8, ["greater than or equal to 16", "got 8"]),
        ("data.size", 64, ["'data.size'", "known: longest, scenes"]),
        ("data.hints", [], ["data.hints", "at least 1 item"]),
        ("data.hints", ["scribble"], ["data.hints.0", "'brush'", "'scribble'"]),
        ("data.view", "window", ["'object'", "'window'"]),
        ("data.augment", "faces-weak", ["'photographs'", "'faces-weak'"]),
        ("data.corrections", -1, ["greater than or equal to 0", "got -1"]),
        ("loss.boundary_growth", 2, ["less than or equal to 1", "got 2"]),
        ("loss.sobel", 1, ["did you mean 'sobel_boundary'"]),
        ("model.refine", "mask", ["model.refine", "'mask'"]),
        ("baseline", {"method": "otsu"}, ["baseline.method", "'random-walker'", "'otsu'"]),
    ],
)
def test_mistakes_in_a_neural_segmentello_row_are_explained_by_its_own_keys(key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row("neural_segmentello", "tiny16-32_bce-dice", "quick", {key: value})
    for word in ("configs/neural_segmentello.yaml", "'tiny16-32_bce-dice'", *named):
        assert word in message(error)


# What the report's best run was made with: every key of it.
SCRIBBLES = {
    "data": {
        "width": 480,
        "height": 352,
        "scenes": 228,
        "real": True,
        "limit": None,
        "extra": [],
        "augment": "low",
        "synthetic": 0.5,
        "long_strokes": False,
        "clues": [],
        "used_at": [1.0],
        "mirrored": False,
        "folds": 5,
        "run_folds": None,
    },
    "model": {
        "encoder": "efficientnet-b2",
        "in_channels": 4,
        "attention": "scse",
        "dropout": 0.2,
        "normalize": True,
    },
    "loss": {
        "iou": 1.0,
        "bce": 0.2,
        "positive_weight": 3,
        "ce": 0,
        "focal": 0,
        "focal_gamma": 2,
        "class_weights": None,
        "dice": 0,
        "sobel_boundary": 0,
        "boundary": 0,
        "boundary_growth": 0,
    },
    "training": {
        "epochs": 700,
        "batch_size": 8,
        "learning_rate": 0.005,
        "optimizer": "adamw",
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "plateau_patience": 5,  # of another schedule
        "average": 0,
        "monitor": "mean_iou",
        "patience": 60,
        "precision": "auto",
        "channels_last": False,
        "workers": 0,
    },
    "baseline": None,
    "start": None,
}


def test_the_scribble_row_of_the_issue():
    row = load_row("scribbles", "report", "full")
    assert row.recipe() == SCRIBBLES | {"scale": "full"}
    assert row.reported == {"mean_iou": 0.8758, "iou_background": 0.9215, "iou": 0.7923}
    assert row.reported_spread == {"mean_iou": 0.0169}
    # 16,000 steps: 182 of 228 photographs are in a training part.
    assert row.training.epochs * -(-182 // row.training.batch_size) == pytest.approx(16000, rel=0.02)
    quick = flat(load_row("scribbles", "report", "quick").recipe())
    differs = {key for key, value in flat(row.recipe()).items() if quick[key] != value}
    assert differs == {"scale", "data.width", "data.height", "data.scenes", "training.epochs"}
    assert row.data.resize == "480x352"
    assert load_row("scribbles", "report", "quick").data.resize == "192x144"


def test_the_scribble_rows_that_need_no_training():
    for scale in SCALES:
        report = load_row("scribbles", "report", scale)
        rows = {row.name: row for row in load_rows("scribbles", scale) if row.baseline}
        assert {name: row.baseline.method for name, row in rows.items()} == {
            "background": "background",
            "nearest": "nearest",
            "grabcut": "grabcut",
            "random-walker": "random-walker",
        }
        for row in rows.values():  # on the very photographs and folds of the network
            assert row.data.model_copy(update={"augment": "low", "synthetic": 0.5}) == report.data


def flat(mapping, prefix=""):
    """{"a": {"b": 1}} → {"a.b": 1}"""
    found = {}
    for key, value in mapping.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


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
    ],
)
def test_an_ablation_changes_one_thing_of_model_2_to_that_of_model_3(name, changed):
    for scale in SCALES:
        two, three, row = (flat(load_row("face_masks", row, scale).recipe()) for row in ("model-2", "model-3", name))
        assert {key for key in two if two[key] != row[key]} == changed
        (key, *others) = changed
        if not others and name != "image-only-rotation":
            assert row[key] == three[key]


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


def test_the_generators_noise_is_the_denoising_reports():
    assert load_row("denoising", "report").data.noise.model_dump() == asdict(shapes.Noise())


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
        "plain": {"title": "Another row"},
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
    assert row.training.learning_rate == 40  # the row's scale on all three
    assert row.training.weight_decay == 40
    assert row.training.plateau_patience == 50  # an override on all four
    assert (row.data.size, row.data.count, row.data.augment) == (32, 200, "none")
    assert (row.model.dropout, row.model.widths) == (0.5, [8, 16])


def test_scales_do_not_leak_into_each_other(configs):
    configs(**LAYERS)
    for _ in range(2):  # nor does reading a row change what the next one starts from
        training = load_row("hand", "row", "full").training
        assert (training.epochs, training.learning_rate, training.weight_decay) == (21, 30, 41)
        plain = load_row("hand", "plain", "quick", {"loss.dice": 2})
        assert (plain.training.epochs, plain.training.learning_rate, plain.data.size) == (20, 20, 16)
        assert (plain.loss.bce, plain.loss.dice) == (1, 2)
    assert load_row("hand", "plain").loss.dice == 0


def test_a_baseline_takes_the_data_and_no_network(configs):
    configs(**LAYERS)
    row = load_row("hand", "baseline", "full")
    assert (row.data.count, row.baseline.filter) == (210, "median")
    assert row.model is row.loss is row.training is None


def test_recipe_is_what_determines_the_result(configs):
    rows = {"a": {"title": "One", "reported": {"iou": 0.5}, "best": True}, "b": {"title": "Two"}}
    configs(defaults=DEFAULTS, rows=rows)
    assert load_row("hand", "a").recipe() == load_row("hand", "b").recipe()
    changed = load_row("hand", "a", overrides={"training.epochs": 2}).recipe()
    assert changed != load_row("hand", "a").recipe()
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
    with pytest.raises(ConfigError) as error:
        load_row(*arguments)
    assert all(word in message(error) for word in named)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("training.epohcs", 3, ["did you mean 'epochs'", "known: epochs, batch_size"]),
        ("trainig.epochs", 3, ["'trainig'", "did you mean 'training'"]),
        ("data.noise.salt", 0.1, ["did you mean 'salt_pepper'"]),
        ("model.depth", 3, ["known: in_channels"]),
        ("training.epochs", "three", ["valid integer", "'three'"]),
        ("training.epochs", 2.5, ["valid integer", "2.5"]),
        ("training.epochs", 0, ["greater than or equal to 1", "got 0"]),
        ("training.learning_rate", -1, ["greater than 0", "got -1"]),
        ("training.learning_rate", float("nan"), ["greater than 0", "nan"]),
        ("training.schedule", "cosin", ["'plateau'", "'cosin'"]),
        ("training", 3, ["got 3"]),
        ("model.widths", [], ["at least 1 item", "[]"]),
        ("model.widths", [8, "x"], ["model.widths.1", "'x'"]),
        ("data.noise.base", [0.4, 0.1], ["low <= high", "(0.4, 0.1)"]),
        ("data.noise.base", [0.4], ["data.noise.base"]),
        *(
            (f"data.noise.{name}", [0, 8], ["less than or equal to 1", "got 8"])
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
)
def test_mistakes_in_a_row_name_file_row_key_and_value(key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row("denoising", "report", "quick", {key: value})
    for word in ("configs/denoising.yaml", "'report'", key.split(".")[0], *named):
        assert word in message(error)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
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
        ("baseline", {"filter": "median"}, ["unknown key 'baseline.filter'", "known: method"]),
        ("baseline", {"method": "otsu"}, ["a baseline, or model, loss and training"]),
    ],
)
def test_mistakes_in_a_face_mask_row_are_explained_by_its_own_keys(key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row("face_masks", "model-2", "quick", {key: value})
    for word in ("configs/face_masks.yaml", "'model-2'", *named):
        assert word in message(error)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data.width", 100, ["data.width", "multiple of 16", "got 100"]),
        ("data.height", 375, ["data.height", "multiple of 16", "got 375"]),
        ("data.height", 0, ["data.height", "greater than or equal to 32", "got 0"]),
        ("data.height", 16, ["data.height", "greater than or equal to 32", "got 16"]),
        ("data.size", 64, ["'data.size'", "known: width, height"]),
        ("data.scenes", 1, ["data.scenes", "greater than or equal to 2", "got 1"]),
        ("data.folds", 1, ["data.folds", "got 1"]),
        ("data.synthetic", 1.5, ["data.synthetic", "got 1.5"]),
        ("data.augment", "lo", ["data.augment", "'low'", "'lo'"]),
        ("data.extra", ["voc"], ["data.extra.0", "'coco'", "'coco-categories'", "'coco-unlabelled'", "'voc'"]),
        ("data.clues", ["distance"], ["data.clues.0", "'geodesic'", "'distance'"]),
        ("loss.positive_wieght", 3, ["did you mean 'positive_weight'"]),
        ("loss.positive_weight", 0, ["loss.positive_weight", "greater than 0", "got 0"]),
        ("training.monitor", "mean_iuo", ["training.monitor", "'mean_iou'", "'mean_iuo'"]),
        ("baseline", {"method": "hint"}, ["baseline.method", "'nearest'", "'hint'"]),
        (
            "model.dropuot",
            0.1,
            ["unknown key 'model.dropuot', did you mean 'dropout'?; known: encoder, in_channels, attention, dropout"],
        ),
        ("model.widths", [8, 16], ["unknown key 'model.widths'", "known: encoder, in_channels"]),
        ("model.encoder", "resnet19", ["model.encoder: ", "'tu-resnet18'", "'resnet19'"]),
        ("model.dropout", 1, ["model.dropout: ", "less than 1", "got 1"]),
        ("model.in_channels", 0, ["model.in_channels: ", "got 0"]),
        ("model.attention", "se", ["model.attention: ", "'scse'", "'se'"]),
        ("model", None, ["a baseline, or model, loss and training"]),
    ],
)
def test_mistakes_in_a_scribble_row_are_explained_by_its_own_keys(key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row("scribbles", "report", "quick", {key: value})
    for word in ("configs/scribbles.yaml", "'report'", *named):
        assert word in message(error)
    assert "UNet" not in message(error)  # what a class is called, nobody wrote
    assert len(message(error).splitlines()) == 1


@pytest.mark.parametrize("value", [3, "tu-resnet18", [8, 16]])
def test_a_network_that_is_no_mapping(value):
    with pytest.raises(ConfigError, match=r"configs/scribbles\.yaml, row 'report': model: .*, got "):
        load_row("scribbles", "report", "quick", {"model": value})


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
    configs(defaults=defaults, rows={"row": {"title": "A"}})
    row = load_row("hand", "row")
    assert isinstance(row.model, keys.UNet)
    assert row.model.widths == [8, 16]
    configs(defaults=defaults, rows={"row": {"title": "A", "model": model}})
    with pytest.raises(ConfigError) as error:
        load_row("hand", "row")
    for word in ("configs/hand.yaml", "'row'", *named):
        assert word in message(error)
    assert "UNet" not in message(error)


def test_overrides_that_contradict_each_other():
    with pytest.raises(ConfigError, match=r"training"):
        load_row("denoising", "report", "quick", {"training": 3, "training.epochs": 3})


def test_a_row_that_is_neither_network_nor_baseline():
    with pytest.raises(ConfigError, match="loss"):
        load_row("denoising", "report", "quick", {"loss": None})


def test_two_mistakes_are_both_named():
    with pytest.raises(ConfigError) as error:
        load_row("denoising", "report", "quick", {"training.epohcs": 3, "model.dropout": 2})
    assert len(message(error).splitlines()) == 2


def test_a_missing_key_is_named(configs):
    configs(defaults={"model": DEFAULTS["model"]}, rows={"bare": {"title": "Bare"}})
    with pytest.raises(ConfigError, match=r"configs/hand\.yaml, row 'bare': data: Field required"):
        load_row("hand", "bare")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rows: [", "not valid YAML"),
        ("# nothing", "a mapping with the keys defaults, scales, rows"),
        ("- a\n- b", "a mapping with the keys defaults, scales, rows"),
        ("defaults: {}", "a mapping with the keys defaults, scales, rows"),
        ("rows: [row]", "a mapping with the keys defaults, scales, rows"),
        ("rows: {row: {title: A}}\ndefault: {}", "unknown key 'default', did you mean 'defaults'"),
    ],
)
def test_mistakes_in_a_file(configs, text, named):
    configs(text)
    with pytest.raises(ConfigError, match=rf"configs/hand\.yaml.*{named}"):
        load_row("hand", "row")


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
    with pytest.raises(ConfigError) as error:
        load_row("hand", "row")
    for word in ["configs/hand.yaml", *named]:
        assert word in message(error)


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
    with pytest.raises(ConfigError, match="--set") as error:
        parse_override(text)
    assert text in message(error)


def test_what_may_be_chosen_exists():
    def choices(model, field):
        annotation = model.model_fields[field].annotation
        literals = [option for option in typing.get_args(annotation) if typing.get_origin(option) is typing.Literal]
        return {name for literal in literals or [annotation] for name in typing.get_args(literal)}

    assert choices(keys.UNet, "block") == choices(keys.UNet, "decoder_block") == set(blocks.BLOCKS)
    assert choices(keys.UNet, "norm") == set(blocks.NORMS)
    assert choices(keys.UNet, "skip") == set(blocks.SKIPS)
    assert choices(keys.UNet, "up") == set(blocks.UPS)
    assert choices(keys.UNet, "bottleneck") == set(blocks.BOTTLENECKS)
    assert choices(keys.LibraryNetwork, "network") == set(library.NETWORKS) - {"encoder-unet"}
    for name in reports():
        report = find_report(name)
        if name != "scribbles":  # whose levels depend on the size
            data = report.row_type.model_fields["data"].annotation
            assert choices(data, "augment") == set(report.augmentations)
    assert choices(Brush, "hints") == set(strokes.SIMULATORS)
    assert choices(denoising_baseline, "filter") == set(FILTERS)
    assert choices(keys.Training, "optimizer") == set(training.OPTIMIZERS)
    assert choices(keys.Training, "schedule") == set(training.SCHEDULES)
    assert choices(hint_baseline, "method") == set(FROM_HINT)
    assert set(keys.Loss.model_fields) == {*losses.LOSSES, *experiment.LOSS_OPTIONS}
    assert choices(stroke_baseline, "method") == set(FROM_STROKES)
    assert set(typing.get_args(typing.get_args(Scribbles.model_fields["clues"].annotation)[0])) == set(scribbles.CLUES)


def test_what_may_be_monitored_is_what_is_measured():
    known = typing.get_args(keys.Training.model_fields["monitor"].annotation)
    assert len(set(known)) == len(known)
    assert set(known) == {"loss", *BinaryMetrics.NAMES, *ClassMetrics(()).NAMES}


# --- sweeps ---


def test_the_sweep_of_the_issue():
    sweep = load_sweep("scribbles", "ablation")
    assert [len(labels) for labels in sweep.axes.values()] == [2, 3, 4, 3]
    found = list(cells(sweep))
    assert len(found) == 72
    assert len({tuple(cell.labels.values()) for cell in found}) == 72
    rows = [load_row("scribbles", sweep.row, "quick", cell.overrides) for cell in found]
    chosen = [
        (row.loss.iou, row.loss.dice, row.data.augment, row.loss.positive_weight, row.training.batch_size)
        for row in rows
    ]
    assert set(chosen) == {
        (iou, 1 - iou, augment, weight, batch)
        for iou in (0, 1)
        for augment in ("low", "medium", "high")
        for weight in (1, 2, 3, 3.8)
        for batch in (6, 8, 12)
    }
    assert len({yaml.safe_dump(row.recipe()) for row in rows}) == 72
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
    with pytest.raises(ConfigError) as error:
        load_sweep("hand", "mine")
    for word in ("configs/hand.yaml, sweep 'mine'", *named):
        assert word in message(error)


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
    with pytest.raises(ConfigError) as error:
        load_sweep("hand", "ablatoin")
    assert message(error) == f"configs/hand.yaml: {named}"


def test_a_sweep_of_an_unknown_report_or_of_one_without_any():
    with pytest.raises(ConfigError, match="no report 'scribles', did you mean 'scribbles'"):
        load_sweep("scribles", "ablation")
    with pytest.raises(ConfigError, match=r"configs/denoising\.yaml: no sweep 'ablation'; it has none"):
        load_sweep("denoising", "ablation")


@pytest.mark.parametrize(
    ("report", "name", "changes", "expected", "got"),
    [
        ("denoising", "report", {"model.in_channels": 3}, 1, 3),
        ("face_masks", "model-2", {"model.in_channels": 1}, 3, 1),
        ("neural_segmentello", "tiny16-32_bce-dice", {"data.rgb": True}, 5, 3),
        ("neural_segmentello", "rgb", {"data.likelihood": True}, 6, 5),
        ("scribbles", "report", {"data.clues": ["likelihood", "geodesic"]}, 6, 4),
    ],
)
def test_a_network_sees_as_many_channels_as_its_data_has(report, name, changes, expected, got):
    with pytest.raises(ConfigError) as caught:
        load_row(report, name, overrides=changes)
    message = f"configs/{report}.yaml, row {name!r}: model.in_channels: the data has {expected} channels, got {got}"
    assert str(caught.value) == message
    load_row(report, name, overrides=changes | {"model.in_channels": expected})


def test_how_a_network_is_used_is_no_part_of_how_it_is_trained():
    plain = load_row("scribbles", "clues")
    use = {"data.used_at": [1.0, 2.0], "data.mirrored": True, "data.run_folds": 1}
    used = load_row("scribbles", "clues", overrides=use)
    smaller = load_row("scribbles", "clues", overrides={"data.width": 96})
    assert plain.recipe() != used.recipe()
    assert plain.training_recipe() == used.training_recipe()
    assert plain.training_recipe() != smaller.training_recipe()
    assert plain.training_recipe().keys() == plain.recipe().keys()
