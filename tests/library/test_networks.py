"""Networks from a library: their size, pictures of any shape, attention and dropout, and gradients."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import distributed, nn

from seglib import experiment, weights
from seglib.models.blocks import ConcurrentSqueezeExcitation, Normalize
from seglib.models.library import NETWORKS, EncoderUNet
from seglib.rows import load_row

REPORT = {"in_channels": 4, "attention": "scse"}
PARAMETERS = 10_103_645  # of the report's network
ENCODERS = ["efficientnet-b2", "tu-efficientnet_b2", "tu-mobilenetv3_large_100", "tu-resnet18"]


pytestmark = pytest.mark.usefixtures("one_thread")


def build(encoder="efficientnet-b2", seed=0, **options):
    torch.manual_seed(seed)
    return EncoderUNet(encoder, **REPORT | options).eval()


kept = cache(build)  # for tests that change nothing in it


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def picture(height, width, channels=4, count=1):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def dropouts(model):
    return [module for module in model.modules() if isinstance(module, nn.Dropout2d)]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_report_s_network_has_as_many_parameters_as_it_says(dropout):
    assert count(kept(dropout=dropout)) == PARAMETERS


def test_the_row_s_network_is_the_report_s():
    model = experiment.make_model(load_row("scribbles", "report"))
    assert count(model) == PARAMETERS
    assert isinstance(model[0], Normalize)
    assert model[0].mean.shape == (4,)
    assert [module.p for module in dropouts(model)] == [0.2] * 5
    plain = experiment.make_model(load_row("scribbles", "report", overrides={"model.normalize": False}))
    assert isinstance(plain, EncoderUNet)


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (33, 65), (64, 32), (7, 40), (31, 96)])
def test_logits_have_the_picture_s_size(size):
    found = kept(dropout=0.2)(picture(*size))
    assert found.shape == (1, 1, *size)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (33, 65), (40, 32), (64, 96)])
def test_a_picture_is_continued_by_its_edge_and_the_logits_cut(size):
    model, image = kept(), picture(*size)
    room = [(0, 0), (0, 0), *((0, -length % 32) for length in size)]
    padded = torch.from_numpy(np.pad(image.numpy(), room, mode="edge"))
    assert all(length % 32 == 0 for length in padded.shape[2:])
    torch.testing.assert_close(model(image), model.network(padded)[..., : size[0], : size[1]])


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other():
    model, images = kept(), picture(33, 65, count=2)
    for image, logits in zip(images, model(images)):
        torch.testing.assert_close(model(image[None])[0], logits, atol=1e-4, rtol=1e-4)


def test_attention_stands_before_and_after_the_convolutions_of_each_block():
    attended, plain = kept("tu-resnet18"), kept("tu-resnet18", attention=None)
    for block in attended.network.decoder.blocks:
        assert isinstance(block.attention1.attention, SCSEModule)
        assert isinstance(block.attention2.attention, SCSEModule)
    assert not any(isinstance(module, SCSEModule) for module in plain.modules())
    assert count(plain) < count(attended)


def test_dropout_drops_whole_channels_behind_every_decoder_block():
    assert dropouts(kept()) == []
    assert [module.p for module in dropouts(kept(dropout=0.3))] == [0.3] * 5
    blocks = kept(dropout=0.3).network.decoder.blocks
    assert all(len(dropouts(block)) == 1 for block in blocks)


@torch.no_grad()
def test_dropout_is_inactive_in_evaluation_and_active_in_training():
    image = picture(33, 64)
    dropped, plain = kept("tu-resnet18", dropout=0.5), kept("tu-resnet18")
    # The same weights under other names: what is behind the dropout is what there would be without it.
    renamed = {name.replace("attention2.0.", "attention2."): value for name, value in dropped.state_dict().items()}
    assert renamed.keys() == plain.state_dict().keys()
    without = build("tu-resnet18", seed=1)
    without.load_state_dict(renamed)
    expected = without(image)
    assert torch.equal(dropped(image), expected)
    seen = []
    handle = dropouts(dropped)[1].register_forward_hook(lambda module, inputs, output: seen.extend([*inputs, output]))
    try:
        for module in dropouts(dropped):
            module.train()
        assert not torch.equal(dropped(image), dropped(image))
    finally:
        handle.remove()
        dropped.eval()
    gone = (seen[1] == 0).flatten(2).all(2)
    assert 0.2 < gone.float().mean() < 0.8
    torch.testing.assert_close(seen[1], torch.where(gone[..., None, None], 0, 2 * seen[0]))
    assert torch.equal(dropped(image), expected)


# What the library builds and does not use: the last decoder block has no skip to attend to, and an EfficientNet's
# head is behind the features that are taken.
UNUSED = {"tu-resnet18": (), "efficientnet-b2": ("network.encoder._conv_head.", "network.encoder._bn1.")}


@pytest.mark.parametrize("encoder", UNUSED)
def test_gradients_reach_every_parameter_that_is_used(encoder):
    model = build(encoder, dropout=0.2)
    model.train()
    for module in dropouts(model):  # that nothing is left out at random
        module.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():  # timm's residual branches start at nothing
            nn.init.ones_(module.weight)
    images = picture(64, 96, count=3)
    loss = F.binary_cross_entropy_with_logits(model(images), (images[:, :1] > 0.7).float())
    loss.backward()
    unused = ("network.decoder.blocks.4.attention1.", *UNUSED[encoder])
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(unused), name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
        if parameter.grad is not None and ".cSE." not in name:  # whose few hidden units may start dead
            assert parameter.grad.any(), name
    first = next(parameter for parameter in model.network.encoder.parameters() if parameter.ndim == 4)
    assert first.grad[:, 3].any()  # from the strokes, the fourth channel, as well


def test_it_can_be_trained_by_several_processes(tmp_path):
    """One process of its kind is enough to see whether the others' gradients would be waited for."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(build("tu-resnet18").train())
        for _ in range(2):
            model(picture(32, 64, count=2)).sum().backward()
    finally:
        distributed.destroy_process_group()


