"""Attention, convolution, pooling and masks: what encoders and models are made of."""
