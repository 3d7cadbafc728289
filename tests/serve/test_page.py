"""The page in a real browser, talking to the real service."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.explanation import SHORTEST
from classic_cv.serve.page import page as page_of_service

if TYPE_CHECKING:
    from playwright.sync_api import (
        ConsoleMessage,
        Error,
        FilePayload,
        Locator,
        Page,
        Request,
        Response,
        Route,
    )
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream""".split()

TOKEN = "a-token-for-tests-0123456789"

MISSING = [
    reason
    for reason, is_there in {
        "the package playwright is not installed": find_spec("playwright") is not None,
        "the package uvicorn is not installed": find_spec("uvicorn") is not None,
        f"{CHROMIUM} is not there": CHROMIUM.exists(),
    }.items()
    if not is_there
]

needs_browser = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))

Visit = Callable[..., "Page"]


# ---- The services and the browser


@dataclass
class Exchange:
    """What the service got and gave."""

    query: dict[str, list[str]]
    body: bytes = b""
    answer: bytes = b""

    def json(self) -> Any:
        return json.loads(self.answer)


@dataclass
class Service:
    """A service that runs, and what went over the wire by path. Browsers do not keep all of it for a test."""

    address: str
    exchanges: defaultdict[str, list[Exchange]] = field(default_factory=lambda: defaultdict(list))

    def last(self, path: str) -> Exchange:
        return self.exchanges[path][-1]

    def recorded(self, app: ASGIApp) -> ASGIApp:
        async def recording(scope: Scope, receive: Receive, send: Send) -> None:
            exchange = Exchange(parse_qs(scope.get("query_string", b"").decode()))

            async def received() -> Message:
                message = await receive()
                exchange.body += message.get("body", b"")
                return message

            async def sent(message: Message) -> None:
                exchange.answer += message.get("body", b"")
                await send(message)

            self.exchanges[scope.get("path", "")].append(exchange)
            await app(scope, received, sent)

        return recording


