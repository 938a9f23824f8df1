"""The 1D Efficient U-Net (section 3.3 and appendix B of the paper)."""
