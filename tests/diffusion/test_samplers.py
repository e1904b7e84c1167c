"""What a sampler's program does: evaluations, memory, tracing, precision, devices; and bad input by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion.sampler_problems import SAMPLERS, every_family, every_sampler, gaussian, mixture_denoise, start
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods.diffusion.dpm_solver import dpm_solver_plan
from jaxlib_methods.diffusion.heun import Churn, heun_plan
from jaxlib_methods.diffusion.noise import edm_sigmas
from jaxlib_methods.diffusion.plan import SamplerPlan, sample
from jaxlib_methods.diffusion.unipc import unipc_plan


@every_sampler
def test_evaluations_are_counted(make):
    heun = make is heun_plan
    assert make(edm_sigmas(18)).evaluations == (35 if heun else 18)
    assert make(edm_sigmas(18)[:-1]).evaluations == (34 if heun else 17)


@every_family
def test_network_appears_once_in_the_program(make):
    denoise = lambda x, sigma: jnp.arctan(x) * sigma
    text = str(jax.make_jaxpr(lambda x: sample(denoise, x, make(edm_sigmas(6))))(jnp.ones((2, 4))))
    assert text.count(" atan ") == 1
    assert text.count("scan[") == 1


MEMORIES = {"heun": 1, "dpm++1": 0, "dpm++2m": 1, "dpm++3m": 2, "unipc3-bh2": 3}


@pytest.mark.parametrize(("name", "memories"), MEMORIES.items())
def test_an_evaluation_copies_no_array_and_the_ring_is_all_that_is_kept(name, memories):
    x, weights = jnp.ones((64, 96)), jnp.ones((96, 96))
    plan = SAMPLERS[name](edm_sigmas(6))
    program = jax.jit(lambda x: sample(lambda y, sigma: jnp.tanh(y @ weights), x, plan)).lower(x).compile()
    (body,) = re.findall(r"body=(%[\w.]+)", program.as_text())
    (text,) = re.findall(rf"^{re.escape(body)} .*?^}}", program.as_text(), re.MULTILINE | re.DOTALL)
    assert not re.findall(r"f32\[(?:\d+,)?64,96\]\S* copy\(", text)
    ring = memories + 1 if memories else 0
    network = 2  # its matrix product, and that after tanh
    assert program.memory_analysis().temp_size_in_bytes <= (ring + network) * x.nbytes + 2**14


@every_family
def test_another_grid_of_equal_length_is_not_traced_again(make):
    traces = []

    def denoise(x, sigma):
        traces.append(x.shape)
        return x / (1 + sigma**2)

    run = jax.jit(sample, static_argnums=0)
    for grid in (edm_sigmas(6), edm_sigmas(6, rho=3.0), np.linspace(5.0, 0.0, 7)):
        run(denoise, jnp.ones((2, 4)), make(grid))
    once = len(traces)
    run(denoise, jnp.ones((2, 4)), make(edm_sigmas(7)))
    assert len(traces) == 2 * once


@every_family
def test_float32_stays_float32_and_follows_float64(make):
    single = jax.jit(sample, static_argnums=0)(mixture_denoise, start(), make(edm_sigmas(12)))
    assert single.dtype == jnp.float32
    x = np.asarray(start(), np.float64)
    with jax.enable_x64(True):
        double = sample(mixture_denoise, jnp.asarray(x), make(edm_sigmas(12)))
    np.testing.assert_allclose(single, double, atol=2e-4)


@every_family
def test_trajectory_holds_the_evaluated_points_and_the_result(x64, make):
    visited = []
    plan = make(edm_sigmas(5))

    def denoise(x, sigma):
        jax.debug.callback(lambda x: visited.append(x), x, ordered=True)
        return mixture_denoise(x, sigma)

    result, points = sample(denoise, start(), plan, trajectory=True)
    jax.effects_barrier()
    np.testing.assert_array_equal(points[:-1], np.array(visited))
    np.testing.assert_array_equal(points[-1], result)
    assert len(points) == plan.evaluations + 1


@every_family
def test_vmap_over_starts_equals_a_larger_batch(x64, make):
    plan = make(edm_sigmas(6))
    batched = jax.vmap(lambda x: sample(mixture_denoise, x, plan))(start().reshape(4, 4, 4))
    np.testing.assert_allclose(batched.reshape(16, 4), sample(mixture_denoise, start(), plan), rtol=1e-13, atol=1e-13)


@every_family
def test_gradient_equals_finite_differences(x64, make):
    plan, x, direction = make(edm_sigmas(6)), start(2, scale=1.0), jnp.linspace(-1, 1, 8).reshape(2, 4)
    loss = lambda x: jnp.sum(sample(mixture_denoise, x, plan) ** 3)
    numeric = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(x), direction), numeric, rtol=1e-6)


@pytest.mark.parametrize("name", ["heun", "dpm++3m", "unipc3-bh2", "churn"])
def test_eight_devices_equal_one_and_nothing_is_gathered(mesh8, name):
    churned = heun_plan(edm_sigmas(6), churn=Churn(10.0))
    plan = churned if name == "churn" else SAMPLERS[name](edm_sigmas(6))
    run = jax.jit(lambda x: sample(mixture_denoise, x, plan, key=jax.random.key(5)))
    x = start(32)
    sharded = jax.device_put(x, NamedSharding(mesh8, P("data")))
    np.testing.assert_allclose(run(sharded), run(x), rtol=1e-5, atol=1e-5)
    assert run(sharded).sharding.is_equivalent_to(sharded.sharding, 2)
    assert "all-gather" not in run.lower(sharded).compile().as_text()


def test_images_and_scalars_are_events_too(x64):
    plan = heun_plan(edm_sigmas(5))
    x = start().reshape(2, 2, 4, 4)
    denoise = gaussian(0.1, 0.5)
    flat = sample(denoise, x.reshape(-1), plan)
    np.testing.assert_allclose(sample(denoise, x, plan).reshape(-1), flat, rtol=1e-14)


@every_sampler
@pytest.mark.parametrize(
    "sigmas",
    [[1.0, 2.0], [2.0, 2.0], [3.0, 0.0, -1.0], [3.0, np.nan, 1.0], [np.inf, 1.0], [[3.0, 1.0]], [3.0], [0.0, 0.0]],
)
def test_bad_levels_are_named(make, sigmas):
    with pytest.raises(ValueError, match="sigmas must be"):
        make(sigmas)


@every_sampler
@pytest.mark.parametrize(
    ("name", "bad"),
    [("alphas", [1.0, 1.0]), ("alphas", [1.0, 0.0, 1.0]), ("times", [1.0]), ("sigmas", [1.0, 1.0, 0.001])],
)
def test_bad_scales_and_times_are_named(make, name, bad):
    option = {"alphas" if name == "sigmas" else name: bad}
    with pytest.raises(ValueError, match=f"{name} must be"):
        make([3.0, 2.0, 1.0], **option)


@pytest.mark.parametrize("make", [dpm_solver_plan, unipc_plan])
@pytest.mark.parametrize("bad", [{"order": 0}, {"order": 4}, {"order": 2.0}, {"order": 2, "variant": "euler"}])
def test_bad_orders_and_variants_are_named(make, bad):
    with pytest.raises(ValueError, match="must be"):
        make([3.0, 1.0], **bad)


def test_bad_samples_and_denoisers_are_named():
    plan = heun_plan([3.0, 1.0])
    denoise = gaussian(0.0, 1.0)
    with pytest.raises(TypeError, match="x must have a floating dtype"):
        sample(denoise, jnp.ones((2, 3), int), plan)
    with pytest.raises(ValueError, match="x must be"):
        sample(denoise, jnp.ones(()), plan)
    with pytest.raises(ValueError, match=r"denoise\(y, t\) must be"):
        sample(lambda x, sigma: x[:1], jnp.ones((2, 3)), plan)
    per_pixel = SamplerPlan(plan.times, plan.noise, np.ones((*plan.table.shape, 5)))
    with pytest.raises(ValueError, match="x must be"):
        sample(denoise, jnp.ones((2, 3)), per_pixel)
