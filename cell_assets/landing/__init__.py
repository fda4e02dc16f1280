"""Landing folders: what a microscope's computer puts there, told from what is still being copied."""