@torch.no_grad()
def test_half_precision_does_what_float32_does():
    model, image = kept("tu-resnet18"), picture(33, 65)
    expected = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(image.to(memory_format=torch.channels_last))
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().mean() < 0.05 * expected.std() + 0.01


def check_round_trip(path, image, saved, loaded):
    """What `saved` says, `loaded` says too once it has its weights from a file, and not before."""
    for name, tensor in saved.state_dict().items():  # running statistics that are not the initial ones
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    assert not torch.equal(saved(image), loaded(image))
    weights.save(saved, path)
    weights.load(loaded, path)
    assert torch.equal(saved(image), loaded(image))


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["efficientnet-b2", "tu-resnet18"])
def test_weights_are_what_a_file_keeps(tmp_path, encoder):
    saved, loaded = build(encoder, dropout=0.2), build(encoder, seed=1, dropout=0.2)
    check_round_trip(tmp_path / "model.safetensors", picture(33, 65), saved, loaded)
    with pytest.raises(weights.WeightsError, match=r"holds the weights of another network"):
        weights.load(kept(encoder), tmp_path / "model.safetensors")  # the one without dropout


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("attention", ["scse", None])
def test_every_encoder_builds(encoder, attention):
    model = kept(encoder, attention=attention)
    assert model(picture(33, 65)).shape == (1, 1, 33, 65)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_batch_norms_forget_a_tenth_a_step(encoder):
    norms = [module for module in kept(encoder).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 20
    assert {module.momentum for module in norms} == {0.1}


@torch.no_grad()
def test_after_sixty_steps_a_batch_norm_knows_its_inputs():
    """At a hundredth a step, its statistics would still be for the greater part those of the start."""
    model = build().train()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for seed in range(60):
        model(1 + torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(seed)))
    inputs = torch.cat(seen).transpose(0, 1).flatten(1)
    assert inputs.mean(1).abs().max() > 0.2  # they are not at the start's 0 and 1 anyway
    assert inputs.var(1).max() < 0.5
    torch.testing.assert_close(norm.running_mean, inputs.mean(1), rtol=0.05, atol=0.01)
    torch.testing.assert_close(norm.running_var, inputs.var(1), rtol=0.2, atol=0.01)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_number_of_channels(channels):
    model = build("tu-resnet18", in_channels=channels)
    assert model(picture(32, 64, channels)).shape == (1, 1, 32, 64)


