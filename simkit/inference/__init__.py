"""How sure is a similarity? Intervals, permutation test and noise ceiling, for any index.

The unit of all of them is the example: rows are resampled, permuted or left out, of both layers together or of one. If
examples belong together (tokens of one text, frames of one film), say so with `groups`, or intervals come out too narrow.

All of them take two arrays, or two dictionaries of layers: then each layer is prepared once, and the same examples are
drawn, left out or permuted for all pairs. `interval` chooses the method that is valid for an index, and says which;
`bootstrap` and `jackknife` are for those who ask for one. Everything works on arrays of any framework, where they are;
results are numbers and NumPy arrays.
"""

from simkit.inference.averages import chance
from simkit.inference.bounds import Interval
from simkit.inference.ceilings import NoiseCeiling, noise_ceiling
from simkit.inference.intervals import IntervalResult, interval
from simkit.inference.leaving_out import JackknifeResult, jackknife
from simkit.inference.permuting import PermutationResult, permutation_test
from simkit.inference.resampling import BootstrapResult, bootstrap

__all__ = [
    "BootstrapResult",
    "Interval",
    "IntervalResult",
    "JackknifeResult",
    "NoiseCeiling",
    "PermutationResult",
    "bootstrap",
    "chance",
    "interval",
    "jackknife",
    "noise_ceiling",
    "permutation_test",
]
