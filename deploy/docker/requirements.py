"""Prints the requirements of a process's group and of extras: an image installs them before it has the source."""

import sys
import tomllib
from collections.abc import Iterator


def of_group(name: str) -> Iterator[str]:
    for requirement in settings["dependency-groups"][name]:
        if isinstance(requirement, str):
            yield requirement
        else:
            yield from of_group(requirement["include-group"])


with open("pyproject.toml", "rb") as stream:
    settings = tomllib.load(stream)
group, *extras = sys.argv[1:]
print(*of_group(group), sep="\n")
for extra in extras:
    print(*settings["project"]["optional-dependencies"][extra], sep="\n")
