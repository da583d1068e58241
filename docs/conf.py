"""The documentation as a site: `make docs` writes it to build/docs, where it opens from disk.

Pages are the Markdown files that also read well on GitHub. Comments in some of them stand for what is made
when the site is built: `<!-- rows -->` for the table of kept runs, `<!-- api NAME ... -->` for the docstrings
of modules (what their package exports of them, or else their own public names), classes and functions. A
block that is a file, as ```toml my-study.toml, has the file's name above it.
"""

import importlib
import inspect
import re
import runpy
from html import escape
from pathlib import Path
from pydoc import locate
from textwrap import indent
from types import ModuleType
from typing import Any

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).parents[1]
ziamath.config.svg2 = False  # glyphs as paths: no ids, which would be those of the next equation too

project = "xbar"
author = "the xbar authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
default_role = "code"
smartquotes_action = "D"
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
html_math_renderer = "svg"


def equation(translator: Any, node: nodes.Element) -> None:
    """An equation as an SVG in the page: no script, no font, nothing to fetch."""
    tex = node.astext()
    svg = ziamath.Latex(tex, size=18, color="currentColor").svg()
    translator.body.append(f'<div class="equation" role="img" aria-label="{escape(tex)}">{svg}</div>')
    raise nodes.SkipNode


def rows() -> str:
    """The table of kept runs."""
    table = runpy.run_path(str(ROOT / "results" / "table.py"))["rows"]()
    return "\n".join(["| what | published | ours | command |", "|---|---|---|---|", *table])


def notes_of(module: ModuleType) -> dict[str, str]:
    """The docstrings of a module's own constants: the strings that follow their assignments."""
    notes = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
    return {name: "\n".join(lines) for (owner, name), lines in notes.items() if not owner}


def defined_in(module: ModuleType, name: str, thing: object) -> bool:
    """Whether a module defines a thing for its users: a class, a function, or a constant with a docstring."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return thing.__module__ == module.__name__
    return vars(module).get(name) is thing and name in notes_of(module)


def names_of(module: ModuleType) -> list[str]:
    """What a module defines for its users: under its package's name, or where that exports none, its own."""
    package = importlib.import_module(module.__name__.partition(".")[0])
    for owner, names in ((package, getattr(package, "__all__", ())), (module, vars(module))):
        things = {name: getattr(owner, name) for name in names if not name.startswith("_")}
        found = [
            f"{owner.__name__}.{name}" for name, thing in things.items() if defined_in(module, name, thing)
        ]
        if found:
            return found
    return []


def api(names: str) -> str:
    """Directives that document modules, classes and functions."""
    text = ""
    for name in names.split():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            things, notes = [name], {}
        else:
            things, notes = names_of(module), notes_of(module)
            summary, *_ = inspect.getdoc(module).split("\n\n")
            text += f"### `{name}`\n\n{summary}\n\n"
        for thing in things:
            note = notes.get(thing.rpartition(".")[2])
            if note is not None:
                directive = f".. py:data:: {thing}\n\n{indent(note, '   ')}"
            elif inspect.isclass(locate(thing)):
                directive = f".. autoclass:: {thing}"
            else:
                directive = f".. autofunction:: {thing}"
            text += f"```{{eval-rst}}\n{directive}\n```\n\n"
    return text


def generate(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made in the place of the comments that ask for it, and file names above their blocks."""
    text = re.sub(r"<!-- rows -->", lambda _: rows(), source[0])
    text = re.sub(r"<!-- api ([^>]+) -->", lambda found: api(found[1]), text)
    source[0] = re.sub(
        r"^```(\w+) (\S+\.\w+)$", r"```{code-block} \1\n:caption: \2", text, flags=re.MULTILINE
    )


def setup(app: Sphinx) -> None:
    """Sphinx's entry."""
    app.add_html_math_renderer("svg", (equation, None), (equation, None))
    app.connect("source-read", generate)
