"""Activations of any shape, such as maps and tokens, as matrices of examples by features; a rule for each layer.

Section 6 of the paper flattens convolution maps. What else there is (means over positions, positions as examples, one token
of a sequence) compares something else, so that there is no default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np
from array_api_compat import is_array_api_obj

from simkit.arrays import (
    Array,
    Namespace,
    as_array,
    as_floating,
    check_axes,
    dtype_name,
    in_precision_of,
    is_lazy,
    namespace_of,
    placement,
    relabelled,
    take_rows,
    to_numpy,
)
from simkit.errors import InvalidArrayError, InvalidDtypeError, MixedArraysError
from simkit.spec import check_choice

__all__ = ["Channels", "NamedPool", "NamedRule", "Rule", "examples"]

Channels: TypeAlias = Literal["first", "last"]
NamedRule: TypeAlias = Literal["flatten", "mean", "max", "positions", "cls", "last"]
Rule: TypeAlias = NamedRule | Callable[[Array], Array]
# Of `simkit.torch`, which sees the layers themselves; here, where the command line finds them without PyTorch.
NamedPool: TypeAlias = Literal["mean", "max", "flatten", "cls", "last", "positions", "tokens", "auto"]


@overload
def examples(
    x: Mapping[str, Any],
    rule: Rule | Mapping[str, Rule],
    *,
    channels: Channels | Mapping[str, Channels] | None = None,
    mask: Any = None,
) -> dict[str, Any]: ...
@overload
def examples(x: Any, rule: Rule, *, channels: Channels | None = None, mask: Any = None) -> Any: ...
def examples(x: Any, rule: Any, *, channels: Any = None, mask: Any = None) -> Any:
    """Turn activations into a matrix of examples by features, which is what simkit compares.

    Parameters
    ----------
    x : array of any library, or mapping of names to arrays
        Activations: maps ``(n, c, h, w)`` or ``(n, h, w, c)`` with any number of axes of positions, or sequences
        ``(n, tokens, features)``. A matrix ``(n, p)`` is returned as it is, by every rule but a callable.
    rule : str or callable, or mapping of patterns to these
        What an example is, and what its features are:

        - ``"flatten"``: ``(n, h*w*c)``, each unit at each position is a feature, as in the paper;
        - ``"mean"``, ``"max"``: ``(n, c)``, pooled over the positions, or over the tokens under `mask`;
        - ``"positions"``: ``(n*h*w, c)``, each position of each example is an example, or each token under `mask`;
        - ``"cls"``, ``"last"``: ``(n, features)``, the first or the last token of a sequence, of those under `mask`;
        - a callable: it is handed the array and returns a matrix, whose rows are the examples of `x` if there are n.
    channels : {"first", "last"}, or mapping of patterns to these, optional
        Where the features are. Maps need it for all rules but ``"flatten"``. Arrays of three axes have them last by default;
        ``"first"`` is for ``(n, c, length)``.
    mask : array, shape (n, tokens) or (n, h, w), or mapping of patterns to these, optional
        True or 1 for what counts, as in the attention masks of tokenisers; the rest is padding.

    Returns
    -------
    array, or dict of names to arrays
        In the namespace and on the device of `x`; gradients flow, lazy arrays stay lazy. Rules that only move values keep
        their dtype. Pooling computes in float32 at least and returns the precision that was given, of integers and bools
        the default one: a mean of half-precision values is rounded like one of them, so that the rank of the layer is
        decided as for them. Give float32 to keep more digits. An ``xarray.DataArray`` stays one and keeps the labels of its
        examples. Where positions become examples, the labels are pairs (label of the example, number of the position),
        since labels may not repeat.

    Raises
    ------
    InvalidArrayError
        Less than two axes; no rule or no place of the channels for a layer that needs one; a pattern that no layer is left
        for; a mask of another shape, or without a token of some example that is pooled; a rule that does not fit the axes; a
        list of arrays.
    InvalidDtypeError
        The mask is not of bools, or of zeros and ones.
    MixedArraysError
        The mask is lazy and `x` of another library.
    SpecError
        No such rule.

    Notes
    -----
    *A rule for each side*: call this for each, ``compare(examples(X, "mean", channels="first"), examples(Y, "cls"))``.

    *A rule for each layer*: give a mapping of patterns as in a shell. The first that matches a layer's name decides; what
    none matches must be a matrix. `channels` and `mask` go by patterns too, or one is for all layers.

    With ``"positions"`` both sides need the same positions, since row i of both must be the same example. Under a mask the
    number of examples depends on its values, which must be known: give a NumPy array where `x` is lazy.

    Examples
    --------
    >>> import numpy as np, simkit
    >>> rng = np.random.default_rng(0)
    >>> layers = {"conv1": rng.standard_normal((50, 8, 4, 4)), "block1": rng.standard_normal((50, 7, 9)), "head": np.eye(50)}
    >>> found = simkit.examples(layers, {"conv*": "mean", "block*": "cls"}, channels={"conv*": "first"})
    >>> {name: x.shape for name, x in found.items()}
    {'conv1': (50, 8), 'block1': (50, 9), 'head': (50, 50)}
    """
    if not isinstance(x, Mapping):
        if isinstance(x, list | tuple) and x and is_array_api_obj(x[0]) and x[0].ndim > 1:
            raise InvalidArrayError(
                f"x is a {type(x).__name__} of arrays, which may be layers or examples. Give layers as a mapping, "
                "dict(enumerate(x)), and examples as one array, put together by the stack of their library."
            )
        return _matrix_of(x, "x", rule, channels, mask)
    names = list(map(str, x))
    rules, places, masks = (
        _for_each(names, given, what) for given, what in ((rule, "rule"), (channels, "channels"), (mask, "mask"))
    )
    if channels == "first":
        _check_one_place({name: y for name, y in zip(names, x.values(), strict=True) if rules[name] in _AXES})
    return {
        key: _matrix_of(y, f"x[{name!r}]", rules[name], places[name], masks[name])
        for name, (key, y) in zip(names, x.items(), strict=True)
    }


# --- what holds for which layer ------------------------------------------------------------------------------------------


def _for_each(names: Iterable[str], given: Any, what: str) -> dict[str, Any]:
    """What is given for each layer: one for all, or that of the first pattern that matches its name, None without."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    chosen = {name: next((p for p in given if name == p or fnmatchcase(name, p)), None) for name in names}
    for pattern in given:
        if pattern not in chosen.values():
            raise InvalidArrayError(
                f"{what} is for {pattern!r} among others, and no layer is left for that pattern. "
                f"The first pattern that matches counts; the layers are {', '.join(map(repr, chosen))}."
            )
    return {name: None if pattern is None else given[pattern] for name, pattern in chosen.items()}


