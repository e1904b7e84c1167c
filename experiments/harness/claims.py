"""A claim: a sentence of the paper turned into a check, with what was expected and what was measured."""

import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.harness.json_values import to_json

__all__ = ["Claim", "claims_table", "count_reproduced", "sheet", "short"]

ORIGINS = ("paper", "authors' code", "derived")


@dataclass(frozen=True)
class Claim:
    """One checked sentence; its fields are exactly those of an entry of `claims.json`.

    Constructors judge: `close`, `within_factor`, `at_least`, `at_most`, `between`, `ordering`; `not_run` does not.
    Measured values may be scalars or arrays, of which every entry must pass; a NaN or nothing at all never does.
    `tolerance` is the allowed absolute deviation where one applies.
    """

    id: str
    statement: str
    source: str
    origin: str
    expected: Any
    measured: Any
    tolerance: Any
    status: str
    passed: bool | None

    def __post_init__(self):
        """Refuses an origin that is not one of the three."""
        if self.origin not in ORIGINS:
            raise ValueError(f"origin of claim {self.id!r} must be one of {ORIGINS}, got {self.origin!r}")

    @classmethod
    def close(
        cls,
        id: str,
        statement: str,
        *,
        source: str,
        origin: str,
        expected: ArrayLike,
        measured: ArrayLike,
        tolerance: ArrayLike = 0.0,
        relative: float = 0.0,
    ) -> "Claim":
        """|measured - expected| <= max(tolerance, relative |expected|), entry by entry."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinities give NaN, which does not pass
            allowed = np.maximum(tolerance, relative * np.abs(expected)) if relative else tolerance
            passed = np.abs(np.subtract(measured, expected)) <= allowed
        return cls._judged(id, statement, source, origin, expected, measured, allowed, passed)

    @classmethod
    def within_factor(
        cls,
        id: str,
        statement: str,
        *,
        source: str,
        origin: str,
        expected: ArrayLike,
        measured: ArrayLike,
        factor: float,
    ) -> "Claim":
        """expected / factor <= measured <= expected * factor, entry by entry, for positive expected values."""
        passed = (np.divide(expected, factor) <= measured) & (np.multiply(expected, factor) >= measured)
        return cls._judged(id, statement, source, origin, expected, measured, f"factor {factor:g}", passed)

    @classmethod
    def at_least(
        cls, id: str, statement: str, *, source: str, origin: str, expected: float, measured: ArrayLike
    ) -> "Claim":
        """Measured >= expected."""
        passed = np.asarray(measured) >= expected
        return cls._judged(id, statement, source, origin, f"at least {expected:.6g}", measured, None, passed)

    @classmethod
    def at_most(
        cls, id: str, statement: str, *, source: str, origin: str, expected: float, measured: ArrayLike
    ) -> "Claim":
        """Measured <= expected."""
        passed = np.asarray(measured) <= expected
        return cls._judged(id, statement, source, origin, f"at most {expected:.6g}", measured, None, passed)

    @classmethod
    def between(
        cls, id: str, statement: str, *, source: str, origin: str, low: float, high: float, measured: ArrayLike
    ) -> "Claim":
        """Low <= measured <= high."""
        passed = (np.asarray(measured) >= low) & (np.asarray(measured) <= high)
        expected = f"{low:.6g} to {high:.6g}"
        return cls._judged(id, statement, source, origin, expected, measured, None, passed)

    @classmethod
    def ordering(
        cls,
        id: str,
        statement: str,
        *,
        source: str,
        origin: str,
        expected: Sequence[str] | str,
        measured: Mapping[str, float] | Sequence[float] | np.ndarray,
        tolerance: float = 0.0,
    ) -> "Claim":
        """Values come in the expected order: names from smallest to largest, or "increasing" or "decreasing".

        Strict, unless a tolerance allows neighbours to be out of order by less than it.
        """
        if isinstance(measured, Mapping):
            values = np.asarray([measured[name] for name in expected])
        elif expected in ("increasing", "decreasing"):
            values = np.asarray(measured) * (1 if expected == "increasing" else -1)
        else:
            raise ValueError(f"expected of claim {id!r} must be 'increasing' or 'decreasing' for unnamed values")
        passed = np.diff(values) > -tolerance
        return cls._judged(id, statement, source, origin, expected, measured, tolerance or None, passed)

    @classmethod
    def not_run(
        cls, id: str, statement: str, reason: str, *, source: str, origin: str, expected: Any = None
    ) -> "Claim":
        """A claim that this run could not check; the reason stands in place of the measurement."""
        return cls(id, statement, source, origin, to_json(expected), reason, None, "not run", None)

    @classmethod
    def _judged(cls, id, statement, source, origin, expected, measured, tolerance, passed) -> "Claim":
        passed = bool(np.size(passed) and np.all(passed))
        expected, measured, tolerance = (to_json(value) for value in (expected, measured, tolerance))
        status = "reproduced" if passed else "not reproduced"
        return cls(id, statement, source, origin, expected, measured, tolerance, status, passed)

    def as_dict(self) -> dict[str, Any]:
        """The claim as an entry of `claims.json`."""
        return asdict(self)


def count_reproduced(claims: Sequence[Mapping[str, Any]]) -> str:
    """`n/m` of the claims that ran."""
    ran = [claim for claim in claims if claim["passed"] is not None]
    return f"{sum(claim['passed'] for claim in ran)}/{len(ran)}"


def short(value: Any) -> str:
    """A value in few characters: four digits, long lists cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(short, value[:8])) + (f", ... ({len(value)})" if len(value) > 8 else "")
    return "-" if value is None else str(value)


def expectation(claim: Mapping[str, Any]) -> str:
    """Expected value with its tolerance."""
    expected, tolerance = short(claim["expected"]), claim["tolerance"]
    if tolerance is None or tolerance == 0:
        return expected
    return f"{expected} ({tolerance})" if isinstance(tolerance, str) else f"{expected} ± {short(tolerance)}"


def sheet(place: str, origin: str = "derived") -> Callable[..., Claim]:
    """Makes claims of numbers that the paper's sheet has at a place; where `measured` is a text, it says why not.

    claim = sheet("reproduction quick 1")
    claim(Claim.at_most, "error", "The error is small.", expected=0.1, measured=error)
    """

    def claim(make: Callable[..., Claim], id: str, statement: str, **judged: Any) -> Claim:
        if isinstance(judged.get("measured"), str):
            reason = judged.pop("measured")
            make, judged = Claim.not_run, {"reason": reason, "expected": judged.get("expected")}
        return make(id, statement, source=f"sheet, {place}", origin=origin, **judged)

    return claim


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims as an aligned table, as wide as the terminal; the cells wrap."""
    head = ("id", "expected", "measured", "status", "statement")
    rows = [
        (claim["id"], expectation(claim), short(claim["measured"]), claim["status"], claim["statement"])
        for claim in claims
    ]
    limits = (28, 24, 24, 14)
    widths = [min(limit, max(len(row[i]) for row in [head, *rows])) for i, limit in enumerate(limits)]
    widths.append(max(30, shutil.get_terminal_size((140, 24)).columns - sum(widths) - 2 * len(widths)))
    lines = []
    for row in [head, tuple("-" * width for width in widths), *rows]:
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for i in range(max(map(len, cells))):
            parts = [(cell[i] if i < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)
