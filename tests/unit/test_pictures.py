"""Pictures: what is given is drawn, whatever its names and number, and can be read in light, in dark and without styles."""

import re
from html import unescape
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from airavata_runbook.engine.report import Picture, picture_of
from airavata_runbook.pictures import charts, components, hosts, services, svg, trust

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = """</text><script>alert(1)</script>"'&\x1b\u202e\ufffe\ud800 ]]> 漢字"""
PLAN = hosts.Networks("10.254.0.0/16", "10.254.0.1", "10.254.0.10", "10.244.0.0/16", 24, "vxlan")


def networks(count: int, name: str = "host") -> svg.Drawn:
    return hosts.networks("lab", [hosts.Host(f"{name}-{number}", ("10.98.0.11 on lab0",)) for number in range(count)], PLAN)


def leases(count: int, name: str = "host", lease: int = 3) -> svg.Drawn:
    subnet = f"10.244.{lease}.0/24"
    found = [hosts.HostLease(f"{name}-{number}", "10.98.0.11", subnet, subnet, "0a:fb:0a:62:00:0b") for number in range(count)]
    return hosts.leases("lab", "/net/subnets", "10.244.0.0/16", 8472, found)


def pods(count: int, name: str = "host") -> svg.Drawn:
    names = [f"{name}-{number}" for number in range(count)]
    found = [hosts.Pod("api-server 1", "airavata", names[0], ready=False, note="STAND-IN"), hosts.Pod("gfac 1", "airavata", "")]
    return hosts.pods_by_host("Pods by host:", [hosts.Host(one) for one in names], found)


def stack(count: int, name: str = "part") -> svg.Drawn:
    """Of so many layers, where each component needs all those below it."""
    names = [f"{name}-{number}" for number in range(count)]
    return components.connections(
        "Components", [components.Component(one, ("real server",), tuple(names[:number])) for number, one in enumerate(names)]
    )


def served(count: int, name: str = "service") -> svg.Drawn:
    ends = tuple(services.Endpoint(f"{name}-{number}", ready=bool(number)) for number in range(count))
    return services.services_to_endpoints(
        "Services",
        [services.Service(name, "airavata", ("80/TCP",), ends, ("30080",)), services.Service("none", "x", ("1/TCP",), ())],
    )


def spoken(count: int, name: str = "client") -> svg.Drawn:
    clients = tuple(trust.Client(f"{name}-{number}", f"{name}.crt", name * (number % 2)) for number in range(count))
    return trust.who_speaks_to_whom("Who", [trust.Server(name, "s.crt", "ca", clients), trust.Server("other", "o.crt", "x", ())])


def chart(count: int, name: str = "replica") -> svg.Drawn:
    found = [charts.Bar(f"{name}-{number}", number, f"{number} calls", begin=2, group=name) for number in range(count)]
    return charts.bars("Calls:", found, 2, "at least 2")


