from .encoding import decode as decode, encode as encode, levels as levels
