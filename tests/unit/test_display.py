"""How a report looks in a notebook: every word can be read, in Jupyter's light theme and in its dark one."""

import re

import pytest

from airavata_runbook.engine import report
from airavata_runbook.engine.report import Failure, Item, Report, Status

# JupyterLab 4: theme → the text of tables on its page and on a table's even row, and its colours for what went well or not.
THEMES = {
    "light": ("#212121", ["#ffffff", "#f5f5f5"], {"success": "#388e3c", "warn": "#f57c00", "error": "#d32f2f"}),
    "dark": ("#dfdfdf", ["#111111", "#212121"], {"success": "#4caf50", "warn": "#ff9800", "error": "#f44336"}),
    "none, white": ("#000000", ["#ffffff"], {}),
    "none, black": ("#ffffff", ["#000000"], {}),
}
READABLE = 4.5  # WCAG 2, contrast of ordinary text


def channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def mixed(share: float, colour: str, other: str) -> str:
    return "#" + "".join(
        f"{round(share * one + (1 - share) * two):02x}" for one, two in zip(channels(colour), channels(other), strict=True)
    )


def luminance(colour: str) -> float:
    parts = [one / 255 / 12.92 if one / 255 <= 0.03928 else ((one / 255 + 0.055) / 1.055) ** 2.4 for one in channels(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def shown(style: str, text: str, page: str, named: dict[str, str]) -> str:
    """The colour that a browser makes of a style."""
    if opacity := re.fullmatch(r"opacity:([.\d]+)", style):
        return mixed(float(opacity[1]), text, page)
    mix = r"color:color-mix\(in srgb, var\(--jp-(\w+)-color1, (#\w{6})\) (\d+)%, currentColor\)"
    name, own, share = re.fullmatch(rf"color:#\w{{6}};{mix}", style).groups()
    return mixed(int(share) / 100, named.get(name, own), text)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_read(status, theme):
    text, pages, named = THEMES[theme]
    for page in pages:
        darker, lighter = sorted(luminance(colour) for colour in (page, shown(report.STYLES[status], text, page, named)))
        assert (lighter + 0.05) / (darker + 0.05) >= READABLE


@pytest.mark.parametrize(("page", "least"), [("#ffffff", READABLE), ("#111111", 3.8)])
@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_told_in_a_notebook_that_was_not_run_here_yet(status, page, least):
    if plain := re.match(r"color:(#\w{6});", report.STYLES[status]):
        darker, lighter = sorted((luminance(plain[1]), luminance(page)))
        assert (lighter + 0.05) / (darker + 0.05) >= least
    else:
        assert report.STYLES[status] == report.QUIET


def test_no_other_colours_are_used():
    items = [
        Item(label="file /etc/a", status=status, summary="summary", detail="- a\n+ b", command="install a") for status in Status
    ]
    failures = [Failure(host="one", message="it broke")]
    page = report.report_html(
        Report(chapter="c", step="s", title="Files", plan=False, hosts={"one": items}, failures=failures, rows=[["a"], ["b"]])
    )
    colours = set(re.findall(r"(?<![-\w])(?:color:|opacity:)[^;']*", page))
    assert colours == {part for style in report.STYLES.values() for part in style.split(";")}
