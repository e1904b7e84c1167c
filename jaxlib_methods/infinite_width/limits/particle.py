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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float, Int, Key

from jaxlib_methods.numerics.checks import require, require_array, require_size

__all__ = ["ParticleLimit", "ParticleMatrix", "particle_limit_init", "particle_limit_step"]

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
      The next state, and f. Where the capacity is exceeded, the state turns NaN.

    Raises:
      TypeError: if `x` is not floating.
      ValueError: if rows are not as wide as the first layer, chi has not the shape of f, or the mesh axis is unknown or
        does not divide the particles.

    Cost: O(L b K (M + K^2)) for a capacity of K samples.

    >>> state = particle_limit_init(jax.random.key(0), particles=16, inputs=2, outputs=1, depth=2, capacity=5)
    >>> particle_limit_step(state, jnp.ones((1, 2)), lambda f: f - 1, 0.1, activation=jnp.tanh)[1].tolist()
    [[0.0]]
    """
    d, particles = state.first.shape
    require_array("x", x, (None, d))
    key, draw = jax.random.split(state.key)
    shape = (2, x.shape[0], len(state.hidden), particles)
    noise = jax.random.normal(draw, shape, state.first.dtype)
    eta = jnp.asarray(eta, x.dtype)
    inner = state._replace(key=jnp.zeros(()))
    if mesh is None:
        new, f = _step(inner, x, eta, noise, cotangent, activation, particles, None)
    else:
        require(axis in mesh.axis_names, "axis", repr(axis), "an axis of the mesh")
        size = mesh.shape[axis]
        require(particles % size == 0, "particles", particles, f"a multiple of the {size} devices of the axis")
        split: Any = P(None, axis)
        whole: Any = P()
        matrix = ParticleMatrix(split, split, split, split, whole, whole, whole)
        specs: Any = ParticleLimit(split, (matrix,) * len(state.hidden), split, whole, whole)
        local = lambda s, x, eta, noise: _step(s, x, eta, noise, cotangent, activation, particles, axis)
        new, f = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(specs, whole, whole, P(None, None, None, axis)),
            out_specs=(specs, whole),
        )(inner, x, eta, noise)
    return new._replace(key=key), f


def _step(state, x, eta, noise, cotangent, activation, particles, axis):
    def mean(a, b):
        """E[a b^T] over the particles of all devices."""
        total = jnp.einsum("...m,...m->...", a, b, precision="highest")
        return (total if axis is None else jax.lax.psum(total, axis)) / particles

    rows = mean(state.first[0], state.first[0]) * 0  # varies over no axis

    def forward(carry, sample):
        hidden, k = carry
        xi, eps = sample
        h, new = [jnp.einsum("d,dm->m", xi, state.first, precision="highest")], []
        for l, matrix in enumerate(hidden):
            value = activation(h[-1])
            g, c, theta = _product(
                matrix.inputs,
                matrix.images,
                matrix.input_gram,
                matrix.cotangent_gram,
                matrix.pulled,
                value,
                eps[l],
                mean,
            )
            h.append(g + jnp.einsum("k,km->m", theta - matrix.rates * c, matrix.cotangents, precision="highest"))
            new.append(
                matrix._replace(
                    inputs=_write(matrix.inputs, value, k),
                    images=_write(matrix.images, g, k),
                    input_gram=_write_gram(matrix.input_gram, c, mean(value, value), k),
                )
            )
        return (tuple(new), k + 1), tuple(h)

    # theta of the forward pass needs E[G' x], that of the backward pass E[G y]; updates need E[X x] and E[Y y].
    (hidden, count), h = jax.lax.scan(forward, (state.hidden, state.samples), (x, noise[0]))
    last = activation(h[-1])
    f = mean(last[:, None], state.readout[None]) * (state.samples > 0) + rows
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
    rest = jnp.maximum(v - jnp.vdot(c, weights, precision="highest"), 0)
    g = jnp.einsum("k,km->m", weights, images, precision="highest") + jnp.sqrt(rest) * noise
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
