"""Settings of the documentation site: `make docs`. Generated pages come from `tools/pages`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from pages import every_page, links, references  # noqa: E402
from pages.markdown import write  # noqa: E402

import textgym  # noqa: E402

project, author, release = "textgym", "The textgym authors", textgym.__version__
project_copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["comparisons", "_static"]
nitpicky = True
smartquotes = False  # which makes a dash of the two hyphens of an option
pygments_style, pygments_dark_style = "friendly", "monokai"
default_role = "code"  # docstrings of some tasks are Markdown

myst_heading_anchors = 6
myst_enable_extensions = ["dollarmath", "colon_fence"]
nb_execution_mode = "off"  # the outputs of lessons are stored with them

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
    "ignore-module-all": True,  # a module shows what it defines; the page of its package lists what that exports
}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries = False

html_theme = "furo"
html_title = f"textgym {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)"]

write(ROOT / "docs" / links.GENERATED, every_page(ROOT))


def use_site_links(app: Any, docname: str, source: list[str]) -> None:
    """Let links to files of the repository lead to the pages that show them; the start page gets its navigation."""
    if docname.startswith(f"{links.GENERATED}/"):
        return
    source[0] = links.site_links(source[0], f"docs/{docname}.md", f"{docname}.md")
    if docname == "index":
        source[0] = links.with_toctrees(source[0])


def keep_first_paragraph(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Leave the rest of the docstrings of tasks and environments, which are Markdown, to their own pages."""
    heading = next((place for place, line in enumerate(lines) if line.startswith("## ")), None)
    if heading is not None:
        lines[heading:] = ["It has a page of its own: :doc:`/generated/environments/index`.", ""]


def leave_out(app: Any, what: str, name: str, obj: Any, skip: bool, options: object) -> bool | None:
    """Leave out what other packages put into a class: methods, and fields of named tuples, which its docstring has."""
    doc = getattr(obj, "__doc__", None) or ""
    is_foreign = references.is_foreign(getattr(obj, "__module__", None) or references.PACKAGE)
    return True if doc.startswith("Alias for field number") or (what == "class" and is_foreign) else None


def take_names_literally(app: Any, doctree: nodes.document) -> None:
    """Do not look for names of types in all modules: `find_reference` knows what a module imports."""
    for node in doctree.findall(addnodes.pending_xref):
        if "refspecific" in node:
            del node["refspecific"]


def find_reference(app: Any, env: Any, node: Any, contnode: nodes.Element) -> nodes.Element | None:
    """Resolve references to what is imported or inherited; private names and other packages' stay without a link.

    A reference of a docstring that means nothing stays unresolved, which is a warning.
    """
    if node.get("refdomain") != "py":
        return None
    objects = env.domains["py"].objects
    found = list(references.meanings(node["reftarget"], node.get("py:module"), node.get("py:class")))
    for home in [*found, *(name.rpartition(".")[0] for name in found)]:  # attributes lead to their class or module
        if home in objects:
            entry = objects[home]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, home)
    is_of_signature = "refwarn" not in node
    return contnode if is_of_signature or any(map(references.has_no_page, found)) else None


def visit_math(translator: Any, node: Any) -> None:
    """Write formulas as MathML, which browsers show without a script."""
    is_block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=is_block))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("source-read", use_site_links)
    app.connect("autodoc-process-docstring", keep_first_paragraph, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", leave_out)
    app.connect("doctree-read", take_names_literally)
    app.connect("missing-reference", find_reference)
    for table in ("csv", "tsv"):
        app.add_lexer(table, TextLexer)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
