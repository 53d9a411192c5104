"""Everything that services and workers share: the pure domain, the ports, their adapters and the wiring."""
