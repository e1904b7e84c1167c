"""The whole experiment, very small: it runs, checks every claim and draws every figure."""

import pytest

from experiments.harness.command_line import main
from experiments.harness.run_folder import runs_of

FIELDS = {
    "floor_lams": "1,2",
    "floor_units": "1000,10000",
    "floor_seeds": "2",
    "bump_lams": "1,100,200,800",
    "bump_units": "20,800",
    "bump_seeds": "2",
    "bump_points": "60",
    "frontier_lams": "50,100",
    "frontier_points": "30",
    "law_lams": "1,8,64",
    "law_units": "20",
    "law_points": "40",
    "law_seeds": "2",
    "dims": "1,2",
    "dim_lams": "0.5,1",
    "dim_units": "10",
    "dim_points": "30",
    "dim_seeds": "2",
    "image_lams": "0.1",
    "image_units": "8",
}
FIGURES = {"floor", "three_bumps", "coefficient_norm", "frequency_law", "dimensions", "images"}

pytestmark = pytest.mark.runs


def test_a_run_checks_its_claims_and_draws_its_figures(tmp_path):
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    main(["run", "bandlimited_random_features", "--runs", str(tmp_path), *fields])
    (run,) = runs_of(tmp_path, "bandlimited_random_features")
    assert run.state() == "finished"
    assert all(claim["passed"] is not None for claim in run.read("claims"))
    assert {claim["id"] for claim in run.read("claims") if claim["passed"]} >= {
        *("table-1-1", "table-3-2", "plane-values", "synthesis-closed-form", "floor-constant", "bumps-certificate")
    }
    assert {path.stem for path in (run.path / "figures").iterdir()} == FIGURES
