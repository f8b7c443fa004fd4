"""The manual: `python -m sphinx -W --keep-going docs docs/_build/html`, without a network."""

import importlib.metadata
import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))
os.environ.setdefault("MPLBACKEND", "Agg")

project = "mkfusion"
author = "The mkfusion developers"
copyright = author  # no year: it would make every build another one
release = importlib.metadata.version("mkfusion")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "api_pages",
    "flowchart",
    "mathml",
    "notebook_pages",
    "thumbnails",
]
exclude_patterns = [
    "_build",
    "_ext",
    "_static",
    "auto_gallery/*.ipynb",
    "gallery",  # the sources; what is made of them lies in auto_gallery
    "**/.ipynb_checkpoints",
]
suppress_warnings = ["config.cache"]  # the gallery's configuration holds what cannot be pickled

# --- pages ---------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # what the notebooks say was printed when they were run
nb_ipywidgets_js = {}  # they would come from elsewhere
html_math_renderer = "mathml"

# --- docstrings ----------------------------------------------------------------------------

autosummary_generate = False
autodoc_typehints = "none"  # the docstrings say more than the annotations
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# --- the gallery ---------------------------------------------------------------------------

if any((DOCS / "gallery").glob("plot_*.py")):
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": "gallery",
        "gallery_dirs": "auto_gallery",
        "filename_pattern": r"[\\/]plot_",
        "within_subsection_order": "FileNameSortKey",
        "abort_on_example_error": True,
        "download_all_examples": False,
        "remove_config_comments": True,
        "show_memory": False,
        "show_signature": False,
        "min_reported_time": 1e9,  # seconds of one machine say little on a page
        "write_computation_times": False,
        "backreferences_dir": None,
        "plot_gallery": True,
    }

# --- how it looks --------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "mkfusion"
html_static_path = ["_static"]
html_css_files = ["mkfusion.css"]
html_favicon = "_static/favicon.svg"
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "start": [], "choose": []}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo-dark.svg",
        "alt_text": "mkfusion, to the front page",
    },
    "header_links_before_dropdown": 7,
    "icon_links": [],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_center": [],
    "footer_end": [],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
}
