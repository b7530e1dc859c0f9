"""The parts of sb3-contrib that agents derive from; the package is optional.

Raises:
    MissingExtraError: It is not installed.
"""

from textgym.errors import MissingExtraError

try:
    from sb3_contrib import TRPO, MaskablePPO
    from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
except ImportError as error:
    raise MissingExtraError.of("MaskablePPO and TRPO", "sb3-contrib", "contrib") from error

__all__ = ["TRPO", "MaskableActorCriticPolicy", "MaskableDictRolloutBuffer", "MaskablePPO"]
