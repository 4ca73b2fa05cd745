"""The conformance kit: does an index or a kernel keep what it declares?

For authors of plugins, and for simkit's own indexes and kernels::

    import simkit.testing

    @simkit.testing.parametrize("my_index", "my_index(parameter=2)", "my_kernel")
    def test_conformance(check):
        check()

or, in one call that reports everything that is wrong, `check_index` and `check_kernel`. `examine_index` and `examine_kernel`
give the same report without raising. Every check is on random layers from a fixed seed, needs NumPy only, and is skipped,
with the reason, where it is about a library that is not installed.
"""

from simkit.testing.conformance import check_index, check_kernel, examine_index, examine_kernel, index_checks, kernel_checks
from simkit.testing.hard import HardPair, hard_pairs
from simkit.testing.marks import parametrize
from simkit.testing.report import ConformanceError, Finding, Report

__all__ = [
    "ConformanceError",
    "Finding",
    "HardPair",
    "Report",
    "check_index",
    "check_kernel",
    "examine_index",
    "examine_kernel",
    "hard_pairs",
    "index_checks",
    "kernel_checks",
    "parametrize",
]
