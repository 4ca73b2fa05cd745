"""What other libraries give on the data of `beside.py`: writes `measured.json`, for the libraries that are named.

    python measure.py torch-cka pytorch-cka ckatorch rsatoolbox hyppo

Run it in an environment of its own that has these libraries; simkit is not needed, and does not import this file. The other
ones are repositories that are not on the package index: say with `--commit NAME=HASH` which state of them can be imported.
Google's notebook is imported as `demo`, its functions in a file of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import json
import platform
import warnings
from collections.abc import Callable
from typing import Any

import beside
import numpy as np


def torch_models(inplace: bool = False) -> tuple[Any, list[Any]]:
    """The inputs and the two networks of `beside.networks` in PyTorch."""
    import torch

    inputs, weights = beside.networks()
    models = []
    for first, second in weights:
        model = torch.nn.Sequential(
            torch.nn.Linear(12, 16, bias=False), torch.nn.ReLU(inplace=inplace), torch.nn.Linear(16, 6, bias=False)
        )
        for layer, weight in ((model[0], first), (model[2], second)):
            layer.weight.data = torch.tensor(weight.T, dtype=torch.float32)
        models.append(model)
    return torch.tensor(inputs, dtype=torch.float32), models


def loader(inputs: Any, batch_size: int = beside.BATCH) -> Any:
    """Batches in the order of the inputs."""
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(inputs), batch_size=batch_size)


def torch_cka() -> dict[str, Any]:
    """PyTorch-Model-Compare of AntixK."""
    import matplotlib

    matplotlib.use("Agg")
    from torch_cka import CKA

    names = ["0", "1", "2"]

    def run(count: int = 128, layers: list[str] | None = names, **options: Any) -> Any:
        inputs, (a, b) = torch_models(**options)
        cka = CKA(a, b, model1_name="a", model2_name="b", model1_layers=layers, model2_layers=layers)
        cka.compare(loader(inputs[:count]))
        return cka.export(), a

    whole, model = run()
    everything, _ = run(layers=None)
    return {
        "batches of 32": whole["CKA"].tolist(),
        "100 examples": run(100)[0]["CKA"].tolist(),
        "ReLU in place": run(inplace=True)[0]["CKA"].tolist(),
        "all modules": everything["CKA"].tolist(),
        "all modules, names": everything["model1_layers"],
        "hooks left": sum(len(module._forward_hooks) for module in model.modules()),
        "left in training mode": model.training,
    }


def pytorch_cka() -> dict[str, Any]:
    """pytorch-cka, whose module is called cka."""
    import torch
    from cka import cka_from_features, compute_cka

    def features(x: np.ndarray, y: np.ndarray, dtype: Any = torch.float64) -> float:
        return float(cka_from_features(*(torch.tensor(z, dtype=dtype) for z in (x, y))).squeeze())

    def models(count: int = 128, **options: Any) -> Any:
        inputs, (a, b) = torch_models(**options)
        found = compute_cka(a, b, loader(inputs[:count]), layers=["0", "1", "2"], device="cpu", progress=False)
        return found[0].tolist()

    x, y = beside.pair()
    return {
        "cka_from_features(X, Y)": features(x, y),
        "unrelated layers": features(*beside.unrelated()),
        "float32, mean 100": features(x + 100, y + 100, torch.float32),
        "float32, mean 1000": features(x + 1000, y + 1000, torch.float32),
        "batches of 32": models(),
        "100 examples": models(100),
        "ReLU in place": models(inplace=True),
    }


def ckatorch() -> dict[str, Any]:
    """centered-kernel-alignment of RistoAle97. Its class takes sequences only: here 16 of 8 tokens, 4 in a batch."""
    import torch
    from ckatorch import CKA, cka_base, cka_batch

    x, y = (torch.tensor(z) for z in beside.pair())
    inputs, (a, b) = torch_models()
    sequences = loader(inputs.reshape(16, 8, 12), batch_size=4)
    return {
        "cka_base(X, Y)": float(cka_base(x, y)),
        'cka_base(X, Y, method="hsic")': float(cka_base(x, y, method="hsic")),
        "cka_base(X, Y, unbiased=True)": float(cka_base(x, y, unbiased=True)),
        'cka_base(X, Y, unbiased=True, method="hsic")': float(cka_base(x, y, unbiased=True, method="hsic")),
        'cka_base(X, Y, kernel="rbf")': float(cka_base(x, y, kernel="rbf")),
        'cka_base(X, Y, kernel="rbf", threshold=0.5)': float(cka_base(x, y, kernel="rbf", threshold=0.5)),
        "cka_batch(X[None], Y[None])": float(cka_batch(x[None], y[None])),
        "sequences": CKA(a, b, ["0", "1", "2"], first_name="a", second_name="b")(sequences, epochs=1).tolist(),
    }


def rsatoolbox() -> dict[str, Any]:
    """rsatoolbox, each example a condition that is measured once."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    x, y = beside.pair()

    def both(of: Callable[[np.ndarray], np.ndarray] = lambda z: z, **options: Any) -> list[Any]:
        return [calc_rdm(Dataset(of(z)), **options) for z in (x, y)]

    comparisons = ("cosine", "spearman", "corr", "kendall", "tau-a", "rho-a", "cosine_cov", "corr_cov", "bures")
    figures = {
        f'method="{method}", "{comparison}"': float(compare(*both(method=method), method=comparison).squeeze())
        for method in ("euclidean", "correlation")
        for comparison in comparisons
    }
    figures['calc_rdm(data, method="euclidean"), first entry'] = float(both(method="euclidean")[0].dissimilarities[0, 0])
    mahalanobis = [calc_rdm(Dataset(z), method="mahalanobis", noise=np.linalg.inv(np.cov(z.T))) for z in (x, y)]
    figures['method="mahalanobis", "corr"'] = float(compare(*mahalanobis, method="corr").squeeze())
    tied = both(lambda z: (z > z.mean(0)).astype(float), method="euclidean")
    for comparison in ("spearman", "rho-a", "kendall", "tau-a"):
        figures[f'"{comparison}" of ties'] = float(compare(*tied, method=comparison).squeeze())
    return figures


