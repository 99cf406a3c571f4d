"""Rows of the configuration files in `configs/`, read, merged and validated.

A file holds one report. Every row is what `defaults` say, then what the scale (`quick` or `full`) says, then what the
row says for all scales, then what it says for this one.
"""

from __future__ import annotations

import difflib
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from .files import shipped

Scale = Literal["quick", "full"]
SCALES = typing.get_args(Scale)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the key and what was expected."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"expected (low, high) with low <= high, got {bounds}")
    return bounds


Probability = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[tuple[Probability, Probability], AfterValidator(_ordered)]
Lengths = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ordered)]


class Noise(Strict):
    """The knobs of `seglib.data.shapes.Noise`, where their units stand."""

    base: Fractions
    contrast: Fractions
    blur_probability: Probability
    blur_sigma: Lengths
    gaussian_sigma: Fractions
    salt_pepper: Fractions


class Shapes(Strict):
    """The denoising report's data: `count` pairs of `size` × `size` pixels, the share `held_out` for validation."""

    size: int = Field(ge=8)
    count: int = Field(ge=2)
    held_out: float = Field(gt=0, lt=1)
    augment: Literal["none", "flips-and-quarter-turns"]
    noise: Noise
    progressive_epochs: int = Field(0, ge=0)

    @property
    def resize(self) -> None:
        """Pictures are taken as large as they are."""

    @property
    def channels(self) -> int:
        """Of a network's input."""
        return 1


class Faces(Strict):
    """The face-mask report's data: MFSD's crops where the folder of real data is given, else generated faces.

    Attributes:
        size: height and width that every picture is reduced to.
        count: how many faces are generated, where they are the data or are added to them.
        two_people: share of the generated frames that show two people.
        real: use MFSD where there is a folder of real data; false: generated faces in any case.
        limit: keep only so many pairs, drawn at random, of each training part.
        extra: what the training part gets in addition.
        folds: of the cross-validation.
        run_folds: train only the first so many.
    """

    size: int = Field(ge=8)
    count: int = Field(ge=2)
    two_people: Probability
    real: bool = True
    limit: int | None = Field(None, ge=1)
    extra: list[Literal["generated", "masked-face-net"]] = []
    augment: Literal["none", "faces-weak", "faces-strong", "faces-wide", "faces-image-only"]
    folds: int = Field(ge=2)
    run_folds: int | None = Field(None, ge=1)

    @property
    def resize(self) -> int:
        """The height and width that a network of this row is used at."""
        return self.size

    @property
    def channels(self) -> int:
        """Of a network's input."""
        return 3


class Brush(Strict):
    """NeuralSegmentello's data: objects of COCO where the folder of real data is given, else of generated scenes.

    Attributes:
        longest: pixels that the longest side of what the network sees is reduced to; null: not at all.
        scenes: how many scenes are generated where they are the data, of `scene_size` pixels along the longest side.
        real: use COCO where there is a folder of real data; false: generated scenes in any case.
        training, validation: images in each part; with fewer at hand, all of them in that ratio.
        limit: keep only so many images, drawn at random, of the training part.
        objects: of each training image the largest one, or all that are large enough for a hint.
        extra: what is added to the training part, from the folder of real data: "scribbles", the objects of the
            scribble challenge.
        hints: what the user draws, one of these for each object at random.
        corrections: most strokes that a user adds, of either sign; their number is random.
        fresh: another hint in every epoch.
        view: the network sees the photograph, or the part of it that the hint is about.
        margin: how much of its surroundings that part has, see `seglib.refinement.window`.
        rgb: it sees colours and not the grey value.
        likelihood: it also sees how likely each pixel's colour is the object's, by the hint.
    """

    longest: int | None = Field(ge=16)
    scenes: int = Field(ge=2)
    scene_size: int = Field(ge=64)
    real: bool = True
    training: int = Field(ge=1)
    validation: int = Field(ge=1)
    limit: int | None = Field(None, ge=1)
    objects: Literal["largest", "all"] = "largest"
    extra: list[Literal["scribbles"]] = []
    hints: list[Literal["coarse", "brush"]] = Field(["coarse"], min_length=1)
    corrections: int = Field(0, ge=0)
    fresh: bool = False
    view: Literal["photograph", "object"] = "photograph"
    margin: float = Field(1.0, ge=0)
    rgb: bool = False
    likelihood: bool = False
    augment: Literal["none", "photographs"] = "none"

    @property
    def resize(self) -> int | None:
        """The longest side that a network of this row is used at."""
        return self.longest

    @property
    def channels(self) -> int:
        """Of a network's input: hint, colours or grey value, gradient, and likelihood."""
        return 2 + (3 if self.rgb else 1) + self.likelihood


