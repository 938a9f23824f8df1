"""The stages of the cascade: LightningModules on one shared diffusion trainer."""
