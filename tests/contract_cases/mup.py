"""Cases of `jaxlib_methods.infinite_width.mup`."""

from contract_cases.case import KEPT, case, normal
from jaxlib_methods import infinite_width as iw

PARAMS = {"hidden": normal(8, 8), "head": normal(8, 2)}
BASE = {"hidden": normal(4, 4), "head": normal(4, 2)}
FACTORS = iw.mup_factors(BASE, PARAMS)

CASES = {
    "infinite_width.mup_multiply": case(lambda p: iw.mup_multiply(p, FACTORS), PARAMS, bfloat16=KEPT),
    "infinite_width.mup_rescale_init": case(lambda p, b: iw.mup_rescale_init(p, FACTORS, base=b), PARAMS, BASE),
}

HOST = {
    f"infinite_width.{name}"
    for name in (
        *("coordinate_check", "mup_adam", "mup_adamw", "mup_attention_scale", "mup_factors", "mup_sgd"),
        "scale_by_mup",
    )
}
