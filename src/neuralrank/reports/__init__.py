"""`Ranking` → text, one file per format."""
