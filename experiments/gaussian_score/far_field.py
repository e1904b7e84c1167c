"""How fast the training set's score becomes that of its Gaussian, of its mean, and of a symmetric cloud's Gaussian."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Context, new_figure, sheet
from jaxlib_methods.diffusion import delta_denoise, gaussian_denoise, unexplained_variance_curve
from jaxlib_methods.numerics import fit_gaussian, isotropic_gaussian

if TYPE_CHECKING:
    from experiments.gaussian_score import Config


class FarField(NamedTuple):
    """1 - EV of the training set's score: by its Gaussian, by its mean, and of its mirrored union by its Gaussian."""

    unexplained: np.ndarray
    slopes: np.ndarray


def far_field(config: "Config", context: Context, key, x) -> FarField:
    sigmas = jnp.asarray(config.far_sigmas, x.dtype)
    gaussian = fit_gaussian(x, mesh=context.mesh)
    by_gaussian = lambda z, sigma: gaussian_denoise(gaussian, z, sigma)
    by_mean = lambda z, sigma: gaussian_denoise(isotropic_gaussian(gaussian, pooled=False), z, sigma)

    @jax.jit
    def curve(points):
        truth = lambda z, sigma: delta_denoise(points, z, sigma, block=2048, mesh=context.mesh)
        return unexplained_variance_curve(key, truth, [by_gaussian, by_mean], points, sigmas)

    mirrored = curve(jnp.concatenate([x, 2 * gaussian.mean[None] - x]))
    unexplained = np.concatenate([curve(x), mirrored[:1]])
    far = sigmas >= config.far_from
    return FarField(unexplained, np.polyfit(np.log(sigmas[far]), np.log(unexplained[:, far]).T, 1)[0])


def far_field_claims(far: FarField) -> list[Claim]:
    claim = sheet("reproduction (a)1")
    rows = {
        "gaussian": ("The Gaussian score misses the training set's by a share that falls as sigma^-6.", -6.0, 0.1),
        "mean": ("The mean alone misses it by a share that falls as sigma^-4.", -4.0, 0.05),
        "mirrored": ("For a cloud symmetric about its mean, the Gaussian's share falls as sigma^-8.", -8.0, 0.1),
    }
    return [
        claim(
            Claim.close, f"far-field-{name}", statement, expected=expected, measured=float(slope), tolerance=tolerance
        )
        for (name, (statement, expected, tolerance)), slope in zip(rows.items(), far.slopes, strict=True)
    ]


def far_field_figure(config: "Config", far: FarField):
    figure, axes = new_figure("noise level σ", "1 - explained variance", log=True)
    names = ("Gaussian", "mean only", "Gaussian, mirrored cloud")
    for values, slope, name in zip(far.unexplained, far.slopes, names, strict=True):
        axes.plot(config.far_sigmas, values, "o-", label=f"{name}: slope {slope:.2f}")
    axes.set_title("How much of the training set's score is missed")
    axes.legend()
    return figure
