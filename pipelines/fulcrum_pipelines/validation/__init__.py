"""Checking manifests offline, with the answers that the API server would give and better words."""
