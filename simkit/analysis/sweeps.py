"""Appendix F.3 of the paper: how layer identification depends on a parameter of the index, such as SVCCA's threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simkit.analysis.correspondence import LayerAccuracy, layer_accuracy
from simkit.errors import SpecError
from simkit.index import Index
from simkit.optional import needed_for
from simkit.plot import label
from simkit.plot.figures import axes_of
from simkit.registry import get_index

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True)
class Sweep:
    """Layer identification at several values of one parameter.

    Attributes
    ----------
    parameter : str
    values : tuple
        In the order given.
    results : tuple of LayerAccuracy
        One for each value.
    """

    parameter: str
    values: tuple[Any, ...]
    results: tuple[LayerAccuracy, ...]

    @property
    def accuracy(self) -> tuple[float, ...]:
        """Share of layers found, for each value."""
        return tuple(result.accuracy for result in self.results)

    @property
    def best(self) -> LayerAccuracy:
        """The result with the most layers found, the first of them."""
        return max(self.results, key=lambda result: result.accuracy)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each value."""
        with needed_for("to_pandas", "pandas", "simkit-similarity[labels]"):
            import pandas as pd

        columns = {"accuracy": self.accuracy, "standard_error": [result.standard_error for result in self.results]}
        return pd.DataFrame(columns, index=pd.Index(list(map(str, self.values)), name=self.parameter))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share of layers found against the parameter, with chance dotted."""
        ax = axes_of(ax, 4.4, 3.2)
        places = range(len(self.values))
        several = self.results[0].networks > 2
        errors = [result.standard_error for result in self.results] if several else None
        ax.errorbar(places, self.accuracy, yerr=errors, marker="o", capsize=3)
        ax.axhline(1 / len(self.results[0].layers), color="gray", ls=":", label="by chance")
        ax.set_xticks(list(places), [label(str(value)) for value in self.values])
        ax.set(xlabel=self.parameter, ylabel="layers found", ylim=(0, 1.02), title=get_index(self.results[0].index).name)
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax


def sweep(
    networks: Sequence[Mapping[str, Any]],
    index: str | Index[Any] = "svcca",
    *,
    symmetrise: bool = False,
    **values: Iterable[Any],
) -> Sweep:
    """Identify layers (section 6.1) at several values of one parameter.

    Parameters
    ----------
    networks : sequence of mappings of names to arrays (n, p)
        As in `layer_accuracy`.
    index : str or Index
        With the other parameters.
    symmetrise : bool
        Use S + S' for an asymmetric index.
    **values
        One parameter of the index, with the values to try: ``threshold=[0.9, 0.99]``, or
        ``kernel=["rbf(fraction=0.2)", "rbf(fraction=0.4)"]``.

    Returns
    -------
    Sweep

    Raises
    ------
    SpecError
        Not exactly one parameter, no values, or a value that the index refuses; before anything is computed.

    References
    ----------
    Kornblith et al. 2019, appendix F.3.
    """
    if len(values) != 1:
        raise SpecError(
            f"sweep varies one parameter of the index, given as a list of values; got {', '.join(values) or 'none'}."
        )
    ((parameter, tried),) = values.items()
    if isinstance(tried, str) or not isinstance(tried, Iterable):
        raise SpecError(f"sweep: {parameter}={tried!r}; expected a list of values.")
    tried = tuple(tried)
    if not tried:
        raise SpecError(f"sweep: {parameter} has no values to try.")
    indexes = [get_index(index, **{parameter: value}) for value in tried]
    return Sweep(parameter, tried, tuple(layer_accuracy(networks, chosen, symmetrise=symmetrise) for chosen in indexes))
