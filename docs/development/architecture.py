"""The picture of docs/development/architecture.md, and a table of imports, both from the code.

python docs/development/architecture.py            # draws docs/images/architecture.png
python docs/development/architecture.py --table    # prints how many imports go from folder to folder
"""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).parent
RULES = runpy.run_path(
    str(HERE.parents[1] / "tests" / "test_architecture.py")
)  # the layers are written down and tested there
LAYERS, ROOT, layer_of = RULES["LAYERS"], RULES["ROOT"], RULES["layer_of"]

WIDTH, LEFT = 11.0, 2.35  # of the picture, and of the names of layers in it
ROW, HEIGHT, GAP = 0.6, 0.38, 0.36  # of a row of boxes, of a box, and between layers
USED_BY_ALL = tuple(LAYERS).index(
    "contracts"
)  # up to this layer, arrows come from the next one alone, and none go to the lowest


class Box(NamedTuple):
    """Where a folder or a file is drawn: its middle, its bottom and its width."""

    x: float
    y: float
    width: float


def is_folder(name: str) -> bool:
    """Whether a box stands for a folder."""
    return (ROOT / name).is_dir()


def outermost(module: str) -> str:
    """The folder that a module is in, or the module itself where it is in none."""
    return module.partition(".")[0]


# --- what imports what ----------------------------------------------------------------------------------------------------


def downwards() -> dict[str, set[str]]:
    """What each folder or file imports of the layers below its own."""
    found: dict[str, set[str]] = {}
    for module, targets in RULES["imports"]().items():
        below = {outermost(target) for target in targets if layer_of(target) < layer_of(module)}
        found.setdefault(outermost(module), set()).update(below)
    return found


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows for which no longer way round stands."""

    def reached(box: str) -> set[str]:
        return graph[box].union(*map(reached, graph[box]))

    return {box: targets - set().union(*map(reached, targets)) for box, targets in graph.items()}


def table() -> str:
    """How many imports go from each folder (row) to each other one (column), in Markdown."""

    def folder(module: str) -> str:
        return outermost(module) if is_folder(outermost(module)) else "(files)"

    counts = Counter(
        (folder(module), folder(target)) for module, targets in RULES["imports"]().items() for target in targets
    )
    order = [*(name for names in LAYERS.values() for name in names if is_folder(name)), "(files)"]
    lines = [["from", *order], ["---", *["---:"] * len(order)]]
    for row in reversed(order):
        lines.append([row, *("·" if row == column else str(counts[row, column] or "") for column in order)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- the picture ----------------------------------------------------------------------------------------------------------


def rows_of(names: list[str]) -> list[list[tuple[str, float]]]:
    """Names with the widths of their boxes, in as few rows as they fit in, as even as can be."""
    sizes = [(name, 0.1 * len(name) + 0.36) for name in names]
    count = -(-sum(width + 0.2 for _, width in sizes) // (WIDTH - LEFT - 0.2))
    per_row = -(-len(sizes) // max(1, int(count)))
    return [sizes[k : k + per_row] for k in range(0, len(sizes), per_row)]


def arrows() -> dict[str, set[str]]:
    """What is drawn of `downwards`."""
    return {
        name: {
            target for target in targets if layer_of(target) > (0 if layer_of(name) == layer_of(target) + 1 else USED_BY_ALL)
        }
        for name, targets in direct(downwards()).items()
    }


def laid_out(graph: dict[str, set[str]]) -> tuple[dict[str, Box], list[tuple[str, float, float]]]:
    """The boxes, each above those that it imports as far as can be, and the layers as (name, bottom, height)."""

    def middle(name: str) -> float:
        below = [boxes[target].x for target in graph[name]]
        return sum(below) / len(below) if below else (LEFT + WIDTH) / 2

    boxes: dict[str, Box] = {}
    bands = []
    y = 0.0
    for layer, names in LAYERS.items():
        rows = rows_of(sorted((name for name in names if name in graph and name != "simkit"), key=middle))
        bands.append((layer, y, len(rows) * ROW))
        for row in reversed(rows):
            space = (WIDTH - LEFT - sum(width for _, width in row)) / (len(row) + 1)
            x = LEFT
            for name, width in row:
                x += space
                boxes[name] = Box(x + width / 2, y + (ROW - HEIGHT) / 2, width)
                x += width
            y += ROW
        y += GAP
    return boxes, bands


def draw(path: Path) -> None:
    """Bands for the layers, from bottom to top; boxes for folders and files; arrows to what they import."""
    graph = arrows()
    boxes, bands = laid_out(graph)
    top = bands[-1][1] + bands[-1][2] + 0.1
    ax = Figure(figsize=(0.86 * WIDTH, 0.86 * (top + 0.1)), dpi=110).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(-0.1, top))
    ax.axis("off")
    for layer, bottom, height in bands:
        rounded(ax, (0.1, bottom), WIDTH - 0.2, height, fc="#eef1f6", ec="none")
        ax.text(0.22, bottom + height / 2, layer.replace(" and ", "\nand "), va="center", fontsize=9.5, color="#44546a")
    for name, targets in graph.items():
        for target in targets:
            start, end = boxes[name], boxes[target]
            bend = 0.0 if layer_of(name) == layer_of(target) + 1 else 0.12 if end.x < start.x else -0.12
            bend *= 4 if abs(start.x - end.x) < 0.1 else 1  # around what lies between
            arrow = (start.x, start.y), (end.x, end.y + HEIGHT)
            style = {
                "arrowstyle": "-|>",
                "connectionstyle": f"arc3,rad={bend}",
                "mutation_scale": 9,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            ax.add_patch(FancyArrowPatch(*arrow, color="#7a8aa0", **style))
    for name, box in boxes.items():
        fill = "#c9d8f0" if is_folder(name) else "white"
        rounded(ax, (box.x - box.width / 2, box.y), box.width, HEIGHT, fc=fill, ec="#2f5597", zorder=3)
        label = f"{name}/" if is_folder(name) else name
        ax.text(box.x, box.y + HEIGHT / 2, label, ha="center", va="center_baseline", fontsize=9, zorder=4)
    ax.figure.savefig(path)


def rounded(ax: Axes, corner: tuple[float, float], width: float, height: float, **style: object) -> None:
    """A box with round corners."""
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.07", **style))


if __name__ == "__main__":
    if "--table" in sys.argv[1:]:
        sys.stdout.write(f"{table()}\n")
    else:
        draw(HERE.parent / "images" / "architecture.png")
