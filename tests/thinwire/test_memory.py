import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.memory import Memory


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Slow:
    """The same by scanning a list of (key, value, ends, last use), which is obviously right."""

    def __init__(self, max_count, max_bytes, max_age_s, clock):
        self.bounds, self.clock = (max_count, max_bytes, max_age_s), clock
        self.entries = []
        self.turn = 0

    def trim(self):
        max_count, max_bytes, _ = self.bounds
        self.entries = [one for one in self.entries if one[2] > self.clock()]
        while len(self.entries) > max_count or sum(one[1] for one in self.entries) > max_bytes:
            self.entries.remove(min(self.entries, key=lambda one: one[3]))

    def put(self, key, value):
        self.entries = [one for one in self.entries if one[0] != key]
        self.turn += 1
        if value <= self.bounds[1]:
            self.entries.append([key, value, self.clock() + self.bounds[2], self.turn])
        self.trim()

    def get(self, key):
        self.trim()
        self.turn += 1
        for one in self.entries:
            if one[0] == key:
                one[3] = self.turn
                return one[1]
        return None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(1, 12)),
        st.tuples(st.just("get"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(0, 4)),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_keeps_what_a_slow_memory_keeps(steps):
    clock = Clock()
    memory, slow = Memory(4, 20, 10, lambda value: value, clock), Slow(4, 20, 10, clock)
    for name, *arguments in steps:
        if name == "wait":
            clock.now_s += arguments[0]
        else:
            assert getattr(memory, name)(*arguments) == getattr(slow, name)(*arguments)
        memory.trim()
        slow.trim()
        assert memory.values() == {key: value for key, value, *_ in slow.entries}
        assert memory.nbytes == sum(one[1] for one in slow.entries)
        assert memory.ends_s == min((one[2] for one in slow.entries), default=float("inf"))


def test_what_is_dropped_is_told():
    dropped = []
    memory = Memory(2, on_drop=dropped.append)
    for key in "abc":
        memory.put(key, key)
    assert dropped == ["a"]
    memory.trim(1)
    assert dropped == ["a", "b"]
    memory.clear()
    assert (dropped, len(memory)) == (["a", "b", "c"], 0)


@pytest.mark.parametrize("again", ["a", "b"])
def test_a_value_that_does_not_fit_drives_nothing_out_but_its_own(again):
    memory = Memory(9, max_bytes=3, size=len)
    memory.put("a", "xxx")
    memory.put(again, "xxxx")
    assert memory.values() == ({} if again == "a" else {"a": "xxx"})
