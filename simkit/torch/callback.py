"""Drift over the epochs of a training with Lightning, logged and kept in checkpoints."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simkit.errors import SpecError
from simkit.spec import check_choice
from simkit.text import shown
from simkit.torch.drift import Drift, Reference

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from torch import nn

    from simkit.index import Index

__all__ = ["DriftCallback", "Moment"]

Moment: TypeAlias = Literal["auto", "validation", "train"]


def _bases() -> tuple[type, ...]:
    """The classes of callbacks of the Lightning that the program uses; there are two distributions of the same."""
    names = ("lightning.pytorch", "pytorch_lightning")
    used = [module for module in map(sys.modules.get, names) if module is not None]
    for name in names if not used else ():
        try:
            used = [importlib.import_module(name)]
            break
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    if not used:
        raise ImportError('DriftCallback needs Lightning: pip install "simkit-similarity[lightning]"')
    return tuple(module.Callback for module in used)


class DriftCallback(*_bases()):  # type: ignore[misc]
    """A callback of Lightning that records the drift of layers at the end of each epoch: see `simkit.torch.Drift`.

    Parameters
    ----------
    data, index, layers, pool, reference, across, options
        As in `simkit.torch.Drift`. Each process runs the whole probe, so that all hold the same table: a loader needs no
        sampler that deals its examples out.
    on : {"auto", "validation", "train"}
        At the end of the validation of an epoch, or of the epoch itself; "auto" is the former where there is a validation.
        Checkpoints that are written after a validation hold the epoch's row in the former case only. Several validations
        in one epoch count as one, the last.
    every : int
        Record every so many epochs: 0, `every`, 2 `every`, ...
    before_training : bool
        Record the network as it is before the first step too, as epoch -1, to which ``reference="first"`` then refers.
    module : str, optional
        The part of the LightningModule that is run on the probe, such as ``"encoder"``; names of layers are then those
        within it. Default: the LightningModule itself, whose ``forward`` must take the probe.
    log : bool
        Log the scores as ``{prefix}/{layer}``; with several references as ``{prefix}/{reference}/{layer}``.
    prefix : str
        Also tells two such callbacks in one training apart.
    **parameters
        Parameters of the index.

    Attributes
    ----------
    drift : Drift
        What has been recorded, with `Drift.table`, `Drift.matrix`, `Drift.to_pandas` and `Drift.plot`.

    Raises
    ------
    ImportError
        Neither lightning nor pytorch_lightning is installed.
    SpecError
        A parameter is out of range.

    Notes
    -----
    A training with this callback has the same weights, up to the last bit, as one without. The state is in the checkpoints
    of Lightning, with the activations of the reference epochs, so that a training that is resumed goes on. ``Trainer.fit``
    without a checkpoint begins anew, unless it continues a training at a later epoch.

    Examples
    --------
    >>> import lightning, simkit.torch  # doctest: +SKIP
    >>> drift = simkit.torch.DriftCallback(probe, "cka", estimator="unbiased", layers="encoder.*")  # doctest: +SKIP
    >>> lightning.Trainer(callbacks=[drift]).fit(model, loader)  # doctest: +SKIP
    >>> drift.to_pandas()  # doctest: +SKIP
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
        on: Moment = "auto",
        every: int = 1,
        before_training: bool = False,
        module: str | None = None,
        log: bool = True,
        prefix: str = "drift",
        **parameters: Any,
    ) -> None:
        super().__init__()
        check_choice("DriftCallback", "on", on, ("auto", "validation", "train"))
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise SpecError(f"DriftCallback: every={shown(every)}; expected a whole number of epochs from 1 on.")
        self.drift = Drift(
            data, index, layers=layers, pool=pool, reference=reference, across=across, options=options, **parameters
        )
        self.on, self.every, self.before_training, self.module = on, every, before_training, module
        self.prefix = prefix
        self._logs = log  # Lightning puts the method of the model at the name of `log`
        self._resumed = False

    @property
    def state_key(self) -> str:
        """What tells the states of several callbacks in a checkpoint apart."""
        return f"simkit.torch.DriftCallback({self.prefix!r}, {str(self.drift.index)!r}, {self.module!r})"

    # --- what Lightning calls -----------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew, unless this goes on with what has been recorded."""
        self._part(pl_module)  # an error before any work
        if self.on == "validation" and not trainer.enable_validation:
            raise SpecError(
                'DriftCallback: on="validation", and this Trainer has no validation. Give it a loader for validation, or '
                'take on="train".'
            )
        if not self._resumed and self.drift.epochs and trainer.current_epoch <= self.drift.epochs[-1]:
            self.drift.reset()
        self._resumed = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the network before the first step, if that is wanted."""
        if self.before_training and not self.drift.epochs and trainer.current_epoch == 0:
            self._record(trainer, pl_module, -1, log=False)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record."""
        if self.on != "train" and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._record_if_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record, where there is no validation."""
        if self.on == "train" or (self.on == "auto" and not trainer.enable_validation):
            self._record_if_due(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What has been recorded."""
        return self.drift.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CheckpointError
            See `Drift.load_state_dict`.
        """
        self.drift.load_state_dict(state_dict)
        self._resumed = True

    # --- what it does -------------------------------------------------------------------------------------------------

    def _record_if_due(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch % self.every == 0:
            self._record(trainer, pl_module, trainer.current_epoch, log=self._logs)

    def _record(self, trainer: Any, pl_module: Any, epoch: int, *, log: bool) -> None:
        with _as_trained(trainer):
            self.drift.record(self._part(pl_module), epoch)
        if not log:
            return
        several = len(self.drift.references) > 1
        for reference in self.drift.references:
            start = f"{self.prefix}/{reference}" if several else self.prefix
            scores = {f"{start}/{layer}": score for layer, score in self.drift.scores(epoch, reference).items()}
            pl_module.log_dict(scores, on_step=False, on_epoch=True, batch_size=self.drift.n)

    def _part(self, pl_module: Any) -> nn.Module:
        if self.module is None:
            return pl_module
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            names = ", ".join(name for name, _ in pl_module.named_children())
            raise SpecError(
                f"DriftCallback: module={shown(self.module)} is no part of {type(pl_module).__name__}, whose parts are "
                f"{names}."
            ) from None

    # --- results ------------------------------------------------------------------------------------------------------

    def to_pandas(self, reference: Reference | None = None) -> pandas.DataFrame:
        """Epochs by layers: `Drift.to_pandas`."""
        return self.drift.to_pandas(reference)

    def plot(self, ax: Axes | None = None, *, reference: Reference | None = None, **options: Any) -> Axes:
        """Epochs by layers: `Drift.plot`."""
        return self.drift.plot(ax, reference=reference, **options)


def _as_trained(trainer: Any) -> AbstractContextManager[Any]:
    """The precision that the trainer runs the network in, autocast or a default dtype."""
    return trainer.precision_plugin.forward_context()
