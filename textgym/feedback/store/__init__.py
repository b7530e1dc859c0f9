"""The project file that collects feedback."""
