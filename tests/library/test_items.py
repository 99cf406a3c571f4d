"""Data sets of one's own: each is trained and measured on, or a sentence says what it lacks; and how they are told
apart."""

import copy
import random
import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from seglib.items import check_batch, check_items, digest, generators_kept, hashed, mixed_sizes, set_epoch, sizes_of
from seglib.losses import bce_loss, cross_entropy_loss
from seglib.metrics import BinaryMetrics, ClassMetrics
from seglib.training import evaluate, fit, make_loader, random_state

HEIGHT, WIDTH = 8, 12
CLASSES = partial(ClassMetrics, ("sky", "soil", "rock"))


class Items(list, Dataset):
    """A list of items, as a data set; it remembers which were asked for."""

    def __init__(self, items=()):
        super().__init__(items)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


def image(channels=1, height=HEIGHT, width=WIDTH, seed=0):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


def mask(height=HEIGHT, width=WIDTH):
    return (image(1, height, width, seed=1) < 0.4).float()


def labels(height=HEIGHT, width=WIDTH):
    return (image(1, height, width, seed=1)[0] * 3).long()


def pairs(bad=None, where=(), count=6, target=mask):
    """Good pairs but for a bad one in some places."""
    return Items(bad if i in where else (image(seed=i), target()) for i in range(count))


def train(data, validation=None, model=None, metrics=BinaryMetrics, **changes):
    binary = metrics is BinaryMetrics
    model = model or nn.Conv2d(1, 1 if binary else 3, 3, padding=1)
    options = {"epochs": 1, "batch_size": 2, "learning_rate": 0.01, "precision": "float32", "metrics": metrics}
    loss = bce_loss if binary else cross_entropy_loss
    validation = pairs(target=mask if binary else labels) if validation is None else validation
    return fit(model, loss, data, validation, **options | {"monitor": "loss"} | changes)


PICTURE = Image.fromarray((255 * image()[0]).byte().numpy())

