"""The console in a browser, against the embedded stack."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from playwright.sync_api import Browser, Page, expect

from docmill.embedded.stack import StackInfo
from tests.support.browser import Watched, chromium
from tests.support.slow import SLOW_MARKDOWN

LONG_WAIT = 30_000
ROOF = (
    "# Minutes of the spring meeting\n\n## The roof\n\n"
    "The slates on the north side are replaced in June. &lt;b&gt;Nobody&lt;/b&gt; climbs up before "
    "that. The scaffolding stands on the neighbour's ground, who has agreed to it."
)


@pytest.fixture(scope="module")
def browser(stack: StackInfo) -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def watched(browser: Browser, stack: StackInfo) -> Iterator[Watched]:
    """A fresh page without a user; any error on it fails the test."""
    made = Watched(browser, stack.api_url)
    made.page.set_default_timeout(LONG_WAIT)
    made.page.goto(f"{stack.api_url}/console/")
    yield made
    made.context.close()
    assert made.complaints == []
    assert made.foreign == []


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "minutes.md").write_text(ROOF)
    (tmp_path / "nothing.txt").write_text("")
    return tmp_path


def sign_in(page: Page, stack: StackInfo, who: str = "alice") -> None:
    page.get_by_label("E-mail").fill(f"{who}@example.com")
    page.get_by_label("Password").fill(stack.keys.demo_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Documents")).to_be_visible(timeout=LONG_WAIT)


def test_from_a_dropped_file_to_a_highlighted_passage(
    watched: Watched, stack: StackInfo, files: Path
) -> None:
    page = watched.page
    sign_in(page, stack)
    page.get_by_label("Drop files here").set_input_files(
        [files / "minutes.md", files / "nothing.txt"]
    )
    minutes = page.locator(".document", has_text="minutes.md")
    expect(minutes).to_have_attribute("data-state", "ready", timeout=LONG_WAIT)
    expect(minutes).to_contain_text("1 chunk")

    nothing = page.locator(".document", has_text="nothing.txt")
    expect(nothing).to_have_attribute("data-state", "failed", timeout=LONG_WAIT)
    expect(nothing).to_contain_text("empty document")
    remedy = "The file holds no text. Upload a file with text"
    expect(nothing).to_contain_text(remedy)
    for _ in range(2):
        # It stays when the list is read again.
        with page.expect_response(re.compile("/rest/v1/documents")):
            pass
    assert remedy in nothing.inner_text()

    page.get_by_label("What are you looking for?").fill("When are the slates replaced?")
    page.get_by_role("button", name="Search").click()
    hit = page.locator(".hit").first
    expect(hit).to_contain_text("Minutes of the spring meeting", timeout=LONG_WAIT)
    expect(hit).to_contain_text("The roof")
    # The words of the query, and no words that only begin like them.
    assert hit.locator("mark").all_inner_texts() == ["slates", "replaced"]
    expect(hit.get_by_role("button", name="Show all")).to_be_hidden()
    # Markup in a document is shown as text.
    assert hit.locator("blockquote b").count() == 0
    expect(hit).to_contain_text("<b>Nobody</b>")


def test_a_passage_that_is_cut_can_be_shown_as_a_whole(
    watched: Watched, stack: StackInfo, tmp_path: Path
) -> None:
    page = watched.page
    sign_in(page, stack, "you")
    # Short, but with many lines.
    (tmp_path / "list.md").write_text("# Ferries\n\n" + "".join(f"- boat {n}\n" for n in range(12)))
    page.get_by_label("Drop files here").set_input_files(tmp_path / "list.md")
    item = page.locator(".document", has_text="list.md")
    expect(item).to_have_attribute("data-state", "ready", timeout=LONG_WAIT)
    page.get_by_label("What are you looking for?").fill("ferries")
    page.get_by_role("button", name="Search").click()
    hit = page.locator(".hit", has_text="Ferries").first
    hit.get_by_role("button", name="Show all").click(timeout=LONG_WAIT)
    quote = hit.locator("blockquote")
    assert quote.evaluate("e => e.scrollHeight <= e.clientHeight")
    hit.get_by_role("button", name="Show less").click()
    assert quote.evaluate("e => e.scrollHeight > e.clientHeight")
    page.on("dialog", lambda dialog: dialog.accept())
    item.get_by_role("button", name="Delete").click()
    expect(item).to_have_count(0, timeout=LONG_WAIT)


def test_what_cannot_be_read_is_not_offered_to_be_tried_again(
    watched: Watched, stack: StackInfo, tmp_path: Path
) -> None:
    page = watched.page
    sign_in(page, stack, "you")
    (tmp_path / "song.mp3").write_bytes(b"ID3\x03" + bytes(range(256)) * 8)
    workbook = openpyxl.Workbook()
    workbook.active.append(["oar", 2])
    workbook.save(tmp_path / "boats.xlsx")
    page.get_by_label("Drop files here").set_input_files(
        [tmp_path / "song.mp3", tmp_path / "boats.xlsx"]
    )
    song = page.locator(".document", has_text="song.mp3")
    expect(song).to_have_attribute("data-state", "failed", timeout=LONG_WAIT)
    expect(song.get_by_role("button", name="Retry")).to_be_hidden()
    boats = page.locator(".document", has_text="boats.xlsx")
    expect(boats).to_contain_text("1 sheet, 1 chunk", timeout=LONG_WAIT)
    for item in (song, boats):
        expect(item.locator("progress")).to_be_hidden()
        expect(item.get_by_role("button", name="Cancel")).to_be_hidden()


def test_a_job_that_has_ended_has_no_empty_bar(watched: Watched, stack: StackInfo) -> None:
    """Its document was read just before the job ended: the page shows that, without Cancel."""
    page = watched.page
    shown = [
        {"id": "d1", "object_name": "a/late.txt", "status": "processing", "latest_job_id": "j1"},
        {"id": "d2", "object_name": "a/long.txt", "status": "processing", "latest_job_id": "j2"},
    ]
    working: dict[str, Any] = {"chunks_embedded": 1200, "chunks_reused": 0, "chunks_total": None}
    working |= {"pages_total": None, "stage": "extracting", "state": "running"}
    jobs = [
        working | {"id": "j1", "state": "succeeded", "finished_at": "2026-01-01T00:00:00Z"},
        working | {"id": "j2", "finished_at": None},
    ]
    page.route(re.compile("/rest/v1/documents"), lambda route: route.fulfill(json=shown))
    page.route(re.compile("/rest/v1/jobs"), lambda route: route.fulfill(json=jobs))
    sign_in(page, stack, "you")
    late = page.locator(".document", has_text="late.txt")
    expect(late).to_contain_text("finishing")
    expect(late.locator("progress")).to_be_hidden()
    expect(late.get_by_role("button", name="Cancel")).to_be_hidden()
    # The rest of a text is unknown: the bar shows activity, and the line shows what is done.
    long = page.locator(".document", has_text="long.txt")
    expect(long).to_contain_text("1,200 chunks so far")
    assert long.locator("progress").get_attribute("value") is None
    page.unroute_all(behavior="ignoreErrors")


def test_without_a_model_the_page_says_so_before_anybody_asks(
    watched: Watched, stack: StackInfo
) -> None:
    page = watched.page
    sign_in(page, stack)
    page.get_by_role("tab", name="Ask").click()
    expect(page.locator("#ask-status")).to_contain_text("set DOCMILL_CHAT_MODEL")
    expect(page.get_by_label("What do you want to know?")).to_be_disabled()


def test_dropping_a_file_uploads_it(watched: Watched, stack: StackInfo) -> None:
    page = watched.page
    sign_in(page, stack)
    transfer = page.evaluate_handle(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["It was dropped here. ".repeat(9)], "dropped.txt"));
            return data;
        }"""
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    dropped = page.locator(".document", has_text="dropped.txt")
    expect(dropped).to_have_attribute("data-state", "ready", timeout=LONG_WAIT)


