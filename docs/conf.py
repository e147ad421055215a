"""How the pages of this folder become a site: `make site` builds it, with every warning an error.

The tool is Sphinx with MyST, chosen by upkeep in November 2026. MkDocs has had no release for two years, and Material
for MkDocs is only mended. Zensical, its successor, has releases every week, is young ("beta", 0.1) and changes its
form. Sphinx, MyST-Parser and the theme had releases this autumn, are stable, read the docstrings of the package itself,
and their search works without a server.

Nothing is loaded from elsewhere at view time: fonts, scripts and the index of the search are files of the site.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "vitseg"
author = "the vitseg developers"
copyright = "the vitseg developers. Apache-2.0"
version = release = version_of("vitseg")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "drawings",
    "repository_links",
    "settings_tables",
    "verb_help",
]
exclude_patterns = ["_site"]
nitpicky = False
suppress_warnings: list[str] = []

smartquotes = False  # two dashes are an option's
default_role = "code"
myst_heading_anchors = 4
myst_links_external_new_tab = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = "vitseg"
html_static_path = ["_site/static"]
html_css_files = ["vitseg.css"]
templates_path = ["_site/templates"]
html_sidebars = {"**": ["all-pages.html"]}
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "vitseg"},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "search_bar_text": "Search",
}
