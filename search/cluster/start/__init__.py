"""What a search needs of its surroundings before Ray starts or is connected to: an address, memory, folders.

`session.py` asks all of them; each makes do with what there is, and says so once, or says in a sentence what is wrong.
"""
