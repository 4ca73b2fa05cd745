"""What simkit raises and warns about."""

from __future__ import annotations

from simkit.text import printable

__all__ = [
    "AccuracyWarning",
    "ChanceWarning",
    "CheckpointError",
    "ClusterError",
    "ClusterMemoryError",
    "ClusterWarning",
    "ConstantInputWarning",
    "DataWarning",
    "ExtractionError",
    "ExtractionWarning",
    "InferenceError",
    "InferenceWarning",
    "InvalidArrayError",
    "InvalidDtypeError",
    "MixedArraysError",
    "NeedsAllExamplesError",
    "PluginError",
    "SimkitError",
    "SpecError",
    "TooLargeError",
    "UnknownNameError",
    "UnsupportedError",
]


class SimkitError(Exception):
    """Base class of every error that simkit raises on purpose."""

    def __str__(self) -> str:
        """The message, in which names and paths, which are data, cannot act on a terminal."""
        return printable(super().__str__(), keep="\n")


class InvalidArrayError(SimkitError, ValueError):
    """An array has the wrong shape, too few examples, or values that are not finite."""


class InvalidDtypeError(SimkitError, TypeError):
    """An array holds something other than real numbers."""


class MixedArraysError(SimkitError, TypeError):
    """Arrays of two frameworks, or on two devices, in one comparison."""


class SpecError(SimkitError, ValueError):
    """A spec string cannot be read, or names a parameter that does not exist."""


class UnknownNameError(SimkitError, LookupError):
    """No index or kernel is registered under a name."""


class PluginError(SimkitError, RuntimeError):
    """An entry point is there, but what it offers cannot be used."""


class NeedsAllExamplesError(SimkitError, ValueError):
    """The index needs all examples at once, so it cannot be computed from a stream or from chunks."""


class UnsupportedError(SimkitError, TypeError):
    """An index does not run on this array library or inside a transformation, or the library lacks a precision."""


class CheckpointError(SimkitError, ValueError):
    """A saved stream, state or matrix cannot be read: it is damaged, of another kind, or of a newer format."""


class TooLargeError(SimkitError, MemoryError):
    """The work would need more memory than there is; the message says what would fit."""


class InferenceError(SimkitError, ValueError):
    """An interval is not valid, or not defined, in the way that was asked for; the message says which way there is."""


class InferenceWarning(RuntimeWarning):
    """An interval does not say what it seems to say; the message says why."""


class ClusterError(SimkitError, RuntimeError):
    """A cluster or a process group cannot finish the work: what it needs is gone, or does not answer in time."""


class ClusterMemoryError(ClusterError, MemoryError):
    """A task needs more memory than the workers of a cluster may use."""


class ClusterWarning(RuntimeWarning):
    """Work on a cluster or in a process group is held up; the message says by what, and what can be done."""


class ExtractionError(SimkitError, ValueError):
    """Activations cannot be taken from a model as asked: layers, batches or rules that do not fit; the message says why."""


class ExtractionWarning(RuntimeWarning):
    """Something of a model is left out of its activations; the message says what and why."""


class AccuracyWarning(RuntimeWarning):
    """The result may be less accurate than the precision of the data; the message says how to get an accurate one."""


class ChanceWarning(RuntimeWarning):
    """Scores are hardly above those of layers that have nothing to do with each other; the message says what to do."""


class ConstantInputWarning(RuntimeWarning):
    """A representation does not vary over the examples, as the index sees it, so its similarity is undefined (nan)."""


class DataWarning(RuntimeWarning):
    """A file may not hold all that it declares, or activations may be of different examples; the message says why."""
