"""The Muon optimizer beside PyTorch's own (matrices only), the singular value decomposition, and Adam."""

import copy

import pytest
import torch
from torch import nn

from seglib.models.unet import UNet
from seglib.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(16, 144), (128, 64), (24, 24), (2, 9)])
def test_orthogonalize_keeps_the_singular_vectors_and_evens_out_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = matrix * torch.linspace(0.5, 2, shape[1], dtype=torch.float64)
    (found,) = orthogonalize([matrix])
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    in_its_basis = u.T @ found @ v.T
    diagonal = torch.diagonal(in_its_basis)
    assert torch.allclose(in_its_basis, torch.diag(diagonal), atol=1e-6)
    # Small values need more iterations than five, so the bound is for those that are not.
    large = values > 0.05 * torch.linalg.norm(values)
    assert ((diagonal[large] > 0.6) & (diagonal[large] < 1.2)).all()


def test_many_matrices_are_the_same_as_one_at_a_time():
    generator = torch.Generator().manual_seed(2)
    matrices = [torch.randn(shape, generator=generator) for shape in ((8, 72), (16, 72), (8, 36), (72, 8), (16, 16))]
    together = orthogonalize(matrices)
    for matrix, found in zip(matrices, together):
        assert found.shape == matrix.shape
        torch.testing.assert_close(found, orthogonalize([matrix])[0])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_kernel_moves_as_a_matrix_does_in_pytorchs_muon(layout, weight_decay):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(32, 8, 3, 3, generator=generator)
    kernel = nn.Parameter(start.clone(memory_format=layout))
    matrix = nn.Parameter(start.flatten(1).clone())
    ours = Muon([kernel], lr=0.1, weight_decay=weight_decay)
    theirs = torch.optim.Muon(
        [matrix], lr=0.1, weight_decay=weight_decay, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(4):
        gradient = torch.randn(start.shape, generator=generator)
        kernel.grad, matrix.grad = gradient.clone(memory_format=layout), gradient.flatten(1).clone()
        ours.step()
        theirs.step()
    moved = (matrix.detach() - start.flatten(1)).abs().max()
    assert moved > 0.05
    assert (kernel.detach().flatten(1) - matrix.detach()).abs().max() < 0.05 * moved  # theirs computes in bfloat16


def test_biases_norms_and_single_rows_are_adams():
    network = UNet(1, 1, [4, 8])
    twin = UNet(1, 1, [4, 8])
    twin.load_state_dict(network.state_dict())
    ours, adam = Muon(network.parameters(), lr=0.01), torch.optim.Adam(twin.parameters(), lr=0.01)
    for one, other in zip(network.parameters(), twin.parameters()):
        one.grad = torch.ones_like(one) * 0.3
        other.grad = one.grad.clone()
    ours.step()
    adam.step()
    theirs = dict(twin.named_parameters())
    for name, parameter in network.named_parameters():
        same = torch.allclose(parameter, theirs[name])
        assert same == (parameter.ndim == 1 or name == "head.weight"), name


def moves_as(reference, shape, weight_decay=0.1, betas=(0.7, 0.95)):
    """Whether Muon moves a parameter of this shape as the `reference` optimizer does, over three steps."""
    generator = torch.Generator().manual_seed(5)
    one = nn.Parameter(torch.randn(shape, generator=generator))
    other = nn.Parameter(one.detach().clone())
    optimizers = [
        cls([p], lr=0.1, betas=betas, weight_decay=weight_decay) for cls, p in ((Muon, one), (reference, other))
    ]
    for _ in range(3):
        one.grad = torch.randn(shape, generator=generator)
        other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    return torch.allclose(one, other)


def test_what_is_no_matrix_moves_as_with_adamw():
    for shape in ((5,), (1, 9), (1, 4, 3, 3)):
        assert moves_as(torch.optim.AdamW, shape)
        assert not moves_as(torch.optim.Adam, shape)  # which adds the decay to the gradient
    for shape in ((2, 9), (9, 2), (2, 1, 3, 3)):
        assert not moves_as(torch.optim.AdamW, shape)


def test_a_gradient_that_vanishes_gives_no_step_that_explodes():
    for size in (0.0, 1e-30, 1e-7):
        (found,) = orthogonalize([torch.eye(2, 3, dtype=torch.float64) * size / 2**0.5])
        assert found.abs().max() < 1.2


def test_the_state_of_an_interrupted_run_is_enough_to_go_on():
    torch.manual_seed(4)
    weights = [nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))]
    optimizer = Muon(weights, lr=0.05)
    gradients = [[torch.randn_like(p) for p in weights] for _ in range(4)]

    def steps(optimizer, parameters, which):
        for i in which:
            for parameter, gradient in zip(parameters, gradients[i]):
                parameter.grad = gradient.clone()
            optimizer.step()

    steps(optimizer, weights, [0, 1])
    copies = [nn.Parameter(p.detach().clone()) for p in weights]
    resumed = Muon(copies, lr=0.05)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(optimizer, weights, [2, 3])
    steps(resumed, copies, [2, 3])
    assert all(torch.equal(one, other) for one, other in zip(weights, copies))


def test_a_parameter_without_a_gradient_stays():
    weights = [nn.Parameter(torch.ones(4, 3, 3, 3)), nn.Parameter(torch.ones(4))]
    Muon(weights, lr=0.1, weight_decay=0.5).step()
    assert all(torch.equal(p, torch.ones_like(p)) for p in weights)


