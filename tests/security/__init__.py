"""Attacks by hostile models, data and evidence."""