def _check_one_place(layers: Mapping[str, Any]) -> None:
    """Raise if one ``channels="first"`` is meant for maps and sequences alike, whose features are last."""
    axes = {name: as_array(x, f"x[{name!r}]").ndim for name, x in layers.items()}
    sequences, maps = ([name for name, ndim in axes.items() if test(ndim)] for test in (lambda k: k == 3, lambda k: k > 3))
    if sequences and maps:
        raise InvalidArrayError(
            f"One place of the channels, 'first', is for layers of three axes and of more, such as {sequences[0]!r} and "
            f"{maps[0]!r}; sequences (n, tokens, features) have their features last. Say it for each, by name or pattern: "
            f"channels={{{maps[0]!r}: 'first', {sequences[0]!r}: 'last'}}."
        )


# --- one layer -----------------------------------------------------------------------------------------------------------

_AXES = ("mean", "max", "positions", "cls", "last")  # rules for which the axis of the features matters


def _matrix_of(given: Any, name: str, rule: Any, channels: Any, mask: Any) -> Any:
    x = as_array(given, name)
    check_axes(x, given, name)
    if callable(rule):
        return _called(rule, given, x, name, mask)
    if rule is not None:
        check_choice("examples", "rule", rule, get_args(NamedRule))
    if channels is not None:
        check_choice("examples", "channels", channels, get_args(Channels))
    if x.ndim == 2:
        return given
    if rule is None:
        raise InvalidArrayError(f"{name} has shape {tuple(x.shape)}, and no pattern of rule matches its name; add one.")
    xp = namespace_of(x)
    if rule == "flatten":
        _refuse_mask(mask, name, "'flatten'")
        return relabelled(given, xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))))
    x = _features_last(x, name, rule, channels, xp)
    kept = None if mask is None else _checked_mask(mask, x, name)
    return (
        _unfolded(given, x, kept, name, xp) if rule == "positions" else relabelled(given, _pooled(x, kept, rule, name, xp))
    )


