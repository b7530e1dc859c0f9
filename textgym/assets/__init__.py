"""textgym/assets."""
