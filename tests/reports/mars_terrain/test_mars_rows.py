"""Rows of the Mars report: what the file holds, how its rows differ, and mistakes that are named by their keys."""

import pytest

from seglib import experiment
from seglib.rows import ConfigError, load_row, load_rows

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


def differences(one, other):
    """Where another row's recipe differs from a row's: "part.key" and what the other's says."""
    one, other = load_row(REPORT, one, "full").recipe(), load_row(REPORT, other, "full").recipe()

    def walk(a, b, place):
        if isinstance(a, dict) and isinstance(b, dict):
            parts = [walk(a.get(name), b.get(name), [*place, name]) for name in a.keys() | b.keys()]
            return {key: value for part in parts for key, value in part.items()}
        return {} if a == b else {".".join(place): b}

    return walk(one, other, [])


def test_the_thirteen_numbers_are_those_of_the_report():
    rows = load_rows(REPORT)
    found = {row.name: row.reported for row in rows if row.reported}
    assert list(found.items()) == [(name, {"mean_iou": value}) for name, value in REPORTED.items()]
    assert [row.name for row in rows if row.best] == ["ours"]
    assert len({row.title for row in rows}) == len(rows)


def test_the_full_scale_is_the_homework_s():
    for row in load_rows(REPORT, "full"):
        assert (row.data.height, row.data.width, row.data.resize, row.data.channels) == (64, 128, "128x64", 1)
        assert (row.data.count + row.data.aliens, row.data.aliens) == (2615, 110)
        assert row.data.held_out == (0.1, 0.2)
        if row.name in REPORTED:
            assert (row.training.epochs, row.training.patience, row.training.monitor) == (200, 20, "pixel_accuracy")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("baseline", "improved-masks", {"data.labels": "improved"}),
        ("baseline", "bad-masks-removed", {"data.drop_worst": 0.1}),
        ("baseline", "augmentation", {"data.augment": "terrain"}),
        ("augmentation", "larger", {"model.widths": [64, 128, 256, 512]}),
        *(("augmentation", skip, {"model.skip": skip}) for skip in ("attention", "gated-add", "gated-concatenate")),
        ("augmentation", "se", {"model.bottleneck": "se"}),
        ("larger", "larger-se", {"model.bottleneck": "se"}),
        ("larger-se", "larger-se-pyramid", {"model.bottleneck": "se-pyramid"}),
        ("baseline", "baseline-bottleneck", {"model.widths": [32, 64, 128, 256]}),
        ("deeplabv3-plus", "segformer", {"model.network": "segformer"}),
    ],
)
def test_a_row_differs_from_the_one_it_is_compared_with_in_what_it_is_called(one, other, expected):
    assert differences(one, other) == expected


def test_what_is_compared_is_what_the_report_describes():
    base, deeplab = load_row(REPORT, "baseline", "full"), load_row(REPORT, "deeplabv3-plus", "full")
    model = base.model
    assert (model.widths, model.block, model.up, model.skip) == ([32, 64, 128], "triple", "nearest", "concatenate")
    assert (model.bottleneck, deeplab.model.network) == ("plain", "deeplabv3-plus")
    assert (base.data.labels, base.data.drop_worst, base.data.augment) == ("given", 0, "none")
    assert {
        key: value for key, value in differences("augmentation", "deeplabv3-plus").items() if "model" not in key
    } == {}
    assert {key: value for key, value in base.loss.model_dump(exclude_defaults=True).items() if value} == {"ce": 1}


def test_the_flagship_has_all_that_the_report_says():
    found = differences("larger", "flagship")
    model = {"model.block": "triple-se", "model.skip": "gated-concatenate", "model.up": "transposed"}
    assert {key: value for key, value in found.items() if not key.startswith("loss.")} == model
    loss = load_row(REPORT, "flagship", "full").loss
    assert min(loss.dice, loss.focal, loss.boundary) > 0
    assert max(loss.dice, loss.focal, loss.boundary) < loss.ce  # "relying heavily on cross-entropy"
    assert loss.sobel_boundary == loss.iou == loss.bce == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("baseline", 712_965),
        ("baseline-bottleneck", 2_928_261),
        ("larger", 11_699_461),
        ("flagship", 11_843_173),
    ],
)
def test_networks_have_as_many_parameters_as_the_text_says(name, expected):
    assert experiment.count_parameters(experiment.make_model(load_row(REPORT, name))) == expected


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data.labels", "better", ["data.labels: ", "'given'", "'improved'", "'clean'", "got 'better'"]),
        ("data.held_out", [0.1], ["data.held_out.1: ", "got [0.1]"]),
        ("data.held_out", [0.1, 0.2, 0.3], ["data.held_out: ", "at most 2", "got [0.1, 0.2, 0.3]"]),
        ("data.held_out", 0.2, ["data.held_out: ", "got 0.2"]),
        ("data.held_out", [0, 0.2], ["data.held_out.0: ", "greater than 0", "got 0"]),
        ("data.held_out", [0.1, 0.5], ["data.held_out.1: ", "less than 0.5", "got 0.5"]),
        ("data.width", 8, ["data.width: ", "greater than or equal to 16", "got 8"]),
        ("data.count", 7, ["data.count: ", "got 7"]),
        ("data.aliens", -1, ["data.aliens: ", "got -1"]),
        ("data.copies", -1, ["data.copies: ", "got -1"]),
        ("data.share", 0, ["data.share: ", "greater than 0", "got 0"]),
        ("data.share", 1.5, ["data.share: ", "got 1.5"]),
        ("data.drop_worst", 1, ["data.drop_worst: ", "less than 1", "got 1"]),
        ("model.in_channels", 3, ["model.in_channels: the data has 1 channels, got 3"]),
        ("loss.class_weights", [1, 0, 1, 1, 1], ["loss.class_weights.1: ", "greater than 0", "got 0"]),
        ("loss.class_weights", [1, 2, 3], ["loss.class_weights: expected 5, one for each class, got 3"]),
        ("model.out_channels", 4, ["model.out_channels: expected 5, one for each class, got 4"]),
        ("loss.focal_gamma", -1, ["loss.focal_gamma: ", "got -1"]),
        ("baseline", {"method": "soil"}, ["baseline.method: ", "'bedrock'", "got 'soil'"]),
    ],
)
def test_mistakes_are_explained(key, value, named):
    explained("augmentation", key, value, named)


def explained(row, key, value, named):
    with pytest.raises(ConfigError) as error:
        load_row(REPORT, row, "quick", {key: value})
    found = str(error.value)
    for word in (f"configs/{REPORT}.yaml", repr(row), *named):
        assert word in found
    assert len(found.splitlines()) == 1
    assert "LibraryNetwork" not in found  # what a class is called, nobody wrote
    assert "UNet" not in found


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
def test_mistakes_in_a_library_network_are_explained_by_its_own_keys(key, value, named):
    for row in ("deeplabv3-plus", "segformer"):
        explained(row, key, value, named)


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


def test_the_mirror_image_is_no_part_of_how_a_network_is_trained():
    plain, mirrored = (load_row(REPORT, "ours", overrides={"data.mirrored": value}) for value in (False, True))
    assert plain.training_recipe() == mirrored.training_recipe()
