"""What `simkit.torch.activations` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from simkit.text import printable, shortened

__all__ = ["Activations"]


class Activations(dict[str, torch.Tensor]):
    """Matrices of examples by features, by the names of layers, and how they came about: a dictionary.

    Attributes
    ----------
    rules : dict of str to str
        How the output of each layer became a matrix, in words.
    fingerprint : str or None
        Of the inputs in their order: two runs over the same data have the same one. None for inputs that have no values to
        look at.
    model : str
        The class of the model.
    """

    def __init__(
        self, layers: Mapping[str, torch.Tensor], *, rules: Mapping[str, str], fingerprint: str | None, model: str
    ) -> None:
        super().__init__(layers)
        self.rules, self.fingerprint, self.model = dict(rules), fingerprint, model

    @property
    def details(self) -> dict[str, Any]:
        """Model, rules and fingerprint, as one side of `simkit.SimilarityMatrix.details`."""
        return {"model": self.model, "rules": dict(self.rules), "fingerprint": self.fingerprint}

    def __repr__(self) -> str:
        lines = [f"<Activations of {printable(self.model)}: {len(self)} layers"]
        width = min(40, max((len(printable(name)) for name in self), default=0))
        for name, x in self.items():
            shape = str(tuple(x.shape))
            lines.append(f"  {shortened(printable(name), 40):{width}}  {shape:14}  {self.rules.get(name, '')}".rstrip())
        return "\n".join(lines) + ">"