@contextmanager
def running(model_file: Path, names: list[str], token_file: Path | None = None) -> Iterator[Service]:
    """A service on a thread."""
    import uvicorn

    from classic_cv.serve.app import create_app
    from classic_cv.serve.logs import RequestLog
    from classic_cv.serve.metrics import Metrics
    from classic_cv.serve.registry import Registry
    from classic_cv.serve.settings import ModelSource, ServeSettings

    settings = ServeSettings(
        models=tuple(ModelSource(name=name, path=str(model_file)) for name in names),
        token_file=None if token_file is None else str(token_file),
        quiet=True,
    )
    metrics, log = Metrics(), RequestLog(quiet=True)
    app = create_app(settings, Registry(settings, metrics, log), metrics, log)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        config = uvicorn.Config(service.recorded(app), log_config=None, access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield service
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def live(model_file: Path) -> Iterator[Service]:
    with running(model_file, ["faces", "other"]) as service:
        yield service


@pytest.fixture(scope="module")
def guarded(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(TOKEN, encoding="ascii")
    with running(model_file, ["faces"], token_file) as service:
        yield service


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """One for all tests: another takes seconds on a slow machine."""
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as browser,
    ):
        tab = browser.new_page()
        tab.set_default_timeout(20_000)
        yield tab


@pytest.fixture
def visit(tab: Page, live: Service) -> Iterator[Visit]:
    """Opens the page. At the end: nothing was blocked, broke, or went elsewhere."""
    wrong: list[str] = []
    own = [live.address]

    def on_console(message: ConsoleMessage) -> None:
        # Statuses of errors are what some tests are about.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def on_error(error: Error) -> None:
        wrong.append(str(error))

    def on_request(request: Request) -> None:
        if not request.url.startswith((own[-1], f"blob:{own[-1]}", "data:")):
            wrong.append(request.url)

    def open_page(
        address: str = live.address,
        before: Callable[[Page], object] = lambda page: None,
        width: int = 1100,
        **media: Any,
    ) -> Page:
        own.append(address)
        tab.set_viewport_size({"width": width, "height": 700})
        tab.emulate_media(**{"color_scheme": "light", "reduced_motion": "no-preference", **media})
        before(tab)
        tab.goto(address)
        return tab

    live.exchanges.clear()
    tab.on("console", on_console)
    tab.on("pageerror", on_error)
    tab.on("request", on_request)
    yield open_page
    tab.unroute_all(behavior="ignoreErrors")
    tab.remove_listener("console", on_console)
    tab.remove_listener("pageerror", on_error)
    tab.remove_listener("request", on_request)
    assert wrong == []


def sees(locator: Locator) -> Any:
    from playwright.sync_api import expect

    return expect(locator)


# ---- Images, and what the server says of them


@pytest.fixture(scope="module")
def pictures(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five images under names of their own, from both classes."""
    folder = tmp_path_factory.mktemp("pictures")
    found = sorted((faces / "test").rglob("*.png"))[::9][:5]
    copies = [folder / f"picture {number}.png" for number in range(len(found))]
    for source, copy in zip(found, copies, strict=True):
        copy.write_bytes(source.read_bytes())
    return copies


@pytest.fixture(scope="module")
def picture(pictures: list[Path]) -> Path:
    return pictures[0]


def image_of(width: int, height: int, path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    return path


def choose_as(page: Page, names: list[str], file: Path) -> None:
    """Chooses one file under other names."""
    content = file.read_bytes()
    files: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": content} for name in names]
    page.set_input_files("#files", files)


def decoded(data: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def choose(page: Page, *files: Path) -> None:
    page.set_input_files("#files", list(files))


def classified(page: Page, live: Service, file: Path) -> Any:
    """Chooses the file, and gives what the server answered."""
    with page.expect_response(re.compile("/classify")):
        choose(page, file)
    return live.last("/classify").json()


def percent(probability: float) -> str:
    text = f"{100 * probability:.1f}"
    if text == "0.0" and probability > 0:
        return "<0.1%"
    return ">99.9%" if text == "100.0" and probability < 1 else f"{text}%"


def answer(**changes: Any) -> dict[str, Any]:
    """An answer of the service, changed."""
    own = {
        "model": "faces",
        "version": "1a2b3c4d",
        "label": "face",
        "probability": 0.75,
        "predictions": [{"label": "face", "probability": 0.75}, {"label": "other", "probability": 0.25}],
        "served_by": "model",
        "reason": None,
        "ms": 1.5,
        "request_id": "r",
    }
    return {**own, **changes}


def answering(*answers: dict[str, Any] | int) -> Callable[[Page], object]:
    """Puts answers, or statuses of errors, in place of those of the service; the last again and again."""
    left = list(answers)

    def handle(route: Route) -> None:
        now = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(now, int):
            error = {"error": "no place is free"}
            route.fulfill(status=now, headers={"Retry-After": "0"}, json=error)
        else:
            route.fulfill(json=now)

    return lambda page: page.route("**/classify*", handle)


# ---- Without a browser


def test_the_policy_allows_just_what_is_inlined() -> None:
    body, headers = page_of_service()
    html = body.decode()
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        [inlined] = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inlined) > 1000
        digest = base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode()
        assert policy[rule] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_nothing_is_loaded_from_elsewhere_and_no_data_becomes_markup() -> None:
    html = page_of_service()[0].decode()
    assert re.findall(r"https?:|url\(|@import|\bimport\(", html) == []
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,", "docs"]
    assert re.findall(r'\s(?:style|on\w+)="', html) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", html) == []


# ---- One image


@needs_browser
def test_one_image_shows_what_the_server_answers(visit: Visit, live: Service, picture: Path) -> None:
    page = visit()
    told = classified(page, live, picture)
    rows = page.locator("#labels li")
    sees(rows.locator(".name")).to_have_text([item["label"] for item in told["predictions"]])
    sees(rows.locator(".share")).to_have_text([percent(item["probability"]) for item in told["predictions"]])
    widths = rows.locator(".bar > span").evaluate_all(
        "bars => bars.map(bar => parseFloat(bar.style.width) / 100)"
    )
    assert widths == pytest.approx([item["probability"] for item in told["predictions"]], abs=1e-3)
    sees(page.locator("#facts")).to_contain_text(f"{told['ms']:.1f} ms")
    sees(page.locator("#facts")).to_contain_text("the model")
    sees(page.locator("#facts")).to_contain_text(f"faces, version {told['version']}")
    sees(page.get_by_role("heading", name=picture.name)).to_be_visible()
    sees(page.get_by_role("img", name=f"The image {picture.name}")).to_be_visible()
    sees(page.get_by_role("status")).to_contain_text(f"{told['label']}, {percent(told['probability'])}")
    sees(page.locator("#about")).to_have_text(f"2 classes · version {told['version']}")


@needs_browser
def test_the_fallback_says_why(visit: Visit, picture: Path) -> None:
    page = visit(before=answering(answer(served_by="fallback", reason="late")))
    choose(page, picture)
    sees(page.locator("#facts")).to_contain_text("the fallback, because the primary was too late")
    choose(page, picture, picture)
    sees(page.locator("#rows td.served-by")).to_have_text(["fallback (late)"] * 2)


@needs_browser
def test_an_unknown_class_is_told_with_its_candidates(visit: Visit, live: Service, picture: Path) -> None:
    best = answer()["predictions"][0]["label"]

    def abstaining(page: Page) -> None:
        about = {
            "name": "faces",
            "versions": ["1"],
            "parameters": {"class_names": ["a", "b"], "abstain": 0.9995},
        }
        page.route("**/v2/models/*", lambda route: route.fulfill(json=about))
        answering(answer(label="unknown", abstained=True))(page)

    page = visit(before=abstaining)
    sees(page.locator("#about")).not_to_be_empty()
    choose(page, picture)
    sees(page.locator("#abstained")).to_have_text("Unknown: no class is as probable as 99.95%.")
    sees(page.locator("#labels .name").first).to_have_text(best)
    sees(page.get_by_role("status")).to_contain_text(f"unknown (perhaps {best}, 75.0%)")
    sees(page.locator("#views")).to_be_visible()
    # There is no class of that name to be explained.
    assert live.last("/explain").query["class"] == [best]
    choose(page, picture, picture)
    sees(page.locator("#rows td.label")).to_have_text([f"unknown, perhaps {best}"] * 2)
    [row, _] = downloaded(page)
    assert (row["label"], row["abstained"], row["candidate"]) == ("unknown", "true", best)
    page.unroute("**/classify*")
    choose(page, picture)
    sees(page.locator("#labels li")).to_have_count(2)
    sees(page.locator("#abstained")).to_be_hidden()


@needs_browser
def test_names_and_labels_are_no_markup(visit: Visit, picture: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    page = visit(before=answering(answer(label=nasty, predictions=[{"label": nasty, "probability": 0.75}])))
    choose_as(page, [f"{nasty}.png"], picture)
    sees(page.locator("#labels .name")).to_have_text(nasty)
    sees(page.locator("#one-title")).to_have_text(f"{nasty}.png")
    assert page.locator("img[src='x']").count() == 0


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(200, 600), (100, 300), (640, 320), (25, 25)])
def test_the_explanation_lies_beside_or_over_the_image(
    visit: Visit, live: Service, tmp_path: Path, width: int, height: int
) -> None:
    page = visit()
    choose(page, image_of(width, height, tmp_path / "image.png"))
    explanation = page.locator("#explanation")
    sees(page.locator("#views")).to_be_visible()
    png = decoded(live.last("/explain").answer)
    shown = explanation.evaluate("image => [image.naturalHeight, image.naturalWidth]")
    assert shown == list(png.shape[:2])
    sees(page.locator("#image")).to_be_visible()
    sees(page.locator("#above")).to_be_hidden()

    page.get_by_label("Over", exact=True).check(force=True)
    sees(page.locator("#image")).to_be_hidden()
    over, under = page.locator("#above").bounding_box(), explanation.bounding_box()
    assert over is not None
    assert under is not None
    scale = png.shape[1] / under["width"]
    long = max(width, height, SHORTEST) / max(width, height)
    assert over["width"] * scale == pytest.approx(width * long, abs=1.5)
    assert over["height"] * scale == pytest.approx(height * long, abs=1.5)
    assert (over["x"] - under["x"]) * scale == pytest.approx((png.shape[1] - width * long) / 2, abs=1.5)
    assert over["y"] == pytest.approx(under["y"], abs=0.5)
    page.get_by_label("Strength of the explanation").fill("20")
    assert page.locator("#above").evaluate("image => image.style.opacity") == "0.8"

    page.get_by_label("Image only").check(force=True)
    sees(page.locator("#image")).to_be_visible()
    sees(explanation).to_be_hidden()


@needs_browser
def test_each_label_can_be_explained(visit: Visit, live: Service, picture: Path) -> None:
    page = visit()
    sees(page.locator("#about")).not_to_be_empty()
    second = classified(page, live, picture)["predictions"][1]["label"]
    sees(page.locator("#views")).to_be_visible()
    button = page.locator("#labels button").nth(1)
    sees(button).to_have_attribute("aria-pressed", "false")
    button.click()
    sees(button).to_have_attribute("aria-pressed", "true")
    sees(page.locator("#labels [aria-pressed=true]")).to_have_count(1)
    sees(page.get_by_role("img", name=f"what speaks for “{second}”")).to_be_visible()
    assert live.last("/explain").query == {"class": [second], "model": ["faces"]}


@needs_browser
def test_a_model_that_cannot_be_explained_still_answers(visit: Visit, live: Service, picture: Path) -> None:
    def refuse(page: Page) -> None:
        page.route("**/explain*", lambda route: route.fulfill(status=422, json={"error": "not a sum"}))

    page = visit(before=refuse)
    told = classified(page, live, picture)
    sees(page.locator("#explanation-note")).to_have_text("No explanation: not a sum")
    sees(page.locator("#labels .name").first).to_have_text(told["label"])
    sees(page.locator("#explanation")).to_be_hidden()
    sees(page.locator("#views")).to_be_hidden()
    sees(page.locator("#problem")).to_be_hidden()


@needs_browser
def test_a_regression_shows_a_number(visit: Visit, live: Service, picture: Path) -> None:
    number = {"model": "faces", "version": "1", "value": -12.3456789, "served_by": "model", "reason": None}

    def regression(page: Page) -> None:
        about = {"name": "faces", "versions": ["1"], "parameters": {"class_names": [], "task": "regression"}}
        page.route("**/v2/models/*", lambda route: route.fulfill(json=about))
        answering({**number, "ms": 2.0, "request_id": "r"})(page)

    page = visit(before=regression)
    sees(page.locator("#about")).to_contain_text("estimates a number")
    choose(page, picture)
    sees(page.locator("#value")).to_have_text("-12.3457")
    sees(page.locator("#views")).to_be_visible()
    assert live.last("/explain").query == {"model": ["faces"]}
    sees(page.locator("#labels li")).to_have_count(0)
    choose(page, picture, picture)
    sees(page.locator("#heads th")).to_have_text(["File", "Number", "Time", "Served by", "Error"])
    sees(page.locator("#rows td.number").first).to_have_text("-12.3457")
    assert downloaded(page)[0]["value"] == "-12.3456789"


@needs_browser
def test_another_model_is_asked_at_once(visit: Visit, live: Service, picture: Path) -> None:
    page = visit()
    assert classified(page, live, picture)["model"] == "faces"
    page.get_by_label("Model").select_option("other")
    sees(page.locator("#facts")).to_contain_text("other, version")
    assert live.last("/classify").json()["model"] == "other"


# ---- What goes wrong


@needs_browser
def test_errors_are_told_as_the_server_tells_them(
    visit: Visit, live: Service, tmp_path: Path, picture: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image", encoding="utf-8")
    page = visit()
    told = classified(page, live, text)
    sees(page.get_by_role("alert")).to_have_text(f"notes.txt: {told['error'].removeprefix('image 0: ')}")
    sees(page.locator("#one")).to_be_hidden()
    choose(page, picture)
    sees(page.locator("#one")).to_be_visible()
    sees(page.locator("#problem")).to_be_hidden()
    page.route("**/classify*", lambda route: route.abort())
    choose(page, picture)
    sees(page.get_by_role("alert")).to_contain_text("The server cannot be reached")


@needs_browser
def test_a_busy_server_is_asked_again(visit: Visit, picture: Path) -> None:
    page = visit(before=answering(503, 503, answer()))
    choose(page, picture)
    sees(page.locator("#labels .share")).to_have_text(["75.0%", "25.0%"])


@needs_browser
def test_a_server_that_stays_busy_is_left_alone(visit: Visit, picture: Path) -> None:
    asked: list[str] = []
    page = visit(before=answering(503))
    page.on("request", lambda request: asked.append(request.url) if "/classify" in request.url else None)
    choose(page, picture)
    sees(page.get_by_role("alert")).to_have_text(f"{picture.name}: no place is free")
    assert len(asked) == 6


@needs_browser
def test_retry_after_is_waited_for(visit: Visit, picture: Path) -> None:
    moments: list[float] = []

    def handle(route: Route) -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "busy"})
        else:
            route.fulfill(json=answer())

    page = visit(before=lambda page: page.route("**/classify*", handle))
    choose(page, picture)
    sees(page.locator("#labels li")).to_have_count(2)
    assert moments[1] - moments[0] >= 0.95


# ---- Many images


@needs_browser
def test_many_images_fill_a_table(visit: Visit, live: Service, pictures: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image", encoding="utf-8")
    page = visit()
    going = most = 0

    def started(request: Request) -> None:
        nonlocal going, most
        going += "/classify" in request.url
        most = max(most, going)

    def ended(response: Response) -> None:
        nonlocal going
        going -= "/classify" in response.url

    page.on("request", started)
    page.on("response", ended)
    choose(page, *pictures, text)
    sees(page.get_by_role("status")).to_contain_text("6 images done")
    sees(page.get_by_role("status")).to_contain_text("1 with an error")
    assert most == 2
    told = [exchange.json() for exchange in live.exchanges["/classify"]]
    answers = [found for found in told if "label" in found]
    assert len(answers) == 5
    rows = page.get_by_role("table").locator("tbody tr")
    sees(rows.get_by_role("rowheader")).to_have_text([file.name for file in [*pictures, text]])
    labels = page.locator("#rows td.label").all_text_contents()
    assert sorted(labels) == ["", *sorted(found["label"] for found in answers)]
    shares = page.locator("#rows td.number:nth-child(3)").all_text_contents()
    assert sorted(shares) == sorted(["", *(percent(found["probability"]) for found in answers)])
    sees(page.locator("#rows td.served-by")).to_have_text(["model"] * 5 + [""])
    sees(page.locator("#rows td.error").last).to_contain_text("not a supported image")
    headers = ["File", "Label", "Probability", "Time", "Served by", "Error"]
    sees(page.get_by_role("columnheader")).to_have_text(headers)
    bar = page.get_by_role("progressbar", name="6 of 6 done, 1 with an error")
    sees(bar).to_have_js_property("value", 6)


@needs_browser
def test_a_row_opens_its_image(visit: Visit, pictures: list[Path]) -> None:
    page = visit()
    choose(page, *pictures)
    sees(page.get_by_role("status")).to_contain_text("5 images done")
    label = page.locator("#rows tr").nth(2).locator("td.label").inner_text()
    page.get_by_role("button", name=pictures[2].name).press("Enter")
    sees(page.locator("#one-title")).to_be_focused()
    sees(page.locator("#labels .name").first).to_have_text(label)
    page.get_by_role("button", name="Back to the table").press("Enter")
    sees(page.locator("#one")).to_be_hidden()
    sees(page.locator("#many-title")).to_be_focused()


@needs_browser
def test_a_batch_can_be_stopped_and_begun_again(visit: Visit, pictures: list[Path]) -> None:
    held: list[Route] = []
    page = visit(before=lambda page: page.route("**/classify*", lambda route: held.append(route)))
    choose(page, *pictures)
    sees(page.get_by_role("button", name="Stop")).to_be_visible()
    sees(page.get_by_role("table")).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Stop").press("Enter")
    sees(page.get_by_role("status")).to_contain_text("Stopped: 0 images done")
    sees(page.get_by_role("button", name="Classify again")).to_be_focused()
    assert [row["error"] for row in downloaded(page)] == ["not classified"] * 5
    assert len(held) == 2
    page.unroute("**/classify*")
    page.get_by_role("button", name="Classify again").press("Enter")
    sees(page.get_by_role("status")).to_contain_text("5 images done")
    sees(page.get_by_role("table")).to_have_attribute("aria-busy", "false")


@needs_browser
def test_a_file_that_is_gone_is_named(visit: Visit, pictures: list[Path], tmp_path: Path) -> None:
    page = visit()
    gone = tmp_path / "gone.png"
    gone.write_bytes(pictures[0].read_bytes())
    choose(page, pictures[0], gone)
    sees(page.get_by_role("status")).to_contain_text("2 images done")
    gone.unlink()
    page.get_by_role("button", name="Classify again").click()
    sees(page.locator("#rows td.error")).to_have_text(["", re.compile("^The file cannot be read")])


def downloaded(page: Page) -> list[dict[str, str]]:
    """The rows of the CSV file."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = download.value.path().read_bytes().decode("utf-8-sig")
    assert text.count("\r\n") >= 2
    return list(csv.DictReader(io.StringIO(text, newline="")))


@needs_browser
def test_the_csv_holds_the_table_and_no_formula(visit: Visit, picture: Path) -> None:
    names = ["=SUM(A1).png", 'a "quoted", name.png', "ünïcode\nand a line.png", " +1.png", "@x.png"]
    label = "-2+3|cmd' /C calc'!A0, \"x\""
    given = answer(label=label, probability=1 / 3, served_by="fallback", reason="open")
    page = visit(before=answering(given))
    choose_as(page, names, picture)
    sees(page.get_by_role("status")).to_contain_text("5 images done")
    shown = page.locator("#rows th").all_text_contents()
    rows = downloaded(page)
    guarded = [f"'{name}" if name.strip()[0] in "=+@" else name for name in shown]
    assert [row["file"] for row in rows] == guarded
    assert sum(name.startswith("'") for name in guarded) == 3
    for row in rows:
        assert row["label"] == f"'{label}"
        assert float(row["probability"]) == 1 / 3
        assert (row["ms"], row["served_by"], row["reason"]) == ("1.5", "fallback", "open")
        assert (row["model"], row["version"], row["error"]) == ("faces", "1a2b3c4d", "")


# ---- Ways to give images


def transfer(files: list[Path]) -> str:
    """Script that makes a DataTransfer of files."""
    contents = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    return f"""
    const transfer = new DataTransfer();
    for (const [name, text] of {json.dumps(contents)}) {{
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], name, {{ type: "image/png" }}));
    }}
    """


@needs_browser
def test_images_are_pasted(visit: Visit, live: Service, picture: Path) -> None:
    page = visit()
    event = 'new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })'
    page.evaluate(f"() => {{ {transfer([picture])} document.body.dispatchEvent({event}); }}")
    sees(page.locator("#one-title")).to_have_text(picture.name)
    sees(page.locator("#labels li")).to_have_count(2)
    exchange = live.last("/classify")
    assert exchange.body == picture.read_bytes()
    sees(page.locator("#labels .name").first).to_have_text(exchange.json()["label"])


@needs_browser
def test_images_are_dropped_anywhere(visit: Visit, pictures: list[Path]) -> None:
    """As the browser gets it from the desktop, at a place that is not the drop zone."""
    page = visit(width=900)
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in pictures[:2]], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 450, "y": 600, "data": data})
        if kind == "dragOver":
            sees(page.locator("body")).to_have_class("over")
    sees(page.locator("body")).not_to_have_class("over")
    sees(page.get_by_role("status")).to_contain_text("2 images done")
    sees(page.locator("#rows th")).to_have_text([file.name for file in pictures[:2]])


