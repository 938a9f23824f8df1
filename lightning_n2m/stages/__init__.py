"""Floor 2: the stages of the cascade, LightningModules on one shared diffusion trainer."""
