"""A model in eval mode for a while, and left as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from simkit.errors import ExtractionError
from simkit.torch.selection import listed
from simkit.torch.wrappers import clean, eagerly

__all__ = ["checked_state", "left_as_found", "with_state"]


@contextlib.contextmanager
def left_as_found(model: torch.nn.Module) -> Iterator[None]:
    """Within, `model` is in eval mode, without gradients, and calls all of its parts.

    Afterwards, also after an exception, the modes of all modules, the buffers, the random numbers and the settings of
    PyTorch are as they were. Modes are set one by one: `Module.train` may be overridden, to merge weights for one.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, _version(buffer), buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = {x.device for x in (*model.parameters(), *model.buffers()) if x.device.type == "cuda"}
    fast = torch.backends.mha.get_fastpath_enabled()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=sorted(device.index for device in devices)))
        stack.callback(_restore, modes, buffers)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        stack.enter_context(eagerly(model))
        stack.enter_context(torch.no_grad())
        torch.backends.mha.set_fastpath_enabled(False)  # it computes a whole layer without calling its parts
        for module, _ in modes:
            module.training = False
        yield


def _restore(modes: list[tuple[torch.nn.Module, bool]], buffers: list[tuple[Any, ...]]) -> None:
    for module, mode in modes:
        module.training = mode
    for module, name, buffer, version, values in buffers:
        module._buffers[name] = buffer
        if _version(buffer) != version:
            with torch.no_grad():
                buffer.copy_(values)


def _version(x: torch.Tensor) -> int:
    return -1 if x.is_inference() else int(x._version)


@contextlib.contextmanager
def with_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor] | None) -> Iterator[None]:
    """Within, `model` computes with the tensors of `state`, as `checked_state` gives them."""
    if state is None:
        yield
        return
    own = own_tensors(model)
    with contextlib.ExitStack() as stack:
        for name, values in state.items():
            tensor = own[name]
            stack.callback(setattr, tensor, "data", tensor.data)
            tensor.data = values
        torch.clear_autocast_cache()  # which knows weights in half precision by their parameters, not by their values
        stack.callback(torch.clear_autocast_cache)
        yield


def own_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by the names that they have in a `state_dict`, shared ones under each of their names."""
    return dict((*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)))


def checked_state(model: torch.nn.Module, state: Any, what: str = "state") -> dict[str, torch.Tensor] | None:
    """The parameters and buffers of a checkpoint by the names of the model, in its types and on its devices.

    Tensors that are there already are shared; the others are copied once, and not for each batch.

    Raises
    ------
    ExtractionError
        It is none, or that of another model.
    """
    if state is None:
        return None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ExtractionError(
            f"{what} is a {type(state).__name__}; expected a state_dict, a mapping of the names of parameters to tensors: "
            "torch.load(path, weights_only=True), or safetensors.torch.load_file(path)."
        )
    own = own_tensors(model)
    given = {_plain(name): values for name, values in state.items()}
    if own and not own.keys() & given.keys():
        inner = [key for key, value in state.items() if isinstance(value, Mapping)]
        hint = f" It holds mappings, {listed(inner)}: is one of them the state_dict?" if inner else ""
        raise ExtractionError(f"{what} has none of the parameters of {type(model).__name__}, {listed(list(own))}.{hint}")
    required = [name for name in model.state_dict() if name in own]
    covered = {id(own[name]) for name in given if name in own}  # of shared parameters one name is enough
    missing = [name for name in required if name not in given and id(own[name]) not in covered]
    unexpected = [name for name in given if name not in own]
    other = [
        f"{name} {tuple(getattr(values, 'shape', ()))} for {tuple(own[name].shape)}"
        for name, values in given.items()
        if name in own and (not isinstance(values, torch.Tensor) or values.shape != own[name].shape)
    ]
    wrong = (("missing", missing), ("unknown", unexpected), ("of another shape", other))
    if missing or unexpected or other:
        told = "; ".join(f"{kind}: {listed(names)}" for kind, names in wrong if names)
        raise ExtractionError(
            f"{what} is no checkpoint of this {type(model).__name__}. {told}. If that is meant, load it into a copy: "
            "copy.deepcopy(model).load_state_dict(state, strict=False)."
        )
    return {name: values.detach().to(device=own[name].device, dtype=own[name].dtype) for name, values in given.items()}


def _plain(name: str) -> str:
    return clean(name).removeprefix("module.")
