"""Figure F.3: SVCCA at other thresholds than 0.99."""

from __future__ import annotations

from benchmarks.paper.drawing import heatmaps, markdown, percent
from benchmarks.paper.study import Report, Study, average, identified

__all__ = ["run"]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
PANELS = (
    *((f"R2, threshold {t}", f"svcca(threshold={t})" if t != 0.99 else "svcca") for t in THRESHOLDS),
    ("rho, threshold 0.9", "svcca(threshold=0.9, summary=rho)"),
    ("rho, threshold 0.99", "svcca(summary=rho)"),
)


def run(study: Study) -> Report:
    """Heatmaps for each threshold, and how many layers SVCCA then finds."""
    group = study.tiny10s()
    scores = {label: group.between(index) for label, index in PANELS}
    results = {label: identified(scores[label], index, group.names, group.n) for label, index in PANELS}
    table = markdown(
        ["SVCCA", "layers found, %", "s.e."],
        [(label, percent(result.accuracy), percent(result.standard_error)) for label, result in results.items()],
    )
    chance = 100 / len(group.names)
    text = f"{len(group.recipes)} Tiny-10 networks, n = {group.n} training images. Chance: {chance:.1f} %.\n\n{table}"
    means = {label: average(value) for label, value in scores.items()}
    return Report("figure_f3", text, means, heatmaps(list(means.items()), 4, limits=(0, 1), bar="Mean SVCCA"))
