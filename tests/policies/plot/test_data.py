import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.plot.data import AXES, captions, choose_axes, logarithmic, panels, series, staircase
from policies.search.objectives import OBJECTIVES
from thinwire.errors import InvalidRequestError

ROOT = Path(__file__).parents[3]
TWO = ("channel_uses", "accuracy")
THREE = ("channel_uses", "edge_gmacs", "accuracy")


def test_every_objective_of_a_search_can_be_drawn_and_is_better_the_same_way():
    assert AXES.keys() == OBJECTIVES.keys()
    for name, axis in AXES.items():
        assert (axis.name, axis.maximise) == (name, OBJECTIVES[name].maximise)


def test_accuracy_is_drawn_as_it_is_and_not_as_its_change(measured):
    objectives = measured(accuracy=0.7, accuracy_se=0.01, accuracy_change=-0.02, accuracy_change_se=0.002).objectives
    assert (AXES["accuracy"].value(objectives), AXES["accuracy"].error(objectives)) == (0.7, 0.01)


@pytest.mark.parametrize(
    "names",
    [(), ("accuracy",), ("accuracy", "accuracy"), ("accuracy", "flops"), ("accuracy", ""), tuple(OBJECTIVES)[:4]],
)
def test_other_than_two_or_three_known_objectives_are_told(names):
    with pytest.raises(InvalidRequestError, match="two or three different objectives of accuracy, edge_gmacs"):
        choose_axes(names)


def test_what_is_drawn_is_what_was_measured(study_data):
    data = study_data()
    shown = series(data, choose_axes(THREE))
    table = [[t.objectives.channel_uses, t.objectives.edge_gmacs, t.objectives.accuracy] for t in data.trials]
    np.testing.assert_array_equal(shown.trials.values, table)
    np.testing.assert_allclose(shown.trials.errors, [[0, 0, 0.01 + index / 1000] for index in range(5)])
    assert list(shown.baselines) == ["tome", "unmerged"]
    np.testing.assert_array_equal(shown.baselines["tome"].values, [[150, 1.3, 0.66], [250, 1.3, 0.66]])
    assert len(shown.everything) == 8


def test_the_front_is_over_the_axes_that_are_drawn_and_in_their_order(study_data):
    data = study_data()
    flat, solid = (series(data, choose_axes(names)) for names in (TWO, THREE))
    assert flat.front.values[:, 0].tolist() == [10, 100, 400]
    assert solid.front.values[:, 0].tolist() == [10, 100, 300, 400]
    assert flat.front.errors[:, 1].tolist() == pytest.approx([0.01, 0.011, 0.014])
    assert [note[0] for note in flat.front.notes] == [data.trials[index].policy.id for index in (0, 1, 4)]


def test_the_staircase_is_the_front_of_its_two_axes(drawn):
    shown = drawn(THREE)
    axes = choose_axes(THREE)
    assert staircase(shown.front, axes, 0, 2).tolist() == [[10, 0.6], [100, 0.7], [400, 0.75]]
    assert staircase(shown.front, axes, 0, 1).tolist() == [[10, 1.5], [100, 1.2], [300, 0.9]]


def test_accuracy_goes_upwards_and_its_panels_come_first():
    assert panels(choose_axes(THREE)) == [(0, 2), (1, 2), (0, 1)]
    assert panels(choose_axes(("accuracy", "tokens"))) == [(1, 0)]
    assert panels(choose_axes(("tokens", "edge_gmacs"))) == [(0, 1)]


def test_notes_tell_the_policy_and_all_its_figures(study_data, measured):
    data = study_data()
    limited = replace(data, trials=(measured((0.9, 0.25), 4, max_tokens=12, latency_ms=3.5, latency_ms_se=0.1),))
    (note,) = series(limited, choose_axes(TWO)).trials.notes
    assert note == (
        limited.trials[0].policy.id,
        "thresholds 0.9 0.25",
        "4 symbols per token, at most 12 tokens",
        "accuracy 0.7000 ± 0.0100",
        "12.5 tokens, standard deviation 2.5",
        "100.0 channel uses, 95% within 120",
        "1.5000 edge GMACs",
        "latency 3.50 ms",
    )
    shown = series(data, choose_axes(TWO))
    assert "no limit on tokens" in shown.trials.notes[0][2]
    assert shown.baselines["tome"].notes[0][:2] == ("tome", "r 13")


def test_the_caption_says_what_was_measured_and_on_what(study_data, measured):
    data = study_data()
    expected = (
        "tiny: bundle cifar10 bbbbbbbbbb, awgn at 10 dB, control rate 1 bit/use, select split, 2,000 images, "
        "5 trials, seed 7"
    )
    assert series(data, choose_axes(TWO)).caption == expected
    more = replace(data, trials=(*data.trials, measured((0.1,), n=500)))
    assert "500 to 2,000 images, 6 trials" in series(more, choose_axes(TWO)).caption


def test_the_footnote_names_the_axes_and_the_rims_of_several_studies(drawn):
    axes = choose_axes(THREE)
    assert captions([drawn(THREE)], axes)[-1].startswith(
        "Front over channel uses per image, edge compute, accuracy. Lines"
    )
    assert "rims" in captions([drawn(THREE), drawn(THREE, "other")], axes)[-1]


def test_latency_is_drawn_only_where_it_was_measured(study_data):
    axes = choose_axes(("latency_ms", "accuracy"))
    with pytest.raises(InvalidRequestError, match="latency_ms was not measured for 5 of the 5 trials of study tiny"):
        series(study_data(), axes)
    with pytest.raises(InvalidRequestError, match="for 1 of the 5 trials"):
        series(study_data(latency_ms=(1, 2, None, 4, 5)), axes)
    shown = series(study_data(latency_ms=(1, 2, 3, 4, 5)), axes)
    assert shown.trials.values[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert shown.trials.errors[0, 0] == 0.1
    # The baselines of this study have no latency.
    assert shown.baselines == {}
    assert shown.caption.endswith("; 3 baselines not measured on these axes")


def test_a_study_without_trials_is_told(study_data):
    with pytest.raises(InvalidRequestError, match="study tiny has no trials"):
        series(replace(study_data(), trials=()), choose_axes(TWO))


def test_zero_has_no_place_on_a_logarithmic_axis(drawn):
    axes = choose_axes(TWO)
    assert logarithmic([drawn(TWO)], axes, 0)
    assert not logarithmic([drawn(TWO)], axes, 1)
    assert not logarithmic([drawn(TWO), drawn(TWO, "free", ((0.0, 1.0, 0.5),))], axes, 0)


def test_nothing_that_draws_or_searches_is_loaded_before_it_draws():
    program = "import sys, policies.plot.draw, policies.plot.data, deploy.cli.main; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "policies" in loaded
    assert loaded & {"matplotlib", "plotly", "torch", "botorch", "sqlalchemy", "scipy"} == set()
