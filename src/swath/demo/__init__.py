"""Real scenes for `swath demo`; SOURCES.md names where each comes from."""
