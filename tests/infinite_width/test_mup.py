"""muP against the table of its factors, the equivalence of its forms, and what training does at several widths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.sharding import NamedSharding, PartitionSpec as P

from jaxlib_methods import infinite_width as iw

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).normal(size=(6, 2)), jnp.float32)


def shapes(n):
    return {
        "bias": (n,),
        "conv": (3, 3, n, 2 * n),
        "embedding": (50, n),
        "hidden": (n, 2 * n),
        "input": (7, n),
        "key": {"kernel": (n, n // 4, 4), "bias": (n // 4, 4)},
        "out": {"kernel": (n // 4, 4, n), "bias": (n,)},
        "readout": (n, 10),
        "temperature": (1,),
    }


@pytest.mark.parametrize(
    ("optimizer", "multiplier", "expected"),
    [
        ("adam", True, {"input": (1, 1, 1), "hidden": (0.5, 1, 1 / 4), "readout": (1, 1 / 4, 1)}),
        ("sgd", True, {"input": (1, 1, 4), "hidden": (0.5, 1, 1), "readout": (1, 1 / 4, 4)}),
        ("adam", False, {"input": (1, 1, 1), "hidden": (0.5, 1, 1 / 4), "readout": (1 / 4, 1, 1 / 4)}),
        ("sgd", False, {"input": (1, 1, 4), "hidden": (0.5, 1, 1), "readout": (1 / 4, 1, 1 / 4)}),
    ],
)
def test_the_factors_are_those_of_the_table(optimizer, multiplier, expected):
    factors = iw.mup_factors(shapes(16), shapes(64), optimizer=optimizer, multiplier=multiplier)
    kinds = {
        "input": [factors["bias"], factors["embedding"], factors["input"], factors["key"]["bias"]],
        "hidden": [factors["conv"], factors["hidden"], factors["key"]["kernel"], factors["out"]["kernel"]],
        "readout": [factors["readout"]],
    }
    kinds["input"].append(factors["out"]["bias"])
    for kind, leaves in kinds.items():
        for factor in leaves:
            np.testing.assert_allclose(factor[:3], expected[kind], rtol=1e-12)
            np.testing.assert_allclose(factor.learning_rate * factor.weight_decay, 1, rtol=1e-12)
            np.testing.assert_allclose(factor.fan_in, 1 if kind == "input" else 4)
    assert factors["temperature"] == iw.MupFactor()


def test_unequal_ratios_and_roles():
    up = lambda optimizer: iw.mup_factors({"w": (4, 8)}, {"w": (8, 64)}, optimizer=optimizer)["w"]
    np.testing.assert_allclose(up("sgd").learning_rate, 8 / 2)
    np.testing.assert_allclose(up("adam").learning_rate, 1 / 2)
    np.testing.assert_allclose(up("adam").gradient, 8)
    both = lambda shape, **options: iw.mup_factors({"a": {"w": (8, 4, 2)}}, {"a": {"w": shape}}, **options)["a"]["w"]
    assert both((32, 8, 4)).fan_in == 4  # 4 into 2 * 2
    assert both((8, 8, 2), roles={"a/*": ((0,), (1, 2))}) == both((8, 4, 4))  # heads of an input matrix
    assert both((8, 8, 2)).forward == 0.5  # looks like a readout
    assert both((8, 8, 4), roles=lambda name, shape: "input" if name == "a/w" else None).gradient == 4
    assert both((16, 4, 2), roles={"*": "scalar"}) == iw.MupFactor()
    tied = iw.mup_factors({"w": (9, 4)}, {"w": (9, 8)}, roles={"w": "tied"}, optimizer="sgd")["w"]
    assert tied[:3] == (1, 1, 2)


class Attention(nnx.Module):
    def __init__(self, n, rngs):
        self.embed = nnx.Embed(11, n, rngs=rngs)
        self.norm = nnx.LayerNorm(n, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(n // 4, n, decode=False, rngs=rngs)
        self.head = nnx.Linear(n, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(self.norm(self.embed(x))))


class Linen(linen.Module):
    n: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2, name="head")(linen.relu(linen.Dense(self.n)(x)))


def test_nnx_states_and_their_dictionaries_and_linen_have_the_same_factors():
    state = lambda n: nnx.state(nnx.eval_shape(lambda: Attention(n, nnx.Rngs(0))), nnx.Param)
    of_state = iw.mup_factors(state(8), state(32))
    of_dict = iw.mup_factors(nnx.to_pure_dict(state(8)), state(32))
    assert jax.tree.leaves(of_state) == jax.tree.leaves(of_dict)
    flat = nnx.to_pure_dict(state(32))
    hidden = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, factor in jax.tree_util.tree_leaves_with_path(
            iw.mup_factors(nnx.to_pure_dict(state(8)), flat), is_leaf=lambda f: isinstance(f, iw.MupFactor)
        )
        if factor.init_std != 1
    }
    assert hidden == {f"attention/{name}/kernel" for name in ("key", "out", "query", "value")}
    model = Attention(32, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, iw.mup_adam(0.1, of_state), wrt=nnx.Param)
    before = model.attention.query.kernel[...], model.embed.embedding[...]
    tokens = jnp.arange(11)[None]
    optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(tokens) ** 2))(model))
    moved = lambda after, start: float(jnp.median(jnp.abs(after - start)))
    np.testing.assert_allclose(moved(model.attention.query.kernel[...], before[0]), 0.1 / 4, rtol=1e-2)
    np.testing.assert_allclose(moved(model.embed.embedding[...], before[1]), 0.1, rtol=1e-2)
    variables = lambda n: jax.eval_shape(Linen(n).init, jax.random.key(0), X)
    factors = iw.mup_factors(variables(4), variables(8))["params"]
    assert factors["head"]["kernel"].forward == 0.5
    assert factors["Dense_0"]["kernel"] == factors["Dense_0"]["bias"]


def test_at_equal_shapes_every_optimizer_is_optax_bit_for_bit():
    params = {"a": X, "b": Y}
    gradient = jax.tree.map(jnp.cos, params)
    for optimizer, ours, theirs in [
        ("adam", functools.partial(iw.mup_adam, 0.1), optax.adam(0.1)),
        ("adam", functools.partial(iw.mup_adamw, 0.1, weight_decay=0.01), optax.adamw(0.1, weight_decay=0.01)),
        ("sgd", functools.partial(iw.mup_sgd, 0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
    ]:
        ours = ours(iw.mup_factors(params, params, optimizer=optimizer))
        states = ours.init(params), theirs.init(params)
        for _ in range(2):
            one, first = ours.update(gradient, states[0], params)
            two, second = theirs.update(gradient, states[1], params)
            states = first, second
            jax.tree.map(np.testing.assert_array_equal, one, two)
    rescaled = iw.mup_rescale_init(params, iw.mup_factors(params, params), base=params)
    jax.tree.map(np.testing.assert_array_equal, rescaled, params)


def test_the_first_adam_step_of_a_hidden_leaf_is_a_quarter_of_the_rate_and_eps_follows_the_gradient():
    factors = iw.mup_factors({"w": (2, 2)}, {"w": (8, 8)})
    w, g = {"w": jnp.ones((8, 8))}, {"w": jnp.full((8, 8), 0.25)}
    step = lambda eps: iw.mup_adam(0.1, factors, eps=eps).update(g, iw.mup_adam(0.1, factors, eps=eps).init(w))[0]["w"]
    np.testing.assert_allclose(step(0.0), -0.1 / 4, rtol=1e-5)
    np.testing.assert_allclose(step(1.0), -0.1 / 4 / 2, rtol=1e-5)  # the base model's gradient is 4 times larger: 1


def test_decoupled_decay_shrinks_every_leaf_alike():
    base, wide = shapes(16), jax.tree.map(jnp.ones, shapes(32), is_leaf=lambda s: isinstance(s, tuple))
    nothing = jax.tree.map(jnp.zeros_like, wide)
    for optimizer, make in (
        ("adam", functools.partial(iw.mup_adamw, 0.1, weight_decay=0.5)),
        ("sgd", functools.partial(iw.mup_sgd, 0.1, weight_decay=0.5)),
    ):
        transform = make(iw.mup_factors(base, wide, optimizer=optimizer))
        for leaf in jax.tree.leaves(transform.update(nothing, transform.init(wide), wide)[0]):
            np.testing.assert_allclose(leaf, -0.05, rtol=1e-5)


def perceptron(params, x):
    h = jnp.tanh(x @ params["first"] + params["bias"][None])
    return jnp.tanh(h @ params["hidden"]) @ params["readout"]


def perceptron_shapes(n):
    return {"first": (5, n), "bias": (n,), "hidden": (n, n), "readout": (n, 2)}


def draw(key, n):
    keys = jax.random.split(key, 4)
    fan_in = lambda k, shape: jax.random.normal(k, shape) / shape[0] ** 0.5
    names = ("first", "hidden", "readout")
    return {"bias": jnp.zeros(n)} | {
        name: fan_in(k, perceptron_shapes(n)[name]) for k, name in zip(keys, names, strict=False)
    }


@pytest.mark.parametrize(
    ("optimizer", "make"), [("sgd", iw.mup_sgd), ("adam", functools.partial(iw.mup_adam, eps=0.0))]
)
def test_the_forms_with_and_without_multiplier_train_alike(optimizer, make, x64):
    x, y = X.astype(float), Y.astype(float)
    drawn = jax.tree.map(lambda w: w.astype(float), draw(jax.random.key(0), 32))
    outputs = []
    for multiplier in (True, False):
        factors = iw.mup_factors(
            perceptron_shapes(8), perceptron_shapes(32), optimizer=optimizer, multiplier=multiplier
        )
        params, transform = iw.mup_rescale_init(drawn, factors), make(0.05, factors)
        apply = lambda p, factors=factors: perceptron(iw.mup_multiply(p, factors), x)
        loss = lambda p, apply=apply: jnp.mean((apply(p) - y) ** 2)

        @jax.jit
        def step(params, state, apply=apply, loss=loss, transform=transform):
            updates, state = transform.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state, apply(params)

        state, path = transform.init(params), []
        for _ in range(5):
            params, state, f = step(params, state)
            path.append(f)
        outputs.append(np.array(path))
    assert np.abs(outputs[0][-1] - outputs[0][0]).max() > 0.05
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-8, atol=1e-10)


def test_initial_values_have_the_standard_deviations_of_mup():
    factors = iw.mup_factors(perceptron_shapes(64), perceptron_shapes(1024))
    base, wide = draw(jax.random.key(0), 64), draw(jax.random.key(1), 1024)
    expected = {"first": 5**-0.5, "hidden": 1024**-0.5, "readout": 64**-0.5}
    for rescaled, relative in (
        (iw.mup_rescale_init(wide, factors), 0.1),
        (iw.mup_rescale_init(wide, factors, base=base), 0.3),  # base's own sampling error: 128 entries
    ):
        for name, std in expected.items():
            np.testing.assert_allclose(jnp.std(rescaled[name]), std, rtol=relative)
        assert not np.any(rescaled["bias"])
    zeroed = iw.mup_rescale_init(wide, factors, zero=["read*"])
    assert not np.any(zeroed["readout"])
    np.testing.assert_array_equal(zeroed["hidden"], wide["hidden"])


def test_updates_keep_their_sharding_without_communication(mesh8):
    sharding = NamedSharding(mesh8, P("data"))
    wide = jax.tree.map(lambda w: jax.device_put(w, sharding), {"w": jnp.ones((16, 16)), "b": jnp.ones(16)})
    transform = iw.mup_adamw(0.1, iw.mup_factors({"w": (8, 8), "b": (8,)}, wide))
    state = transform.init(wide)
    compiled = jax.jit(transform.update).lower(wide, state, wide).compile()
    for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert word not in compiled.as_text()
    updates, _ = compiled(wide, state, wide)
    for leaf in jax.tree.leaves(updates):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
    alone = transform.update(jax.device_get(wide), transform.init(jax.device_get(wide)), jax.device_get(wide))[0]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, alone)


def test_a_bfloat16_tree_stays_bfloat16():
    wide = {"w": jnp.ones((4, 4), jnp.bfloat16)}
    factors = iw.mup_factors({"w": (2, 2)}, wide)
    assert iw.mup_multiply(wide, factors)["w"].dtype == jnp.bfloat16
    assert iw.mup_rescale_init(wide, factors, base=wide)["w"].dtype == jnp.bfloat16
    assert iw.scale_by_mup(factors).update(wide, optax.EmptyState())[0]["w"].dtype == jnp.bfloat16


def perceptron_model(optimizer, parametrization):
    """The perceptron at a width, with zero readout under muP."""

    def model(n):
        base = n if parametrization == "standard" else 32
        factors = iw.mup_factors(perceptron_shapes(base), perceptron_shapes(n), optimizer=optimizer)
        zero = ["readout"] if parametrization == "zero readout" else []
        init = lambda key: iw.mup_rescale_init(draw(key, n), factors, zero=zero)

        def loss(params):
            p = iw.mup_multiply(params, factors)
            first = X @ p["first"] + p["bias"][None]
            second = jnp.tanh(first) @ p["hidden"]
            output = jnp.tanh(second) @ p["readout"]
            return jnp.mean((output - Y) ** 2), {"first": first, "second": second, "output": output}

        make = {"adam": iw.mup_adam, "sgd": iw.mup_sgd}[optimizer]
        return init, loss, make({"adam": 0.02, "sgd": 0.3}[optimizer], factors)

    return model


check = functools.partial(iw.coordinate_check, jax.random.key(0), widths=(128, 512), steps=3, seeds=8)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_check_passes_under_mup_and_fails_under_standard_parametrization(optimizer):
    report = check(perceptron_model(optimizer, "zero readout"))
    assert report.passed, report.failures
    assert report.table["output"].size.shape == (2, 4)
    assert not report.table["output"].size[:, 0].any()
    standard = check(perceptron_model(optimizer, "standard"))
    assert not standard.passed
    assert any(words.startswith("change of output at step 3: grows as") for words in standard.failures)


def test_the_output_may_shrink_before_the_first_step_only():
    small = functools.partial(check, perceptron_model("adam", "random readout"), widths=(64, 512), steps=1, seeds=8)
    report, strict = small(), small(outputs=())
    np.testing.assert_allclose(report.slopes["output"].size[0], -0.5, atol=0.2)
    assert not any("at step 0" in words for words in report.failures)
    assert any(words.startswith("output at step 0: shrinks as width^-0.") for words in strict.failures)


def test_a_wrong_rate_or_a_dead_activation_is_told():
    right = perceptron_model("adam", "zero readout")
    small = functools.partial(iw.coordinate_check, jax.random.key(0), widths=(64, 256), steps=2, seeds=2)

    def frozen(n):
        init, loss, _ = right(n)
        return init, loss, optax.sgd(0.0)

    assert "change of first at step 2: 0 at some width" in small(frozen).failures

    def diverging(n):
        init, loss, _ = right(n)
        return init, lambda p: (loss(p)[0] * jnp.nan, loss(p)[1]), optax.sgd(1.0)

    assert "output at step 2: not finite" in small(diverging).failures


FACTORS = iw.mup_factors({"w": (2, 2)}, {"w": (4, 4)})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: iw.mup_factors({"a": (2,)}, {"b": (2,)}), ValueError, "shapes must be of the same leaves as base_sh"),
        (
            lambda: iw.mup_factors({"a": (2,)}, {"a": (2,), "b": (2,)}),
            ValueError,
            "base_shapes must .* none at b",
        ),
        (
            lambda: iw.mup_factors({"a": (2, 2)}, {"a": (2,)}),
            ValueError,
            "at a must be of the rank of shapes",
        ),
        (lambda: iw.mup_factors({"a": (2, 0)}, {"a": (2, 2)}), ValueError, "without a size 0"),
        (lambda: iw.mup_factors({"a": "x"}, {"a": (2, 2)}), TypeError, "base_shapes at a must be an array or a shape"),
        (lambda: iw.mup_factors({"a": (2,)}, {"a": (2,)}, optimizer="lion"), ValueError, "optimizer must be one of"),
        (lambda: iw.mup_factors({"a": (2,)}, {"a": (2,)}, roles={"b": "input"}), ValueError, "the pattern 'b'"),
        (lambda: iw.mup_factors({"a": (2,)}, {"a": (2,)}, roles={"a": "out"}), ValueError, "roles at a must be one of"),
        (lambda: iw.mup_factors({"a": (2,)}, {"a": (4,)}, roles={"a": "hidden"}), ValueError, "only the axes"),
        (lambda: iw.mup_factors({"a": (2, 2)}, {"a": (4, 4)}, roles={"a": ((0,), ())}), ValueError, "two disjoint"),
        (lambda: iw.mup_factors({"a": (2, 2, 2)}, {"a": (4, 4, 4)}), ValueError, "a pair of the axes"),
        (
            lambda: iw.mup_factors({"a": (2, 2)}, {"a": (2, 4)}, roles={"a": "tied"}, multiplier=False),
            ValueError,
            "a tied embedding needs it",
        ),
        (lambda: iw.mup_attention_scale(0, 4), ValueError, "head_dim must be an integer"),
        (lambda: iw.scale_by_mup({"a": 1.0}), TypeError, "factors at a must be a MupFactor"),
        (lambda: iw.mup_sgd(0.1, FACTORS), ValueError, "made with optimizer='sgd'"),
        (
            lambda: iw.mup_adam(0.1, iw.mup_factors({"b": (2,)}, {"b": (4,)}, optimizer="sgd")),
            ValueError,
            "made with optimizer='adam'",
        ),
        (lambda: iw.mup_multiply({"v": X}, FACTORS), ValueError, "factors must be .* got none at v"),
        (lambda: iw.mup_rescale_init({"w": X}, FACTORS, base={"v": X}), ValueError, "base must be"),
        (lambda: iw.mup_rescale_init({"w": X}, FACTORS, zero=["u"]), ValueError, "zero must be patterns"),
        (lambda: check(perceptron_model("sgd", "standard"), widths=(8,)), ValueError, "two or more in ascending"),
        (lambda: check(perceptron_model("sgd", "standard"), steps=0), ValueError, "steps must be"),
        (
            lambda: check(perceptron_model("sgd", "standard"), widths=(2, 4), seeds=1, outputs=("logits",)),
            ValueError,
            "outputs must be some of the activations",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
