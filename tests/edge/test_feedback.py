from edge.feedback import SnrFeedback


def test_a_link_that_said_nothing_has_the_nominal_snr() -> None:
    assert SnrFeedback(7.5).snr_db("camera") == 7.5


def test_the_latest_estimate_counts() -> None:
    feedback = SnrFeedback(7.5)
    feedback.report("camera", 3.0)
    feedback.report("camera", 0.0)
    assert feedback.snr_db("camera") == 0.0


def test_links_are_kept_apart() -> None:
    feedback = SnrFeedback(7.5)
    feedback.report("camera", 3.0)
    assert feedback.snr_db("door") == 7.5