def _called(rule: Callable[[Array], Array], given: Any, x: Array, name: str, mask: Any) -> Any:
    _refuse_mask(mask, name, "a callable")
    made = as_array(rule(x), f"What the rule makes of {name}")
    if made.ndim != 2:
        raise InvalidArrayError(f"The rule makes an array of shape {tuple(made.shape)} of {name}; expected a matrix (n, p).")
    return relabelled(given, made) if made.shape[0] == x.shape[0] else made


def _refuse_mask(mask: Any, name: str, rule: str) -> None:
    if mask is not None:
        raise InvalidArrayError(
            f"mask is given for {name}, and the rule {rule} takes none. For a mapping of layers, give masks by pattern to "
            "those that have one: mask={pattern: mask}."
        )


def _features_last(x: Array, name: str, rule: str, channels: Channels | None, xp: Namespace) -> Array:
    shape = tuple(x.shape)
    if 0 in shape[1:]:
        raise InvalidArrayError(f"{name} has shape {shape}: it has no features, or no positions.")
    if rule in ("cls", "last") and x.ndim != 3:
        raise InvalidArrayError(
            f"{name} has shape {shape}; the rule {rule!r} takes a token of a sequence (n, tokens, features). For maps "
            "choose 'flatten', 'mean', 'max' or 'positions'."
        )
    if channels is None and x.ndim > 3:
        call = f"simkit.examples({name}, {rule!r}"
        raise InvalidArrayError(
            f"{name} has shape {shape}; the channels may be on its second axis or on its last. Say where: "
            f"{call}, channels='first') for {shape[1]} channels, {call}, channels='last') for {shape[-1]}."
        )
    return xp.moveaxis(x, 1, -1) if channels == "first" else x


def _pooled(x: Array, kept: Array | None, rule: str, name: str, xp: Namespace) -> Array:
    """One row for each example, in the precision that `x` was given in."""
    if kept is None and rule in ("cls", "last"):
        return x[:, 0 if rule == "cls" else -1, :]
    if kept is not None and not is_lazy(kept):
        _check_none_is_empty(kept, name)
        kept = xp.asarray(kept, **placement(x))
    pooled = _POOLS[rule](as_floating(x, name, xp), kept, xp)
    if kept is not None and is_lazy(kept):  # nobody has looked whether there is a token of each example
        pooled = xp.where(xp.any(kept, axis=_positions(x))[:, None], pooled, float("nan"))
    return in_precision_of(pooled, x, xp)


def _positions(x: Array) -> tuple[int, ...]:
    """The axes between that of the examples and that of the features."""
    return tuple(range(1, x.ndim - 1))


