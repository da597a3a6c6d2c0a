"""Options of one experiment: as they are typed, as they are kept, and what is wrong with them."""

from typing import Any

import pytest

from experiments.harness.options import Option, Options, as_arguments, parse

OPTIONS: Options = {
    "repetitions": Option(9, "of everything", 1, int),
    "saved": Option([0.1, 0.5], "shares", kind=float),
    "rules": Option(["paper"], "of merging", choices=["paper", "narrow"]),
    "limit": Option(None, "of images", kind=int),
    "without_torch": Option(False, "leave it out"),
}
DEFAULTS: dict[str, Any] = {
    "repetitions": 9, "saved": [0.1, 0.5], "rules": ["paper"], "limit": None, "without_torch": False,
}  # fmt: skip


def test_what_is_not_said_is_as_it_is_in_quick_runs_or_in_others() -> None:
    assert vars(parse("edge", OPTIONS, False, [])) == DEFAULTS
    assert vars(parse("edge", OPTIONS, True, [])) == DEFAULTS | {"repetitions": 1}


def test_what_is_said_comes_back_as_it_was_typed() -> None:
    typed = "--repetitions 3 --saved 0.3 --rules narrow paper --without-torch"
    asked = {"repetitions": 3, "saved": [0.3], "rules": ["narrow", "paper"], "without_torch": True}
    assert vars(parse("edge", OPTIONS, True, typed.split())) == DEFAULTS | asked
    assert as_arguments(asked) == f" {typed}"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--repetitions", "x"], "invalid int value: 'x'"),
        (["--rules", "wide"], "invalid choice: 'wide'"),
        (["--models", "a"], "unrecognized arguments: --models a"),
        (["--rep", "3"], "unrecognized arguments: --rep 3"),
    ],
)
def test_what_is_wrong_is_told(typed: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("edge", OPTIONS, False, typed)
    assert told in capsys.readouterr().err
