"""The denoising report: shapes under noise, and the masks they were made from."""