def _unfolded(given: Any, x: Array, kept: Array | None, name: str, xp: Namespace) -> Any:
    """Each position of each example, or those that are kept, as an example."""
    matrix = xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    if kept is None:
        return relabelled(given, matrix, positions=math.prod(x.shape[1:-1]))
    if is_lazy(kept):
        raise InvalidArrayError(
            f"The mask of {name} is lazy, and with 'positions' the number of examples depends on its values. Give it as a "
            "NumPy array (mask.compute() of a Dask array), or choose 'mean' or 'max'; jax.jit needs a mask made outside."
        )
    rows = np.flatnonzero(kept)
    return relabelled(given, take_rows(matrix, rows), positions=math.prod(x.shape[1:-1]), rows=rows)


# --- masks ---------------------------------------------------------------------------------------------------------------


def _checked_mask(mask: Any, x: Array, name: str) -> Array:
    """True where a position counts: on the host, or as it is where its values are not known; `x` has its features last."""
    found = as_array(mask, f"The mask of {name}")
    kind = dtype_name(found)
    if tuple(found.shape) != tuple(x.shape[:-1]):
        raise InvalidArrayError(
            f"The mask of {name} has shape {tuple(found.shape)}; expected one number for each position of each example, "
            f"{tuple(x.shape[:-1])}."
        )
    if kind != "bool" and not kind.startswith(("int", "uint")):
        raise InvalidDtypeError(
            f"The mask of {name} has dtype {kind}; expected bools, or zeros and ones, of which 1 is for what counts: "
            "mask > 0.5, or mask == 0 for one that is added to scores."
        )
    if is_lazy(found):
        if namespace_of(found) is not namespace_of(x):
            raise MixedArraysError(
                f"The mask of {name} is lazy and of another library than {name}. Give its values (mask.compute() of a Dask "
                "array), or both in one library."
            )
        return found != 0
    host = to_numpy(found)
    if not np.isin(host, (0, 1)).all():
        raise InvalidDtypeError(f"The mask of {name} holds other numbers than 0 and 1; expected 1 for what counts.")
    return host != 0


def _check_none_is_empty(kept: np.ndarray, name: str) -> None:
    empty = np.flatnonzero(~kept.any(axis=_positions(kept[..., None])))
    if empty.size:
        more = f" and of {empty.size - 1} others" if empty.size > 1 else ""
        raise InvalidArrayError(
            f"The mask of {name} leaves nothing of example {empty[0]}{more}. Leave such examples out of every layer."
        )


# --- pooling: (n, *positions, features) and which positions count, to (n, features) --------------------------------------


def _mean(x: Array, kept: Array | None, xp: Namespace) -> Array:
    if kept is None:
        return xp.mean(x, axis=_positions(x))
    kept = kept[..., None]
    total = xp.sum(xp.where(kept, x, 0.0), axis=_positions(x))
    return total / xp.clip(xp.sum(xp.astype(kept, x.dtype), axis=_positions(x)), min=1.0)


def _max(x: Array, kept: Array | None, xp: Namespace) -> Array:
    return xp.max(x if kept is None else xp.where(kept[..., None], x, -float("inf")), axis=_positions(x))


def _first(x: Array, kept: Array, xp: Namespace) -> Array:
    return _at(xp.min(xp.where(kept, _places(x, xp), float(x.shape[1])), axis=1), x, xp)


def _last(x: Array, kept: Array, xp: Namespace) -> Array:
    return _at(xp.max(xp.where(kept, _places(x, xp), -1.0), axis=1), x, xp)


def _places(x: Array, xp: Namespace) -> Array:
    """The numbers of the tokens, shape (1, tokens)."""
    return xp.arange(x.shape[1], dtype=x.dtype, **placement(x))[None, :]


def _at(token: Array, x: Array, xp: Namespace) -> Array:
    """One token of each example, as a sum in which the others are left out: each library has that, also lazily."""
    chosen = _places(x, xp) == token[:, None]
    return xp.sum(xp.where(chosen[..., None], x, 0.0), axis=1)


_POOLS: dict[str, Callable[..., Array]] = {"mean": _mean, "max": _max, "cls": _first, "last": _last}
