"""Registers of what can be added from outside."""

from importlib.metadata import EntryPoint

import pytest

from fusionscope import plugins
from fusionscope.errors import ConfigError, UnknownNameError
from fusionscope.plugins import Register, called

GROUP = "fusionscope.things"


@pytest.fixture
def entries(monkeypatch):
    def register(*pairs):
        points = [EntryPoint(name=name, value=value, group=GROUP) for name, value in pairs]
        monkeypatch.setattr(plugins, "entry_points", lambda group: points)
        plugins.entries_of.cache_clear()

    yield register
    plugins.entries_of.cache_clear()


def test_a_name_is_looked_up_and_an_unknown_one_names_the_known(entries):
    entries(("one", "math:sqrt"), ("two", "math:floor"))
    register = Register(group=GROUP, what="thing")
    assert register.names() == ("one", "two")
    assert register.get("one")(9) == 3
    with pytest.raises(UnknownNameError, match=r"thing 'three'[\s\S]*one, two[\s\S]*fusionscope\.things"):
        register.get("three")


def test_two_packages_under_one_name_are_refused_unless_they_mean_the_same(entries):
    register = Register(group=GROUP, what="thing")
    entries(("one", "math:sqrt"), ("one", "math:sqrt"))
    assert register.get("one")(4) == 2
    entries(("one", "math:sqrt"), ("one", "math:floor"))
    with pytest.raises(ConfigError, match=r"registered in the group .* as math:sqrt and as math:floor"):
        register.get("one")


def test_options_are_checked_against_the_signature():
    def load(variant, *, path, n=None):
        return variant, path, n

    assert called("task 'a/b'", load, {"path": "p"}, "b") == ("b", "p", None)
    with pytest.raises(ConfigError, match=r"task 'a/b'[\s\S]*it takes path, n"):
        called("task 'a/b'", load, {"paths": "p"}, "b")
    with pytest.raises(ConfigError, match="missing a required argument: 'path'"):
        called("task 'a/b'", load, {}, "b")
