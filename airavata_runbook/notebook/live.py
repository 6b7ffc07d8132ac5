"""What is done for a person who steps through a notebook: the choice of the site, and what the steps have to do with it."""

import os
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from airavata_runbook.engine.report import Origin, Report
from airavata_runbook.errors import SiteError
from airavata_runbook.kernel_env import PLAN, SITE
from airavata_runbook.local import paths
from airavata_runbook.notebook import session
from airavata_runbook.notebook.origin import notebook_name, origin
from airavata_runbook.notebook.picker import Picker
from airavata_runbook.notebook.session import Choice
from airavata_runbook.notebook.site_files import look, site_files
from airavata_runbook.notebook.site_view import FIXED_PLAN, PLAN_ON, SiteView
from airavata_runbook.run import by_hand
from airavata_runbook.site import Site


class Live:
    """A local.live.LiveNotebook, the only one of this kernel."""

    def __init__(self) -> None:
        self._loaded: list[tuple[Site, Path, Path]] = []  # by choice: the site, its file, the project's folder
        self._picker: Picker | None = None
        self._view: SiteView | None = None
        self._plan = False  # as this notebook shows the switch

    def choice(self, source: object) -> object:
        """As LiveNotebook says."""
        if self._file_of(source) is None and (source is not None or os.environ.get(SITE)):
            return source
        project = paths.base_dir()
        files = {path.stem: path for path in site_files(project)}
        if not files:
            return source
        choice = session.chosen(project)
        self._plan = bool(choice and choice.plan)
        self._show_picker(project, files, choice)
        if choice is None or not Path(choice.site).is_file():
            raise no_site()
        return Path(choice.site)

    def loaded(self, site: Site, path: Path) -> None:
        """As LiveNotebook says."""
        self._loaded.append((site, path, paths.base_dir()))

    def begin(self, site: Site | None, plan: bool) -> bool:
        """As LiveNotebook says."""
        if site is None and not os.environ.get(SITE) and not session.chosen(paths.base_dir()):
            raise no_site()
        return plan or bool(self._why_plan(site))

    def origin(self) -> Origin:
        """As LiveNotebook says."""
        return origin()

    def keep(self, report: Report) -> None:
        """As LiveNotebook says. A record that cannot be written fails no step: it says so below it."""
        project = paths.base_dir()
        try:
            by_hand.keep(report, project, session.file_of(project / "outputs" / report.site, "record"))
        except SiteError as error:
            print(f"{report.title}: {error}", file=sys.stderr)

    def show(self, site: Site) -> None:
        """As LiveNotebook says."""
        self._view = SiteView(site, self._why_plan(site))

    def _file_of(self, site: object) -> Path | None:
        """The file that a site was loaded from by choice. An equal site that is named in the notebook was not."""
        return next((path for one, path, _ in self._loaded if one is site), None)

    def _why_plan(self, site: object) -> str:
        """Why steps on a site only plan; "" when they do not. Raises SiteError when another site has been chosen since.

        The switch of each notebook counts for itself, so that none runs while it shows plan; one that is turned on counts for
        all.
        """
        for one, path, project in self._loaded:
            if one is site:
                now = session.chosen(project)
                if now is None or Path(now.site) != path:
                    raise SiteError(
                        f"another site was chosen after this notebook loaded the site {one.name}",
                        found=now.site if now else "no choice of this session",
                        remedy="run the cell with `Site.load(site)` again, and go on from there",
                    )
                return FIXED_PLAN if os.environ.get(PLAN) else PLAN_ON if now.plan or self._plan else ""
        return FIXED_PLAN if os.environ.get(PLAN) else ""

    def _show_picker(self, project: Path, files: dict[str, Path], choice: Choice | None) -> None:
        if self._picker:
            self._picker.close()
        fixed = bool(os.environ.get(PLAN))

        def choose(name: str) -> str:
            chosen = Choice(str(files[name]), picker.plan.value and not fixed, notebook_name(), _now())
            return _kept(project, chosen) or self._chosen(picker, name, files[name])

        def plan(on: bool) -> str:
            self._plan, now = on, session.chosen(project)
            wrong = _kept(project, replace(now, plan=on)) if now else ""
            with suppress(SiteError):  # another site was chosen: its steps say so
                if self._view:
                    self._view.update(self._why_plan(self._view.site))
            return wrong or _plan_words(on)

        picker = self._picker = Picker(list(files), fixed or bool(choice and choice.plan), choose, plan, fixed)
        chosen = next((name for name, path in files.items() if choice and str(path) == choice.site), "")
        picker.mark(chosen)
        picker.say(_chosen_words(chosen, choice) if choice and chosen else "No site is chosen yet.")
        picker.show()
        for name, path in files.items():
            threading.Thread(target=_look, args=(picker, name, path), name=f"hosts of {name}", daemon=True).start()

    def _chosen(self, picker: Picker, name: str, path: Path) -> str:
        picker.mark(name)
        if self._loaded and self._loaded[-1][1] == path:
            return f"Steps work on the site {name}, which this notebook has loaded."
        return f"The site {name} is chosen. Run this cell again to load it."


def no_site() -> SiteError:
    """What a cell says while no site is chosen."""
    return SiteError("no site is chosen yet", remedy="choose one in the list of `Site.load(site)`, then run that cell again")


def _kept(project: Path, choice: Choice) -> str:
    """Keep a choice; why it could not be kept, or ""."""
    try:
        session.choose(project, choice)
        return ""
    except OSError as error:
        return f"This could not be remembered: {error}"


def _plan_words(on: bool) -> str:
    return "Plan is on: steps change nothing." if on else "Plan is off: steps change the hosts of the site."


def _chosen_words(name: str, choice: Choice) -> str:
    where = f" in {choice.notebook}" if choice.notebook else ""
    return f"The site {name} was chosen{where} at {choice.at[11:16]} UTC. {_plan_words(choice.plan)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _look(picker: Picker, name: str, path: Path) -> None:
    look(path, lambda hosts, answers: picker.tell(name, hosts, answers))
