"""A run: steps mapped unit by unit, and watched."""