def boxes(drawn: svg.Drawn) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of every box but the paper."""
    found = [
        [float(one.get(key)) for key in ("x", "y", "width", "height")]
        for one in ElementTree.fromstring(drawn.svg).iter(f"{SVG}rect")
        if one.get("x")
    ]
    return [(x, y, x + width, y + height) for x, y, width, height in found]


ALL = [
    (networks, "host"),
    (leases, "host"),
    (pods, "host"),
    (stack, "part"),
    (served, "service"),
    (spoken, "client"),
    (chart, "replica"),
]


@pytest.mark.parametrize(("draw", "name"), ALL)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_everything_is_in_the_picture_and_in_its_text_and_no_box_lies_across_another(draw, name, count):
    drawn = draw(count)
    root = ElementTree.fromstring(drawn.svg)
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert all(any(f"{name}-{number}" in one for one in words) for number in range(count))
    assert all(f"{name}-{number}" in drawn.text for number in range(count)) and root.find(f"{SVG}desc").text == drawn.text
    _, _, width, height = map(float, root.get("viewBox").split())
    assert all(left >= 0 and right <= width and bottom <= height for left, _, right, bottom in boxes(drawn))
    assert width <= 1050
    for one in boxes(drawn):
        for other in boxes(drawn):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            inside = one[0] <= other[0] and one[1] <= other[1] and one[2] >= other[2] and one[3] >= other[3]
            around = other[0] <= one[0] and other[1] <= one[1] and other[2] >= one[2] and other[3] >= one[3]
            assert apart or inside or around, (one, other)


@pytest.mark.parametrize(("draw", "name"), ALL)
def test_a_name_is_text_and_nothing_else(draw, name):
    drawn = draw(2, HOSTILE)
    root = ElementTree.fromstring(drawn.svg)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {"svg", "title", "desc", "style", "rect", "path", "text"}
    assert "<script" not in drawn.svg and "<script" not in svg.as_image(drawn.svg, drawn.text)


def test_no_line_to_a_component_runs_through_another_one():
    """A line passes a layer beside its boxes."""
    drawn = stack(5)
    for path in ElementTree.fromstring(drawn.svg).iter(f"{SVG}path"):
        numbers = [float(one) for one in re.findall(r"[0-9.]+", path.get("d"))]
        x, y, to_x, to_y = *numbers[:2], *numbers[-2:]
        for left, top, right, bottom in boxes(drawn):
            assert not (x == to_x and left < x < right and y < bottom - 1 and to_y > top + 8), path.get("d")


def test_a_need_that_does_not_run_is_no_line_and_what_is_left_out_is_said():
    drawn = components.connections("Components", [components.Component("a", (), ("b",))], ["b is left out: no image"])
    assert "needs" not in drawn.text and "b is left out: no image" in drawn.text and "f-line0" not in drawn.svg


def test_what_is_not_ready_or_behind_nothing_is_seen_and_said():
    assert "service-0 (not ready)" in served(2).text and "x/none (1/TCP): no endpoint" in served(2).text
    assert "host-0: api-server 1 (STAND-IN, not ready)" in pods(2).text and "on no host yet: gfac 1 (not" not in pods(2).text
    assert "f-red" in served(2).svg and "f-red" in pods(2).svg


def test_a_bar_is_as_long_as_its_number():
    widths = [float(one) for one in re.findall(r'<rect [^>]*width="([0-9.]+)"[^>]*"f-bar"', chart(5).svg)]
    assert widths[4] == pytest.approx(2 * widths[2], abs=0.2) and "  replica-4: 4 calls" in chart(5).text


def test_a_long_name_is_shortened_and_whole_in_its_title():
    drawn = networks(3, "a-very-long-name-of-a-host-in-some-department")
    (first, *_) = [one for one in ElementTree.fromstring(drawn.svg).iter(f"{SVG}text") if "…" in (one.text or "")]
    assert first.text.startswith("a-very") and first.text.endswith("-0")
    assert first.find(f"{SVG}title").text == "a-very-long-name-of-a-host-in-some-department-0"


def test_a_lease_that_differs_is_seen_and_said():
    found = [hosts.HostLease("one", "10.98.0.11", "10.244.3.0/24", "10.244.9.0/24")]
    drawn = hosts.leases("lab", "/net/subnets", "10.244.0.0/16", 8472, found)
    assert "DIFFERS" in drawn.text and 'class="f-red s-line"' in drawn.svg
    assert "DIFFERS" not in leases(2).text and "f-red" not in leases(2).svg


def test_another_lease_changes_nothing_but_its_number():
    """Notebooks are compared with another run's, whose leases are replaced by a word first."""
    one, other = leases(3, lease=3), leases(3, lease=203)
    assert one.svg != other.svg and one.svg.replace("10.244.3.", "10.244.203.") == other.svg


def test_it_is_shown_as_an_image_that_an_unrun_notebook_has_and_that_follows_jupyterlab_s_theme():
    picture = picture_of("networks", networks(2))
    html = picture._repr_html_()
    assert "<svg" not in html and picture._repr_png_() is None and repr(picture) == picture.text
    assert unescape(re.search(r'alt="([^"]*)"', html)[1]) == picture.text
    drawn = unquote(re.search(r'src="data:image/svg\+xml,([^"]+)"', html)[1])
    assert drawn == picture.svg and picture.content == drawn.encode()
    assert '[data-jp-theme-light="false"] .runbook-picture' in html and "color-scheme:dark" in html
    assert Picture(name="x.png", text="x", png="dHdv")._repr_html_() is None


def contrast(one: str, other: str) -> float:
    """By WCAG 2.1's definition."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("dark", [0, 1])
def test_texts_and_lines_have_enough_contrast_in_light_and_dark(dark):
    colour = {name: both[dark] for name, both in svg.COLOURS.items()}
    for fill in ("paper", "box", "blue", "green", "yellow", "red"):
        assert contrast(colour["ink"], colour[fill]) >= 7, fill
    assert contrast(colour["quiet"], colour["paper"]) >= 4.5
    for line in (*svg.LINES, "line", "bar", "bad"):
        assert contrast(colour[line], colour["paper"]) >= 3, line


def test_every_colour_is_there_without_styles_and_has_one_for_a_dark_page():
    for drawn in (draw(2) for draw, _ in ALL):
        style = re.search("<style>(.*?)</style>", drawn.svg)[1]
        for one in ElementTree.fromstring(drawn.svg).iter():
            for name in (one.get("class") or "").split():
                kind, _, colour = name.partition("-")
                attribute = {"f": "fill", "s": "stroke"}[kind]
                assert one.get(attribute) == svg.COLOURS[colour][0]
                assert f".{name}{{{attribute}:{svg.COLOURS[colour][1]}}}" in style
