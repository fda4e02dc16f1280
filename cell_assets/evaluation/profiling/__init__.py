"""From single cells to profiles of wells, and what those profiles know: the rooms of image-based screens."""
