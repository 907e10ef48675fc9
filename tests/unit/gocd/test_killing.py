"""Kills of watchers, MLflow and GoCD: nothing is forgotten, and hardly anything is done twice."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.gocd.killing import World, requests_in


@pytest.mark.parametrize(
    ("seeds", "kills"),
    [((11,), 60), pytest.param((0, 1, 2, 3, 4), 200, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])],
)
def test_kills_lose_no_promotion(seeds: tuple[int, ...], kills: int) -> None:
    """As many promotions as kills: each gets its pipeline, in order; under 1 % get a second one."""
    worlds = [World(seed, promotions=kills, watchers=2) for seed in seeds]
    for world in worlds:
        world.start_killing(kills)
        world.run()
    runs = [world.runs_of(each) for world in worlds for each in world.mlflow.wanted()]

    assert [world.kills for world in worlds] == [kills] * len(seeds)
    assert len(runs) == kills * len(seeds)
    assert min(runs) == 1
    assert (sum(runs) - len(runs)) / len(runs) < 0.01, Counter(runs)
    for world in worlds:
        started = variables_of(world)
        firsts = list(dict.fromkeys(each["RUNBAKE_RUN_ID"] for each in started))
        assert firsts == sorted(firsts)
        # One image for each promotion: every pipeline of it names the same run and the same request.
        pairs = {(each["RUNBAKE_RUN_ID"], each["RUNBAKE_REQUEST"]) for each in started}
        assert pairs == {(each.run_id, each.request) for each in world.mlflow.wanted()}
        assert all(requests_in(each.note) == [each.request] for each in world.mlflow.wanted())


@pytest.mark.parametrize("watchers", [1, 2, 5])
def test_without_kills_each_promotion_gets_one_pipeline(watchers: int) -> None:
    """However many watchers there are, and whatever their clocks say."""
    world = World(7, promotions=12, watchers=watchers)
    world.run()

    assert [world.runs_of(each) for each in world.mlflow.wanted()] == [1] * 12


def test_a_lone_promotion_is_triggered_within_two_polls() -> None:
    """From the tag to the run of the pipeline, GoCD's own delay included."""
    delays = []
    for seed in range(12):
        world = World(seed, promotions=1, watchers=1)
        world.run()
        delays += world.delays

    assert len(delays) == 12
    assert max(delays) <= 2 * 60


def variables_of(world: World) -> list[dict[str, str]]:
    """What each run of the pipeline was started with, in order."""
    return [dict(variables) for _, _, variables in world.gocd.pipelines["fraud"].runs]
