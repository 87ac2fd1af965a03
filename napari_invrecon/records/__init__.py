"""What a record is good for: check it, run it again, say in words and in a script what was done; never napari."""
