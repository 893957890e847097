"""What the doctor looks at: the system, and packages, which are asked in processes of their own."""
