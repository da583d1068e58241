from .evaluate import Evaluation as Evaluation, convert as convert, evaluate as evaluate
