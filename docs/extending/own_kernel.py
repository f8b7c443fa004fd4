"""The Tanimoto kernel of two vectors of counts: what they share over what either has."""

from mkfusion.kernels import FunctionKernel


class Tanimoto(FunctionKernel):
    """k(x, y) = (x'y + a) / (x'x + y'y - x'y + a).

    Parameters
    ----------
    smoothing : float, default=1.0
        a > 0, so that two vectors of zeros are alike and not 0 / 0.
    """

    unit_diagonal = True  # traits: what tests, pictures and estimators may rely on
    nonnegative_input = False
    positive_definite = True

    def __init__(self, smoothing=1.0):
        self.smoothing = smoothing

    def function(self, X, Y):
        """Return the matrix of shape (n_x, n_y) of arrays that were checked."""
        shared = X @ Y.T
        own = (X * X).sum(axis=1)[:, None] + (Y * Y).sum(axis=1)
        return (shared + self.smoothing) / (own - shared + self.smoothing)
