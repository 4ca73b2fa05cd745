"""Figure 3 of the paper, bottom: what a linear classifier reads from each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import as_matrix, check_matrix, is_lazy, to_numpy
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.optional import needed_for
from simkit.spec import check_number

if TYPE_CHECKING:
    import pandas

__all__ = ["LinearProbe", "linear_probe"]


@dataclass(frozen=True)
class LinearProbe:
    """Accuracy of a linear classifier on each layer.

    Attributes
    ----------
    layers : tuple of str
    accuracy : tuple of float
        Share of held-out examples that are classified rightly, for each layer.
    train_accuracy : tuple of float
        Of the examples it was fitted to.
    C : tuple of float
        Inverse strength of the penalty, for each layer.
    n_train, n_test : int
        Numbers of examples.
    """

    layers: tuple[str, ...]
    accuracy: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    C: tuple[float, ...]
    n_train: int
    n_test: int

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each layer."""
        with needed_for("to_pandas", "pandas", "simkit-similarity[labels]"):
            import pandas as pd

        columns = {"accuracy": self.accuracy, "train_accuracy": self.train_accuracy, "C": self.C}
        return pd.DataFrame(columns, index=pd.Index(self.layers, name="layer"))


def linear_probe(
    layers: Mapping[str, Any],
    labels: Any,
    test_layers: Mapping[str, Any] | None = None,
    test_labels: Any = None,
    *,
    C: float | None = 1.0,
    standardise: bool = True,
    held_out: float = 0.25,
    seed: int = 0,
    max_iter: int = 1000,
) -> LinearProbe:
    """Fit an L2-regularised multinomial logistic regression to each layer, and count what it gets right on other examples.

    Parameters
    ----------
    layers : mapping of names to arrays (n, p)
        Of any framework; scikit-learn fits on the host.
    labels : sequence of n labels
    test_layers, test_labels : like `layers` and `labels`, optional
        Held-out examples. By default a share of the examples is held out, stratified by class.
    C : float, optional
        Inverse strength of the penalty, as in scikit-learn; None chooses among 1e-4 to 1e4 by 5-fold cross-validation on the
        training examples.
    standardise : bool
        Divide features by their standard deviations on the training examples, so that the penalty is fair to all.
    held_out : float
        Share of the examples to hold out where there is no test set, in (0, 1).
    seed : int
        Of the split.
    max_iter : int
        Of the solver.

    Returns
    -------
    LinearProbe

    Raises
    ------
    InvalidArrayError
        Labels and examples do not fit together, or there is one class only.
    ImportError
        scikit-learn is not installed.

    References
    ----------
    Alain & Bengio 2016; Kornblith et al. 2019, Figure 3.
    """
    with needed_for("linear_probe", "scikit-learn", "scikit-learn"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, train_test_split
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    if C is not None:
        check_number("linear_probe", "C", C, above=0)
    check_number("linear_probe", "held_out", held_out, above=0)
    if (test_layers is None) != (test_labels is None):
        raise InvalidArrayError("Give both test_layers and test_labels, or neither.")
    train, classes = _checked(layers, labels, "layers")
    if test_layers is None:
        if held_out >= 1:
            raise InvalidArrayError(f"held_out={held_out}; expected a share below 1.")
        split = train_test_split(np.arange(len(classes)), test_size=held_out, stratify=classes, random_state=seed)
        test, test_classes = {name: x[split[1]] for name, x in train.items()}, classes[split[1]]
        train, classes = {name: x[split[0]] for name, x in train.items()}, classes[split[0]]
    else:
        test, test_classes = _checked(test_layers, test_labels, "test_layers")
        if list(test) != list(train):
            raise InvalidArrayError(f"test_layers has {', '.join(test)}; expected the layers {', '.join(train)}.")
    if len(np.unique(classes)) < 2:
        raise InvalidArrayError("All examples have one label; a classifier needs two classes at least.")
    found: list[tuple[float, float, float]] = []
    for name, x in train.items():
        probe = make_pipeline(StandardScaler(with_std=standardise), LogisticRegression(C=C or 1.0, max_iter=max_iter))
        strength = C
        if strength is None:
            grid = GridSearchCV(probe, {"logisticregression__C": np.logspace(-4, 4, 9)}, cv=5).fit(x, classes)
            probe, strength = grid.best_estimator_, float(grid.best_params_["logisticregression__C"])
        else:
            probe.fit(x, classes)
        found.append((float(probe.score(test[name], test_classes)), float(probe.score(x, classes)), strength))
    held, own, strengths = zip(*found, strict=True)
    return LinearProbe(tuple(train), held, own, strengths, len(classes), len(test_classes))


def _checked(layers: Mapping[str, Any], labels: Any, what: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    if not layers:
        raise InvalidArrayError(f"{what} is empty; expected a mapping of names to arrays (n, p).")
    values = to_numpy(labels)
    host = {}
    for name, x in layers.items():
        matrix = as_matrix(x, name)
        if is_lazy(matrix):
            raise NeedsAllExamplesError(f"{name} is lazy; scikit-learn needs its values: pass .compute().")
        check_matrix(matrix, name)
        if values.shape != (matrix.shape[0],):
            raise InvalidArrayError(f"{name} has {matrix.shape[0]} examples, but the labels have shape {values.shape}.")
        host[name] = to_numpy(matrix)
    return host, values
