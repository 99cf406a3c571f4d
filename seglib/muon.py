"""The Muon optimizer for convolution kernels: PyTorch's own takes matrices only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

# Of the odd polynomial aσ + bσ³ + cσ⁵ that, iterated, takes every singular value σ in (0, 1] close to 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Adam):
    """Momentum, orthogonalised: each step changes all directions of a kernel by the same amount.

    A kernel (C, C', k, k) is taken as the matrix (C, C'·k·k); the Nesterov momentum M of its gradient, with singular
    value decomposition UΣVᵀ, becomes about UVᵀ, and the step is 0.2 √max(rows, columns) · lr · UVᵀ, as large as one
    of Adam's (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the scale is that of Liu et al. 2025,
    arXiv 2502.16982). Biases, normalisation and kernels with a single row, which have no directions to balance, are
    Adam's.

    Args:
        params: parameters of the network.
        lr: learning rate, of both kinds.
        betas: of Adam; the first is Muon's momentum as well.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, betas=(0.9, 0.999), weight_decay: float = 0.0):
        groups = {True: [], False: []}
        for parameter in params:
            groups[parameter.ndim > 1 and min(_matrix(parameter).shape) > 1].append(parameter)
        groups = [{"params": found, "matrices": matrices} for matrices, found in groups.items() if found]
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay, decoupled_weight_decay=True)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            kernels = [p for p in group["params"] if p.grad is not None] if group["matrices"] else []
            updates = []
            for kernel in kernels:
                if not self.state[kernel]:
                    # Adam, when it loads a state, expects a step count in each.
                    self.state[kernel].update(step=torch.zeros(()), momentum=torch.zeros_like(kernel))
                momentum = self.state[kernel]["momentum"]
                momentum.lerp_(kernel.grad, 1 - group["betas"][0])
                updates.append(_matrix(kernel.grad.lerp(momentum, group["betas"][0])))
            for kernel, update in zip(kernels, orthogonalize(updates)):
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(update.view_as(kernel), alpha=-0.2 * max(update.shape) ** 0.5 * group["lr"])
                kernel.grad = None  # so that Adam leaves it alone
        return super().step(closure)


def orthogonalize(matrices: Sequence[Tensor]) -> list[Tensor]:
    """About UVᵀ of each matrix UΣVᵀ: float (rows, columns) → the same, all singular values between 0.6 and 1.2.

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
