"""Rows of the Mars report: what the file holds, how its rows differ, and mistakes that are named by their keys."""

import pytest
import torch
import yaml

from seglib import experiment, weights
from seglib.files import shipped
from seglib.reports.keys import LibraryNetwork, Loss
from seglib.reports.mars_terrain.report import METRICS, Mars, MarsTerrainRow
from seglib.rows import SCALES, ConfigError, load_row, load_rows, row_names

REPORT = "mars_terrain"
# Table 1 of the report: mean IoU without the background, in the table's order.
REPORTED = {
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
OWN = {"bedrock", "baseline-bottleneck", "segformer", "ours"}  # rows that the report does not have
NETWORKS = [name for name in row_names(REPORT) if load_row(REPORT, name).model]


def differences(one, other):
    """Where two rows' recipes differ, as "part.key"."""
    one, other = load_row(REPORT, one, "full").recipe(), load_row(REPORT, other, "full").recipe()

    def walk(a, b, place):
        if isinstance(a, dict) and isinstance(b, dict):
            return {key for name in a.keys() | b.keys() for key in walk(a.get(name), b.get(name), [*place, name])}
        return set() if a == b else {".".join(place)}

    return walk(one, other, [])


def test_the_thirteen_numbers_are_those_of_the_report():
    found = {row.name: row.reported for row in load_rows(REPORT) if row.reported}
    assert found == {name: {"mean_iou": value} for name, value in REPORTED.items()}
    assert list(found) == list(REPORTED)
    assert len(REPORTED) == 13


def test_the_file_s_rows_are_the_report_s_and_a_few_of_our_own():
    assert set(REPORTED) | OWN <= set(row_names(REPORT))
    assert [row.name for row in load_rows(REPORT) if row.baseline] == ["bedrock"]
    assert [row.name for row in load_rows(REPORT) if row.best] == ["ours"]
    assert len({row.title for row in load_rows(REPORT)}) == len(row_names(REPORT))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", row_names(REPORT))
def test_every_row_loads_at_both_scales(name, scale):
    row = load_row(REPORT, name, scale)
    assert isinstance(row, MarsTerrainRow)
    assert isinstance(row.data, Mars)
    assert row.data.channels == 1
    assert row.data.held_out == (0.1, 0.2)
    if row.model:
        assert (row.model.in_channels, row.model.out_channels, row.model.normalize) == (1, 5, True)
        assert row.loss.class_weights is None or len(row.loss.class_weights) == 5
        assert row.training.monitor in METRICS().NAMES


def test_the_full_scale_is_the_homework_s():
    for row in load_rows(REPORT, "full"):
        assert (row.data.height, row.data.width) == (64, 128)
        assert row.data.resize == "128x64"
        assert row.data.count + row.data.aliens == 2615
        assert row.data.aliens == 110
    for name in REPORTED:
        row = load_row(REPORT, name, "full")
        assert (row.training.epochs, row.training.patience, row.training.monitor) == (200, 20, "pixel_accuracy")


@pytest.mark.parametrize("scale", SCALES)
def test_of_the_report_s_rows_those_from_augmentation_on_are_augmented(scale):
    names = list(REPORTED)
    first = names.index("augmentation")
    augment = {name: load_row(REPORT, name, scale).data.augment for name in names}
    assert {augment[name] for name in names[:first]} == {"none"}
    assert {augment[name] for name in names[first:]} == {"terrain"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("baseline", "improved-masks", {"data.labels"}),
        ("baseline", "bad-masks-removed", {"data.drop_worst"}),
        ("baseline", "augmentation", {"data.augment"}),
        ("augmentation", "larger", {"model.widths"}),
        ("augmentation", "attention", {"model.skip"}),
        ("augmentation", "gated-add", {"model.skip"}),
        ("augmentation", "gated-concatenate", {"model.skip"}),
        ("augmentation", "se", {"model.bottleneck"}),
        ("larger", "larger-se", {"model.bottleneck"}),
        ("larger-se", "larger-se-pyramid", {"model.bottleneck"}),
        ("baseline", "baseline-bottleneck", {"model.widths"}),
        ("deeplabv3-plus", "segformer", {"model.network"}),
    ],
)
def test_a_row_differs_from_the_one_it_is_compared_with_in_what_it_is_called(one, other, expected):
    assert differences(one, other) == expected


