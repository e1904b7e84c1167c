"""Limits of deep networks, linear and not, beside stored values and networks of finite width."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, name_ticks, new_figure
from experiments.harness.claims import sheet
from jaxlib_methods.infinite_width import (
    abc_mlp,
    abc_parametrization,
    deep_linear_limit_init,
    deep_linear_limit_step,
    particle_limit_init,
    particle_limit_step,
)

LINEAR_X = np.array([(0.104775, -0.110087), (0.087417, -0.446391), (1.086667, 0.789234)])
LINEAR_Y = np.array([0.640423, 0.361595, -0.703735])
LINEAR_RATE, LINEAR_STEPS = 0.3, 8
STORED_LINEAR = {
    1: (0, 0.022402, -0.042080, 0.010032, 0.191025, -0.784681, 0.026673, 0.222352),
    2: (0, 0.033604, -0.060842, 0.014914, 0.289453, -1.151326, 0.038119, 0.189500),
}
TANH_X = np.array([(0.12573, -0.132105), (0.1049, -0.535669), (1.304, 0.947081)])
TANH_Y = np.array([1.280845, 0.72319, -1.40747])
TANH_RATE, TANH_STEPS = 0.8, 7
STORED_TANH = (0, 0.1640, -0.0728, 0.1265, 0.7659, -0.8222, 0.3896)


class DeepLimitPaths(NamedTuple):
    """Outputs before each update: of the limits, of wide networks (seed, step), and of widths (width, seed, step).

    `linear` and `linear_nets` are by depth, 1 and 2; `tanh` has a row for each key.
    """

    linear: np.ndarray
    linear_nets: np.ndarray
    tanh: np.ndarray
    tanh_nets: np.ndarray
    linear_widths: np.ndarray
    tanh_widths: np.ndarray


def deep_limits(config, context: Context, key) -> DeepLimitPaths:
    keys = jax.random.split(key, 4)
    with jax.enable_x64(True):
        linear = np.array([linear_limit(depth) for depth in STORED_LINEAR])
        run = jax.jit(functools.partial(tanh_limit, particles=config.particles, mesh=context.mesh))
        tanh = np.array([run(key) for key in context.progress(jax.random.split(keys[0], config.keys), "particles")])
    linear_nets = [linear_networks(keys[1], config.linear_width, config.linear_seeds, depth) for depth in STORED_LINEAR]
    widths = list(context.progress(config.widths, "widths"))
    return DeepLimitPaths(
        linear,
        np.array(linear_nets),
        tanh,
        tanh_networks(keys[2], config.tanh_width, config.tanh_seeds),
        np.array([linear_networks(keys[3], width, config.seeds, 2) for width in widths]),
        np.array([tanh_networks(keys[3], width, config.seeds) for width in widths]),
    )


def cycled(x, y, steps: int):
    """One sample a step, (step, 1, d) and (step, 1, 1)."""
    at = np.arange(steps) % len(x)
    dtype = jnp.result_type(float)
    return jnp.asarray(x[at][:, None], dtype), jnp.asarray(y[at][:, None, None], dtype)


def linear_limit(depth: int) -> np.ndarray:
    state = deep_linear_limit_init(inputs=2, outputs=1, depth=depth, capacity=LINEAR_STEPS, dtype="float64")

    def step(state, sample):
        x, y = sample
        return deep_linear_limit_step(state, x, lambda f: f - y, LINEAR_RATE)

    return np.asarray(
        jax.jit(lambda s, data: jax.lax.scan(step, s, data)[1])(state, cycled(LINEAR_X, LINEAR_Y, 8))
    ).ravel()


def tanh_limit(key, *, particles: int, mesh):
    """Particles in single precision, the small matrices in double."""
    state = particle_limit_init(key, particles=particles, inputs=2, outputs=1, depth=2, capacity=TANH_STEPS)
    data = jax.tree.map(lambda a: a.astype("float32"), cycled(TANH_X, TANH_Y, TANH_STEPS))

    def step(state, sample):
        x, y = sample
        return particle_limit_step(state, x, lambda f: f - y, TANH_RATE, activation=jnp.tanh, mesh=mesh)

    return jax.lax.scan(step, state, data)[1].ravel()


def linear_networks(key, width: int, seeds: int, depth: int) -> np.ndarray:
    return networks(key, width, seeds, depth, lambda h: h, LINEAR_RATE, cycled(LINEAR_X, LINEAR_Y, LINEAR_STEPS))


def tanh_networks(key, width: int, seeds: int) -> np.ndarray:
    return networks(key, width, seeds, 2, jnp.tanh, TANH_RATE, cycled(TANH_X, TANH_Y, TANH_STEPS))


def networks(key, width: int, seeds: int, depth: int, activation, rate: float, data) -> np.ndarray:
    """Outputs of muP networks before each update, (seed, step)."""
    net = abc_mlp(*abc_parametrization("mup", depth=depth), activation)

    def step(params, sample):
        x, y = sample
        f, pull = jax.vjp(lambda p: net.apply(p, x), params)
        return jax.tree.map(lambda p, g: p - rate * g, params, pull(f - y)[0]), f[0, 0]

    def network(key):
        return jax.lax.scan(step, net.init(key, width=width, inputs=2, outputs=1), data)[1]

    return np.asarray(jax.jit(lambda keys: jax.lax.map(network, keys))(jax.random.split(key, seeds)))


def deviations(result: DeepLimitPaths) -> dict[str, np.ndarray]:
    """Root mean square over seeds and steps of finite minus infinite, by width."""
    paths = {
        "deep linear": (result.linear_widths, result.linear[1]),
        "tanh": (result.tanh_widths, result.tanh.mean(0)),
    }
    return {name: np.sqrt(np.mean((nets - limit) ** 2, (1, 2))) for name, (nets, limit) in paths.items()}


def deep_limit_claims(config, result: DeepLimitPaths) -> list[Claim]:
    linear, tanh, limit = sheet("reproduction quick (b)"), sheet("reproduction quick (c)"), result.tanh.mean(0)
    return [
        linear(
            Claim.close,
            "linear-limit",
            "Exact limits of linear networks with one and two hidden layers, before each of 8 updates.",
            expected=list(STORED_LINEAR.values()),
            measured=result.linear,
            tolerance=2e-5,
        ),
        linear(
            Claim.close,
            "wide-linear",
            f"Mean of {config.linear_seeds} linear networks of width {config.linear_width} beside their limit.",
            expected=result.linear,
            measured=result.linear_nets.mean(1),
            tolerance=0.04,
        ),
        tanh(
            Claim.close,
            "tanh-limit",
            f"Limit of tanh networks with two hidden layers, by {config.particles} particles and {config.keys} keys.",
            expected=STORED_TANH,
            measured=limit,
            tolerance=0.004,
        ),
        tanh(
            Claim.close,
            "wide-tanh",
            f"Mean of {config.tanh_seeds} tanh networks of width {config.tanh_width} beside their limit.",
            expected=limit,
            measured=result.tanh_nets.mean(0),
            tolerance=0.01,
        ),
    ]


def paths_figure(config, result: DeepLimitPaths):
    figure, axes = new_figure("update", "output before the update", panels=2)
    panels = (
        (axes[0], "two hidden layers, linear", result.linear[1], result.linear_nets[1], config.linear_width),
        (axes[1], "two hidden layers, tanh", result.tanh.mean(0), result.tanh_nets, config.tanh_width),
    )
    for ax, title, limit, nets, width in panels:
        for i, path in enumerate(nets):
            ax.plot(path, color="C1", alpha=0.5, linewidth=0.8, label=f"networks, n = {width}" if i == 0 else None)
        ax.plot(limit, "o", color="C0", label="infinite width")
        ax.set_title(title)
        ax.legend(loc="lower left")
    return figure


def widths_figure(config, result: DeepLimitPaths):
    figure, axes = new_figure("width n", "deviation from infinite width, root mean square", log=True)
    widths = np.array(config.widths)
    for name, deviation in deviations(result).items():
        slope = np.polyfit(np.log(widths), np.log(deviation), 1)[0]
        axes.plot(widths, deviation, "o-", label=f"{name}: power {slope:.2f}")
    top = max(deviation[0] for deviation in deviations(result).values())
    axes.plot(widths, 1.4 * top * (widths / widths[0]) ** -0.5, "--", color="black", label=r"$n^{-1/2}$")
    name_ticks(axes, x=config.widths)
    axes.legend()
    return figure