class Scribbles(Strict):
    """The scribble report's data: the challenge's photographs where the folder of real data is given, else scenes.

    Attributes:
        width, height: that a network sees photographs at, multiples of 16.
        scenes: how many scenes are generated where they are the data, or are added to it.
        real: use the challenge where there is a folder of real data; false: generated scenes in any case.
        limit: keep only so many photographs, drawn at random, of each training part.
        extra: what the training part gets in addition: scenes, or COCO's photographs as one task each, as one for each
            category, or with the masks that the network which a row starts from finds in them.
        augment: the report's level of augmentation.
        synthetic: how likely a training item's strokes are generated ones, in place of its own.
        long_strokes: generate strokes that are more like the challenge's own than the report's algorithm does.
        clues: further channels, see `seglib.data.scribbles.network_input`.
        used_at: scales, relative to width and height, whose predictions are averaged when a network is used.
        mirrored: then also average with those for the mirrored photograph.
        folds: of the cross-validation.
        run_folds: train only the first so many.
    """

    width: int = Field(ge=32, multiple_of=16)
    height: int = Field(ge=32, multiple_of=16)
    scenes: int = Field(ge=2)
    real: bool = True
    limit: int | None = Field(None, ge=1)
    extra: list[Literal["coco", "coco-categories", "coco-unlabelled", "scenes"]] = []
    augment: Literal["none", "low", "medium", "high"] = "none"
    synthetic: Probability = 0.0
    long_strokes: bool = False
    clues: list[Literal["likelihood", "geodesic"]] = []
    used_at: list[Annotated[float, Field(gt=0.1, le=4)]] = Field([1.0], min_length=1)
    mirrored: bool = False
    folds: int = Field(ge=2)
    run_folds: int | None = Field(None, ge=1)

    @property
    def resize(self) -> str:
        """The size that a network of this row is used at."""
        return f"{self.width}x{self.height}"

    @property
    def channels(self) -> int:
        """Of a network's input: colours, strokes and clues."""
        return 4 + len(self.clues)


class Mars(Strict):
    """The Mars report's data: the homework's rows where the folder of real data is given, else generated terrain.

    Attributes:
        width, height: that a network sees pictures at.
        count: how many rows are generated, where they are the data.
        aliens: how many outliers, which all share one mask, are among them in addition.
        real: use the homework's rows where there is a folder of real data; false: generated ones in any case.
        held_out: shares of the validation and the test part; photographs are never cut apart.
        share: of the training part that is used: whole photographs, drawn at random.
        labels: the training part's labels: as they are given, improved (see `seglib.data.labels.improve_labels`), or
            without the annotators' mistakes, which only generated terrain has.
        remove_outliers: leave those out of the training part that `seglib.data.labels.find_outliers` finds.
        drop_worst: leave out this share of it, the masks whose borders disagree most with their pictures' edges.
        augment: a name in `seglib.data.mars.AUGMENTATIONS`.
        copies: so many pictures are made of each training picture in advance, itself the first; 0: augmented anew in
            every epoch.
        background: what nobody labelled is a class of its own to learn, or is left out of the training.
        mirrored: when a network is used, its probabilities are averaged with those for the mirrored picture.
    """

    width: int = Field(ge=16)
    height: int = Field(ge=16)
    count: int = Field(ge=8)
    aliens: int = Field(0, ge=0)
    real: bool = True
    held_out: tuple[Annotated[float, Field(gt=0, lt=0.5)], Annotated[float, Field(gt=0, lt=0.5)]]
    share: float = Field(1.0, gt=0, le=1)
    labels: Literal["given", "improved", "clean"] = "given"
    remove_outliers: bool = True
    drop_worst: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "mirror", "flips-and-half-turns", "terrain"] = "none"
    copies: int = Field(0, ge=0)
    background: Literal["class", "ignored"] = "class"
    mirrored: bool = False

    @property
    def resize(self) -> str:
        """The size that a network of this row is used at."""
        return f"{self.width}x{self.height}"

    @property
    def channels(self) -> int:
        """Of a network's input."""
        return 1


