"""The whole experiment, very small: exact kernels and finite heads run, check every claim and draw every figure."""

import pytest

from experiments.harness.command_line import main
from experiments.harness.run_folder import runs_of

FIELDS = {
    "dim": "3",
    "keys": "2",
    "sizes": "16",
    "tests": "20",
    "seeds": "2",
    "subsets": "2",
    "validation": "10",
    "heads": "8",
    "ridges": "1e-6,1e-2",
    "scaling_keys": "2",
    "scaling_sizes": "16",
    "scaling_seeds": "1",
    "finite_heads": "8",
    "finite_samples": "16",
    "finite_seeds": "1",
    "monte_carlo_heads": "20000",
    "slope_heads": "16,64",
    "slope_draws": "2",
    "norm_samples": "30",
}
FIGURES = {"functions_of_keys", "functions_of_products", "keys", "heads", "kernel", "norms"}

pytestmark = pytest.mark.runs


def test_a_run_checks_its_claims_and_draws_its_figures(tmp_path):
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    main(["run", "random_feature_attention", "--runs", str(tmp_path), *fields])
    (run,) = runs_of(tmp_path, "random_feature_attention")
    assert run.state() == "finished"
    claims = {claim["id"]: claim for claim in run.read("claims")}
    waiting = {id for id, claim in claims.items() if claim["passed"] is None}
    assert waiting == {id for id in claims if id.startswith(("table-", "keys-", "biased-", "others-"))}
    assert {id for id, claim in claims.items() if claim["passed"]} >= {
        "norms-heads",
        "norms-baseline",
        "norms-all-sharp",
    }
    assert {path.stem for path in (run.path / "figures").iterdir()} == FIGURES
