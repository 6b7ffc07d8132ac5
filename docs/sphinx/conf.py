"""Sphinx's settings. Pages are read from the folder that sources.stage fills, notebooks with their committed outputs."""

from importlib.metadata import version as installed

project = "airavata-runbook"
version = release = installed("airavata-runbook")
copyright = "The authors, Apache-2.0"
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # the default loads scripts from another host
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4  # links to headings, as on GitHub
highlight_language = "none"
smartquotes = False  # -- is an option, not a dash
exclude_patterns = ["readme/introduction.txt"]

html_theme = "furo"
html_title = "Airavata runbook"
html_static_path = ["static"]
html_css_files = ["runbook.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
