"""The contract of a method, and what several of them share."""
