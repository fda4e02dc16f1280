"""The files in docker/, and what they start, outside a container engine."""
