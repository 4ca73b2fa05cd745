"""Files of PyTorch: tensors and dictionaries of tensors, in the mode that runs no code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import array_api_compat

from simkit.errors import InvalidArrayError
from simkit.formats.npz import check_archive
from simkit.formats.room import check_room

__all__ = ["as_numpy", "read_torch"]

# Kinds of numbers that the rest of simkit takes, or refuses by name; the others pack bits or several numbers.
_TAKEN = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bfloat16", "float16", "float32", "float64", "complex32", "complex64", "complex128",
}  # fmt: skip


def read_torch(path: Path, max_bytes: int | None) -> Any:
    """A tensor, or a dictionary of tensors by name, on the host and cut off from any graph of gradients."""
    try:
        import torch
    except ImportError:
        raise ImportError(f'{path} needs PyTorch: pip install "simkit-similarity[torch]"') from None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path, max_bytes)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what is damaged or forbidden
        raise InvalidArrayError(
            f"{path} is damaged, or is not a file of tensors only. Save a tensor or a dictionary of tensors; "
            "other objects can run code when they are read."
        ) from error
    if isinstance(found, torch.Tensor):
        return _plain(found, str(path), path, max_bytes)
    if not isinstance(found, dict):
        raise InvalidArrayError(f"{path} holds a {type(found).__name__}; expected a tensor or a dictionary of tensors.")
    layers: dict[str, Any] = {}
    for key, value in found.items():
        _check_entry(key, value, layers, path)
        layers[str(key)] = _plain(value, f"{path}: {str(key)!r}", path, max_bytes)
    return layers


def _check_entry(key: Any, value: Any, layers: dict[str, Any], path: Path) -> None:
    import torch

    if str(key) in layers:
        raise InvalidArrayError(f"{path} holds two tensors called {str(key)!r}; give each a name of its own.")
    if isinstance(value, dict):
        raise InvalidArrayError(
            f"{path}: {str(key)!r} is itself a dictionary; expected a tensor or a dictionary of tensors. Save that "
            f"one: torch.save(torch.load(path)[{key!r}], path)."
        )
    if not isinstance(value, torch.Tensor):
        raise InvalidArrayError(
            f"{path}: {str(key)!r} is a {type(value).__name__}; expected a tensor or a dictionary of tensors. Save these "
            "alone: torch.save({name: x for name, x in torch.load(path).items() if isinstance(x, torch.Tensor)}, path)."
        )


def as_numpy(x: Any) -> Any:
    """A tensor of a file as a NumPy array (bfloat16 as float32); what is none as it is."""
    if not array_api_compat.is_torch_array(x):
        return x
    return x.float().numpy() if str(x.dtype) == "torch.bfloat16" else x.numpy()


def _plain(x: Any, where: str, path: Path, max_bytes: int | None) -> Any:
    """A dense tensor of numbers that NumPy and simkit know, or an error that says how to make one."""
    import torch

    kind = str(x.dtype).removeprefix("torch.")
    eighth = kind.startswith("float8")
    remedy = None
    if x.is_nested:
        remedy = (
            "is a nested tensor, whose parts differ in size; pool them: torch.stack([part.mean(0) for part in x.unbind()])"
        )
    elif x.is_meta:
        remedy = "is on the device meta, which keeps shapes and no values; save it from the device that it was computed on"
    elif x.is_quantized:
        remedy = "is quantised; save its values: x.dequantize()"
    elif x.layout != torch.strided:
        remedy = f"is sparse ({x.layout}); save its values: x.to_dense()"
    elif kind not in _TAKEN and not eighth:
        remedy = f"has dtype {x.dtype}; save its values as float32"
    if remedy is not None:
        raise InvalidArrayError(f"{where} {remedy}.")
    check_room(path, x.numel() * (4 if eighth else x.element_size()), max_bytes, chunked=False)  # a view may exceed the file
    x = x.detach().resolve_conj().resolve_neg()
    return x.float() if eighth else x
