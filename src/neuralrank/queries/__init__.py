"""What a user asks of the catalogue, read and made safe: conditions, words and label names."""
