"""What a meter knows of kinds of layers: one autograd function a kind, and the rules by which modules are run with them."""
