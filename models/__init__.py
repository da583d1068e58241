"""Reference networks: xbar loads them by the location of their files, and nothing imports them by name."""
