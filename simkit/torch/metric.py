"""Similarity as a metric of torchmetrics: batch by batch, over all processes, logged by Lightning."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from simkit.errors import CheckpointError, MixedArraysError
from simkit.matrix import SimilarityMatrix
from simkit.scale.stream import Stream, stream
from simkit.sides import are_layers
from simkit.text import shown
from simkit.torch.distributed import all_reduce
from simkit.warn import warn_caller

try:
    from torchmetrics import Metric
    from torchmetrics.utilities.exceptions import TorchMetricsUserError
except ModuleNotFoundError as error:
    if error.name != "torchmetrics":
        raise
    raise ImportError('SimilarityMetric needs torchmetrics: pip install "simkit-similarity[torchmetrics]"') from None

if TYPE_CHECKING:
    from simkit.index import Index
    from simkit.scale.projection import RandomProjection

__all__ = ["SimilarityMetric"]


class SimilarityMetric(Metric):
    """A `torchmetrics.Metric` of the similarity of two representations, exact over all batches and processes.

    It holds a `simkit.stream`, whose memory does not grow with the number of examples, so it takes the indexes that streams
    take. Processes are merged by `simkit.torch.distributed.all_reduce`, whatever their numbers of examples.

    Parameters
    ----------
    index, flatten, check_finite, projection
        As in `simkit.stream`.
    timeout : float, optional
        Seconds to wait for other processes, as in `all_reduce`.
    dist_sync_on_step, process_group, distributed_available_fn, sync_on_compute, compute_with_cache
        As in `torchmetrics.Metric`.
    **parameters
        Parameters of the index, such as ``estimator="unbiased"``.

    Attributes
    ----------
    stream : Stream
        The batches of this process so far.
    higher_is_better : bool
        False for distances, for which larger means less alike.

    Raises
    ------
    NeedsAllExamplesError
        The index cannot be computed in one pass over batches; the message says what can be done.
    UnknownNameError, SpecError, PluginError
        The index cannot be made; see `simkit.get_index`.

    Notes
    -----
    No gradients flow; for those there is `simkit.torch.SimilarityLoss`. As with other metrics the state is in a
    ``state_dict`` only after ``metric.persistent(True)``; it is exact, and one tensor of bytes. ``metric.to(device)``
    moves it. ``half()``, ``double()`` and ``set_dtype`` leave it in its precision: sums are in float64 where the device has
    it, and the score is in the precision of the batches, float32 for half precision.

    The sampler that Lightning and PyTorch put into a distributed loader repeats some examples so that all processes get the
    same number. They count twice.

    Examples
    --------
    >>> import torch
    >>> from simkit.torch import SimilarityMetric
    >>> metric = SimilarityMetric("cka", estimator="unbiased")
    >>> for _ in range(3):
    ...     X = torch.randn(50, 8)
    ...     metric.update(X, 2 * X)
    >>> print(f"{metric.compute():.3f}")
    1.000
    """

    is_differentiable = False
    full_state_update = False
    _is_synced: bool
    _update_count: int

    def __init__(
        self,
        index: str | Index[Any] | type[Index[Any]] = "cka",
        *,
        flatten: bool = False,
        check_finite: bool = True,
        projection: RandomProjection | None = None,
        timeout: float | None = None,
        dist_sync_on_step: bool = False,
        process_group: Any = None,
        distributed_available_fn: Callable[[], bool] | None = None,
        sync_on_compute: bool = True,
        compute_with_cache: bool = True,
        **parameters: Any,
    ) -> None:
        super().__init__(
            dist_sync_on_step=dist_sync_on_step,
            process_group=process_group,
            distributed_available_fn=distributed_available_fn,
            sync_on_compute=sync_on_compute,
            compute_with_cache=compute_with_cache,
        )
        self.stream = stream(index, flatten=flatten, check_finite=check_finite, projection=projection, **parameters)
        self.timeout = timeout
        self._of_this_process: Stream | None = None
        self._is_kept = False

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def index(self) -> Index[Any]:
        """The index."""
        return self.stream.index

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score means more alike."""
        return self.index.facts.identity != 0

    @property
    def plot_lower_bound(self) -> float | None:
        """The smallest possible score, if there is one."""
        low = self.index.facts.range[0]
        return low if low > -float("inf") else None

    @property
    def plot_upper_bound(self) -> float | None:
        """The largest possible score, if there is one."""
        high = self.index.facts.range[1]
        return high if high < float("inf") else None

    def extra_repr(self) -> str:
        """The state, for ``repr``."""
        return repr(self.stream)

    # --- batches ------------------------------------------------------------------------------------------------------

    def update(self, X: Any, Y: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        X, Y : Tensor, shapes (m, p1) and (m, p2); or mappings of names to tensors, or sequences of tensors
            As in `Stream.update`: the same m examples in all. With layers, ``Y=None`` compares those of `X` with themselves.

        Raises
        ------
        InvalidArrayError, InvalidDtypeError, MixedArraysError, TooLargeError
            As `Stream.update`. The state is as before the call.
        TorchMetricsUserError
            The metric holds the batches of all processes, in which one more would count several times.
        """
        self._check_alone("update")
        for side, x in (("X", X), ("Y", Y)):
            for one in _given(x):
                if not isinstance(one, Tensor):
                    raise MixedArraysError(
                        f"{side} holds a {type(one).__name__}; SimilarityMetric takes tensors of PyTorch. simkit.stream "
                        "takes batches of every library."
                    )
        self.stream.update(X, Y)

    def forward(self, X: Any, Y: Any = None) -> Any:
        """Add a batch, and give the score of this batch alone.

        Returns
        -------
        Tensor of shape (), or SimilarityMatrix
            As `compute`. Of a batch that is too small for a score it is nan; its examples count in `compute`.

        Warns
        -----
        ConstantInputWarning
            The score of the batch is nan.
        """
        self._check_alone("forward")
        self.update(X, Y)
        batch = self.stream.without_batches()
        batch.update(X, Y)
        if self.dist_sync_on_step and self.distributed_available_fn():
            batch = all_reduce(batch, self.process_group, timeout=self.timeout)
        value = batch.compute() if batch.n >= self.index.facts.min_examples else self._nan(batch, layers=are_layers(X))
        self._forward_cache = _wrapped(value)
        return value

    def _nan(self, batch: Stream, *, layers: bool) -> Any:
        least = self.index.facts.min_examples
        warn_caller(
            f"This batch has {batch.n} example{'s' * (batch.n != 1)}, and {self.index} needs at least {least}, so its own "
            "score is nan. It counts in that of all batches."
        )
        assert batch.like is not None  # there has been a batch
        values = batch.like.new_full((len(batch.rows), len(batch.columns)), float("nan"))
        return SimilarityMatrix(values, batch.rows, batch.columns, str(self.index), batch.n) if layers else values[0, 0]

    def compute(self) -> Any:
        """The similarity of all examples so far, those of all processes.

        Returns
        -------
        Tensor of shape (), or SimilarityMatrix
            As `Stream.compute`: a matrix if the batches were layers.

        Raises
        ------
        InvalidArrayError
            No batch yet, or too few examples.
        ClusterError
            A process has ended or did not come within `timeout`.
        """
        return self.stream.compute()

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics copies the tensors in what is computed, and cannot do so in a frozen dataclass.
        wrapped = super()._wrap_compute(functools.wraps(compute)(lambda: _wrapped(compute())))
        return functools.wraps(compute)(lambda: _unwrapped(wrapped()))

    def reset(self) -> None:
        """Forget all batches; the next may be of other layers."""
        super().reset()
        self._of_this_process = None
        self.stream.reset()

    def merge_state(self, incoming_state: Any) -> None:
        """Add the batches of another `SimilarityMetric` of the same index.

        Raises
        ------
        InvalidArrayError
            It is of another index or of other layers.
        TypeError
            It is something else.
        """
        self._check_alone("merge_state")
        if not isinstance(incoming_state, SimilarityMetric):
            raise TypeError(f"Expected a SimilarityMetric, got a {type(incoming_state).__name__}.")
        self.stream = self.stream.merge(incoming_state.stream)
        self._computed, self._update_count = None, self._update_count + incoming_state.update_count

    @property
    def metric_state(self) -> dict[str, Any]:
        """The stream, by its name."""
        return {"stream": self.stream}

    # --- processes ----------------------------------------------------------------------------------------------------

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Take in the batches of all processes, until `unsync`; every process has to come.

        Raises
        ------
        InvalidArrayError, ClusterError
            As `simkit.torch.distributed.all_reduce`.
        """
        if dist_sync_fn is not None:
            raise ValueError("dist_sync_fn: SimilarityMetric has a merge of its own, which no other takes the place of.")
        if self._is_synced and should_sync:
            raise TorchMetricsUserError("The Metric has already been synced.")
        available = distributed_available or self.distributed_available_fn
        if should_sync and available():
            whole = all_reduce(self.stream, process_group or self.process_group, timeout=self.timeout)
            self._of_this_process, self.stream, self._is_synced = self.stream, whole, True

    def unsync(self, should_unsync: bool = True) -> None:
        """Go back to the batches of this process."""
        if not should_unsync:
            return
        if self._of_this_process is None:
            raise TorchMetricsUserError("The Metric has already been un-synced.")
        self.stream, self._of_this_process, self._is_synced = self._of_this_process, None, False

    @contextmanager
    def sync_context(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> Iterator[None]:
        """`sync` within, `unsync` after, also where something is raised within."""
        self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def _check_alone(self, what: str) -> None:
        if self._is_synced:
            raise TorchMetricsUserError(
                f"{what}: this metric holds the batches of all processes, so that others would count several times. Call "
                "unsync() first."
            )

    # --- devices and files --------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        """What ``to``, ``cuda`` and ``cpu`` call: the sums go along; their precision stays."""
        super()._apply(fn, exclude_state)
        like = self.stream.like
        if like is not None:
            device = fn(torch.zeros(1, device=like.device)).device
            if device != like.device:
                self.stream = _placed(self.stream, device)
        self._computed = None
        return self

    def persistent(self, mode: bool = False) -> None:
        """Whether the state is in the ``state_dict``."""
        self._is_kept = mode

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._is_kept:
            destination[f"{prefix}stream"] = _to_bytes(self.stream)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str], *rest: Any
    ) -> None:
        key, errors = f"{prefix}stream", rest[-1]
        if key in state_dict:
            try:
                self._resume(_from_bytes(state_dict.pop(key)))
            except CheckpointError as error:
                errors.append(f"{key}: {error}")
        elif self._is_kept and strict:
            missing_keys.append(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *rest)

    def _resume(self, loaded: Stream) -> None:
        for what, found, own in (
            ("index", loaded.index, self.index),
            ("projection", loaded.projection, self.stream.projection),
        ):
            if found != own:
                raise CheckpointError(f"it was saved with {what} {found}, and this metric has {own}.")
        loaded.flatten, loaded.check_finite = self.stream.flatten, self.stream.check_finite
        self.reset()
        self.stream = _placed(loaded, self.device) if loaded.batches else loaded
        self._update_count = loaded.batches

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw scores as other metrics do, or the heatmap of a matrix.

        Parameters
        ----------
        val : Tensor, sequence of Tensor, or SimilarityMatrix, optional
            What `forward` or `compute` gave. Default: ``compute()``.
        ax : Axes, optional

        Returns
        -------
        (Figure, Axes)
        """
        value = self.compute() if val is None else val
        if isinstance(value, SimilarityMatrix):
            axes = value.plot(ax=ax)
            return axes.figure, axes
        return self._plot(value, ax)


class _Closed:
    """A matrix that torchmetrics passes on as it is."""

    def __init__(self, matrix: SimilarityMatrix) -> None:
        self.matrix = matrix


def _wrapped(value: Any) -> Any:
    return _Closed(value) if isinstance(value, SimilarityMatrix) else value


def _unwrapped(value: Any) -> Any:
    return value.matrix if isinstance(value, _Closed) else value


def _given(side: Any) -> Iterable[Any]:
    """The arrays of a side of a batch."""
    if side is None:
        return ()
    if isinstance(side, Mapping):
        return side.values()
    return side if are_layers(side) else (side,)


def _placed(stream: Stream, device: torch.device) -> Stream:
    """The same stream with its sums in PyTorch on a device."""
    statistic = stream.statistic
    assert statistic is not None  # there has been a batch
    like = torch.zeros((0, 1), dtype=getattr(torch, statistic.values.dtype), device=device)
    return stream.with_statistic(statistic.to(like), stream.batches, like)


def _to_bytes(stream: Stream) -> Tensor:
    """The file of a stream, as a tensor of bytes: a state_dict with it can be loaded with ``weights_only=True``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npz"
        stream.save(path)
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)


def _from_bytes(held: Any) -> Stream:
    if not isinstance(held, Tensor) or held.dtype != torch.uint8:
        raise CheckpointError(f"expected a tensor of bytes, got {shown(held)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.npz"
        path.write_bytes(held.cpu().numpy().tobytes())
        return Stream.load(path)