# What items are, and what the sentence must hold: what was expected, what came, what to do.
REFUSED = {
    "three of them": ((image(), mask(), "a.png"), ["pair (image, target)", "got a tuple of 3", "__getitem__"]),
    "an image alone": ((image(),), ["pair (image, target)", "got a tuple of 1"]),
    "a dict": ({"image": image(), "mask": mask()}, ["pair (image, target)", "got a dict with 'image', 'mask'"]),
    "a tensor": (image(), ["pair (image, target)", "got a tensor float32 (1, 8, 12)"]),
    "two in a tensor": (torch.stack([image(), mask()]), ["pair (image, target)", "float32 (2, 1, 8, 12)"]),
    "no mask": ((image(), None), ["expected target as a tensor", "got a NoneType"]),
    "a picture": ((PICTURE, mask()), ["image as a tensor", "got a PIL image", "torch.from_numpy", "np.array"]),
    "a picture of a mask": ((image(), PICTURE), ["target as a tensor", "got a PIL image", "np.array"]),
    "an array": ((image().numpy(), mask()), ["image as a tensor", "NumPy array float32 (1, 8, 12)", "from_numpy"]),
    "a mask's array": ((image(), mask().numpy()), ["target as a tensor", "NumPy array float32 (1, 8, 12)"]),
    "float64": ((image().double(), mask()), ["expected an image of float32", "got float64", "image.float()"]),
    "float16": ((image().half(), mask()), ["expected an image of float32", "got float16", "image.float()"]),
    "uint8": (((255 * image()).byte(), mask()), ["image of float32", "got uint8", "image.float() / 255"]),
    "int64": (((255 * image()).long(), mask()), ["image of float32", "got int64", "image.float() / what white is"]),
    "bool": ((image() > 0.5, mask()), ["expected an image of float32", "got bool", "image.float()"]),
    "no channels": ((image()[0], mask()), ["an image (C, H, W)", "float32 (8, 12)", "image[None]"]),
    "a batch": ((image()[None], mask()), ["an image (C, H, W)", "float32 (1, 1, 8, 12)", "image[0]"]),
    "no pixel": ((image()[:, :0], mask()[:, :0]), ["at least one pixel", "float32 (1, 0, 12)"]),
    "channels last": ((image(3).permute(1, 2, 0), mask()), ["(C, H, W)", "float32 (8, 12, 3)", "permute(2, 0, 1)"]),
    "both channels last": (
        (image(3).permute(1, 2, 0), mask().permute(1, 2, 0)),
        ["an image (C, H, W)", "float32 (8, 12, 3)", "image.permute(2, 0, 1)"],
    ),
    "NaN": ((image().index_fill(2, torch.tensor(3), torch.nan), mask()), ["finite", "8 that are NaN", "mend"]),
    "infinite": ((image() / torch.zeros(()), mask()), ["finite numbers", "got 96 that are NaN or infinite"]),
    "a mask of three channels": ((image(), mask().expand(3, -1, -1)), ["(1, 8, 12)", "(3, 8, 12)", "target[:1]"]),
    "a mask with its channel last": (
        (image(), mask().permute(1, 2, 0)),
        ["a mask float32 (1, 8, 12)", "float32 (8, 12, 1)", "target[None, ..., 0]"],
    ),
    "a flat mask": ((image(), mask()[0]), ["a mask float32 (1, 8, 12)", "float32 (8, 12)", "target[None]"]),
    "labels": ((image(), labels()), ["a mask float32 (1, 8, 12)", "int64 (8, 12)", "partial(ClassMetrics, names)"]),
    "another height": ((image(), mask(height=7)), ["mask float32 (1, 8, 12)", "float32 (1, 7, 12)", "alike"]),
    "another width": ((image(), mask(width=11)), ["mask float32 (1, 8, 12)", "float32 (1, 8, 11)", "alike"]),
    "turned": ((image(), mask(WIDTH, HEIGHT)), ["mask float32 (1, 8, 12)", "float32 (1, 12, 8)", "alike"]),
    "integers": ((image(), mask().long()), ["expected a mask of float32", "got int64", "target.float()"]),
    "bools": ((image(), mask() > 0), ["expected a mask of float32", "got bool", "target.float()"]),
    "0 and 255": ((image(), 255 * mask()), ["got only 0 and 255", "divide a 0/255 mask by 255"]),
    "128 and 255": ((image(), 128 + 127 * mask()), ["values in [0, 1], or 255", "got 0 to 128", "by 255"]),
    "-1 and 1": ((image(), 2 * mask() - 1), ["values in [0, 1], or 255", "got -1 to 1"]),
    "a mask with NaN": ((image(), mask() * torch.nan), ["values in [0, 1], or 255", "got nan to nan"]),
}
CLASSES_REFUSED = {
    "floats": ((image(), labels().float()), ["labels int64 (8, 12)", "float32 (8, 12)", "target.long()"]),
    "bools": ((image(), labels() > 0), ["labels int64 (8, 12)", "bool (8, 12)", "target.long()"]),
    "a mask": ((image(), mask()), ["labels int64 (8, 12)", "float32 (1, 8, 12)", "target[0].long()"]),
    "a channel a class": (
        (image(), torch.stack([labels() == k for k in range(3)])),
        ["labels int64 (8, 12)", "bool (3, 8, 12)", "target.argmax(0)"],
    ),
    "another size": ((image(), labels(width=11)), ["labels int64 (8, 12)", "int64 (8, 11)", "alike"]),
    "too many": ((image(), labels() + 1), ["classes from 0 to 2, or 255", "got 1 to 3", "number the 3 classes"]),
    "negative": ((image(), labels() - 1), ["classes from 0 to 2, or 255", "got -1 to 1", "from 0"]),
    "254": ((image(), labels().masked_fill(labels() > 1, 254)), ["classes from 0 to 2, or 255", "got 0 to 254"]),
    "a picture": ((image(), PICTURE), ["expected target as a tensor", "got a PIL image"]),
}


def check_sentence(error, parts):
    """One sentence that says what was expected, what came and what to do."""
    text = str(error.value)
    assert all(part in text for part in ["expected", *parts]), text
    assert "\n" not in text
    assert error.value.__context__ is None or error.value.__suppress_context__  # no other error is shown with it


