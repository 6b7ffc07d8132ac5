"""The board: chapters and steps by hosts, with the state that a plan finds, and buttons that call the same steps as the cells."""

from typing import TYPE_CHECKING, Union

from airavata_runbook.local.screen import Nowhere, shown_on
from airavata_runbook.local.terminal import in_live_notebook
from airavata_runbook.site import Site
from airavata_runbook.site_board.page import StillBoard
from airavata_runbook.site_board.work import grid_of, look

if TYPE_CHECKING:
    from airavata_runbook.site_board.view import BoardView


def board(site: Site | str) -> Union["BoardView", StillBoard]:
    """The board of a site: in a live notebook one to click on, which fills while it looks; elsewhere the table as it is now.

    It changes nothing by itself. Raises SiteError for what is no site.
    """
    site = site if isinstance(site, Site) else Site.load(site)  # loaded anew, it would be another one than the chosen
    grid = grid_of(site)
    if in_live_notebook():
        from airavata_runbook.site_board.view import BoardView  # ipywidgets, which only live notebooks need

        return BoardView(site, grid)
    with shown_on(Nowhere()):
        for _ in look(site, grid):
            pass
    return StillBoard(site.name, grid)
