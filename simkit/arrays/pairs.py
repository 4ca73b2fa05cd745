"""Arrays that are compared: of one library, on one device, and of the same examples."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from simkit.arrays.alignment import check_labels
from simkit.arrays.libraries import Array, describe, dtype_name, is_lazy, library_of, namespace_of
from simkit.arrays.matrices import as_matrix
from simkit.arrays.precision import in_one_precision
from simkit.arrays.values import check_matrix
from simkit.errors import InvalidArrayError, MixedArraysError

__all__ = ["as_pair", "check_same_examples", "check_same_framework"]


def as_pair(X: Any, Y: Any, *, flatten: bool = False) -> tuple[Array, Array]:
    """Two matrices of the same examples, two at least; see `as_matrix`, `check_matrix` and `check_labels` for the rules.

    Raises
    ------
    MixedArraysError
        Two frameworks or two devices: both are named, with the conversion to make.
    InvalidArrayError
        Different numbers of examples: both shapes are given; labels that differ; or what `as_matrix` and `check_matrix`
        complain about.
    """
    x, y = as_matrix(X, "X", flatten=flatten), as_matrix(Y, "Y", flatten=flatten)
    check_same_framework(x, y, ("X", "Y"))
    check_labels({"X": X}, {"Y": Y})
    check_same_examples(x, y, ("X", "Y"))
    check_matrix(x, "X")
    check_matrix(y, "Y")
    x, y = in_one_precision(x, y)
    return x, y


def check_same_examples(x: Array, y: Array, names: tuple[str, str]) -> None:
    """Raise `InvalidArrayError` unless both matrices have the same, known number of rows."""
    n, m = x.shape[0], y.shape[0]
    if any(size is None or math.isnan(size) for size in (n, m)):  # nan: Dask does not know the length
        raise InvalidArrayError(
            f"The number of examples is unknown: {names[0]} has shape {tuple(x.shape)}, {names[1]} {tuple(y.shape)}. "
            "Rows could be paired wrongly. Call .compute_chunk_sizes() on the Dask array first."
        )
    if n != m:
        raise InvalidArrayError(
            f"{names[0]} has shape {tuple(x.shape)} and {names[1]} {tuple(y.shape)}: {n} and {m} examples. Row i of both "
            "must be the same example."
            + (" Are they transposed? Rows are examples, columns are features." if x.shape[1] == y.shape[1] else "")
        )


def check_same_framework(x: Array, y: Array, names: tuple[str, str]) -> None:
    """Raise `MixedArraysError` unless both arrays are of one framework and on one device."""
    if namespace_of(x) is not namespace_of(y):
        source, target = _framework(y), _framework(x)
        how = _TO_NUMPY.get(f"{source} in {dtype_name(y)}", _TO_NUMPY.get(source, "numpy.asarray({0})"))
        on_host = how.format(names[1])
        fix = _FROM_NUMPY.get(target, f"{target}.asarray({{0}})").format(on_host)
        raise MixedArraysError(
            f"{names[0]} is a {describe(x)} and {names[1]} a {describe(y)}: the arrays must be of one framework. "
            f"Convert one, for example {names[1]} = {fix}."
        )
    library = library_of(x)
    if x is y or library == "numpy" or (library != "torch" and (is_lazy(x) or is_lazy(y))):
        return  # but tensors know their device without values
    here, there = (x.device, y.device) if library == "torch" else (array_api_compat.device(x), array_api_compat.device(y))
    if here != there:
        for name, device in zip(names, (here, there), strict=True):
            if str(device) == "meta":
                raise MixedArraysError(
                    f"{name} is a tensor on the device meta, which has a shape and no values. Load the values, or run the "
                    "model on a real device."
                )
        move = f"{names[1]}.to('{here}')" if _framework(x) == "torch" else f"move {names[1]} to {here}"
        raise MixedArraysError(f"{names[0]} is on {here} and {names[1]} on {there}: both must be on one device. Try {move}.")


def _framework(x: Array) -> str:
    return describe(x).split(".")[0].split(" ")[0]


_TO_NUMPY = {
    "torch": "{0}.numpy(force=True)",
    "torch in float32": "{0}.float().numpy(force=True)",  # NumPy has no bfloat16
    "cupy": "{0}.get()",
    "jax": "numpy.array({0})",
    "jax in float32": "numpy.array({0}, dtype='float32')",
    "dask": "{0}.compute()",
    "numpy": "{0}",
}


_FROM_NUMPY = {
    "torch": "torch.from_numpy({0})",
    "cupy": "cupy.asarray({0})",
    "jax": "jax.numpy.asarray({0})",
    "dask": "dask.array.from_array({0})",
    "numpy": "{0}",
}