@pytest.mark.parametrize(("item", "parts"), REFUSED.values(), ids=REFUSED)
def test_an_item_that_a_mask_cannot_be_learned_from(item, parts):
    everywhere, model = pairs(item, range(6)), nn.Conv2d(1, 1, 3, padding=1)
    before = copy.deepcopy(model.state_dict())
    for work, what in (
        (lambda: train(everywhere, model=model), "the training data"),
        (lambda: train(pairs(), everywhere, model=model), "the validation data"),
        (lambda: evaluate(model, everywhere), "the data"),
    ):
        with pytest.raises(ValueError, match="expected") as error:
            work()
        check_sentence(error, parts if "only" in parts[0] else [f"item 0 of {what}: ", *parts])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("item", "parts"), REFUSED.values(), ids=REFUSED)
def test_the_last_item_is_looked_at_too(item, parts):
    if "only" in parts[0]:  # beside good masks one of 0 and 255 may be what is left of padding
        check_items(pairs(item, [5]), BinaryMetrics())
        return
    with pytest.raises(ValueError, match="item 5 of the data: ") as error:
        check_items(pairs(item, [5]), BinaryMetrics())
    check_sentence(error, parts)


@pytest.mark.parametrize(("item", "parts"), CLASSES_REFUSED.values(), ids=CLASSES_REFUSED)
def test_an_item_that_classes_cannot_be_learned_from(item, parts):
    bad = pairs(item, [2], target=labels)
    for work in (lambda: train(bad, metrics=CLASSES), lambda: evaluate(nn.Conv2d(1, 3, 1), bad, metrics=CLASSES)):
        with pytest.raises(ValueError, match="item 2 of the ") as error:
            work()
        check_sentence(error, parts)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "target",
    [
        mask(),
        mask().double(),
        0.3 * mask(),
        torch.zeros(1, HEIGHT, WIDTH),
        torch.ones(1, HEIGHT, WIDTH),
        mask().index_fill(2, torch.tensor([3]), 255),
    ],
)
@pytest.mark.parametrize("kind", [tuple, list])
def test_items_that_a_mask_is_learned_from(target, kind):
    data = Items(kind((10 * image(seed=i) - 5, target)) for i in range(4))  # normalised
    assert train(data, data)[0]["images"] == 4
    assert evaluate(nn.Conv2d(1, 1, 1), data)["images"] == 4


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("target", [labels(), labels().masked_fill(labels() == 1, 255), torch.full((8, 12), 255)])
def test_items_that_classes_are_learned_from(target, dtype):
    data = Items((image(seed=i), target.to(dtype)) for i in range(4))
    assert train(data, data, metrics=CLASSES)[0]["images"] == 4
    assert evaluate(nn.Conv2d(1, 3, 1), data, metrics=CLASSES)["images"] == 4


def test_a_network_in_double_precision_wants_its_images_so():
    model = nn.Conv2d(1, 1, 1).double()
    double = Items((image(seed=i).double(), mask().double()) for i in range(4))
    assert train(double, double, model=model)[0]["images"] == 4
    with pytest.raises(ValueError, match=r"of float64, .*, got float32; give image\.to\(torch\.float64\)"):
        train(pairs(), model=model)


def test_a_data_set_without_items_or_without_numbers():
    for data, parts in (
        (Items(), ["at least one item in the training data", "got an empty data set"]),
        (DataLoader(pairs()), ["a length and items by their numbers", "got a DataLoader", "which is batched here"]),
        (Dataset(), ["expected the training data to have a length", "got a Dataset"]),
        (iter(pairs()), ["expected the training data to have a length", "got a list_iterator"]),
    ):
        with pytest.raises(ValueError, match="expected") as error:
            train(data)
        check_sentence(error, parts)
    with pytest.raises(ValueError, match="in the validation data, got an empty data set"):
        train(pairs(), Subset(pairs(), []))
    with pytest.raises(ValueError, match="in the data, got an empty data set"):
        evaluate(nn.Conv2d(1, 1, 1), Items())


