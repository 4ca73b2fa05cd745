"""Section 6.4 of the paper: what one representational similarity matrix does to the eigenvectors of the other (Figure 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import as_pair, is_lazy, namespace_of, rounding_of, to_numpy, varies
from simkit.arrays.modes import own_modes
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.linalg import compact
from simkit.optional import needed_for
from simkit.plot import shared_subspace as draw
from simkit.representation import Representation

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["OF_EIGENVECTORS", "SharedSubspace", "shared_subspace"]

OF_EIGENVECTORS = ("eigenvalues", "scaling", "cosines", "contributions")  # what there is one of for each


@dataclass(frozen=True, eq=False)
class SharedSubspace:
    """The action of YY' on the eigenvectors u_i of XX', in the order of their eigenvalues.

    Attributes
    ----------
    eigenvalues : ndarray, shape (r,)
        lambda_i of XX' / |XX'|, descending; r is the rank of X.
    scaling : ndarray, shape (r,)
        |YY'u_i| / |YY'|. Equal to `eigenvalues` if YY' is proportional to XX'.
    cosines : ndarray, shape (r,)
        Cosine of the angle between u_i and YY'u_i, in [0, 1]: 1 if u_i is an eigenvector of YY' as well; 0 where YY'u_i = 0.
    contributions : ndarray, shape (r,)
        lambda_i u_i'YY'u_i / (|XX'| |YY'|): what each eigenvector adds to linear CKA (equation 14).
    n : int
        Number of examples.
    """

    eigenvalues: np.ndarray
    scaling: np.ndarray
    cosines: np.ndarray
    contributions: np.ndarray
    n: int

    @property
    def cka(self) -> float:
        """Linear CKA, the sum of the contributions."""
        return float(np.sum(self.contributions))

    @property
    def effective_rank(self) -> float:
        """Participation ratio of the contributions, (sum c)^2 / sum c^2: how many directions the two share, from 1 to r.

        It is k where k directions contribute alike and the others nothing.
        """
        squares = float(np.sum(self.contributions**2))
        return self.cka**2 / squares if squares else 0.0

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each eigenvector."""
        with needed_for("to_pandas", "pandas", "simkit-similarity[labels]"):
            import pandas as pd

        columns = {name: getattr(self, name) for name in OF_EIGENVECTORS}
        return pd.DataFrame(columns, index=pd.RangeIndex(1, len(self.eigenvalues) + 1, name="eigenvector"))

    def plot(self, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
        """Draw Figure 8: scaling beside eigenvalues on the left, the cosine of the rotation on the right.

        See `simkit.plot.shared_subspace`.
        """
        ((left, right),) = draw(self, axes)
        return left, right

    def __str__(self) -> str:
        return f"linear CKA {self.cka:.4g} shared by {self.effective_rank:.3g} of {len(self.eigenvalues)} directions"


def shared_subspace(X: Any, Y: Any, *, flatten: bool = False) -> SharedSubspace:
    """How alike XX' and YY' act on the eigenvectors of XX' (section 6.4, Figure 8), and how many directions they share.

    Linear CKA is one number, sum_i lambda_i u_i'YY'u_i / (|XX'| |YY'|) over the eigenvectors u_i of XX' (equation 14). Here
    are its terms: where YY'u_i is about as long as XX'u_i and points the same way, the two share that direction.

    Parameters
    ----------
    X, Y : array, shapes (n, p1) and (n, p2)
        As in `simkit.compare`; columns are centred. Swapping them gives another view of the same CKA.
    flatten
        As in `simkit.compare`.

    Returns
    -------
    SharedSubspace
        NumPy arrays. No n x n matrix is made: YY'u = Y(Y'u).

    Raises
    ------
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    References
    ----------
    Kornblith et al. 2019, section 6.4 and equation 14.

    Examples
    --------
    >>> import numpy as np
    >>> from simkit.analysis import shared_subspace
    >>> X = np.random.default_rng(0).standard_normal((100, 5)) * [9, 8, 7, 0.1, 0.1]
    >>> print(shared_subspace(X, X[:, :3] @ np.diag([1, 1, 0])))
    linear CKA 0.9216 shared by 1.97 of 5 directions
    """
    x, y = as_pair(X, Y, flatten=flatten)
    for layer, name in ((x, "X"), (y, "Y")):
        if is_lazy(layer):
            raise NeedsAllExamplesError(f"{name} is lazy; the shared subspace needs its values: pass {name}.compute().")
        if not varies(layer):
            raise InvalidArrayError(f"{name} is constant: all its examples are the same, so it has no eigenvectors.")
    xp = namespace_of(x, y)
    with own_modes(x):
        first = Representation(x, name="X", rounding=rounding_of(X), xp=xp)
        a, b = compact(first.precise, xp), compact(Representation(y, name="Y", rounding=rounding_of(Y), xp=xp).precise, xp)
        u, s, _ = xp.linalg.svd(a, full_matrices=False)
        turned = b @ (b.mT @ u)
        along, lengths = xp.sum(u * turned, axis=0), xp.sqrt(xp.sum(turned**2, axis=0))
        whole, rank = float(xp.linalg.matrix_norm(b.mT @ b)), int(first.basis.rank)
    spectrum = to_numpy(s).astype(np.float64) ** 2
    kept = np.arange(len(spectrum)) < rank
    eigenvalues = (spectrum / np.linalg.norm(spectrum))[kept]
    projected, scaling = (to_numpy(v).astype(np.float64)[kept] / whole for v in (along, lengths))
    present = scaling > np.finfo(np.float64).eps * scaling.max()
    cosines = np.where(present, projected / np.where(present, scaling, 1.0), 0.0)
    return SharedSubspace(eigenvalues, scaling, np.clip(cosines, 0.0, 1.0), eigenvalues * projected, x.shape[0])
