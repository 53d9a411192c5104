"""Scoring: the engine, and the worker process around it."""
