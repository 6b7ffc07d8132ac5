"""What a person does in a notebook of a site, and sees there."""

from tests.browser.devtools import PICTURES
from tests.browser.jupyterlab import Notebook

SCHEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTHS = (1280, 1000)  # pixels
KEPT = (("light", 1280), ("dark", 1000))  # of these, pictures of the whole notebook
HEIGHT = 1400  # pixels of a picture
TRACES = ("Traceback", "Cell In[", "airavata_runbook/", "site-packages")  # what a traceback of ours has
UNFOLD = """document.querySelectorAll(':is(.jp-OutputArea-output, .jp-MarkdownOutput) details')
    .forEach((one) => { one.open = true })"""


def load_site(notebook: Notebook, site: str, plan: bool) -> None:
    """Run the first two code cells; where no site is chosen yet in this JupyterLab, choose it in the picker."""
    notebook.run(notebook.code("site = None"))
    load = notebook.code("Site.load(site)")
    text = notebook.run(load)
    if "no site is chosen yet" in text:
        choose(notebook, load, site, plan)
        text = notebook.run(load)
    assert f"{site} (chosen)" in text and not notebook.failed(load), text


def choose(notebook: Notebook, cell: int, site: str, plan: bool) -> None:
    """Choose a site in the picker, by the mouse."""
    page, output = notebook.page, notebook.output(cell)
    assert not any(trace in notebook.text(cell) for trace in TRACES), notebook.text(cell)
    page.wait(f"!{output}.innerText.includes('reading …')", 60)
    if plan:
        page.click(f"{output}.querySelector('input[type=checkbox]')")
        page.wait(f"{output}.innerText.includes('Plan is on')")
    page.click(f"[...{output}.querySelectorAll('button')].find((one) => one.innerText.trim() === '{site}')")
    page.wait(f"{output}.querySelector('[role=status]').innerText.includes('{site} is chosen')")
    for scheme, theme in SCHEMES.items():
        notebook.theme(theme)
        page.picture(PICTURES / f"picker-{scheme}.png")
    notebook.theme(SCHEMES["light"])


def shown_wrong(notebook: Notebook, name: str) -> dict[str, list[str]]:
    """What does not fit into its place, has too little contrast, or no name, and where. Pictures are kept under `name`."""
    page, wrong = notebook.page, {}
    page.js(UNFOLD)
    for scheme, theme in SCHEMES.items():
        notebook.theme(theme)
        for width in WIDTHS:
            page.show(width, HEIGHT, scheme)
            found = page.js(f"[...look.wide({notebook.rendered}), ...look.pale({notebook.rendered})]")
            wrong[f"{scheme}, {width} pixels"] = found
            if (scheme, width) in KEPT:
                for number in notebook.screens():
                    page.picture(PICTURES / f"{name}-{scheme}-{number:02}.png")
    for number in range(page.js(f"{notebook.rendered}.length")):
        wrong[f"output {number}"] = page.unnamed(f"{notebook.rendered}[{number}]")
    return {where: found for where, found in wrong.items() if found}
