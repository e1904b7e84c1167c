"""How the eigenvalues of a hierarchical kernel fall with the degree."""

from typing import TYPE_CHECKING

import numpy as np

from experiments.harness import Claim, new_figure, sheet
from jaxlib_methods.infinite_width import hierarchical_spectrum

if TYPE_CHECKING:
    from experiments.wide_cnn_kernels import Result


def decay(nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of (2, 2) by degree j at (j, j) and (j, 0), NTK first, and slopes over even j from 8 to 64."""
    spectrum = hierarchical_spectrum((2, 2), 2, nodes - 2, nodes=nodes)
    degrees = np.arange(1, 65)
    values = np.array([[kernel[degrees, degrees], kernel[degrees, 0]] for kernel in (spectrum.ntk, spectrum.nngp)])
    even = (degrees >= 8) & (degrees % 2 == 0)
    slope = lambda v: np.polyfit(np.log(degrees[even]), np.log(v[..., even].reshape(-1, even.sum())).T, 1)[0]
    return degrees, values, slope(values).reshape(2, 2)


def spectrum_claims(result: "Result") -> list[Claim]:
    return [
        sheet("reproduction quick (c)")(
            Claim.close,
            "spectrum-diagonal",
            "Eigenvalues of degree (j, j) fall as j^-3 for the NTK and j^-5 for the NNGP kernel.",
            expected=[-3, -5],
            measured=result.slopes[:, 0],
            tolerance=np.array([0.1, 0.15]),
        ),
        sheet("hierarchical CNN, asymptotics")(
            Claim.close,
            "spectrum-axis",
            "Those of degree (j, 0), even j, fall as j^-2 and j^-4.",
            expected=[-2, -4],
            measured=result.slopes[:, 1],
            tolerance=np.array([0.1, 0.15]),
        ),
    ]


def spectra_figure(result: "Result"):
    figure, panels = new_figure("degree j", "eigenvalue", log=True, panels=2)
    for axes, title, values, slopes in zip(
        panels, ("NTK", "NNGP kernel"), result.decays, ((-3, -2), (-5, -4)), strict=True
    ):
        even = result.degrees % 2 == 0
        axes.plot(result.degrees, values[0], "o", label="degrees (j, j)")
        axes.plot(result.degrees[even], values[1][even], "s", label="degrees (j, 0), j even")
        for i, (row, slope) in enumerate(zip(values, slopes, strict=True)):
            line = row[-1] * (result.degrees / result.degrees[-1]) ** float(slope)
            axes.plot(result.degrees[3:], line[3:], "--", color=f"C{i}", label=f"slope {slope}")
        axes.set_title(f"{title} of filters (2, 2)")
        axes.legend()
    return figure
