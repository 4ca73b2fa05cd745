"""Table 2: how often does an index find the corresponding layer of a network that was trained from another seed?"""

from __future__ import annotations

from benchmarks.paper.drawing import markdown, percent, sheet
from benchmarks.paper.study import Group, Report, Study, identified, symmetric
from simkit.analysis import LayerAccuracy, jackknife_test

__all__ = ["PAPER", "run"]

# Rows of the paper's table, in its order: label, index, whether S + S' is taken, the paper's accuracy in percent.
PAPER = (
    ("CCA (rho)", "cca(summary=rho)", False, 1.4),
    ("CCA (R2)", "cca", False, 10.6),
    ("SVCCA (rho)", "svcca(summary=rho)", False, 9.9),
    ("SVCCA (R2)", "svcca", False, 15.1),
    ("PWCCA", "pwcca", True, 11.1),
    ("Linear regression", "linear_regression", True, 45.4),
    ("Linear HSIC", "hsic", False, 22.2),
    ("CKA (linear)", "cka", False, 99.3),
    ("CKA (RBF 0.2)", "cka(kernel=rbf(fraction=0.2))", False, 80.6),
    ("CKA (RBF 0.4)", "cka(kernel=rbf(fraction=0.4))", False, 99.1),
    ("CKA (RBF 0.8)", "cka(kernel=rbf(fraction=0.8))", False, 99.3),
)
# Not in the paper: other indexes that simkit offers.
MORE = (
    ("CKA (linear, unbiased)", "cka(estimator=unbiased)", False, None),
    ("Procrustes", "procrustes", False, None),
    ("Distance correlation", "distance_correlation", False, None),
)
# Followed as the number of examples grows.
GROWING = ("cca", "svcca", "linear_regression", "hsic", "cka", "cka(estimator=unbiased)")


def found(group: Group, index: str, symmetrise: bool, n: int | None = None) -> LayerAccuracy:
    """Layer identification by one index in both directions of all pairs."""
    scores = group.between(index, n)
    return identified(symmetric(scores) if symmetrise else scores, index, group.names, n or group.n)


def run(study: Study) -> Report:
    """All indexes on all examples with z-tests against linear CKA, then some of them on ever more examples."""
    group = study.tiny10s()
    rows = (*PAPER, *MORE)
    results = {index: found(group, index, symmetrise) for _, index, symmetrise, _ in rows}
    best = max(results.values(), key=lambda result: result.accuracy)
    lines = []
    for label, index, _, paper in rows:
        result = results[index]
        z, p = jackknife_test(results["cka"], result)
        tie = jackknife_test(best, result)[1] >= 0.05
        value = percent(result.accuracy)
        lines.append(
            (
                label,
                f"**{value}**" if tie else value,
                percent(result.standard_error),
                "" if index == "cka" else f"{z:.1f}",
                "" if index == "cka" else f"{p:.1g}",
                "" if paper is None else f"{paper}",
            )
        )
    widths = ", ".join(f"{x.shape[1]}" for x in group.layers[0].values())
    accuracies = group.accuracies()
    table = markdown(["index", "found, %", "s.e.", "z of linear CKA - it", "p", "paper, %"], lines)

    sizes = [n for n in study.size.growing if n <= group.n]
    grown = {
        index: [found(group, index, index == "linear_regression", n if n < group.n else None) for n in sizes]
        for index in GROWING
    }
    growth = markdown(
        ["n", *GROWING], [(n, *(percent(grown[index][i].accuracy) for index in GROWING)) for i, n in enumerate(sizes)]
    )
    layers = markdown(
        ["index", *group.names],
        [(label, *(percent(share, 0) for share in results[index].by_layer.values())) for label, index, _, _ in rows],
    )
    text = "\n\n".join(
        [
            f"{len(group.recipes)} Tiny-10 networks, mean test accuracy {accuracies.mean():.1%}; n = {group.n} training "
            f"images; widths {widths}. Bold: not significantly different from the best (jackknife z-test, p >= 0.05).",
            table,
            "Share of layers found, %, as the number of examples grows:",
            growth,
            "Share found of each layer, %:",
            layers,
        ]
    )
    figure, axes = sheet(1, 1, (5.5, 3.4))
    for index in GROWING:
        axes[0, 0].errorbar(
            sizes,
            [100 * result.accuracy for result in grown[index]],
            [100 * result.standard_error for result in grown[index]],
            marker="o",
            ms=3,
            lw=1,
            label=index,
        )
    axes[0, 0].set(xscale="log", xlabel="examples n", ylabel="layers found, %", ylim=(0, 100))
    axes[0, 0].axhline(100 / len(group.names), color="0.4", lw=0.8, ls=":", label=f"by chance, 1 of {len(group.names)}")
    axes[0, 0].set_xticks(sizes, [str(n) for n in sizes])
    axes[0, 0].minorticks_off()
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    numbers = {index: result.hits for index, result in results.items()}
    return Report("table2", text, numbers, figure)
