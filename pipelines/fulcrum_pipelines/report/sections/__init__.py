"""The parts of the report, one a file: evidence and verdict in, blocks out."""
