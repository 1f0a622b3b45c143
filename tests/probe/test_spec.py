"""What a measurement is: checked before any pass, told apart by everything that may change a number."""

import dataclasses
import json

import pytest

from fusionscope.errors import ConfigError, InputError, UnknownNameError
from fusionscope.lvlm import LVLM
from fusionscope.probe import Execution, ProbeSpec, get_design, probe


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"scoring": "sequnce"}, "scoring 'sequnce'"),
        ({"design": "crosed"}, "design 'crosed'"),
        ({"design": "masked", "design_options": {"mask": "fog"}}, "mask 'fog'"),
        ({"estimator": "exakt"}, "estimator 'exakt'"),
    ],
)
def test_names_are_checked(settings, name):
    with pytest.raises(UnknownNameError, match=name):
        ProbeSpec(**settings)
    with pytest.raises(UnknownNameError, match="padding_side 'Right'"):
        Execution(padding_side="Right")


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"design": "learned", "design_options": {"folds": 1}}, "folds=1"),  # it saw everything: no information at all
        ({"design": "masked", "design_options": {"draws": 0}}, "draws=0"),
        ({"design": "masked", "design_options": {"noise_scale": float("nan")}}, "noise_scale=nan"),
        ({"max_pairs": 0}, "max_pairs=0"),
        ({"max_pairs": True}, "max_pairs=True"),
        ({"max_bad_images": -1}, "max_bad_images=-1"),
        ({"fallback": 30}, "fallback=30"),
        ({"seed": 1.5}, r"seed=1\.5"),
        ({"layers": "first"}, "layers='first'"),
        ({"layers": []}, r"layers=\[\]"),
        ({"laws": []}, r"laws=\[\]"),
        ({"standard_errors": "no"}, "standard_errors='no'"),
    ],
)
def test_values_are_checked(settings, value):
    with pytest.raises(InputError, match=value):
        ProbeSpec(**settings)
    with pytest.raises(InputError, match="batch_size=0"):
        Execution(batch_size=0)


def test_options_belong_to_a_design_that_is_named():
    with pytest.raises(ConfigError, match="without a design"):
        ProbeSpec(design_options={"draws": 2})
    with pytest.raises(ConfigError, match=r"design 'learned'[\s\S]*it takes folds"):
        ProbeSpec(design="learned", design_options={"draws": 2})
    with pytest.raises(ConfigError, match="estimator 'exact'"):
        ProbeSpec(estimator_options={"seeds": 2})


@pytest.mark.parametrize(("estimator", "design"), [("exakt", "crossed"), ("faithful", "crossed"), ("exakt", "learned")])
def test_an_estimator_is_checked_before_any_pass(llava, make_task, monkeypatch, estimator, design):
    monkeypatch.setattr(LVLM, "encode_images", lambda *_: pytest.fail("a pass was run"))
    with pytest.raises((UnknownNameError, ConfigError), match=f"estimator '{estimator}'"):
        probe(llava, make_task(), ProbeSpec(estimator=estimator, design=design))


def test_a_law_that_a_task_does_not_have_is_refused(llava, make_task, monkeypatch):
    monkeypatch.setattr(LVLM, "encode_images", lambda *_: pytest.fail("a pass was run"))
    with pytest.raises(UnknownNameError, match=r"law 'benchmark'[\s\S]*uniform"):
        probe(llava, make_task(), ProbeSpec(laws="benchmark"))
    with pytest.raises(UnknownNameError, match=r"law 'uniform'[\s\S]*natural"):
        probe(llava, make_task(), ProbeSpec(design="learned", laws="uniform"))


MEASUREMENTS = [
    ({}, "crossed", "uniform"),
    ({}, "crossed", "natural"),
    ({"fallback": 0.3}, "crossed", "uniform"),
    ({"scoring": "sequence"}, "crossed", "uniform"),
    ({"seed": 1}, "crossed", "uniform"),
    ({"standard_errors": False}, "crossed", "uniform"),
    ({"max_pairs": 5}, "crossed", "uniform"),
    *(({"design_options": {"mask": mask}}, "masked", "natural") for mask in ("noise", "mean", "remove", "other")),
    ({"design_options": {"draws": 2}}, "masked", "natural"),
    ({"design_options": {"noise_scale": 2.0}}, "masked", "natural"),
    ({"design_options": {"keep_options": True}}, "masked", "natural"),
    ({"estimator": "faithful"}, "masked", "natural"),
    ({"estimator_options": {"max_tilt": 0.2}}, "masked", "natural"),
    ({}, "learned", "natural"),
    ({"design_options": {"folds": 3}}, "learned", "natural"),
]


def test_measurements_that_could_differ_share_neither_variant_nor_fingerprint():
    variants, fingerprints = [], []
    for settings, design, law in MEASUREMENTS:
        spec = ProbeSpec(design=design, **settings)
        made = get_design(design, spec.design_options)
        for lens in ("logit", "tuned-0a1b2c3d"):
            variants.append(spec.variant(made, law, lens))
            fingerprints.append(spec.fingerprint(made, law, lens))
    assert len(set(variants)) == len(set(fingerprints)) == 2 * len(MEASUREMENTS)
    assert all(set(variant) <= set("abcdefghijklmnopqrstuvwxyzTF0123456789+:,=._-") for variant in variants)


def test_what_changes_no_number_changes_no_fingerprint():
    design = get_design("crossed")
    spec = ProbeSpec(design="crossed")
    for same in ({"layers": "last"}, {"max_bad_images": 3}, {"laws": "uniform"}):
        other = dataclasses.replace(spec, **same)
        assert other.fingerprint(design, "uniform") == spec.fingerprint(design, "uniform")
    by_default = ProbeSpec()
    assert by_default.fingerprint(design, "uniform") == spec.fingerprint(design, "uniform")


@pytest.mark.parametrize(
    "spec",
    [
        ProbeSpec(),
        ProbeSpec(design="masked", design_options={"mask": "mean", "draws": 6}, layers=(0, -1), laws=("natural",)),
        ProbeSpec(fallback=0.3, max_pairs=10, seed=2, estimator_options={"max_tilt": 0.2}),
    ],
)
def test_a_specification_survives_json(spec):
    assert ProbeSpec(**json.loads(json.dumps(spec.changes()))) == spec
