"""What is in the built distributions, and what must not be: ``python .ci/distributions.py dist``, with nothing installed."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

LIMIT = 1_000_000  # bytes of a distribution
NAMES = {"simkit_similarity", "simkit_nngp", "simkit_shape", "simkit_topology"}
NEEDED = {  # files of the wheel besides its code
    "simkit_similarity": (
        "simkit/py.typed",
        "simkit/cli/templates/pyproject.toml.txt",
        "simkit/demo/data/digits.npz",
        "simkit/page/templates/page.html",
    ),
    "simkit_nngp": ("simkit_nngp/py.typed",),
    "simkit_shape": ("simkit_shape/py.typed",),
    "simkit_topology": ("simkit_topology/py.typed",),
}
LINK = re.compile(r"\]\(([^)\s]+)|\s(?:src|srcset|href)=\"([^\"\s]+)")


def code_and_text(readme: str) -> tuple[str, str]:
    """Fenced blocks of code, and everything else."""
    parts = re.split(r"^(```.*?^```)$", readme, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(parts[1::2]), "\n".join(parts[::2])


def relative_links(readme: str) -> list[str]:
    """Links and pictures that lead nowhere on a package index."""
    found = [link or attribute for link, attribute in LINK.findall(code_and_text(readme)[1])]
    return [link for link in found if not re.match(r"https://|mailto:|#", link)]


def contents(file: Path) -> dict[str, bytes]:
    """The files of a wheel, or of an sdist without its top folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(file) as sdist:
        members = [member for member in sdist.getmembers() if member.isfile()]
        return {member.name.partition("/")[2]: sdist.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def problems(file: Path) -> list[str]:
    """What is wrong with one distribution."""
    name, version = file.name.split("-")[:2]
    files = contents(file)
    wheel = file.suffix == ".whl"
    folder = f"{name}-{version.removesuffix('.tar.gz')}.dist-info"
    license_file = f"{folder}/licenses/LICENSE" if wheel else "LICENSE"
    needed = [license_file, *(NEEDED[name] if wheel else ("README.md", "pyproject.toml", "PKG-INFO"))]
    found = [f"{path} is missing" for path in needed if path not in files]
    if file.stat().st_size > LIMIT:
        found.append(f"{file.stat().st_size} bytes, more than {LIMIT}")
    unwanted = re.compile(
        r"(^|/)(tests|__pycache__|images)/|\.(pyc|png|ipynb)$" if wheel else r"(^|/)(__pycache__|images)/|\.(pyc|png)$"
    )
    found += [f"{path} does not belong there" for path in files if unwanted.search(path)]
    if b"Apache License" not in files.get(license_file, b""):
        found.append("LICENSE is not the Apache License")
    metadata = Parser().parsestr(files[f"{folder}/METADATA" if wheel else "PKG-INFO"].decode())
    readme = str(metadata.get_payload())
    found += [f"the link {link} is relative" for link in relative_links(readme)]
    if metadata["License-Expression"] != "Apache-2.0" or metadata["Author"] != "simkit contributors":
        found.append("license or author is not in the metadata")
    if name != "simkit_similarity":
        ranges = [line for line in metadata.get_all("Requires-Dist", []) if re.match(r"simkit-similarity\b", line)]
        if len(ranges) != 1 or "<" not in ranges[0] or ">=" not in ranges[0]:
            found.append(f"simkit-similarity is not required with a range: {ranges}")
    return found


def main(folder: Path) -> int:
    """Print what is wrong with the distributions in a folder; 1 if anything is."""
    files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    found = [f"{file.name}: {problem}" for file in files for problem in problems(file)]
    for suffix in (".whl", ".tar.gz"):
        missing = NAMES - {file.name.split("-")[0] for file in files if file.name.endswith(suffix)}
        found += [f"{name}: no {suffix}" for name in sorted(missing)]
    versions = {file.name.split("-")[1].removesuffix(".tar.gz") for file in files}
    if len(versions) != 1:
        found.append(f"one version for all, not {sorted(versions)}")
    print(*found or ["Distributions: what must be there is, and nothing else."], sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
