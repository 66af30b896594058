"""Linear read-outs of attributes: C, frozen while T trains, and the hyperplanes that are served."""
