"""From files to rows: which files, how they are read, and what is made of them."""
