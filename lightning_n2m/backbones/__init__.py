"""Networks trained elsewhere (musicnn, aiSFX, VGGish), rebuilt in PyTorch from published weights."""
