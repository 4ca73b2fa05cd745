"""What the program around simkit has set for arithmetic, and what holds in its place while simkit works.

Programs that train networks let matrix products of float32 round their operands to ten bits (TF32) or seven (bfloat16):
``torch.set_float32_matmul_precision``, ``torch.autocast``, ``jax_default_matmul_precision``. A score would be wrong by up to
1e-2 and nobody would know. So products are in full precision here, unless the caller of `simkit.compare` asks for less.

JAX and autocast keep such settings for each thread. Those of PyTorch's float32 products belong to the process: they are
restored when the last thread that works here is done, and who wants another precision meanwhile waits.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, ClassVar, Literal, TypeAlias

from simkit.arrays.libraries import Array, describe, dtype_name, is_compiling, library_of
from simkit.errors import UnsupportedError
from simkit.spec import check_choice

__all__ = ["Precision", "check_precision", "own_modes"]

Precision: TypeAlias = Literal["tf32", "bf16"]

_INSIDE: ContextVar[bool] = ContextVar("simkit_modes", default=False)
_OF_TORCH = {("cpu", "tf32"), ("cpu", "bf16"), ("cuda", "tf32")}
_OF_JAX = {None: "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def check_precision(precision: Precision | None, x: Array, name: str) -> None:
    """Raise unless products of `x` can be asked for in this precision.

    Raises
    ------
    SpecError
        There is no such precision.
    UnsupportedError
        Not of this library, or of these values.
    """
    if precision is None:
        return
    check_choice("compare", "precision", precision, ("tf32", "bf16"))
    library = library_of(x)
    if library == "cupy":
        raise UnsupportedError(
            f"precision={precision!r} is for PyTorch and JAX; {name} is a {describe(x)}. CuPy takes TF32 for the whole "
            "program: set the environment variable CUPY_TF32=1 before it is imported."
        )
    if library not in ("torch", "jax"):
        raise UnsupportedError(
            f"precision={precision!r} is for PyTorch and JAX; {name} is a {describe(x)}, whose library has no such "
            "products. Leave it out."
        )
    if library == "torch" and (x.device.type, precision) not in _OF_TORCH:
        raise UnsupportedError(
            f"precision={precision!r}: PyTorch has no such products of float32 on {x.device.type}. Leave it out"
            + (", or take precision='tf32'." if x.device.type == "cuda" else ".")
        )
    if "float64" in dtype_name(x):
        raise UnsupportedError(
            f"precision={precision!r} says how products of float32 round; {name} is in float64. Leave it out, or convert "
            "the layers to float32."
        )


def own_modes(x: Array, precision: Precision | None = None) -> AbstractContextManager[Any]:
    """Arithmetic of the library of `x` as simkit wants it, within; as it was, after.

    Products of float32 round as `precision` says, by default not at all; nothing is cast to half precision besides; and
    arrays of JAX broadcast and are promoted whatever the program forbids. Within another of these that one holds.
    """
    library = library_of(x)
    if library not in ("torch", "jax") or is_compiling() or _INSIDE.get():
        return nullcontext()
    return _inside(_torch_modes(x.device.type, precision) if library == "torch" else _jax_modes(precision))


@contextmanager
def _inside(modes: AbstractContextManager[Any]) -> Iterator[None]:
    token = _INSIDE.set(True)
    try:
        with modes:
            yield
    finally:
        _INSIDE.reset(token)


@contextmanager
def _jax_modes(precision: Precision | None) -> Iterator[None]:
    jax = sys.modules["jax"]
    with (
        jax.default_matmul_precision(_OF_JAX[precision]),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


@contextmanager
def _torch_modes(device: str, precision: Precision | None) -> Iterator[None]:
    torch = sys.modules["torch"]
    products: AbstractContextManager[Any] = nullcontext()
    if device in ("cpu", "cuda"):
        products = _products.of(_setting(device), precision or "ieee")
    casts: AbstractContextManager[Any] = nullcontext()
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        casts = torch.autocast(device, enabled=False)
    with products, casts:
        yield


def _setting(device: str) -> Any:
    """What holds the precision of PyTorch's float32 products on a device, as `fp32_precision`."""
    backends = sys.modules["torch"].backends
    own = getattr(backends.mkldnn if device == "cpu" else backends.cuda, "matmul", None)
    return own if hasattr(own, "fp32_precision") else _ONE_FOR_ALL


class _OneForAll:
    """The setting of PyTorch before 2.9, which holds for all devices, by the words of those that each has since."""

    _words: ClassVar[dict[str, str]] = {"highest": "ieee", "high": "tf32", "medium": "bf16"}

    @property
    def fp32_precision(self) -> str:
        return self._words[sys.modules["torch"].get_float32_matmul_precision()]

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        given = next(word for word, meaning in self._words.items() if meaning == precision)
        sys.modules["torch"].set_float32_matmul_precision(given)


_ONE_FOR_ALL = _OneForAll()


class _Products:
    """The precision of PyTorch's float32 products, which all threads of a process share."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted, self._threads, self._before = "", 0, dict[Any, str]()

    @contextmanager
    def of(self, backend: Any, wanted: str) -> Iterator[None]:
        """Products of a backend in the `wanted` precision."""
        with self._changed:
            self._changed.wait_for(lambda: self._threads == 0 or self._wanted == wanted)
            self._wanted, self._threads = wanted, self._threads + 1
            found = backend.fp32_precision
            if found != wanted:
                self._before.setdefault(backend, found)
                backend.fp32_precision = wanted
        try:
            yield
        finally:
            with self._changed:
                self._threads -= 1
                if self._threads == 0:
                    self._restore()
                self._changed.notify_all()

    def _restore(self) -> None:
        while self._before:
            backend, found = self._before.popitem()
            backend.fp32_precision = found

    def after_fork(self) -> None:
        """The threads that worked here do not exist in the child."""
        self._restore()
        self.__init__()  # type: ignore[misc]


_products = _Products()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_products.after_fork)
