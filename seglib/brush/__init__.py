"""The user's brush: one drawing surface, brush.js, for the notebook and for a page without a server."""
