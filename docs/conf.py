"""The site: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

import os
import shutil
from pathlib import Path

from sphinx_gallery.sorting import FileNameSortKey

import fastsoftmax

ROOT = Path(__file__).parent.parent
project, author, copyright = "fastsoftmax", "the fastsoftmax developers", "the fastsoftmax developers"
version = release = fastsoftmax.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
nitpicky = False
suppress_warnings = ["config.cache"]  # an object in the gallery's settings: pages are then read anew

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Of every public name: a docstring with a summary, all parameters and no others, and what is returned.
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "RT01", "SS01", "YD01"}
numpydoc_validation_exclude = {r"\.set_\w+_request$", r"\.__\w+__$"}

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorial", "../examples/howto"],
    "gallery_dirs": ["tutorial", "howto"],
    "filename_pattern": "/plot_",
    "within_subsection_order": FileNameSortKey,
    "backreferences_dir": "reference/uses",
    "doc_module": ("fastsoftmax",),
    "reference_url": {"fastsoftmax": None},
    "abort_on_example_error": True,
    "plot_gallery": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "fastsoftmax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"changelog": [], "benchmarks": []}


ABOUT = """\
# The command line

`fastsoftmax COMMAND`, or `python -m fastsoftmax COMMAND`. For example, a table of text, a strength chosen by five
folds, a test, predictions of new rows:

```
fastsoftmax fit flowers.csv --label species --cv --save model --test more.csv
fastsoftmax predict model new.csv --proba --out probabilities.txt
```

"""


def _command_line(app):
    """The help of each command, as a page."""
    from fastsoftmax.cli import parser

    os.environ["COLUMNS"] = "100"
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    pages = [f"## fastsoftmax {name}\n\n```text\n{made.format_help()}```\n" for name, made in commands.items()]
    text = ABOUT + "\n".join(pages)
    (Path(app.srcdir) / "reference" / "command-line.md").write_text(text)


def _page_of_mnist(app):
    """The page that `fastsoftmax report` writes, for the site to show: it reads what one draws."""
    import fastsoftmax as fs
    from fastsoftmax.defaults import MNIST
    from fastsoftmax.report import write_page

    X, y, X_test, y_test = fs.datasets.load_mnist()
    names = ("epochs", "batch_size", "optimizer", "schedule", "momentum", "l2")
    settings = {name: MNIST[name] for name in names}
    model = fs.Trainer(learning_rate=MNIST["lr"], scale=1 / 255, progress=False, **settings).fit(X, y)
    write_page(
        Path(app.outdir) / "digits.html", model, X_test, y_test, title="A recogniser of digits",
        source="the test images of MNIST",
    )  # fmt: skip


def _pages_of_asv(app, error):
    """Beside the site, where `asv publish` made them."""
    if error is None and (ROOT / ".asv" / "html" / "index.html").exists():
        shutil.copytree(ROOT / ".asv" / "html", Path(app.outdir) / "asv", dirs_exist_ok=True)


def setup(app):
    app.connect("config-inited", lambda app, config: _command_line(app))
    app.connect("builder-inited", _page_of_mnist)
    app.connect("build-finished", _pages_of_asv)
