import time

from edge.feedback import SnrFeedback


def test_a_link_that_said_nothing_has_the_nominal_snr() -> None:
    feedback = SnrFeedback(7.5)
    assert feedback.snr_db("camera") == 7.5
    assert feedback.latest("camera") is None


def test_the_latest_estimate_counts_with_its_time() -> None:
    feedback = SnrFeedback(7.5)
    feedback.report("camera", 3.0)
    before = time.monotonic()
    feedback.report("camera", 0.0)
    heard = feedback.latest("camera")
    assert feedback.snr_db("camera") == 0.0
    assert heard is not None
    assert before <= heard.at_s <= time.monotonic()


def test_links_are_kept_apart() -> None:
    feedback = SnrFeedback(7.5)
    feedback.report("camera", 3.0)
    assert feedback.snr_db("door") == 7.5