# --- as every optimizer of PyTorch's ---


def small():
    """A kernel, a bias and a layer's kernel of a single row, with a loss that pulls each of them to 3."""
    torch.manual_seed(6)
    weights = {"kernel": torch.randn(4, 3, 3, 3), "bias": torch.randn(4), "row": torch.randn(1, 4, 1, 1)}
    named = {name: nn.Parameter(tensor) for name, tensor in weights.items()}
    return named, lambda: sum(((p - 3) ** 2).sum() for p in named.values())


def stepped(optimizer, loss, times=3):
    for _ in range(times):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_closure_is_called_once_before_the_step_and_its_value_returned():
    (plain, loss), (closed, same_loss) = small(), small()
    stepped(Muon(plain.values(), lr=0.1, weight_decay=0.1), loss)
    optimizer, values = Muon(closed.values(), lr=0.1, weight_decay=0.1), []

    def closure():
        optimizer.zero_grad()
        value = same_loss()
        value.backward()
        values.append(value)
        return value

    returned = [optimizer.step(closure) for _ in range(3)]
    assert all(one is other for one, other in zip(returned, values, strict=True))
    assert equal(closed, plain)


def test_gradients_are_left_as_they_were():
    named, loss = small()
    optimizer = Muon(named.values(), lr=0.1)
    loss().backward()
    before = {name: parameter.grad.clone() for name, parameter in named.items()}
    optimizer.step()
    assert equal(before, {name: parameter.grad for name, parameter in named.items()})


def test_groups_have_options_of_their_own():
    """As two optimizers, each with the options of a group, would move them."""
    (together, loss), (apart, same_loss) = small(), small()
    one, other = {"lr": 0.1, "weight_decay": 0.2}, {"lr": 0.01, "betas": (0.5, 0.9)}
    kernel, *rest = together.values()
    optimizer = Muon([{"params": [kernel], **one}, {"params": rest, **other}], lr=1.0)
    stepped(optimizer, loss)
    single = Muon([apart["kernel"]], **one), Muon([apart["bias"], apart["row"]], **other)
    for _ in range(3):
        for optimizer in single:
            optimizer.zero_grad()
        same_loss().backward()
        for optimizer in single:
            optimizer.step()
    assert equal(together, apart)


@pytest.mark.parametrize("form", ["names", "groups of names", "one by one"])
def test_parameters_may_come_with_names_or_later(form):
    (plain, loss), (other, same_loss) = small(), small()
    stepped(Muon(plain.values(), lr=0.1), loss)
    if form == "one by one":
        optimizer = Muon([other["bias"]], lr=0.1)
        optimizer.add_param_group({"params": other["row"]})
        optimizer.add_param_group({"params": (p for p in [other["kernel"]])})
    else:
        optimizer = Muon(other.items() if form == "names" else [{"params": list(other.items())}], lr=0.1)
        names = [name for group in optimizer.param_groups for name in group["param_names"]]
        assert sorted(names) == ["bias", "kernel", "row"]
    stepped(optimizer, same_loss)
    assert equal(other, plain)
    again = Muon(small()[0].items() if form == "names" else [p for p in small()[0].values()], lr=0.1)
    if form != "one by one":
        again.load_state_dict(optimizer.state_dict())


def test_what_no_optimizer_takes():
    weight = nn.Parameter(torch.ones(4, 3))
    with pytest.raises(ValueError, match="empty parameter list"):
        Muon([], lr=0.1)
    with pytest.raises(TypeError, match="ordered collections"):
        Muon([{"params": {weight}}], lr=0.1)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        Muon([3], lr=0.1)
    for options in (
        {"lr": -1.0},
        {"lr": float("nan")},
        {"lr": 0.1, "betas": (1.0, 0.9)},
        {"lr": 1, "weight_decay": -1},
    ):
        with pytest.raises(ValueError, match="expected lr and weight_decay of at least 0"):
            Muon([weight], **options)


def test_hooks_are_called_once_a_step():
    torch.optim.Adam([nn.Parameter(torch.ones(1))])  # whose step PyTorch wraps when the first is made
    named, loss = small()
    optimizer, calls = Muon(named.values(), lr=0.1), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    stepped(optimizer, loss, times=1)
    assert calls == ["before", "after"]


def test_the_state_of_runs_from_before_it_was_an_optimizer_of_its_own_is_taken():
    """Then it was a kind of Adam, and kernels had a step count, which nothing asked for."""
    named, loss = small()
    optimizer = Muon(named.values(), lr=0.1)
    stepped(optimizer, loss)
    old = copy.deepcopy(optimizer.state_dict())
    for group in old["param_groups"]:
        group |= {"amsgrad": False, "maximize": False, "foreach": None, "capturable": False, "differentiable": False}
        group |= {"fused": None, "decoupled_weight_decay": True}
    old["state"][0]["step"] = torch.zeros(())
    twin, same_loss = small()
    with torch.no_grad():
        for name, parameter in named.items():
            twin[name].copy_(parameter)
    resumed = Muon(twin.values(), lr=0.5)
    resumed.load_state_dict(old)
    stepped(optimizer, loss)
    stepped(resumed, same_loss)
    assert equal(twin, named)
