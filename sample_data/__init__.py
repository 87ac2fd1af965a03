"""Small generated acquisitions in real file formats."""
