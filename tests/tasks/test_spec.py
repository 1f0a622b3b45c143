"""Tasks as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.tasks import TaskSpec, load_task, load_tasks, unique_names


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("pope", "pope", {}),
        ("pope/random:path=data/pope,n=300", "pope/random", {"path": "data/pope", "n": 300}),
        ("mmbench:path=hub:lmms-lab/MMBench:en", "mmbench", {"path": "hub:lmms-lab/MMBench:en"}),
        ("pope:candidates=['Yes', 'No'],path='a,b'", "pope", {"candidates": ["Yes", "No"], "path": "a,b"}),
        ("custom/x:crossable=true,ending=", "custom/x", {"crossable": True, "ending": None}),
    ],
)
def test_a_text_is_a_name_and_settings(text, name, settings):
    assert TaskSpec.parse(text) == TaskSpec(name=name, settings=settings)


def test_mappings_and_defaults():
    given = {"name": "pope", "settings": {"n": 3}}
    assert TaskSpec.parse(given, defaults={"n": 9, "seed": 1}).settings == {"n": 3, "seed": 1}
    assert TaskSpec.parse({"name": "pope", "settings": None}) == TaskSpec(name="pope")
    assert TaskSpec.parse(TaskSpec(name="pope")) == TaskSpec(name="pope")


@pytest.mark.parametrize("given", [3, None, {"settings": {}}, {"name": "a", "n": 1}, {"name": 3}, ["pope"]])
def test_anything_else_is_refused_with_its_place(given):
    with pytest.raises(ConfigError, match=r"profile\.yaml: .*(?s:.*)a task is a name"):
        TaskSpec.parse(given, where="profile.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("pope:n", "KEY=VALUE"), ("pope:n=1,n=2", "n is set twice"), ("pope:a=[1", r"a=\[1 is no YAML")],
)
def test_settings_that_cannot_be_read(text, message):
    with pytest.raises(ConfigError, match=message):
        TaskSpec.parse(text)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers() | st.booleans(), max_size=5))
def test_settings_are_read_as_they_are_written(settings):
    text = ",".join(f"{key}={str(value).lower()}" for key, value in settings.items())
    assert TaskSpec.parse(f"name:{text}").settings == settings


def test_two_tasks_of_one_name_are_refused(make_task):
    first, second = make_task(name="custom/val"), make_task(name="custom/val", n_images=2)
    with pytest.raises(ConfigError, match=r"2 tasks are named 'custom/val'(?s:.*)name"):
        unique_names([first, second])
    with pytest.raises(ConfigError, match="2 tasks are named 'sandbox/synergy'"):
        load_tasks(["sandbox/synergy", "sandbox/synergy:images=48"])
    tasks = load_tasks([first, "sandbox/synergy:images=48", "sandbox/synergy:images=48,name=small"])
    assert [task.name for task in tasks] == ["custom/val", "sandbox/synergy", "small"]


@pytest.mark.parametrize("given", ["sandbox/synergy", {"name": "sandbox/synergy"}, 3])
def test_a_list_of_tasks_is_a_list(given):
    with pytest.raises(ConfigError, match="it is a list of tasks"):
        load_tasks(given)


def test_a_name_of_ones_own_is_a_text():
    assert load_task("sandbox/vision", images=48, name="v").name == "v"
    with pytest.raises(ConfigError, match="name=3"):
        load_task("sandbox/vision", images=48, name=3)
    with pytest.raises(UnknownNameError, match="task 'sandboxes'"):
        load_task("sandboxes/vision")


def test_a_loader_that_returns_something_else_is_named(monkeypatch):
    monkeypatch.setattr("fusionscope.sandbox.tasks.load", lambda variant: "text")
    with pytest.raises(ConfigError, match=r"task 'sandbox/vision' is <class 'str'>"):
        load_task("sandbox/vision")
