"""The page in a real browser: needs `pip install playwright` and a Chromium of the system's packages."""

import shutil

import pytest

from jobs.report.page import report
from tests.jobs.report.made import ODD, page

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of some bytes; what it complains of, or asks the network for, fails the test."""
    faults = []
    contexts = []

    def requested(request):
        if not request.url.startswith(("file:", "data:")):
            faults.append(request.url)

    def do(data, size=WIDE, **more):
        context = browser.new_context(viewport=size, **more)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", requested)
        tab.on("dialog", lambda dialog: faults.append(dialog.message))
        path = tmp_path / "report.html"
        path.write_bytes(data)
        tab.goto(path.as_uri())
        return tab

    yield do
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def made(finished):
    return report(finished)


@pytest.mark.parametrize("size", [WIDE, PHONE, {"width": 320, "height": 600}], ids=["wide", "phone", "small phone"])
@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd names"])
def test_nothing_is_wider_than_the_screen(show, made, size, odd):
    tab = show(page(ODD) if odd else made, size)
    assert tab.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert tab.locator("#explorer").is_visible()


def test_a_column_sorts_by_the_keyboard(show, made):
    tab = show(made)
    head = tab.locator("#lost table").first.locator("thead th").nth(1)
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    orders = []
    for _ in range(2):
        tab.keyboard.press("Enter")
        values = tab.evaluate(
            "[...document.querySelector('#lost table').tBodies[0].rows].map(row => Number(row.cells[1].dataset.v))"
        )
        orders.append((head.get_attribute("aria-sort"), values))
    assert orders[0] == ("descending", sorted(orders[0][1], reverse=True))
    assert orders[1] == ("ascending", sorted(orders[1][1]))


def test_a_class_and_its_n_can_be_chosen(show, made, finished):
    tab = show(made)
    tab.select_option("#explorer-class", label="bee")
    reading = tab.locator("#explorer-reading")
    assert reading.text_content().endswith("the N of the rule")
    tab.locator("#explorer-n").focus()
    tab.keyboard.press("Home")
    assert reading.text_content().startswith("N = 0 of")
    assert "13 of 13 (100.00\u00a0%)" in tab.locator("#explorer dl").text_content()
    tab.keyboard.press("ArrowRight")
    assert not reading.text_content().startswith("N = 0 of")
    assert "N = " in tab.locator("#explorer-n").get_attribute("aria-valuetext")
    assert "bee" in tab.locator("#explorer svg[role=img]").get_attribute("aria-label")
    tab.get_by_role("radio", name="via Examples").check()
    assert "training items" in reading.text_content()


def test_odd_names_run_nothing(show):
    tab = show(page(ODD))
    tab.select_option("#explorer-class", index=2)
    for head in tab.locator("thead button").all()[:4]:
        head.click()
    assert tab.locator("img").count() == 0


def test_without_a_script_everything_static_is_there(show, made):
    tab = show(made, java_script_enabled=False)
    assert tab.locator("table:visible").count() == made.count(b"<table ")
    assert not tab.locator("#explorer").is_visible()


def test_a_thousand_classes_open_within_a_second(show):
    data = page([f"class number {k}" for k in range(1000)])
    ended = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert min(show(data).evaluate(ended) for _ in range(5)) < 1000  # others may use the machine


def test_print_is_light_in_the_dark_and_fits_its_paper(show, made):
    tab = show(made, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(colour) != "rgb(255, 255, 255)"
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate(colour) == "rgb(255, 255, 255)"
    tab.set_viewport_size({"width": 695, "height": 1000})  # A4 without its margins, at 96 dots per inch
    assert tab.evaluate("document.documentElement.scrollWidth") <= 695
    wide = "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > t.parentElement.clientWidth + 1).length"
    assert tab.evaluate(wide) == 0
