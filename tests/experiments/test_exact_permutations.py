"""The whole experiment, very small: every part runs, is claimed and is drawn, on a mesh too."""

import matplotlib.figure
import numpy as np

from experiments import exact_permutations as experiment
from experiments.exact_permutations.config import Ensemble, Races, Votes
from experiments.exact_permutations.growth import race

TINY = experiment.Config(
    longest=6,
    ensemble=Ensemble(width=16, members=4, steps=3, chunk=2),
    votes=Votes(k=3, repetitions=20, members=(5, 10)),
    races=Races(lengths=(3,), width=16, trials=2, inputs=8, limit=8, tolerance=0.5, chunk=4),
)

EXACT = {
    "closed-forms",
    "early-stop",
    "bound",
    "growth-nngp",
    "growth-ntk",
    "quadratic",
    "beyond-quadratic",
    "exact-sizes",
}


def test_every_part_runs_and_what_is_exact_is_reproduced(context):
    result = experiment.run(TINY, context)
    claims = {claim.id: claim for claim in experiment.claims(TINY, result)}
    assert {*EXACT, "stored-runs", "stored-error"} <= {name for name, claim in claims.items() if claim.passed}
    assert {"trained-means", "all-inputs", "one-input", "trained-ntk", "trained-standard"} <= set(claims)
    assert result.races["ntk"].shape == (1, 2, 2)
    figures = dict(experiment.figures(TINY, result))
    assert set(figures) == {"members", "votes", "early_stop"}
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values())


def test_an_ensemble_grows_on_a_mesh_as_on_one_device(context, mesh2x4):
    """Two members and four shares of the hidden units at a time."""
    whole = race(TINY.races, context, "ntk", 3, context.key)
    context.mesh = mesh2x4
    np.testing.assert_array_equal(race(TINY.races, context, "ntk", 3, context.key), whole)
