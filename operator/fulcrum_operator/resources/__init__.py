"""The objects of the API as types, and the names by which they go."""
