"""Token by token: caches of keys and values, sampling, generation."""
