from experiments.answer_time import cheapest


def test_the_cheapest_picture_that_is_as_accurate():
    ladder = [{"bytes": 10.0, "accuracy": 0.5}, {"bytes": 30.0, "accuracy": 0.8}, {"bytes": 20.0, "accuracy": 0.8}]
    assert cheapest(ladder, 0.6)["bytes"] == 20.0
    assert cheapest(ladder, 0.4)["bytes"] == 10.0
    assert cheapest(ladder, 0.504)["bytes"] == 10.0
    assert cheapest(ladder, 0.506)["bytes"] == 20.0
    assert cheapest(ladder, 0.9)["accuracy"] == 0.8
