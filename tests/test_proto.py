"""The checked-in stubs are what the .proto files generate."""

from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "proto" / "thinwire" / "v1").glob("*.proto"))
STUBS = ROOT / "thinwire" / "v1"


@pytest.fixture(name="generated", scope="module")
def generated_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fresh stubs, made as `make proto` makes them."""
    folder = tmp_path_factory.mktemp("stubs")
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        # grpc_tools adds its own well-known types only when it runs as a program.
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
        f"--grpc_python_out={folder}",
        *map(str, SOURCES),
    ]
    assert protoc.main(arguments) == 0
    return folder / "thinwire" / "v1"


def test_there_is_something_to_generate() -> None:
    assert {path.stem for path in SOURCES} >= {"link", "control"}


@pytest.mark.parametrize(
    "name", [f"{path.stem}{end}" for path in SOURCES for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]
)
def test_stubs_are_up_to_date(generated: Path, name: str) -> None:
    assert (STUBS / name).read_text() == (generated / name).read_text(), "run `make proto`"


def test_no_stub_is_left_over(generated: Path) -> None:
    fresh = {path.name for path in generated.iterdir()}
    assert {path.name for path in STUBS.glob("*_pb2*.py*")} == fresh
