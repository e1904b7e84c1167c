"""Progress: a bar on a terminal, an occasional plain line in a log, nothing from processes other than the first."""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax

__all__ = ["progress"]

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


def progress(iterable: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Passes the items through and shows on standard error how far they are; `total` defaults to their number."""
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # pyright: ignore[reportArgumentType]
    if jax.process_index() > 0:
        return iterable
    if not sys.stderr.isatty():
        return _lines(iterable, label, total)
    from tqdm import tqdm

    size = shutil.get_terminal_size()  # 80 x 24 where a terminal says nothing or 0 x 0, on which tqdm draws no bar
    return tqdm(iterable, desc=label, total=total, ncols=size.columns, nrows=size.lines)


def _lines(iterable: Iterable[Item], label: str, total: int | None) -> Iterator[Item]:
    started = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            of_total = "" if total is None else f"/{total}"
            print(f"{label}: {done}{of_total}, {now - started:.0f} s", file=sys.stderr, flush=True)
