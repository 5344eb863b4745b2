"""The compression library, and the stages that run it."""
