"""The data of each report, one module each, and what they share."""
