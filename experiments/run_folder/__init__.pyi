from .finished import read_measured as read_measured
