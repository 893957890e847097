"""How each layout of files is read: one module a layout, and what they share."""