def test_weights_are_drawn_from_torch_s_seed():
    """And not fetched from anywhere."""
    one, same, other = (build("tu-resnet18", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("channels", [128, 160, 256])
def test_our_scse_is_the_library_s(channels):
    theirs = SCSEModule(channels).double()
    ours = ConcurrentSqueezeExcitation(channels).double()
    ours.channels.excite.load_state_dict(theirs.cSE.state_dict())
    ours.places.load_state_dict(theirs.sSE.state_dict())
    x = torch.randn(2, channels, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(ours(x), theirs(x))


def test_our_scse_is_the_paper_s_formula():
    module = ConcurrentSqueezeExcitation(3).double()
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    (squeeze, excite), (place,) = (
        [part for part in half.modules() if isinstance(part, nn.Conv2d)] for half in module.children()
    )
    hidden = (x.mean((2, 3)) @ squeeze.weight[..., 0, 0].T + squeeze.bias).clamp(min=0)
    channels = torch.sigmoid(hidden @ excite.weight[..., 0, 0].T + excite.bias)
    places = torch.sigmoid((x * place.weight).sum(1, keepdim=True) + place.bias)
    torch.testing.assert_close(module(x), channels[..., None, None] * x + places * x)


# --- networks for classes ---


CLASSES = {"deeplabv3-plus": (12_324_053, 16), "segformer": (3_712_293, 32)}  # parameters, and what sizes are padded to


FOR_CLASSES = [name for name in NETWORKS if name != "encoder-unet"]  # which is for one object


def build_classes(name, seed=0, channels=1, classes=5):
    torch.manual_seed(seed)
    return NETWORKS[name](channels, classes).eval()


kept_classes = cache(build_classes)  # for tests that change nothing in it


def test_every_network_for_classes_is_tested():
    assert set(CLASSES) == set(FOR_CLASSES)


@pytest.mark.parametrize("name", FOR_CLASSES)
def test_networks_for_classes_have_as_many_parameters_as_they_say(name):
    expected = CLASSES[name][0]
    assert count(kept_classes(name)) == expected
    assert all(parameter.requires_grad for parameter in kept_classes(name).parameters())
    model = experiment.make_model(load_row("mars_terrain", name))
    assert count(model) == expected
    assert isinstance(model[0], Normalize)
    assert model[1].in_channels == 1
    assert isinstance(model[1], NETWORKS[name])


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 65), (64, 32), (31, 96)])
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_logits_for_classes_have_the_picture_s_size(name, size):
    """Of the picture continued by its edge, cut."""
    model, image = kept_classes(name), picture(*size, channels=1)
    found = model(image)
    assert found.shape == (1, 5, *size)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    room = [(0, 0), (0, 0), *((0, -length % CLASSES[name][1]) for length in size)]
    padded = torch.from_numpy(np.pad(image.numpy(), room, mode="edge"))
    torch.testing.assert_close(found, model.network(padded)[..., : size[0], : size[1]])


