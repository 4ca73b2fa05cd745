"""Where models and their activations lie, and how much room there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from simkit.errors import ExtractionError
from simkit.memory import available

__all__ = ["asked_device", "device_of", "free_bytes", "is_cuda", "on_device"]


def asked_device(device: Any) -> torch.device | None:
    """The device that a caller names; None if none is.

    Raises
    ------
    ExtractionError
        It is none.
    """
    if device is None:
        return None
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ExtractionError(
            f'device is {device!r}; expected "cpu" or a device of PyTorch such as "cuda:0" ({error}).'
        ) from None


def device_of(model: torch.nn.Module) -> torch.device | None:
    """Where the inputs of a model belong; None if it has no parameters or is on several devices, which it sees to itself."""
    devices = {x.device for x in (*model.parameters(), *model.buffers())}
    return devices.pop() if len(devices) == 1 and "meta" not in {device.type for device in devices} else None


def is_cuda(device: torch.device | None) -> bool:
    """Whether memory is that of a GPU, and not of the host."""
    return device is not None and device.type == "cuda"


def free_bytes(device: torch.device | None) -> int | None:
    """Bytes that may still be allocated on a device; None if unknown."""
    return torch.cuda.mem_get_info(device)[0] if is_cuda(device) else available()


def on_device(sides: Sequence[Mapping[str, torch.Tensor]], device: torch.device | None) -> list[dict[str, torch.Tensor]]:
    """The layers of a batch on a device; `device=None` leaves them where they are.

    All copies from a GPU to the host, which go into pinned memory, are under way at the same time, and there at the end.
    """
    moved = [{label: _moved(x, device) for label, x in rows.items()} for rows in sides]
    if device is not None and device.type == "cpu":
        for source in {x.device for rows in sides for x in rows.values() if x.is_cuda}:
            torch.cuda.current_stream(source).synchronize()
    return moved


def _moved(x: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    if device is None or x.device == device:
        return x
    if device.type == "cpu" and x.is_cuda:
        pinned = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        return pinned.copy_(x, non_blocking=True)
    return x.to(device)
