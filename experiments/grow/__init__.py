"""Growing a base, measured at demo scale: vocabulary, depth, unfreezing, learning rates."""
