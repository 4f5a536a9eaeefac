"""How Sphinx makes a site of these pages: `make docs`. The site needs no network, neither to be made nor to be read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dkvb_unlearning import __version__

project = "dkvb"
author = "The dkvb authors"
version = release = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 4
smartquotes = False  # two hyphens begin an option
nitpicky = True

html_theme = "furo"
html_title = f"dkvb {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
