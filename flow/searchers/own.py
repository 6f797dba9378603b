"""What a class of one's own does wrong, as an error that says whose it is."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from flow.errors import SearcherError

OURS = "flow.searchers."


@contextmanager
def blamed(searcher: object, method: str) -> Iterator[None]:
    """Around a call of a searcher: what a user's class raises names the class, the method and the line.

    Raises:
        SearcherError: a class of one's own raised something. What a searcher of bitloop's raises is passed on as it is.
    """
    try:
        yield
    except Exception as error:  # whatever it raises
        kind = type(searcher)
        if kind.__module__.startswith(OURS):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise SearcherError(
            f"{kind.__module__}:{kind.__qualname__}.{method} failed with {type(error).__name__}: {error} "
            f"({where.filename}, line {where.lineno}); mend it, or name another SEARCHER"
        ) from error