def test_progress_is_shown_while_it_lasts_and_a_job_can_be_cancelled_and_retried(
    watched: Watched, stack: StackInfo, tmp_path: Path
) -> None:
    page = watched.page
    sign_in(page, stack)
    # A Markdown parser needs a minute for it.
    slow = tmp_path / "slow.md"
    slow.write_text(SLOW_MARKDOWN)
    page.get_by_label("Drop files here").set_input_files(slow)
    item = page.locator(".document", has_text="slow.md")
    expect(item.get_by_role("progressbar")).to_be_visible(timeout=LONG_WAIT)
    expect(item.locator(".state")).to_have_text("extracting", timeout=LONG_WAIT)
    item.get_by_role("button", name="Cancel").click()
    expect(item).to_have_attribute("data-state", "failed", timeout=LONG_WAIT)
    expect(item).to_contain_text("cancelled")
    item.get_by_role("button", name="Retry").click()
    expect(item.get_by_role("progressbar")).to_be_visible(timeout=LONG_WAIT)
    page.on("dialog", lambda dialog: dialog.accept())
    item.get_by_role("button", name="Delete").click()
    expect(item).to_have_count(0, timeout=LONG_WAIT)


def test_another_user_sees_and_finds_nothing(watched: Watched, stack: StackInfo) -> None:
    page = watched.page
    sign_in(page, stack, "bob")
    page.get_by_label("What are you looking for?").fill("slates")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#search-status")).to_have_text("Nothing found", timeout=LONG_WAIT)
    assert page.locator(".document").count() == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("E-mail")).to_be_focused()