# --- pictures of several sizes ---

SEVERAL = ["the images of", "to be of one size", "(1, 8, 12)", "(1, 12, 8)", "resize", "`sizes`"]


def test_pictures_of_several_sizes_need_to_say_so():
    data = Items((image(1, *size), mask(*size)) for size in [(8, 12), (12, 8)] * 3)
    for work in (lambda: train(data), lambda: train(pairs(), data), lambda: evaluate(nn.Conv2d(1, 1, 1), data)):
        with pytest.raises(ValueError, match=r"the images of the .*data to be of one size") as error:
            work()
        check_sentence(error, SEVERAL)
    for sizes in ([(8, 12), (12, 8)] * 3, np.array([[8, 12], [12, 8]] * 3)):
        data.sizes = sizes
        assert train(data, data)[0]["images"] == 6
    for sizes, told in (
        ([(8, 12), (12, 8)], r"got 2: \(8, 12\), \(12, 8\)"),
        ([96] * 6, r"got 6: \(96,\), .*…"),
    ):
        data.sizes = sizes
        with pytest.raises(ValueError, match=f"each of the 6 items of the training data, {told}"):
            train(data)


LATER = {
    "size": ((image(1, 12, 8), mask(12, 8)), SEVERAL),
    "channels": ((image(3), mask()), ["the images of a batch", "one number of channels", "(1, 8, 12), (3, 8, 12)"]),
    "picture": ((PICTURE, mask()), ["an item of a batch: expected image as a tensor, got a PIL image"]),
    "mask": ((image(), mask()[0]), ["the targets of a batch", "(1, 8, 12), (8, 12)"]),
    "three": ((image(), mask(), "name"), ["an item of a batch: expected a pair (image, target), got a tuple of 3"]),
}


@pytest.mark.parametrize(("item", "parts"), LATER.values(), ids=LATER)
def test_what_is_met_later_is_told_in_the_same_words(item, parts):
    data = pairs(item, [7], count=20)  # which is not among those looked at
    check_items(data, BinaryMetrics())
    for sizes in ([], [(8, 12)] * 19 + [(12, 8)]):
        data.sizes = sizes
        if sizes and parts is SEVERAL:
            continue
        with pytest.raises(ValueError, match="expected") as error:
            train(data, batch_size=20)
        check_sentence(error, parts)


def test_a_loader_s_worker_tells_it_too():
    with pytest.raises(ValueError, match="the images of a batch to be of one size"):
        train(pairs(LATER["size"][0], [7], count=20), batch_size=20, workers=1)


def test_channels_must_be_equally_many():
    data = pairs((image(3), mask()), [5])
    for sizes in ([], [(8, 12)] * 5 + [(9, 12)]):
        data.sizes = sizes
        with pytest.raises(ValueError, match=r"one number of channels, got shapes \(1, 8, 12\), \(3, 8, 12\)"):
            train(data)


def test_a_batch_that_fails_for_another_reason_says_so_itself(monkeypatch):
    def full(items):
        raise MemoryError("no more")

    check_batch(pairs(), padded=False)
    monkeypatch.setattr("seglib.training.default_collate", full)
    with pytest.raises(MemoryError, match="no more"):
        next(iter(make_loader(pairs(), 2, 0)))


# --- what looking costs, and leaves ---


class Drawn(Dataset):
    """Items drawn from every generator that there is."""

    def __init__(self, count=40, plus=(0, 0, 0)):
        self.count, self.plus, self.asked = count, plus, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        python, numpy = random.random() + self.plus[0], np.random.rand() + self.plus[1]  # noqa: NPY002
        drawn = python + numpy + torch.rand(1, HEIGHT, WIDTH) + float(self.plus[2])
        return drawn, (drawn > 1.5).float()


def generators():
    state = random_state()
    return repr((state["python"], state["numpy"][1].tolist(), state["numpy"][2:], state["torch"].tolist()))


