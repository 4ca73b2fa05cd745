"""Analyses of the paper that are built on the indexes."""

from simkit.analysis.components import PrincipalComponents, principal_components
from simkit.analysis.correspondence import LayerAccuracy, jackknife_test, layer_accuracy
from simkit.analysis.probes import LinearProbe, linear_probe
from simkit.analysis.subspace import SharedSubspace, shared_subspace
from simkit.analysis.sweeps import Sweep, sweep
from simkit.analysis.within_class import WithinClass, within_class

__all__ = [
    "LayerAccuracy",
    "LinearProbe",
    "PrincipalComponents",
    "SharedSubspace",
    "Sweep",
    "WithinClass",
    "jackknife_test",
    "layer_accuracy",
    "linear_probe",
    "principal_components",
    "shared_subspace",
    "sweep",
    "within_class",
]
