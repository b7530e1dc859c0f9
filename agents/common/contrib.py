"""The package sb3-contrib, which is optional.

Raises:
    MissingExtraError: It is not installed.
"""

from textgym.errors import MissingExtraError

try:
    import sb3_contrib
except ImportError as error:
    raise MissingExtraError.of("MaskablePPO and TRPO", "sb3-contrib", "contrib") from error

__all__ = ["sb3_contrib"]
