"""What a store of activations says of itself: its layers, how they became examples, of which data, and how far it is whole.

A store is a folder: ``NAME.zarr``, a Zarr group with an array for each layer, whose attributes hold the manifest, or
``NAME.safetensors`` with shards of some examples each and the manifest in ``simkit.json``. The manifest is written last and
at once, so that what it counts is there, whatever else is. Names of layers are data: paths are made of keys, which the
manifest gives and which are checked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from simkit.errors import InvalidArrayError
from simkit.files import whole_file
from simkit.formats.damage import reading
from simkit.formats.paths import check_file
from simkit.text import shown

__all__ = ["DTYPES", "LAYOUTS", "Layout", "Manifest", "Shard", "StoredLayer", "keys_of", "manifest_file", "read_manifest"]

Layout = Literal["zarr", "safetensors"]
LAYOUTS: dict[str, Layout] = {".zarr": "zarr", ".safetensors": "safetensors"}
# The dtypes that are stored, and how `simkit.formats.numbers` calls them.
DTYPES = {
    **{"bool": "|b1", "float16": "<f2", "float32": "<f4", "float64": "<f8"},
    **{"int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8"},
    **{"uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8"},
    **{"bfloat16": "bfloat16", "float8_e4m3fn": "float8_e4m3", "float8_e5m2": "float8_e5m2"},
}

_VERSION = 1
_MARK = "simkit_features"
_LARGEST = 2**28  # bytes; that of ten million batches
_KEY = re.compile(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[a-z0-9](?:[a-z0-9_.#-]{0,98}[a-z0-9_#-])?", re.IGNORECASE)
_FALLBACK = re.compile(r"escaped_\d+", re.IGNORECASE)
_SHARD = re.compile(r"shard-\d{6,12}\.safetensors")
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class StoredLayer:
    """A layer of a store.

    Attributes
    ----------
    name : str
    key : str
        What it is called in the files.
    features : tuple of int
        Shape of one example.
    dtype : str
        In which it was given. Zarr holds bfloat16 and float8 as float32, without loss.
    rule : str
        How its activations became examples, in words.
    n : int
        Rows that are whole.
    """

    name: str
    key: str
    features: tuple[int, ...]
    dtype: str
    rule: str = ""
    n: int = 0


@dataclass(frozen=True)
class Shard:
    """A file of some rows of each layer, in the order of the layers."""

    file: str
    rows: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a store holds.

    Attributes
    ----------
    layout : {"zarr", "safetensors"}
    complete : bool
        Its writer has come to the end of the data.
    layers : tuple of StoredLayer
    batches : tuple of (int, str)
        Of each batch that is whole: examples, and the first 16 digits of the fingerprint of all examples up to its end.
    fingerprint : str
        Of the inputs of all examples (`simkit.arrays.fingerprints`), 64 hexadecimal digits.
    model, weights : str or None
        Its class, and a fingerprint of what it has learnt.
    settings : mapping
        With what the activations were asked for.
    versions : mapping of str to str
        Of distributions.
    shards : tuple of Shard
    """

    layout: Layout
    complete: bool = False
    layers: tuple[StoredLayer, ...] = ()
    batches: tuple[tuple[int, str], ...] = ()
    fingerprint: str = "0" * 64
    model: str | None = None
    weights: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    shards: tuple[Shard, ...] = ()

    @property
    def examples(self) -> int:
        """Examples that the model has seen."""
        return sum(count for count, _ in self.batches)

    @property
    def details(self) -> dict[str, Any]:
        """How the layers came about, as in `simkit.SimilarityMatrix.details`."""
        found: dict[str, Any] = {"rules": {layer.name: layer.rule for layer in self.layers}, "fingerprint": self.fingerprint}
        if self.model is not None:
            found["model"] = self.model
        if self.weights is not None:
            found["weights"] = self.weights
        return found

    def write(self, path: Path) -> None:
        """Write it into the folder `path`, in the place of the one before; after a power cut there is one of the two."""
        content = {_MARK: _VERSION, **asdict(self)}
        content["sha256"] = _checksum(content)
        document = content
        if self.layout == "zarr":
            document = {"zarr_format": 3, "node_type": "group", "attributes": {_MARK: content}}
        with whole_file(manifest_file(path), force=True) as temporary:
            temporary.write_text(json.dumps(document), encoding="ascii")

    def check_complete(self, path: Path, *, partial: bool = False) -> None:
        """Raise for a store whose writer has not come to the end, unless it may be a part of the data.

        Raises
        ------
        InvalidArrayError
        """
        if not (self.complete or partial):
            raise InvalidArrayError(
                f"{path} is not finished: {len(self.batches)} batches ({self.examples} examples) are whole. Run what wrote "
                "it again to go on from there, or read what there is: simkit.open_source(path, missing='ignore'), "
                f"{'' if self.layout == 'zarr' else '--chunks 8192 '}--missing ignore."
            )


