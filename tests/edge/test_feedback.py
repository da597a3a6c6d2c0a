from edge.feedback import Feedback


def test_a_link_that_said_nothing_has_the_nominal_value() -> None:
    assert Feedback(7.5).latest("camera") == 7.5


def test_the_latest_value_counts() -> None:
    feedback = Feedback(7.5)
    feedback.report("camera", 3.0)
    feedback.report("camera", 0.0)
    assert feedback.latest("camera") == 0.0


def test_any_kind_of_value_will_do() -> None:
    feedback = Feedback("awgn")
    feedback.report("camera", "rayleigh")
    assert [feedback.latest(link) for link in ("camera", "door")] == ["rayleigh", "awgn"]


def test_links_are_kept_apart() -> None:
    feedback = Feedback(7.5)
    feedback.report("camera", 3.0)
    assert feedback.latest("door") == 7.5
