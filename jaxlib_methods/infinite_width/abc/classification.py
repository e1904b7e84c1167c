"""What a perceptron becomes as its width n grows: unstable, trivial, a kernel machine or a learner of features.

    h^1 = W^1 xi,  x^l = phi(h^l),  h^(l+1) = W^(l+1) x^l,  f = W^(L+1) x^L,        W^l = n^-a_l w^l,

with w^l trained from N(0, n^(-2 b_l)) by SGD of rate eta n^-c_l. With
A = a_(L+1) + b_(L+1) and m = 2 a_(L+1) + c_(L+1),

    r_l = min(A, m) + c_l - 1 + 2 a_l + I(l = 1),        r = min over l <= L of r_l:  Delta x^L = Theta(n^-r);

    stable at the start    a_1 + b_1 = 0,  a_l + b_l = 1/2 for 2 <= l <= L,  A >= 1/2
    stable                 and r >= 0,  m >= 1,  A + r >= 1
    nontrivial             stable, and A + r = 1 or m = 1
    learns features        nontrivial, and r = 0;  a kernel machine if r > 0.

The kernel has the readout's term if m = 1, and that of hidden layer l if 2 A + 2 a_l + I(l = 1) + c_l = 2. Layer l <= L
is updated maximally if r_l = 0, the readout if m = 1; the readout starts maximally if A + r = 1.

Yang and Hu, "Feature Learning in Infinite-Width Neural Networks", 2020, theorems 3.2 to 3.8; rates of single layers by
the symmetry of `abc_shift`; the layers inside of the kernel are derived.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from jaxlib_methods.infinite_width.abc.parametrizations import Exponent, check_abc

__all__ = ["AbcReport", "abc_classify"]

TOLERANCE = Fraction(1, 10**9)


class AbcReport(NamedTuple):
    """Classification of a parametrization; layers are counted from 1 to L + 1, the readout.

    Attributes:
      r: coordinates of Delta x^L are Theta(n^-r); a fraction where all exponents were, and so in `r_layer`.
      r_layer: r_l of hidden layers.
      stable_init: whether preactivations are Theta(1), and the output at most that, at the start.
      stable: whether they stay so.
      nontrivial: whether the output moves.
      feature_learning: whether features move, too.
      kernel: whether the limit is descent with a fixed kernel.
      ntk_layers: layers whose terms that kernel has; none without a kernel.
      initial_output: "zero" or "gaussian process"; "diverges" if not even stable at the start.
      maximally_updated: layers that move features, or the output, as much as any stable choice can; none if unstable.
      maximally_initialised: whether the readout's start is as large as stability allows.
      violations: the conditions of stability that fail, in words.
    """

    r: Exponent
    r_layer: tuple[Exponent, ...]
    stable_init: bool
    stable: bool
    nontrivial: bool
    feature_learning: bool
    kernel: bool
    ntk_layers: tuple[int, ...]
    initial_output: str
    maximally_updated: tuple[int, ...]
    maximally_initialised: bool
    violations: tuple[str, ...]


def abc_classify(a: Sequence[Exponent], b: Sequence[Exponent], c: Exponent | Sequence[Exponent]) -> AbcReport:
    """Classifies a parametrization by its exponents.

    Exact for integers and fractions; with a float among them, up to 1e-9.

    Args:
      a: of the multipliers, layer by layer: hidden layers, then the readout.
      b: of the standard deviations at the start.
      c: of the learning rate, one for all or one a layer.

    Raises:
      TypeError: if an exponent is not a real number.
      ValueError: if there are fewer than two layers, the lengths differ, or an exponent is not finite.

    Cost: O(L).

    >>> half = Fraction(1, 2)
    >>> report = abc_classify((0, half, half), (0, 0, 0), 0)  # the NTK's parametrization
    >>> report.r, report.kernel, report.ntk_layers
    (Fraction(1, 2), True, (1, 2, 3))
    """
    given = check_abc(a, b, c)
    exact = not any(isinstance(value, float) for values in given for value in values)
    tolerance = Fraction(0) if exact else TOLERANCE
    multiplier, deviation, rates = ([Fraction(value) for value in values] for values in given)
    last = len(rates)
    is_equal = lambda value, other: abs(value - other) <= tolerance
    is_least = lambda value, least: value >= least - tolerance
    start, move = multiplier[-1] + deviation[-1], 2 * multiplier[-1] + rates[-1]
    first = lambda l: int(l == 0)
    hidden = range(last - 1)
    r_layer = tuple(min(start, move) + rates[l] - 1 + 2 * multiplier[l] + first(l) for l in hidden)
    r = min(r_layer)

    conditions = [
        (
            is_equal(multiplier[0] + deviation[0], 0),
            "a_1 + b_1 must be 0, for h^1 of order one",
            multiplier[0] + deviation[0],
        ),
        *(
            (
                is_equal(multiplier[l] + deviation[l], Fraction(1, 2)),
                f"a_{l + 1} + b_{l + 1} must be 1/2, for h^{l + 1} of order one",
                multiplier[l] + deviation[l],
            )
            for l in hidden[1:]
        ),
        (
            is_least(start, Fraction(1, 2)),
            f"a_{last} + b_{last} must be at least 1/2, for f_0 not to diverge",
            start,
        ),
        (is_least(r, 0), "r must be at least 0, for features not to diverge in training", r),
        (is_least(move, 1), f"2 a_{last} + c must be at least 1, for the readout not to move f too far", move),
        (
            is_least(start + r, 1),
            f"a_{last} + b_{last} + r must be at least 1, for features not to move f too far",
            start + r,
        ),
    ]
    shown = lambda value: str(value) if exact else f"{float(value):.6g}"
    violations = tuple(f"{needed}; it is {shown(value)}" for holds, needed, value in conditions if not holds)
    stable_init = all(holds for holds, _, _ in conditions[:-3])
    stable = not violations
    nontrivial = stable and (is_equal(start + r, 1) or is_equal(move, 1))
    feature_learning = nontrivial and is_equal(r, 0)
    kernel = nontrivial and not feature_learning
    inside = [is_equal(2 * start + 2 * multiplier[l] + first(l) + rates[l], 2) for l in hidden]
    maximal = [is_equal(value, 0) for value in r_layer]
    layers = lambda which, condition: tuple(
        l + 1 for l, holds in enumerate([*which, is_equal(move, 1)]) if condition and holds
    )
    number = (lambda value: value) if exact else float
    output = "gaussian process" if is_equal(start, Fraction(1, 2)) else "zero"
    return AbcReport(
        r=number(r),
        r_layer=tuple(map(number, r_layer)),
        stable_init=stable_init,
        stable=stable,
        nontrivial=nontrivial,
        feature_learning=feature_learning,
        kernel=kernel,
        ntk_layers=layers(inside, kernel),
        initial_output=output if stable_init else "diverges",
        maximally_updated=layers(maximal, stable),
        maximally_initialised=stable and is_equal(start + r, 1),
        violations=violations,
    )