@pytest.mark.parametrize("look", [lambda data: check_items(data, BinaryMetrics()), digest])
def test_looking_takes_a_few_items_and_no_random_numbers(look):
    data, before = Drawn(5000), generators()
    look(data)
    look(Drawn(1))
    assert {0, 4999} <= set(data.asked)
    assert len(data.asked) <= 24
    assert generators() == before
    with generators_kept():
        Drawn()[0]
        assert generators() != before
    assert generators() == before


def test_a_data_set_is_looked_at_once():
    data = pairs(count=31)
    check_items(data, BinaryMetrics())
    assert data.asked == [0, 10, 20, 30]
    empty = Items((image(), 0 * mask()) for _ in range(3))
    check_items(empty, BinaryMetrics())
    assert empty.asked == [0, 1, 2]


def test_what_comes_one_by_one_is_not_looked_at():
    class Stream(IterableDataset):
        def __iter__(self):
            pytest.fail("it was looked at")

    check_items(Stream(), BinaryMetrics())
    assert digest(Stream()) == digest(Stream())


# --- what tells data sets apart ---


def test_a_digest_changes_with_every_byte_shape_type_and_place():
    arrays = [np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((2, 2), np.float32)]
    other = arrays[0].copy()
    other[2, 3] += 1
    kinds = [
        [arrays],
        [arrays[::-1]],
        [arrays[:1], arrays[1:]],
        [[], arrays],
        [[other, arrays[1]]],
        [[arrays[0].T.copy(), arrays[1]]],
        [[arrays[0].reshape(4, 3), arrays[1]]],
        [[arrays[0].view(np.int8), arrays[1]]],
        [["a", "bc"]],
        [["ab", "c"]],
        [["a"], ["bc"]],
    ]
    digests = [hashed(*parts) for parts in kinds]
    assert len(set(digests)) == len(kinds)
    assert digests == [hashed(*copy.deepcopy(parts)) for parts in kinds]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in digests)
    mirrored = np.asfortranarray(arrays[0])[:, ::-1]
    assert hashed([mirrored]) == hashed([mirrored.copy()])  # however it lies in memory
    assert hashed([torch.zeros(3).bfloat16()]) != hashed([torch.zeros(3).half()])
    assert hashed([mask() > 0]) != hashed([mask() == 0])


def test_data_sets_are_told_apart_by_their_items():
    x, y = torch.rand(30, 1, 8, 12), (torch.rand(30, 1, 8, 12) < 0.5).float()
    same = digest(TensorDataset(x, y))
    assert digest(TensorDataset(x.clone(), y.clone())) == same
    assert digest(TensorDataset(x + 0.1, y)) != same
    assert digest(TensorDataset(x, 1 - y)) != same
    assert digest(TensorDataset(x.double(), y)) != same
    assert digest(TensorDataset(x.flip(0), y.flip(0))) != same
    assert digest(TensorDataset(x[:, :, :6], y[:, :, :6])) != same
    assert digest(Subset(TensorDataset(x, y), range(20))) != same


class OwnGenerator(Dataset):
    """Each time that an item is asked for it is another, of the same shape or not."""

    def __init__(self, height=HEIGHT, any_height=False):
        self.rng, self.height, self.any_height = np.random.default_rng(), height, any_height

    def __len__(self):
        return 20

    def __getitem__(self, index):
        height = self.height + int(self.rng.integers(1000) if self.any_height else 0)
        drawn = torch.from_numpy(self.rng.random((1, height, WIDTH), np.float32))
        return drawn, (drawn > 0.5).float()


def test_what_is_drawn_anew_each_time_counts_by_its_shape():
    for i in range(3):  # from generators that are put back
        assert digest(Drawn()) == digest(Drawn()) != digest(Drawn(plus=np.eye(3)[i]))
    assert digest(OwnGenerator()) == digest(OwnGenerator())
    assert digest(OwnGenerator()) != digest(OwnGenerator(height=9))
    assert digest(OwnGenerator(any_height=True)) == digest(OwnGenerator(any_height=True))


class Epochs(Dataset):
    epoch = 0

    def __init__(self, value=0.0):
        self.value = value

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return image(seed=index) + self.epoch + self.value, mask()


