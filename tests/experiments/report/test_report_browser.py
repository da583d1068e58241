"""Reports in a headless browser: nothing is asked of the network, every figure is drawn, tables sort."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_sweep import made_up
from result_case import complete_result, finished_folder

from experiments.report.run_report import compare_runs, report_run
from experiments.report.sweep_report import report_store

pytestmark = pytest.mark.slow
api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium on PATH: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def no_page_left_open(browser) -> Iterator[None]:
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    runs = [finished_folder(folder / name, complete_result()) for name in ("first", "second")]
    sweep = folder / "sweep"
    sweep.mkdir()
    return {
        "run": report_run(runs[0]),
        "comparison": compare_runs(runs, folder / "both.html"),
        "sweep": report_store("sweep", [made_up(sweep)], None),
    }


PAGES = {"run": 7, "comparison": 1, "sweep": 2}
"""Pages, and how many figures each has."""

PATIENCE = 120_000
"""Milliseconds that a busy machine may take for a step."""


class Opened:
    """A page in the browser, with all that went wrong, and every address that it asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.wrong.append(request.url))
        self.page.goto(path.as_uri())

    def column(self, table: Any, place: int) -> list[str]:
        return [row.locator("td").nth(place).inner_text() for row in table.locator("tbody tr").all()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_drawn_and_nothing_is_wrong(browser, pages, name: str, scheme: str) -> None:
    opened = Opened(browser, pages[name], color_scheme=scheme, viewport={"width": 1100, "height": 900})
    figures = opened.page.locator("figure").all()
    assert len(figures) == PAGES[name]
    for number, figure in enumerate(figures, 1):
        box = figure.locator("svg").bounding_box()
        assert box["width"] > 300
        assert box["height"] > 50
        assert figure.inner_text().startswith(f"Figure {number}.")
        assert figure.locator("svg path").count() > 10
    assert opened.wrong == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    paper = "path => getComputedStyle(path).fill"
    assert opened.page.locator("figure svg path").first.evaluate(paper) == background
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_wide_as_a_telephone(browser, pages, name: str) -> None:
    opened = Opened(browser, pages[name], viewport={"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    assert opened.wrong == []


def test_figures_are_light_on_paper_in_dark_mode(browser, pages) -> None:
    opened = Opened(browser, pages["run"], color_scheme="dark")
    fill = "path => getComputedStyle(path).fill"
    path = opened.page.locator("figure svg path").first
    assert path.evaluate(fill) != "rgb(255, 255, 255)"
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert path.evaluate(fill) == "rgb(255, 255, 255)"


def test_limits_change_the_designs_that_are_best(browser, pages) -> None:
    """Accuracy is 80 + bits - 10 sigma, energy 2^bits + rows: of 6 and 8 bits the rows of 16 without errors
    are beaten by no other; below 100 nJ is only that of 6 bits."""
    opened = Opened(browser, pages["sweep"])
    section = opened.page.locator("#designs")
    table = section.locator("table")
    assert sorted(opened.column(table, 0)) == ["16", "16"]
    assert sorted(opened.column(table, 1)) == ["6", "8"]
    lines = section.locator("svg.parallel path")
    assert lines.count() == 8
    assert section.locator("path.best").count() == 2
    energy = section.get_by_label("energy an image [nJ] at most, as a number")
    energy.fill("100")
    assert opened.column(table, 1) == ["6"]
    count = section.locator("#designs-count")
    assert count.inner_text() == "4 of 8 designs within the limits, 1 of them beaten by no other."
    assert section.locator("path.outside").count() == 4
    energy.fill("1")
    assert opened.column(table, 1) == []
    assert count.inner_text() == "None of 8 designs lies within these limits."
    section.get_by_role("button", name="Without limits").click()
    assert len(opened.column(table, 1)) == 2
    slider = section.get_by_label("mean accuracy over chips [%] at least", exact=True)
    slider.focus()
    for _ in range(3):
        opened.page.keyboard.press("ArrowRight")
    assert opened.column(table, 1) == ["8"]
    section.get_by_label("only designs that no other beats").uncheck()
    assert len(opened.column(table, 1)) == 2
    assert opened.wrong == []


def test_a_part_of_an_axis_can_be_kept(browser, pages) -> None:
    opened = Opened(browser, pages["sweep"], viewport={"width": 1100, "height": 1400})
    section = opened.page.locator("#designs")
    table = section.locator("table")
    box = section.locator(".axis .hit").nth(0).bounding_box()
    middle = box["x"] + box["width"] / 2
    opened.page.mouse.move(middle, box["y"] + 2)
    opened.page.mouse.down()
    opened.page.mouse.move(middle, box["y"] + box["height"] / 2)
    opened.page.mouse.up()
    assert set(opened.column(table, 0)) == {"32"}
    opened.page.mouse.click(middle, box["y"] + box["height"] / 2)
    assert set(opened.column(table, 0)) == {"16"}
    assert opened.wrong == []


def test_a_table_sorts_numbers_by_click_and_by_key(browser, pages) -> None:
    opened = Opened(browser, pages["run"])
    table = opened.page.locator("table", has_text="edram")
    header = table.locator("th").nth(4)
    assert opened.column(table, 0) == ["adc", "edram", "array"]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert opened.column(table, 4) == ["5.62", "375", "619"]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert opened.column(table, 4) == ["619", "375", "5.62"]
    table.locator("th").nth(0).locator("button").focus()
    opened.page.keyboard.press("Enter")
    assert opened.column(table, 0) == ["adc", "array", "edram"]
    assert header.get_attribute("aria-sort") is None
    assert opened.wrong == []


def test_times_and_what_is_missing_have_their_place(browser, pages) -> None:
    opened = Opened(browser, pages["run"])
    table = opened.page.locator("table", has_text="Time after the write")
    for expected in (["20 s", "1 day"], ["1 day", "20 s"]):
        table.locator("th button").nth(0).click()
        assert opened.column(table, 0) == expected
    for _ in range(2):
        table.locator("th button").nth(2).click()
        assert opened.column(table, 2)[-1] == "–"
    assert opened.wrong == []


VALUES = ["1,234", "98.5", "−3", "2.00 × 10⁹", "1.23 × 10⁻⁷", "–", "inf", "0"]
RISING = ["−3", "0", "1.23 × 10⁻⁷", "98.5", "1,234", "2.00 × 10⁹", "inf", "–"]


@pytest.mark.parametrize(
    ("values", "rising"),
    [
        (VALUES, RISING),
        (["100 ns", "20 ns", "3 ns"], ["3 ns", "20 ns", "100 ns"]),
        (["b 10", "b 9", "a"], ["a", "b 9", "b 10"]),
        (["20 %, late", "5 %, early"], ["5 %, early", "20 %, late"]),
    ],
)
def test_what_counts_as_a_number(
    browser, pages, tmp_path: Path, values: list[str], rising: list[str]
) -> None:
    content = pages["run"].read_text(encoding="utf-8")
    rows = "".join(f"<tr><td>{value}</td></tr>" for value in values)
    table = f'<table id="own"><thead><tr><th>x</th></tr></thead><tbody>{rows}</tbody></table>'
    (tmp_path / "own.html").write_text(content.replace("<header>", f"{table}<header>"), encoding="utf-8")
    opened = Opened(browser, tmp_path / "own.html")
    own = opened.page.locator("#own")
    own.locator("button").click()
    assert opened.column(own, 0) == rising
    assert opened.wrong == []


def test_all_is_there_without_script(browser, pages) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(pages["run"].as_uri())
    assert page.locator("th").count() > 20
    assert page.locator("th button").count() == 0
    page.locator("summary").last.click()
    assert "[compress]" in page.locator("pre").last.inner_text()
    page.goto(pages["sweep"].as_uri())
    assert not page.locator("#designs").is_visible()
    assert not page.locator("nav a", has_text="Designs").is_visible()
    assert page.locator("#front table").is_visible()


def test_nothing_is_folded_on_paper(browser, pages) -> None:
    opened = Opened(browser, pages["run"])
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("details:not([open])").count() == 0
    assert len(opened.page.pdf()) > 50_000
    assert opened.wrong == []
