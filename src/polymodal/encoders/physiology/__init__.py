"""Features of physiological signals: heart, skin, temperature."""
