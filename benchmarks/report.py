"""report.html of any benchmark: one file that needs no other, with its figures inside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup


@dataclass(frozen=True)
class Page:
    """What a report says."""

    title: str
    summary: str
    """A sentence on what was done."""
    how_to_read: Sequence[str]
    figures: Sequence[tuple[Path, str]]
    """SVG files and their captions."""
    tables: Sequence["PageTable"]


@dataclass(frozen=True)
class PageTable:
    """A table of a report."""

    title: str
    rows: Sequence[Sequence[str]]
    """The first one has the headings."""
    note: str = ""
    text_columns: Sequence[int] = (0,)
    """Those that hold text, to be aligned to the left."""


def write_page(folder: Path, page: Page, template: Path = Path("report.html.j2"), **more: Any) -> Path:
    """Writes report.html into a results folder, with the settings and the environment that are written there.

    Args:
        folder: of the results.
        page: what all reports have.
        template: extends `report.html.j2`, in this folder, by a block `more`; a path from this folder.
        more: what the block needs.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    about = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "environment")
    }
    content = {**vars(page), **about, "figures": [(Markup(_inline(svg)), caption) for svg, caption in page.figures]}
    path = folder / "report.html"
    path.write_text(templates.get_template(template.as_posix()).render(content, **more), encoding="utf-8")
    return path


def _inline(svg: Path) -> str:
    """The svg element of a file, its ids made its own: several figures share one page."""
    text = svg.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{svg.stem}-")
    return text