class LibraryNetwork(Strict):
    """The arguments of a network in `seglib.models.library.NETWORKS`, and whether it normalises."""

    network: Literal["deeplabv3-plus", "segformer"]
    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    normalize: bool = False


class EncoderUNet(Strict):
    """The arguments of `seglib.models.library.EncoderUNet`, and whether it normalises."""

    encoder: Literal["efficientnet-b2", "tu-efficientnet_b2", "tu-mobilenetv3_large_100", "tu-resnet18"]
    in_channels: int = Field(ge=1)
    attention: Literal["scse"] | None = None
    dropout: float = Field(0.0, ge=0, lt=1)
    normalize: bool = False


class UNet(Strict):
    """The arguments of `seglib.models.unet.UNet`, how its weights are initialised, and whether it normalises."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    widths: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    block: Literal["double", "double-se", "triple", "triple-se", "residual"] = "double"
    norm: Literal["batch", "group"] = "batch"
    skip: Literal["concatenate", "attention", "gated-add", "gated-concatenate", "none"] = "concatenate"
    up: Literal["transposed", "nearest", "bilinear"] = "transposed"
    bottleneck: Literal["plain", "se", "se-pyramid"] = "plain"
    dropout: float = Field(0.0, ge=0, lt=1)
    decoder_block: Literal["double", "double-se", "triple", "triple-se", "residual"] | None = None
    init: Literal["pytorch", "kaiming"] = "pytorch"
    normalize: bool = False
    refine: bool = False


def _kind(key: str, name: str) -> Discriminator:
    """Tells a network that a mapping, or what became of it, describes by `key`, as `name`; any other is a U-Net."""

    def kind(given: Any) -> str:
        return name if key in (given if isinstance(given, dict) else getattr(given, "__dict__", ())) else "UNet"

    return Discriminator(kind)


NETWORKS = {"UNet": UNet, "EncoderUNet": EncoderUNet, "LibraryNetwork": LibraryNetwork}
UNetOrEncoder = Annotated[
    Annotated[UNet, Tag("UNet")] | Annotated[EncoderUNet, Tag("EncoderUNet")],
    _kind("encoder", "EncoderUNet"),
]
UNetOrLibrary = Annotated[
    Annotated[UNet, Tag("UNet")] | Annotated[LibraryNetwork, Tag("LibraryNetwork")],
    _kind("network", "LibraryNetwork"),
]


class Loss(Strict):
    """The arguments of `seglib.losses.weighted_sum`: the weight of each loss, how that of `boundary` grows, how much
    more the object's pixels count in `bce` and how much each class's in `ce`, and how much less easy pixels count in
    `focal`."""

    bce: float = Field(0.0, ge=0)
    ce: float = Field(0.0, ge=0)
    focal: float = Field(0.0, ge=0)
    dice: float = Field(0.0, ge=0)
    iou: float = Field(0.0, ge=0)
    sobel_boundary: float = Field(0.0, ge=0)
    boundary: float = Field(0.0, ge=0)
    boundary_growth: float = Field(0.0, ge=0, le=1)
    positive_weight: float = Field(1.0, gt=0)
    focal_gamma: float = Field(2.0, ge=0)
    class_weights: list[Annotated[float, Field(gt=0)]] | None = None


class Training(Strict):
    """The arguments of `seglib.training.fit`."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "plateau", "one-cycle", "cosine"] = "constant"
    plateau_patience: int = Field(5, ge=0)
    average: float = Field(0.0, ge=0, lt=1)
    monitor: Literal[
        "loss",
        "iou",
        "dice",
        "mean_iou",
        "iou_pooled",
        "dice_pooled",
        "mean_iou_pooled",
        "pixel_accuracy",
        "bce",
        "mean_iou_all_pixels",
        "pixel_accuracy_labelled",
        "ce",
    ] = "iou"
    patience: int | None = Field(None, ge=1)
    precision: Literal["auto", "float32", "bf16", "fp16"] = "float32"
    channels_last: bool = False
    workers: int = Field(0, ge=0)


