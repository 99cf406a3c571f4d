"""The Muon optimizer for convolution kernels: PyTorch's own takes matrices only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["Muon", "orthogonalize"]

# Of the odd polynomial aσ + bσ³ + cσ⁵ that, iterated, takes every singular value σ in (0, 1] close to 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: each step changes all directions of a kernel by the same amount.

    A kernel (C, C', k, k) is taken as the matrix (C, C'·k·k); the Nesterov momentum M of its gradient, with singular
    value decomposition UΣVᵀ, becomes about UVᵀ, and the step is 0.2 √max(rows, columns) · lr · UVᵀ, as large as one
    of Adam's (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the scale is that of Liu et al. 2025,
    arXiv 2502.16982). Biases, normalisation and kernels with a single row, which have no directions to balance, are
    Adam's.

    Args:
        params: parameters of the network, or with their names, or groups of them with options of their own, as every
            optimizer takes them. Each group becomes up to two in `param_groups`: its matrices, and what is Adam's.
        lr: learning rate, of both kinds.
        betas: of Adam; the first is Muon's momentum as well.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: no parameters, or an option out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        if not (lr >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                "expected lr and weight_decay of at least 0 and betas in [0, 1), got "
                f"lr {lr}, weight_decay {weight_decay}, betas {betas}"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own: as two groups, where there are matrices and others."""
        params = param_group["params"]
        if isinstance(params, set):
            return super().add_param_group(param_group)  # which refuses it: a set has no order
        entries = [params] if isinstance(params, Tensor) else list(params)
        for matrices in (True, False):
            found = [entry for entry in entries if _is_matrix(entry) == matrices]
            if found:
                super().add_param_group({**param_group, "params": found, "matrices": matrices})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves every parameter that has a gradient; returns what `closure` does, which is called first and computes
        them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            step = self._step_matrices if group["matrices"] else self._step_others
            step(moved, [p.grad for p in moved], group)
        return loss

    def _step_matrices(self, kernels: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        updates = []
        for kernel, gradient in zip(kernels, gradients):
            state = self.state[kernel]
            if not state:
                state["momentum"] = torch.zeros_like(kernel)
            momentum = state["momentum"]
            momentum.lerp_(gradient, 1 - group["betas"][0])
            updates.append(_matrix(gradient.lerp(momentum, group["betas"][0])))
        for kernel, update in zip(kernels, orthogonalize(updates)):
            kernel.mul_(1 - group["lr"] * group["weight_decay"])
            kernel.add_(update.view_as(kernel), alpha=-0.2 * max(update.shape) ** 0.5 * group["lr"])

    def _step_others(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states):
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],  # of AMSGrad
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: Sequence[Tensor]) -> list[Tensor]:
    """About UVᵀ of each matrix UΣVᵀ: float (rows, columns) → the same, with singular values between 0.6 and 1.2 where
    they were above a thousandth or so of the matrix's norm; smaller ones stay smaller.

    Each iteration multiplies from the left by a polynomial in MMᵀ, so all but the last product are between small
    square matrices; those of one size, from all layers, are multiplied together. In float32: where a singular value is
    near 0 the product reaches 3.4⁵, and rounded to half precision it would bend the other directions.
    """
    wide = [matrix.T if len(matrix) > matrix.shape[1] else matrix for matrix in matrices]
    wide = [matrix / (torch.linalg.matrix_norm(matrix) + 1e-7) for matrix in wide]
    same_size = defaultdict(list)
    for i, matrix in enumerate(wide):
        same_size[len(matrix)].append(i)
    result = list(matrices)
    a, b, c = COEFFICIENTS
    for size, indices in same_size.items():
        gram = torch.stack([wide[i] @ wide[i].T for i in indices])
        identity = torch.eye(size, device=gram.device, dtype=gram.dtype)
        product = identity.expand_as(gram)
        for _ in range(ITERATIONS):
            polynomial = a * identity + b * gram + c * gram @ gram
            product = polynomial @ product
            gram = polynomial @ gram @ polynomial
        for factor, i in zip(product, indices):
            orthogonal = factor @ wide[i]
            result[i] = orthogonal.T if len(matrices[i]) > matrices[i].shape[1] else orthogonal
    return result


def _matrix(kernel: Tensor) -> Tensor:
    """(C, C', …) → (C, C'·…)"""
    return kernel.flatten(1)


def _is_matrix(entry: Tensor | tuple[str, Tensor]) -> bool:
    """Whether a parameter, or one with its name, has directions to balance."""
    parameter = entry[1] if isinstance(entry, tuple) else entry
    return isinstance(parameter, Tensor) and parameter.ndim > 1 and min(_matrix(parameter).shape) > 1
