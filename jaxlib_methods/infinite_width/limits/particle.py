"""Networks of infinite width that learn features, any activation: M particles a layer stand for infinitely many units.

    h^1 = U xi,  x^l = phi(h^l),  h^(l+1) = W^(l+1) x^l,  f = E[v x^L],        dx^L = v chi,  dh^l = phi'(h^l) dx^l,
    dx^(l-1) = W^l^T dh^l,    v -= eta chi x^L,   W^l x -= eta dh^l E[x_s^(l-1) x],   U -= eta dh^1 xi^T,

with chi = dLoss/df, summed over the batch, U and v ~ N(0, 1), and f = 0 at the start. With X the vectors that a matrix
W has met, Y those that its transpose has, G and G' the Gaussian parts of what they became, the first W maps

    x to  G C^-1 c + sqrt(E x^2 - c^T C^-1 c) eps + Y theta,      C = E[X X^T],  c = E[X x],
                                            theta = E[Y Y^T]^-1 E[G' x],

by conditioning, and by Stein's identity for theta = E[dx / dG']; the transpose by the mirror of it. Means are over the
particles of a layer; particles of different layers have nothing to do with each other. With one hidden layer this is
the mean-field network of width M.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, section 7; the estimator of theta is derived.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Int, Key, Shaped

from jaxlib_methods.infinite_width.limits.capacity import require_capacity
from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = [
    "ParticleLimit",
    "ParticleMatrix",
    "particle_limit_apply",
    "particle_limit_init",
    "particle_limit_step",
    "particle_limit_train",
]

JITTER = 1e-10


class ParticleMatrix(NamedTuple):
    """What one hidden matrix and its transpose have met; rows are samples in order, zeros where there is none yet.

    Attributes:
      inputs: X, in the layer before.
      images: G, in the layer after.
      cotangents: Y, in the layer after.
      pulled: G', in the layer before.
      input_gram: E[X X^T].
      cotangent_gram: E[Y Y^T].
      rates: eta of the samples that training has added to the matrix.
    """

    inputs: Float[Array, "K M"]
    images: Float[Array, "K M"]
    cotangents: Float[Array, "K M"]
    pulled: Float[Array, "K M"]
    input_gram: Float[Array, "K K"]
    cotangent_gram: Float[Array, "K K"]
    rates: Float[Array, " K"]


class ParticleLimit(NamedTuple):
    """Particles of every layer, what the hidden matrices have met, and how many samples that were."""

    first: Float[Array, "d M"]
    hidden: tuple[ParticleMatrix, ...]
    readout: Float[Array, "k M"]
    samples: Int[Array, ""]
    key: Key[Array, ""]


def particle_limit_init(
    key: Key[Array, ""],
    *,
    particles: int,
    inputs: int,
    outputs: int,
    depth: int,
    capacity: int,
    dtype: str = "float32",
) -> ParticleLimit:
    """Draws the particles of the first layer and of the readout.

    Args:
      key: typed PRNG key, also of all later draws.
      particles: M.
      inputs: d.
      outputs: k.
      depth: L, hidden layers.
      capacity: samples of all steps together; without effect at depth 1.
      dtype: of the particles.

    Raises:
      ValueError: if a size is below 1.

    Memory: 4 (L - 1) capacity M.

    >>> state = particle_limit_init(jax.random.key(0), particles=16, inputs=2, outputs=1, depth=2, capacity=5)
    >>> state.hidden[0].images.shape
    (5, 16)
    """
    for name, size in (("particles", particles), ("inputs", inputs), ("outputs", outputs)):
        require_size(name, size)
    for name, size in (("depth", depth), ("capacity", capacity)):
        require_size(name, size)
    first, readout, later = jax.random.split(key, 3)
    buffer, gram = jnp.zeros((capacity, particles), dtype), jnp.zeros((capacity, capacity), dtype)
    return ParticleLimit(
        jax.random.normal(first, (inputs, particles), dtype),
        tuple(ParticleMatrix(buffer, buffer, buffer, buffer, gram, gram, gram[0]) for _ in range(depth - 1)),
        jax.random.normal(readout, (outputs, particles), dtype),
        jnp.zeros((), jnp.int32),
        later,
    )


def particle_limit_apply(
    state: ParticleLimit,
    x: Float[Array, "b d"],
    *,
    activation: Callable[[Array], Array],
    mesh: Mesh | None = None,
    axis: str = "data",
) -> Float[Array, "b k"]:
    """The output of the network on any inputs, with an error of order M^-1/2; the state stays as it is.

    Each row is what a step on that row alone would report: rows do not meet one another, and the noise of what is new
    in them is the same for all, so that f is a function of x.

    Args:
      state: particles, at the start or trained.
      x: inputs.
      activation: phi, entry by entry.
      mesh: devices, as in `particle_limit_step`.
      axis: mesh axis of the particles, which must divide their number.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if rows are not as wide as the first layer, steps are known to have exceeded the capacity, or the mesh
        axis is unknown or does not divide the particles.

    Cost: O(L K (b M + K^2)) for a capacity of K samples. Memory: O(b M); rows may come in blocks.

    >>> state = particle_limit_init(jax.random.key(0), particles=16, inputs=2, outputs=1, depth=2, capacity=5)
    >>> particle_limit_apply(state, jnp.ones((1, 2)), activation=jnp.tanh).tolist()
    [[0.0]]
    """
    require_array("x", x, (None, state.first.shape[0]))
    _require_room(state, 0)

    def apply(state, noise, x, mean):
        h = jax.vmap(lambda xi: _forward(state.first, state.hidden, xi, noise, activation, mean)[0][-1])(x)
        return _outputs(state, activation(h), mean)

    return _over_particles(apply, state, _noise(state, 1)[0, 0], x, mesh, axis, returns_state=False)


def particle_limit_step(
    state: ParticleLimit,
    x: Float[Array, "b d"],
    cotangent: Callable[[Float[Array, "b k"]], Float[Array, "b k"]],
    eta: Float[ArrayLike, ""],
    *,
    activation: Callable[[Array], Array],
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[ParticleLimit, Float[Array, "b k"]]:
    """One step of SGD on a batch, and the outputs before it, with an error of order M^-1/2.

    Matrices of the samples are solved in double precision where x64 is on; float32 loses directions below 1e-3.

    Args:
      state: particles.
      x: inputs.
      cotangent: chi = dLoss/df from the outputs of the batch; f - y for the sum of squares / 2.
      eta: learning rate.
      activation: phi, entry by entry.
      mesh: devices; particles are split over `axis`, and only matrices of samples by samples cross devices.
      axis: mesh axis of the particles, which must divide their number.

    Returns:
      The next state, and f.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if rows are not as wide as the first layer, chi has not the shape of f, the mesh axis is unknown or
        does not divide the particles, or the capacity is known to be exceeded. Where that is not known, under `jit`,
        the state turns NaN instead.

    Cost: O(L b K (M + K^2)) for a capacity of K samples.

    >>> state = particle_limit_init(jax.random.key(0), particles=16, inputs=2, outputs=1, depth=2, capacity=5)
    >>> particle_limit_step(state, jnp.ones((1, 2)), lambda f: f - 1, 0.1, activation=jnp.tanh)[1].tolist()
    [[0.0]]
    """
    require_array("x", x, (None, state.first.shape[0]))
    _require_room(state, len(x))
    step = partial(_step, cotangent=cotangent, activation=activation)
    data = x, jnp.asarray(eta, x.dtype)
    new, f = _over_particles(step, state, _noise(state, len(x)), data, mesh, axis, returns_state=True)
    return new._replace(key=jax.random.split(state.key)[0]), f


def particle_limit_train(
    state: ParticleLimit,
    x: Float[Array, "t b d"],
    y: Shaped[Array, "t b ..."],
    cotangent: Callable[[Float[Array, "b k"], Shaped[Array, "b ..."]], Float[Array, "b k"]],
    eta: Float[ArrayLike, ""],
    *,
    activation: Callable[[Array], Array],
    mesh: Mesh | None = None,
    axis: str = "data",
) -> tuple[ParticleLimit, Float[Array, "t b k"]]:
    """Steps of SGD, one a batch, and the outputs before each; too small a capacity is refused beforehand.

    Args:
      state: particles.
      x: inputs of t steps.
      y: targets.
      cotangent: chi = dLoss/df from the outputs and targets of a batch; f - y for the sum of squares / 2.
      eta: learning rate.
      activation: phi, entry by entry.
      mesh: devices, as in `particle_limit_step`.
      axis: mesh axis of the particles, which must divide their number.

    Raises:
      TypeError: as `particle_limit_step`.
      ValueError: as `particle_limit_step`, and, under `jit` too, if the capacity is below t b at depth 2 or more.

    Cost: t steps.

    >>> state = particle_limit_init(jax.random.key(0), particles=16, inputs=2, outputs=1, depth=2, capacity=3)
    >>> x, y = jnp.ones((3, 1, 2)), jnp.ones((3, 1, 1))
    >>> particle_limit_train(state, x, y, lambda f, y: f - y, 0.1, activation=jnp.tanh)[1].shape
    (3, 1, 1)
    """
    require_array("x", x, (None, None, state.first.shape[0]))
    _require_room(state, x.shape[0] * x.shape[1])

    def step(state, batch):
        x, y = batch
        chi = lambda f: cotangent(f, y)
        return particle_limit_step(state, x, chi, eta, activation=activation, mesh=mesh, axis=axis)

    return jax.lax.scan(step, state, (x, y))


def _require_room(state: ParticleLimit, samples: int) -> None:
    """Refuses samples beyond those allotted, where it is known how many there are."""
    if state.hidden:
        for needed in (samples, state.samples + samples):
            require_capacity(len(state.hidden[0].rates), needed)


def _noise(state: ParticleLimit, samples: int) -> Array:
    """For products with the matrices and with their transposes, each sample, matrix and particle."""
    draw = jax.random.split(state.key)[1]
    return jax.random.normal(draw, (2, samples, len(state.hidden), state.first.shape[1]), state.first.dtype)


def _over_particles(function, state, noise, data, mesh, axis, *, returns_state):
    """`function(state, noise, data, mean)` with the particles, the last axis of the noise, split over the mesh."""
    particles = state.first.shape[1]
    state = state._replace(key=jnp.zeros(()))
    if mesh is None:
        return function(state, noise, data, partial(_mean, particles=particles, axis=None))
    require(axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
    size = mesh.shape[axis]
    require(particles % size == 0, "particles", particles, f"a multiple of the {size} devices of the axis")
    split: Any = P(None, axis)
    whole: Any = P()
    matrix = ParticleMatrix(split, split, split, split, whole, whole, whole)
    specs: Any = ParticleLimit(split, (matrix,) * len(state.hidden), split, whole, whole)
    return jax.shard_map(
        partial(function, mean=partial(_mean, particles=particles, axis=axis)),
        mesh=mesh,
        in_specs=(specs, P(*[None] * (noise.ndim - 1), axis), whole),
        out_specs=(specs, whole) if returns_state else whole,
    )(state, noise, data)


def _mean(a, b, *, particles, axis):
    """E[a b^T] over the particles of all devices."""
    total = jnp.einsum("...m,...m->...", a, b, precision="highest")
    return (total if axis is None else jax.lax.psum(total, axis)) / particles


def _forward(first, hidden, xi, noise, activation, mean):
    """h of every layer for one sample; and of every matrix its input, the Gaussian part of the image, and E[X x]."""
    h, products = [jnp.einsum("d,dm->m", xi, first, precision="highest")], []
    for matrix, eps in zip(hidden, noise, strict=True):
        value = activation(h[-1])
        g, c, theta = _product(
            matrix.inputs,
            matrix.images,
            matrix.input_gram,
            matrix.cotangent_gram,
            matrix.pulled,
            value,
            eps,
            mean,
        )
        h.append(g + jnp.einsum("k,km->m", theta - matrix.rates * c, matrix.cotangents, precision="highest"))
        products.append((value, g, c))
    return tuple(h), products


def _outputs(state, last, mean):
    """f from the activations of the last layer, and 0 before the first step."""
    return mean(last[:, None], state.readout[None]) * (state.samples > 0)


def _step(state, noise, data, mean, *, cotangent, activation):
    x, eta = data

    def forward(carry, sample):
        hidden, k = carry
        xi, eps = sample
        h, products = _forward(state.first, hidden, xi, eps, activation, mean)
        new = tuple(
            matrix._replace(
                inputs=_write(matrix.inputs, value, k),
                images=_write(matrix.images, g, k),
                input_gram=_write_gram(matrix.input_gram, c, mean(value, value), k),
            )
            for matrix, (value, g, c) in zip(hidden, products, strict=True)
        )
        return (new, k + 1), h

    # theta of the forward pass needs E[G' x], that of the backward pass E[G y]; updates need E[X x] and E[Y y].
    (hidden, count), h = jax.lax.scan(forward, (state.hidden, state.samples), (x, noise[0]))
    last = activation(h[-1])
    f = _outputs(state, last, mean)
    chi = cotangent(f)
    require(chi.shape == f.shape, "cotangent(f)", f"shape {chi.shape}", f"of shape {f.shape}, as f")

    def backward(carry, sample):
        hidden, k = carry
        chi, h, eps = sample
        hidden = [*hidden]
        pull = lambda l, dx: jax.vjp(activation, h[l])[1](dx)[0]
        dh = [pull(-1, jnp.einsum("k,km->m", chi, state.readout, precision="highest"))]
        for l in reversed(range(len(hidden))):
            matrix, value = hidden[l], dh[0]
            g, c, theta = _product(
                matrix.cotangents,
                matrix.pulled,
                matrix.cotangent_gram,
                matrix.input_gram,
                matrix.images,
                value,
                eps[l],
                mean,
            )
            dx = g + jnp.einsum("k,km->m", theta - matrix.rates * c, matrix.inputs, precision="highest")
            hidden[l] = matrix._replace(
                cotangents=_write(matrix.cotangents, value, k),
                pulled=_write(matrix.pulled, g, k),
                cotangent_gram=_write_gram(matrix.cotangent_gram, c, mean(value, value), k),
            )
            dh.insert(0, pull(l, dx))
        return (tuple(hidden), k + 1), tuple(dh)

    (hidden, _), dh = jax.lax.scan(backward, (hidden, state.samples), (chi, h, noise[1]))
    if hidden:
        capacity = hidden[0].rates.shape[0]
        eta = jnp.where(count <= capacity, eta, jnp.nan)
        at = jnp.arange(capacity)
        met = (at >= state.samples) & (at < count)
        hidden = tuple(matrix._replace(rates=jnp.where(met, eta, matrix.rates)) for matrix in hidden)
    return (
        ParticleLimit(
            state.first - eta * jnp.einsum("bd,bm->dm", x, dh[0], precision="highest"),
            hidden,
            state.readout - eta * jnp.einsum("bk,bm->km", chi, last, precision="highest"),
            count,
            state.key,
        ),
        f,
    )


def _product(met, images, gram, other_gram, pulled, value, noise, mean):
    """Gaussian part of the image of `value`, its moments with the vectors met, and theta."""
    c, v = mean(met, value[None]), mean(value, value)
    weights = _solve(gram, c)
    rest = v - jnp.vdot(c, weights, precision="highest")
    new = jnp.where(rest > 0, jnp.sqrt(jnp.where(rest > 0, rest, 1)), 0)
    g = jnp.einsum("k,km->m", weights, images, precision="highest") + new * noise
    return g, c, _solve(other_gram, mean(pulled, value[None]))


def _solve(gram, c):
    """gram^-1 c, where samples not met yet have zeros; scaled to unit diagonal, with a small ridge."""
    g, wide = gram.astype(jnp.result_type(float)), c.astype(jnp.result_type(float))
    diagonal = jnp.diagonal(g)
    met = diagonal > 0
    scale = jnp.where(met, jnp.sqrt(jnp.where(met, diagonal, 1)), 1)
    ridge = max(JITTER, 8 * float(jnp.finfo(c.dtype).eps))
    scaled = g / scale[:, None] / scale[None] + jnp.diag(jnp.where(met, ridge, 1))
    return (jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(scaled), True), wide / scale) / scale).astype(c.dtype)


def _write(rows, row, k):
    return rows.at[k].set(row, mode="drop")


def _write_gram(gram, c, v, k):
    return gram.at[k].set(c, mode="drop").at[:, k].set(c, mode="drop").at[k, k].set(v, mode="drop")