def test_what_is_compared_is_what_the_report_describes():
    rows = {name: load_row(REPORT, name, "full") for name in row_names(REPORT)}
    assert rows["improved-masks"].data.labels == "improved"
    assert rows["bad-masks-removed"].data.drop_worst == 0.1
    assert all(row.data.labels == "given" for name, row in rows.items() if name != "improved-masks")
    assert all(row.data.drop_worst == 0 for name, row in rows.items() if name != "bad-masks-removed")
    base = rows["baseline"].model
    assert (base.widths, base.block, base.up, base.skip) == ([32, 64, 128], "triple", "nearest", "concatenate")
    assert rows["larger"].model.widths == [64, 128, 256, 512]
    for name in ("attention", "gated-add", "gated-concatenate"):
        assert rows[name].model.skip == name
    assert [rows[name].model.bottleneck for name in ("larger", "larger-se", "larger-se-pyramid")] == [
        "plain",
        "se",
        "se-pyramid",
    ]
    for name in ("deeplabv3-plus", "segformer"):
        assert isinstance(rows[name].model, LibraryNetwork)
        assert rows[name].model.network == name
    for name in REPORTED:
        loss = {key: value for key, value in rows[name].loss.model_dump(exclude_defaults=True).items() if value}
        assert loss == {"ce": 1} or name == "flagship"


def test_the_flagship_has_all_that_the_report_says():
    assert differences("larger", "flagship") - {f"loss.{key}" for key in Loss.model_fields} == {
        "model.block",
        "model.skip",
        "model.up",
    }
    row = load_row(REPORT, "flagship", "full")
    assert (row.model.block, row.model.skip, row.model.up) == ("triple-se", "gated-concatenate", "transposed")
    used = {key for key, value in row.loss.model_dump(exclude={"focal_gamma", "positive_weight"}).items() if value}
    assert {"ce", "dice", "focal", "boundary"} <= used <= {"ce", "dice", "focal", "boundary", "boundary_growth"}
    assert max(row.loss.dice, row.loss.focal, row.loss.boundary) < row.loss.ce  # "relying heavily on cross-entropy"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_s_network_classifies_every_pixel(name):
    model = experiment.make_model(load_row(REPORT, name)).eval()
    with torch.no_grad():
        logits = model(torch.rand(1, 1, 32, 64))
    assert logits.shape == (1, 5, 32, 64)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("baseline", 712_965),
        ("baseline-bottleneck", 2_928_261),
        ("larger", 11_699_461),
        ("flagship", 11_843_173),
        ("deeplabv3-plus", 12_324_053),
        ("segformer", 3_712_293),
    ],
)
def test_networks_have_as_many_parameters_as_the_text_says(name, expected):
    assert experiment.count_parameters(experiment.make_model(load_row(REPORT, name))) == expected