class Baseline(Strict):
    """A classical method in place of a network: a filter of `seglib.baselines.FILTERS`, then Otsu's threshold."""

    filter: Literal["none", "gaussian", "median", "total-variation"]


class FaceBaseline(Strict):
    """A classical method of `seglib.baselines` for face masks, in place of a network."""

    method: Literal["otsu", "otsu-better-polarity", "region-based"]


class ScribbleBaseline(Strict):
    """A method of `seglib.baselines` that needs no training, given photograph and strokes, in place of a network."""

    method: Literal["background", "nearest", "grabcut", "random-walker"]


class HintBaseline(Strict):
    """A method of `seglib.baselines` that needs no training, given photograph and hint, in place of a network."""

    method: Literal["hint", "grabcut", "random-walker"]


class MarsBaseline(Strict):
    """What needs no training, in place of a network: the same class everywhere."""

    method: Literal["bedrock"]


# What a row is called, not what it is.
NAMING = dict.fromkeys(("report", "name", "title", "reported", "reported_spread", "best"), True)


class Row(Strict):
    """One configuration that a report's tables name: a network and how it is trained, or a classical baseline.

    `start` names another row of the report, whose network, trained before, this one starts from.
    """

    report: str
    name: str
    scale: Scale
    title: str
    reported: dict[str, float] = {}
    reported_spread: dict[str, float] = {}
    best: bool = False
    data: Strict
    start: str | None = None
    model: Strict | None = None
    loss: Loss | None = None
    training: Training | None = None
    baseline: Strict | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Row:
        given = [key for key in ("model", "loss", "training") if getattr(self, key) is not None]
        if given if self.baseline else len(given) < 3:
            raise ValueError(f"expected a baseline, or model, loss and training; got {given or 'none of them'}")
        if self.model and self.model.in_channels != self.data.channels:
            raise ValueError(
                f"model.in_channels: the data has {self.data.channels} channels, got {self.model.in_channels}"
            )
        if "coco-unlabelled" in getattr(self.data, "extra", ()) and not self.start:
            raise ValueError("data.extra: coco-unlabelled needs a row to start from, whose network finds the masks")
        return self

    def recipe(self) -> dict[str, Any]:
        """What determines the result, as plain values: all but names, titles and reported numbers."""
        return self.model_dump(mode="json", exclude=NAMING)

    def training_recipe(self) -> dict[str, Any]:
        """What determines a fold's trained network: `recipe` without how it is used then, and how many folds are."""
        return self.model_dump(mode="json", exclude=NAMING | {"data": {"used_at", "mirrored", "run_folds"}})


class DenoisingRow(Row):
    data: Shapes
    model: UNet | None = None
    baseline: Baseline | None = None


