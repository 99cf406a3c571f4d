"""The keys of a row that every report has: its network, its loss, its training, and what its data can be told."""

from __future__ import annotations

import typing
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

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


class Data(Strict):
    """What every report's data has; each report adds keys of its own."""

    OUTPUTS: ClassVar[int] = 1  # channels of a network's logits: of a binary mask one, else one for each class
    # Keys that only say how a trained network is used, or how many are trained: they are not part of its recipe.
    IN_USE: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of a network's input."""

    @property
    def resize(self) -> str | int | None:
        """The size that a network of this row is used at, as its weights file says it; None: pictures' own."""
        return None

    def seen_at(self, size: str) -> Self:
        """The same for a network whose weights file says that `size` is its `resize`."""
        return self


class SizedData(Data):
    """Data whose networks see pictures at a width and height."""

    width: int
    height: int

    @property
    def resize(self) -> str:
        return f"{self.width}x{self.height}"

    def seen_at(self, size: str) -> Self:
        width, height = map(int, size.split("x"))
        return self.model_copy(update={"width": width, "height": height})


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
    skip: Literal["concatenate", "attention", "attention-only", "gated-add", "gated-concatenate", "none"] = (
        "concatenate"
    )
    up: Literal["transposed", "nearest", "bilinear"] = "transposed"
    bottleneck: Literal["plain", "se", "se-pyramid"] = "plain"
    dropout: float = Field(0.0, ge=0, lt=1)
    decoder_block: Literal["double", "double-se", "triple", "triple-se", "residual"] | None = None
    init: Literal["pytorch", "kaiming"] = "pytorch"
    normalize: bool = False
    refine: bool = False


def _kind(given: Any) -> str:
    """Which network a mapping, or what became of it, describes: by a key that only one of them has."""
    keys = given if isinstance(given, dict) else getattr(given, "__dict__", ())
    return next((name for key, name in KINDS.items() if key in keys), "UNet")


KINDS = {"encoder": "EncoderUNet", "network": "LibraryNetwork"}
NETWORKS = {"UNet": UNet, "EncoderUNet": EncoderUNet, "LibraryNetwork": LibraryNetwork}
Network = Annotated[
    Annotated[UNet, Tag("UNet")]
    | Annotated[EncoderUNet, Tag("EncoderUNet")]
    | Annotated[LibraryNetwork, Tag("LibraryNetwork")],
    Discriminator(_kind),
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


# What a row is called, not what it is.
NAMING = dict.fromkeys(("report", "name", "title", "label", "reported", "reported_spread", "best"), True)


class Row(Strict):
    """One configuration that a report's tables name: a network and how it is trained, or a classical baseline.

    A report's own rows say what `data` and `baseline` are. `start` names another row of the report, whose network,
    trained before, this one starts from.
    """

    report: str
    name: str
    scale: Scale
    title: str
    label: str = Field(default_factory=lambda row: row.get("title", ""))  # short, for tables and figures
    reported: dict[str, float] = Field({})
    reported_spread: dict[str, float] = Field({})
    best: bool = False
    data: Data
    start: str | None = None
    model: Network | None = None
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
        outputs = self.data.OUTPUTS
        if self.model and getattr(self.model, "out_channels", 1) != outputs:
            raise ValueError(
                f"model.out_channels: expected {outputs}{', one for each class' if outputs > 1 else ''}, got "
                f"{getattr(self.model, 'out_channels', 1)}"
            )
        weights = self.loss and self.loss.class_weights
        if weights and len(weights) != outputs:
            raise ValueError(f"loss.class_weights: expected {outputs}, one for each class, got {len(weights)}")
        return self

    def recipe(self) -> dict[str, Any]:
        """What determines the result, as plain values: all but names, titles and reported numbers."""
        return self.model_dump(mode="json", exclude=NAMING)

    def training_recipe(self) -> dict[str, Any]:
        """What determines a fold's trained network: `recipe` without how it is used then, and how many folds are."""
        return self.model_dump(mode="json", exclude=NAMING | {"data": set(self.data.IN_USE)})
