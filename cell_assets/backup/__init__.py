"""A lab's databases and artifacts as one folder elsewhere, and a lab from such a folder."""
