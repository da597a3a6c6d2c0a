"""Which members are measured where not all are."""

from experiments.tradeoff.experiment import evenly


def test_both_ends_stay_and_what_is_few_stays_whole() -> None:
    assert evenly("abcdefghi", 3) == ["a", "e", "i"]
    assert evenly("abcdefghi", 2) == ["a", "i"]
    assert evenly("abc", 6) == evenly("abc", None) == ["a", "b", "c"]
