"""Pages of the documentation site that are generated when it is built: `make docs`."""

from __future__ import annotations

from pathlib import Path

from pages.api import api_pages
from pages.commands import command_pages
from pages.environments import environment_pages
from pages.markdown import Pages
from pages.registries import registry_pages
from pages.repository import example_pages, lesson_pages, root_pages


def every_page(root: Path) -> Pages:
    """Return all generated pages of a checkout."""
    parts = (root_pages(root), example_pages(root), lesson_pages(root))
    return {
        name: text
        for pages in (*parts, environment_pages(), registry_pages(), command_pages(), api_pages())
        for name, text in pages.items()
    }
