"""Write docs/evidence.md and its figures from the tables: `neuralrank bench report`.

Every number and every choice of words is computed. What was tried and failed when the default was chosen is told by
hand in docs/evidence-choice.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neuralrank.bench import _report_bars as bars
from neuralrank.bench import _report_expected as expectation
from neuralrank.bench import _report_groups as groups
from neuralrank.bench import _report_measured as measured
from neuralrank.bench import _report_published as other
from neuralrank.bench import _report_ranking as ranking
from neuralrank.bench import _report_words as words
from neuralrank.bench._figures import FIGURES, svg
from neuralrank.bench._report_material import N_PROBE, Costs, Material, gather, read_costs
from neuralrank.bench._report_published import Published, read_published
from neuralrank.errors import OutputError

__all__ = [
    "Costs", "Material", "Published", "draw_figures", "gather", "read_costs", "read_published", "write_files",
    "write_text",
]  # fmt: skip

_REPEAT = """\
The tables are in [benchmarks/evidence](../benchmarks/evidence): Parquet, one row a network, a measurement, a score.

```console
$ neuralrank bench evaluate
$ neuralrank bench evaluate --score my_score --score mean_rank:neuralrank,knn
$ neuralrank bench report
$ make evidence-quick
$ make evidence
$ make evidence-zoo
```

The first judges the scores again, as in the tables above. The second judges a score that is not in the tables, for
example one of another package, in seconds: the features of every network on one draw of 500 samples a target are
published with the tables, in 8 bits a value. The third makes this page again. The others make the tables again: a cut
of 12 networks in minutes, or all of them in hours, or those of networks that other people published, where the build
and the fine-tuning use a GPU if torch sees one; whatever is finished is kept and not made again. How long each took
here, on what, is in [benchmarks.md](benchmarks.md)."""


def write_text(material: Material, *, folder: str, published: Published | None = None) -> str:
    """Write the page.

    Args:
        material: all that it says on the networks that were built.
        folder: of the figures, as the page sees it.
        published: all that it says on networks that other people published; None if they were not measured.
    """

    def figure(name: str, title: str) -> str:
        return f"![{title}]({folder}/{name}.svg)"

    parts = [
        "# The evidence: does a high rank mean a more accurate network?",
        "<!-- Made by `neuralrank bench report` from benchmarks/evidence; edit neither words nor numbers here. -->",
        bars.answer(material),
        "In brackets: intervals of 95 %, over networks (whole lineages are drawn again) and over draws of the probe; "
        "targets and regimes are taken as they are. Weighted τ is SciPy's weighted Kendall correlation with its "
        "defaults, 1 for the true order and 0 for a random one. How the score was chosen, and what failed, is told in "
        "[evidence-choice.md](evidence-choice.md).",
        "## What was measured", measured.measured(material),
        "## How exact the truth is", measured.exactness(material),
        "## How well each score ranks", ranking.quality(material),
        figure("scores", "Mean weighted τ of every score, with its interval, for heads and for full fine-tuning"),
        f"## Score and accuracy\n\n{_accuracy_caption(material)}",
        figure("accuracy", f"{material.default} against accuracy, a panel for each target and regime"),
        "## How few samples suffice", ranking.by_size(material),
        figure("samples", "Share of the ceiling by number of samples"),
        "## Heads and fine-tuning", ranking.by_regime(material),
        "## The expected accuracy", expectation.expected(material),
        "## Across kinds of networks", groups.within_and_across(material),
        figure("groups", "Drop of the weighted τ from within one kind of networks to across kinds"),
        "### Without one architecture, and without relatives of the target", groups.without_a_family(material),
        "## What a score costs", ranking.costs(material),
        figure("cost", "Seconds of each score against its mean weighted τ"),
        "## The half on which the default was chosen", ranking.both_halves(material),
        "## Networks that other people published", other.published(published, material.development_targets),
        "## What holds and what does not", bars.holds(material),
        "## How to repeat it", _REPEAT,
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _accuracy_caption(material: Material) -> str:
    chosen = material.development_targets
    shown = f"{words.listed(chosen)} served to choose the default and {'is' if len(chosen) == 1 else 'are'} shown"
    return (
        f"Each mark is one network of the confirmation half: {words.code(material.default)} on {N_PROBE} samples (mean "
        "over draws) against its accuracy. Open marks are networks that were trained on the target, or come from one "
        f"that was. {shown} for completeness."
    )


def draw_figures(material: Material) -> Mapping[str, bytes]:
    """Draw every figure, as SVG by name; the same bytes for the same tables."""
    return {name: svg(draw(material)) for name, draw in FIGURES.items()}


def write_files(material: Material, out: Path, *, published: Published | None = None) -> list[Path]:
    """Write the page, and its figures into a folder of the same name beside it.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = out.with_suffix("")
    _write(out, write_text(material, folder=folder.name, published=published).encode())
    figures = {folder / f"{name}.svg": drawn for name, drawn in draw_figures(material).items()}
    for path, drawn in figures.items():
        _write(path, drawn)
    return [out, *figures]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"The report could not be written to {str(path)!r}. Got: {error.strerror}. Name another with --out."
        ) from error
