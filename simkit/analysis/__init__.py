"""Analyses of the paper that are built on the indexes."""

from simkit.analysis.correspondence import LayerAccuracy, jackknife_test, layer_accuracy

__all__ = ["LayerAccuracy", "jackknife_test", "layer_accuracy"]
