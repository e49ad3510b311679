"""Target data set formats, one file each."""
