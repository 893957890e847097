"""`python -m data.inspect SOURCE`: what is in a data set, in numbers and pictures, and what looks wrong in it."""
