"""wstar: a served latent space in which distance means what the eye sees."""

__version__ = "0.1.0"
