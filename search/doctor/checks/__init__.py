"""How the doctor judges what it sees: each check returns findings, of which those that are not ok have a remedy."""
