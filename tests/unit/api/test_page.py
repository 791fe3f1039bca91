"""The page is one file that loads nothing, runs nothing of others and shows text as text."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import get_args

import pytest

from services.api.feed.happened import NAMES, Shown
from services.api.routes.page import PAGE, POLICY

SCRIPT = re.search(r"<script>(.*?)</script>", PAGE, re.DOTALL)[1]
STYLE = re.search(r"<style>(.*?)</style>", PAGE, re.DOTALL)[1]


@pytest.mark.parametrize(
    "pattern", [r"https?://(?!www\.w3\.org/2000/svg)", r"<script\s", r"@import"]
)
def test_it_loads_nothing_from_elsewhere(pattern):
    assert not re.search(pattern, PAGE)


@pytest.mark.parametrize(
    "sink",
    ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"],
)
def test_it_never_builds_html_from_strings(sink):
    assert sink not in SCRIPT


@pytest.mark.parametrize("attribute", [r"\son[a-z]+=", r"\sstyle="])
def test_its_policy_would_block_what_is_inline_in_its_tags(attribute):
    body = PAGE.replace(SCRIPT, "").replace(STYLE, "")
    assert not re.search(attribute, body)


def test_its_policy_allows_its_own_script_and_style_and_no_other():
    def source(text):
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    assert f"script-src {source(SCRIPT)};" in POLICY
    assert f"style-src {source(STYLE)};" in POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY


def test_it_listens_only_for_events_that_the_stream_has():
    block = SCRIPT[SCRIPT.index("const HEARD") :]
    block = re.sub(r"\{[^{}]*\}", "", block[block.index("{") + 1 : block.index("\n};")])
    heard = set(re.findall(r"(?:^ +|, )(\w+):", block, re.MULTILINE))
    tags = {event.__struct_config__.tag for event in get_args(Shown)}
    assert {"message", "delta", "settled", "status_set"} <= heard
    assert heard <= {*tags, *NAMES.values(), "delta", "settled", "restarted"}
