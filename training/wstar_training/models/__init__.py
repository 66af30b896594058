"""The networks of wstar, one file each; constructors build and never read files."""
