"""Floor 1: the 1D Efficient U-Net (section 3.3 and appendix B of the paper), and a tagger made elsewhere."""
