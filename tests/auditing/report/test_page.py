"""The report as a page, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnmask.auditing.report.html_page import html_from_report
from tests.auditing.report.reports import SCRIPT, full_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here, such as Debian's package chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        # Without a sandbox of its own it runs as root in a container too.
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """An open page, and all that it asked for and complained of."""

    def __init__(self, browser: playwright.Browser, file: Path) -> None:
        context = browser.new_context()
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto(file.as_uri())

    def column(self, name: str) -> list[str]:
        """What the rows of the table say in one column, from top to bottom."""
        return self.page.locator(f".finding .{name}").all_inner_texts()

    def open(self, text: str) -> playwright.Locator:
        """Click on the finding with a text."""
        finding = self.page.locator(".finding", has_text=text).first
        finding.locator("summary").click()
        return finding


@pytest.fixture
def visit(browser: playwright.Browser, tmp_path: Path) -> Iterator[Visit]:
    file = tmp_path / "report.html"
    file.write_text(html_from_report(full_report()))
    visit = Visit(browser, file)
    yield visit
    assert visit.said == []
    assert visit.asked == [file.as_uri()]
    visit.page.context.close()


def test_it_loads_and_says_what_is_wrong(visit: Visit) -> None:
    assert visit.page.title() == "attnmask audit: Net <b>"
    assert visit.page.locator("h1").inner_text() == "Net <b>: 3 bugs in 4 cells by 4 probes, 2 without a result, 1.5 s"
    assert "padding leak, since layers.1: no mask arrives" in visit.page.locator("main").inner_text()
    assert visit.column("verdict")[0] == "bug"
    assert len(visit.column("verdict")) == 9


def test_it_sorts_by_text_and_by_number_and_back(visit: Visit) -> None:
    order = visit.column("verdict")
    head = visit.page.locator(".head")
    head.get_by_text("probe").click()
    assert visit.column("probe") == sorted(visit.column("probe"))
    head.get_by_text("probe").click()
    assert visit.column("probe") == sorted(visit.column("probe"), reverse=True)
    assert head.get_by_text("probe").get_attribute("aria-sort") == "descending"
    head.get_by_text("size").click()
    assert visit.column("size") == ["0", "0", "0", "1", "2.5", "10", "inf", "", ""]
    head.get_by_text("size").click()
    assert visit.column("size") == ["inf", "10", "2.5", "1", "0", "0", "0", "", ""]
    head.get_by_text("verdict").click()
    assert visit.column("verdict") == order


def test_a_finding_opens_with_cause_numbers_pictures_and_script(visit: Visit) -> None:
    finding = visit.page.locator(".finding").first
    assert not finding.locator("pre").is_visible()
    finding.locator("summary").click()
    assert finding.get_attribute("open") is not None
    inside = finding.locator(".inside").inner_text()
    for part in ("no mask arrives", "outputs differ by 2.5 times", "padding left/right", "layers.1; 1 of 3 layers"):
        assert part in inside
    assert finding.locator("code").inner_text() == SCRIPT
    assert finding.locator(".layer p").all_inner_texts() == [
        "layers.0: as declared", "layers.1: 3 pairs too many, 2 too few", "layers.2: as declared",
    ]  # fmt: skip


def test_the_pictures_show_each_pair(visit: Visit) -> None:
    wrong = visit.open("no mask arrives").locator(".layer").nth(1)
    assert wrong.locator("figcaption").all_inner_texts() == [
        "declared, batch item 1", "received, batch item 1", "difference, batch item 1",
    ]  # fmt: skip
    declared, _, difference = wrong.locator("svg").all()
    assert declared.bounding_box()["width"] > 100

    def colour_at(svg: playwright.Locator, query: int, key: int) -> str:
        svg.scroll_into_view_if_needed()
        box = svg.bounding_box()
        cell = box["width"] / 6
        point = [box["x"] + (key + 0.5) * cell, box["y"] + (query + 0.5) * cell]
        return svg.page.evaluate("([x, y]) => document.elementFromPoint(x, y).getAttribute('fill')", point)

    blue, red, amber, grey = "#1d4e89", "#d62839", "#f2a33a", "#eef1f5"
    assert [colour_at(declared, 5, key) for key in range(6)] == [blue, blue, blue, blue, grey, grey]
    assert [colour_at(difference, 5, key) for key in range(6)] == [amber, blue, blue, blue, red, red]
    assert [colour_at(difference, 2, key) for key in range(6)] == [blue, blue, blue, grey, grey, grey]


def test_the_script_is_copied(visit: Visit) -> None:
    button = visit.open("no mask arrives").locator(".copy")
    button.click()
    visit.page.wait_for_function("document.querySelector('.copy').textContent === 'copied'")
    assert visit.page.evaluate("navigator.clipboard.readText()") == SCRIPT


def test_it_fits_a_narrow_window(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 400, "height": 800})
    visit.open("no mask arrives")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
