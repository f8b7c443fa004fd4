"""What the decomposition of information is by its definition, slowly."""

import numpy as np


def mutual_information(joint):
    """I(Y; X) in bits, of a table with the states of X as rows and those of Y as columns."""
    total = 0.0
    for x in range(joint.shape[0]):
        for y in range(joint.shape[1]):
            if joint[x, y] > 0:
                independent = joint[x].sum() * joint[:, y].sum()
                total += joint[x, y] * np.log2(joint[x, y] / independent)
    return total


def decomposition_on_a_grid(p, n_points=401):
    """The parts of a 2 x 2 x 2 distribution: all others with its marginals are on a grid.

    For each class y one number is free: q(0, 0, y) fixes the other three cells.
    """
    first, second = p.sum(axis=1), p.sum(axis=0)
    least = np.inf
    ranges = [
        np.linspace(
            max(0.0, first[0, y] + second[0, y] - first[:, y].sum()),
            min(first[0, y], second[0, y]),
            n_points,
        )
        for y in range(2)
    ]
    q00 = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)  # shape: (points, points, class)
    q = np.stack([q00, first[0] - q00, second[0] - q00, first[1] - second[0] + q00], axis=2).clip(
        0
    )
    both = q.sum(axis=3, keepdims=True)
    ratio = np.divide(q, both * first.sum(axis=0), out=np.ones_like(q), where=q > 0)
    least = (q * np.log2(ratio)).sum(axis=(2, 3)).min()
    total = mutual_information(p.reshape(4, 2))
    by_first, by_second = mutual_information(first), mutual_information(second)
    return by_first + by_second - least, least - by_second, least - by_first, total - least
