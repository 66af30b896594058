"""What a run is made of, stage by stage, whatever its codes come from."""
