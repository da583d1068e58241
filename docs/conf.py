"""The documentation as a site: `make docs` writes it to build/docs, where it opens from disk.

Pages are the Markdown files that also read well on GitHub. Comments in some of them stand for what is made
when the site is built: `<!-- rows -->` for the table of kept runs, `<!-- api NAME ... -->` for the docstrings
of modules (what their package exports of them, or else their own public names), classes and functions.
"""

import importlib
import inspect
import re
import runpy
from pathlib import Path
from pydoc import locate
from types import ModuleType
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "xbar"
author = "the xbar authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = "xbar"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"


def mathml(translator: Any, node: nodes.Element) -> None:
    """An equation as MathML, which browsers draw themselves: no script, no font, nothing to fetch."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def rows() -> str:
    """The table of kept runs."""
    table = runpy.run_path(str(ROOT / "results" / "table.py"))["rows"]()
    return "\n".join(["| what | published | ours | command |", "|---|---|---|---|", *table])


def names_of(module: ModuleType) -> list[str]:
    """What a module defines for its users: under its package's name, or where that exports none, its own."""
    package = importlib.import_module(module.__name__.partition(".")[0])
    for owner, names in ((package, getattr(package, "__all__", ())), (module, vars(module))):
        things = {name: getattr(owner, name) for name in names if not name.startswith("_")}
        found = [
            f"{owner.__name__}.{name}"
            for name, thing in things.items()
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module.__name__
        ]
        if found:
            return found
    return []


def api(names: str) -> str:
    """Directives that document modules, classes and functions."""
    text = ""
    for name in names.split():
        thing = locate(name)
        if isinstance(thing, ModuleType):
            summary = inspect.getdoc(thing).split("\n\n")[0]
            text += f"### `{name}`\n\n{summary}\n\n"
        for item in names_of(thing) if isinstance(thing, ModuleType) else [name]:
            kind = "autoclass" if inspect.isclass(locate(item)) else "autofunction"
            text += f"```{{eval-rst}}\n.. {kind}:: {item}\n```\n\n"
    return text


def generate(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made in the place of the comments that ask for it."""
    source[0] = source[0].replace("<!-- rows -->", rows()) if page == "reproductions" else source[0]
    if page.startswith("api/"):
        source[0] = re.sub(r"<!-- api ([^>]+) -->", lambda found: api(found[1]), source[0])


def setup(app: Sphinx) -> None:
    """Sphinx's entry."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("source-read", generate)
