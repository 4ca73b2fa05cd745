"""Similarity as a loss: representations that are trained to be alike, or to differ."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from simkit.arrays import is_lazy
from simkit.errors import InvalidArrayError, MixedArraysError, SimkitError, UnsupportedError
from simkit.registry import get_index, list_indexes
from simkit.spec import check_choice
from simkit.text import shown

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["CKALoss", "SimilarityLoss", "Target", "Undefined"]

Target: TypeAlias = Literal["similar", "different"]
Undefined: TypeAlias = Literal["raise", "nan"]


class SimilarityLoss(nn.Module):
    r"""A loss that makes two representations of a batch alike, or unlike, as an index of similarity sees it.

    With s the score of the index, the loss to be minimised is

    ====================================  ===================  ====================
    index                                 target="similar"     target="different"
    ====================================  ===================  ====================
    a similarity, s(X, X) = 1             1 - s                s
    a distance, s(X, X) = 0               s                    -s
    no fixed s(X, X): hsic, mmd           -s                   s
    ====================================  ===================  ====================

    Parameters
    ----------
    index : str or Index
        Any index that gradients flow through, as in `simkit.compare`: ``"cka"``, ``"procrustes(summary=distance)"``.
    target : {"similar", "different"}
        "similar" for distillation and alignment, "different" for a regulariser that pushes representations apart.
    flatten : bool
        Accept tensors of more than two dimensions and flatten each example. For pooling over positions or tokens call
        `simkit.examples` first, through which gradients flow.
    undefined : {"raise", "nan"}
        What happens to a batch that has no score, since one of its representations is the same for all examples: an error,
        or a warning and a loss of nan. Its gradient with respect to X and Y is zero, so that a step with other losses, or
        with none, does not spoil the weights. In a compiled graph, which can neither raise nor warn, it is always "nan".
    **parameters
        Parameters of the index, such as ``estimator="unbiased"``.

    Raises
    ------
    UnsupportedError
        No gradients flow through the index; the message lists the indexes that have some.
    UnknownNameError, SpecError, PluginError
        The index cannot be made; see `simkit.get_index`.

    Notes
    -----
    The score is that of the batch, so it depends on the size of the batch. The biased `cka` is too high for wide layers and
    small batches, unrelated ones too; ``estimator="unbiased"`` has no such bias. Indexes that are invariant to invertible
    linear transforms (`cca`, `linear_regression`) are 1 with a gradient of 0 where a layer has as many features as the batch
    has examples.

    Half precision is computed in float32, also under ``torch.autocast``; the loss is in float32, or in float64 for tensors
    in float64. ``torch.compile(fullgraph=True)`` works for the indexes that declare it (`Facts.capabilities`). There are no
    parameters and no buffers, so the ``state_dict`` is empty.

    Examples
    --------
    >>> import torch
    >>> from simkit.torch import SimilarityLoss
    >>> student, teacher = torch.randn(64, 32, requires_grad=True), torch.randn(64, 100)
    >>> loss = SimilarityLoss("cka", estimator="unbiased")
    >>> loss(student, teacher).backward()
    >>> loss
    SimilarityLoss(index='cka(estimator=unbiased)', target='similar')
    """

    def __init__(
        self,
        index: str | Index[Any] | type[Index[Any]] = "cka",
        *,
        target: Target = "similar",
        flatten: bool = False,
        undefined: Undefined = "raise",
        **parameters: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_choice(name, "target", target, ("similar", "different"))
        check_choice(name, "undefined", undefined, ("raise", "nan"))
        self.index, self.target, self.flatten, self.undefined = get_index(index, **parameters), target, flatten, undefined
        facts = self.index.facts
        if not _is_trainable(self.index):
            raise UnsupportedError(
                f"{self.index} has no gradients in PyTorch, so it is no loss. These have: {', '.join(_trainable())}."
            )
        sign = 1.0 if facts.identity == 0 else -1.0
        self._sign = sign if target == "similar" else -sign
        self._offset = float(facts.identity or 0.0) if target == "similar" else 0.0

    def forward(self, X: Tensor, Y: Tensor) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        X, Y : Tensor, shapes (n, p1) and (n, p2)
            Row i of both is the same example. Gradients flow into both; ``detach()`` the one that is to stay as it is.

        Returns
        -------
        Tensor, shape ()
            float32, or float64 where X or Y is in float64.

        Raises
        ------
        InvalidArrayError
            Too few examples, different numbers of them, no matrices, values that are nan or inf; or, with
            ``undefined="raise"``, a batch that has no score.
        MixedArraysError
            No tensors, or on two devices.

        Warns
        -----
        ConstantInputWarning
            With ``undefined="nan"``: a batch that has no score.
        """
        for name, x in (("X", X), ("Y", Y)):
            if not isinstance(x, Tensor):
                raise MixedArraysError(f"{name} is a {type(x).__name__}; {type(self).__name__} takes tensors of PyTorch.")
        with torch.autocast(X.device.type, enabled=False):  # simkit does so itself, but not in a compiled graph
            score = self.index(_Gate.apply(X), _Gate.apply(Y), flatten=self.flatten)
            if self.undefined == "raise" and not is_lazy(score) and not bool(torch.isfinite(score)):
                raise InvalidArrayError(
                    f"{self.index} of this batch is {score.item()}, so it has no loss: see the warning before for the "
                    'reason. Leave such a batch out, or give undefined="nan", which leaves its gradient out.'
                )
            return self._offset + self._sign * score

    def extra_repr(self) -> str:
        """The settings, for ``repr``."""
        given = [f"index={shown(str(self.index))}", f"target={self.target!r}"]
        given += [f"flatten={self.flatten}"] * self.flatten + [f"undefined={self.undefined!r}"] * (self.undefined != "raise")
        return ", ".join(given)


class CKALoss(SimilarityLoss):
    """1 - CKA of two representations of a batch, or CKA with ``target="different"``: `SimilarityLoss` of ``"cka"``.

    Parameters
    ----------
    kernel : str or Kernel
        ``"linear"``, ``"rbf(fraction=0.4)"`` and others; see `simkit.list_kernels`.
    estimator : {"biased", "unbiased", "lange"}
        Of HSIC. The biased one is too high for wide layers and small batches.
    target, flatten, undefined
        As in `SimilarityLoss`.

    References
    ----------
    Kornblith, Norouzi, Lee & Hinton, Similarity of Neural Network Representations Revisited, ICML 2019, equation 3 of CKA.
    """

    def __init__(
        self,
        *,
        kernel: Any = "linear",
        estimator: str = "biased",
        target: Target = "similar",
        flatten: bool = False,
        undefined: Undefined = "raise",
    ) -> None:
        super().__init__("cka", target=target, flatten=flatten, undefined=undefined, kernel=kernel, estimator=estimator)


class _Gate(torch.autograd.Function):
    """The tensor as it is; its gradient too, but zero where a part of it is nan, as that of an undefined score is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.where(torch.isnan(gradient).any(), torch.zeros_like(gradient), gradient)


def _is_trainable(index: Index[Any]) -> bool:
    return {"torch", "gradients"} <= index.facts.capabilities


def _trainable() -> list[str]:
    """The names of the indexes that can be a loss with their default parameters."""
    found = []
    for name in list_indexes():
        with contextlib.suppress(SimkitError):  # a plugin that cannot be loaded
            if _is_trainable(get_index(str(name))):
                found.append(str(name))
    return found
