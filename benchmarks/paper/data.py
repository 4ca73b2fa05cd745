"""Images: scikit-learn's digits, halves of them, its photographs, or CIFAR from a local folder; sequences; English text.

The Transformer sorts sequences, or guesses hidden letters of a text.

CIFAR's files are pickles. They are read by an unpickler that can make dictionaries, lists, strings, bytes, numbers and NumPy
arrays of numbers, and nothing else: a file that asks for anything more is refused before it can run.
"""

from __future__ import annotations

import codecs
import pickle
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from simkit.demo.train import NOISE, digits

__all__ = ["NOTHING", "TASKS", "Images", "UnsafePickleError", "load", "read_batch", "sequences", "text"]

TASKS = ("digits", "digits-low", "digits-high", "photographs", "cifar10", "cifar100")
NOTHING = -100  # a position where nothing is to be guessed; PyTorch's cross-entropy leaves it out
_HIDDEN = 0.15  # of the letters of a text
_PIXELS = 8  # of the original digits, a side
_FIRST_DRAW = 1000  # seeds of noise; `simkit.demo.train.digits` draws from seed 0
_CIFAR = {  # files for training, file for testing, key of the labels, classes
    "cifar10": ([f"data_batch_{i}" for i in range(1, 6)], "test_batch", b"labels", 10),
    "cifar100": (["train"], "test", b"fine_labels", 100),
}
# CIFAR-10's means and standard deviations of red, green and blue, for both sets, so that either network can see either.
_MEAN, _SPREAD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle asks for something other than NumPy arrays of numbers and plain containers."""


@dataclass(frozen=True)
class Images:
    """Images (n, channels, size, size) and classes (n,) for training and held out; `noise` can be drawn anew for each."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: int
    clean_train: torch.Tensor | None = None  # without noise, where noise was added
    clean_test: torch.Tensor | None = None

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours."""
        return self.train_images.shape[1]

    def examples(self, part: str = "test", draws: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Images to compare representations of, and their classes.

        Of noisy digits there can be more than were written: each digit `draws` times with fresh noise, or once as in
        training and testing (0). Other images are returned once, whatever `draws` says.
        """
        images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
        clean = getattr(self, f"clean_{part}")
        if clean is None:
            return images, labels
        if draws == 0:  # as the network was trained and tested
            return images, labels
        first = _FIRST_DRAW + (0 if part == "test" else 500)
        return torch.cat([clean + _noise(len(clean), images.shape[-1], first + i) for i in range(draws)]), labels.repeat(
            draws
        )

    def of_classes(self, first: int, last: int) -> Images:
        """The images of classes `first` to `last`, numbered from 0."""
        keep = {part: (first <= getattr(self, f"{part}_labels")) & (getattr(self, f"{part}_labels") <= last)
                for part in ("train", "test")}  # fmt: skip
        return replace(
            self,
            train_images=self.train_images[keep["train"]],
            train_labels=self.train_labels[keep["train"]] - first,
            test_images=self.test_images[keep["test"]],
            test_labels=self.test_labels[keep["test"]] - first,
            classes=last - first + 1,
            clean_train=None if self.clean_train is None else self.clean_train[keep["train"]],
            clean_test=None if self.clean_test is None else self.clean_test[keep["test"]],
        )


def load(task: str, folder: Path | None = None) -> Images:
    """The images of one task.

    Parameters
    ----------
    task : {"digits", "digits-low", "digits-high", "photographs", "cifar10", "cifar100"}
        ``digits-low`` has the digits 0 to 4 and ``digits-high`` 5 to 9: two data sets without a common image or class.
        ``photographs`` has patches of scikit-learn's two photographs, to be told from which tenth of them they come.
    folder : Path, optional
        Where CIFAR lies, unpacked: ``data_batch_1`` to ``_5`` and ``test_batch``, or ``train`` and ``test``; also one level
        down, in ``cifar-10-batches-py`` or ``cifar-100-python``.

    Raises
    ------
    ValueError
        Unknown task, or CIFAR without a folder.
    FileNotFoundError
        A file of CIFAR is missing.
    UnsafePickleError
        A file is not what CIFAR's files are.
    """
    if task not in TASKS:
        raise ValueError(f"There is no task {task!r}; choose one of {', '.join(TASKS)}.")
    if task in _CIFAR:
        if folder is None:
            raise ValueError(f"{task} is read from a folder that has it: pass --folder.")
        return _cifar(task, Path(folder))
    if task == "photographs":
        return _photographs()
    noisy, clean = digits(), digits(noise=0.0)
    images = Images(
        noisy.train_images,
        noisy.train_labels,
        noisy.test_images,
        noisy.test_labels,
        10,
        clean.train_images,
        clean.test_images,
    )
    return {"digits": images, "digits-low": images.of_classes(0, 4), "digits-high": images.of_classes(5, 9)}[task]


def _noise(n: int, size: int, seed: int) -> torch.Tensor:
    """What `digits` adds to its pixels. Enlarging is linear, so that it may be enlarged by itself."""
    pixels = NOISE * torch.randn((n, 1, _PIXELS, _PIXELS), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)


