from .batch_norm import batch_norm_folds as batch_norm_folds, fold_batch_norm as fold_batch_norm
from .form import FORMS as FORMS, crossbar_form as crossbar_form
