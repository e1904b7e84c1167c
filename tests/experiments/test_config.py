"""Overrides are read by type; what is wrong is said in one line with the nearest valid name."""

from dataclasses import asdict, dataclass
from typing import Literal

import pytest
from hypothesis import given, strategies as st

from experiments.harness.config import UsageError, choose, from_json, override
from experiments.harness.json_values import to_json


@dataclass(frozen=True)
class Training:
    steps: int = 10
    rates: tuple[float, ...] = (0.1, 0.01)


@dataclass(frozen=True)
class Config:
    dataset: str = "digits"
    points: int = 64
    scale: float = 1.0
    loud: bool = False
    name: str | None = None
    limit: float | None = None
    solver: Literal["heun", "euler"] = "heun"
    order: Literal[1, 2, 3] = 1
    shape: tuple[int, int] = (2, 3)
    training: Training = Training()
    second: Training | None = Training()

    def __post_init__(self):
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("points", "128", 128),
        ("points", "1_000", 1000),
        ("scale", "-1e-3", -1e-3),
        ("loud", "true", True),
        ("loud", "NO", False),
        ("name", "none", None),
        ("name", "x y", "x y"),
        ("limit", "2", 2.0),
        ("solver", "euler", "euler"),
        ("order", "3", 3),
        ("shape", "(4, 5)", (4, 5)),
        ("dataset", "cifar10", "cifar10"),
        ("training.steps", "20", 20),
        ("second.steps", "20", 20),
        ("second", "none", None),
        ("training.rates", "", ()),
        ("training.rates", "1,2,3", (1.0, 2.0, 3.0)),
    ],
)
def test_values_are_read_by_the_type_of_their_field(field, text, value):
    config = override(Config(), {field: text})
    for part in field.split("."):
        config = getattr(config, part)
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("pionts", "1", "unknown field '--config.pionts'; did you mean '--config.points'?"),
        ("training.step", "1", "unknown field '--config.training.step'; did you mean '--config.training.steps'?"),
        ("training", "1", "--config.training holds the fields steps, rates"),
        ("second", "1", "--config.second holds the fields steps, rates"),
        ("points.more", "1", "--config.points has no fields"),
        ("points", "1.5", "--config.points must be of type int, got '1.5'"),
        ("scale", "much", "--config.scale must be of type float, got 'much'"),
        ("loud", "maybe", "--config.loud must be of type bool, got 'maybe'"),
        ("limit", "low", "--config.limit must be of type float, got 'low'"),
        ("solver", "heum", "unknown value of --config.solver 'heum'; did you mean 'heun'?"),
        ("order", "4", "unknown value of --config.order '4'"),
        ("shape", "1,2,3", "--config.shape must have 2 values separated by commas, got '1,2,3'"),
        ("training.rates", "1,x", "--config.training.rates must be of type float, got 'x'"),
        ("dataset", "cifar", "unknown data set 'cifar'; did you mean 'cifar10'?"),
        ("points", "0", "points must be at least 1, got 0"),
    ],
)
def test_wrong_overrides_are_explained(field, text, message):
    with pytest.raises(UsageError) as caught:
        override(Config(), {field: text})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_original_is_left_alone():
    config = Config()
    assert override(config, {"training.steps": "3", "points": "5"}) == Config(points=5, training=Training(steps=3))
    assert config == Config()


@given(
    points=st.integers(1, 10**9),
    scale=st.floats(),
    limit=st.none() | st.floats(allow_nan=False),
    rates=st.lists(st.floats(allow_nan=False)),
)
def test_a_config_survives_json(points, scale, limit, rates):
    config = Config(points=points, scale=scale, limit=limit, training=Training(rates=tuple(rates)))
    again = from_json(Config, to_json(asdict(config)))
    assert repr(again) == repr(config)


def test_a_stored_config_of_another_shape_is_refused():
    stored = to_json(asdict(Config())) | {"colour": 1}
    with pytest.raises(UsageError, match="they differ in colour"):
        from_json(Config, stored)


def test_choose_returns_known_names_and_suggests_for_unknown_ones():
    assert choose("fruit", "apple", ["apple", "pear"]) == "apple"
    with pytest.raises(UsageError, match="unknown fruit 'aple'; did you mean 'apple'"):
        choose("fruit", "aple", ["apple", "pear"])
    with pytest.raises(UsageError, match=r"^unknown fruit 'aple'$"):
        choose("fruit", "aple", [])
