"""What all agents over text share: policy, rollouts, sharing of prefixes, losses, exact resume."""
