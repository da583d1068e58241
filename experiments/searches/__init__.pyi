from .search import Search as Search, load_search as load_search
