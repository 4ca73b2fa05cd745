"""Figure 6: CKA against the width of the layers."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.paper.drawing import markdown, percent, sheet
from benchmarks.paper.study import Group, Report, Study, corresponding, same_layer

__all__ = ["run"]


def run(study: Study) -> Report:
    """Left: similarity with the widest networks. Right: with other networks of the same width."""
    widths = study.size.widths
    widest = widths[-1]
    same, wide, right = {}, {}, {}
    for w in widths:
        group = study.group(f"width{w}")
        same[w] = same_layer(group.between("cka"))
        names = [name for name in group.names if name.startswith("conv")]
        others = study.group(f"width{widest}")
        settings = {
            "first": [recipe.settings for recipe in group.recipes],
            "second": [recipe.settings for recipe in others.recipes],
            "draws": study.size.draws,
            "grid": study.size.grid,
        }

        def compute(group: Group = group, others: Group = others) -> dict[str, np.ndarray]:
            return {"result": np.array(corresponding(group.layers, others.layers))}

        wide[w] = same[w] if w == widest else study.cache.arrays(f"width{w}-{widest}", settings, compute)["result"]
        right[w] = group.accuracies().mean()
    figure, axes = sheet(1, 2, (3.3, 2.9), sharey=True)
    shades = [shade_of(i / max(1, len(names) - 1)) for i in range(len(names))]
    for ax, curves, what in zip(
        axes[0], (wide, same), (f"Similarity with width {widest}", "Similarity with same width"), strict=True
    ):
        for i, (name, shade) in enumerate(zip(names, shades, strict=True)):
            mean = np.array([curves[w][0][i] for w in widths])
            error = np.array([curves[w][1][i] for w in widths])
            ax.plot(widths, mean, color=shade, lw=1.2, label=name)
            ax.fill_between(widths, mean - error, mean + error, color=shade, alpha=0.25, lw=0)
        ax.set(xscale="log", xlabel="Width", title=what)
        ax.set_xticks(widths[:: math.ceil(len(widths) / 6)], [str(w) for w in widths[:: math.ceil(len(widths) / 6)]])
        ax.minorticks_off()
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("CKA (linear)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7, frameon=False)
    rows = [
        (f"{w}", percent(right[w]), *(f"{same[w][0][i]:.3f}" for i in (0, len(names) // 2, len(names) - 1)),
         *(f"{wide[w][0][i]:.3f}" for i in (0, len(names) // 2, len(names) - 1)))
        for w in widths
    ]  # fmt: skip
    shown = [names[i] for i in (0, len(names) // 2, len(names) - 1)]
    head = ["width", "test, %", *(f"same width, {n}" for n in shown), *(f"width {widest}, {n}" for n in shown)]
    closer = np.mean([same[w][0][i] >= wide[w][0][i] for w in widths[:-1] for i in range(len(names))])
    text = (
        f"{len(group.recipes)} networks of each width, n = {group.n} held-out images; standard errors up to "
        f"{max(float(np.nanmax(e)) for _, e in (*same.values(), *wide.values())):.3f}.\n\n{markdown(head, rows)}\n\n"
        f"Networks are at least as similar to others of their width as to the widest in {closer:.0%} of layers and widths."
    )
    numbers = {f"same {w}": same[w][0] for w in widths} | {f"widest {w}": wide[w][0] for w in widths}
    return Report("figure6", text, numbers, figure)


def shade_of(share: float) -> tuple[float, ...]:
    """From early to late layers."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.95 * share)
