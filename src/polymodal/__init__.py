"""polymodal: experiments on speech, words and physiological signals, configured in YAML."""

__version__ = "0.1.0"
