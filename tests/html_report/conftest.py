"""Reading a page back, and what every page has to keep to."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def sections(self) -> list[str | None]:
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


def svgs(text: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", text, flags=re.S)


def texts(svg: str) -> list[str]:
    """Every text of a chart, without the tooltips in it."""
    root = ElementTree.fromstring(svg)
    found = []
    for text in root.iter(f"{SVG}text"):
        title = text.find(f"{SVG}title")
        found.append((text.text if title is None else title.tail) or "")
    return found


def checked(text: str) -> Page:
    """The page, which is well-formed, self-contained and accessible."""
    text.encode("utf-8")
    page = Page(text)
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [name for name, times in ids.items() if times > 1] == []
    for tag, attrs in page.tags:
        assert tag not in ("script", "iframe", "object", "base")
        for key, value in attrs.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("href", "src", "xlink:href", "srcset", "action"):
                assert value
                assert value.startswith(("data:", "#")), (tag, key, value)
                assert not value.startswith("#") or value[1:] in ids, value
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg":
            assert attrs["role"] == "img"
            assert attrs["aria-label"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    assert all(target[0] == "#" and target[1:] in ids for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' ]*", text)) <= {"http://www.w3.org/2000/svg"}
    for svg in svgs(text):
        ElementTree.fromstring(svg)
    # Colours and names that stand in for others must all have been replaced.
    assert not re.search(r"#0a0[bc]0|>Nq\d", text)
    set_where_used = {"--left", "--width", "--at", "--shade"}
    used = set(re.findall(r"var\((--[a-z-]+)\)", text)) - set_where_used
    assert used <= set(re.findall(r"(--[a-z-]+):", text))
    return page


@pytest.fixture
def read_page() -> type[Page]:
    return Page


@pytest.fixture
def check_page() -> Callable[[str], Page]:
    return checked


@pytest.fixture
def texts_of() -> Callable[[str], list[str]]:
    return texts
