"""What users pass for an array that is no dense array of real numbers, and what to do about it.

Each library would fail on it later, in words of its own, or give a number for something else than was meant: masked values
counted, zeros of a sparse array left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import array_api_compat
import numpy as np

from simkit.arrays.libraries import library_of
from simkit.errors import InvalidArrayError, InvalidDtypeError

__all__ = ["expression", "refuse"]

_SPARSE = ("scipy.sparse", "cupyx.scipy.sparse", "jax.experimental.sparse")


def expression(name: str) -> str:
    """A layer as it stands in code that a message proposes: without the number of its batch."""
    return name.partition(" of batch ")[0]


def refuse(x: Any, name: str) -> None:
    """Raise for what is no dense array; nothing happens to arrays, to what NumPy makes arrays of, and to what it does not.

    Parameters
    ----------
    x : anything
    name : str
        How the message calls it.

    Raises
    ------
    InvalidArrayError
        A masked, sparse or nested array, one without values, or no array at all.
    InvalidDtypeError
        A quantised tensor.
    """
    if type(x) is np.ndarray:
        return
    code = expression(name)
    library = library_of(x)
    if library == "torch":
        _refuse_tensor(x, name, code)
    elif library == "dask":
        _refuse_chunks(x, name, code)
    elif isinstance(x, np.ma.MaskedArray):
        raise InvalidArrayError(
            f"{name} is a masked array, whose masked values would be silently used. "
            f"Keep the examples without any: keep = ~numpy.ma.getmaskarray({code}).reshape(len({code}), -1).any(axis=1), "
            f"then {code}.data[keep], and the same rows of the other layer."
        )
    elif array_api_compat.is_pydata_sparse_array(x) or type(x).__module__.startswith(_SPARSE):
        how = f"{code}.toarray()" if hasattr(x, "toarray") else f"{code}.todense()"
        raise InvalidArrayError(f"{name} is a sparse array; simkit needs a dense one: {how}.")
    elif library == "jax":
        if not isinstance(x, sys.modules["jax"].core.Tracer) and x.is_deleted():
            raise InvalidArrayError(
                f"{name} is a JAX array whose memory has been given away (donated or deleted). Make it again."
            )
    elif isinstance(x, Mapping | type) or x is None:
        _refuse_object(x, name, code)


def _refuse_object(x: Any, name: str, code: str) -> NoReturn:
    if isinstance(x, type):
        raise InvalidArrayError(f"{name} is the class {x.__qualname__}; expected an array of shape (n, p).")
    if "xarray" in sys.modules and isinstance(x, sys.modules["xarray"].Dataset):
        raise InvalidArrayError(
            f"{name} is an xarray.Dataset; expected one array. Pass a variable of it: "
            f"{code}[{next(iter(x.data_vars), 'variable')!r}]."
        )
    what = "None" if x is None else f"a {type(x).__name__}"
    raise InvalidArrayError(
        f"{name} is {what}; expected an array of shape (n, p). Dictionaries of layers are for simkit.pairwise."
    )


def _refuse_tensor(x: Any, name: str, code: str) -> None:
    if x.is_nested:
        raise InvalidArrayError(
            f"{name} is a nested tensor, whose parts may differ in length; expected (n, p), for example the mean of each: "
            f"torch.stack([part.mean(dim=0) for part in {code}.unbind()])."
        )
    if type(x).__name__ == "MaskedTensor":
        raise InvalidArrayError(
            f"{name} is a masked tensor, whose masked values would be silently used. Fill them in: {code}.to_tensor(0.0); "
            f"or keep the examples without any: {code}.get_data()[{code}.get_mask().all(dim=1)], and the same rows of the "
            "other layer."
        )
    if type(x).__name__ == "FakeTensor":
        raise InvalidArrayError(f"{name} is a fake tensor, which has a shape and no values. Pass the tensor itself.")
    if x.is_quantized:
        raise InvalidDtypeError(f"{name} is a quantised tensor ({x.dtype}); expected real numbers: {code}.dequantize().")
    if x.layout is not sys.modules["torch"].strided:
        raise InvalidArrayError(f"{name} is a sparse tensor; simkit needs a dense one: {code}.to_dense().")


def _refuse_chunks(x: Any, name: str, code: str) -> None:
    if isinstance(x._meta, np.ma.MaskedArray):
        raise InvalidArrayError(
            f"{name} is a Dask array of masked chunks, whose masked values would be silently used. Fill them in: "
            f"dask.array.ma.filled({code}, 0.0); or leave out the examples that have any."
        )
    if type(x._meta).__module__.startswith(("scipy.sparse", "cupyx.scipy.sparse", "sparse")):
        raise InvalidArrayError(
            f"{name} is a Dask array of sparse chunks; simkit needs dense ones: "
            f"{code}.map_blocks(lambda chunk: chunk.toarray(), dtype={code}.dtype, meta=numpy.empty((0, 0)))."
        )
