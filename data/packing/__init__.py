"""All slices of all patients at one size, on the disk, mapped by every process that needs them."""
