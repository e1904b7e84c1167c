"""Learning curves of students on fields of teachers, measured and predicted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, name_ticks, new_figure, sheet
from experiments.wide_cnn_kernels.config import Config, Race
from jaxlib_methods.generalization import Eigenstructure, krr_errors
from jaxlib_methods.infinite_width import (
    hierarchical_exponents,
    hierarchical_kernel,
    hierarchical_spectrum,
    multisphere,
    patch_cosines,
)
from jaxlib_methods.numerics import gram, psd_solve

if TYPE_CHECKING:
    from experiments.wide_cnn_kernels import Result


class Curves(NamedTuple):
    """Test errors of one student: by teacher, size and field, and the prediction by teacher and size."""

    measured: np.ndarray
    predicted: np.ndarray


def learn(race: Race, key) -> np.ndarray:
    """Squared test errors (teacher, size, field) of regression without ridge on Gaussian fields of the teachers."""
    largest = race.sizes[-1]

    @jax.jit
    def errors(key):
        input_key, field_key = jax.random.split(key)
        x = multisphere(input_key, largest + race.tests, race.patches, race.student[0], dtype=jnp.float64)
        matrix = lambda filters: gram(lambda a, b: hierarchical_kernel(patch_cosines(a, b), filters).ntk, x, block=256)
        noise = jax.random.normal(field_key, (len(race.teachers), len(x)))
        kernel = matrix(race.student)

        def field(filters, noise):
            teacher = kernel if filters == race.student else matrix(filters)
            return jnp.linalg.cholesky(teacher + 1e-10 * jnp.eye(len(x))) @ noise

        y = jnp.stack([field(*pair) for pair in zip(race.teachers, noise, strict=True)], 1)
        rows = []
        for n in race.sizes:
            weights = psd_solve(kernel[:n, :n], y[:n], 0.0, solver="cholesky")
            rows.append(jnp.mean((kernel[largest:, :n] @ weights - y[largest:]) ** 2, 0))
        return jnp.stack(rows, 1)

    return np.stack([np.asarray(errors(k)) for k in jax.random.split(key, race.fields)], -1)


def predict(race: Race, sizes: Sequence[int]) -> np.ndarray:
    """The errors that the spectra predict, (teacher, size): modes are those that the rule resolves."""
    spectrum = lambda filters: hierarchical_spectrum(filters, race.patches, race.nodes - 2, nodes=race.nodes)
    flat = lambda a: jnp.maximum(a, 0).ravel()
    student = spectrum(race.student)
    multiplicity = flat(student.multiplicity)
    solve = jax.jit(lambda eigen: krr_errors(eigen, jnp.array(sizes, float), 0.0)[0])
    powers = [flat(spectrum(filters).ntk) * multiplicity for filters in race.teachers]
    return np.stack([np.asarray(solve(Eigenstructure(flat(student.ntk), v2, multiplicity))) for v2 in powers])


def fitted(sizes: Sequence[int], values) -> float:
    """Slope of a power law through all points."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def student_claims(config: Config, result: "Result") -> list[Claim]:
    two = result.curves[0]
    ratio = (two.measured.mean(2) / two.predicted).mean(1)
    found = [
        sheet("reproduction quick (b)")(
            Claim.close,
            "predicted-curve",
            "Regression on fields of teachers (2) and (2,2) by the student (2,2) follows the predicted curve: ratio of "
            "test errors, averaged over training sizes.",
            expected=1.0,
            measured=ratio,
            tolerance=0.2,
        ),
        sheet("headline results")(
            Claim.close,
            "adaptivity",
            "The predicted error falls with an exponent that each teacher sets: slopes between n = 512 and 1024.",
            expected=[-0.75, -0.54],
            measured=result.local_slopes,
            tolerance=0.005,
        ),
    ]
    for race, curves in zip(config.races[1:], result.curves[1:], strict=True):
        slope = [fitted(race.sizes, curve) for curve in curves.measured.mean(2)]
        name = ",".join(map(str, race.student))
        found.append(
            Claim.ordering(
                f"depth-{len(race.student)}",
                f"The student ({name}) learns shallow teachers faster: slopes of the test error, teachers from shallow "
                "to deep.",
                source="figures of teachers and students of several depths",
                origin="paper",
                expected="increasing",
                measured=slope,
            )
        )
    return found


def learning_figure(config: Config, result: "Result"):
    figure, panels = new_figure("training points n", "test error", log=True, panels=len(config.races))
    for axes, race, curves in zip(np.atleast_1d(panels), config.races, result.curves, strict=True):
        for i, teacher in enumerate(race.teachers):
            beta = hierarchical_exponents(teacher, race.student).beta
            label = f"teacher ({', '.join(map(str, teacher))}), " + rf"$\beta$ = {beta:.3g}"
            measured = curves.measured[i]
            error = measured.std(1, ddof=1) / measured.shape[1] ** 0.5
            axes.errorbar(race.sizes, measured.mean(1), error, fmt="o", color=f"C{i}", label=label)
            axes.plot(race.sizes, curves.predicted[i], color=f"C{i}")
        axes.set_title(f"student ({', '.join(map(str, race.student))}); lines: predicted")
        axes.set_ylim(curves.predicted.min() / 5, None)
        name_ticks(axes, race.sizes)
        axes.legend(loc="lower left")
    return figure
