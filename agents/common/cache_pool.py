"""Prefix caches for the environments that take turns with one policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from textgym.models.batch import TextBatch
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.decoding.prefix_cache import Match, PrefixCache
from textgym.models.text_model import TextModel


class CachePool:
    """A few prefix caches, because training and evaluation environments take turns with one policy."""

    def __init__(self, model: TextModel, size: int = 2) -> None:
        self.model, self.size = model, size
        self.decoder = DecodingCopy(model)
        self._caches: list[PrefixCache] = []  # least recently used first

    def clear(self) -> None:
        """Drop everything cached."""
        for cache in self._caches:
            cache.drop()

    def reset(self) -> None:
        """Begin as if new: no caches, no recorded steps, no copy to decode with."""
        self._caches, self.decoder = [], DecodingCopy(self.model)

    def hidden(self, texts: TextBatch) -> Tensor:
        """Hidden state (B, H) of each text's last token, from a cache that knows most of the rows."""
        cache, match = self._take(texts)
        return cache.hidden(texts, match)

    def act(self, texts: TextBatch, choose: Callable[[Tensor], Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """Let ``choose`` continue texts, as :meth:`~textgym.models.decoding.prefix_cache.PrefixCache.act` does."""
        cache, match = self._take(texts)
        return cache.act(texts, choose, match)

    def _take(self, texts: TextBatch) -> tuple[PrefixCache, Match | None]:
        """Find the cache for texts, and note that it was used last."""
        cache, match = self._find(texts)
        if cache in self._caches:
            self._caches.remove(cache)
        self._caches = [*self._caches[-(self.size - 1) :], cache]
        return cache, match

    def _find(self, texts: TextBatch) -> tuple[PrefixCache, Match | None]:
        """The cache to use and how the rows match it: one that knows them, an empty one, a new one, or the oldest."""
        rows, width = texts.input_ids.shape
        fitting = [cache for cache in reversed(self._caches) if (cache.rows, cache.width) == (rows, width)]
        best, most = None, 0
        for cache in fitting:
            match = cache.match(texts)
            known = int((match.extended | match.unchanged).sum())
            if known > most:
                best, most = (cache, match), known
            if 2 * most > rows:  # hardly another knows more
                break
        if best is not None:
            return best
        if (empty := next((cache for cache in fitting if cache.is_empty), None)) is not None:
            return empty, None
        if fitting and len(self._caches) == self.size:
            # One has to go. The memory and the recorded steps of the one used longest ago serve the new rows.
            fitting[-1].drop()
            return fitting[-1], None
        return PrefixCache(self.model, rows, width, self.decoder), None

    def __reduce__(self) -> tuple[type[CachePool], tuple[TextModel, int]]:
        return CachePool, (self.model, self.size)  # a copy begins with nothing cached