def test_the_flagship_s_weights_in_half_precision_are_small_enough_to_ship(tmp_path):
    model = experiment.make_model(load_row(REPORT, "flagship")).half()
    weights.save(model, tmp_path / "flagship.safetensors")
    assert (tmp_path / "flagship.safetensors").stat().st_size < 24e6


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data.labels", "better", ["data.labels: ", "'given'", "'improved'", "'clean'", "got 'better'"]),
        ("data.labls", "given", ["unknown key 'data.labls', did you mean 'labels'?", "known: width, height, count"]),
        ("data.held_out", [0.1], ["data.held_out.1: ", "got [0.1]"]),
        ("data.held_out", [0.1, 0.2, 0.3], ["data.held_out: ", "at most 2", "got [0.1, 0.2, 0.3]"]),
        ("data.held_out", 0.2, ["data.held_out: ", "got 0.2"]),
        ("data.held_out", [0, 0.2], ["data.held_out.0: ", "greater than 0", "got 0"]),
        ("data.held_out", [0.1, 0.5], ["data.held_out.1: ", "less than 0.5", "got 0.5"]),
        ("data.held_out", [-0.1, 0.2], ["data.held_out.0: ", "got -0.1"]),
        ("data.width", 8, ["data.width: ", "greater than or equal to 16", "got 8"]),
        ("data.height", 64.5, ["data.height: ", "got 64.5"]),
        ("data.count", 7, ["data.count: ", "got 7"]),
        ("data.aliens", -1, ["data.aliens: ", "got -1"]),
        ("data.copies", -1, ["data.copies: ", "got -1"]),
        ("data.share", 0, ["data.share: ", "greater than 0", "got 0"]),
        ("data.share", 1.5, ["data.share: ", "got 1.5"]),
        ("data.drop_worst", 1, ["data.drop_worst: ", "less than 1", "got 1"]),
        ("data.augment", "terain", ["data.augment: ", "'flips-and-half-turns'", "'terrain'", "got 'terain'"]),
        ("data.background", "ignore", ["data.background: ", "'class'", "'ignored'", "got 'ignore'"]),
        ("data.real", "maybe", ["data.real: ", "got 'maybe'"]),
        ("data.clues", [], ["unknown key 'data.clues'"]),
        ("model.up", "bicubic", ["model.up: ", "'transposed'", "'nearest'", "'bilinear'", "got 'bicubic'"]),
        ("model.bottleneck", "pyramid", ["model.bottleneck: ", "'plain'", "'se-pyramid'", "got 'pyramid'"]),
        ("model.skip", "gated", ["model.skip: ", "'gated-add'", "'gated-concatenate'", "got 'gated'"]),
        ("model.block", "tripel", ["model.block: ", "'triple'", "'triple-se'", "got 'tripel'"]),
        ("model.in_channels", 3, ["model.in_channels: the data has 1 channels, got 3"]),
        ("loss.class_weights", [1, 0, 1, 1, 1], ["loss.class_weights.1: ", "greater than 0", "got 0"]),
        ("loss.class_weights", [1, 2, 3], ["loss.class_weights: expected 5, one for each class, got 3"]),
        ("model.out_channels", 4, ["model.out_channels: expected 5, one for each class, got 4"]),
        ("loss.class_weights", 8, ["loss.class_weights: ", "got 8"]),
        ("loss.focal_gamma", -1, ["loss.focal_gamma: ", "got -1"]),
        ("loss.focal_gama", 2, ["unknown key 'loss.focal_gama', did you mean 'focal_gamma'?"]),
        ("training.monitor", "pixel_acuracy", ["training.monitor: ", "'pixel_accuracy'", "got 'pixel_acuracy'"]),
        ("training.schedule", "cosin", ["training.schedule: ", "'cosine'", "got 'cosin'"]),
        ("baseline", {"method": "soil"}, ["baseline.method: ", "'bedrock'", "got 'soil'"]),
        ("baseline", {"method": "bedrock"}, ["a baseline, or model, loss and training"]),
        ("model", None, ["a baseline, or model, loss and training"]),
    ],
)
def test_mistakes_are_explained(key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row(REPORT, "augmentation", "quick", {key: value})
    found = str(error.value)
    for word in (f"configs/{REPORT}.yaml", "'augmentation'", *named):
        assert word in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("model.network", "unet", ["model.network: ", "'deeplabv3-plus'", "'segformer'", "got 'unet'"]),
        ("model.widths", [8, 16], ["unknown key 'model.widths'", "known: network, in_channels, out_channels"]),
        ("model.netwrok", "segformer", ["unknown key 'model.netwrok', did you mean 'network'?"]),
        ("model.out_channels", 0, ["model.out_channels: ", "got 0"]),
        ("model.in_channels", 3, ["model.in_channels: the data has 1 channels, got 3"]),
    ],
)
@pytest.mark.parametrize("row", ["deeplabv3-plus", "segformer"])
def test_mistakes_in_a_library_network_are_explained_by_its_own_keys(row, key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row(REPORT, row, "quick", {key: value})
    found = str(error.value)
    for word in (f"configs/{REPORT}.yaml", repr(row), *named):
        assert word in found
    assert len(found.splitlines()) == 1
    assert "LibraryNetwork" not in found  # what a class is called, nobody wrote
    assert "UNet" not in found


def test_a_u_net_s_row_that_names_a_network_of_the_library_has_keys_too_many():
    """All of them are named, each in a line."""
    with pytest.raises(ConfigError) as error:
        load_row(REPORT, "baseline", "quick", {"model.network": "segformer"})
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    for key, line in zip(("widths", "block", "up"), lines):
        assert f"unknown key 'model.{key}'" in line


def test_a_network_of_another_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"model\.out_channels: expected 1, got 5"):
        load_row("denoising", "report", "quick", {"model.out_channels": 5})


def test_defaults_of_the_data_are_the_homework_as_it_was_given():
    data = Mars(width=128, height=64, count=8, held_out=(0.1, 0.2))
    assert (data.labels, data.augment, data.background, data.real) == ("given", "none", "class", True)
    assert (data.share, data.drop_worst, data.copies, data.aliens) == (1, 0, 0, 0)
    assert data.remove_outliers
    assert not data.mirrored
    with pytest.raises(ValueError, match="frozen"):
        data.labels = "clean"


def test_the_mirror_image_is_no_part_of_how_a_network_is_trained():
    plain, mirrored = (load_row(REPORT, "ours", overrides={"data.mirrored": value}) for value in (False, True))
    assert plain.recipe() != mirrored.recipe()
    assert plain.training_recipe() == mirrored.training_recipe()


def test_the_file_says_nothing_that_no_row_uses():
    content = yaml.safe_load((shipped("configs") / f"{REPORT}.yaml").read_text(encoding="utf-8"))
    assert set(content) <= {"defaults", "scales", "rows", "sweeps"}
    assert set(content["scales"]) == set(SCALES)
    assert "reported" not in content["defaults"]
