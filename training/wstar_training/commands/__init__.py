"""The commands of `wstar-train`, one file each: options, what is called, and what is printed."""
