"""Records in files: one parser, JSON lines, the forms that others read. Needs no store."""
