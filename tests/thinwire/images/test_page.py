"""The page of what is taken says what is taken."""

from pathlib import Path

from tests.thinwire.images.page import page

PAGE = Path(__file__).parents[3] / "docs" / "images.md"


def test_the_page_is_what_the_cases_give():
    assert PAGE.read_text() == page(), "python -m tests.thinwire.images.page > docs/images.md"