@needs_browser
def test_the_camera_gives_a_picture(visit: Visit, live: Service) -> None:
    page = visit()
    page.get_by_role("button", name="Take a picture").click()
    shoot = page.get_by_role("button", name="Take the picture")
    sees(shoot).to_be_enabled()
    sees(shoot).to_be_focused()
    track = page.evaluate_handle("() => document.querySelector('video').srcObject.getTracks()[0]")
    shoot.press("Enter")
    sees(page.locator("#labels li")).to_have_count(2)
    exchange = live.last("/classify")
    assert decoded(exchange.body).std() > 10
    sees(page.locator("#labels .name").first).to_have_text(exchange.json()["label"])
    sees(page.locator("#one-title")).to_have_text("camera 1.jpg")
    sees(page.get_by_role("dialog")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


@needs_browser
def test_no_camera_is_told(visit: Visit) -> None:
    page = visit()
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia =
          () => Promise.reject(new DOMException("no", "NotAllowedError")); }"""
    )
    page.get_by_role("button", name="Take a picture").click()
    sees(page.get_by_role("alert")).to_have_text("The browser does not give the camera to this page.")
    sees(page.get_by_role("dialog")).to_be_hidden()


# ---- The token


@needs_browser
def test_the_token_is_asked_for_and_kept_in_memory_only(
    visit: Visit, guarded: Service, picture: Path
) -> None:
    page = visit(guarded.address)
    field = page.get_by_label("Token", exact=True)
    sees(field).to_be_focused()
    sees(field).to_have_attribute("type", "password")
    # What is given meanwhile waits.
    choose(page, picture)
    field.fill("a-wrong-token-0123456789")
    field.press("Enter")
    sees(page.get_by_role("alert")).to_have_text("The server does not accept this token.")
    sees(page.locator("#labels li")).to_have_count(0)
    field.fill(TOKEN)
    page.get_by_role("button", name="Continue").click()
    sees(page.locator("#labels li")).to_have_count(2)
    sees(page.locator("#access")).to_be_hidden()
    sees(page.locator("#about")).to_contain_text("faces · 2 classes")
    sees(page.get_by_label("Model")).to_be_hidden()
    # A browser would ask for it without the token.
    sees(page.get_by_role("link", name="API documentation")).to_be_hidden()
    sees(page.locator("#views")).to_be_visible()
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert kept == '[{},{},""]'
    assert TOKEN not in page.content()
    page.reload()
    sees(field).to_be_visible()


# ---- For everybody


@needs_browser
def test_everything_is_reached_by_keyboard_with_visible_focus(visit: Visit, picture: Path) -> None:
    page = visit()
    # From now on, as a key that is pressed before the browser knows that somebody waits is lost.
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    sees(page.locator("#about")).not_to_be_empty()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    sees(page.locator("#files")).to_be_focused()
    page.keyboard.press("Enter")
    deadline = time.monotonic() + 20
    while not choosers and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    [chooser] = choosers
    assert chooser.is_multiple()
    chooser.set_files(picture)
    sees(page.locator("#views")).to_be_visible()
    page.locator("#model").focus()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    names = [name for name, _ in reached]
    second = page.locator("#labels .name").nth(1).inner_text()
    assert names[:3] == ["files", "camera", "view"]
    assert second in names[4]
    assert names[5] == "docs"
    assert all(outlined for _, outlined in reached)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    sees(page.get_by_role("img", name=f"what speaks for “{second}”")).to_be_visible()
    page.locator("#views input").first.focus()
    page.keyboard.press("ArrowRight")
    sees(page.locator("#above")).to_be_visible()


FOCUSED = """() => {
  const element = document.activeElement;
  const outlined = [element, element.nextElementSibling, element.parentElement]
    .some((one) => one && getComputedStyle(one).outlineStyle === "solid" && one.offsetWidth > 8);
  return [element.name || element.id || element.textContent, outlined];
}"""


@needs_browser
def test_light_and_dark_can_be_read_and_fit_a_narrow_window(
    visit: Visit, pictures: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image", encoding="utf-8")
    papers = []
    for scheme in ("light", "dark"):
        page = visit(width=320, color_scheme=scheme, reduced_motion="reduce")
        choose(page, *pictures, text)
        sees(page.get_by_role("status")).to_contain_text("6 images done")
        choose(page, text)
        sees(page.locator("#problem")).to_be_visible()
        choose(page, pictures[0])
        sees(page.locator("#views")).to_be_visible()
        page.evaluate(
            "() => ['problem', 'access'].forEach((id) => document.getElementById(id).hidden = false)"
        )
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 40
        assert [found for found in contrasts if found[0] < 4.5] == []
        assert page.evaluate("() => document.scrollingElement.scrollWidth") == 320
        assert page.locator("#drop").evaluate("drop => getComputedStyle(drop).transitionDuration") == "0s"
        papers.append(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))
    brightness = [sum(map(int, re.findall(r"\d+", paper))) for paper in papers]
    assert brightness[0] > 700
    assert brightness[1] < 100


CONTRASTS = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if ((numbers(color)[3] ?? 1) > 0) return color;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [a, b] = [getComputedStyle(element).color, behind(element)].map(light);
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
}"""
