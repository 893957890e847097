"""Predict tumour masks for images: `python -m model.predict MODEL INPUT... --out FOLDER`."""
