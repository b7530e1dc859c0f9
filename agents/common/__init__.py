"""The common parts of agents over text: policy, rollouts, sharing of prefixes, losses, exact resume."""
