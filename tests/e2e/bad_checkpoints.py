"""A corpus of bad checkpoints: `python tests/e2e/bad_checkpoints.py FOLDER` writes them all.

Each fails alone: one row under failures, at one of the stages that its entry names, and nothing that it hides runs.
Nothing in the corpus harms a machine on which it is loaded without protection: the payloads make an empty file and
connect to a closed port.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bad_folders
import bad_onnx
import bad_states
import bad_tabular
import bad_torch
from bad_parts import DAMAGES, BadCheckpoint, Site

from neuralrank.formats._torchvision import repair_torchvision

TABLES = (
    bad_onnx.ONNX,
    bad_torch.EXPORT,
    bad_torch.SCRIPT,
    bad_states.STATE,
    bad_states.PICKLE,
    bad_folders.TIMM,
    bad_folders.IMAGE,
    bad_folders.TEXT,
    bad_tabular.KERAS,
    bad_tabular.SKOPS,
    bad_tabular.PICKLE,
)
CORPUS: tuple[BadCheckpoint, ...] = tuple(row for table in TABLES for row in table.rows)
FORMATS = tuple(dict.fromkeys(table.format for table in TABLES))


def prepared(site: Site) -> Site:
    """Make the folders of a site and the files outside that links of the corpus lead to."""
    from tiny_zoo import convolution, random_filters, save

    for folder in (site.folder, site.outside, site.traces):
        folder.mkdir(parents=True, exist_ok=True)
    (site.outside / "secret.bin").write_bytes(b"secret" * 1000)
    (site.outside / "secret.json").write_text('{"licence": "secret"}')
    save(convolution(random_filters(4, seed=3)), site.outside / "good.onnx")
    return site


def write(site: Site, corpus: Collection[BadCheckpoint] = CORPUS) -> None:
    """Write bad checkpoints into the folder of a prepared site."""
    if find_spec("torch") and not all(bad.quick for bad in corpus):
        repair_torchvision()
    for bad in corpus:
        path = site.folder / bad.name
        path.parent.mkdir(parents=True, exist_ok=True)
        bad.make(path, site)


def table() -> str:
    """Return the counts of damage by format as a Markdown table."""
    counts = Counter((bad.damage, bad.format) for bad in CORPUS)
    lines = [
        f"| damage | {' | '.join(f'`{name}`' for name in FORMATS)} | all |",
        f"|:--|{'--:|' * (len(FORMATS) + 1)}",
    ]
    for damage, meaning in DAMAGES.items():
        numbers = [counts[damage, name] for name in FORMATS]
        cells = " | ".join(str(number or "") for number in (*numbers, sum(numbers)))
        lines.append(f"| {damage}: {meaning} | {cells} |")
    totals = [sum(bad.format == name for bad in CORPUS) for name in FORMATS]
    lines.append(f"| **all** | {' | '.join(map(str, (*totals, len(CORPUS))))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", action="store_true", help="print the counts by damage and format as well")
    given = parser.parse_args()
    root = given.folder.resolve()
    site = prepared(Site(folder=root / "models", outside=root / "outside", traces=root / "traces"))
    write(site)
    print(f"{len(CORPUS)} bad checkpoints are in {site.folder}")  # noqa: T201 - a program
    if given.table:
        print(table())  # noqa: T201


if __name__ == "__main__":
    main()
