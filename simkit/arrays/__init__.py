"""Arrays of any library: what users pass in, a checked real matrix of n examples out.

The design must satisfy:

- libraries are recognised without being imported;
- what enters as float32 on a GPU is still float32 on that GPU afterwards;
- every complaint is made here, before any work starts, and says what to do about it;
- a lazy array (Dask, a JAX tracer) is never computed for the sake of a check.

Only this package, ``linalg.py``, ``scale/dask.py`` and ``torch/`` know libraries by name.
"""

from __future__ import annotations

from simkit.arrays.alignment import check_labels
from simkit.arrays.conversion import as_array
from simkit.arrays.labels import relabelled
from simkit.arrays.libraries import (
    Array,
    Namespace,
    describe,
    dtype_name,
    is_at_hand,
    is_compiling,
    is_dask,
    is_lazy,
    is_traced,
    library_of,
    namespace_of,
    wants_gradients,
    written_library,
)
from simkit.arrays.matrices import as_matrix, check_axes
from simkit.arrays.pairs import as_pair, check_same_examples, check_same_framework
from simkit.arrays.placement import (
    all_to_numpy,
    constant_of,
    detach,
    is_viewable,
    number_of,
    on_host,
    placement,
    take_rows,
    to_numpy,
    unwritable,
)
from simkit.arrays.precision import accumulation_dtype, as_floating, in_one_precision, in_precision_of, rounding_of
from simkit.arrays.values import check_matrix, check_values, count_nonfinite, is_constant, varies
from simkit.warn import warn_caller

__all__ = [
    "Array",
    "Namespace",
    "accumulation_dtype",
    "all_to_numpy",
    "as_array",
    "as_floating",
    "as_matrix",
    "as_pair",
    "check_axes",
    "check_labels",
    "check_matrix",
    "check_same_examples",
    "check_same_framework",
    "check_values",
    "constant_of",
    "count_nonfinite",
    "describe",
    "detach",
    "dtype_name",
    "in_one_precision",
    "in_precision_of",
    "is_at_hand",
    "is_compiling",
    "is_constant",
    "is_dask",
    "is_lazy",
    "is_traced",
    "is_viewable",
    "library_of",
    "namespace_of",
    "number_of",
    "on_host",
    "placement",
    "relabelled",
    "rounding_of",
    "take_rows",
    "to_numpy",
    "unwritable",
    "varies",
    "wants_gradients",
    "warn_caller",
    "written_library",
]
