"""The evidence: a model repository made for the question, its transfer accuracies, and how well each score ranks it.

Four steps, each resumable and each a command: `build` trains the networks, `truth` measures what they are worth on
targets they have not seen, `evaluate` holds every score against that, `report` writes docs/evidence.md. The tables in
between are what the last two need; `tables.py` says what is in them.
"""
