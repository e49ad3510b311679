"""The parts of `train_demo_models.py`: recipes, data, networks, training, export, cards."""