def netrep() -> dict[str, Any]:
    """netrep of ahwillia."""
    from netrep.metrics import LinearCKA, LinearMetric, PermutationMetric

    x, y = beside.pair()
    figures = {"LinearCKA().score(X, Y)": float(LinearCKA().score(x, y))}
    for alpha in (1, 0.5, 0):
        for method in ("angular", "euclidean"):
            a, b = (x[:, :8], y) if alpha == 0 and method == "euclidean" else (x, y)
            call = f"LinearMetric(alpha={alpha}" + (")" if method == "angular" else ', score_method="euclidean")')
            columns = "X[:, :8], Y" if b.shape == a.shape else "X, Y"
            metric = LinearMetric(alpha=float(alpha), score_method=method)
            figures[f"{call}.fit_score({columns})"] = float(metric.fit_score(a, b))
    half = LinearMetric(alpha=0.5, score_method="euclidean")
    figures['LinearMetric(alpha=0.5, score_method="euclidean").fit_score(X[:, :8], Y)'] = float(half.fit_score(x[:, :8], y))
    figures["PermutationMetric().fit_score(X, Y)"] = float(PermutationMetric().fit_score(x, y))
    euclidean = PermutationMetric(score_method="euclidean")
    figures['PermutationMetric(score_method="euclidean").fit_score(X, Y)'] = float(euclidean.fit_score(x, y))
    figures["fit on 40, score on 20"] = float(LinearMetric().fit(x[:40], y[:40]).score(x[40:], y[40:]))
    return figures


def svcca() -> dict[str, Any]:
    """svcca of google: cca_core.py and pwcca.py, on matrices of units by examples."""
    from cca_core import get_cca_similarity
    from pwcca import compute_pwcca

    def attempt(work: Callable[[], Any]) -> Any:
        try:
            return float(work())
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    x, y = beside.pair()
    found = get_cca_similarity(x.T, y.T, verbose=False)
    some = get_cca_similarity(*(z.T for z in beside.some_in_common()), verbose=False)
    return {
        'get_cca_similarity(X.T, Y.T)["mean"][0]': float(found["mean"][0]),
        'get_cca_similarity(X.T, Y.T)["sum"][0]': float(found["sum"][0]),
        "some in common, mean": float(some["mean"][0]),
        "some in common, correlations": some["cca_coef1"].tolist(),
        "compute_pwcca(Y.T, X.T)[0]": attempt(lambda: compute_pwcca(y.T, x.T)[0]),
        "compute_pwcca(X.T, Y.T)[0]": attempt(lambda: compute_pwcca(x.T, y.T)[0]),
        "more units than examples": attempt(lambda: get_cca_similarity(x[:9].T, y[:9].T, verbose=False)["mean"][0]),
    }


def demo() -> dict[str, Any]:
    """The functions of Demo.ipynb of google-research/representation_similarity."""
    from demo import cca, cka, feature_space_linear_cka, gram_linear, gram_rbf

    x, y = beside.pair()
    return {
        "cka(gram_linear(X), gram_linear(Y))": float(cka(gram_linear(x), gram_linear(y))),
        "cka(gram_linear(X), gram_linear(Y), debiased=True)": float(cka(gram_linear(x), gram_linear(y), debiased=True)),
        "feature_space_linear_cka(X, Y)": float(feature_space_linear_cka(x, y)),
        "feature_space_linear_cka(X, Y, debiased=True)": float(feature_space_linear_cka(x, y, debiased=True)),
        "cka(gram_rbf(X, 1.0), gram_rbf(Y, 1.0))": float(cka(gram_rbf(x, 1.0), gram_rbf(y, 1.0))),
        "cka(gram_rbf(X, 0.5), gram_rbf(Y, 0.5))": float(cka(gram_rbf(x, 0.5), gram_rbf(y, 0.5))),
        "cca(X, Y)": float(cca(x, y)),
        "cca(X - X.mean(0), Y - Y.mean(0))": float(cca(x - x.mean(0), y - y.mean(0))),
    }


