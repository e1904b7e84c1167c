"""A claim passes exactly when its sentence holds, and is always standard JSON."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from experiments.harness import Claim
from experiments.harness.claims import claims_table, count_reproduced, sheet, short

ABOUT = {"source": "section 1", "origin": "paper"}
FIELDS = {"id", "statement", "source", "origin", "expected", "measured", "tolerance", "status", "passed"}


def claim(kind, **options):
    return getattr(Claim, kind)("some-id", "Something holds.", **ABOUT, **options)


JUDGED = [
    ("close", {"expected": 1.0, "measured": 1.1, "tolerance": 0.1001}, True),
    ("close", {"expected": 1.0, "measured": 1.1, "tolerance": 0.0999}, False),
    ("close", {"expected": -200.0, "measured": -210.0, "relative": 0.06}, True),
    ("close", {"expected": -200.0, "measured": -210.0, "relative": 0.04}, False),
    ("close", {"expected": 3, "measured": 3}, True),
    ("close", {"expected": [1.0, 2.0], "measured": np.array([1.0, 2.1]), "tolerance": 0.2}, True),
    ("close", {"expected": [1.0, 2.0], "measured": jnp.array([1.0, 2.3]), "tolerance": 0.2}, False),
    ("close", {"expected": [1.0, 2.0], "measured": [1.05, 2.3], "tolerance": [0.1, 0.4]}, True),
    ("within_factor", {"expected": 1e-6, "measured": 1.9e-6, "factor": 2}, True),
    ("within_factor", {"expected": 1e-6, "measured": [1e-6, 0.4e-6], "factor": 2}, False),
    ("at_least", {"expected": 0.9, "measured": 0.9}, True),
    ("at_least", {"expected": 0.9, "measured": [0.95, 0.89]}, False),
    ("at_most", {"expected": 0.9, "measured": np.float32(0.5)}, True),
    ("at_most", {"expected": 0.9, "measured": 1}, False),
    ("between", {"low": 1, "high": 2, "measured": 2}, True),
    ("between", {"low": 1, "high": 2, "measured": 2.01}, False),
    ("ordering", {"expected": ["a", "b", "c"], "measured": {"c": 3, "b": 2, "a": 1}}, True),
    ("ordering", {"expected": ["a", "b"], "measured": {"a": 2, "b": 2}}, False),
    ("ordering", {"expected": ["a", "b"], "measured": {"a": 2.05, "b": 2}, "tolerance": 0.1}, True),
    ("ordering", {"expected": "increasing", "measured": [1, 2, 3]}, True),
    ("ordering", {"expected": "increasing", "measured": [1, 3, 2]}, False),
    ("ordering", {"expected": "decreasing", "measured": np.array([3.0, 2.0, 1.0])}, True),
]


@pytest.mark.parametrize(("kind", "options", "passed"), JUDGED)
def test_claims_pass_exactly_when_they_hold(kind, options, passed):
    judged = claim(kind, **options)
    assert judged.passed is passed
    assert judged.status == ("reproduced" if passed else "not reproduced")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("close", {"expected": 1.0, "tolerance": np.inf}),
        ("within_factor", {"expected": 1.0, "factor": 2}),
        ("at_least", {"expected": -np.inf}),
        ("at_most", {"expected": np.inf}),
        ("between", {"low": -np.inf, "high": np.inf}),
    ],
)
@pytest.mark.parametrize("measured", [float("nan"), np.array([1.0, np.nan]), jnp.float32("nan")])
def test_a_nan_is_never_reproduced(kind, options, measured):
    assert claim(kind, measured=measured, **options).passed is False


def test_nothing_measured_is_never_reproduced():
    assert claim("at_least", expected=0, measured=[]).passed is False
    assert claim("ordering", expected="increasing", measured=[1.0]).passed is False


def test_a_nan_is_in_no_order():
    assert claim("ordering", expected=["a", "b"], measured={"a": 1.0, "b": float("nan")}).passed is False


@pytest.mark.parametrize(("kind", "options", "passed"), JUDGED)
def test_claims_are_json_objects_of_exactly_nine_fields(kind, options, passed):
    entry = claim(kind, **options).as_dict()
    assert set(entry) == FIELDS
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry


@given(st.floats() | st.integers() | st.lists(st.floats()), st.floats())
def test_whatever_is_measured_json_stays_standard(measured, expected):
    entry = claim("close", expected=expected, measured=np.ravel(measured), tolerance=0.5).as_dict()
    json.dumps(entry, allow_nan=False)


def test_the_tolerance_is_the_allowed_deviation():
    assert claim("close", expected=-200.0, measured=0, relative=0.05, tolerance=3).tolerance == 10
    assert claim("close", expected=[1.0, 10.0], measured=[0, 0], relative=0.5).tolerance == [0.5, 5.0]
    assert claim("close", expected=[1.0, 10.0], measured=[0, 0], tolerance=0.5).tolerance == 0.5
    assert claim("within_factor", expected=1.0, measured=1.0, factor=2).tolerance == "factor 2"


def test_a_claim_that_was_not_run_gives_its_reason_and_neither_passes_nor_fails():
    entry = Claim.not_run("id", "Holds at scale.", "needs eight GPUs", expected=1.5, **ABOUT).as_dict()
    assert set(entry) == FIELDS
    assert (entry["status"], entry["passed"], entry["measured"]) == ("not run", None, "needs eight GPUs")


def test_origins_are_the_three_of_the_contract():
    with pytest.raises(ValueError, match="origin of claim 'x' must be one of"):
        Claim.at_least("x", "Holds.", source="here", origin="hearsay", expected=1, measured=1)


def test_values_without_names_need_a_direction():
    with pytest.raises(ValueError, match="must be 'increasing' or 'decreasing'"):
        claim("ordering", expected=["a"], measured=[1.0])


def test_claims_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim("at_least", expected=1, measured=0).passed = True  # pyright: ignore[reportAttributeAccessIssue]


def test_the_table_is_aligned_and_wraps_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    long = Claim.at_most("b", "word " * 40, expected=1, measured=list(range(20)), **ABOUT)
    lines = claims_table([claim("close", expected=1.0, measured=1.23456, tolerance=0.1).as_dict(), long.as_dict()])
    head, rule, first, *_ = lines.splitlines()
    assert max(map(len, lines.splitlines())) <= 100
    assert [first.index(cell) for cell in ("some-id", "1 ± 0.1", "1.235", "not reproduced", "Something")] == [
        head.index(name) for name in ("id", "expected", "measured", "status", "statement")
    ]
    assert set(rule) == {"-", " "}
    assert "(20)" in lines


def test_counting_leaves_out_what_was_not_run():
    claims = [
        claim("at_least", expected=1, measured=2),
        claim("at_least", expected=1, measured=0),
        Claim.not_run("id", "Holds.", "why", **ABOUT),
    ]
    assert count_reproduced([c.as_dict() for c in claims]) == "1/2"


def test_short_values_keep_four_digits():
    assert short([1.23456, 2]) == "1.235, 2"
    assert short({"a": 0.5, "b": None}) == "a 0.5, b -"


def test_a_place_in_the_sheet_makes_claims_and_a_text_says_why_one_was_not_run():
    claim = sheet("reproduction 1", "paper")
    checked = claim(Claim.at_most, "small", "It is small.", expected=1.0, measured=0.5)
    assert (checked.source, checked.origin, checked.status) == ("sheet, reproduction 1", "paper", "reproduced")
    absent = claim(Claim.at_most, "small", "It is small.", expected=1.0, measured="no data")
    assert (absent.status, absent.measured, absent.expected) == ("not run", "no data", 1.0)
    given = claim(Claim.not_run, "small", "It is small.", reason="no data")
    assert (given.status, given.measured, given.source) == ("not run", "no data", "sheet, reproduction 1")
