"""Agreement, strengths and learning curves of feedback."""
