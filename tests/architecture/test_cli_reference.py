"""The page about the command line is what the commands say."""

from pathlib import Path

from services.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_about_the_command_line_is_current():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"