class FaceMasksRow(Row):
    data: Faces
    model: UNet | None = None
    baseline: FaceBaseline | None = None


class NeuralSegmentelloRow(Row):
    data: Brush
    model: UNet | None = None
    baseline: HintBaseline | None = None


class ScribblesRow(Row):
    data: Scribbles
    model: UNetOrEncoder | None = None
    baseline: ScribbleBaseline | None = None


class MarsTerrainRow(Row):
    data: Mars
    model: UNetOrLibrary | None = None
    baseline: MarsBaseline | None = None

    @model_validator(mode="after")
    def _five_classes(self) -> MarsTerrainRow:
        if self.model and self.model.out_channels != 5:
            raise ValueError(f"model.out_channels: expected 5, one for each class, got {self.model.out_channels}")
        weights = self.loss and self.loss.class_weights
        if weights and len(weights) != 5:
            raise ValueError(f"loss.class_weights: expected 5, one for each class, got {len(weights)}")
        return self


ROWS = {
    "denoising": DenoisingRow,
    "face_masks": FaceMasksRow,
    "neural_segmentello": NeuralSegmentelloRow,
    "scribbles": ScribblesRow,
    "mars_terrain": MarsTerrainRow,
}


class Sweep(Strict):
    """Every combination of a few choices for one row.

    Attributes:
        row: its name.
        changes: to the row, in all of them, such as {"training.epochs": 3}.
        axes: what is chosen between: of each axis the labels, and the changes that each stands for. The change `row`
            takes another row.
    """

    row: str
    changes: dict[str, Any] = {}
    axes: Annotated[dict[str, Annotated[dict[str, dict[str, Any]], Field(min_length=1)]], Field(min_length=1)]


def load_sweep(report: str, name: str) -> Sweep:
    """A sweep of a report, as its file has it.

    Raises:
        ConfigError: an unknown report or sweep, or one that is not as `Sweep` says.
    """
    sweeps = _mapping(_read(report).get("sweeps"), f"configs/{report}.yaml: sweeps")
    if name not in sweeps:
        there = f"it has {', '.join(sweeps)}" if sweeps else "it has none"
        raise ConfigError(f"configs/{report}.yaml: no sweep {name!r}{nearest(name, sweeps)}; {there}")
    try:
        return Sweep.model_validate(sweeps[name])
    except ValidationError as error:
        raise ConfigError(_explain(error, Sweep, f"configs/{report}.yaml, sweep {name!r}")) from None


def reports() -> list[str]:
    """The names of all reports that have a configuration file."""
    return sorted(path.stem for path in shipped("configs").glob("*.yaml"))


def row_names(report: str) -> list[str]:
    """The names of a report's rows, in the order of its file."""
    return list(_read(report)["rows"])


def load_row(report: str, name: str, scale: Scale = "quick", overrides: typing.Mapping[str, Any] | None = None) -> Row:
    """A row of a report at a scale, with `overrides` such as {"training.epochs": 3} on top.

    Raises:
        ConfigError: an unknown report, row or key, or a value of the wrong type.
    """
    content = _read(report)
    source = f"configs/{report}.yaml"
    if scale not in SCALES:
        raise ConfigError(f"scale: expected {' or '.join(SCALES)}, got {scale!r}{nearest(scale, SCALES)}")
    if name not in content["rows"]:
        raise ConfigError(
            f"{source}: no row {name!r}{nearest(name, content['rows'])}; it has {', '.join(content['rows'])}"
        )
    place = f"{source}, row {name!r}"
    row = dict(_mapping(content["rows"][name], place))
    own_scales = {key: _mapping(row.pop(key, None), f"{place}: {key}") for key in SCALES}
    defaults = _mapping(content.get("defaults"), f"{source}: defaults")
    scales = _mapping(content.get("scales"), f"{source}: scales")
    for key in scales:
        if key not in SCALES:
            raise ConfigError(f"{source}: unknown key 'scales.{key}'{nearest(key, SCALES)}")
    scale_values = _mapping(scales.get(scale), f"{source}: scales.{scale}")
    if "baseline" in row:  # a baseline has no network, nor a way to train it
        defaults, scale_values = ({k: v for k, v in layer.items() if k == "data"} for layer in (defaults, scale_values))
    merged: dict = {}
    for layer in (defaults, scale_values, row, own_scales[scale], _nested(overrides or {})):
        _merge(merged, layer, f"{place}: ")
    merged |= {"report": report, "name": name, "scale": scale}
    try:
        return ROWS[report].model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, ROWS[report], f"{source}, row {name!r}")) from None


