"""Random permeability fields, and the finite-volume solution of Darcy's equation on them.

    -div(a grad u) = f on the unit square, u = 0 on its border

Values stand at the nodes `i / (n - 1)` of an n x n grid, border included. Every inner node has a cell of its own in
which the permeability is constant; the flow between two cells meets their harmonic mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["random_permeability", "solve_darcy"]

MODES = 64  # cosines of each axis in a random field; what is left out has less than a thousandth of the variance
INVERSE_LENGTH = 3.0  # tau: the covariance is (-Laplacian + tau^2)^-2
HIGH, LOW = 12.0, 3.0  # where the Gaussian field is positive, and where it is negative

Field = np.ndarray[Any, np.dtype[np.float64]]


def random_permeability(nodes: int, draw: torch.Generator) -> Field:
    """A piecewise constant field `(nodes, nodes)`: 12 where a Gaussian random field is positive, 3 where negative.

    The Gaussian field has the covariance `(-Laplacian + 9)^-2` with zero Neumann conditions, without its constant mode,
    so that both values occur in almost every field. One generator gives the same field at any number of nodes.

    Source: Li et al. 2020, "Fourier neural operator for parametric partial differential equations"
    (arXiv 2010.08895), A.3.
    """
    import torch

    wave = np.pi * np.arange(MODES)
    deviation = 1 / (wave[:, None] ** 2 + wave[None, :] ** 2 + INVERSE_LENGTH**2)
    deviation[0, 0] = 0.0
    amplitudes = torch.randn(MODES, MODES, generator=draw, dtype=torch.float64).numpy() * deviation
    cosines = np.cos(np.linspace(0, 1, nodes)[:, None] * wave)
    cosines[:, 1:] *= np.sqrt(2)  # of unit norm on [0, 1]
    return np.where(cosines @ amplitudes @ cosines.T >= 0, HIGH, LOW)


def solve_darcy(permeability: Field, force: Field | float = 1.0) -> Field:
    """The pressure `(n, n)` at the nodes; zero on the border.

    Args:
        permeability: `(n, n)`, positive, n at least 3.
        force: the right-hand side at the nodes, or one number for all.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    nodes = len(permeability)
    inner = nodes - 2
    down = _harmonic(permeability[:-1, 1:-1], permeability[1:, 1:-1])  # between rows: (n - 1, n - 2)
    right = _harmonic(permeability[1:-1, :-1], permeability[1:-1, 1:])  # between columns: (n - 2, n - 1)
    own = down[:-1] + down[1:] + right[:, :-1] + right[:, 1:]
    beside = right[:, 1:].copy()
    beside[:, -1] = 0  # the next entry stands in another row
    side, below = -beside.ravel()[:-1], -down[1:-1].ravel()
    matrix = diags([below, side, own.ravel(), side, below], [-inner, -1, 0, 1, inner], format="csc")
    load = np.broadcast_to(np.asarray(force, np.float64), (nodes, nodes))[1:-1, 1:-1].ravel() / (nodes - 1) ** 2
    options = {"SymmetricMode": True}
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    pressure = np.zeros((nodes, nodes))
    pressure[1:-1, 1:-1] = factors.solve(load).reshape(inner, inner)
    return pressure


def _harmonic(first: Field, second: Field) -> Field:
    mean: Field = 2 * first * second / (first + second)
    return mean
