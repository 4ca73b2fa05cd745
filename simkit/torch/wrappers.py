"""Models in wrappers: what runs instead of the wrapper, and the names of layers without it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from simkit.errors import ExtractionError
from simkit.text import shown

__all__ = ["eagerly", "named_modules", "unwrapped"]

_NAMES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # what wrappers call the module inside
_PARALLEL = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)


def unwrapped(model: Any, what: str = "model") -> torch.nn.Module:
    """The module that runs: that inside `DataParallel`, `DistributedDataParallel` and what `torch.compile` returned.

    In eval mode and without gradients these give the same numbers; replicas and compiled graphs do not call hooks. FSDP
    stays, since its parts of the parameters come together in its own forward.

    Raises
    ------
    ExtractionError
        It is no module, or a compiled one without Python to hook into.
    """
    while isinstance(model, torch.nn.Module):
        if isinstance(model, _PARALLEL):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._orig_mod
        else:
            break
    if isinstance(model, torch.jit.ScriptModule):
        raise ExtractionError(
            f"{what} is a {type(model).__name__} of TorchScript, whose layers cannot be looked into. Give the Python "
            "module it was made of."
        )
    if not isinstance(model, torch.nn.Module):
        hint = (
            " Load a file of weights into the module first: module.load_state_dict(torch.load(path, weights_only=True))."
            if isinstance(model, str | os.PathLike)
            else " An instance of it, model = Model(...), is needed."
            if isinstance(model, type)
            else ""
        )
        told = "a tensor" if isinstance(model, torch.Tensor) else f"{shown(model)}, a {type(model).__name__}"
        raise ExtractionError(f"{what} is {told}; expected a torch.nn.Module.{hint}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ExtractionError(
                f"{what} has a part compiled by TorchScript, {shown(name)}, whose layers cannot be looked into. Give the "
                "Python module it was made of."
            )
    return model


def named_modules(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """All modules by name, without the parts of names that come from wrappers; what is inside counts, not the wrapper."""
    found: dict[str, torch.nn.Module] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found[clean(name)] = module  # what is inside comes later, under the same name
    return found


def clean(name: str) -> str:
    """A dotted name without the parts that come from wrappers."""
    return ".".join(part for part in name.split(".") if part not in _NAMES)


@contextlib.contextmanager
def eagerly(model: torch.nn.Module) -> Iterator[None]:
    """Within, nothing of `model` runs compiled: compiled graphs do not call hooks that came after them.

    Parts that `torch.compile` returned run what they were made of; modules that were compiled in place run as they are;
    compiled functions too, with PyTorch 2.6 and later.
    """
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if "_orig_mod" in module._modules and "forward" in module.__dict__:
                stack.callback(module.__dict__.__setitem__, "forward", module.__dict__["forward"])
                module.__dict__["forward"] = module._orig_mod.__call__
            if module.__dict__.get("_compiled_call_impl") is not None:
                stack.callback(module.__dict__.__setitem__, "_compiled_call_impl", module.__dict__["_compiled_call_impl"])
                module.__dict__["_compiled_call_impl"] = None
        if hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
