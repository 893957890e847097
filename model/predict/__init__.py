"""`python -m model.predict MODEL INPUT... --out FOLDER`: from images to tumour masks."""
