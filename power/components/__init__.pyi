from .converters import load_adc as load_adc
from .library import load_periphery as load_periphery
from .price import Price as Price
