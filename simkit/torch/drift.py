"""Drift: how far the layers of a network have moved since another epoch of its training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from simkit.arrays import to_numpy
from simkit.comparison import pairwise
from simkit.errors import CheckpointError, InvalidArrayError, SpecError
from simkit.matrix import SimilarityMatrix
from simkit.registry import get_index
from simkit.text import shortened, shown
from simkit.torch.extraction import activations
from simkit.torch.randomness import same_randomness

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from simkit.index import Index

__all__ = ["Drift", "Reference"]

Reference: TypeAlias = Literal["first", "previous"] | int

_VERSION = 1


class Drift:
    """The similarity of each layer to itself at another epoch, on the same examples each time.

    Parameters
    ----------
    data : tensor, mapping of tensors, DataLoader or other iterable of batches
        The probe: some hundred examples, the same in the same order each time, as `simkit.torch.activations` takes them.
    index : str or Index
        As in `simkit.compare`. With fewer than some thousand examples ``"cka", estimator="unbiased"`` is the better choice.
    layers, pool
        As in `simkit.torch.activations`.
    reference : {"first", "previous"}, int, or a sequence of these
        The epoch that the others are compared with: the first that is recorded, the one before each, or one by its number.
        A table for each.
    across : bool
        Also compare each layer with every layer at the reference; see `matrix`.
    options : mapping, optional
        Further arguments of `simkit.torch.activations`, such as ``{"batch_size": 64}``.
    **parameters
        Parameters of the index, such as ``estimator="unbiased"``.

    Attributes
    ----------
    index : Index
    epochs : tuple of int
        What has been recorded, in order.
    layers : tuple of str
        Names of the layers, once something has been recorded.
    n : int
        Number of examples of the probe.

    Raises
    ------
    SpecError
        `reference` is none of those.
    UnknownNameError, SpecError, PluginError
        The index cannot be made; see `simkit.get_index`.

    Notes
    -----
    Recording changes nothing of a training: the modes of the modules, random numbers of Python, NumPy and PyTorch and the
    generator of a loader are as before. The activations of the reference epochs are kept in the memory of the host, and in
    `state_dict`: n times the widths of all layers, for "previous" of two epochs.

    Examples
    --------
    >>> import torch
    >>> from simkit.torch import Drift
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> drift = Drift(torch.randn(64, 4), "cka", estimator="unbiased")
    >>> for epoch in range(3):
    ...     _ = drift.record(model, epoch)  # after training it
    >>> drift.table()
    <SimilarityMatrix 3 x 3, cka(estimator=unbiased), n = 64>
    """

    def __init__(
        self,
        data: Any,
        index: str | Index[Any] | type[Index[Any]] = "cka",
        *,
        layers: Any = None,
        pool: Any = None,
        reference: Reference | Sequence[Reference] = "first",
        across: bool = False,
        options: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        self.data, self.index, self.across = data, get_index(index, **parameters), across
        given = {"layers": layers, "pool": pool}
        self._extraction: dict[str, Any] = {"progress": False}
        self._extraction |= {name: value for name, value in given.items() if value is not None} | dict(options or {})
        self.references = _references(reference)
        self.reset()

    def reset(self) -> None:
        """Forget everything that has been recorded."""
        self.epochs: tuple[int, ...] = ()
        self.layers: tuple[str, ...] = ()
        self.n = 0
        self._side: dict[str, Any] = {}
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[Reference, dict[int, _Row]] = {reference: {} for reference in self.references}

    # --- recording ----------------------------------------------------------------------------------------------------

    def record(self, model: nn.Module, epoch: int | None = None) -> dict[str, float]:
        """Take the activations of the probe, and compare them with those of the reference epochs.

        Parameters
        ----------
        model : Module
            The same network each time, in any mode.
        epoch : int, optional
            Its number; by default one more than the last, from 0 on. The last epoch again takes its own place.

        Returns
        -------
        dict of str to float
            The score of each layer and itself at the reference; of several references, the first. Empty where there is no
            reference yet.

        Raises
        ------
        InvalidArrayError
            An earlier epoch is recorded again, the layers or the examples are others than before, or there are too few.
        ExtractionError
            See `simkit.torch.activations`.

        Warns
        -----
        ConstantInputWarning
            A score is nan: a layer gives the same for all examples.
        """
        epoch = self._checked(epoch)
        with torch.inference_mode(False), same_randomness(self.data):  # Lightning validates in inference mode
            now = activations(model, self.data, **self._extraction)
        self._check_same(now, epoch)
        before = self.epochs[:-1] if self.epochs[-1:] == (epoch,) else self.epochs
        epochs = (*before, epoch)
        needed = self._needed(epochs)
        kept = {number: layers for number, layers in self._kept.items() if number in needed}
        if epoch in needed:
            kept[epoch] = {name: x.to("cpu", copy=True) for name, x in now.items()}
        found: dict[Reference, _Row] = {}
        for reference in self.references:
            other = _epoch_of(reference, epochs)
            if other in kept:
                found[reference] = self._compared(now, kept[other])
        # Nothing is changed before everything has been computed.
        self.epochs, self.layers, self.n = epochs, tuple(now), next(iter(now.values())).shape[0]
        self._side = now.details
        self._kept = kept
        for reference, row in found.items():
            self._rows[reference][epoch] = row
        return self.scores(epoch, self.references[0])

    def _checked(self, epoch: Any) -> int:
        if epoch is None:
            return self.epochs[-1] + 1 if self.epochs else 0
        if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer):
            raise InvalidArrayError(f"epoch is {shown(epoch)}; expected a whole number.")
        if epoch in self.epochs[:-1]:
            raise InvalidArrayError(
                f"Epoch {epoch} has been recorded, and {self.epochs[-1]} since. For another training make another Drift, or "
                "call reset()."
            )
        return int(epoch)

    def _check_same(self, now: Any, epoch: int) -> None:
        if not self.epochs:
            return
        if tuple(now) != self.layers:
            gone, new = ([name for name in a if name not in b] for a, b in ((self.layers, now), (now, self.layers)))
            raise InvalidArrayError(
                f"Epoch {epoch} has other layers than those before: {shown(gone)} are gone, {shown(new)} are new. A Drift "
                "is of one network, whose layers run in the same order each time."
            )
        seen = self._side.get("fingerprint")
        if seen is not None and now.fingerprint is not None and now.fingerprint != seen:
            raise InvalidArrayError(
                f"At epoch {epoch} the probe gave other examples, or in another order, than before. A loader for it must "
                "not shuffle or augment: shuffle=False; or give the examples as a tensor or as a list of batches."
            )

    def _compared(self, now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> _Row:
        if self.across:
            matrix = pairwise(now, {name: then[name].to(x.device) for name, x in now.items()}, self.index, progress=False)
            matrix = replace(matrix, values=matrix.to_numpy(), chance=_host(matrix.chance))
            return _Row(_diagonal(matrix.values), None if matrix.chance is None else _diagonal(matrix.chance), matrix)
        pairs = [
            pairwise({name: x}, {name: then[name].to(x.device)}, self.index, progress=False)  # whose messages name the layer
            for name, x in now.items()
        ]
        chance = [_host(pair.chance) for pair in pairs]
        known: Any = None if any(x is None for x in chance) else np.concatenate(chance)[:, 0]  # type: ignore[arg-type]
        return _Row(np.concatenate([pair.to_numpy() for pair in pairs])[:, 0], known, None)

    def _needed(self, epochs: Sequence[int]) -> set[int | None]:
        """The epochs of these whose activations the last and later ones are compared with."""
        needed: set[int | None] = set()
        for reference in self.references:
            if reference == "previous":  # of the last, which may be recorded again, and of the next
                needed |= set(epochs[-2:])
            else:
                needed.add(_epoch_of(reference, epochs))
        return needed

    # --- results ------------------------------------------------------------------------------------------------------

    def scores(self, epoch: int | None = None, reference: Reference | None = None) -> dict[str, float]:
        """The score of each layer at an epoch, by default the last; empty where the reference came later or not at all."""
        epoch = self.epochs[-1] if epoch is None and self.epochs else epoch
        row = self._rows[self._asked(reference)].get(epoch)  # type: ignore[arg-type]
        return {} if row is None else dict(zip(self.layers, row.values.tolist(), strict=True))

    def table(self, reference: Reference | None = None) -> SimilarityMatrix:
        """Epochs (rows) by layers (columns): the similarity of each layer to itself at the reference.

        Parameters
        ----------
        reference : optional
            Which, of several. Default: the first of them.

        Returns
        -------
        SimilarityMatrix
            On the host. Its rows are the epochs that have a score: with "previous" from the second on.

        Raises
        ------
        InvalidArrayError
            Nothing has been compared with this reference yet.
        """
        rows = self._compared_with(reference)
        chance = [row.chance for row in rows.values()]
        return SimilarityMatrix(
            np.stack([row.values for row in rows.values()]),
            tuple(map(str, rows)),
            self.layers,
            str(self.index),
            self.n,
            chance=None if any(x is None for x in chance) else np.stack(chance),  # type: ignore[arg-type]
            details={"columns": dict(self._side), "reference": self._asked(reference)},
        )

    def matrix(self, epoch: int | None = None, reference: Reference | None = None) -> SimilarityMatrix:
        """The layers at an epoch (rows) and the layers at the reference (columns); needs ``across=True``.

        Parameters
        ----------
        epoch : int, optional
            Default: the last.
        reference : optional
            As in `table`.

        Returns
        -------
        SimilarityMatrix

        Raises
        ------
        InvalidArrayError
            There is none: `across` is false, or the epoch has not been compared with this reference.
        """
        if not self.across:
            raise InvalidArrayError("Layers have been compared with themselves only: make the Drift with across=True.")
        rows = self._compared_with(reference)
        epoch = next(reversed(rows)) if epoch is None else epoch
        if epoch not in rows:
            raise InvalidArrayError(f"Epoch {epoch} has no scores; {_listed(rows)} have.")
        matrix = rows[epoch].matrix
        assert matrix is not None  # with `across` there is one
        return matrix

    def to_pandas(self, reference: Reference | None = None) -> pandas.DataFrame:
        """`table` as a DataFrame whose index is the epochs, as numbers."""
        frame = self.table(reference).to_pandas()
        frame.index = frame.index.astype(int)
        frame.index.name = "epoch"
        return frame

    def plot(self, ax: Axes | None = None, *, reference: Reference | None = None, **options: Any) -> Axes:
        """Draw `table` with matplotlib, layers downwards and epochs to the right; options: `simkit.plot.over_epochs`."""
        from simkit.plot import over_epochs

        return over_epochs(self.table(reference).T, ax, **options)

    def _compared_with(self, reference: Reference | None) -> dict[int, _Row]:
        rows = self._rows[self._asked(reference)]
        if not rows:
            there = f"recorded are {_listed(self.epochs)}" if self.epochs else "nothing has been recorded"
            raise InvalidArrayError(f"No epoch has been compared with {self._asked(reference)!r} yet: {there}.")
        return rows

    def _asked(self, reference: Reference | None) -> Reference:
        if reference is None:
            return self.references[0]
        if reference not in self.references:
            raise InvalidArrayError(f"reference={shown(reference)} was not asked for; there are {_listed(self.references)}.")
        return reference

    def __repr__(self) -> str:
        if not self.epochs:
            return f"<Drift of {self.index}: nothing recorded yet>"
        return f"<Drift of {self.index}: epochs {_listed(self.epochs)}, {len(self.layers)} layers, n = {self.n}>"

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What has been recorded, in tensors and plain values, which ``torch.load(weights_only=True)`` reads."""
        return {
            "version": _VERSION,
            "index": str(self.index),
            "references": list(self.references),
            "across": self.across,
            "epochs": list(self.epochs),
            "layers": list(self.layers),
            "n": self.n,
            "side": dict(self._side),
            "kept": {epoch: dict(layers) for epoch, layers in self._kept.items()},
            "rows": [{epoch: row.state_dict() for epoch, row in rows.items()} for rows in self._rows.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        CheckpointError
            It is of another index, of other references, of a newer version, or no state of a Drift.
        """
        version = state.get("version") if isinstance(state, Mapping) else None
        if not isinstance(version, int):
            raise CheckpointError(f"This is no state of a Drift: {shown(state)}.")
        if version > _VERSION:
            raise CheckpointError(f"This state of a Drift is of format {version}, and this simkit reads up to {_VERSION}.")
        for name, own in (
            ("index", str(self.index)),
            ("references", list(self.references)),
            ("across", self.across),
        ):
            if state.get(name) != own:
                raise CheckpointError(
                    f"The state was recorded with {name}={shown(state.get(name))}, and this Drift has {shown(own)}. Make it "
                    "with the same."
                )
        try:
            layers, n = tuple(state["layers"]), int(state["n"])
            rows = {
                reference: {epoch: _Row.of_state(each, layers, self.index, n) for epoch, each in found.items()}
                for reference, found in zip(self.references, state["rows"], strict=True)
            }
            kept = {int(epoch): dict(found) for epoch, found in state["kept"].items()}
            epochs, side = tuple(map(int, state["epochs"])), dict(state["side"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"This state of a Drift is damaged ({type(error).__name__}: {error}).") from error
        self.epochs, self.layers, self.n, self._side, self._kept, self._rows = epochs, layers, n, side, kept, rows


@dataclass(frozen=True, eq=False)
class _Row:
    """Scores of L layers with themselves at a reference, shape (L,), and of all pairs of them where they were asked for."""

    values: np.ndarray
    chance: np.ndarray | None
    matrix: SimilarityMatrix | None

    def state_dict(self) -> dict[str, Tensor]:
        arrays = {"values": self.values, "chance": self.chance}
        if self.matrix is not None:
            arrays |= {"all": self.matrix.values, "all_chance": self.matrix.chance}
        return {name: torch.tensor(x) for name, x in arrays.items() if x is not None}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], layers: tuple[str, ...], index: Index[Any], n: int) -> _Row:
        found = {name: x.numpy() for name, x in state.items()}
        for name, x in found.items():
            expected = (len(layers),) * (2 if name.startswith("all") else 1)
            if x.shape != expected:
                raise ValueError(f"{name} has shape {x.shape}; expected {expected}")
        matrix = None
        if "all" in found:
            matrix = SimilarityMatrix(found["all"], layers, layers, str(index), n, chance=found.get("all_chance"))
        return cls(found["values"], found.get("chance"), matrix)


def _references(given: Any) -> tuple[Reference, ...]:
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    wrong = [x for x in several if isinstance(x, bool) or not (isinstance(x, int) or x in ("first", "previous"))]
    if wrong or not several or len(set(several)) < len(several):
        raise SpecError(
            f'Drift: reference={shown(given)}; expected "first", "previous", the number of an epoch, or several different '
            "ones of these."
        )
    return several


def _epoch_of(reference: Reference, epochs: Sequence[int]) -> int | None:
    """The epoch that the last of `epochs` is compared with."""
    if reference == "first":
        return epochs[0]
    if reference == "previous":
        return epochs[-2] if len(epochs) > 1 else None
    return reference


def _diagonal(matrix: Any) -> np.ndarray:
    return np.diagonal(matrix).copy()


def _host(x: Any) -> np.ndarray | None:
    return None if x is None else to_numpy(x)


def _listed(names: Iterable[Any]) -> str:
    return shortened(", ".join(map(str, names)))
