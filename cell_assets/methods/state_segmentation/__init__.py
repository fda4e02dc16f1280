"""The supervised baseline of DynaCLR: a 2-D U-Net that segments nuclei by annotated state (paper, section 3.4.1)."""
