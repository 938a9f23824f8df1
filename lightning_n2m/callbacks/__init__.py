"""Callbacks that watch a training and keep its results."""