def test_a_digest_is_the_same_in_every_epoch():
    one, other = Epochs(), Epochs()
    other.set_epoch(7)
    assert digest(one) == digest(other) != digest(Epochs(0.5))
    assert (one.epoch, other.epoch) == (0, 7)


def test_a_data_set_may_know_its_own_digest():
    data = pairs()
    data.digest = lambda: "mine"
    assert digest(data) == "mine"


# --- what others than the course's data sets hold ---


class Held(Dataset):
    """Pictures that are augmented by a generator of its own, whose draws nobody can repeat."""

    def __init__(self, pictures, masks, rng=None):
        self.pictures, self.masks, self.rng, self.asked = pictures, masks, rng or np.random.default_rng(), []

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.pictures[index] + torch.rand(1), self.masks[index]


def held(change=None):
    pictures = torch.arange(40 * 6.0).reshape(40, 1, 2, 3)
    masks = [np.full((2, 3), i % 2, np.uint8) for i in range(40)]
    if change == "a pixel":
        pictures[7, 0, 1, 2] += 1
    elif change == "a mask":
        masks[8] = 1 - masks[8]
    elif change == "order":
        pictures[[3, 4]] = pictures[[4, 3]]
    return Held(pictures, masks)


def in_tensors(data):
    return TensorDataset(data.pictures, torch.from_numpy(np.stack(data.masks)))


WRAPPED = {
    "itself": lambda data: data,
    "a TensorDataset": in_tensors,
    "a list": lambda data: list(zip(data.pictures, data.masks)),
    "a Subset": lambda data: Subset(data, range(20)),
    "a ConcatDataset": lambda data: ConcatDataset([data, in_tensors(data)]),
    "another": lambda data: Held(data.pictures, data),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_digest_is_of_all_that_a_data_set_holds_however_it_is_augmented(wrap):
    one = wrap(held())
    same = digest(one)
    assert digest(wrap(held())) == same
    if isinstance(one, Held):
        one[0]  # what it counts, or draws, is no content
        assert digest(one) == same
    for change in ("a pixel", "a mask", "order"):
        assert digest(wrap(held(change))) != same, change


def test_a_digest_is_of_the_files_that_a_data_set_names_and_of_a_subset_s_choice(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        path.write_bytes(b"x")
    before = digest(Held(list(map(str, paths)), paths))
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in paths]
    assert digest(Held(list(map(str, moved)), moved)) == before
    moved[1].write_bytes(b"xy")
    assert digest(Held(list(map(str, moved)), moved)) != before
    assert digest(Subset(held(), [0, 1])) != digest(Subset(held(), [0, 2]))
    assert digest(Drawn(plus=(1, 0, 0))) != digest(Drawn())  # which holds nothing, and is looked at


def test_what_is_within_a_subset_has_its_sizes_and_is_told_the_epoch():
    class Sized(Held):
        sizes = tuple((2, 3 + i % 2) for i in range(40))

        def set_epoch(self, epoch):
            self.epoch = epoch

    one, other = (Sized(held().pictures, held().masks) for _ in range(2))
    assert sizes_of(Subset(one, [1, 2])) == [(2, 4), (2, 3)]
    assert sizes_of(ConcatDataset([one, Subset(other, [0])])) == [*Sized.sizes, (2, 3)]
    assert sizes_of(ConcatDataset([one, held()])) == sizes_of(held()) == []
    assert mixed_sizes(Subset(one, [0, 1]))
    assert not mixed_sizes(Subset(one, [0, 2]))
    set_epoch(ConcatDataset([one, Subset(other, [0])]), 7)
    assert one.epoch == other.epoch == 7
    one.sizes = 3
    with pytest.raises(ValueError, match="expected `sizes` of a data set to be a list"):
        sizes_of(one)


def test_masks_of_1_divided_by_255_are_refused():
    with pytest.raises(ValueError, match=r"expected masks of 0 and 1 in the data, got nothing above 1/255 .* multiply"):
        check_items(Items((image(), mask() / 255) for _ in range(3)), BinaryMetrics())
