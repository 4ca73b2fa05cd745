"""Specs that nobody should write: an error of simkit's own, short and soon, or else a spec that round-trips."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import simkit
from simkit.errors import PluginError, SpecError, UnknownNameError
from simkit.indexes import CKA, CanonicalRidge, MutualKNN
from simkit.kernels import RBF, Polynomial
from simkit.spec import Spec, Specified, build, parse

MALFORMED = {
    "unhashable list": "cka(kernel=[1])",
    "unhashable dict": "cka(kernel={'a': 1})",
    "unhashable set": "cka(kernel={1})",
    "unhashable within a tuple": "cka(kernel=(1, [2]))",
    "set of lists": "cka(kernel={[1]})",
    "minus signs": "cka(k=" + "-" * 9000 + "1)",
    "more minus signs": "cka(k=" + "-" * 100_000 + "1)",
    "nots": "cka(k=" + "not " * 2000 + "1)",
    "attributes": "a" + ".a" * 4000,
    "sums": "1" + "+1" * 4000,
    "powers": "1" + "**1" * 3000,
    "parentheses": "(" * 5000 + ")" * 5000,
    "brackets": "cka(a=" + "[" * 4000 + "]" * 4000 + ")",
    "open calls": "cka(" * 2000,
    "nested specs": "a(b=" * 1600 + "c" + ")" * 1600,
    "ten megabytes": "a" * 10_000_000,
    "ten megabytes of calls": "cka(" * 2_500_000,
    "quotes": "'" * 9001,
    "pairs of quotes": "'a" * 4000,
    "colons": "a:" * 4000,
    "words with dots": "a.a-" * 2400,
    "lone surrogate": "\ud800",
    "lone surrogate in quotes": "cka(estimator='\ud800')",
    "NUL": "cka\0",
    "NUL in quotes": "cka(estimator='\0')",
    "duplicate": "cka(estimator=biased, estimator=lange)",
    "duplicate within": "cka(kernel=rbf(sigma=1, sigma=2))",
    "bytes": "cka(estimator=b'biased')",
    "f-string": "cka(estimator=f'{1}')",
    "lambda": "cka(estimator=lambda x: x)",
    "lambda of a distribution": "cka(estimator=lambda x:x)",
    "walrus": "cka(estimator=(a:=1))",
    "await": "await cka",
    "complex": "cka(estimator=1j)",
    "complex sum": "cka(estimator=1+1j)",
    "ellipsis": "cka(estimator=...)",
    "comprehension": "cka(estimator=[x for x in (1,)])",
    "comparison": "cka(estimator=1 is 1)",
    "number of 5000 digits": "mutual_knn(k=" + "9" * 5000 + ")",
    "number of 20000 bits": "mutual_knn(k=0x" + "f" * 5000 + ")",
    "wide letters": "\uff43\uff4b\uff41",
    "wide letter in a parameter": "cka(\uff4bernel=rbf)",
    "wide letter in a word": "cka(estimator=\uff42iased)",
    "mathematical letters": "\U0001d41c\U0001d424\U0001d41a",
    "ligature": "cka(estimator=\ufb01)",
    "invalid escape": r"cka(estimator='\d')",
    "invalid octal escape": r"cka(estimator='\777')",
    "number before a keyword": "cka(estimator=1or 2)",
    "two lines": "cka\ncka",
    "two statements": "cka; cka",
    "empty": "",
    "blank": " \t\n",
    "None": "None",
    "starred": "cka(*a)",
    "two distributions": "a:b:c",
    "slice": "cka[a:b]",
}
WRONG_VALUES = [
    "mutual_knn(k=1e999)",
    "mutual_knn(k=-1e999)",
    "mutual_knn(k=nan)",
    "mutual_knn(k=inf)",
    "mutual_knn(k='1')",
    "mutual_knn(k=None)",
    "mutual_knn(k=True)",
    "mutual_knn(k=(1,))",
    "svcca(threshold=1e999)",
    "cka(kernel=rbf(sigma=-1e999))",
    "cka(kernel=None)",
    "cka(estimator=())",
    "cka(estimator='" + "a" * 5000 + "')",
    "cka(" + "a" * 5000 + "=1)",
    "cka(estimator='x y:z')",
]
NO_SPECS = [None, 3, 0.5, float("nan"), {}, [1] * 10**5, b"cka", object(), object, type, np.zeros(3), Spec(3), Spec([])]  # type: ignore[arg-type]


def refused(make, *errors):
    """What it said, which is short and came soon, without a warning."""
    begin = time.process_time()
    with warnings.catch_warnings(record=True) as warned, pytest.raises(errors or SpecError) as caught:
        warnings.simplefilter("always")
        make()
    assert not warned
    assert time.process_time() - begin < 1
    message = str(caught.value)
    message.encode()
    assert len(message) < (700 if isinstance(caught.value, UnknownNameError) else 330)  # which names all that there are
    return message


@pytest.mark.parametrize("get", [parse, simkit.get_index, simkit.get_kernel])
@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed(text, get):
    assert "__from_distribution__" not in refused(lambda: get(text))


@pytest.mark.parametrize("text", WRONG_VALUES, ids=range(len(WRONG_VALUES)))
def test_wrong_values(text):
    refused(lambda: simkit.get_index(text))


@pytest.mark.parametrize("what", NO_SPECS, ids=range(len(NO_SPECS)))
def test_no_specs(what):
    assert "of an index" in refused(lambda: simkit.get_index(what))
    assert "of a kernel" in refused(lambda: simkit.get_kernel(what))
    refused(lambda: CKA(kernel=what))
    refused(lambda: simkit.compare(np.eye(5), np.eye(5), what))


def test_things_of_the_wrong_kind():
    refused(lambda: simkit.get_index(RBF()))
    refused(lambda: simkit.get_kernel(CKA()))
    refused(lambda: simkit.get_index(RBF))
    refused(lambda: simkit.get_index(simkit.Index))
    refused(lambda: simkit.get_kernel("cka"), UnknownNameError)
    refused(lambda: simkit.get_index("x" * 9999), UnknownNameError)
    refused(lambda: parse(None))
    assert "no parameter 'estimater'" in refused(lambda: simkit.get_index(CKA(), estimater="lange"))
    refused(lambda: simkit.get_index("cka(estimator=biased)", estimator="lange"))


@pytest.mark.parametrize("value", [[1], {}, np.ones(2), "x" * 10**6, 10**5000, float("nan"), 1j, object()], ids=type)
def test_wrong_values_in_python(value):
    refused(lambda: CKA(estimator=value))
    refused(lambda: MutualKNN(k=value))
    refused(lambda: RBF(fraction=value))


@dataclass(frozen=True)
class Anything(Specified):
    value: Any = None
    name = "anything"


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(-(2**1000), 2**1000) | st.floats(allow_nan=False),
        lambda inner: st.tuples(inner) | st.tuples(inner, inner),
        max_leaves=4,
    )
)
@example("\ufb01")
@example("\ud800")
@example("nan")
@example("None")
@example(float("inf"))
@example(-float("inf"))
@example(())
@example("my:name")
@example("'my:name'")
def test_values_round_trip(value):
    thing = Anything(value)
    if not (isinstance(value, tuple) and "inf" in str(value)):
        assert build(Anything, "anything", parse(str(thing)).parameters) == thing


@pytest.mark.parametrize("index", [CKA(kernel=RBF(sigma=1e300)), CanonicalRidge(kappa_x=1e-300), CKA(Polynomial(degree=9))])
def test_indexes_round_trip(index):
    assert simkit.get_index(str(index)) == index


VALID = [
    "cka(kernel=rbf(fraction=0.4), estimator=unbiased)",
    "simkit-similarity:cka",
    "svcca(threshold=0.95, summary='rho')",
]
PIECES = st.sampled_from(
    [*"()=,.:'\"\\ \n\0{}[]-*@#", "1e999", "lambda x: x", "\uff43", "\ud800", "(" * 300, "-" * 3000, "0" * 5000]
)


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        a, b = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        text = text[:a] + draw(PIECES | st.text(max_size=3)) + text[b if draw(st.booleans()) else a :]
    return text


@given(st.text() | mutated())
def test_random_text(text):
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert isinstance(parse(text), Spec)
            index = simkit.get_index(text)
        except (SpecError, UnknownNameError) as error:
            message = str(error)
        else:
            message = ""
            assert simkit.get_index(str(index)) == index
    message.encode()
    assert len(message) < 700
    assert time.process_time() - begin < 1


def test_a_class_that_fails_when_it_is_made():
    @dataclass(frozen=True)
    class Failing(CKA):
        how: Any = None

        def __post_init__(self):
            if self.how is not None:
                raise self.how

    assert isinstance(simkit.get_index(Failing), Failing)
    for error, expected in ((ValueError("x" * 10**5), SpecError), (KeyError(1), PluginError), (SystemExit(3), PluginError)):
        with pytest.raises(expected, match=r"^cka") as caught:
            simkit.get_index(Failing, how=error)
        assert caught.value.__cause__ is error
        assert len(str(caught.value)) < 330