def manifest_file(path: Path) -> Path:
    """Where a store has its manifest."""
    return path / ("zarr.json" if path.suffix.lower() == ".zarr" else "simkit.json")


def keys_of(names: Iterable[str]) -> dict[str, str]:
    """A key for each name: the name itself where it can name a file everywhere, and no other layer has it, or a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for place, name in enumerate(names):
        fits = _KEY.fullmatch(name) and not _FALLBACK.fullmatch(name) and name.lower() not in taken | {"zarr.json"}
        found[name] = name if fits else f"escaped_{place}"
        taken.add(found[name].lower())
    return found


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of a folder; None if it is not one of simkit's stores.

    Raises
    ------
    InvalidArrayError
        It is damaged, contradicts itself, or is of a newer format.
    """
    file = manifest_file(path)
    if not path.is_dir() or not file.exists():
        return None
    size = check_file(file)
    if size > _LARGEST:
        raise InvalidArrayError(f"{file} has {size} bytes, more than a manifest can have: it is damaged.")
    raw = file.read_bytes()
    is_ours = file.name == "simkit.json" or _MARK.encode() in raw
    if not is_ours:
        return None
    with reading(f"{file} cannot be read as the manifest of a store of activations", "it is damaged"):
        document = json.loads(raw.decode("utf-8"))
    fields = _Fields(document, file)
    if path.suffix.lower() == ".zarr":
        if fields.take("node_type", str) != "group" or fields.take("zarr_format", int) != 3:
            return None
        attributes = fields.take("attributes", dict)
        if _MARK not in attributes:
            return None
        fields = _Fields(attributes[_MARK], file)
    return _parsed(fields, LAYOUTS.get(path.suffix.lower(), "safetensors"))


def _parsed(fields: _Fields, layout: Layout) -> Manifest:
    version = fields.take(_MARK, int)
    if version > _VERSION:
        raise InvalidArrayError(
            f"{fields.file} was written by a newer simkit, in format {version}; this one reads stores of activations up to "
            f"format {_VERSION}. Update simkit to read it."
        )
    if fields.take("sha256", str) != _checksum(fields.values):
        raise fields.wrong("its checksum is not that of what it says")
    if fields.take("layout", str) != layout:
        raise fields.wrong(f"it is that of a {shown(fields.values['layout'])} store")
    manifest = Manifest(
        layout=layout,
        complete=fields.take("complete", bool),
        layers=tuple(map(_layer, fields.below("layers"))),
        batches=tuple(_batch(item, fields) for item in fields.take("batches", list)),
        fingerprint=fields.hex("fingerprint", 64),
        model=fields.take("model", (str, type(None))),
        weights=fields.take("weights", (str, type(None))),
        settings=fields.take("settings", dict),
        versions=fields.take("versions", dict),
        shards=tuple(map(_shard, fields.below("shards"))),
    )
    _check(manifest, fields)
    return manifest


