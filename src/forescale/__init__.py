"""Predict, calibrate and verify the hyperparameters of language model pretraining."""

__version__ = "0.1.0"
