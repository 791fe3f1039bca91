"""Every kind of file becomes passages, or a reason that a person can act upon."""

import io
import struct

import pytest
from hypothesis import given, strategies as st

from services.ingest.passage import Unreadable
from services.ingest.reading import EMPTY, main, read, received, send
from tests.support.pdfs import locked, pdf


def text(name: str, content: bytes) -> str:
    found = read(name, content)
    assert isinstance(found, list), found
    return "\n".join(passage.text for passage in found)


def headings(name: str, content: bytes) -> list[str]:
    found = read(name, content)
    assert isinstance(found, list), found
    return [passage.heading for passage in found]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Größe: 東京".encode()),
        ("a.txt", "Größe: 東京".encode("utf-8-sig")),
        ("a.txt", "Größe: 東京".encode("utf-16")),
        ("a.txt", "Größe: 東京".encode("utf-32")),
    ],
)
def test_text_is_read_in_its_encoding(name, content):
    assert text(name, content) == "Größe: 東京"


def test_text_of_an_older_encoding_is_read_too():
    assert text("a.txt", "Größe — so".encode("cp1252")) == "Größe — so"


@pytest.mark.parametrize(
    "name", ["a.json", "a.csv", "a.log", "a.xml", "a.yaml", "a.toml", "a.rst", "a.org", "README"]
)
def test_text_formats_are_kept_as_they_are(name):
    assert text(name, b"key: [1, 2]\r\nother: <b>3</b>") == "key: [1, 2]\nother: <b>3</b>"


@pytest.mark.parametrize(
    ("name", "content", "path"),
    [
        ("a.md", b"# One\n## Two #\ntext", "One"),
        ("a.md", b"One\n===\n\ntext", "One"),
        ("a.rst", b"One\n~~~\n\ntext", "One"),
        ("a.org", b"* One\ntext", "One"),
        ("a.csv", b"name;price\ntea;3", "name;price"),
        ("a.md", b"```\n# no heading\n```", ""),
        ("a.txt", b"# no heading", ""),
        ("a.md", b"- item\n---\n", ""),
    ],
)
def test_headings_are_found_where_the_format_has_them(name, content, path):
    assert headings(name, content) == [path]


def test_of_a_page_what_is_seen_is_read():
    page = b"""<html><head><title>Tea</title><style>p {}</style><script>evil()</script></head>
      <body><h1>Kinds of <b>tea</b></h1><p>Green  &amp;\n black.</p><ul><li>Oolong<li>Pu-erh</ul>
      <pre>a  b\n  c</pre><table><tr><td>1<td>2</table><svg><text>no</text></svg></body>"""
    assert text("a.html", page).split("\n") == [
        *("Tea", "", "Kinds of tea", "", "Green & black.", "", "- Oolong", "- Pu-erh"),
        *("", "a  b", "c", "", "1\t2"),
    ]
    assert headings("a.html", b"<p>x</p><h1>One</h1>" + b"<p>words of it.</p>" * 200)[-1] == "One"


def test_of_a_pdf_each_page_is_a_section():
    page = "All releases go out on Friday, unless somebody objects.\n" * 14
    content = pdf(page, "", page.replace("Friday", "Monday"))
    assert headings("a.pdf", content) == ["page 1", "page 3"]
    assert "Monday" in text("wrongly-named.txt", content)


def reason(name, content):
    found = read(name, content)
    assert isinstance(found, Unreadable)
    return found.reason


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t ", "empty"),
        ("a.md", b"\xef\xbb\xbf", "empty"),
        ("a.html", b"<html><script>1</script></html>", "empty"),
        ("a.zip", b"PK\x03\x04" + bytes(range(256)) * 9, "binary"),
        ("a.html", b"\x00\x01\x02" * 99, "binary"),
        ("a.txt", bytes(range(128, 256)) + bytes(range(1, 32)) * 9, "binary"),
        ("a.pdf", pdf(""), "no_text"),
        ("a.pdf", locked(pdf("secret"), "x"), "encrypted"),
        ("a.pdf", b"%PDF-1.4\nnothing of the kind", "damaged"),
        ("a.pdf", pdf("hello")[:200], "damaged"),
        ("a.pdf", b"not a PDF at all", "damaged"),
    ],
)
def test_what_cannot_be_read_says_why(name, content, expected):
    assert reason(name, content) == expected


def test_a_pdf_that_is_locked_against_changes_alone_is_read():
    assert "hello" in text("a.pdf", locked(pdf("hello"), ""))


@given(st.binary(max_size=4_000), st.sampled_from(["a.pdf", "a.html", "a.md", "a"]))
def test_whatever_comes_it_is_read_or_refused(content, name):
    assert isinstance(read(name, content), list | Unreadable)


def test_documents_are_answered_one_after_the_other_until_there_are_no_more(monkeypatch):
    asked, told = io.BytesIO(), io.BytesIO()
    send(asked, b"a.txt", b"hello", b"b.txt", b"")
    asked.seek(0)
    monkeypatch.setattr("sys.stdin", type("In", (), {"buffer": asked}))
    monkeypatch.setattr("sys.stdout", type("Out", (), {"buffer": told}))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    main(1 << 40, 60)
    told.seek(0)
    first, second = received(told), received(told)
    assert b"hello" in first
    assert EMPTY.detail.encode() in second
    assert received(told) is None


def test_a_part_says_how_long_it_is():
    out = io.BytesIO()
    send(out, b"abc")
    assert out.getvalue() == struct.pack(">Q", 3) + b"abc"
