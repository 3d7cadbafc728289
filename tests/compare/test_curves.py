"""Learning curves: intervals of draws with hand-made values, and where one curve overtakes another."""

from __future__ import annotations

from typing import Any

import pytest

from classic_cv.compare.curves import crossover, mean_and_interval


def curve(**means: float | None) -> list[dict[str, Any]]:
    """Points without their draws; ``all_`` is the one with all images."""
    places = {name: "all" if name == "all_" else int(name[1:]) for name in means}
    return [
        {"images_per_class": places[name], "mean": mean, "accuracies": []} for name, mean in means.items()
    ]


def test_the_interval_is_students() -> None:
    # Mean 0.5, standard error 0.1 / sqrt(3), t(0.975, 2) = 4.3027.
    mean, interval = mean_and_interval([0.4, 0.5, 0.6])
    assert mean == pytest.approx(0.5)
    assert interval == pytest.approx((0.5 - 4.3027 * 0.1 / 3**0.5, 0.5 + 4.3027 * 0.1 / 3**0.5), abs=1e-5)


def test_an_interval_of_accuracies_stays_within_0_and_1() -> None:
    assert mean_and_interval([0.9, 0.95, 1.0])[1] == pytest.approx((0.8258, 1.0), abs=1e-4)


def test_one_draw_has_no_interval_and_none_no_mean() -> None:
    assert mean_and_interval([0.7]) == (0.7, None)
    assert mean_and_interval([]) == (None, None)


def test_curves_cross_between_two_points_over_the_logarithm() -> None:
    classical, deep = curve(n10=0.5, n40=0.6, all_=0.7), curve(n10=0.4, n40=0.7, all_=0.9)
    found = crossover(classical, deep, 160)
    # The lead goes from -0.1 to 0.1: halfway between log 10 and log 40.
    assert found["images_per_class"] == pytest.approx(20)
    assert found["text"] == (
        "between 10 and 40 images per class, about 20: at 160 images per class the deep one is ahead by 20.0 points"
    )


def test_no_crossing_within_the_data() -> None:
    found = crossover(curve(n10=0.5, n50=0.731), curve(n10=0.3, n50=0.7), 50)
    assert found["images_per_class"] is None
    text = "not within your data: at 50 images per class the classical one is ahead by 3.1 points"
    assert found["text"] == text


def test_ahead_from_the_first_point_on() -> None:
    found = crossover(curve(n10=0.5, n50=0.6), curve(n10=0.6, n50=0.7), 50)
    assert found["images_per_class"] == 10
    assert found["text"].startswith(
        "from the first point on, 10 images per class: at 50 images per class the deep one"
    )
    single = crossover(curve(all_=0.5), curve(all_=0.6), 30)
    assert single["images_per_class"] == 30
    assert single["text"].startswith("at the only point, 30 images per class")


def test_a_lead_that_is_lost_is_told() -> None:
    found = crossover(curve(n10=0.5, n20=0.5, n50=0.8), curve(n10=0.4, n20=0.6, n50=0.7), 50)
    assert found["images_per_class"] is None
    assert found["text"].startswith("not within your data, though it is ahead at 20: ")


def test_the_last_crossing_counts() -> None:
    classical = curve(n10=0.5, n20=0.6, n40=0.7)
    found = crossover(classical, curve(n10=0.6, n20=0.55, n40=0.75), 40)
    assert found["images_per_class"] == pytest.approx(20 * 2**0.5)
    assert found["text"].startswith(
        "between 20 and 40 images per class, about 28.3; ahead at 10 too, but behind again"
    )


def test_equal_means_are_no_lead() -> None:
    level = crossover(curve(n10=0.5, n20=0.6), curve(n10=0.5, n20=0.6), 20)
    assert level["images_per_class"] is None
    assert level["text"] == "not within your data: at 20 images per class both are level"
    after = crossover(curve(n10=0.5, n20=0.6), curve(n10=0.5, n20=0.7), 20)
    assert after["images_per_class"] == pytest.approx(10)


def test_only_points_of_both_count() -> None:
    classical = curve(n10=0.5, n20=None, n40=0.6)
    deep = curve(n10=0.4, n20=0.9, n40=0.7, n80=0.1)
    assert crossover(classical, deep, 100)["images_per_class"] == pytest.approx(20)
    nothing = crossover(curve(n10=0.5), curve(n20=0.6), 20)
    assert nothing == {"images_per_class": None, "text": "not known: no point was measured for both"}
    assert crossover([], [], 20) == nothing


def test_all_images_take_the_place_of_points_beyond_them() -> None:
    # Unequal classes: the mean is below the number asked for of each.
    classical, deep = curve(n10=0.5, n50=0.6, all_=0.7), curve(n10=0.6, n50=0.1, all_=0.8)
    assert crossover(classical, deep, 14.5)["text"].startswith("from the first point on")


def test_draws_that_do_not_show_the_lead_are_told() -> None:
    def point(accuracies: list[float]) -> list[dict[str, Any]]:
        return [{"images_per_class": 10, "mean": sum(accuracies) / len(accuracies), "accuracies": accuracies}]

    noisy = crossover(point([0.5, 0.6, 0.7]), point([0.7, 0.55, 0.8]), 10)
    assert noisy["text"].endswith("ahead by 8.3 points (within the spread of 3 draws)")
    # The same draws: what counts is the spread of the differences.
    clear = crossover(point([0.5, 0.6, 0.7]), point([0.58, 0.69, 0.78]), 10)
    assert clear["text"].endswith("ahead by 8.3 points")
    assert crossover(point([0.5]), point([0.6]), 10)["text"].endswith(
        "(a single draw: its spread is not known)"
    )