def load_rows(report: str, scale: Scale = "quick") -> list[Row]:
    """All rows of a report at a scale, in the order of its file."""
    return [load_row(report, name, scale) for name in row_names(report)]


def parse_override(text: str) -> tuple[str, Any]:
    """ "training.epochs=3" → ("training.epochs", 3); the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set: expected key=value such as training.epochs=3, got {text!r}")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None


@cache
def _read(report: str) -> dict:
    path = shipped("configs") / f"{report}.yaml"
    if not path.is_file():
        raise ConfigError(f"no report {report!r}{nearest(report, reports())}; there are {', '.join(reports())}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"configs/{report}.yaml is not valid YAML: {error}") from None
    known = ("defaults", "scales", "rows", "sweeps")
    if not isinstance(content, dict) or not isinstance(content.get("rows"), dict):
        raise ConfigError(f"configs/{report}.yaml: expected a mapping with the keys {', '.join(known)}")
    for key in content:
        if key not in known:
            raise ConfigError(f"configs/{report}.yaml: unknown key {key!r}{nearest(key, known)}")
    return content


def _mapping(value: Any, place: str) -> dict:
    """The mapping that should stand at a place of a file; nothing there is an empty one."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{place}: expected a mapping, got {value!r}")
    return value or {}


def _merge(into: dict, layer: dict, place: str) -> None:
    """Puts `layer` on top of `into`, mapping by mapping."""
    for key, value in layer.items():
        if isinstance(value, dict):
            into[key] = dict(_mapping(into.get(key), f"{place}{key}"))
            _merge(into[key], value, f"{place}{key}.")
        else:
            into[key] = value


def _nested(flat: typing.Mapping[str, Any]) -> dict:
    """{"a.b": 1} → {"a": {"b": 1}}"""
    nested: dict = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {key}: {part} is set to {place!r} as well")
        place[last] = value
    return nested


def _explain(error: ValidationError, kind: type[Strict], source: str) -> str:
    """One line a mistake: file, row, key, what is wrong and, for an unknown key, the nearest known one."""
    lines = []
    for mistake in error.errors():
        path = mistake["loc"]
        key = ".".join(str(part) for part in path if part not in NETWORKS)  # which of them it is, nobody wrote
        if mistake["type"] == "extra_forbidden":
            known = _fields_at(kind, path[:-1]) + list(SCALES if len(path) == 1 and kind is not Sweep else ())
            lines.append(f"{source}: unknown key {key!r}{nearest(str(path[-1]), known)}; known: {', '.join(known)}")
        elif not path and mistake["type"] == "value_error":  # parts of the row that do not fit together
            lines.append(f"{source}: {mistake['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{source}: {key}: {mistake['msg']}, got {mistake['input']!r}")
    return "\n".join(lines)


def _fields_at(kind: type[Strict], path: tuple) -> list[str]:
    """The keys that are known at a place in a row of a kind."""
    model: Any = kind
    for part in path:
        if part in NETWORKS:
            model = NETWORKS[part]
            continue
        annotation = model.model_fields[part].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        model = next(option for option in options if option is not type(None))
    return list(model.model_fields)


def nearest(word: str, known) -> str:
    """ ", did you mean 'report'?" for a word that is nearly one of those known, else nothing."""
    matches = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
