"""How is the book built?  Sphinx and MyST-NB on what `assemble.py` put together in build/book/source."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "alignment-bandits"
author = "The alignment-bandits authors"
copyright = author  # without a year: the same bytes every year

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "theory_tags",
    "for_everybody",
]
# The assembled tree also holds the code, so that links from text to files lead somewhere; these are pages.
include_patterns = [
    *("*.md", "algorithms/*.md", "api/*.md", "bandits/theory.md", "figures/verdicts.md"),
    "figures/llm_experiment*.md",
    *("notebooks/*.md", "notebooks/*.ipynb"),
]
nitpicky = True
# Types of NumPy and of inner modules have no page here; what our text links to, `site_check.py` follows.
nitpick_ignore_regex = [("py:.*", ".*")]

# Notebooks hold their outputs, and `make test` runs them; one that holds none runs here, and must not fail.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # the widgets' scripts would come from two networks; the page's own triangle stays
suppress_warnings = ["mystnb.unknown_mime_type"]  # a widget's view: its text is shown
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
mathjax_path = "mathjax/tex-svg.js"  # shipped: `make book` takes it from the npm registry, once
mathjax3_config = {"options": {"enableMenu": False}}  # it would load more

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
add_module_names = False

html_theme = "furo"
html_title = "alignment-bandits"
html_static_path = ["_static", "../../build/book/static"]
html_css_files = ["book.css"]
html_js_files = [("simplex.js", {"defer": "defer"})]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}
