"""What an experiment uses: claims, its context, and figures in the house style."""

from experiments.harness.claims import Claim, sheet
from experiments.harness.context import Context
from experiments.harness.figures import name_ticks, new_figure, new_image_grid

__all__ = ["Claim", "Context", "name_ticks", "new_figure", "new_image_grid", "sheet"]
