"""The page in a real Chromium: what a person sees and does, and where its requests go."""

import json
import re
import time
from urllib.parse import urlsplit

import pytest

HOSTILE = "<script>window.hurt=1</script><img src=x onerror='window.hurt=1'>"


@pytest.fixture
def look(browser, serve):
    """Opens the page of some folders; in the end nothing has gone elsewhere, and nothing failed."""
    contexts, faults, hosts = [], [], set()
    forgiven = ()

    def opened(*roots, width=1280, height=800, scheme="light", forgive=()):
        nonlocal forgiven
        forgiven, client = forgive, serve(*roots)
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        context.on("request", lambda one: hosts.add(urlsplit(one.url).hostname))
        context.on("console", lambda one: faults.append(one.text) if one.type == "error" else None)
        context.on("weberror", lambda one: faults.append(str(one.error)))
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(client.server.address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert hosts == {"127.0.0.1"}
    assert [one for one in faults if not any(word in one for word in forgiven)] == []


@pytest.fixture
def runs(tmp_path, write_run):
    """Three runs, of which one failed."""
    write_run(tmp_path, "20260101-000000-a", lr=0.001, name="lr=0.001")
    better = {"test/uar": 0.8, "val/uar": 0.7}
    write_run(tmp_path, "20260102-000000-b", lr=0.01, name="lr=0.01", scores=better)
    failed = {"status": "failed", "scores": {}, "error": "ValueError: the loss is not finite"}
    write_run(tmp_path, "20260103-000000-c", lr=0.1, name="lr=0.1", **failed)
    return tmp_path


def names(page):
    page.wait_for_selector(".tabulator-row")
    return page.locator(".tabulator-row .run").all_inner_texts()


def until(page, holds):
    """Waits until something holds."""
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        page.wait_for_timeout(50)


def expect_names(page, *wanted):
    rows = page.locator(".tabulator-row .run")
    until(page, lambda: rows.all_inner_texts() == [*wanted])


def pick(page, *places):
    for place in places:
        page.locator("#table input[type=checkbox]").nth(place).check()


def test_all_runs_are_there_with_their_scores(look, runs):
    page = look(runs)
    assert len(names(page)) == 3
    assert page.locator("#said").inner_text() == "3 runs"
    cells = page.locator(".tabulator-row", has_text="lr=0.01").locator(".heat").all_inner_texts()
    assert cells == [".800", ".700"]
    assert "token" not in page.url
    assert page.locator("#live").inner_text().strip() == "live"


def test_a_head_sorts_by_mouse_and_by_keyboard(look, runs):
    page = look(runs)
    head = page.get_by_role("button", name="test/uar")
    head.click()
    expect_names(page, "lr=0.01", "lr=0.001", "lr=0.1")
    head.focus()
    page.keyboard.press("Enter")
    expect_names(page, "lr=0.001", "lr=0.01", "lr=0.1")
    assert "sort=asc" in page.url


def test_filters_by_words_by_question_and_by_status(look, runs):
    page = look(runs, forgive=["400 (Bad Request)"])
    names(page)
    page.keyboard.press("/")
    page.keyboard.type("lr=0.01")
    page.wait_for_selector("#said.fault >> text=lr")
    for words, wanted in {
        "20260102": ["lr=0.01"],
        "test/uar>0.6": ["lr=0.01"],
        "optimizer.lr<=0.01 2026010": ["lr=0.01", "lr=0.001"],
        "NOT FINITE": ["lr=0.1"],
    }.items():
        page.fill("#words", words)
        expect_names(page, *wanted)
    page.fill("#words", "")
    page.locator("#statuses button", has_text="failed").click()
    expect_names(page, "lr=0.1")
    assert page.locator("#said").inner_text() == "1 of 3 runs"
    page.fill("#words", "test/ura>0.6")
    page.wait_for_selector("#said.fault >> text=did you mean 'test/uar'?")


def test_the_address_leads_back_to_the_same_view(look, runs):
    page = look(runs)
    names(page)
    pick(page, 0, 1)
    page.fill("#words", "2026")
    until(page, lambda: "words=2026" in page.url)
    page.click("#tab-differences")
    page.reload()
    page.wait_for_selector(".differences")
    assert page.locator("#tray .taken").count() == 2
    assert page.input_value("#words") == "2026"


def test_columns_by_key_of_the_configuration(look, runs):
    page = look(runs)
    names(page)
    page.click("#choose-columns")
    page.get_by_label("optimizer.lr").check()
    page.click("dialog >> text=Done")
    page.wait_for_selector(".tabulator-col >> text=optimizer.lr")
    cell = page.locator(".tabulator-row", has_text="lr=0.01").locator(
        "[tabulator-field='option:optimizer.lr']"
    )
    until(page, lambda: cell.inner_text() == "0.01")
    page.reload()
    page.wait_for_selector(".tabulator-col >> text=optimizer.lr")


def test_new_runs_and_new_points_appear_by_themselves(look, runs, write_run):
    going = write_run(runs, "20260104-000000-d", name="going", status="running", scores={})
    rewrite = json.loads((going / "run.json").read_text())
    page = look(runs)
    row = page.locator(".tabulator-row", has_text="going")
    assert "epoch 3" in row.inner_text()
    row.locator("input").check()
    page.click("#tab-curves")
    page.wait_for_selector("[aria-label*='going ends at 0.5']")
    with (going / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "step": 39, "val/uar": 0.75}\n')
    page.wait_for_selector("[aria-label*='going ends at 0.75']")
    page.click("#tab-runs")
    write_run(runs, "20260105-000000-e", name="brand-new", started="2026-03-01T00:00:00+00:00")
    page.wait_for_selector(".tabulator-row >> text=brand-new")
    (going / "run.json").write_text(
        json.dumps({**rewrite, "status": "finished", "scores": {"test/uar": 0.9}})
    )
    page.wait_for_selector(".tabulator-row:has-text('going') >> text=.900")
    assert page.locator("#said").inner_text() == "5 runs"


def test_whatever_a_record_holds_is_shown_as_text(look, tmp_path, write_run):
    for number in (1, 2, 3):
        told = {"scores": {"test/uar": 0.5 + number / 10, HOSTILE: number / 10}, "kind": HOSTILE}
        told |= {"experiment": HOSTILE, "error": HOSTILE, "parent": HOSTILE}
        folder = write_run(tmp_path, f"2026010{number}-x", name=f"{HOSTILE}{number}", **told)
        line = json.dumps({"epoch": number, "step": number, HOSTILE: 1.0, "val/uar": 0.5})
        (folder / "metrics.jsonl").write_text(line + "\n")
        (folder / "overrides.txt").write_text(HOSTILE)
        (folder / "config.yaml").write_text(f'"a{HOSTILE}": "{HOSTILE}{number}"\n')
    (write_run(tmp_path, f"20260104-{HOSTILE.replace('/', '')}") / "run.json").write_text("{")
    page = look(tmp_path)
    assert sorted(names(page)) == [f"{HOSTILE}{number}" for number in (1, 2, 3)]
    pick(page, 0, 1, 2)
    page.click("#said summary")
    assert "<script>" in page.locator("#said").inner_text()
    page.keyboard.press("Escape")
    page.locator(".run").first.click()
    page.wait_for_selector("#details dl")
    assert HOSTILE in page.locator("#details").inner_text()
    page.keyboard.press("Escape")
    page.click("#choose-columns")
    for box in page.locator("dialog label", has_text="script").all():
        box.locator("input").check()
    page.click("dialog >> text=Done")
    for view in ("curves", "parallel", "differences"):
        page.click(f"#tab-{view}")
        page.wait_for_timeout(600)
        for menu in page.locator(f"#view-{view} .menu summary").all():
            menu.click()
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, #details img, #tray img, dialog img, main script").count() == 0


def test_what_differs_stands_out(look, runs):
    page = look(runs)
    names(page)
    page.click("#tab-differences")
    page.wait_for_selector("text=Choose two runs")
    page.click("#tab-runs")
    pick(page, 0, 1)
    page.click("#tab-differences")
    page.wait_for_selector(".differences")
    told = page.locator(".differences").inner_text()
    assert "optimizer.lr" in told
    assert "optimizer.betas" not in told
    page.check("#same")
    page.wait_for_selector(".differences >> text=optimizer.betas")


def test_options_and_scores_are_brushed(look, tmp_path, write_run):
    for number in range(12):
        scores = {"test/uar": number / 12, "val/uar": number / 12}
        write_run(tmp_path, f"20260101-{number:02d}", lr=0.01 if number > 5 else 0.1, scores=scores)
    page = look(tmp_path)
    names(page)
    page.click("#tab-parallel")
    picture = page.locator("#view-parallel .picture[aria-label]")
    picture.wait_for()
    label = picture.get_attribute("aria-label")
    assert label.startswith("12 runs over")
    assert "optimizer.lr has the largest share of its variance" in label
    page.wait_for_timeout(500)
    box = picture.bounding_box()
    x = box["x"] + box["width"] - 76  # the last axis: the score
    page.mouse.move(x, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 60 + (box["height"] - 66) / 3, steps=4)
    page.mouse.up()
    page.wait_for_selector("text=within the brushed axes")
    found = int(re.search(r"(\d+) runs? within", page.inner_text("#view-parallel .found"))[1])
    assert 1 < found < 8
    page.click("text=Choose the best five")
    assert page.locator("#tray .taken").count() == min(5, found)
    page.click("text=Show them in the table")
    until(page, lambda: page.locator(".tabulator-row").count() == found)


def test_a_report_opens_beside_the_page(look, runs):
    (runs / "20260103-000000-c" / "report.html").write_text("<h1>All of it</h1>")
    page = look(runs)
    page.locator(".run", has_text=re.compile("^lr=0.1$")).click()
    page.wait_for_selector("#details >> text=the loss is not finite")
    with page.context.expect_page() as opened:
        page.click("#details >> text=Report")
    assert opened.value.locator("h1").inner_text() == "All of it"


def test_tabs_answer_to_the_arrows(look, runs):
    page = look(runs)
    names(page)
    page.focus("#tab-runs")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-curves"
    assert page.get_attribute("#tab-curves", "aria-selected") == "true"
    assert page.locator("#view-runs").is_hidden()


def test_light_and_dark(look, runs):
    def shades(page):
        names(page)
        return page.evaluate(
            "['backgroundColor', 'color'].map(one => getComputedStyle(document.body)[one])"
        )

    light = shades(look(runs))
    dark = shades(look(runs, scheme="dark"))
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]


