"""The polynomial method: attention in time and memory linear in the length, with a certificate.

Replace e^z by P(z) = sum_(t <= g) c_t z^t with |P(z) - e^z| <= eps e^z on |z| <= R. Then, with multi-indices a,

    out[i] ~ sum_a U[i, a] prod_t A_t[a] / sum_a U[i, a] prod_t B_t[a],     U[i, a] = c_|a| (|a|! / a!) (scale q_i)^a,
    A_t[a] = sum_j k_t[j]^a v_t[j],   B_t[a] = sum_j k_t[j]^a,

with r = C(d + g, g) columns whatever the order, and |error| <= 2 eps / (1 - eps) prod_t max|v_t|. The columns grow fast
with d: the method is for d up to about 12 a head and R up to about 1, which `poly_plan` tells. In float32 rounding adds
about 1e-7 e^(2R) to eps.
Alman and Song 2024, section 4; count, normaliser and bound derived for relative errors.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from jaxlib_methods.attention.kronecker.heads import check_heads, full_masks, make_windows, over_heads
from jaxlib_methods.attention.kronecker.monomials import (
    exponential_coefficients,
    monomials,
    multinomials,
    relative_error,
)
from jaxlib_methods.attention.kronecker.running_sums import key_sums, map_running_sums
from jaxlib_methods.attention.kronecker.sharding import fetch_before, split_sequence
from jaxlib_methods.numerics.checks import require, require_choice, require_positive, require_size

__all__ = ["PolyPlan", "kron_attention_poly", "kron_logit_bound", "poly_error_bound", "poly_plan"]

LARGEST_DEGREE = 80
LARGEST_RADIUS = 16.0  # beyond it the monomials of e^z cancel to nothing in double precision

Heads = tuple[Float[Array, "..."], ...]


@jax.tree_util.register_static
@dataclass(frozen=True)
class PolyPlan:
    """A polynomial for the exponential, and what it costs.

    Attributes:
      coefficients: of z^0, ..., z^degree.
      degree: g.
      rank: columns r = C(d + g, g).
      radius: R, the logits for which the certificate holds.
      epsilon: largest relative error on [-R, R].
      dim: d.
      order: K.
      flops_poly: n r (d + e) (K - 1).
      flops_exact: 4 n^K d.
      faster: "poly" or "exact", the cheaper of the two.
    """

    coefficients: tuple[float, ...]
    degree: int
    rank: int
    radius: float
    epsilon: float
    dim: int
    order: int
    flops_poly: float
    flops_exact: float
    faster: str


def poly_plan(
    radius: float,
    dim: int,
    epsilon: float,
    order: int = 3,
    n: int = 1024,
    *,
    value_dim: int | None = None,
    basis: str = "chebyshev",
    degree: int | None = None,
    memory_limit: float = 2**30,
) -> PolyPlan:
    """Chooses the least degree that keeps the relative error below epsilon, and compares the costs.

    Args:
      radius: bound R on |logits|, from `kron_logit_bound`; at most scale d B^K for entries bounded by B.
      dim: width d of queries and keys.
      epsilon: relative error allowed, below 1, so that the normaliser stays positive.
      order: K.
      n: length for which the costs are compared.
      value_dim: width e of the values; d if None.
      basis: "chebyshev" or "taylor"; Chebyshev needs the lower degree.
      degree: a degree to use instead of the least; must be large enough for epsilon.
      memory_limit: bytes that the sums of the key axes may take in float32.

    Raises:
      ValueError: if an argument is out of range, no degree up to 80 suffices in float64, `degree` is too small
        (the message says the degree needed), or the sums do not fit (the message says how many columns and bytes).

    >>> plan = poly_plan(1.0, 4, 1e-4)
    >>> plan.degree, plan.rank, plan.faster
    (6, 210, 'poly')
    """
    require_positive("radius", radius)
    require(radius <= LARGEST_RADIUS, "radius", radius, f"at most {LARGEST_RADIUS:g}, or rounding spoils the sums")
    require_positive("epsilon", epsilon)
    require(epsilon < 1, "epsilon", epsilon, "below 1")
    require_size("dim", dim)
    require_size("order", order, 2)
    require_size("n", n)
    require_choice("basis", basis, ("chebyshev", "taylor"))
    value_dim = dim if value_dim is None else value_dim
    require_size("value_dim", value_dim)
    errors = (relative_error(exponential_coefficients(radius, g, basis), radius) for g in range(1, LARGEST_DEGREE + 1))
    needed = next((g for g, error in enumerate(errors, 1) if error <= epsilon), None)
    if needed is None:
        raise ValueError(
            f"epsilon must be reachable with degree {LARGEST_DEGREE} in float64 at radius {radius}, got {epsilon}"
        )
    if degree is not None:
        require_size("degree", degree)
        fits = relative_error(exponential_coefficients(radius, degree, basis), radius) <= epsilon
        require(fits, "degree", degree, f"at least {needed} for relative error {epsilon} on |logits| <= {radius}")
        needed = degree
    rank = math.comb(dim + needed, needed)
    size = 4 * rank * (value_dim + 1) * (order - 1)
    if size > memory_limit:
        raise ValueError(
            f"degree {needed} in {dim} dimensions gives {rank} columns, whose sums take {size} bytes; "
            f"memory_limit is {memory_limit:.0f}: use kron_attention, fewer dimensions a head or smaller logits"
        )
    coefficients = exponential_coefficients(radius, needed, basis)
    flops_poly = float(n) * rank * (dim + value_dim) * (order - 1)
    flops_exact = 4.0 * float(n) ** order * dim
    return PolyPlan(
        coefficients=tuple(map(float, coefficients)),
        degree=needed,
        rank=rank,
        radius=float(radius),
        epsilon=relative_error(coefficients, radius),
        dim=dim,
        order=order,
        flops_poly=flops_poly,
        flops_exact=flops_exact,
        faster="poly" if flops_poly < flops_exact else "exact",
    )


def kron_logit_bound(q: Float[Array, "*batch n h d"], ks: Heads, *, scale: float | None = None) -> Float[Array, ""]:
    """A bound on all |trilinear logits|: scale sum_c max_i |q_ic| prod_t max_j |k_tjc|, the largest over the heads.

    Args:
      q: queries.
      ks: keys of each axis.
      scale: factor of the logits; 1 / sqrt(d) if None.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes do not fit.

    Cost: one pass over the arrays.

    >>> x = jnp.ones((4, 1, 3))
    >>> float(kron_logit_bound(x, (x, 2 * x), scale=0.5))
    3.0
    """
    check_heads(q, ks, ks)
    largest = lambda x: jnp.max(jnp.abs(x), axis=-3)
    share = q.shape[-2] // ks[0].shape[-2]
    product = largest(q)
    for k in ks:
        product = product * jnp.repeat(largest(k), share, axis=-2)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else abs(scale)
    return jnp.max(factor * jnp.sum(product, axis=-1))


def poly_error_bound(plan: PolyPlan, vs: Heads) -> Float[Array, ""]:
    """2 eps / (1 - eps) prod_t max |v_t|, the largest possible error of `kron_attention_poly` in exact arithmetic.

    >>> float(poly_error_bound(poly_plan(1.0, 4, 1e-2), (jnp.ones((2, 1, 4)),) * 2)) < 0.02
    True
    """
    bound = 2 * plan.epsilon / (1 - plan.epsilon)
    return bound * functools.reduce(jnp.multiply, (jnp.max(jnp.abs(v)) for v in vs))


def kron_attention_poly(
    q: Float[Array, "*batch n h d"],
    ks: Heads,
    vs: Heads,
    plan: PolyPlan,
    *,
    scale: float | None = None,
    causal: bool = False,
    windows: int | tuple[int, ...] | None = None,
    key_masks: tuple[Bool[Array, "..."] | None, ...] | None = None,
    block: int = 256,
    chunk: int = 16,
    mesh: Mesh | None = None,
    axis: str = "data",
    batch_axis: str | None = None,
    head_axis: str | None = None,
) -> Float[Array, "*batch n h e"]:
    """Trilinear attention with e^z replaced by the plan's polynomial.

    Args:
      q: queries.
      ks: keys of K - 1 axes, each (*batch, m_t, kv, d).
      vs: values of the same axes, each (*batch, m_t, kv, e).
      plan: from `poly_plan`, for this d and order. Its certificate holds if no logit exceeds `plan.radius`.
      scale: factor of the logits; 1 / sqrt(d) if None.
      causal: as in `kron_attention`; needs m_t >= n.
      windows: as in `kron_attention`; needs m_t >= n.
      key_masks: as in `kron_attention`.
      block: rows worked on at once.
      chunk: rows worked on at once when causal.
      mesh: devices over which the sequence is split. Without windows only the sums cross devices (a `psum`; causal, an
        all-gather of the sums); with windows the keys of the neighbours.
      axis: mesh axis of the sequence.
      batch_axis: mesh axis of the first batch dimension, with `mesh`.
      head_axis: mesh axis of the heads, with `mesh`.

    Returns:
      Averages in the queries' dtype; zero where a query sees no key.

    Raises:
      TypeError: if an array is not floating.
      ValueError: if shapes, sizes or the plan do not fit.

    Cost: n r (d + (K - 1) e). Memory: (K - 1) r (e + 1) + block r a head; causal, chunk r (e + 1) (K - 1), and that of
    one chunk in every `chunk` rows for the gradient.

    >>> x = jnp.arange(4.0).reshape(4, 1, 1)
    >>> kron_attention_poly(0 * x, (x, x), (x, x), poly_plan(1.0, 1, 1e-3))[:, 0, 0].tolist()
    [2.25, 2.25, 2.25, 2.25]
    """
    check_heads(q, ks, vs)
    require_size("block", block)
    require_size("chunk", chunk)
    q, ks, vs = jax.tree.map(jnp.asarray, (q, tuple(ks), tuple(vs)))
    n, dim, order = q.shape[-3], q.shape[-1], len(ks) + 1
    require((plan.dim, plan.order) == (dim, order), "plan", (plan.dim, plan.order), f"made for {(dim, order)}")
    lengths = [k.shape[-3] for k in ks]
    spans = make_windows(windows, causal, n, lengths)
    for t, length in enumerate(lengths):
        require(spans is None or length >= n, f"the length of ks[{t}]", length, f"at least that of q, {n}, if causal")
        require(mesh is None or spans is None or length == n, f"the length of ks[{t}]", length, f"that of q, {n}")
    masks = full_masks(key_masks, ks)
    scale = dim**-0.5 if scale is None else scale
    join = None if mesh is None or windows is not None else axis
    attend = functools.partial(_attend, plan, scale, spans, block, chunk, join)
    if mesh is None:
        return over_heads(attend, q, ks, vs, masks)[0]

    def local(q, ks, vs, masks):
        if windows is not None and spans is not None:
            ks, vs, masks = (
                tuple(fetch_before(x, w - 1, axis, q.ndim - 3) for x, w in zip(side, spans, strict=True))
                for side in (ks, vs, masks)
            )
        return over_heads(attend, q, ks, vs, masks)

    return split_sequence(local, q, ks, vs, masks, mesh, axis, batch_axis, head_axis)[0]


def _attend(plan, scale, spans, block, chunk, join, q, ks, vs, masks, _offsets):
    """One key head: averages (n, g, e) and log normalisers; `join` is the mesh axis over which sums are joined."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    degree, multiplicity = multinomials(plan.dim, plan.degree)
    weights = jnp.asarray(np.array(plan.coefficients)[degree] * multiplicity, wide)
    features = lambda k: monomials(k, plan.degree)
    queries = lambda rows: weights[None, None] * features(scale * rows.astype(wide))
    with_count = lambda v, mask: jnp.pad(v.astype(wide), ((0, 0), (0, 1)), constant_values=1) * mask[:, None]
    axes = [(k.astype(wide), with_count(*side)) for k, *side in zip(ks, vs, masks, strict=True)]
    if spans is None:
        sums = [key_sums(features, *pair, block) for pair in axes]
        sums = sums if join is None else [jax.lax.psum(total, join) for total in sums]
        table = functools.reduce(jnp.multiply, sums)
        each = jax.checkpoint(lambda row: jnp.einsum("gr,re->ge", queries(row[None])[0], table, precision="highest"))
        result = jax.lax.map(each, q, batch_size=block)
    else:
        before = None if join is None else [_sums_before(key_sums(features, *pair, block), join) for pair in axes]

        def consume(rows, *running):
            table = functools.reduce(jnp.multiply, running)
            return jnp.einsum("cgr,cre->cge", queries(rows), table, precision="highest")

        result = map_running_sums(consume, q, axes, features, spans, chunk, before)
    weighted, total = result[..., :-1], result[..., -1]
    some = total > 0
    safe = jnp.where(some, total, 1)
    out = jnp.where(some[..., None], weighted / safe[..., None], 0)
    return out.astype(q.dtype), jnp.where(some, jnp.log(safe), -jnp.inf)


def _sums_before(total, axis):
    """The sums of all devices before this one."""
    gathered = jax.lax.all_gather(total, axis)
    before = jnp.arange(gathered.shape[0]) < jax.lax.axis_index(axis)
    return jnp.einsum("p,pre->re", before.astype(total.dtype), gathered, precision="highest")
