"""Files of others: consent before code is imported, limits, escaping."""