NAMES = (
    "cca-score",
    "cca-squared_score",
    "cka-kernel=linear-hsic=gretton-score",
    "cka-kernel=linear-hsic=gretton-distance=angular",
    "cka-kernel=linear-hsic=lange-score",
    "cka-kernel=linear-hsic=song-score",
    "cka-kernel=(rbf-sigma={sigma})-hsic=gretton-score",
    "svcca-score",
    "svcca-var=0.99-score",
    "svcca-var=0.95-score",
    "pwcca-score",
    "procrustes-score",
    "procrustes-distance=angular",
    "procrustes-distance=euclidean",
    "procrustes-distance=squared_euclidean",
    "nbs-score",
    "shape_metric-alpha={alpha}-distance=angular",
    "permutation_metric-distance=angular",
    "rsa-rdm=correlation-compare=pearson",
    "rsa-rdm=correlation-compare=spearman",
    "rsa-rdm=euclidean-compare=spearman",
    "rsa-rdm=squared_euclidean-compare=cosine",
    "rsm_norm_difference",
    "jaccard_similarity",
    "distance_correlation",
    "eigenspace_overlap_score",
    "gulp",
    "hard_correlation_match",
    "soft_correlation_match",
    "linear_regression",
    "rsa-rdm=correlation-compare=euclidean",
    "rsa-rdm=euclidean-compare=euclidean",
    "orthogonal_procrustes_centered_and_normalized",
    "aligned_cosine_similarity",
    "aligned_cossim",
    "linear_CKA",
)


def similarity_repository() -> dict[str, Any]:
    """similarity-repository of nacloos: every implementation of the names above."""
    import similarity

    x, y = beside.pair()
    figures: dict[str, Any] = {"measures": len(similarity.match("measure/*"))}
    figures["repositories"] = len({name.split("/")[1] for name in similarity.match("measure/*/*")})
    for name in similarity.match("measure/*/*"):
        if name.split("/")[2] not in NAMES:
            continue
        try:
            figures[name.removeprefix("measure/")] = float(similarity.make(name)(x.copy(), y.copy()))
        except Exception as error:
            figures[name.removeprefix("measure/")] = type(error).__name__
    for repository in ("svcca", "sim_metric", "resi", "rtd", "contrasim"):  # the narrower layer first
        score = similarity.make(f"measure/{repository}/pwcca-score")(y.copy(), x.copy())
        figures[f"{repository}/pwcca-score, Y and X"] = float(score)
    return figures


def anatome() -> dict[str, Any]:
    """anatome of moskomule."""
    import torch
    from anatome import distance

    def of(name: str, *options: Any) -> float:
        function = getattr(distance, name)
        return float(function(*(torch.tensor(z) for z in beside.pair()), *options))

    return {
        "linear_cka_distance(X, Y, reduce_bias=False)": of("linear_cka_distance", False),
        "linear_cka_distance(X, Y, reduce_bias=True)": of("linear_cka_distance", True),
        "orthogonal_procrustes_distance(X, Y)": of("orthogonal_procrustes_distance"),
        'svcca_distance(X, Y, accept_rate=0.99, backend="svd")': of("svcca_distance", 0.99, "svd"),
        'pwcca_distance(X, Y, backend="svd")': of("pwcca_distance", "svd"),
    }


def hyppo() -> dict[str, Any]:
    """Statistics of hyppo.independence."""
    from hyppo.independence import CCA, RV, Dcorr, Hsic

    tests = {
        "CCA()": CCA(),
        "RV()": RV(),
        "Dcorr()": Dcorr(),
        "Dcorr(bias=True)": Dcorr(bias=True),
        "Hsic()": Hsic(),
        "Hsic(bias=True)": Hsic(bias=True),
    }
    return {f"{name}.statistic(X, Y)": float(test.statistic(*beside.pair())) for name, test in tests.items()}


MEASURES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "torch-cka": ("version", torch_cka),
    "pytorch-cka": ("version", pytorch_cka),
    "ckatorch": ("version", ckatorch),
    "rsatoolbox": ("version", rsatoolbox),
    "netrep": ("commit", netrep),
    "svcca": ("commit", svcca),
    "demo": ("commit", demo),
    "similarity-repository": ("commit", similarity_repository),
    "anatome": ("commit", anatome),
    "hyppo": ("version", hyppo),
}


def main() -> None:
    """Measure the libraries that are named, keep what is there of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="+", choices=list(MEASURES))
    parser.add_argument("--commit", action="append", default=[], metavar="NAME=HASH")
    given = parser.parse_args()
    commits = dict(entry.split("=") for entry in given.commit)
    found = json.loads(beside.MEASURED.read_text(encoding="utf-8")) if beside.MEASURED.exists() else {}
    for name in given.libraries:
        kind, measure = MEASURES[name]
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            figures = measure()
        found[name] = {
            kind: importlib.metadata.version(name) if kind == "version" else commits[name],
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "figures": figures,
        }
    beside.MEASURED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
