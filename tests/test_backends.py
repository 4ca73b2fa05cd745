"""The fixture that the other tests rely on."""

import numpy as np
import pytest
from backends import Backend


def test_round_trip_keeps_values_and_dtype(backend: Backend):
    for dtype in ("float32", "float64", "int32"):
        array = np.arange(6, dtype=dtype).reshape(3, 2)
        there = backend.asarray(array)
        assert there.dtype == backend.dtype(dtype)
        back = backend.to_numpy(there)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.backends("numpy:readonly")
def test_read_only_arrays_cannot_be_written_to(backend: Backend):
    array = backend.asarray(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


@pytest.mark.backends("array_api_strict")
def test_strict_arrays_refuse_boolean_indexing(backend: Backend):
    array = backend.asarray(np.zeros((2, 2)))
    with pytest.raises(RuntimeError, match="boolean"):
        array[array == 0]
