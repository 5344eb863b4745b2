"""The store, on a disk or behind a server that may be slow or silent."""
