"""The embedded photograph model: VAE, warped anchor, detail network, prompt filter, weights. Beyond the paper."""
