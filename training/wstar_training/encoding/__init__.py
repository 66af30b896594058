"""A folder of pictures to W+ codes: `wstar-train codes`, and the reader of what it wrote."""