def test_what_the_function_says_is_said(watched: Watched, stack: StackInfo) -> None:
    page = watched.page
    sign_in(page, stack)
    page.get_by_label("What are you looking for?").fill(" ")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_have_text("input must be a text of 1 to 8000 characters")
    # The browser itself logs the status of the answer.
    assert [text for text in watched.complaints if "400" not in text] == []
    watched.complaints.clear()


def test_a_wrong_password_is_said(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("E-mail").fill("alice@example.com")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid login credentials")
    # The browser itself logs the status of the answer.
    assert [text for text in watched.complaints if "400" not in text] == []
    watched.complaints.clear()


def test_everything_can_be_done_with_the_keyboard(
    watched: Watched, stack: StackInfo, files: Path
) -> None:
    page = watched.page
    keys = page.keyboard
    expect(page.get_by_label("E-mail")).to_be_focused()
    keys.type("you@example.com")
    keys.press("Tab")
    keys.type(stack.keys.demo_password)
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Documents")).to_be_visible(timeout=LONG_WAIT)
    page.get_by_label("Drop files here").set_input_files(files / "minutes.md")
    item = page.locator(".document", has_text="minutes.md")
    expect(item).to_have_attribute("data-state", "ready", timeout=LONG_WAIT)

    def tab_to(name: str) -> None:
        for _ in range(30):
            keys.press("Tab")
            if name in (page.evaluate("name_of(document.activeElement)") or ""):
                return
        raise AssertionError(f"{name} cannot be reached")

    page.evaluate(
        """() => { window.name_of = (e) =>
            e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent; }"""
    )
    tab_to("What are you looking for?")
    keys.type("slates")
    keys.press("Enter")
    expect(page.locator(".hit").first).to_contain_text("slates", timeout=LONG_WAIT)
    tab_to("Drop files here")
    outline = "getComputedStyle(document.querySelector('#drop')).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.on("dialog", lambda dialog: dialog.accept())
    tab_to("Delete minutes.md")
    keys.press("Enter")
    expect(item).to_have_count(0, timeout=LONG_WAIT)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, stack: StackInfo, width: int) -> None:
    watched = Watched(browser, stack.api_url, width=width)
    page = watched.page
    page.set_default_timeout(LONG_WAIT)
    page.goto(f"{stack.api_url}/console/")
    sign_in(page, stack)
    expect(page.locator(".document").first).to_be_visible(timeout=LONG_WAIT)
    page.get_by_label("What are you looking for?").fill("slates")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit").first).to_be_visible(timeout=LONG_WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Every control has a name.
    for button in page.get_by_role("button").all():
        assert button.evaluate(
            "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent"
        ).strip()
    watched.context.close()


def test_what_may_be_loaded_is_named_by_the_server(watched: Watched, stack: StackInfo) -> None:
    answer = watched.page.request.get(f"{stack.api_url}/console/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    config = watched.page.request.get(f"{stack.api_url}/console/config.json").json()
    assert config["publishable_key"] == stack.keys.publishable_key
    assert stack.keys.secret_key not in str(config)
