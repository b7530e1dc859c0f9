"""The shapes in which feedback is published, or kept in tables: recognised by their columns, read as records."""
