"""Recipes that are shipped, with changes."""

import json
from pathlib import Path
from typing import Any


def write_recipe(folder: Path, content: dict[str, Any], changes: dict[str, Any]) -> str:
    """A recipe's file; dotted names (``codec__rates``) reach inside, and what is None is left out."""
    for name, value in changes.items():
        *path, last = name.split("__")
        inside = content
        for step in path:
            inside = inside[step]
        if value is None:
            del inside[last]
        else:
            inside[last] = value
    path = folder / "recipe.json"
    path.write_text(json.dumps(content))
    return str(path)
