"""The whole experiment, very small, and the transformer that it trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import scalable_neural_network_kernels as experiment
from experiments.models.vit import VisionTransformer
from experiments.scalable_neural_network_kernels import harmonics, transformers
from experiments.scalable_neural_network_kernels.config import Transformer
from jaxlib_methods.nn import nnx_functional
from jaxlib_methods.random_features import ReluKernel
from jaxlib_methods.runtime import Checkpointer, DataError

SMALL = experiment.Config(
    variance_features=200,
    slope_features=(8, 16),
    slope_draws=20,
    pitfall_pairs=10,
    tanh_features=8,
    tanh_draws=2,
    harmonics=(3, 4),
    digits_features=(8,),
    digits_seeds=2,
    transformer=Transformer("digits", 4, 8, 2, 1, (1,), 4, steps=2, batch_size=8),
)


@pytest.mark.runs
def test_a_small_run_judges_every_claim_and_draws_every_figure(context, monkeypatch):
    monkeypatch.setattr(harmonics, "STATED_HARMONICS", {3: (0.7, 0.1), 4: (0.8, None)})
    with jax.numpy_rank_promotion("allow"):
        result = experiment.run(SMALL, context)
    claims = experiment.claims(SMALL, result)
    assert len(claims) == len({claim.id for claim in claims}) == 16
    assert all(claim.passed is not None for claim in claims)
    assert next(claim for claim in claims if claim.id == "bundling-double").passed
    kinds = [(trained.kind, trained.replaced) for trained in result.transformers]
    assert kinds == [("dense", 0), ("bundled", 1), ("narrow", 1), ("snnk", 1)]
    names = [name for name, _ in experiment.figures(SMALL, result)]
    assert names == ["variance", "harmonics", "digits", "transformer"]


def test_without_the_data_the_transformer_claims_are_not_run(context, monkeypatch):
    def missing(config, context):
        raise DataError("no such file")

    monkeypatch.setattr(experiment, "train_transformers", missing)
    for name in ("cosine_variance", "tanh_layer", "digits_regression", "bundling_identity"):
        monkeypatch.setattr(experiment, name, lambda *arguments: None)
    result = experiment.run(SMALL, context)
    claims = transformers.transformer_claims(SMALL, result)
    assert {claim.status for claim in claims} == {"not run"}
    assert {claim.measured for claim in claims} == {"no such file"}


def transformer(*kinds, adapter_features=None):
    blocks = tuple((kind, 16 if kind == "dense" else 4) for kind in kinds)
    model = VisionTransformer(
        size=8,
        channels=1,
        patch=4,
        width=8,
        heads=2,
        hidden=16,
        blocks=blocks,
        classes=3,
        kernel=ReluKernel(),
        adapter_features=adapter_features,
        rngs=nnx.Rngs(0),
    )
    with jax.numpy_rank_promotion("allow"):
        return jax.tree_util.Partial(nnx_functional(model)[0]), *nnx_functional(model)[1:]


IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)


def logits(apply, params, rest):
    with jax.numpy_rank_promotion("allow"):
        return jax.jit(lambda p: apply(p, rest, IMAGES)[0])(params)


def test_constants_of_a_transformer_are_no_parameters_and_come_back_from_a_checkpoint(tmp_path):
    apply, params, rest = transformer("dense", "snnk", "bundled")
    frozen = jax.tree.leaves(rest["blocks"])
    assert len(frozen) == 4  # projections of two blocks and of their biases
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert [count(params["blocks"][i]["feed_forward"]) for i in range(3)] == [2 * 8 * 16 + 24, 4 * 16 + 16 * 8 + 8, 40]
    state = {"params": params, "rest": rest}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
    with Checkpointer(tmp_path) as checkpointer:
        _, restored = checkpointer.restore(jax.tree.map(jnp.zeros_like, state))
    np.testing.assert_array_equal(logits(apply, **restored), logits(apply, params, rest))


def test_bundling_a_block_changes_no_output():
    """The same draws make both blocks."""
    apart, merged = transformer("snnk"), transformer("bundled")
    np.testing.assert_allclose(logits(*apart), logits(*merged), rtol=1e-4, atol=1e-5)


def test_new_adapters_change_no_output_of_a_transformer():
    apply, params, rest = transformer("dense", "dense", adapter_features=4)
    without, bare_params, bare_rest = transformer("dense", "dense")
    for i in range(2):
        params["blocks"][i] |= bare_params["blocks"][i]
    params |= {name: value for name, value in bare_params.items() if name != "blocks"}
    np.testing.assert_array_equal(logits(apply, params, rest), logits(without, bare_params, bare_rest))


def test_more_replaced_blocks_than_there_are_is_refused():
    with pytest.raises(ValueError, match="replaced must lie between 1 and depth=4"):
        dataclasses.replace(Transformer(), replaced=(5,))
