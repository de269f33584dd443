"""Deliveries of imagery: recognised, unpacked, grouped into scenes, converted, described, published."""