def sequences(n: int, length: int, symbols: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sequences (n, length) of `symbols`, and the same sequences sorted."""
    tokens = torch.randint(symbols, (n, length), generator=torch.Generator().manual_seed(seed))
    return tokens, tokens.sort(dim=1).values


@cache
def _letters(symbols: int) -> torch.Tensor:
    """Python's own reference, which comes with Python, in its `symbols` - 1 most frequent characters, lower case."""
    from pydoc_data.topics import topics

    pages = " ".join(" ".join(topics[name].lower().split()) for name in sorted(topics))
    numbers = {letter: i for i, (letter, _) in enumerate(Counter(pages).most_common(symbols - 1))}
    return torch.tensor([numbers[letter] for letter in pages if letter in numbers])


def text(n: int, length: int, symbols: int, seed: int, *, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces (n, length) of English text with hidden letters, and these letters, `NOTHING` elsewhere.

    The last of the `symbols` stands for a hidden letter. Of the text the last tenth is held out.
    """
    letters = _letters(symbols)
    border = len(letters) * 9 // 10
    letters = letters[border:] if held_out else letters[:border]
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(letters) - length, (n, 1), generator=generator)
    tokens = letters[starts + torch.arange(length)]
    hidden = torch.rand(tokens.shape, generator=generator) < _HIDDEN
    return torch.where(hidden, symbols - 1, tokens), torch.where(hidden, tokens, NOTHING)


def _photographs(train: int = 2794, test: int = 400, size: int = 16) -> Images:
    """Colour patches of scikit-learn's two photographs; the class is the upright tenth of both that a patch lies in.

    A patch has 2 `size` pixels a side, averaged to `size`. Of seven horizontal bands two are held out.
    """
    from sklearn.datasets import load_sample_images

    photographs = [torch.from_numpy(image.copy()).float() / 255 for image in load_sample_images().images]
    generator = torch.Generator().manual_seed(0)

    def patches(n: int, bands: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        classes = torch.arange(n) % 10
        images = []
        for strip in classes.tolist():
            image = photographs[strip // 5]
            height, width = image.shape[0] // 7, image.shape[1] // 5
            band = bands[int(torch.randint(len(bands), (), generator=generator))]
            top = band * height + int(torch.randint(height - 2 * size + 1, (), generator=generator))
            left = strip % 5 * width + int(torch.randint(width - 2 * size + 1, (), generator=generator))
            images.append(image[top : top + 2 * size, left : left + 2 * size].movedim(-1, 0))
        pixels = torch.nn.functional.avg_pool2d(torch.stack(images), 2)
        mean, spread = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (_MEAN, _SPREAD))
        return (pixels - mean) / spread, classes

    return Images(*patches(train, (0, 2, 3, 5, 6)), *patches(test, (1, 4)), 10)


def _cifar(task: str, folder: Path) -> Images:
    training, testing, key, classes = _CIFAR[task]
    inner = folder / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[task]
    folder = inner if inner.is_dir() else folder
    missing = [name for name in [*training, testing] if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; is it the unpacked Python version of {task}?")
    parts = [_images_and_labels(folder / name, key, classes) for name in [*training, testing]]
    train = [torch.cat(arrays) for arrays in zip(*parts[:-1], strict=True)]
    return Images(train[0], train[1], *parts[-1], classes)


def _images_and_labels(path: Path, key: bytes, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = read_batch(path)
    if b"data" not in batch or key not in batch:
        raise ValueError(f"{path} has {', '.join(map(repr, batch)) or 'nothing'}, not {b'data'!r} and {key!r}.")
    pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[key])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32 or labels.shape != (len(pixels),):
        raise ValueError(f"{path}: expected data (n, 3072) of uint8 and n labels; got {pixels.shape} {pixels.dtype}, "
                         f"{labels.shape}.")  # fmt: skip
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"{path}: labels must be 0 to {classes - 1}.")
    images = torch.from_numpy(pixels.reshape(-1, 3, 32, 32).astype(np.float32) / 255)
    mean, spread = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (_MEAN, _SPREAD))
    return (images - mean) / spread, torch.from_numpy(labels.astype(np.int64))


def read_batch(path: Path) -> dict[bytes, Any]:
    """The dictionary in one of CIFAR's files, keys as bytes whichever version of Python wrote it.

    Raises
    ------
    UnsafePickleError
        It asks for anything but arrays of numbers and plain containers, or is no dictionary.
    ValueError
        It is damaged, or no pickle.
    """
    try:
        with Path(path).open("rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}") from None
    except Exception as error:  # a pickle that is damaged, or none, can raise nearly anything
        raise ValueError(f"{path} is not one of CIFAR's files: {type(error).__name__}: {error}") from error
    if not isinstance(batch, dict):
        raise UnsafePickleError(f"{path} holds a {type(batch).__name__}, not a dictionary of arrays.")
    return {key.encode("latin1") if isinstance(key, str) else key: value for key, value in batch.items()}


def _number_dtype(kind: Any, *arguments: Any) -> np.dtype[Any]:
    kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
    if not isinstance(kind, str) or kind.lstrip("<>=|")[:1] not in "biuf":
        raise UnsafePickleError(f"an array of {kind!r}, which are not numbers")
    return np.dtype(kind, *arguments)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Protocol 2 of Python 3 writes bytes as encoded text."""
    return codecs.encode(text, encoding if encoding == "latin1" else "latin1")


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An empty array, whose contents the pickle then sets."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")


class _Unpickler(pickle.Unpickler):
    """Makes arrays of numbers; the functions that a pickle may name are ours, whatever NumPy's own would accept."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _number_dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Called for every global name in the pickle."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise UnsafePickleError(f"the pickle asks for {module}.{name}; only arrays of numbers are read") from None
