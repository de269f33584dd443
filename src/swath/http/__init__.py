"""The catalogue over HTTP. Thin: parameters in, one use case, stored bytes out."""
