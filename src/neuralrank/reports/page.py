"""`Ranking` → one HTML file that needs nothing else: no script, no request, light and dark, screen and paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuralrank.reports._page_view import page_view
from neuralrank.types import Ranking

if TYPE_CHECKING:
    from jinja2 import Environment


def page(ranking: Ranking) -> str:
    """Write the ranking as one self-contained HTML page.

    Every text is escaped, and the page forbids itself all scripts and requests, so a model's name can do nothing.

    Args:
        ranking: the result to write.
    """
    return _environment().get_template("page.html.jinja").render(page_view(ranking))


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("neuralrank", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
