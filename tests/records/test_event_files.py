"""TensorBoard files rebuilt from records, and onsets while a run goes on."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fusionscope.records import Record, Run, live
from fusionscope.records.event_files import count_tags, rebuild
from fusionscope.records.live import OnsetWatch
from fusionscope.records.onset import onset
from fusionscope.records.tensorboard import layer_tag, tag

Records = Callable[..., list[Record]]


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


@pytest.fixture(scope="module")
def records(make_run: Records) -> list[Record]:
    return [r for r in make_run() if r.task in ("sandbox/synergy", "sandbox/redundant")]


def test_event_files_are_rebuilt_with_all_values_and_few_tags(
    records: list[Record], tmp_path: Path, make_staged_run: Callable[..., Run]
) -> None:
    folder = rebuild(records, tmp_path, make_staged_run(tmp_path))
    events = read(folder)
    tags = events.Tags()
    assert sum(len(tags[kind]) for kind in ("scalars", "images", "tensors")) <= count_tags(3, 4)
    assert len(events.Scalars(layer_tag(records[0].series, "synergy", 2))) == 20
    last = [r for r in records if r.task == "sandbox/synergy" and r.layer == 4]
    shown = {event.step: event.value for event in events.Scalars(tag(last[0].series, "synergy"))}
    assert shown[last[-1].step] == pytest.approx(last[-1].synergy)
    assert set(shown) == {r.step for r in last}
    assert "pid_summary/text_summary" in tags["tensors"]
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < 1_000_000
    again = rebuild(records[: len(records) // 2], tmp_path)
    assert len(list(again.iterdir())) == 1
    assert len(read(again).Scalars(tag(last[0].series, "synergy"))) < 20


def test_runs_of_a_sweep_are_runs_of_tensorboard(records: list[Record], make_run: Records, tmp_path: Path) -> None:
    other = [r for r in make_run(run="other") if r.task == "sandbox/synergy" and r.layer == 4]
    mine = [r for r in records if r.task == "sandbox/synergy" and r.layer == 4]
    folder = rebuild([*mine, *other], tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["demo", "other"]


def test_an_onset_is_told_once_and_when_it_moves(records: list[Record]) -> None:
    own = [r for r in records if r.task == "sandbox/synergy"]
    steps = list(dict.fromkeys((r.stage, r.stage_step, r.step) for r in own))
    watch, news = OnsetWatch(), []
    for stage, stage_step, step in steps:
        fresh = [r for r in own if (r.stage, r.stage_step) == (stage, stage_step)]
        news += [(step, text) for text in watch.update(fresh).values()]
    assert 1 <= len(news) <= 3
    assert all(step > 100 for step, _ in news)
    assert "onset of synergy on sandbox/synergy (crossed): step 1" in news[-1][1]
    assert str(watch).startswith("S on sandbox/synergy since 1")


def test_an_onset_that_does_not_last_is_taken_back(make_curve: Records) -> None:
    records = make_curve([0.0] * 8 + [1.0] * 6 + [0.0] * 8)
    watch, news = OnsetWatch(), []
    for record in records:
        news += watch.update([record]).values()
    assert [text.split(" on ")[0] for text in news] == ["onset of synergy", "no onset of synergy"]
    assert str(watch) == ""


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_noise_that_is_looked_at_again_and_again_has_no_onset(correlation: float, make_curve: Records) -> None:
    generator, alarms = np.random.default_rng(0), 0
    for _ in range(20):
        watch, noise = OnsetWatch(), generator.normal(0, 0.1, 60)
        for i in range(1, 60):
            noise[i] = correlation * noise[i - 1] + (1 - correlation**2) ** 0.5 * noise[i]
        alarms += any(watch.update([record]) for record in make_curve(noise, error=0.1))
    assert alarms <= 1  # 5 % of the runs at most


def test_looks_are_few_and_spend_no_more_than_the_rate(make_curve: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(live, "onset", lambda records, **settings: looked.append(len(records)) or onset(records[:1]))
    watch = OnsetWatch()
    for record in make_curve([0.0] * 1000):
        watch.update([record])
    assert looked[:6] == [8, 9, 10, 11, 12, 13]
    assert len(looked) < 60
    assert all(later >= min(earlier + 1, int(1.1 * earlier)) for earlier, later in pairwise(looked))
    assert sum(live.spent(look) for look in range(1, 5000)) <= 1


def test_a_resumed_watch_repeats_nothing(records: list[Record]) -> None:
    own = [r for r in records if r.task == "sandbox/synergy" and r.layer == 4]
    watch = OnsetWatch()
    watch.seed(own[:-1])
    assert watch.seeded
    assert watch.update(own[-1:]) == {}


def test_a_run_without_learning_has_no_news(make_run: Records) -> None:
    own = [r for r in make_run(learns=False, seed=3) if r.layer == 4 and r.task == "sandbox/synergy"]
    watch = OnsetWatch()
    assert [watch.update([record]) for record in own] == [{}] * len(own)
