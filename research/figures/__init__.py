"""Figures, one module a subject; each function returns a Matplotlib Figure and never shows it."""
