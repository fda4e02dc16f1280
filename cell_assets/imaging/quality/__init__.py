"""Quality of a plate, one file per question; `plate_quality` asks them all in one pass over the pixels."""
