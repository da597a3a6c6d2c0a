"""Data sets for tests marked ``data``."""

import os
from pathlib import Path

import pytest


@pytest.fixture(name="easy_vqa")
def easy_vqa_fixture() -> str:
    """The tar of easy-VQA."""
    path = Path(os.environ.get("THINWIRE_DATA", "")) / "easy-vqa.tar"
    if not path.is_file():
        pytest.skip("THINWIRE_DATA names no folder with easy-vqa.tar")
    return str(path)