def _layer(fields: _Fields) -> StoredLayer:
    layer = StoredLayer(
        name=fields.take("name", str),
        key=fields.take("key", str),
        features=fields.counts("features"),
        dtype=fields.take("dtype", str),
        rule=fields.take("rule", str),
        n=fields.count("n"),
    )
    if not _KEY.fullmatch(layer.key) or layer.key.lower() == "zarr.json":
        raise fields.wrong(f"the key {shown(layer.key)} of a layer is no name of a file")
    if layer.dtype not in DTYPES:
        raise fields.wrong(f"a layer has dtype {shown(layer.dtype)}; expected {', '.join(DTYPES)}")
    return layer


def _shard(fields: _Fields) -> Shard:
    shard = Shard(file=fields.take("file", str), rows=fields.counts("rows"), size=fields.count("size"))
    if not _SHARD.fullmatch(shard.file):
        raise fields.wrong(f"the file {shown(shard.file)} is no shard")
    return shard


def _batch(item: Any, fields: _Fields) -> tuple[int, str]:
    if not (isinstance(item, list) and len(item) == 2 and type(item[0]) is int and item[0] >= 0 and _is_hex(item[1], 16)):
        raise fields.wrong(f"a batch is {shown(item)}; expected its examples and 16 digits")
    return item[0], item[1]


def _check(manifest: Manifest, fields: _Fields) -> None:
    """Raise if its parts contradict each other."""
    for what in ("name", "key"):
        values = [getattr(layer, what) for layer in manifest.layers]
        if len(set(values)) < len(values):
            raise fields.wrong(f"two layers have one {what}")
    if manifest.batches and not manifest.fingerprint.startswith(manifest.batches[-1][1]):
        raise fields.wrong("the fingerprint is not that of its last batch")
    if manifest.complete and not manifest.layers:
        raise fields.wrong("it has no layers, and is called complete")
    if manifest.layout == "safetensors":
        if any(len(shard.rows) != len(manifest.layers) for shard in manifest.shards):
            raise fields.wrong("a shard has not as many rows as there are layers")
        sums = [sum(rows) for rows in zip(*(shard.rows for shard in manifest.shards), strict=True)]
        if sums != [layer.n for layer in manifest.layers if manifest.shards]:
            raise fields.wrong("the rows of its shards are not those of its layers")
        if len({shard.file for shard in manifest.shards}) < len(manifest.shards):
            raise fields.wrong("two shards are one file")


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and _HEX.fullmatch(value) is not None


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class _Fields:
    """A JSON object from outside, whose values are checked as they are taken."""

    values: Any
    file: Path

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise self.wrong(f"{shown(self.values)} stands where an object is expected")

    def wrong(self, why: str) -> InvalidArrayError:
        return InvalidArrayError(f"{self.file} is damaged or was changed: {why}. Write the store again, with force=True.")

    def take(self, name: str, kinds: type | tuple[type, ...]) -> Any:
        if name not in self.values:
            raise self.wrong(f"it lacks {name!r}")
        value = self.values[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is int):
            raise self.wrong(f"{name!r} is {shown(value)}, of another type than expected")
        return value

    def below(self, name: str) -> list[_Fields]:
        return [replace(self, values=item) for item in self.take(name, list)]

    def count(self, name: str) -> int:
        return self._checked(name, self.take(name, int))

    def counts(self, name: str) -> tuple[int, ...]:
        return tuple(self._checked(name, item) for item in self.take(name, list))

    def hex(self, name: str, digits: int) -> str:
        value = self.take(name, str)
        if not _is_hex(value, digits):
            raise self.wrong(f"{name!r} is {shown(value)}; expected {digits} hexadecimal digits")
        return value

    def _checked(self, name: str, value: Any) -> int:
        if type(value) is not int or not 0 <= value < 2**63:
            raise self.wrong(f"{name!r} is {shown(value)}; expected whole numbers that are not negative")
        return value