@torch.no_grad()
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_images_of_a_batch_are_classified_alone_in_use(name):
    model, images = kept_classes(name), picture(33, 65, channels=1, count=3)
    for image, logits in zip(images, model(images)):
        torch.testing.assert_close(model(image[None])[0], logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("channels", "classes"), [(1, 5), (3, 1), (4, 2)])
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_any_number_of_channels_and_classes(name, channels, classes):
    model = build_classes(name, channels=channels, classes=classes)
    with torch.no_grad():
        assert model(picture(32, 64, channels)).shape == (1, classes, 32, 64)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_gradients_reach_every_parameter_of_networks_for_classes(name, images):
    model = build_classes(name).train()
    for module in model.modules():  # that nothing is left out at random
        if isinstance(module, nn.Dropout | nn.Dropout2d) or type(module).__name__ == "DropPath":
            module.eval()
    logits = model(picture(64, 96, channels=1, count=images))
    assert logits.shape == (images, 5, 64, 96)
    (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    still = [n for n, p in model.named_parameters() if p.ndim == 4 and not p.grad.any()]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    # DeepLabV3+ normalises its pooled branch over the images: of one alone, that says nothing, and nothing is learnt.
    pooled = [n for n, module in model.named_modules() if type(module).__name__ == "ASPPPooling"]
    assert len(pooled) == (name == "deeplabv3-plus")
    assert all(n.startswith(tuple(pooled)) for n in still) if images == 1 else not still


# Of a picture that is a single pixel at the encoder's end, batch normalisation has nothing to divide by.
@pytest.mark.parametrize("size", [(17, 40), (40, 33)])
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_a_batch_of_one_trains(name, size):
    model, image = build_classes(name).train(), picture(*size, channels=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for _ in range(2):
        optimizer.zero_grad()
        logits = model(image)
        assert logits.shape == (1, 5, *size)
        F.cross_entropy(logits, torch.full((1, *size), 2)).backward()
        optimizer.step()
    state = model.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert any(not torch.equal(tensor, before[key]) for key, tensor in state.items() if key.endswith("weight"))
    with torch.no_grad():
        assert torch.isfinite(model.eval()(image)).all()


@pytest.mark.parametrize("size", [(1, 1), (9, 5), (16, 16)])
def test_deeplab_is_not_trained_with_a_single_picture_of_one_cell(size):
    """Doubled, it would pass for a batch whose values are all the same: gradients of 1e15, and NaN a step later."""
    model, image = build_classes("deeplabv3-plus"), picture(*size, channels=1)
    with torch.no_grad():
        assert model(image).isfinite().all()
    before = {key: tensor.clone() for key, tensor in model.train().state_dict().items()}
    with pytest.raises(ValueError, match=rf"expected .* more than 16 pixels .* got one of {size[0]}×{size[1]}$"):
        model(image)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model(picture(*size, channels=1, count=2)).shape == (2, 5, *size)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_networks_for_classes_learn(name):
    """Which half of a picture is bright: after a few steps the loss is a fraction of what it was."""
    model = build_classes(name).train()
    images = torch.zeros(4, 1, 32, 64)
    images[..., 32:] = 1
    labels = images[:, 0].long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(images), labels))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


@torch.no_grad()
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_weights_of_networks_for_classes_are_what_a_file_keeps(tmp_path, name):
    image, saved, loaded = picture(33, 65, channels=1), build_classes(name), build_classes(name, seed=1)
    check_round_trip(tmp_path / "model.safetensors", image, saved, loaded)
    other = build_classes(name)
    other.load_state_dict(saved.state_dict())
    assert torch.equal(saved(image), other(image))
    with pytest.raises(weights.WeightsError, match=r"holds the weights of another network"):
        weights.load(build_classes(name, classes=4), tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", FOR_CLASSES)
def test_networks_for_classes_are_drawn_from_torch_s_seed(name):
    one, same, other = (build_classes(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@torch.no_grad()
@pytest.mark.parametrize("name", FOR_CLASSES)
def test_networks_for_classes_in_half_precision(name):
    model, image = kept_classes(name), picture(33, 65, channels=1)
    expected = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(image.to(memory_format=torch.channels_last))
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().mean() < 0.05 * expected.std() + 0.01