@pytest.mark.parametrize("view", ["runs", "curves", "parallel", "differences"])
def test_a_narrow_window_is_no_wider_than_itself(look, runs, view):
    page = look(runs, width=800, height=600)
    names(page)
    pick(page, 0, 1)
    page.click(f"#tab-{view}")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


def test_every_control_has_a_name(look, runs):
    page = look(runs)
    names(page)
    pick(page, 0, 1)
    for view in ("runs", "curves", "parallel", "differences"):
        page.click(f"#tab-{view}")
        page.wait_for_timeout(200)
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, a[href]')].filter(one =>"
            " !(one.ariaLabel || one.textContent.trim() || one.labels?.length"
            " || one.getAttribute('aria-label'))).map(one => one.outerHTML)"
        )
        assert nameless == []


def test_an_empty_folder_says_what_to_do(look, tmp_path, write_run):
    page = look(tmp_path)
    page.wait_for_selector("text=No run here yet")
    write_run(tmp_path, "20260101-a")
    assert names(page) == ["20260101-a"]


def test_a_server_that_has_ended_is_told(look, runs):
    page = look(runs, forgive=["net::ERR_FAILED"])
    names(page)
    page.route("**/api/runs*", lambda route: route.abort())
    page.wait_for_selector("#live.lost >> text=the server does not answer")
    page.unroute("**/api/runs*")
    page.wait_for_selector("#live.live")


def test_news_leave_the_person_where_they_were(look, tmp_path, write_run):
    for number in range(60):
        scores = {"test/uar": number / 60}
        write_run(tmp_path, f"20260101-{number:02d}", lr=0.01 if number % 2 else 0.1, scores=scores)
    page = look(tmp_path)
    names(page)
    page.wait_for_selector("#said >> text=60 runs")
    page.wait_for_timeout(500)
    holder = page.locator(".tabulator-tableholder")
    holder.evaluate("one => one.scrollTo(0, 700)")
    write_run(tmp_path, "20260201-new", started="2025-01-01T00:00:00+00:00")
    page.wait_for_selector("#said >> text=61 runs")
    page.wait_for_timeout(200)
    assert 660 <= holder.evaluate("one => one.scrollTop") <= 740  # as far as a row is high
    page.click("#tab-parallel")
    picture = page.locator("#view-parallel .picture[aria-label]")
    picture.wait_for()
    page.wait_for_timeout(500)
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 76, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 76, box["y"] + 200, steps=4)
    page.mouse.up()
    page.wait_for_selector("text=within the brushed axes")
    write_run(tmp_path, "20260202-going", status="running", scores={})
    page.wait_for_timeout(3000)
    assert page.is_visible("text=within the brushed axes")
