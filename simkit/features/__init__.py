"""Activations on disk: written batch by batch with a manifest, continued where they were interrupted, read in parts."""

from __future__ import annotations

from simkit.features.stored import StoredActivations, open_activations
from simkit.features.writer import ActivationWriter
from simkit.formats.manifest import Manifest

__all__ = ["ActivationWriter", "Manifest", "StoredActivations", "open_activations"]
